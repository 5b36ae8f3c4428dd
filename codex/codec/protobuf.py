"""The network's dialect of protobuf: a writer that leaves nothing out, and a reader that is not easily put
off.

CIDs are hashes of such messages, so the bytes matter and not only the meaning. The writer emits each field
when it is called, in that order, zero and empty values included. The reader skips fields it does not know,
and known ones whose wire type is not the expected one; of a field that may occur once, the last one counts;
groups are refused.
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from codex.codec import varint
from codex.errors import DecodeError

# Inside the classes below `bytes` is the name of a method.
_Bytes: TypeAlias = bytes
_Buffer: TypeAlias = bytes | bytearray | memoryview

# Wire types. 3 and 4 open and close a group.
VARINT = 0
FIXED64 = 1
LENGTH = 2
FIXED32 = 5

MAX_MESSAGE = 100 * 1024 * 1024
"""Bytes of the largest message on the network. A format that has a smaller bound gives its own."""

MAX_FIELDS = 32768
"""Fields of one message, not counting those inside its byte values. Ten times what any message of the network
has, and read in some 25 ms even when each is only two bytes long."""

MAX_FIELD = 15
"""The highest field number that `Message` keeps. No message of the network has a higher one, so a message of
a million different fields costs no memory."""

_MAX_UINT32 = 2**32 - 1
_MAX_UINT64 = 2**64 - 1


class Writer:
    """Builds one message, field by field. Every method but `finish` returns the writer, for chaining."""

    __slots__ = ("_out",)

    def __init__(self) -> None:
        self._out = bytearray()

    def varint(self, number: int, value: int) -> "Writer":
        """Add a number of 0 .. 2**64 - 1, a bool, or an enum. Raises ValueError out of that range."""
        self._out += varint.encode(number << 3 | VARINT)
        self._out += varint.encode(value)
        return self

    def int32(self, number: int, value: int) -> "Writer":
        """Add a number that may be negative; it is then written as a 64-bit two's complement, in ten
        bytes.
        """
        return self.varint(number, value & _MAX_UINT64)

    def bytes(self, number: int, value: _Buffer) -> "Writer":
        """Add bytes, possibly none."""
        self._out += varint.encode(number << 3 | LENGTH)
        self._out += varint.encode(len(value))
        self._out += value
        return self

    def text(self, number: int, value: str) -> "Writer":
        """Add text, as UTF-8."""
        return self.bytes(number, value.encode())

    def message(self, number: int, value: "Writer") -> "Writer":
        """Add a message inside this one."""
        return self.bytes(number, value._out)

    def finish(self) -> _Bytes:
        """Return the message."""
        return bytes(self._out)


class Field(NamedTuple):
    """One field as it stands in a message. `value` is bytes when `wire` is LENGTH, and otherwise a number."""

    number: int
    wire: int
    value: int | bytes


def fields(
    data: bytes | memoryview, *, limit: int = MAX_MESSAGE, max_fields: int = MAX_FIELDS
) -> Iterator[Field]:
    """Yield every field in order, also those of unknown numbers.

    Raises DecodeError, when it gets there: over `limit` bytes or `max_fields` fields, when the data ends
    inside a field, on a group, and on field number 0.
    """
    end = len(data)
    if end > limit:
        raise DecodeError(f"the message has {end} bytes, more than {limit}")
    at = 0
    while at < end:
        max_fields -= 1
        if max_fields < 0:
            raise DecodeError("the message has too many fields")
        tag, at = varint.decode(data, at)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise DecodeError("a field of the message has the number 0")
        if wire == VARINT:
            value, at = varint.decode(data, at)
            yield Field(number, wire, value)
            continue
        if wire == LENGTH:
            size, at = varint.decode(data, at)
        elif wire == FIXED64:
            size = 8
        elif wire == FIXED32:
            size = 4
        else:
            raise DecodeError(f"a field of the message has the wire type {wire}")
        if size > end - at:
            raise DecodeError("the message ends inside a field")
        part = bytes(data[at : at + size])
        at += size
        yield Field(number, wire, part if wire == LENGTH else int.from_bytes(part, "little"))


class Message:
    """The fields of one message by number, for formats that are read as a whole.

    Takes memory for what it keeps: the last number of each field up to `MAX_FIELD`, and all its byte values.
    A field that is missing, or stands there only with another wire type, reads as absent.
    """

    __slots__ = ("_blobs", "_numbers")

    def __init__(
        self, data: _Bytes | memoryview, *, limit: int = MAX_MESSAGE, max_fields: int = MAX_FIELDS
    ) -> None:
        """Read all of `data`. Raises DecodeError as `fields` does."""
        self._numbers: dict[int, int] = {}
        self._blobs: dict[int, list[_Bytes]] = {}
        for number, wire, value in fields(data, limit=limit, max_fields=max_fields):
            if number > MAX_FIELD:
                continue
            if isinstance(value, bytes):
                self._blobs.setdefault(number, []).append(value)
            elif wire == VARINT:
                self._numbers[number] = value

    def varint(self, number: int, default: int = 0) -> int:
        """The number, of up to 64 bits."""
        return self._numbers.get(number, default)

    def uint32(self, number: int, default: int = 0) -> int:
        """The number, of up to 32 bits. Raises DecodeError for a larger one."""
        value = self._numbers.get(number, default)
        if value > _MAX_UINT32:
            raise DecodeError(f"field {number} of the message does not fit in 32 bits")
        return value

    def int32(self, number: int, default: int = 0) -> int:
        """The number with its sign: the low 32 bits of what is there."""
        value = self._numbers.get(number, default) & _MAX_UINT32
        return value - 2**32 if value >> 31 else value

    def bytes(self, number: int) -> _Bytes | None:
        """The bytes; empty is not absent."""
        values = self._blobs.get(number)
        return values[-1] if values else None

    def text(self, number: int) -> str | None:
        """The text. Raises DecodeError when it is not UTF-8."""
        value = self.bytes(number)
        if value is None:
            return None
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise DecodeError(f"field {number} of the message is not UTF-8 text") from None

    def repeated(self, number: int) -> list[_Bytes]:
        """Every occurrence, in order."""
        return self._blobs.get(number, [])
