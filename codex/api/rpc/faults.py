"""Errors as JSON-RPC sees them: a number, a message, and beside them what every error of this node has.

Pure. The numbers are the specification's where it has one. What a program decides by is `data.code`, the
same stable word that the REST interface and jobs give; the number only says which family it belongs to.
"""

from collections.abc import Mapping
from typing import TypeAlias

from attrs import frozen

from codex.api.objects import problem_json
from codex.errors import (
    CodexError,
    DiskFull,
    InvalidInput,
    JobCancelled,
    NotEnabled,
    NotFound,
    Problem,
    QuotaExceeded,
    ServiceUnavailable,
)

Object: TypeAlias = dict[str, object]

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
FAILED = -32000
NOT_FOUND = -32001
NOT_ENABLED = -32002
UNAVAILABLE = -32003
NO_ROOM = -32004
CANCELLED = -32800

NUMBERS: Mapping[int, str] = {
    PARSE_ERROR: "The text is no JSON.",
    INVALID_REQUEST: "It is JSON, and no request.",
    METHOD_NOT_FOUND: "There is no such method.",
    INVALID_PARAMS: "The parameters cannot be meant.",
    INTERNAL_ERROR: "A bug of the node; its log tells more.",
    FAILED: "The node could not do it.",
    NOT_FOUND: "What was asked for is not here.",
    NOT_ENABLED: "This node was started without the part that could do it.",
    UNAVAILABLE: "Not now: a part of the node is busy, restarting or stopping, or a limit is reached.",
    NO_ROOM: "The quota or the disk is full.",
    CANCELLED: "It was cancelled; what it had begun was undone.",
}
"""What each number means."""


class InvalidParams(InvalidInput):
    """The parameters of a request are not those of its method."""

    code = "invalid-params"


class TooMuchAtOnce(ServiceUnavailable):
    """The connection has as many requests, streams or subscriptions as it may."""

    code = "too-much-at-once"


class RequestCancelled(JobCancelled):
    """The request was cancelled by whoever made it."""

    code = "request-cancelled"


@frozen
class Fault:
    """How a request ends that fails: the number, and what is told."""

    number: int
    problem: Problem

    def as_json(self) -> Object:
        """The `error` of a reply."""
        return {
            "code": self.number,
            "message": self.problem.message,
            "data": problem_json(self.problem),
        }


NO_JSON = Fault(
    PARSE_ERROR,
    Problem("no-json", "the text is no JSON that can be read", "send one request, or an array of them"),
)
INTERNAL = Fault(
    INTERNAL_ERROR, Problem("internal", "the node failed over a bug of its own", "its log tells more")
)

# The first family that fits decides.
_FAMILIES: tuple[tuple[type[CodexError], int], ...] = (
    (InvalidInput, INVALID_PARAMS),
    (NotFound, NOT_FOUND),
    (NotEnabled, NOT_ENABLED),
    (ServiceUnavailable, UNAVAILABLE),
    (QuotaExceeded, NO_ROOM),
    (DiskFull, NO_ROOM),
    (JobCancelled, CANCELLED),
)


def invalid(message: str, remedy: str = "") -> Fault:
    """What is said to JSON that is no request."""
    return Fault(INVALID_REQUEST, Problem("invalid-request", message, remedy))


def fault(error: CodexError) -> Fault:
    """What is said to a request that ended in `error`."""
    number = next((number for family, number in _FAMILIES if isinstance(error, family)), FAILED)
    return Fault(number, error.as_problem())
