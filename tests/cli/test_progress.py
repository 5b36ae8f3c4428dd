"""The bar: shown on a terminal, and neither shown nor loaded elsewhere."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any


def run_on_a_terminal(words: list[str], environ: dict[str, str], cwd: Path) -> tuple[int, bytes, bytes]:
    """Run `codex` with a terminal as its standard error: exit code, standard output, and what was shown."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "codex", *words],
            cwd=cwd,
            env=environ | {"TERM": "xterm", "COLUMNS": "100"},
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
            return process.wait(), process.stdout.read(), shown
    finally:
        os.close(ours)


def test_a_bar_is_shown_on_a_terminal(node: Any, environ: dict[str, str], tmp_path: Path, cid: str) -> None:
    node.replies["POST /data"] = (200, {}, cid.encode())
    node.replies[f"GET /data/{cid}"] = (200, {}, bytes(30_000))  # less than a pipe holds
    (tmp_path / "[bold]f.txt").write_bytes(bytes(300_000))
    address = f"--api-port={node.port}"
    code, out, shown = run_on_a_terminal([address, "put", "[bold]f.txt"], environ, tmp_path)
    assert (code, out) == (0, f"{cid}\n".encode())
    assert b"[bold]f.txt" in shown
    assert b"\x1b[" in shown
    code, out, shown = run_on_a_terminal([address, "get", cid, "-o", "-"], environ, tmp_path)
    assert (code, out) == (0, bytes(30_000))
    assert cid.encode() in shown


def test_the_library_of_the_bar_is_loaded_for_a_terminal_only() -> None:
    code = """
import sys
from codex.cli.progress import progress
with progress("label", 10) as moved:
    moved(10)
print("rich" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
