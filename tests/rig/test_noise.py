"""The noise must strike, and be the same for the same seed: else the story of the bad line proves nothing."""

from rig.noise import KINDS, Noise

FRAMES = [bytes([n % 250 + 1] * (5 + n % 40)) for n in range(500)]


def arriving(seed: int, rate: float) -> tuple[bytes, dict[str, int]]:
    noise = Noise(seed, rate)
    wire = b"".join(noise.on(frame) for frame in FRAMES)
    wire += b"".join(noise.on_the_way_back(frame) for frame in FRAMES)
    return wire, noise.counts


def test_without_noise_every_frame_passes_as_it_is():
    wire, counts = arriving(7, 0.0)
    assert wire == b"".join(b"\0" + frame + b"\0" for frame in FRAMES) + b"".join(FRAMES)
    assert counts["passed"] == len(FRAMES)


def test_every_kind_of_noise_strikes_and_most_frames_pass():
    _, counts = arriving(7, 0.1)
    assert all(counts[kind] > 20 for kind in KINDS if kind != "overrun"), counts
    assert counts["passed"] > 300, counts


def test_one_seed_gives_one_noise():
    assert arriving(7, 0.1) == arriving(7, 0.1)
    assert arriving(7, 0.1) != arriving(8, 0.1)
