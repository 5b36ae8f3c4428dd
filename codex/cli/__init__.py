"""The command `codex`: starts a node, or talks to a running one.

What only talks to a node loads neither the node nor its libraries, so that it answers at once.
"""

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run `codex` with `argv` (by default the process's own) and return its exit code."""
    try:
        from codex.cli.app import main as run
    except KeyboardInterrupt:
        # Most of the time that a short command takes is its loading: then nothing is there yet to say it.
        print("interrupted", file=sys.stderr)
        return 130
    return run(argv)


__all__ = ["main"]
