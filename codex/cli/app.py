"""The command line as a program: one run of `codex`, and the exit code that it ends with."""

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType

import click

import codex.cli.dataset_commands
import codex.cli.demo
import codex.cli.devnet
import codex.cli.market_commands
import codex.cli.node_commands  # noqa: F401 - all add their commands to the group
from codex.cli.exits import Exit, Failed, Interrupted, WrongCall, ending_signals, exit_code
from codex.cli.group import VARIABLE
from codex.cli.group import codex as group
from codex.cli.output import complain, drained, prepare_streams, unwritten
from codex.config import split
from codex.errors import CodexError


def main(argv: Sequence[str] | None = None) -> int:
    """Run `codex` with `argv` (by default the process's own) and return its exit code."""
    prepare_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    json = "--json" in arguments
    try:
        code = _run(arguments)
        error = drained()
        if error is not None:
            raise unwritten(error)
    except click.ClickException as error:
        if not json:
            error.show()
            return Exit.USAGE
        return _failed(WrongCall(error.format_message(), remedy="`codex COMMAND --help` shows how."), json)
    except CodexError as error:
        return _failed(error, json)
    except OSError as error:
        return _failed(_refused(error), json)
    except (click.Abort, KeyboardInterrupt):
        return _failed(Interrupted("interrupted"), json)
    return code


def _run(arguments: list[str]) -> int:
    asked = os.environ.get(VARIABLE)
    if asked:
        from codex.cli.completion import answer

        return answer(asked)
    # The node's options have a syntax of their own, so they are taken off before click sees the rest.
    own, rest = split(arguments)
    with _swept() if rest else nullcontext():
        code = group.main(args=rest, prog_name="codex", standalone_mode=False, obj=own)
    return code if isinstance(code, int) else Exit.DONE


def _failed(error: CodexError, json: bool) -> Exit:
    if isinstance(error, Interrupted) and not json:
        print(error.message, file=sys.stderr)
    else:
        complain(error, json)
    drained()
    return exit_code(error)


def _refused(error: OSError) -> Failed:
    """What the system refuses, where no command has said it better; without a name it is the output."""
    if error.filename is None:
        return unwritten(error)
    return Failed(f"{error.filename} cannot be used: {error.strerror or error}")


@contextmanager
def _swept() -> Iterator[None]:
    """Let files in the making be removed when the command is told to stop."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, stop) for number in ending_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
