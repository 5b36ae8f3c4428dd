"""mplex: many streams over one connection, as frames in and out of bytes, with no I/O.

A frame is two varints, `stream id << 3 | flag` and the length of what follows, and then so many bytes. Flags
come in pairs, because both sides number the streams they open from the same numbers: the even one of a pair
is sent by whoever opened the stream, the odd one by the other.

mplex itself has no back-pressure: a side that cannot take more of one stream can only stop reading them all.
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from codex.codec import varint
from codex.errors import DecodeError

PROTOCOL = "/mplex/6.7.0"

MAX_PAYLOAD = 1024 * 1024
"""Bytes that follow a header at most. The network drops a connection on a longer frame."""
MAX_HEADER = 2 * varint.MAX_BYTES
MAX_ID = 2**60 - 1
"""The highest number of a stream: 64 bits, less three for the flag and one for whoever counts with a sign."""


class Kind(IntEnum):
    """What a frame says about its stream. The value is the flag of the side that did not open it, halved."""

    OPEN = 0
    DATA = 1
    CLOSE = 2  # the sender sends no more on it
    RESET = 3  # the stream is over, both ways


class Key(NamedTuple):
    """Which stream, seen from here: its number, and whether it was opened here."""

    number: int
    ours: bool


class Frame(NamedTuple):
    """Something that came. Only DATA has data: a view of what was fed, perhaps only a part of its frame."""

    kind: Kind
    key: Key
    data: memoryview


_NOTHING = memoryview(b"")

# By flag: what it says, and whether it is about a stream that was opened at the receiver's.
_MEANINGS = (
    (Kind.OPEN, False),
    (Kind.DATA, True),
    (Kind.DATA, False),
    (Kind.CLOSE, True),
    (Kind.CLOSE, False),
    (Kind.RESET, True),
    (Kind.RESET, False),
)


def header(kind: Kind, key: Key, size: int = 0) -> bytes:
    """The bytes before a payload of `size` bytes; without one, the whole frame."""
    # Who opened the stream sends the even flags, and an opening is always by who opens.
    flag = 2 * kind if key.ours else 2 * kind - 1
    return varint.encode(key.number << 3 | flag) + varint.encode(size)


class Parser:
    """Takes a byte stream apart. Keeps no payload: what has come of a frame is passed on at once."""

    __slots__ = ("_head", "_key", "_kind", "_left")

    def __init__(self) -> None:
        self._head = b""
        self._kind = Kind.DATA
        self._key = Key(0, False)
        self._left = 0

    def feed(self, data: bytes | memoryview) -> Iterator[Frame]:
        """Yield what `data` brings, in order; to be used up before the next call. Raises DecodeError for what
        is no mplex, and then all is over.

        The name that an opening carries is for the eyes of who opened, and is dropped; so is what stands in
        frames of the other kinds. A DATA frame that is empty gives one with no data.
        """
        view, at, end = memoryview(data), 0, len(data)
        while at < end:
            if self._left:
                after = min(at + self._left, end)
                self._left -= after - at
                if self._kind is Kind.DATA:
                    yield Frame(Kind.DATA, self._key, view[at:after])
                at = after
                continue
            head = self._head + view[at : at + MAX_HEADER - len(self._head)]
            if len(head) < MAX_HEADER and sum(byte < 0x80 for byte in head) < 2:
                self._head = head  # all of the data went into it, and one of its numbers is not complete
                return
            at += self._begin(head) - len(self._head)
            self._head = b""
            if self._kind is not Kind.DATA or not self._left:
                yield Frame(self._kind, self._key, _NOTHING)

    def _begin(self, head: bytes) -> int:
        """Read the header that stands at the beginning of `head`; return its size."""
        tag, at = varint.decode(head)
        size, at = varint.decode(head, at)
        flag, number = tag & 7, tag >> 3
        if flag >= len(_MEANINGS):
            raise DecodeError(f"a frame has the flag {flag}, which means nothing")
        if number > MAX_ID:
            raise DecodeError("the number of a stream has more than 60 bits")
        if size > MAX_PAYLOAD:
            raise DecodeError(f"a frame has {size} bytes, more than {MAX_PAYLOAD}")
        self._kind, ours = _MEANINGS[flag]
        self._key = Key(number, ours)
        self._left = size
        return at
