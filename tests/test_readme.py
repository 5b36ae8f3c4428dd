"""The README is true: its session prints what it shows, its program runs, its picture names what is there."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from codex import units
from codex.cli import jobs
from codex.cli.app import group
from codex.cli.bar import LABEL
from codex.cli.output import cells
from codex.testing.nodes import ALONE
from codex.units import MIB

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.fixture
def running_node(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a node that runs in a process of its own."""
    data_dir = tmp_path / "alice"
    options = [f"--data-dir={data_dir}", "--api-port=0", "--log-level=warn", *ALONE]
    command = [sys.executable, "-m", "codex", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert "listens on" in process.stderr.readline()
            yield data_dir
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0


def blocks(kind: str) -> list[str]:
    """The fenced blocks of that kind."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block(kind: str) -> str:
    """The first fenced block of that kind."""
    found = blocks(kind)
    assert found, f"the README has no {kind} block"
    return found[0]


def session(number: int) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output it is shown to have."""
    steps: list[tuple[str, str]] = []
    for line in blocks("console")[number].splitlines(keepends=True):
        if line.startswith("$ "):
            steps.append((line[2:].strip(), ""))
        else:
            command, output = steps[-1]
            steps[-1] = (command, output + line)
    return steps


@pytest.mark.parametrize("number", range(len(blocks("console"))))
def test_the_session_prints_what_it_shows(running_node: Path, tmp_path: Path, number: int) -> None:
    bin_dir = Path(sys.executable).parent
    for command, shown in session(number):
        if command.startswith("export "):
            continue
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env={
                "PATH": f"{bin_dir}:/usr/bin:/bin",
                "CODEX_DATA_DIR": str(running_node),
                "HOME": str(tmp_path),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stderr)
        assert done.stdout == shown, command


def test_two_nodes_share_a_file_by_the_commands_it_shows(tmp_path: Path) -> None:
    first, second, third = blocks("sh")
    # Only where they listen and how they meet is told from outside: no other node is to be found by chance.
    options = {
        "CODEX_LISTEN_ADDRS": "/ip4/127.0.0.1/tcp/0",
        "CODEX_DISC_PORT": "0",
        "CODEX_LOG_LEVEL": "warn",
    }
    environ = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "HOME": str(tmp_path), **options}
    (tmp_path / "photo.jpg").write_bytes(bytes(range(256)) * 4096)

    def show(words: str, **more: str) -> str:
        done = subprocess.run(
            ["bash", "-ec", words],
            cwd=tmp_path,
            env=environ | more,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    with ExitStack() as stack:

        def begin(words: str, **more: str) -> None:
            process = stack.enter_context(
                subprocess.Popen(
                    ["bash", "-c", f"exec {words}"],
                    cwd=tmp_path,
                    env=environ | more,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.terminate)
            assert process.stderr is not None
            assert any("The API listens on" in line for line in process.stderr)

        begin(first)
        told = json.loads(show("codex info --json --data-dir=alice"))
        begin(second, CODEX_BOOTSTRAP_NODE=told["info"]["spr"])
        shown = show(third)
        assert (tmp_path / "copy.jpg").read_bytes() == (tmp_path / "photo.jpg").read_bytes()
        assert told["info"]["id"] in shown


def test_the_screen_is_drawn_as_it_shows() -> None:
    command, ended, *moving = block("text").splitlines()
    assert command == "$ codex jobs --follow"
    told = {
        "id": "6a8d9ebd134d",
        "kind": "verify",
        "state": "done",
        "phase": "verifying",
        "subject": "zDvZRwzm7DuzfMT6wtUfsoEavpddRr2fPPe9CeLJQDgDyU8wtGDS",
        "bytesDone": 286 * MIB,
        "bytesTotal": 286 * MIB,
        "bytesPerSecond": 0,
        "etaSeconds": None,
        "started": 1795378590.0,
        "ended": 1795378592.53,
        "result": None,
        "error": None,
    }
    assert ended == jobs.end_line(jobs.parse(told), 80)
    figures = r" [━╸╺]+ +([0-9]+) %  ([0-9. ]{4} MiB) of ([0-9. ]{4} MiB)  [0-9. ]{4} MiB/s  [0-9: ]{7}"
    for line in moving:
        label, bar = line[:22], line[22:]
        assert cells(label.rstrip()) <= LABEL
        found = re.fullmatch(figures, bar)
        assert found, bar
        done, total = (units.parse_size(found[place].strip()) for place in (2, 3))
        assert int(found[1]) == 100 * done // total
        assert cells(line) <= 78


def test_every_command_is_named() -> None:
    table = re.findall(r"^\| ((?:`\w+` ?)+)\|", README.partition("## The command line")[2], re.MULTILINE)
    assert sorted(re.findall(r"\w+", " ".join(table))) == sorted(group.commands)


def test_the_program_is_the_example() -> None:
    example = (ROOT / "examples" / "store_and_retrieve.py").read_text("utf-8")
    assert block("python") == example.partition('"""\n\n')[2]


def test_the_program_is_under_ten_lines() -> None:
    body = block("python").partition("async def main")[2].splitlines()
    assert len([line for line in body if line.strip()]) < 10


@pytest.mark.parametrize("directory", re.findall(r"`(codex/\w+)`", README))
def test_what_the_picture_names_is_there(directory: str) -> None:
    assert (ROOT / directory / "__init__.py").exists()


def test_every_package_is_named() -> None:
    packages = {path.parent.name for path in (ROOT / "codex").glob("*/__init__.py")}
    named = {name.removeprefix("codex/") for name in re.findall(r"`(codex/\w+)`", README)}
    assert packages - named == {"config", "logs"}


@pytest.mark.parametrize("target", re.findall(r"\bmake (\w+)", README))
def test_every_make_target_exists(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
