"""The command line as a program: one run of `codex`, and the exit code that it ends with."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType

import click

import codex.cli.dataset_commands
import codex.cli.node_commands  # noqa: F401 - both add their commands to the group
from codex.cli.exits import Exit, exit_code
from codex.cli.group import VARIABLE
from codex.cli.group import codex as group
from codex.cli.output import complain
from codex.config import split
from codex.errors import CodexError


def main(argv: Sequence[str] | None = None) -> int:
    """Run `codex` with `argv` (by default the process's own) and return its exit code."""
    asked = os.environ.get(VARIABLE)
    if asked:
        from codex.cli.completion import answer

        return answer(asked)
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        # The node's options have a syntax of their own, so they are taken off before click sees the rest.
        own, rest = split(arguments)
        with _swept() if rest else nullcontext():
            code = group.main(args=rest, prog_name="codex", standalone_mode=False, obj=own)
    except click.ClickException as error:
        error.show()
        return Exit.USAGE
    except CodexError as error:
        complain(error)
        return exit_code(error)
    except (click.Abort, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return Exit.INTERRUPTED
    return code if isinstance(code, int) else Exit.DONE


@contextmanager
def _swept() -> Iterator[None]:
    """Let files in the making be removed when the command is told to stop."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
