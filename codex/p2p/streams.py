"""One stream of a connection: bytes both ways, with an end of its own for each.

A stream can end in three ways: cleanly (each side says that it sends no more), by a reset (either side gives
it up at once, both ways), and with its connection. Only the task that reads and the task that sends touch it,
besides the connection; both may be the same.
"""

from collections import deque
from typing import Protocol

import trio

from codex.errors import PeerGone
from codex.p2p.identity import PeerId
from codex.p2p.mplex import Key, Kind

Bytes = bytes | memoryview

SMALL = 32768
"""Bytes below which a piece that comes is copied together with its neighbours. A larger one is copied
by itself when it is less than half of what came with it: a view would hold on to all of that."""


class Link(Protocol):
    """What a stream needs of its connection."""

    def announce(self, kind: Kind, stream: "Stream") -> None:
        """Tell the peer that the stream was closed or reset."""
        ...

    def enter(self, stream: "Stream") -> None:
        """Send what the stream has to give."""
        ...

    def taken(self, stream: "Stream", count: int) -> None:
        """So many bytes of the stream are no longer unread."""
        ...

    def leave(self, stream: "Stream") -> None:
        """The stream is over, both ways."""
        ...


class Stream:
    """A byte stream to a peer, for one protocol.

    Made by a connection only. Unread bytes are bounded; when this side does not read, the peer is held back
    for some seconds, with all its other streams, and then this one is reset.
    """

    def __init__(self, link: Link, peer: PeerId, key: Key) -> None:
        self.peer = peer
        self.protocol = ""
        """What was agreed on; empty until then."""
        self.key = key
        """Which stream of its connection it is."""
        self.unread = 0
        """Bytes that came and were not received yet."""
        self.last = trio.current_time()
        """When a byte last went either way, on trio's clock."""
        self._link = link
        self._pieces: deque[memoryview | bytearray] = deque()
        self._arrival: trio.Event | None = None  # while somebody waits for bytes
        self._remote_ended = False
        self._closed = False  # we send no more
        self._abandoned = False  # we read no more
        self._why: str | None = None  # it is over, and nothing is sent or arrives any more
        self._outgoing: deque[memoryview] = deque()
        self._begun = False  # a part of what is being sent has gone
        self._gone: trio.Event | None = None  # while somebody sends

    def __repr__(self) -> str:
        return f"Stream({self.protocol!r}, {self.key.number}, ours={self.key.ours})"

    async def send_all(self, *parts: Bytes) -> None:
        """Send the parts, one after the other; returns when all are sealed and on their way.

        They are not copied, and must not change until then. Raises PeerGone when the stream is over, and
        trio.ClosedResourceError when this side has ended it. Cancelled before anything went, it has sent
        nothing; cancelled later, it resets the stream, because half a message is no use to anybody.
        """
        self._check_sending()
        await trio.lowlevel.checkpoint_if_cancelled()
        views = [memoryview(part) for part in parts if len(part)]
        if not views:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        self._outgoing.extend(views)
        self._begun = False
        self._gone = trio.Event()
        self._link.enter(self)
        try:
            await self._gone.wait()
        except trio.Cancelled:
            self._outgoing.clear()
            if self._begun:
                self.reset("this side gave up in the middle of sending")
            raise
        finally:
            self._gone = None
        if self._why is not None:
            raise PeerGone(self._why)

    async def receive_some(self, max_bytes: int | None = None) -> Bytes:
        """Wait for bytes and return some, at most `max_bytes`; `b""` at the clean end.

        Raises PeerGone when the stream is over in another way.
        """
        parts = await self.receive_parts(max_bytes)
        if len(parts) > 1:
            return b"".join(parts)
        return parts[0] if parts else b""

    async def receive_parts(self, max_bytes: int | None = None) -> list[Bytes]:
        """Wait for bytes and return all that have come, at most `max_bytes`, as they are; nothing at the
        clean end.

        Raises PeerGone when the stream is over in another way, and trio.ClosedResourceError after `aclose`.
        Cancelled, it has taken nothing.
        """
        if self._arrival is not None:
            raise trio.BusyResourceError("another task is receiving from this stream")
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while not self._pieces:
            if self._abandoned:
                raise trio.ClosedResourceError("this side has closed the stream")
            if self._why is not None:
                raise PeerGone(self._why)
            if self._remote_ended:
                break
            self._arrival = trio.Event()
            try:
                await self._arrival.wait()
            finally:
                self._arrival = None
            waited = True
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return self._take_unread(max_bytes)

    async def send_eof(self) -> None:
        """Tell the peer that this side sends no more. Again is harmless; so is a stream that is over."""
        await trio.lowlevel.checkpoint()
        if self._gone is not None:
            raise trio.BusyResourceError("another task is sending to this stream")
        self._close()

    async def aclose(self) -> None:
        """Be done with it: this side sends no more and reads no more. What is unread is dropped.

        What was sent still arrives. Should the peer go on sending, the stream is reset.
        """
        try:
            if self._gone is not None:
                self.reset("this side closed it in the middle of sending")
            self._close()
            self._abandoned = True
            self._drop_unread()
            self._wake()
        finally:
            await trio.lowlevel.checkpoint()

    def reset(self, why: str) -> None:
        """Give it up at once, both ways. Who waits on it here gets PeerGone with `why`."""
        if self._why is None:
            if self.open:
                self._link.announce(Kind.RESET, self)
            self.end(why)
            self._drop_unread()

    # What follows is for the connection.

    @property
    def open(self) -> bool:
        """Whether anything can still be sent on it, by either side."""
        return self._why is None and not (self._closed and self._remote_ended)

    @property
    def remote_ended(self) -> bool:
        """Whether the peer has said that it sends no more."""
        return self._remote_ended

    @property
    def abandoned(self) -> bool:
        """Whether nobody reads here any more."""
        return self._abandoned

    @property
    def sending(self) -> bool:
        """Whether there is more to give."""
        return bool(self._outgoing)

    def take(self, limit: int) -> tuple[int, list[memoryview]]:
        """Give away the next bytes to send, at most `limit`: how many, and what they are."""
        taken: list[memoryview] = []
        left = limit
        outgoing = self._outgoing
        while outgoing and left:
            part = outgoing.popleft()
            if (size := len(part)) > left:
                outgoing.appendleft(part[left:])
                part, size = part[:left], left
            taken.append(part)
            left -= size
        self._begun = True
        self.last = trio.current_time()
        if not outgoing and self._gone is not None:
            self._gone.set()
        return limit - left, taken

    def arrive(self, data: memoryview) -> None:
        """Bytes have come; none, in a frame without content, is nothing to whoever reads."""
        if not data:
            return
        pieces = self._pieces
        if len(data) >= SMALL:
            whole = data.obj
            pieces.append(
                data
                if isinstance(whole, bytes | bytearray) and 2 * len(data) >= len(whole)
                else bytearray(data)
            )
        elif pieces and isinstance(last := pieces[-1], bytearray) and len(last) < SMALL:
            last += data
        else:
            pieces.append(bytearray(data))
        self.unread += len(data)
        self._wake()

    def put_back(self, data: bytes) -> None:
        """Bytes were received too early, and belong to who reads next."""
        if data:
            self._pieces.appendleft(bytearray(data))
            self.unread += len(data)
            self._link.taken(self, -len(data))

    def end_remote(self) -> None:
        """The peer sends no more."""
        self._remote_ended = True
        self._wake()
        self._leave_when_over()

    def end(self, why: str) -> None:
        """The stream is over; unread bytes may still be received. Who waits for more gets PeerGone."""
        if self._why is None:
            self._why = why
            self._outgoing.clear()
            if self._gone is not None:
                self._gone.set()
            self._wake()
            self._link.leave(self)

    def end_by_reset(self, why: str) -> None:
        """The peer has reset it."""
        self.end(why)
        self._drop_unread()

    def _check_sending(self) -> None:
        if self._gone is not None:
            raise trio.BusyResourceError("another task is sending to this stream")
        if self._closed:
            raise trio.ClosedResourceError("this side has ended the stream")
        if self._why is not None:
            raise PeerGone(self._why)

    def _close(self) -> None:
        if not self._closed and self._why is None:
            self._closed = True
            self._link.announce(Kind.CLOSE, self)
            self._leave_when_over()

    def _leave_when_over(self) -> None:
        # With bytes that nobody has received it still counts.
        if self._closed and self._remote_ended and not self.unread:
            self._link.leave(self)

    def _wake(self) -> None:
        if self._arrival is not None:
            self._arrival.set()

    def _take_unread(self, limit: int | None) -> list[Bytes]:
        taken: list[Bytes] = []
        left = self.unread if limit is None else min(limit, self.unread)
        count = left
        while left:
            piece = memoryview(self._pieces.popleft())
            if len(piece) > left:
                self._pieces.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        self.unread -= count
        self._link.taken(self, count)
        self._leave_when_over()
        return taken

    def _drop_unread(self) -> None:
        count, self.unread = self.unread, 0
        self._pieces.clear()
        if count:
            self._link.taken(self, count)
            self._leave_when_over()
