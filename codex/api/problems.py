"""Errors as HTTP sees them: a status and a body, in the reference node's words.

Pure. The status follows from the error's family; the body is the error's message, as plain text and never as
HTML.
"""

from attrs import frozen

from codex.errors import (
    BlockNotFound,
    CodexError,
    DecodeError,
    EmptyDataset,
    InvalidInput,
    NotAManifest,
    NotEnabled,
    NotFound,
    ServiceUnavailable,
)

TEXT = "text/plain; charset=utf-8"


@frozen
class Refusal:
    """A status and the text that goes with it; `close` says the connection cannot be used again."""

    status: int
    text: str
    close: bool = False


INCORRECT_CID = Refusal(400, "Incorrect Cid")

# The first family that fits decides; anything else is this node's own failure.
_STATUS: tuple[tuple[type[CodexError], int], ...] = (
    (DecodeError, 400),
    (NotAManifest, 404),
    (BlockNotFound, 404),
    (NotFound, 404),
    (NotEnabled, 503),
    (ServiceUnavailable, 503),
    (EmptyDataset, 500),  # the reference's status for it
    (InvalidInput, 422),
)


def refusal(error: CodexError) -> Refusal:
    """The reply to a request that ended in `error`: its message, and its remedy after it where there is
    one."""
    for family, status in _STATUS:
        if isinstance(error, family):
            return Refusal(status, error.message)
    return Refusal(500, f"{error.message}; {error.remedy}" if error.remedy else error.message)
