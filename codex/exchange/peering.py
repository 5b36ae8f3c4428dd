"""Talking with peers: one session for each that is connected, with what is to be said to it, and who listens.

Each side sends on a stream that it opened itself, and listens on all. A session opens its stream when there
is something to say, and opens it anew when it breaks. Reading never waits for the disk or for a caller: what
may come is bounded by what was ordered.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from math import inf
from typing import Protocol

import trio
from attrs import define, field

from codex.codec import varint
from codex.data import BlockAddress
from codex.errors import DecodeError, PeerGone, ProtocolRefused
from codex.exchange.examining import Heard
from codex.exchange.inflow import Listener as InflowListener
from codex.exchange.inflow import Unfinished
from codex.exchange.ledger import Batch
from codex.exchange.messages import PROTOCOL, Part
from codex.exchange.ports import Stream, Switch
from codex.exchange.unpacking import AT_ONCE, Piece
from codex.exchange.writing import Proved, encode_blocks
from codex.logs import get_logger
from codex.p2p import PeerId

OUTBOX_BYTES = 4 << 20
"""Bytes of want lists and presences that wait to be sent to one peer; with more, it does not read at all."""
SEND_TIME = 60.0
"""Seconds in which a message has to leave; a peer that waited longer for a block has given up."""
_TRIES = 3
"""Streams that may fail one after the other before a session waits for the peer to make the next move."""
_PAUSE = 0.5
"""Seconds until a stream that broke is opened again; doubles, then trebles, while nothing can be said."""
TOGETHER = 0.05
"""Seconds within which blocks that come are passed on together, up to the end of their message."""
_EVENTS = 256

_log = get_logger("exchange")


class Signal:
    """Something may have to be done: stays set until the one who waits for it has come by."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def set(self) -> None:
        """There is work."""
        self._event.set()

    async def wait(self) -> None:
        """Wait until there is work since the last time."""
        await self._event.wait()
        self._event = trio.Event()


class Listener(InflowListener, Protocol):
    """What the sessions tell. None waits but `examine`, for as long as it takes."""

    def joined(self, peer: PeerId) -> None:
        """A peer can be talked to."""

    def left(self, peer: PeerId) -> None:
        """A peer cannot be talked to any more."""

    def interrupted(self, peer: PeerId) -> None:
        """What was said to a peer may be lost."""

    async def examine(self, piece: Piece) -> Heard:
        """More of a message came, and is to be read. Raises DecodeError when it is none."""

    def received(self, peer: PeerId, heard: Heard) -> None:
        """A peer has said that."""

    def ended(self, batch: Batch, *, sent: bool, took: float) -> None:
        """A batch of deliveries has left, within so many seconds, or never will."""


@define(eq=False)
class Session:
    """What is to be said to one peer."""

    peer: PeerId
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    work: Signal = field(factory=Signal)
    room: Signal = field(factory=Signal)
    talking: bool = False
    answering: bool = False
    notes: deque[list[Part]] = field(factory=deque)
    notes_bytes: int = 0
    deliveries: deque[tuple[Batch, list[Part]]] = field(factory=deque)

    def say(self, message: Sequence[Part]) -> None:
        """Have a want list or presences sent, ahead of any deliveries."""
        parts = _framed(message)
        self.notes.append(parts)
        self.notes_bytes += sum(map(len, parts))
        self.work.set()

    def deliver(self, batch: Batch, addresses: Iterable[BlockAddress], blocks: Iterable[Proved]) -> None:
        """Have those blocks of a batch sent that are here, after what is waiting."""
        self.deliveries.append((batch, _framed(encode_blocks(addresses, blocks))))
        self.work.set()

    def take_notes(self) -> list[Part]:
        """All want lists and presences that wait, in order."""
        parts = [part for note in self.notes for part in note]
        self.notes.clear()
        self.notes_bytes = 0
        self.room.set()
        return parts


