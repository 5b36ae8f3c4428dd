"""What peers have begun to say and not finished: bounded for each of them, for all together, and in time.

Each block of a message is passed on when it is there, and the rest is held until the message is whole. What
is on order from a peer may come, at any time; for all else there is little room, which the streams of a peer
share, and all peers.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import trio
from attrs import define, field

from codex.errors import DecodeError, PeerGone
from codex.exchange.ports import Stream
from codex.exchange.unpacking import Piece, Unpacker
from codex.logs import get_logger
from codex.p2p import PeerId

SPARE_BYTES = 3 << 19
"""Bytes that are held of messages from a peer that nothing is on order from: want lists and presences."""
SPARE_TOTAL = 32 << 20
"""Bytes of such messages that all peers may have begun together. Beyond, whoever has most loses it."""
MESSAGE_TIME = 120.0
"""Seconds in which more of a message must be complete, a block of it or its end; a slower one would be of no
use."""
TAKEN = 1 << 20
"""Bytes that are taken from a stream at once: what waits there is counted, and holds the peer back."""
_LOOK = 5.0
"""Seconds between two looks at how long messages take."""

_log = get_logger("exchange")


class Listener(Protocol):
    """What is told, and asked, of peers."""

    def alive(self, peer: PeerId) -> int:
        """More came of a message that is not whole; how many bytes may it have beyond the usual?"""

    def broken(self, peer: PeerId, why: str) -> None:
        """A peer sent what is no message."""


@define(eq=False)
class Begun:
    """What one peer has begun, on all its streams. `spare` are the bytes of it that were not ordered."""

    inflows: dict["Inflow", None] = field(factory=dict)
    held: int = 0
    spare: int = 0


class Unfinished:
    """The messages of all peers that are not whole yet."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._peers: dict[PeerId, Begun] = {}
        self.spare = 0
        """Bytes that are held and were not ordered."""

    @contextmanager
    def listening(self, stream: Stream) -> Iterator["Inflow"]:
        """The bytes of a stream, for the length of a block; what is held of them is let go of then."""
        begun = self._peers.setdefault(stream.peer, Begun())
        inflow = Inflow(stream, self)
        begun.inflows[inflow] = None
        try:
            yield inflow
        finally:
            self._let_go(inflow)
            del begun.inflows[inflow]
            if not begun.inflows:
                del self._peers[stream.peer]

    async def watch(self) -> None:
        """End what takes for ever, until cancelled."""
        while True:
            await trio.sleep(_LOOK)
            now = trio.current_time()
            for inflow in [inflow for begun in self._peers.values() for inflow in begun.inflows]:
                if inflow.since is not None and now - inflow.since > MESSAGE_TIME:
                    why = f"the peer did not finish a message within {MESSAGE_TIME:g} s"
                    inflow.since = None
                    self._cut(inflow, why)
                    self._listener.broken(inflow.stream.peer, why)

    def hold(self, inflow: "Inflow", held: int) -> None:
        """So many bytes are held of the message that comes there. Raises DecodeError if they are too many."""
        begun = self._let_go(inflow)
        if not held:
            return
        begun.held += held
        inflow.held = held
        self._set_spare(begun, max(0, begun.held - self._listener.alive(inflow.stream.peer)))
        if begun.spare > SPARE_BYTES:
            raise DecodeError("the peer sends more than it was asked for")
        while self.spare > SPARE_TOTAL:
            most = max(self._peers.values(), key=lambda other: other.spare)
            largest = max(most.inflows, key=lambda other: other.held)
            self._cut(largest, "too much is held of messages that are not whole")

    def _cut(self, inflow: "Inflow", why: str) -> None:
        _log.debug("a message is not waited for", peer=str(inflow.stream.peer), why=why)
        self._let_go(inflow)
        inflow.stream.reset(why)

    def _let_go(self, inflow: "Inflow") -> Begun:
        begun = self._peers[inflow.stream.peer]
        begun.held -= inflow.held
        self._set_spare(begun, max(0, begun.spare - inflow.held))
        inflow.held = 0
        return begun

    def _set_spare(self, begun: Begun, spare: int) -> None:
        self.spare += spare - begun.spare
        begun.spare = spare


class Inflow:
    """What is said on a stream, in order."""

    def __init__(self, stream: Stream, unfinished: Unfinished) -> None:
        self.stream = stream
        self.held = 0
        """Bytes that are held of a message that is not whole."""
        self.since: float | None = None
        """Since when nothing of that was complete."""
        self._unfinished = unfinished
        self._unpacker = Unpacker()

    async def receive(self) -> Piece | None:
        """Wait for more of what the peer says; None when it has ended the stream after a whole message.

        Raises DecodeError for what is no message, or more than may come, and PeerGone when the stream ends
        inside a message or is reset.
        """
        # Much may have come at once, and others are to have their turn in between.
        await trio.lowlevel.checkpoint()
        while (piece := self._unpacker.next()) is None:
            held = self._unpacker.held
            if held or self.held:
                self._unfinished.hold(self, held)
            if held and self.since is None:
                self.since = trio.current_time()
            parts = await self.stream.receive_parts(TAKEN)
            if not parts:
                if self._unpacker.midway:
                    raise PeerGone("the peer ended a stream in the middle of a message")
                return None
            self._unpacker.feed(parts)
        if piece.deliveries or piece.message is not None:
            self.since = None
        return piece
