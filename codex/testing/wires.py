"""Streams in memory: two ends, and between them what is on its way, with the moment of its arrival."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from operator import index
from typing import Protocol

import trio
from attrs import define, field

WINDOW = 1 << 20
"""Bytes of one stream on their way or unread; then its sender waits."""
SEGMENT = 1 << 16
"""Bytes that travel as one; the grain of bandwidth."""


class Machine(Protocol):
    """What a stream needs of the host that it is on."""

    @property
    def ip(self) -> str: ...

    @property
    def latency(self) -> float:
        """Seconds one way, to any other host."""
        ...

    @property
    def open_streams(self) -> "dict[MemoryStream, None]": ...

    def reaches(self, target: str) -> bool:
        """Whether packets get to the host with that address now."""
        ...

    def arrival(self, target: str, size: int) -> float:
        """The moment at which `size` bytes that are sent now arrive there, on trio's clock."""
        ...


@define(eq=False)
class Pipe:
    """One direction of a stream: what is on its way, with the moment of its arrival.

    `held` is bytes that were sent and not read. `reset_at` is when the reader learns that the writer is
    gone, `unread_at` when the writer learns that nobody reads; both on trio's clock.
    """

    source: Machine
    target: Machine
    segments: deque[tuple[float, bytes]] = field(factory=deque)
    held: int = 0
    ended: bool = False
    reset_at: float = inf
    unread_at: float = inf
    changed: trio.lowlevel.ParkingLot = field(factory=trio.lowlevel.ParkingLot)

    @property
    def flows(self) -> bool:
        """Whether anything arrives now."""
        return self.source.reaches(self.target.ip)

    def put(self, data: bytes) -> None:
        """Send a piece; an empty one is the end."""
        self.ended = not data
        due = self.source.arrival(self.target.ip, len(data))
        if self.segments:
            due = max(due, self.segments[-1][0])
        self.segments.append((due, data))
        self.held += len(data)
        self.changed.unpark_all()

    def take(self, limit: int) -> bytes:
        """The first piece, or its first `limit` bytes. The end stays."""
        due, data = self.segments.popleft()
        if not data or len(data) > limit:
            self.segments.appendleft((due, data[limit:]))
        taken = data[:limit]
        self.held -= len(taken)
        self.changed.unpark_all()
        return taken


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a stream; behaves as a `trio.SocketStream` does."""

    def __init__(self, incoming: Pipe, outgoing: Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False
        self._crashed = False
        self._sending = False
        self._receiving = False
        self._host.open_streams[self] = None

    @property
    def _host(self) -> Machine:
        return self._outgoing.source

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything; waits while the window is full."""
        with self._sole_sender():
            await trio.lowlevel.checkpoint()
            self._check()
            pipe = self._outgoing
            if pipe.ended:
                raise trio.ClosedResourceError("the stream's end was sent")
            with memoryview(data) as view:
                sent = 0
                while sent < len(view):
                    await self._writable()
                    size = min(SEGMENT, WINDOW - pipe.held)
                    pipe.put(bytes(view[sent : sent + size]))
                    sent += size

    async def _writable(self) -> None:
        pipe = self._outgoing
        while True:
            self._check()
            gone_at = pipe.unread_at if pipe.flows else inf
            if gone_at <= trio.current_time():
                raise trio.BrokenResourceError("the other end is closed")
            if pipe.held < WINDOW:
                return
            with trio.move_on_at(gone_at):
                await pipe.changed.park()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the window has room."""
        with self._sole_sender():
            await trio.lowlevel.checkpoint()
            await self._writable()

    @contextmanager
    def _sole_sender(self) -> Iterator[None]:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._sending = True
        try:
            yield
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has arrived, at most `max_bytes`; b"" at the end."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._receiving = True
        try:
            await trio.lowlevel.checkpoint()
            pipe = self._incoming
            while True:
                self._check()
                now = trio.current_time()
                due = pipe.segments[0][0] if pipe.segments and pipe.flows else inf
                gone_at = pipe.reset_at if pipe.flows else inf
                if gone_at <= now:
                    raise trio.BrokenResourceError("the other end is gone")
                if due <= now:
                    return pipe.take(SEGMENT if max_bytes is None else max_bytes)
                with trio.move_on_at(min(due, gone_at)):
                    await pipe.changed.park()
        finally:
            self._receiving = False

    async def send_eof(self) -> None:
        """Say that nothing more comes; what was sent still arrives before that."""
        with self._sole_sender():
            await trio.lowlevel.checkpoint()
            self._check()
            if not self._outgoing.ended:
                self._outgoing.put(b"")

    async def aclose(self) -> None:
        """Close both directions; what was sent still arrives."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """As `aclose`, at once."""
        if self._closed or self._crashed:
            return
        self._closed = True
        self._host.open_streams.pop(self, None)
        if not self._outgoing.ended:
            self._outgoing.put(b"")
        self._incoming.unread_at = trio.current_time() + self._host.latency
        self.wake()

    def crash(self) -> None:
        """The host is gone: nothing works here any more, and nobody is told."""
        self._crashed = True
        self._host.open_streams.pop(self, None)
        self.wake()

    def reset_other(self) -> None:
        """Tell the other end that this one is gone."""
        at = trio.current_time() + self._host.latency
        self._outgoing.reset_at = self._incoming.unread_at = at
        self.wake()

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError
        if self._crashed:
            raise trio.BrokenResourceError(f"the host {self._host.ip} has crashed")

    def wake(self) -> None:
        """Something has changed that tasks at this end may wait for."""
        self._incoming.changed.unpark_all()
        self._outgoing.changed.unpark_all()
