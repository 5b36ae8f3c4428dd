"""What the figures were taken on, for whoever compares them with others."""

import os
import platform
import sqlite3
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_PACKAGES = ("trio", "hypercorn", "quart-trio", "h11")


def facts(places: Mapping[str, Path]) -> dict[str, object]:
    """Processor, memory, Python, libraries, file systems, the load before the run, and the version under
    measure.
    """
    return {
        "taken": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": _revision(),
        "cpu": _first(Path("/proc/cpuinfo"), "model name"),
        "cores": len(os.sched_getaffinity(0)),
        "memory": _first(Path("/proc/meminfo"), "MemTotal"),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": ", ".join(f"{name} {version(name)}" for name in _PACKAGES),
        "load before": "{:.2f} {:.2f} {:.2f}".format(*os.getloadavg()),
        **{name: _file_system(path) for name, path in places.items()},
    }


def _first(path: Path, key: str) -> str:
    """The value behind the first `key:` of a file in /proc."""
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def _file_system(path: Path) -> str:
    """The directory, and the type and device of the file system it is on."""
    path.mkdir(parents=True, exist_ok=True)
    real = path.resolve()
    best = ("", "unknown", "")
    for line in Path("/proc/self/mounts").read_text().splitlines():
        device, point, kind, *_ = line.split()
        if real.is_relative_to(point) and len(point) >= len(best[0]):
            best = (point, kind, device)
    state = os.statvfs(real)
    free = state.f_bavail * state.f_frsize / (1 << 30)
    return f"{path} ({best[1]} on {best[2]}, {free:.0f} GiB free)"


def _revision() -> str:
    """The commit, with a mark when the code differs from it; empty outside of a repository."""
    here = Path(__file__).parent
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=here, capture_output=True, text=True
    )
    return said.stdout.strip()
