"""The bars: shown on a terminal, and neither shown nor loaded elsewhere."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def run_on_a_terminal(
    words: list[str], environ: dict[str, str], cwd: Path, columns: int = 100
) -> tuple[int, bytes, str]:
    """Run a command with a terminal as its standard error: exit code, standard output, and what was shown."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, *words],
            cwd=cwd,
            env=environ | {"TERM": "xterm", "COLUMNS": str(columns)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
        ) as process:
            os.close(theirs)
            assert process.stdout is not None
            shown = b""
            while True:
                try:
                    piece = os.read(ours, 65536)
                except OSError:
                    break  # how a terminal says that nobody writes to it any more
                if not piece:
                    break
                shown += piece
            return process.wait(), process.stdout.read(), shown.decode()
    finally:
        os.close(ours)


def lines(shown: str) -> list[str]:
    """The lines that were drawn, one over the other, without colors."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    return [line for line in re.split(r"[\r\n]+", plain) if line.strip()]


def test_a_bar_is_shown_on_a_terminal(node: Any, environ: dict[str, str], tmp_path: Path, cid: str) -> None:
    node.replies["POST /data"] = (200, {}, cid.encode())
    node.replies[f"GET /data/{cid}"] = (200, {}, bytes(30_000))  # less than a pipe holds
    (tmp_path / "[bold]f.txt").write_bytes(bytes(300_000))
    codex = ["-m", "codex", f"--api-port={node.port}"]
    code, out, shown = run_on_a_terminal([*codex, "put", "[bold]f.txt"], environ, tmp_path)
    assert (code, out) == (0, f"{cid}\n".encode())
    assert "[bold]f.txt" in shown
    assert "\x1b[" in shown
    code, out, shown = run_on_a_terminal([*codex, "get", cid, "-o", "-"], environ, tmp_path)
    assert (code, out) == (0, bytes(30_000))
    assert cid[:8] in shown
    assert "29.3 KiB of 29.3 KiB" in shown


def test_a_job_that_is_followed_has_a_bar(
    node: Any, environ: dict[str, str], tmp_path: Path, cid: str, job: Any
) -> None:
    node.json(f"POST /data/{cid}/verify", job(), status=202)
    sound = {"blocks": 16, "bytes": 1048576, "sound": True, "corrupt": [], "missing": []}
    node.json("GET /jobs/37060d6badd4", job(bytesDone=524288), job(state="done", result=sound))
    codex = ["-m", "codex", f"--api-port={node.port}"]
    code, out, shown = run_on_a_terminal([*codex, "verify", cid], environ, tmp_path)
    assert (code, out.splitlines()[0]) == (0, f"{cid}: sound".encode())
    assert any(line.startswith("verifying zDvZR…") for line in lines(shown))


DRAWN = """
from codex.cli.bar import open_bars
with open_bars() as shown:
    bar = shown.add({label!r}, {total}, {done})
    bar.moved({moved})
    bar.at({done} + {moved}, {total}, {label!r})
"""


@pytest.mark.parametrize("columns", [10, 20, 30, 38, 40, 50, 61, 62, 80, 120])
@pytest.mark.parametrize(
    "label", ["f", "a very long name of a file that goes on and on.tar.gz", "日本語" * 20]
)
@pytest.mark.parametrize(
    ("total", "done", "moved"),
    [(1023 * 1024**3, 0, 500 * 1024**3), (None, 0, 10**12), (5, 5, 0), (3 * 1024**6, 1, 1024**2)],
)
def test_a_bar_fits_its_line_and_has_all_figures(
    label: str,
    total: int | None,
    done: int,
    moved: int,
    columns: int,
    environ: dict[str, str],
    tmp_path: Path,
) -> None:
    code = DRAWN.format(label=label, total=total, done=done, moved=moved)
    status, _, shown = run_on_a_terminal(["-c", code], environ, tmp_path, columns)
    assert status == 0
    from codex.cli.output import cells

    assert lines(shown)
    for line in lines(shown):
        assert cells(line) <= columns - 2
        assert (re.search(r"\S/s  .{7} *$", line) is not None) == (columns >= 38), line
        assert (" of " in line) == (total is not None and columns >= 62)
        assert (" %" in line) == (total is not None)


def test_a_bar_goes_on_where_it_was(environ: dict[str, str], tmp_path: Path) -> None:
    code = DRAWN.format(label="f", total=1000, done=500, moved=0)
    _, _, shown = run_on_a_terminal(["-c", code], environ, tmp_path)
    assert " 50 %" in lines(shown)[-1]
    assert " -/s" in lines(shown)[-1]


SAID = """
import sys
from codex.cli.bar import open_bars
with open_bars() as shown:
    bar = shown.add("f", 10)
    shown.say("[red]a line", sys.stderr)
    shown.say("for a pipe", sys.stdout)
    bar.gone()
"""


def test_what_is_said_stands_above_the_bars_or_goes_elsewhere(
    environ: dict[str, str], tmp_path: Path
) -> None:
    _, out, shown = run_on_a_terminal(["-c", SAID], environ, tmp_path)
    assert out == b"for a pipe\n"
    assert "[red]a line" in lines(shown)
    assert "for a pipe" not in shown


def test_the_library_of_the_bar_is_loaded_for_a_terminal_only() -> None:
    code = """
import sys
from codex.cli.progress import bars, progress
with progress("label", 10) as bar:
    bar.moved(10)
    bar.at(10, 10, "label")
    bar.gone()
with bars() as shown:
    shown.say("said", sys.stdout)
print("rich" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("said\nFalse\n", "")


COUNTED = """
import os, sys
from codex.cli.bar import open_bars
from codex.cli.output import terminal_size
with open_bars() as shown:
    bars = [shown.add(f"verifying zDvZRwkz{place}", 10**9) for place in range(2)]
    for done in range(20):
        for bar in bars:
            bar.at(done * 10**7, 10**9, "verifying zDvZRwkz")
        shown._shown.refresh()
"""


@pytest.mark.parametrize("columns", [20, 40, 60, 80])
def test_bars_are_drawn_over_themselves_and_never_below(
    columns: int, environ: dict[str, str], tmp_path: Path
) -> None:
    status, _, shown = run_on_a_terminal(["-c", COUNTED], environ, tmp_path, columns)
    assert status == 0
    # As many lines up as down: nothing scrolls away, and nothing is left behind.
    up = sum(int(count or 1) for count in re.findall(r"\x1b\[([0-9]*)A", shown))
    assert up == shown.count("\n") >= 20
