"""A connection to a peer: safe, carrying many streams, and bounded in all that the peer can make it cost.

`open_connection` makes one of a bare byte stream. Inside its block four tasks run: a reader, a writer, a
watch over idle time, and one for each stream that the peer has opened. The reader and the writer change what
there is to change without a checkpoint in between.

Back-pressure: mplex has none of its own, so that a stream whose bytes nobody takes can be held back only by
not reading the connection at all. That is done for `Limits.stall` seconds; then that stream is reset.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Protocol, TypeAlias

import trio
from attrs import frozen

from codex.codec import Multiaddr
from codex.errors import CodexError, DecodeError, HandshakeFailed, PeerGone, ProtocolRefused
from codex.logs import get_logger
from codex.p2p import noise
from codex.p2p.identity import Identity, PeerId
from codex.p2p.limits import Budget, Limits
from codex.p2p.mplex import Frame, Key, Kind, Parser
from codex.p2p.multistream import Dialer, Listener
from codex.p2p.outbox import Outbox
from codex.p2p.streams import Stream
from codex.p2p.upgrade import EndedEarly, Upgraded, run, upgrade
from codex.runtime import Clock, Entropy, unwrapped

_log = get_logger("p2p")

_STEP = 500
"""Frames that are looked at before others have their turn: some 2 ms of work."""

Handler: TypeAlias = Callable[[Stream], Awaitable[None]]
"""Serves one stream that a peer has opened. When it returns, the stream is closed; when it raises a
CodexError, reset."""


class Protocols(Protocol):
    """What this node answers to."""

    def names(self) -> Collection[str]:
        """Every protocol that has a handler."""
        ...

    def handler(self, name: str) -> Handler | None:
        """Who serves a protocol; None when nobody does."""
        ...


@frozen
class StreamInfo:
    """A line of the table of streams."""

    protocol: str
    ours: bool
    unread: int  # bytes


class _Broken(Exception):
    """The connection cannot go on, for the reason given."""


@asynccontextmanager
async def open_connection(
    stream: trio.abc.Stream,
    *,
    identity: Identity,
    dialer: bool,
    expect: PeerId | None,
    protocols: Protocols,
    limits: Limits,
    entropy: Entropy,
    clock: Clock,
    budget: Budget | None = None,
) -> AsyncIterator["Connection"]:
    """Make `stream` a connection for the length of the block; it is closed in any case.

    `expect` is whom a dialer wants to reach. `budget` is shared with other connections.

    Raises HandshakeFailed when the other side is somebody else or does not speak as the network does, within
    `limits.handshake` seconds. Inside the block nothing is raised for what the peer does: `closed` tells.
    """
    try:
        keys = noise.Keys(entropy.token(noise.KEY_SIZE), entropy.token(noise.KEY_SIZE))
        upgraded = await _upgraded(stream, identity, keys, dialer, expect, limits.handshake)
        connection = Connection(stream, upgraded, dialer, protocols, limits, budget, clock.now())
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(connection.run)
                yield connection
                await connection.finish()
    finally:
        await trio.aclose_forcefully(stream)


async def _upgraded(
    stream: trio.abc.Stream,
    identity: Identity,
    keys: noise.Keys,
    dialer: bool,
    expect: PeerId | None,
    seconds: float,
) -> Upgraded:
    """The handshakes, in time, and with one error for whatever is wrong."""
    why = f"the peer did not finish the handshake within {seconds:.0f} s"
    with trio.move_on_after(seconds):
        try:
            return await upgrade(stream, identity, keys, dialer=dialer, expect=expect)
        except HandshakeFailed:
            raise
        except EndedEarly:
            why = "the peer ended the connection during the handshake"
        except (DecodeError, ProtocolRefused) as error:
            why = f"the peer does not speak as this network does: {error.message}"
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            why = f"the connection broke during the handshake: {error}"
    raise HandshakeFailed(why)


class Connection:
    """A peer, proved to be who it is, and the streams to it. Made by `open_connection`."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        upgraded: Upgraded,
        dialer: bool,
        protocols: Protocols,
        limits: Limits,
        budget: Budget | None,
        since: float,
    ) -> None:
        self.remote_key = upgraded.remote_key
        self.peer = upgraded.remote_key.peer_id
        self.dialer = dialer
        """Whether this side has opened it."""
        self.since = since
        """Unix time in seconds."""
        self.address: Multiaddr | None = None
        """Where the peer is; whoever opened the connection may note it here."""
        self.bytes_in = 0
        """Bytes that came over the wire, since the handshake."""
        self.bytes_out = 0
        """Bytes that went over the wire, since the handshake."""
        self.closed = trio.Event()
        """Set when nothing can be sent or received any more."""
        self.why = ""
        """Why it was closed, once it is."""
        self.unread = 0
        """Bytes of all its streams that came and were not received yet."""
        self._stream = stream
        self._sealed = upgraded.sealed
        self._rest = upgraded.rest
        self._protocols = protocols
        self._limits = limits
        self._budget = budget if budget is not None else Budget(limits.all_high)
        self._parser = Parser()
        self._outbox = Outbox(limits.payload)
        self._streams: dict[Key, Stream] = {}
        self._full: set[Stream] = set()
        self._next = 0  # the number of our next stream
        self._highest = -1  # the highest number of the peer's streams
        self._inbound = self._negotiating = 0
        self._stray = 0
        self._credit = float(limits.burst)
        self._last = self._charged = trio.current_time()
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._work: trio.Event | None = None  # while the writer has nothing to do
        self._drained: trio.Event | None = None  # while the reader holds back
        self._idle = trio.Event()  # while somebody waits for the writer to have nothing to do

    def __repr__(self) -> str:
        return f"Connection({str(self.peer)!r})"

    def streams(self) -> tuple[StreamInfo, ...]:
        """The open streams, in the order they were opened."""
        return tuple(
            StreamInfo(stream.protocol, stream.key.ours, stream.unread) for stream in self._streams.values()
        )

    async def open_stream(self, *protocols: str) -> Stream:
        """Open a stream for the first of `protocols` that the peer speaks.

        Raises ProtocolRefused when it speaks none of them, or as many streams are open as may be, and
        PeerGone when the connection ends, or the peer does not answer in time.
        """
        if self.why:
            raise PeerGone(self.why)
        if len(self._streams) - self._inbound >= self._limits.outbound_streams:
            raise ProtocolRefused(f"{self._limits.outbound_streams} streams to {self.peer} are open already")
        stream = Stream(self, self.peer, Key(self._next, True))
        self._next += 1
        self._streams[stream.key] = stream
        self.announce(Kind.OPEN, stream)
        negotiation = Dialer(protocols)
        try:
            with trio.move_on_after(self._limits.negotiation) as scope:
                await run(negotiation, _receiving(stream), stream.send_all)
            if scope.cancelled_caught:
                raise PeerGone(f"{self.peer} did not answer within {self._limits.negotiation:.0f} s")
        except EndedEarly:
            stream.reset("the peer ended the stream instead of an answer")
            raise PeerGone("the peer ended the stream instead of an answer") from None
        except DecodeError as error:
            stream.reset(error.message)
            raise PeerGone(f"{self.peer} does not negotiate: {error.message}") from None
        except BaseException:
            stream.reset("no protocol was agreed on")
            raise
        stream.put_back(negotiation.rest())
        stream.protocol = str(negotiation.chosen)
        return stream

    def close(self, why: str) -> None:
        """Be done with it, now. The first reason counts."""
        if not self.why:
            self.why = why
            self._scope.cancel()

    async def finish(self) -> None:
        """Let what was handed over be sent, for a moment, and close."""
        if not self.why:
            with trio.move_on_after(self._limits.flush):
                while self._outbox or self._work is None:
                    self._idle = trio.Event()
                    await self._idle.wait()
        self.close("closed on this side")

    async def run(self) -> None:
        """Carry bytes until it is closed. Raises only what a handler does that has a bug."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._guarded, self._read)
                    nursery.start_soon(self._guarded, self._write)
                    nursery.start_soon(self._guarded, self._watch)
        finally:
            self.why = self.why or "a part of this node failed"
            self._nursery = None
            for stream in list(self._streams.values()):
                stream.end(self.why)
            self._budget.used -= self.unread
            self.unread = 0
            self.closed.set()
            await trio.aclose_forcefully(self._stream)

    async def _guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run one of our tasks; whatever the peer has done ends the connection, with one line."""
        try:
            await task()
        except _Broken as error:
            why = str(error)
        except CodexError as error:
            why = error.message
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            why = f"the connection broke: {error}"
        if not self.why:
            _log.info("connection closed", peer=self.peer, why=why)
            self.close(why)

    # Reading.

    async def _read(self) -> None:
        frames = 0
        for frame in self._parser.feed(self._rest):
            self._arrived(frame)
        while True:
            data = await self._stream.receive_some(self._limits.read)
            if not data:
                raise _Broken("the peer ended it")
            self.bytes_in += len(data)
            self._last = trio.current_time()
            for plain in self._sealed.open(bytes(data)):
                frames += 1
                for frame in self._parser.feed(plain):
                    self._arrived(frame)
                    frames += 1
                    if frames >= _STEP:
                        frames = 0
                        await trio.lowlevel.checkpoint()
            await self._hold_back()

    def _arrived(self, frame: Frame) -> None:
        kind, key, data = frame
        stream = self._streams.get(key)
        if not data:
            self._charge()
        if kind is Kind.OPEN:
            self._open(key, stream)
        elif stream is None:
            self._astray(key, len(data))
        elif kind is Kind.DATA:
            self._data(stream, data)
        elif kind is Kind.CLOSE:
            stream.end_remote()
        else:
            stream.end_by_reset("the peer reset the stream")

    def _data(self, stream: Stream, data: memoryview) -> None:
        if stream.remote_ended:
            raise _Broken("the peer sends on a stream that it had ended")
        if stream.abandoned:
            stream.reset("nobody reads it any more")
            self._stray += len(data)
            return
        stream.last = self._last
        stream.arrive(data)
        self.unread += len(data)
        self._budget.used += len(data)
        if stream.unread > self._limits.stream_high:
            self._full.add(stream)

    def _open(self, key: Key, stream: Stream | None) -> None:
        if stream is not None:
            raise _Broken("the peer opens a stream that is open")
        self._highest = max(self._highest, key.number)
        limits = self._limits
        stream = Stream(self, self.peer, key)
        if self._inbound >= limits.inbound_streams or self._negotiating >= limits.negotiating:
            self.announce(Kind.RESET, stream)
            return
        self._streams[key] = stream
        self._inbound += 1
        assert self._nursery is not None, "frames are read inside the nursery only"
        self._nursery.start_soon(self._serve, stream)

    def _astray(self, key: Key, size: int) -> None:
        """Something for a stream that is not open: late, when it was, and wrong, when it never was."""
        if key.number >= self._next if key.ours else key.number > self._highest:
            raise _Broken("the peer speaks of a stream that was never opened")
        self._stray += size
        if self._stray > self._limits.stray + self.bytes_in / 2:
            raise _Broken("the peer does not stop sending on streams that are over")

    def _charge(self) -> None:
        """Count a frame without content, of which so many may come, and no more."""
        limits = self._limits
        earned = (self._last - self._charged) * limits.pace
        self._charged = self._last
        self._credit = min(self._credit + earned, limits.burst) - 1
        if self._credit < 0:
            raise _Broken("the peer opens, closes and resets more streams than anybody could mean")

    async def _hold_back(self) -> None:
        """Wait while more is unread than there should be; in the end, reset what holds up the rest."""
        while self._too_full():
            with trio.move_on_after(self._limits.stall) as scope:
                while self._too_full():
                    self._drained = trio.Event()
                    await self._drained.wait()
            self._drained = None
            if not scope.cancelled_caught:
                return
            held = self._full or {max(self._streams.values(), key=lambda stream: stream.unread)}
            for stream in list(held):
                _log.info(
                    "stream reset, for nobody read it",
                    peer=self.peer,
                    protocol=stream.protocol,
                    unread=stream.unread,
                )
                stream.reset(f"nobody read it for {self._limits.stall:.0f} s")

    def _too_full(self) -> bool:
        return (
            bool(self._full)
            or self.unread > self._limits.connection_high
            or (self._budget.exceeded and self.unread > self._limits.share)
        )

    # Streams that the peer opened.

    async def _serve(self, stream: Stream) -> None:
        """Agree with the peer on what a stream is for, and have it served."""
        handler = await self._negotiated(stream)
        if handler is None:
            return
        try:
            await handler(stream)
        except CodexError as error:
            _log.debug("stream given up", peer=self.peer, protocol=stream.protocol, why=error.message)
            stream.reset(error.message)
        else:
            await stream.aclose()

    async def _negotiated(self, stream: Stream) -> Handler | None:
        names = self._protocols.names
        negotiation = Listener(lambda name: name in names(), names)
        self._negotiating += 1
        why = f"no protocol was agreed on within {self._limits.negotiation:.0f} s"
        try:
            with trio.move_on_after(self._limits.negotiation):
                await run(negotiation, _receiving(stream), stream.send_all)
                stream.protocol = str(negotiation.chosen)
                stream.put_back(negotiation.rest())
                return self._protocols.handler(stream.protocol)
        except EndedEarly:
            why = "the peer ended the stream before a protocol was agreed on"
        except CodexError as error:
            why = error.message
        finally:
            self._negotiating -= 1
        _log.debug("stream refused", peer=self.peer, why=why)
        stream.reset(why)
        return None

    # Writing.

    async def _write(self) -> None:
        limits = self._limits
        size = limits.batch_least
        while True:
            batch = self._outbox.fill(size)
            if not batch:
                await self._until_work()
                continue
            data = self._sealed.seal(batch)
            began = trio.current_time()
            with trio.move_on_after(limits.write_stall) as scope:
                await self._stream.send_all(data)
            if scope.cancelled_caught:
                raise _Broken(f"the peer took nothing for {limits.write_stall:.0f} s")
            self.bytes_out += len(data)
            took = trio.current_time() - began
            if took > limits.batch_time:
                size = max(size // 2, limits.batch_least)
            elif len(data) >= size and took < limits.batch_time / 4:
                size = min(size * 2, limits.batch)

    async def _until_work(self) -> None:
        """Wait until there is something to send."""
        self._idle.set()
        self._work = trio.Event()
        with trio.move_on_after(self._limits.keep) as scope:
            await self._work.wait()
        if scope.cancelled_caught:
            self._sealed.release()
            await self._work.wait()
        self._work = None

    def _wake_writer(self) -> None:
        if self._work is not None:
            self._work.set()

    # Time.

    async def _watch(self) -> None:
        """Reset streams, and close the connection, when nothing has come or gone for long."""
        limits = self._limits
        while True:
            now = trio.current_time()
            for stream in list(self._streams.values()):
                if stream.last + limits.stream_idle <= now:
                    stream.reset(f"nothing came or went for {limits.stream_idle:.0f} s")
            if self._last + limits.connection_idle <= now:
                raise _Broken(f"nothing came for {limits.connection_idle:.0f} s")
            # What begins or moves meanwhile has a later end, so that nothing is missed until then.
            ends = [stream.last + limits.stream_idle for stream in self._streams.values()]
            ends.append(now + limits.stream_idle)
            await trio.sleep_until(min(*ends, self._last + limits.connection_idle))

    # What streams need.

    def announce(self, kind: Kind, stream: Stream) -> None:
        """Tell the peer that a stream was opened, closed or reset."""
        self._outbox.announce(kind, stream.key)
        self._wake_writer()

    def enter(self, stream: Stream) -> None:
        """Send what a stream has to give."""
        self._outbox.enter(stream)
        self._wake_writer()

    def taken(self, stream: Stream, count: int) -> None:
        """So many bytes of a stream are no longer unread."""
        if self.closed.is_set():
            return
        self.unread -= count
        self._budget.used -= count
        if stream.unread <= self._limits.stream_low:
            self._full.discard(stream)
        if self._drained is not None:
            self._drained.set()

    def leave(self, stream: Stream) -> None:
        """A stream is over."""
        if self._streams.pop(stream.key, None) is not None and not stream.key.ours:
            self._inbound -= 1


def _receiving(stream: Stream) -> Callable[[], Awaitable[bytes]]:
    async def receive() -> bytes:
        data = bytes(await stream.receive_some())
        if not data:
            raise EndedEarly
        return data

    return receive
