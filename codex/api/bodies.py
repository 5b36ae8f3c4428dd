"""JSON bodies of requests, and what may be taken out of them.

Pure. The rules are the reference node's: the Content-Type is not looked at, unknown keys are passed over, and
what cannot be read as the wanted kind is refused with DecodeError (400).
"""

import json
from collections.abc import Mapping

from codex.errors import DecodeError, InvalidInput

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "true or false"),
    (str, "text"),
    (list, "a list"),
    (dict, "an object"),
    (type(None), "null"),
)

Object = Mapping[str, object]


def read_object(data: bytes) -> Object:
    """The JSON object that is the body. Raises DecodeError for anything else."""
    try:
        value = json.loads(data.decode("utf-8-sig"), parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise DecodeError("the body is no JSON", remedy="send a JSON object in UTF-8") from error
    if not isinstance(value, dict):
        raise DecodeError(f"the body must be a JSON object, and not {_kind(value)}")
    return value


def text(body: Object, key: str) -> str:
    """The text under `key`. Raises InvalidInput when it is missing or empty, DecodeError when it is something
    else.
    """
    value = body.get(key)
    if value is None or value == "":
        raise InvalidInput(f"'{key}' is missing", remedy=f'send {{"{key}": "..."}}')
    if not isinstance(value, str):
        raise DecodeError(f"'{key}' must be text, and not {_kind(value)}")
    return value


def count(body: Object, key: str) -> int:
    """The whole number under `key`, 1 or more. Raises InvalidInput when it is missing or less, DecodeError
    when it is something else.
    """
    value = body.get(key)
    if value is None:
        raise InvalidInput(f"'{key}' is missing", remedy=f'send {{"{key}": 1}}, or more')
    if isinstance(value, bool) or not isinstance(value, int):
        what = "a fraction" if isinstance(value, float) else _kind(value)
        raise DecodeError(f"'{key}' must be a whole number, and not {what}")
    if value < 1:
        raise InvalidInput(f"'{key}' is {value}, and must be 1 at least")
    return value


def _kind(value: object) -> str:
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "a number")


def _refused(constant: str) -> object:
    raise ValueError(f"{constant} is no JSON")
