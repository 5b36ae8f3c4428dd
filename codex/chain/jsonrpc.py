"""The messages of JSON-RPC 2.0, and how Ethereum writes numbers and bytes in them. No I/O.

What comes from a provider is foreign: everything is checked as it is read, and DecodeError says what is
wrong with it.
"""

import json
import re
from typing import Any

from attrs import frozen

from codex.errors import DecodeError

_HEX = re.compile(r"0x[0-9a-fA-F]*")
_MOST = 2**256 - 1
_SHOWN = 120  # characters of a foreign value in a message


class RpcError(Exception):
    """A provider answered a call with an error."""

    def __init__(self, method: str, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{method}: {message} ({code})")
        self.method = method
        self.code = code
        self.message = message
        self.data = data


@frozen
class Reply:
    """What answers the call of number `id`: a result, or an error as code, message and data."""

    id: int
    result: Any
    error: tuple[int, str, Any] | None


@frozen
class Push:
    """What a provider says of its own accord, for a subscription."""

    subscription: str
    result: Any


def request(id: int, method: str, params: tuple[Any, ...]) -> str:
    """A call as text."""
    return json.dumps({"jsonrpc": "2.0", "id": id, "method": method, "params": params})


def parse(text: str | bytes) -> Reply | Push | None:
    """What a provider has said; None for an error that belongs to no call. Raises DecodeError."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"the provider sent what is not JSON: {shown(text)}") from error
    match message:
        case {"method": str(), "params": {"subscription": str(subscription), "result": result}}:
            return Push(subscription, result)
        case {"id": int(id), "error": {"code": int(code), "message": str(words), **rest}}:
            return Reply(id, None, (code, words, rest.get("data")))
        case {"id": int(id), "error": error} if error is not None:
            return Reply(id, None, (0, shown(error), error))
        case {"id": int(id), "result": result}:
            return Reply(id, result, None)
        case {"id": None, "error": _}:
            return None
    raise DecodeError(f"the provider sent what is no answer: {shown(text)}")


def shown(value: object) -> str:
    """A foreign value for a message, cut short."""
    text = value if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def quantity(number: int) -> str:
    """A number, 0 or more, as a chain reads it."""
    return hex(number)


def number(value: object, what: str) -> int:
    """The number in a quantity of at most 256 bits. Raises DecodeError, naming it as `what`."""
    if isinstance(value, str) and _HEX.fullmatch(value) and 2 < len(value) <= 66:
        return int(value, 16)
    raise DecodeError(f"the provider gave no number as {what}: {shown(value)}")


def data(value: object, what: str, length: int | None = None) -> bytes:
    """The bytes in hexadecimal data, `length` of them where that is said. Raises DecodeError."""
    if isinstance(value, str) and _HEX.fullmatch(value) and len(value) % 2 == 0:
        raw = bytes.fromhex(value[2:])
        if length is None or len(raw) == length:
            return raw
    raise DecodeError(f"the provider gave no bytes as {what}: {shown(value)}")


def hexed(raw: bytes) -> str:
    """Bytes as a chain reads them."""
    return "0x" + raw.hex()
