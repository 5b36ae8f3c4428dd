"""Numbers in the bodies of the marketplace's calls, by the rules of the network's nodes.

Pure. A number may be a decimal text, an empty text is 0, and so is what is missing; amounts may also be
written with 0x, 0o or 0b. What the reference node wraps around, or ends over, is refused here. Whatever is
refused is a DecodeError (400), in the reference's words where it has some.
"""

import re

from codex.api.bodies import Object
from codex.errors import DecodeError

_KINDS: tuple[tuple[type, str], ...] = (
    (bool, "JBool"),
    (int, "JInt"),
    (float, "JFloat"),
    (str, "JString"),
    (list, "JArray"),
    (dict, "JObject"),
    (type(None), "JNull"),
)
_ABSENT = (None, "", "null")
_PREFIXES = {"0x": 16, "0o": 8, "0b": 2}
_REMEDY = "give a whole number, 0 or more, as a number or as decimal text"

MOST_64 = 2**64 - 1
MOST_256 = 2**256 - 1


def uint64(body: Object, key: str) -> int:
    """The number under `key`, below 2**64; 0 when it is missing."""
    return _uint64(body[key]) if key in body else 0


def uint256(body: Object, key: str) -> int:
    """The amount under `key`, below 2**256; 0 when it is missing."""
    return _uint256(body[key]) if key in body else 0


def optional_uint64(body: Object, key: str) -> int | None:
    """As `uint64`; None when it is missing, null or empty."""
    value = body.get(key)
    return None if _absent(value) else _uint64(value)


def optional_uint256(body: Object, key: str) -> int | None:
    """As `uint256`; None when it is missing, null or empty."""
    value = body.get(key)
    return None if _absent(value) else _uint256(value)


def optional_bool(body: Object, key: str) -> bool | None:
    """Whether `key` is true; None when it is missing, null or empty."""
    value = body.get(key)
    if _absent(value):
        return None
    if not isinstance(value, bool):
        raise _wrong_kind("bool", "{JBool}", value)
    return value


def optional_moment(body: Object, key: str) -> int | None:
    """The unix second under `key`, which may be negative; None when it is missing or null. No text is one."""
    value = body.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_kind("SecondsSince1970", "{JInt}", value)
    return _within(value, 2**63 - 1, least=-(2**63))


def _uint64(value: object) -> int:
    if isinstance(value, str):
        return _within(_decimal(value), MOST_64)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_kind("uint64", "{JInt, JString}", value)
    return _within(value, MOST_64)


def _uint256(value: object) -> int:
    if isinstance(value, str):
        base = _PREFIXES.get(value[:2].lower())
        if base is None:
            return _within(_decimal(value), MOST_256)
        digits = value[2:]
        if len(digits) > 256 or re.fullmatch(r"[0-9a-fA-F]+", digits) is None:
            raise DecodeError(f"invalid unsigned integer: {value[:80]}", remedy=_REMEDY)
        try:
            return _within(int(digits, base), MOST_256)
        except ValueError:
            raise DecodeError(f"invalid unsigned integer: {value[:80]}", remedy=_REMEDY) from None
    if isinstance(value, bool) or not isinstance(value, int):
        raise _wrong_kind("UInt256", "{JInt, JString}", value)
    return _within(value, MOST_256)


def _decimal(text: str) -> int:
    if text == "":
        return 0
    if re.fullmatch(r"-?[0-9]{1,80}", text) is None:
        raise DecodeError(f"invalid unsigned integer: {text[:80]}", remedy=_REMEDY)
    return int(text)


def _within(number: int, most: int, least: int = 0) -> int:
    if not least <= number <= most:
        raise DecodeError("Parsed integer outside of valid range", remedy=_REMEDY)
    return number


def _absent(value: object) -> bool:
    return value is None or (isinstance(value, str) and value in _ABSENT)


def _wrong_kind(what: str, wanted: str, value: object) -> DecodeError:
    found = next(name for kind, name in _KINDS if isinstance(value, kind))
    return DecodeError(f"deserialization to {what} failed: expected {wanted} but got {found}")
