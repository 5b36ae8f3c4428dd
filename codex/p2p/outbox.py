"""What a connection has to send, put together fairly into batches. Pure.

Frames without content (opened, closed, reset) go first and together; then the streams that have something to
send take turns, one frame each, and share the batch. So huge messages of one stream, or of some, hold up a
small one of another for a batch at most.
"""

from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

from codex.p2p.mplex import Key, Kind, header
from codex.p2p.noise import MAX_PLAIN

Part = bytes | memoryview

_LEAST = 1024
"""Bytes that a frame may have though the batch is full then: a smaller one is not worth its header."""

_SHARE = 65536
"""Bytes of a batch that a stream may fill though others wait, and would have less each."""

_NOTHING: Sequence[memoryview] = ()


class Sender(Protocol):
    """A stream with something to send."""

    key: Key

    def take(self, limit: int) -> tuple[int, Sequence[memoryview]]:
        """Give away the next bytes, at most `limit`: how many, and what they are."""
        ...

    @property
    def sending(self) -> bool:
        """Whether there is more to give."""
        ...


class Outbox:
    """The queue of one connection. It holds no content: that stays with the streams until a batch is made."""

    __slots__ = ("_control", "_payload", "_senders")

    def __init__(self, payload: int) -> None:
        """`payload` is the most bytes that a frame of mplex carries."""
        self._payload = payload
        self._control: deque[bytes] = deque()
        self._senders: deque[Sender] = deque()

    def __len__(self) -> int:
        """Frames without content, and streams, that wait."""
        return len(self._control) + len(self._senders)

    def announce(self, kind: Kind, key: Key) -> int:
        """Queue a frame without content, before content that is in no batch yet; how many are queued now."""
        self._control.append(header(kind, key))
        return len(self._control)

    def enter(self, sender: Sender) -> None:
        """Let a stream take part. Leaves by itself, when it has no more to give."""
        self._senders.append(sender)

    def fill(self, size: int) -> list[list[Part]]:
        """Make the next batch: up to `size` bytes, and headers, as what goes into each frame of Noise, in
        parts. Empty when there is nothing to send.

        The parts are the streams' own memory, to be used up at once: who sent them is told here that they
        have gone.
        """
        batch: list[list[Part]] = []
        parts: list[Part] = []
        held = total = 0
        while total < size and (self._control or self._senders):
            if self._control:
                head = self._control.popleft()
                count, content = 0, _NOTHING
            else:
                sender = self._senders.popleft()
                left = size - total
                share = max(min(left, max(left // (1 + len(self._senders)), _SHARE)), _LEAST)
                count, content = sender.take(min(self._payload, share))
                if not count:
                    continue  # it was reset while it waited
                if sender.sending:
                    self._senders.append(sender)
                head = _data_header(sender.key, count)
            total += len(head) + count
            pieces: list[Part] = [head, *content]
            for part in pieces:
                while len(part) > (room := MAX_PLAIN - held):
                    parts.append(part[:room])
                    batch.append(parts)
                    part, parts, held = part[room:], [], 0
                parts.append(part)
                held += len(part)
        if parts:
            batch.append(parts)
        return batch


@lru_cache(maxsize=256)
def _data_header(key: Key, size: int) -> bytes:
    """What stands before so many bytes of a stream: nearly always those of a full frame."""
    return header(Kind.DATA, key, size)
