"""What the process ends with: the exit codes, and the errors that only commands have."""

import signal
from enum import IntEnum

from codex.errors import CodexError, InvalidInput, Problem


class Exit(IntEnum):
    """Exit codes of `codex` and its commands."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_NODE = 3
    INTERRUPTED = 130


MEANINGS = {
    Exit.DONE: "done",
    Exit.FAILED: "refused or failed; the reason is on standard error",
    Exit.USAGE: "called in a way that cannot be meant: options, environment, configuration file",
    Exit.NO_NODE: "no node is running there, or it cannot be reached",
    Exit.INTERRUPTED: "interrupted (Ctrl-C); 143 when terminated, 129 when its terminal is closed",
}


class NoNode(CodexError):
    """There is no node to talk to."""

    code = "no-node"


class WrongCall(InvalidInput):
    """The words of the call cannot be meant."""

    code = "usage"


class Interrupted(CodexError):
    """Somebody pressed ^C."""

    code = "interrupted"


class Failed(CodexError):
    """The node refused, or the exchange with it did not come to its end."""

    code = "failed"

    def __init__(self, message: str, *, remedy: str = "", told: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self._told = told or self.code

    def as_problem(self) -> Problem:
        """The error as it is told, under the code that the node gave it where it did."""
        return Problem(self._told, self.message, self.remedy)


def ending_signals() -> tuple[signal.Signals, ...]:
    """The signals that tell a command to stop in good order: being asked to, and the loss of its terminal,
    unless whoever started it had that ignored (`nohup`).
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, signal.SIGHUP)


def exit_code(error: CodexError) -> Exit:
    """The exit code that tells of `error`."""
    match error:
        case NoNode():
            return Exit.NO_NODE
        case Interrupted():
            return Exit.INTERRUPTED
        case InvalidInput():
            return Exit.USAGE
    return Exit.FAILED
