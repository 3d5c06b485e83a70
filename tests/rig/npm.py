"""Packages of npm, fetched to a folder under target/ as a package.json says; never committed."""

import shutil
import subprocess
from pathlib import Path


def fetch(wanted: Path, folder: Path) -> Path:
    """Installs what the package.json `wanted` names, once, and again whenever it has changed; the folder of its modules,
    for NODE_PATH."""
    have, modules = folder / "package.json", folder / "node_modules"
    if not modules.exists() or not have.exists() or have.read_bytes() != wanted.read_bytes():
        print(f"installing with npm to {folder} what {wanted} names", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(wanted, have)
        quiet = ["--no-audit", "--no-fund", "--loglevel", "error", "--ignore-scripts"]
        subprocess.run(["npm", "install", "--prefix", str(folder), *quiet], check=True)
        # npm may write package.json anew in its own style.
        shutil.copyfile(wanted, have)
    return modules
