"""The seed of a story's random choices."""

import os
import random


def seed() -> int:
    """Of this run; LAMPPOST_SEED repeats one."""
    given = os.environ.get("LAMPPOST_SEED")
    return int(given) if given else random.randrange(1 << 32)
