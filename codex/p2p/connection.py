"""A connection to a peer: safe, carrying many streams, and bounded in all that the peer can make it cost.

`open_connection` makes one of a bare byte stream. Inside its block run a reader, a writer, a watch
over idle time, and a task for each stream that the peer has opened.

Back-pressure: mplex has none of its own, so that a stream whose bytes nobody takes can be held back only by
not reading the connection at all. That is done for `Limits.stall` seconds; then that stream is reset.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from attrs import frozen

from codex.errors import CodexError, DecodeError, HandshakeFailed, PeerGone, ProtocolRefused
from codex.logs import get_logger
from codex.p2p import noise
from codex.p2p.flow import Flow
from codex.p2p.identity import Identity, PeerId
from codex.p2p.limits import Budget, Limits
from codex.p2p.mplex import Parser
from codex.p2p.mux import Broken, Mux
from codex.p2p.negotiating import Protocols, answer, propose
from codex.p2p.streams import Stream
from codex.p2p.upgrade import FRAMES_AT_ONCE, EndedEarly, Upgraded, upgrade
from codex.runtime import Clock, Entropy, unwrapped

_log = get_logger("p2p")

_STEP = 500
"""Frames that are looked at before others have their turn: some 2 ms of work."""


@frozen
class StreamInfo:
    """A line of the table of streams."""

    protocol: str
    ours: bool
    unread: int  # bytes


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
        self.bytes_in = 0
        """Bytes that came over the wire, since the handshake."""
        self.bytes_out = 0
        """Bytes that went over the wire, since the handshake."""
        self.closed = trio.Event()
        """Set when nothing can be sent or received any more."""
        self.why = ""
        """Why it was closed, once it is."""
        self._stream = stream
        self._sealed = upgraded.sealed
        self._rest = upgraded.rest
        self._protocols = protocols
        self._limits = limits
        self._mux = Mux(
            self.peer, limits, budget or Budget(limits.all_high), opened=self._start_serving, fail=self._fail
        )
        self._parser = Parser()
        self._last = trio.current_time()
        self.incoming = Flow(self._last)
        self.outgoing = Flow(self._last)
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        self._idle: trio.Event | None = None  # while somebody waits for the writer to have nothing to do
        self._writing: float | None = None  # since when the batch that is being sent has been

    def __repr__(self) -> str:
        return f"Connection({str(self.peer)!r})"

    def streams(self) -> tuple[StreamInfo, ...]:
        """The open streams, in the order they were opened."""
        return tuple(
            StreamInfo(stream.protocol, stream.key.ours, stream.unread) for stream in self._mux.streams
        )

    @property
    def unread(self) -> int:
        """Bytes of all its streams that came and were not received yet."""
        return self._mux.unread

    async def open_stream(self, *protocols: str) -> Stream:
        """Open a stream for the first of `protocols` that the peer speaks.

        Raises ProtocolRefused when it speaks none of them, or as many streams are open as may be, and
        PeerGone when the connection ends, or the peer does not answer in time.
        """
        if self.why:
            raise PeerGone(self.why)
        stream = self._mux.open()
        await propose(stream, protocols, self._limits.negotiation)
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
                while self._mux.outbox or self._mux.work is None:
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
            self.why = self.why or "closed on this side"
            self._nursery = None
            self._mux.end(self.why)
            self.closed.set()
            await trio.aclose_forcefully(self._stream)

    async def _guarded(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run one of our tasks; whatever the peer has done ends the connection, with one line."""
        try:
            await task()
        except Broken as error:
            self._fail(str(error))
        except CodexError as error:
            self._fail(error.message)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._fail(f"the connection broke: {error}")

    def _fail(self, why: str) -> None:
        if not self.why:
            _log.info("connection closed", peer=str(self.peer), why=why)
            self.close(why)

    # Reading.

    async def _read(self) -> None:
        for frame in self._parser.feed(self._rest):
            self._mux.arrived(frame, self._last)
        while await self._read_some():
            while self._mux.too_full:
                await self._hold_back()
        _log.debug("connection closed by the peer", peer=str(self.peer))
        self.close("the peer closed the connection")

    async def _read_some(self) -> bool:
        """Take what comes next; whether it is not the end. What came is let go of before the next wait."""
        data = await self._stream.receive_some(self._mux.appetite)
        self.bytes_in += len(data)
        self._last = trio.current_time()
        self.incoming.moved(len(data), self._last)
        count = 0
        for plain in self._sealed.open(bytes(data)):
            count = await self._breathe(count + FRAMES_AT_ONCE)
            for frame in self._parser.feed(plain):
                self._mux.arrived(frame, self._last)
                count += 1
                if count >= _STEP:
                    count = await self._breathe(count)
        return bool(data)

    async def _breathe(self, count: int) -> int:
        """Let others have their turn when so many frames were looked at in this one; how many it is now."""
        if count < _STEP:
            return count
        await trio.lowlevel.checkpoint()
        return 0

    async def _hold_back(self) -> None:
        """Wait until less is unread, but not for ever."""
        mux, seconds = self._mux, self._limits.stall
        with trio.move_on_after(seconds) as scope:
            while mux.too_full:
                mux.drained = trio.Event()
                await mux.drained.wait()
        mux.drained = None
        if scope.cancelled_caught:
            for stream in mux.give_up_full(f"nobody read it for {seconds:.0f} s"):
                _log.info("stream reset, for nobody read it", peer=str(self.peer), protocol=stream.protocol)

    # Streams that the peer opened.

    def _start_serving(self, stream: Stream) -> None:
        assert self._nursery is not None, "streams are opened while it runs only"
        self._nursery.start_soon(self._serve, stream)

    async def _serve(self, stream: Stream) -> None:
        """Agree with the peer on what a stream is for, and have it served."""
        try:
            try:
                handler = await answer(stream, self._protocols, self._limits.negotiation)
            finally:
                self._mux.negotiated()
            await handler(stream)
        except CodexError as error:
            _log.debug("stream given up", peer=str(self.peer), protocol=stream.protocol, why=error.message)
            stream.reset(error.message)
        else:
            await stream.aclose()
        finally:
            self._mux.served()

    # Writing.

    async def _write(self) -> None:
        limits = self._limits
        size = limits.batch_least
        while True:
            began, sent = trio.current_time(), await self._write_batch(size)
            took = trio.current_time() - began
            if not sent:
                await self._until_work()
            elif took > limits.batch_time:
                size = max(size // 2, limits.batch_least)
            elif sent >= size and took < limits.batch_time / 4:
                size = min(size * 2, limits.batch)

    async def _write_batch(self, size: int) -> int:
        """Send about so many bytes of what there is to send; how many went. No memory of theirs is kept."""
        batch = self._mux.outbox.fill(size)
        if not batch:
            return 0
        data = self._sealed.seal(batch)
        del batch  # the senders may have let go of theirs
        # Whether that takes too long is for the watch to see: a deadline costs as much as making a batch.
        self._writing = trio.current_time()
        await self._stream.send_all(data)
        self._writing = None
        self.bytes_out += len(data)
        self.outgoing.moved(len(data), trio.current_time())
        return len(data)

    async def _until_work(self) -> None:
        """Wait until there is something to send."""
        if self._idle is not None:
            self._idle.set()
        mux = self._mux
        mux.work = trio.Event()
        if self._sealed.room > self._limits.batch_least:
            with trio.move_on_after(self._limits.keep):
                await mux.work.wait()
            if not mux.work.is_set():
                self._sealed.release()
        await mux.work.wait()
        mux.work = None

    # Time.

    async def _watch(self) -> None:
        """Reset streams, and close the connection, when nothing has come or gone for long."""
        limits = self._limits
        while True:
            now = trio.current_time()
            writing = now if self._writing is None else self._writing
            if writing + limits.write_stall <= now:
                raise Broken(f"the peer took nothing for {limits.write_stall:.0f} s")
            for stream in self._mux.streams:
                if stream.last + limits.stream_idle <= now:
                    stream.reset(f"nothing came or went for {limits.stream_idle:.0f} s")
            if self._last + limits.connection_idle <= now:
                raise Broken(f"nothing came for {limits.connection_idle:.0f} s")
            # What begins or moves meanwhile has a later end, so that nothing is missed until then.
            ends = [stream.last + limits.stream_idle for stream in self._mux.streams]
            ends += (now + limits.stream_idle, writing + limits.write_stall)
            await trio.sleep_until(min(*ends, self._last + limits.connection_idle))
