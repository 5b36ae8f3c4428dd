"""What peers say, taken apart as it comes: blocks need not wait for the end of the message that they are in.

A stream carries messages, each with its length in front. A small one is handed on whole. Of a large one every
delivery is handed on as soon as it is complete, while its bytes are in the processor's cache, and what else
it says at its end. Nothing here looks at what a delivery says. No I/O.
"""

from collections import deque
from collections.abc import Iterable
from enum import Enum

from attrs import field, frozen

from codex.codec import varint
from codex.codec.protobuf import FIXED32, FIXED64, LENGTH, VARINT
from codex.errors import DecodeError
from codex.exchange.messages import DELIVERY, MAX_DELIVERIES, MAX_FIELDS, Part

MESSAGE_BYTES = 100 << 20
"""Bytes of the largest message of the network."""
WHOLE = 1 << 16
"""Bytes up to which a message is handed on whole."""
SMALL = 1 << 14
"""Bytes up to which a content is copied: it would keep in memory all that came with it."""
AT_ONCE = 64
"""Deliveries that are handed on at once at most."""
LOOKED_AT = 1024
"""Fields that are looked at in one go at most: 3 ms of work."""

_HEAD = 2 * varint.MAX_BYTES  # bytes in front of the content of a field at most
_FIXED = {FIXED64: 8, FIXED32: 4}  # bytes behind the tag, by wire type


@frozen(slots=True)
class Piece:
    """Some of what a message says."""

    deliveries: list[Part] = field(factory=list)
    """Of each its content."""
    message: Part | None = None
    """A message that has ended, without the deliveries that were handed on already; None before the end."""


class _Content(Enum):
    """What is being gathered."""

    MESSAGE = 0
    DELIVERY = 1
    OTHER = 2


class Unpacker:
    """Pieces of a byte stream in, what messages say out. What is held is what has come and cannot be handed
    on yet, whatever length a message claims to have.

    A content that lies in one piece is a view of it, unless it is small; else its parts are copied together,
    once and as they come: they would keep in memory all that came with them, and be many when each is small.
    """

    __slots__ = (
        *("_at", "_content", "_count", "_fields", "_head", "_lacking"),
        *("_left", "_part", "_rest", "_unread", "_view", "_whole"),
    )

    def __init__(self) -> None:
        self._view = memoryview(b"")  # what came first and was not looked at whole …
        self._at = 0  # … but up to here
        self._unread: deque[memoryview] = deque()  # what came then
        self._head = b""  # of a length or a field, as long as it is too little to be read
        self._left: int | None = None  # bytes of the message that no field was seen of; None between two
        self._content: _Content | None = None
        self._lacking = 0  # bytes of the content
        self._part = bytearray()  # what is there of it …
        self._whole: memoryview | None = None  # … or all of it, in one piece
        self._rest = bytearray()  # what the message says besides its deliveries
        self._fields = self._count = 0  # of the message: fields, and deliveries among them

    @property
    def midway(self) -> bool:
        """Whether a message has begun and is not complete."""
        return bool(self._head) or self._left is not None

    @property
    def held(self) -> int:
        """Bytes of the message that has begun."""
        return len(self._rest) + len(self._part)

    def feed(self, parts: Iterable[Part]) -> None:
        """Take what came."""
        self._unread.extend([memoryview(part) for part in parts if len(part)])

    def next(self) -> Piece | None:
        """What can be handed on; None when more must come first. An empty piece tells that there is more to
        look at. Raises DecodeError for what is no message; then all is over.
        """
        deliveries: list[Part] = []
        for _ in range(LOOKED_AT):
            if self._content is None and not self._begin():
                break
            if self._lacking and not self._gather():
                break
            content, self._content = self._content, None
            if content is _Content.DELIVERY:
                deliveries.append(self._gathered())
            if not self._left:
                message = self._gathered() if content is _Content.MESSAGE else memoryview(self._rest)
                self._left, self._rest = None, bytearray()
                return Piece(deliveries, message)
            if len(deliveries) == AT_ONCE:
                break
        else:
            return Piece(deliveries)
        return Piece(deliveries) if deliveries else None

    def _has_more(self) -> bool:
        """Turn to what came next, when all before was looked at; whether there is anything."""
        if self._at == len(self._view):
            self._view, self._at = self._unread.popleft() if self._unread else memoryview(b""), 0
        return self._at < len(self._view)

    def _begin(self) -> bool:
        """Read what stands in front of a message or a field; whether enough of it is there."""
        begin = self._begin_message if self._left is None else self._begin_field
        most = _HEAD if self._left is None else min(_HEAD, self._left)
        while self._has_more():
            if not self._head and len(self._view) - self._at >= most:
                self._at = begin(self._view, self._at)
                return True
            head = self._head + self._view[self._at : self._at + most - len(self._head)]
            if len(head) < most and sum(byte < 0x80 for byte in head) < self._numbers(head):
                self._head, self._at = head, len(self._view)  # more of its numbers are to come
                continue
            self._at += begin(head, 0) - len(self._head)
            self._head = b""
            return True
        return False

    def _numbers(self, head: bytes) -> int:
        """How many numbers stand there: no more of them is taken than that, since what follows is content."""
        return 1 if self._left is None or head[0] & 7 in _FIXED else 2

    def _begin_message(self, data: Part, at: int) -> int:
        """Begin the message whose length stands in `data`; return where its content begins."""
        size, at = varint.decode(data, at)
        if size > MESSAGE_BYTES:
            raise DecodeError(f"a message has {size} bytes, more than {MESSAGE_BYTES}")
        self._fields = self._count = 0
        if size <= WHOLE:
            self._content, self._lacking, self._left = _Content.MESSAGE, size, 0
        else:
            self._left = size
        return at

    def _begin_field(self, data: Part, start: int) -> int:
        """Begin the field that stands in `data`; return where its content begins."""
        tag, at = varint.decode(data, start)
        number, wire = tag >> 3, tag & 7
        if number == 0:
            raise DecodeError("a field of the message has the number 0")
        if wire == LENGTH:
            size, at = varint.decode(data, at)
        elif wire == VARINT:
            size, (_, at) = 0, varint.decode(data, at)
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise DecodeError(f"a field of the message has the wire type {wire}")
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise DecodeError("the message has too many fields")
        assert self._left is not None
        self._left -= at - start + size
        if self._left < 0:
            raise DecodeError("the message ends inside a field")
        self._lacking = size
        if number == DELIVERY and wire == LENGTH:
            self._content = _Content.DELIVERY
            self._count += 1
            if self._count > MAX_DELIVERIES:
                raise DecodeError(f"the message has more than {MAX_DELIVERIES} deliveries")
        else:
            self._content = _Content.OTHER
            self._rest += data[start:at]
        return at

    def _gather(self) -> bool:
        """Take what is there of the content; whether that is all of it."""
        while self._lacking and self._has_more():
            part = self._view[self._at : self._at + self._lacking]
            self._lacking -= len(part)
            self._at += len(part)
            if self._content is _Content.OTHER:
                self._rest += part
            elif self._lacking or self._part or len(part) <= SMALL:
                self._part += part
            else:
                self._whole = part
        return not self._lacking

    def _gathered(self) -> Part:
        """The content, in one piece."""
        whole, self._whole = self._whole, None
        if whole is None:
            whole, self._part = memoryview(self._part), bytearray()
        return whole
