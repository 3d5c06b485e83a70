"""Lamppost's package for the Raspberry Pi: LAMPPOST_DEB, or built from this tree."""

import functools
import os
import subprocess
from pathlib import Path

from rig.places import ROOT, TARGET


@functools.cache
def package() -> Path:
    given = os.environ.get("LAMPPOST_DEB")
    if given:
        return ROOT / given
    subprocess.run([ROOT / "cross" / "build", "aarch64"], check=True)
    subprocess.run([ROOT / "cross" / "package", "aarch64"], check=True)
    (found,) = (TARGET / "cross" / "packages").glob("lamppost_*_arm64.deb")
    return found
