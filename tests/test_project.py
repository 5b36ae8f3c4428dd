"""The project's own files: that they fit together, and that a newcomer is told what is missing."""

import os
import re
import shutil
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from codex.version import VERSION

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TARGETS = [
    "help",
    "setup",
    "run",
    "test",
    "check",
    "bench",
    "soak",
    "clients",
    "interop",
    "image",
    "demo",
    "devnet",
    "clean",
]


def constraints() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


def test_constraints_are_plain_pins_in_order() -> None:
    for line in constraints():
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+( *; .+)?", line), line
    assert constraints() == sorted(constraints(), key=str.lower)


def test_what_is_required_is_pinned_to_a_version_that_will_do() -> None:
    pins = {}
    for line in constraints():
        pin = Requirement(line)
        pins[canonicalize_name(pin.name)] = str(pin.specifier).removeprefix("==")
    project = PYPROJECT["project"]
    required = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]
    assert len(required) > 20
    for text in required:
        requirement = Requirement(text)
        assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


def test_the_version_is_the_same_everywhere() -> None:
    version = PYPROJECT["project"]["version"]
    assert f"v{version}" == VERSION
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_help_lists_every_command() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert re.findall(r"^  make ([a-z]+)", done.stdout, re.MULTILINE) == TARGETS
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert sorted(phony[1].split()) == sorted(TARGETS)


# In the place of make: writes down its target, and takes its time or fails over one of them.
RECORDING_MAKE = """#!/bin/sh
echo "$1" >> "$0.asked"
[ "$1" != "$FAILS" ] || exit 3
"""


def gate(tmp_path: Path, fails: str, timeout: str = 'shift 2; exec "$@"') -> tuple[int, str, list[str]]:
    """Run the gate with stand-ins for make and timeout; its exit code, what it says, and the targets made."""
    for name, script in (("make", RECORDING_MAKE), ("timeout", f"#!/bin/sh\n{timeout}\n")):
        (tmp_path / name).write_text(script)
        (tmp_path / name).chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "FAILS": fails}
    done = subprocess.run([ROOT / ".ci" / "run"], env=environ, capture_output=True, text=True)
    return done.returncode, done.stderr, (tmp_path / "make.asked").read_text().split()


def test_the_gate_is_what_a_contributor_runs(tmp_path: Path) -> None:
    assert stat.S_IMODE((ROOT / ".ci" / "run").stat().st_mode) & 0o111 == 0o111
    assert gate(tmp_path, "") == (0, "", ["setup", "check", "test", "clients", "interop", "soak"])


def test_the_gate_ends_with_the_step_that_fails(tmp_path: Path) -> None:
    assert gate(tmp_path, "test") == (3, "", ["setup", "check", "test"])


def test_the_gate_says_which_step_took_too_long(tmp_path: Path) -> None:
    code, said, made = gate(tmp_path, "clients", 'shift 2; "$@" || exit 124')
    assert (code, made) == (124, ["setup", "check", "test", "clients"])
    assert said == "make clients took more than 600 s and was stopped.\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what `make` needs, without an environment."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(checkout: Path, python: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run `make` with a shell script in the place of Python."""
    script = checkout / "python"
    script.write_text(f"#!/bin/sh\n{python}\n")
    script.chmod(0o755)
    environ = {"PATH": os.environ["PATH"], "HOME": str(checkout)}
    return subprocess.run(
        ["make", *words, f"PYTHON={script}"], cwd=checkout, env=environ, capture_output=True, text=True
    )


@pytest.mark.parametrize("target", ["setup", "run", "test", "check"])
def test_a_python_that_is_too_old_is_said(checkout: Path, target: str) -> None:
    done = make(checkout, "exit 1", target)
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_said(checkout: Path) -> None:
    done = make(checkout, 'case "$2" in *ensurepip*) exit 1;; esac', "setup")
    assert done.returncode != 0
    assert "python3-venv" in done.stderr
    assert not (checkout / ".venv").exists()


# In the place of Python: writes down what it is asked, makes a .venv with itself inside, installs nothing.
RECORDING = """
echo "$@" >> asked
case "$*" in "-m venv --clear .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python;; esac
"""


def test_the_environment_is_made_once_and_again_when_its_description_changes(checkout: Path) -> None:
    def asked() -> list[str]:
        lines = (checkout / "asked").read_text().splitlines()
        (checkout / "asked").unlink()
        return [line for line in lines if line.startswith("-m ")]

    install = "-m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[market,devnet,dev]"
    assert make(checkout, RECORDING, "setup").returncode == 0
    assert asked() == ["-m venv --clear .venv", install]
    assert make(checkout, RECORDING, "run", "ARGS=--data-dir=x -p:1").returncode == 0
    assert asked() == ["-m codex --data-dir=x -p:1"]
    for name in ("pyproject.toml", "constraints.txt"):
        stamp = (checkout / ".venv" / ".installed").stat().st_mtime_ns
        os.utime(checkout / name, ns=(stamp + 1, stamp + 1))
        assert make(checkout, RECORDING, "setup").returncode == 0
        assert asked() == [install]
        os.utime(checkout / name, ns=(stamp - 1, stamp - 1))


def test_a_half_made_environment_is_made_anew(checkout: Path) -> None:
    (checkout / ".venv" / "bin").mkdir(parents=True)
    (checkout / ".venv" / "bin" / "python").symlink_to("/nowhere/python3")
    assert make(checkout, RECORDING.replace("mkdir", "rm -rf .venv && mkdir"), "setup").returncode == 0
    assert "-m venv --clear .venv" in (checkout / "asked").read_text()
