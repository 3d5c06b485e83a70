"""What a week has shown, in figures."""

from collections.abc import Mapping
from dataclasses import dataclass

from endurance.board import Watch
from endurance.city import KEEP_S, STREAMS
from rig.confined import MIB
from rig.course import DAY_S, Course
from rig.tally import Of, Tally

CARD_TBW = 30
"""What `lamppost journal ls` assumes of a plain card, terabytes written."""


@dataclass
class End:
    """How things stood when the week was over, before the pictures came. Times are simulated seconds since its beginning."""

    week_s: float
    acknowledged: int
    written_bytes: int
    flushes: int
    metrics: Mapping[str, float]
    back_s: float
    backlog: float
    caught_up_s: float

    @property
    def days(self) -> float:
        return self.week_s / DAY_S

    def commits_per_h(self) -> float:
        return self.metrics["lamppost_journal_commits_total"] / (self.week_s / 3600)


def age_of_newest_given_up_s(noise: Of, course: Course, caught_up_s: float) -> float:
    """How old the newest event of the noise was, of those that did not come through the three days, when they were over.
    What was given up later is not looked at."""
    rate = STREAMS["week-noise"][1]
    times = [course.when_s(number / rate) for number in set(noise.missing_numbers)]
    return caught_up_s - max((at for at in times if at <= caught_up_s), default=0.0)


def figures(end: End, tally: Tally, found: Mapping[str, Of], watch: Watch, course: Course) -> dict[str, object]:
    day = end.written_bytes / end.days
    return {
        "hours": round(end.week_s / 3600, 1),
        "acknowledged": end.acknowledged,
        "events_per_s": round(end.acknowledged / end.week_s, 2),
        "backlog_at_return": end.backlog,
        "caught_up_after_h": round((end.caught_up_s - end.back_s) / 3600, 2),
        "written_to_card_mib_per_day": round(day / MIB, 1),
        "written_by_journal_mib_per_day": round(end.metrics["lamppost_journal_written_bytes_total"] / MIB / end.days, 1),
        "written_by_the_metric_mib_per_day": round(end.metrics["lamppost_journal_written_bytes_per_day"] / MIB, 1),
        "written_to_card_bytes_per_event": round(end.written_bytes / end.acknowledged, 1),
        "card_years_at_30_tb": round(CARD_TBW * 1e12 / day / 365.25, 1),
        "commits_per_h": round(end.commits_per_h(), 1),
        "flushes_of_card_per_h": round(end.flushes / (end.week_s / 3600), 1),
        "noise_kept_h": round(KEEP_S / 3600, 2),
        "newest_noise_given_up_was_h_old": round(age_of_newest_given_up_s(found["week-noise"], course, end.caught_up_s) / 3600, 2),
        "by_topic": {topic: {"acknowledged": of.acknowledged, "missing": of.missing} for topic, of in found.items()},
        "delivered_twice": tally.delivered_twice,
        "stretches": {name: of.told() for name, of in watch.stretches.items()},
    }
