"""How long the commands take that people type: from the start of the process to its end."""

import subprocess
import sys
from collections.abc import Callable, Iterator

from harness import Bench, BenchFailed, Contender, Figure, Line, seconds
from nodes import running_node

LIMIT = 0.3  # seconds

# What a command that speaks HTTP and prints a table cannot do without.
_LEAST = "import argparse, http.client, json, socket"


def figures(bench: Bench) -> Iterator[Figure]:
    """Commands to a node that runs, beside Python alone."""
    place = next(iter(bench.places))
    with bench.scratch(place) as directory, running_node(directory / "node") as node:
        port = f"--api-port={node.port}"
        rows = bench.interleave(
            "s",
            [
                Contender("codex --version", _run("-m", "codex", "--version")),
                Contender("codex space", _run("-m", "codex", "space", port)),
                Contender("codex ls --json", _run("-m", "codex", "ls", "--json", port)),
                Contender("codex peers", _run("-m", "codex", "peers", port)),
                Contender("a: python -c pass", _run("-c", "pass")),
                Contender("b: python with its HTTP client and JSON", _run("-c", _LEAST)),
            ],
        )
    lines = [Line(row.label, row.samples, LIMIT, at_most=True, unit="s") for row in rows[:-2]]
    yield Figure("commands, from start to end", rows, lines)


def _run(*arguments: str) -> Callable[[int], float]:
    def once(_: int) -> float:
        return seconds(lambda: _checked(arguments))

    return once


def _checked(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BenchFailed(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
