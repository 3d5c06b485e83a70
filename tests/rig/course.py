"""How much a city has to tell in the course of a day: least at two in the morning, most at two in the afternoon. In simulated time, of which
a real second has many."""

import math
from dataclasses import dataclass

DAY_S = 86_400
_LEAST_AT_S = 2 * 3600
_DEPTH = 0.7
"""At night this part of the mean is missing, by day it comes on top."""


@dataclass(frozen=True)
class Course:
    zero_ns: int
    """The moment of the real CLOCK_MONOTONIC at which simulated time begins."""
    wall_ns: int
    """What a simulated wall clock shows then."""
    speed: int

    def simulated_s(self, now: float) -> float:
        """Simulated seconds since the beginning; 0 before it."""
        return max(0.0, (now - self.zero_ns / 1e9) * self.speed)

    def mean_seconds(self, now: float) -> float:
        """How many seconds at the mean rate would have brought as much as came since the beginning, which is at midnight."""
        passed, turn = self.simulated_s(now), math.tau / DAY_S
        return passed - _DEPTH / turn * (math.sin(turn * (passed - _LEAST_AT_S)) + math.sin(turn * _LEAST_AT_S))

    def when_s(self, seconds: float) -> float:
        """The simulated second at which `mean_seconds` was so many."""
        low, high = 0.0, seconds + DAY_S
        while high - low > 1:
            middle = (low + high) / 2
            early = self.mean_seconds(self.zero_ns / 1e9 + middle / self.speed) < seconds
            low, high = (middle, high) if early else (low, middle)
        return low

    def report(self, id: str, number: int, now: float) -> str:
        """What a device says: some 200 bytes, of which a few digits are news. `t`: milliseconds since 1970, simulated."""
        t = self.wall_ns // 1_000_000 + round(self.simulated_s(now) * 1000)
        wave, noise = math.sin(number / 700), number * 2_654_435_761 % 997
        return (
            f'{{"id":"{id}","t":{t},"n":{number},"pm1":{noise % 89 / 10},"pm2_5":{noise % 211 / 10},"pm10":{noise / 20:.1f},'
            f'"no2":{30 + 20 * wave:.1f},"o3":{noise % 61},"temp":{12 + 9 * wave + noise / 997:.2f},"hum":{noise % 40 + 40},"press":{1013 + 8 * wave:.1f},'
            f'"bat":{3.3 + noise / 9970:.3f},"rssi":{-60 - noise % 30},"fw":"2.4.1","state":"ok"}}'
        )

