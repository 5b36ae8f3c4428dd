"""An environment of py-libp2p's own, in build/interop: made the first time, and kept.

py-libp2p comes with a package that is compiled where it is installed, against gmp. Where these are missing
they are installed when this user may; otherwise `Failed` has the line to type.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
HOME = HERE.parents[1] / "build" / "interop"
WANTED = HERE / "requirements.txt"
PACKAGES = ("gcc", "libc6-dev", "libgmp-dev", "python3-dev")  # as Debian and Ubuntu call them
LIMIT = 400  # seconds for one installation


class Failed(Exception):
    """Why py-libp2p could not be run, or what went wrong with it; for the person at the terminal."""


def python() -> Path:
    """The Python that has py-libp2p, which is installed when it is missing. Raises Failed."""
    stamp, found = HOME / ".installed", HOME / "bin" / "python"
    wanted = WANTED.read_text("utf-8")
    if stamp.exists() and stamp.read_text("utf-8") == wanted and found.exists():
        return found
    need_compiler()
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.parent.mkdir(parents=True, exist_ok=True)
    print("Installing py-libp2p into build/interop; this takes a minute.", file=sys.stderr, flush=True)
    run([sys.executable, "-m", "venv", HOME], "An environment could not be made in build/interop")
    run(
        [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", WANTED],
        "py-libp2p could not be installed, which takes a connection to PyPI the first time",
    )
    stamp.write_text(wanted, "utf-8")
    return found


def need_compiler() -> None:
    """Have a C compiler, gmp's header and Python's. Raises Failed, with the line that installs them."""
    if compiles():
        return
    install = ["apt-get", "install", "--yes", *PACKAGES]
    if shutil.which("apt-get") and os.geteuid() == 0:
        quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "update"], "The lists of packages could not be fetched", quiet)
        run(install, "The compiler could not be installed", quiet)
        if compiles():
            return
    raise Failed(
        "py-libp2p needs a C compiler, gmp's header and Python's to be installed, and they are missing here."
        f" On Debian and Ubuntu, type: sudo {' '.join(install)}"
    )


def compiles() -> bool:
    """Whether a C file that uses gmp and Python can be compiled."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return False
    with tempfile.TemporaryDirectory() as directory:
        source = Path(directory) / "try.c"
        source.write_text("#include <Python.h>\n#include <gmp.h>\n")
        include = f"-I{sysconfig.get_paths()['include']}"
        command = [*compiler.split(), include, "-c", str(source), "-o", str(source.with_suffix(".o"))]
        return subprocess.run(command, capture_output=True, check=False, timeout=60).returncode == 0


def run(command: list[str | Path], what: str, environ: dict[str, str] | None = None) -> None:
    """Run a step of the installation; what it prints is shown. Raises Failed, beginning with `what`."""
    try:
        done = subprocess.run(command, timeout=LIMIT, stdout=sys.stderr, env=environ, check=False)
    except subprocess.TimeoutExpired:
        raise Failed(f"{what}: {command[0]} took more than {LIMIT} s.") from None
    if done.returncode != 0:
        raise Failed(f"{what} (see above).")
