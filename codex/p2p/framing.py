"""Messages on a stream: each has its length in front, as a varint.

`MessageReader` reads them one by one and `write_message` writes one; what they say is for the protocol that
the stream is for.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import trio

from codex.codec import varint
from codex.errors import DecodeError, PeerGone

Bytes = bytes | memoryview


class Source(Protocol):
    """Where pieces of a byte stream come from; a stream of a connection."""

    async def receive_parts(self, max_bytes: int | None = None) -> Sequence[Bytes]:
        """Wait for bytes, and return all that have come; nothing at the end."""
        ...


class Sink(Protocol):
    """Where a byte stream goes to; a stream of a connection."""

    async def send_all(self, *parts: Bytes) -> None:
        """Send the parts one after the other."""
        ...


class MessageDecoder:
    """Pieces of a byte stream in, messages out, one at a time; no I/O.

    A message that lies in one piece is a view of it; else its pieces are copied together, once and as they
    come, while they are in the processor's cache. What is held is what has come, whatever length a message
    claims to have.
    """

    __slots__ = ("_head", "_held", "_limit", "_unread", "_wanted")

    def __init__(self, limit: int) -> None:
        """`limit` is the most bytes that a message may have, its length not counted."""
        self._limit = limit
        self._unread: deque[memoryview] = deque()
        self._head = b""
        self._wanted: int | None = None  # None while the length is being read
        self._held = bytearray()

    @property
    def midway(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._head) or self._wanted is not None

    @property
    def held(self) -> int:
        """Bytes of the message that has begun."""
        return len(self._held)

    def feed(self, piece: Bytes) -> None:
        """Take what came."""
        if piece:
            self._unread.append(memoryview(piece))

    def next(self) -> Bytes | None:
        """The next message, when it is complete. Raises DecodeError for one that is too long; then all is
        over.
        """
        while self._unread:
            view = self._unread.popleft()
            at = self._read_length(view) if self._wanted is None else 0
            if self._wanted is None:
                continue
            part = view[at : at + self._wanted - len(self._held)]
            if rest := view[at + len(part) :]:
                self._unread.appendleft(rest)
            whole = len(self._held) + len(part) == self._wanted
            if whole and not self._held:
                self._wanted = None
                return part
            self._held += part
            if whole:
                message = memoryview(self._held)
                self._held, self._wanted = bytearray(), None
                return message
        return None

    def _read_length(self, view: memoryview) -> int:
        """Take bytes of a length; return how many. Sets `_wanted` when it is complete."""
        for at, byte in enumerate(view[: varint.MAX_BYTES - len(self._head)], 1):
            self._head += view[at - 1 : at]
            if byte < 0x80 or len(self._head) == varint.MAX_BYTES:
                size, _ = varint.decode(self._head)
                if size > self._limit:
                    raise DecodeError(f"a message has {size} bytes, more than {self._limit}")
                self._wanted, self._head = size, b""
                return at
        return len(view)


class MessageReader:
    """The messages of a stream, in order. For one task."""

    def __init__(self, source: Source, limit: int) -> None:
        """`limit` is the most bytes that a message may have."""
        self._source = source
        self._decoder = MessageDecoder(limit)

    async def receive(self) -> Bytes | None:
        """Wait for the next message; None when the peer has ended the stream after a whole one.

        Raises DecodeError for a message over the limit, and PeerGone when the stream ends inside one or is
        reset. Cancelled while it waits, it loses nothing.
        """
        # Many small messages may have come at once, and others are to have their turn between them.
        await trio.lowlevel.checkpoint()
        while (message := self._decoder.next()) is None:
            parts = await self._source.receive_parts()
            if not parts:
                if self._decoder.midway:
                    raise PeerGone("the peer ended a stream in the middle of a message")
                return None
            for part in parts:
                self._decoder.feed(part)
        return message


async def write_message(sink: Sink, *parts: Bytes) -> None:
    """Send the parts as one message. They are not copied together. Raises what `send_all` raises."""
    await sink.send_all(varint.encode(sum(map(len, parts))), *parts)
