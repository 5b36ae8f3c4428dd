"""What a JSON call is made of: a row of method, path and view, and the few forms a reply takes."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import frozen

from codex.api.problems import INCORRECT_CID, IncorrectCid, Refusal
from codex.codec import Cid
from codex.errors import DecodeError

Reply = tuple[str, int, dict[str, str]]
View = Callable[..., Awaitable[Reply | Refusal]]


@frozen
class Route:
    """One call: `path` is below /api/codex/v1 and may hold `<name>` parts, which the view gets by name.

    A view may also raise CodexError. With `own_pages` a page of a foreign origin may not make the call; those
    of the network's nodes can be made by any page, unless its browser asks first.
    """

    method: str
    path: str
    view: View
    own_pages: bool = False


def as_json(
    value: Any, status: int = 200, *, pretty: bool = False, headers: Mapping[str, str] | None = None
) -> Reply:
    """`value` as JSON; the reference separates with bare commas, and indents only where it is pretty."""
    text = json.dumps(value, indent=2) if pretty else to_text(value)
    return text, status, {"Content-Type": "application/json", **(headers or {})}


def to_text(value: Any) -> str:
    """`value` as JSON text, separated as the reference does."""
    return json.dumps(value, separators=(",", ":"))


def as_json_text(text: str) -> Reply:
    """200 with JSON that is text already."""
    return text, 200, {"Content-Type": "application/json"}


def as_text(text: str) -> Reply:
    """200 with `text` as it is, without a line end."""
    return text, 200, {"Content-Type": "text/plain"}


def nothing(status: int = 204) -> Reply:
    """An empty reply; without a type it would be sent as HTML."""
    return "", status, {"Content-Type": "text/plain"}


def parse_cid(text: str) -> Cid:
    """The CID in a path. Raises IncorrectCid with the reference's text."""
    try:
        return Cid.parse(text)
    except DecodeError as error:
        raise IncorrectCid(INCORRECT_CID.text, remedy=INCORRECT_CID.remedy) from error
