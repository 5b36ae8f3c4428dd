"""JSON to attrs values, strictly: what comes in is of the declared type or refused with a sentence that says
where and why.

Pure. Names are camelCase in JSON and snake_case here. Nothing is converted that only looks alike: "5" is no
number, 1 is no true, a text is no list. Each field is `Annotated` with its documentation.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, cast, get_args

import attrs
import cattrs
from attrs import frozen
from cattrs.errors import ForbiddenExtraKeysError
from cattrs.gen import make_dict_structure_fn, override

from codex.api.paths import MAX_PATH
from codex.api.problems import INCORRECT_CID
from codex.api.rpc.faults import InvalidParams
from codex.api.rpc.limits import MAX_ITEMS
from codex.codec import Cid
from codex.errors import CodexError, DecodeError
from codex.p2p import PeerId

MOST = (1 << 63) - 1  # the largest number that is taken anywhere
TOLD = 3  # faults that one refusal names; who made more sees the rest next time
_ECHO = 40  # characters of a foreign name that are repeated

T = TypeVar("T")


class Amount(int):
    """Tokens, or another number that JSON's do not reach: a text of decimal digits in JSON."""


class _Unfit(ValueError):
    """A value that is not of its type; the text says what it must be."""


def camel(name: str) -> str:
    """A field's name as JSON has it."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


@frozen
class Bounds:
    """The least and the most that a whole number may be; beside the type, in `Annotated`."""

    least: int = 0
    most: int = MOST


def structure(kind: type[T], value: object) -> T:
    """Make a `kind` (an attrs class) of JSON: an object, or an array of its fields in their order.

    Raises InvalidParams, naming up to three things that are wrong.
    """
    if isinstance(value, list):
        names = [camel(one.name) for one in attrs.fields(cast(Any, kind))]
        if len(value) > len(names):
            raise InvalidParams(f"params: there are at most {len(names)}, not {len(value)}")
        value = dict(zip(names, value, strict=False))
    if not isinstance(value, dict):
        raise InvalidParams("params must be an object or an array")
    try:
        return _converter.structure(value, kind)
    except cattrs.BaseValidationError as error:
        lines = cattrs.transform_error(error, path="params", format_exception=_say)
        raise InvalidParams(
            "; ".join(_sentence(line) for line in lines[:TOLD]),
            remedy="see what the method takes",
        ) from error


def _sentence(line: str) -> str:
    text, _, path = line.rpartition(" @ ")
    return camel(path) + text if text.startswith("[") else f"{camel(path)} {text}"


def _say(error: BaseException, kind: type | None) -> str:
    match error:
        case _Unfit():
            return str(error)
        case CodexError():
            return f"cannot be used: {error.message}"
        case KeyError():
            return "is missing"
        case ForbiddenExtraKeysError():
            names = sorted(str(name)[:_ECHO] for name in error.extra_fields)
            return f"has no {', '.join(map(repr, names[:TOLD]))}"
    return "cannot be used"


# -- the types there are

_converter = cattrs.Converter(forbid_extra_keys=True)


def _exactly(kind: type, name: str) -> Callable[[object, Any], object]:
    def check(value: object, _: Any) -> object:
        if type(value) is not kind:
            raise _Unfit(f"must be {name}")
        return value

    return check


def _text(value: object, _: Any = None) -> str:
    if type(value) is not str:
        raise _Unfit("must be a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _Unfit("has half a character (a lone surrogate) in it") from error
    return value


def _amount(value: object, _: Any) -> Amount:
    if not isinstance(value, str) or re.fullmatch(r"[0-9]{1,78}", value) is None:
        raise _Unfit("must be a text of 1 to 78 decimal digits")
    return Amount(value)


def _cid(value: object, _: Any) -> Cid:
    if not isinstance(value, str):
        raise _Unfit("must be the text of a CID")
    try:
        return Cid.parse(value)
    except DecodeError as error:
        raise DecodeError(INCORRECT_CID.text, remedy=INCORRECT_CID.remedy) from error


def _peer(value: object, _: Any) -> PeerId:
    if not isinstance(value, str):
        raise _Unfit("must be the text of a peer id")
    return PeerId.parse(value)


def _path(value: object, _: Any) -> Path:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise _Unfit("must be an absolute path")
    if len(_text(value).encode("utf-8")) > MAX_PATH:
        raise _Unfit(f"must have at most {MAX_PATH} bytes")
    return Path(value)


def _word(value: object, kind: Any) -> object:
    if not isinstance(value, str) or value not in list(kind):
        raise _Unfit(f"must be one of {', '.join(kind)}")
    return kind(value)


def _list(value: object, kind: Any) -> object:
    if not isinstance(value, list):
        raise _Unfit("must be an array")
    if len(value) > MAX_ITEMS:
        raise _Unfit(f"must have at most {MAX_ITEMS} items")
    item = get_args(kind)[0]
    found = []
    for place, one in enumerate(value):
        try:
            found.append(_converter.structure(one, item))
        except _Unfit as error:
            raise _Unfit(f"[{place}] {error}") from error
    return tuple(found)


def _id(value: object, _: Any) -> object:
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise _Unfit("must be a text or a whole number")
    return value


def _annotated(kind: Any) -> Callable[[Any, Any], Any]:
    inner, *notes = get_args(kind)
    structure_inner = _converter.get_structure_hook(inner)
    bounds = next((note for note in notes if isinstance(note, Bounds)), None)

    def check(value: object, _: Any) -> object:
        found = structure_inner(value, inner)
        if bounds is not None and found is not None and not bounds.least <= found <= bounds.most:
            raise _Unfit(f"must be from {bounds.least} to {bounds.most}")
        return found

    return check


def _object(kind: type[Any]) -> Callable[[Any, Any], Any]:
    names: Any = {one.name: override(rename=camel(one.name)) for one in attrs.fields(kind)}
    return make_dict_structure_fn(kind, _converter, _cattrs_forbid_extra_keys=True, **names)


_converter.register_structure_hook(int, _exactly(int, "a whole number"))
_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(Amount, _amount)
_converter.register_structure_hook(bool, _exactly(bool, "true or false"))
_converter.register_structure_hook(StrEnum, _word)
_converter.register_structure_hook(Cid, _cid)
_converter.register_structure_hook(PeerId, _peer)
_converter.register_structure_hook(Path, _path)
_converter.register_structure_hook_func(lambda kind: kind == int | str, _id)
_converter.register_structure_hook_func(lambda kind: getattr(kind, "__origin__", None) is tuple, _list)
_converter.register_structure_hook_factory(lambda kind: hasattr(kind, "__metadata__"), _annotated)
_converter.register_structure_hook_factory(
    lambda kind: attrs.has(kind) and kind not in (Cid, PeerId), _object
)
