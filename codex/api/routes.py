"""What a JSON call is made of: a row of method, path and view, and the few forms a reply takes."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

from attrs import frozen

from codex.api.problems import INCORRECT_CID
from codex.codec import Cid
from codex.errors import DecodeError

Reply = tuple[str, int, dict[str, str]]
View = Callable[..., Awaitable[Reply]]


@frozen
class Route:
    """One call: `path` is below /api/codex/v1 and may hold `<name>` parts, which the view gets by name."""

    method: str
    path: str
    view: View


def as_json(value: Any, *, pretty: bool = False) -> Reply:
    """200 with `value` as JSON; the reference separates with bare commas, and indents only where it is
    pretty."""
    text = json.dumps(value, indent=2) if pretty else json.dumps(value, separators=(",", ":"))
    return text, 200, {"Content-Type": "application/json"}


def as_text(text: str, status: int = 200) -> Reply:
    """`text` as it is, without a line end."""
    return text, status, {"Content-Type": "text/plain"}


def nothing(status: int = 204) -> Reply:
    """An empty reply; without a type it would be sent as HTML."""
    return "", status, {"Content-Type": "text/plain"}


def parse_cid(text: str) -> Cid:
    """The CID in a path. Raises DecodeError with the reference's text."""
    try:
        return Cid.parse(text)
    except DecodeError as error:
        raise DecodeError(INCORRECT_CID.text) from error