class Peering:
    """The sessions with all connected peers."""

    def __init__(self, switch: Switch, listener: Listener) -> None:
        self._switch = switch
        self._listener = listener
        self._sessions: dict[PeerId, Session] = {}
        self.unfinished = Unfinished(listener)
        """What peers have begun to say."""
        self._nursery: trio.Nursery | None = None

    def session(self, peer: PeerId) -> Session | None:
        """The session with a connected peer."""
        return self._sessions.get(peer)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold sessions with whoever is connected, until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery, self._switch.events(_EVENTS) as events:
                self._nursery.start_soon(self.unfinished.watch)
                self._follow()
                task_status.started()
                # Who is connected counts, and not what was said of it: news may be missed.
                async for _ in events:
                    self._follow()
        finally:
            self._nursery = None
            for peer in list(self._sessions):
                self._end(peer)

    def _follow(self) -> None:
        present = {info.peer for info in self._switch.peers()}
        for peer in [peer for peer in self._sessions if peer not in present]:
            self._end(peer)
        for peer in present - self._sessions.keys():
            self.begin(peer)

    def begin(self, peer: PeerId) -> None:
        """Begin the session with a peer that is connected; again is harmless."""
        session = self._sessions.get(peer)
        if session is None:
            session = self._sessions[peer] = Session(peer)
        if not session.talking and self._nursery is not None:
            session.talking = True
            self._listener.joined(peer)
            self._nursery.start_soon(self._talk, session)

    def _end(self, peer: PeerId) -> None:
        session = self._sessions.pop(peer)
        session.scope.cancel()
        self._drop(session)
        self._listener.left(peer)

    def _drop(self, session: Session) -> None:
        """Forget what was to be said."""
        session.take_notes()
        while session.deliveries:
            batch, _ = session.deliveries.popleft()
            self._listener.ended(batch, sent=False, took=0.0)

    # -- talking

    async def _talk(self, session: Session) -> None:
        """Say what is to be said, on one stream after another, as long as the peer is connected."""
        with session.scope:
            failures = 0
            while failures < _TRIES:
                await session.work.wait()
                stream = await self._open(session.peer)
                if stream is None:
                    failures += 1
                    # What is to be said has not been said, and waits.
                    session.work.set()
                else:
                    failures = 0 if await self._use(session, stream) else failures + 1
                    self._drop(session)
                    self._listener.interrupted(session.peer)
                await trio.sleep(_PAUSE * (1 + failures))
            # It is connected, and does not speak this protocol; perhaps it will come to us.
            session.talking = False
            self._drop(session)
            self._listener.left(session.peer)

    async def _open(self, peer: PeerId) -> Stream | None:
        try:
            return await self._switch.open_stream(peer, PROTOCOL)
        except (PeerGone, ProtocolRefused) as error:
            _log.debug("no stream to a peer", peer=str(peer), why=error.message)
            return None

    async def _use(self, session: Session, stream: Stream) -> bool:
        """Talk on a stream, and listen on it, until it ends; whether anything could be said."""
        said = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._hear_out, stream, nursery.cancel_scope)
                try:
                    while True:
                        said = await self._pump(session, stream) or said
                        await session.work.wait()
                except PeerGone as error:
                    _log_end(session.peer, error)
                    nursery.cancel_scope.cancel()
        finally:
            stream.reset("its sender is done with it")
        return said

    async def _pump(self, session: Session, stream: Stream) -> bool:
        said = False
        while session.notes or session.deliveries:
            if session.notes:
                await _send(stream, session.take_notes())
            else:
                batch, parts = session.deliveries.popleft()
                sent, began = False, trio.current_time()
                try:
                    await _send(stream, parts)
                    sent = True
                finally:
                    self._listener.ended(batch, sent=sent, took=trio.current_time() - began)
            said = True
        return said

    # -- listening

    async def attend(self, stream: Stream) -> None:
        """Listen to a stream that a peer has opened, until it ends or this service does."""
        if self._nursery is None:
            raise PeerGone("the exchange is not running")
        done = trio.Event()
        self._nursery.start_soon(self._attend, stream, done)
        await done.wait()

    async def _attend(self, stream: Stream, done: trio.Event) -> None:
        try:
            # Its connection may be so new that nobody has told of it yet.
            self._follow()
            session = self._sessions.get(stream.peer)
            if session is not None:
                self.begin(stream.peer)
                await self._hear(stream)
        except PeerGone as error:
            _log_end(stream.peer, error)
        finally:
            done.set()

    async def _hear_out(self, stream: Stream, scope: trio.CancelScope) -> None:
        """Listen on our own stream; when the peer ends it, it hears us no more, and all there ends."""
        try:
            await self._hear(stream)
        except PeerGone as error:
            _log_end(stream.peer, error)
        scope.cancel()

    async def _hear(self, stream: Stream) -> None:
        """Receive messages until the stream ends. Raises PeerGone."""
        try:
            with self.unfinished.listening(stream) as inflow:
                heard, told = Heard(), -TOGETHER
                while True:
                    # What has come is passed on in its time, also when the peer says no more.
                    with trio.CancelScope(deadline=told + TOGETHER if heard.deliveries else inf) as scope:
                        piece = await inflow.receive()
                    if not scope.cancelled_caught:
                        if piece is None:
                            return
                        heard.add(await self._listener.examine(piece))
                    now = trio.current_time()
                    much = len(heard.deliveries) >= AT_ONCE or now >= told + TOGETHER
                    if much or heard.message is not None or not heard.true:
                        self._listener.received(stream.peer, heard)
                        heard, told = Heard(), now
        except DecodeError as error:
            stream.reset(error.message)
            self._listener.broken(stream.peer, error.message)
            raise PeerGone(error.message) from None


def _framed(parts: Sequence[Part]) -> list[Part]:
    return [varint.encode(sum(map(len, parts))), *parts]


async def _send(stream: Stream, parts: Sequence[Part]) -> None:
    with trio.move_on_after(SEND_TIME) as scope:
        await stream.send_all(*parts)
    if scope.cancelled_caught:
        raise PeerGone(f"the peer did not take a message within {SEND_TIME:g} s")


def _log_end(peer: PeerId, error: PeerGone) -> None:
    _log.debug("a stream to a peer has ended", peer=str(peer), why=error.message)
