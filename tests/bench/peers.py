"""Other people's erasure codes, for comparison alone: in build/peers, fetched the first time, and kept."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent
HOME = HERE.parents[1] / "build" / "peers"
WANTED = HERE / "requirements.txt"
LIMIT = 120  # seconds for the installation


def peer(name: str) -> ModuleType | None:
    """A module from there, or None where it cannot be had: no wheel for this machine, or no PyPI."""
    if not _there():
        return None
    if str(HOME) not in sys.path:
        sys.path.append(str(HOME))
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _there() -> bool:
    stamp, wanted = HOME / ".installed", WANTED.read_text("utf-8")
    if stamp.exists() and stamp.read_text("utf-8") == wanted:
        return True
    shutil.rmtree(HOME, ignore_errors=True)
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--only-binary", ":all:", "--no-deps", "--target", HOME, "-r", WANTED),
    ]
    try:
        subprocess.run(command, timeout=LIMIT, check=True, stdout=sys.stderr)
    except (subprocess.SubprocessError, OSError):
        return False
    stamp.write_text(wanted, "utf-8")
    return True
