"""Errors as HTTP sees them: a status and a body, in the reference node's words.

Pure. The status follows from the error's family. The body is the error's message as plain text, never as
HTML; a caller who prefers problem details (RFC 9457) gets those, with the error's code and remedy in them.
"""

import json
from collections.abc import Sequence
from http import HTTPStatus

from attrs import frozen

from codex.api.accept import PROBLEM, wants_problem
from codex.errors import (
    CodexError,
    DecodeError,
    EmptyDataset,
    InvalidInput,
    JobCancelled,
    NotEnabled,
    NotFound,
    ServiceUnavailable,
    UploadCut,
)

TEXT = "text/plain; charset=utf-8"

Headers = tuple[tuple[str, str], ...]


class IncorrectCid(DecodeError):
    """What stands where a CID should is none, or is of a kind that the network does not use."""

    code = "incorrect-cid"


@frozen
class Refusal:
    """A call that ends in an error: its status, and the reference's text for it (perhaps empty).

    `code` and `remedy` go into problem details only, and so does `detail`, what is wrong where the text does
    not say it; `headers` go with both forms.
    """

    status: int
    text: str
    code: str = ""
    remedy: str = ""
    detail: str = ""
    headers: Headers = ()


@frozen
class Body:
    """The bytes of an error in the form that was asked for, and the headers that go with them."""

    data: bytes
    headers: Headers


TWO_ORIGINS = Refusal(400, "Only a single Origin header must be specified", code="several-origins")

# The first family that fits decides; anything else is this node's own failure.
_STATUS: tuple[tuple[type[CodexError], int], ...] = (
    (DecodeError, 400),
    (UploadCut, 400),
    (NotFound, 404),
    (JobCancelled, 409),
    (NotEnabled, 503),
    (ServiceUnavailable, 503),
    (EmptyDataset, 500),  # the reference's status for it
    (InvalidInput, 422),
)


def refusal(error: CodexError) -> Refusal:
    """The reply to a request that ended in `error`.

    Where this node is at fault, the text ends in the remedy: whoever reads it may be the one to act.
    """
    for family, status in _STATUS:
        if isinstance(error, family):
            return Refusal(status, error.message, error.code, error.remedy)
    text = f"{error.message}; {error.remedy}" if error.remedy else error.message
    return Refusal(500, text, error.code, error.remedy, detail=error.message)


INCORRECT_CID = refusal(IncorrectCid("Incorrect Cid", remedy="check the CID for typing errors"))


def body(said: Refusal, accept: Sequence[str]) -> Body:
    """What a caller with these Accept headers is told."""
    if not wants_problem(accept):
        return Body(said.text.encode("utf-8", "replace"), (("Content-Type", TEXT), *said.headers))
    phrase = HTTPStatus(said.status).phrase
    code = said.code or phrase.lower().replace(" ", "-")
    problem = {
        "type": f"urn:codex:error:{code}",
        "title": code.replace("-", " ").capitalize(),
        "status": said.status,
        "detail": said.detail or said.text or phrase,
        "code": code,
        "remedy": said.remedy,
    }
    data = json.dumps(problem, separators=(",", ":")).encode("ascii")
    return Body(data, (("Content-Type", PROBLEM), ("Vary", "Accept"), *said.headers))
