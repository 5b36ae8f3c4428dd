"""What a client is told: errors of the node's, as the exceptions that they were there, and its own.

An error whose code this version knows is raised as that class of `codex.errors`; any other as `Failed`.
"""

from codex import errors
from codex.errors import CodexError, InvalidInput, Problem, ServiceUnavailable


class Failed(CodexError):
    """The node could not do it, for a reason that this version has no class for; `told` is its code."""

    code = "failed"
    told = code

    def as_problem(self) -> Problem:
        """The error as the node told it."""
        return Problem(self.told, self.message, self.remedy)


class Unreachable(ServiceUnavailable):
    """No node answers at the address, or what answers is no node."""

    code = "unreachable"


class NotLetIn(InvalidInput):
    """The node asks for a token that was not given, or lets nobody in from here."""

    code = "not-let-in"


class Disconnected(ServiceUnavailable):
    """The connection has ended; what was under way on it was cancelled."""

    code = "disconnected"


_KNOWN: dict[str, type[CodexError]] = {
    kind.code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, CodexError)
}


def as_error(problem: Problem) -> CodexError:
    """The exception for an error that the node has told."""
    kind = _KNOWN.get(problem.code)
    if kind is not None:
        return kind(problem.message, remedy=problem.remedy)
    failed = Failed(problem.message, remedy=problem.remedy)
    failed.told = problem.code
    return failed
