"""What a client is told: errors of the node's, as the exceptions that they were there, and its own.

An error whose code this version knows is raised as that class of `codex.errors`; any other as `Failed`.
"""

from codex import errors
from codex.errors import CodexError, InvalidInput, Problem, ServiceUnavailable


class Failed(CodexError):
    """The node could not do it, for a reason that this version has no class for."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message, remedy=problem.remedy)
        self.problem = problem

    def as_problem(self) -> Problem:
        """The error as the node told it."""
        return self.problem


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
    return Failed(problem) if kind is None else kind(problem.message, remedy=problem.remedy)
