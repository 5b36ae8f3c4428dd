"""The switch as a service: takes connections, makes them, keeps them, and answers what it is asked.

One object is one life; nothing of it is left behind but what the board shows. A connection's trouble is its
own: it ends that connection, with one line in the log. A listener's trouble is waited out.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from math import inf
from typing import Any, TypeVar

import trio
from attrs import define

from codex.codec import Multiaddr
from codex.config import P2pConfig
from codex.errors import CodexError, PeerGone, PortTaken
from codex.logs import get_logger
from codex.p2p import calls, pinging
from codex.p2p.addresses import Reach, announced, reach, source_of
from codex.p2p.board import Switchboard
from codex.p2p.dialling import Dialler
from codex.p2p.handlers import Handlers, contained
from codex.p2p.holding import Holder
from codex.p2p.identity import Identity
from codex.p2p.limits import Limits
from codex.p2p.links import Link, Links
from codex.p2p.peers import PeerTable
from codex.p2p.record import SignedPeerRecord
from codex.p2p.tally import PERIOD, Tally
from codex.p2p.throttling import Throttle
from codex.p2p.transport import Listener, Transport
from codex.runtime import Clock, Entropy, Inbox, serve, unwrapped
from codex.units import human_size

T = TypeVar("T")

LIMIT = 4096
"""Calls in work at once. Dials to the dead take long, and must not hold up what is asked about the living."""
STOPPING = 3.0
"""Seconds in which connections end in good order; then they are cut."""
FIRST_PAUSE = 0.01
LONGEST_PAUSE = 1.0
LOOK = 15.0
"""Seconds between two looks at where this machine is reached: networks come late, go, and change."""

_SILENT = "no handshake came about in time"
_CROWD = "too many begin a handshake at once"
_REFUSED = "the handshake failed, or there is no room"
"""What dropped connections are summed up under."""

_log = get_logger("p2p")


@define(eq=False)
class _Stranger:
    """Somebody at the handshake. `why` is what it is given up for, if it ever is."""

    scope: trio.CancelScope
    why: str = _SILENT

    def give_up(self, why: str) -> None:
        """End its handshake, and tell of it as that; empty: tell of nothing."""
        self.why = why
        self.scope.cancel()


class SwitchService:
    """The task behind `Switch`. `board` and `handlers` outlive it."""

    def __init__(
        self,
        config: P2pConfig,
        identity: Identity,
        *,
        board: Switchboard,
        transport: Transport,
        clock: Clock,
        entropy: Entropy,
        handlers: Handlers,
        limits: Limits | None = None,
        record: Callable[[], SignedPeerRecord | None] = lambda: None,
    ) -> None:
        """`record` gives a record of this node that says more than where connections reach it, such as where
        discovery does; None while there is none. Peers are shown that one.
        """
        self._config = config
        self._identity = identity
        self._board = board
        self._transport = transport
        self._clock = clock
        self._entropy = entropy
        self._limits = limits or Limits()
        self._table = PeerTable(identity.peer_id, config.max_peers)
        self._links = Links(self._table, board)
        self._holder = Holder(
            identity,
            config.agent_string,
            links=self._links,
            handlers=handlers,
            limits=self._limits,
            clock=clock,
            entropy=entropy,
            fuller=record,
        )
        self._routes: dict[int, str] = {}
        self._strangers: dict[int, _Stranger] = {}
        self._dropped = Tally()
        self._some_dropped = trio.Event()

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Listen, answer until `inbox` ends, and end every connection. Raises PortTaken, ConfigError."""
        listeners: list[Listener] = []
        throttle = Throttle(self._config.upload_limit, self._config.download_limit)
        if self._config.upload_limit or self._config.download_limit:
            up, down = map(_rate, (self._config.upload_limit, self._config.download_limit))
            _log.info("traffic with other nodes is bounded", upload=up, download=down)
        try:
            for address in map(Multiaddr.parse, self._config.listen_addrs):
                listener = await self._listen(address)
                listeners.append(listener)
            self._board.listening = tuple(listener.address for listener in listeners)
            self._announce()
            self._board.present = self._links
            with unwrapped():
                async with trio.open_nursery() as nursery:
                    dialler = Dialler(
                        nursery,
                        self._transport,
                        table=self._table,
                        links=self._links,
                        holder=self._holder,
                        throttle=throttle,
                        own=lambda: (*self._board.listening, *self._board.announced),
                        counts=self._board.counts,
                    )
                    self._links.on_join = dialler.joined
                    for listener in listeners:
                        nursery.start_soon(self._accept, nursery, listener, throttle)
                    nursery.start_soon(self._wind_up, inbox, dialler)
                    nursery.start_soon(self._keep_telling)
                    nursery.start_soon(self._keep_announcing)
                    await serve(inbox, partial(self._answer, dialler), limit=LIMIT, task_status=task_status)
                    await self._ended()
                    nursery.cancel_scope.cancel()
        finally:
            self._tell_of_dropped()
            self._board.clear()
            if inbox.stopping.is_set():
                self._board.close()
            with trio.CancelScope(shield=True):
                for listener in listeners:
                    await listener.aclose()

    async def _listen(self, address: Multiaddr) -> Listener:
        """Listen at an address; where it leaves the port open, at that of the last life if that is free."""
        earlier = self._board.ports.get(address)
        if earlier is not None:
            try:
                return await self._transport.listen(earlier)
            except PortTaken:
                _log.warning("another program has taken the port of this node", address=str(earlier))
        listener = await self._transport.listen(address)
        if address.get("tcp") == "0":
            self._board.ports[address] = listener.address
        return listener

    def _announce(self) -> None:
        """Show what this node tells others about where it listens, as it is now."""
        listening, record = self._board.listening, self._holder.record
        found = announced(listening, self._config.nat, self._route)
        if record is not None and found.addresses == self._board.announced:
            return
        for note in found.notes:
            _log.info(note)
        _log.info("listening", listening=list(map(str, listening)), announced=list(map(str, found.addresses)))
        # The record with the higher number counts; with the time for a number, that of the last start.
        number = max(int(self._clock.now()), 0 if record is None else record.record.seq + 1)
        self._holder.record = SignedPeerRecord.sign(self._identity, number, found.addresses)
        self._board.announced = found.addresses

    def _route(self, version: int) -> str | None:
        """Where this machine is reached; where it was, while it has no network: that may well come back."""
        host = self._transport.source_address(version)
        if host is not None:
            self._routes[version] = host
        return self._routes.get(version)

    async def _keep_announcing(self) -> None:
        while True:
            await trio.sleep(LOOK)
            self._announce()

    # -- connections that others make

    async def _accept(self, nursery: trio.Nursery, listener: Listener, throttle: Throttle) -> None:
        """Take connections, for ever."""
        pause = 0.0
        while True:
            try:
                stream, remote = await listener.accept()
            except OSError as error:
                if not pause:
                    _log.warning(
                        "no connection can be taken for now", address=str(listener.address), why=str(error)
                    )
                pause = min(LONGEST_PAUSE, 2 * pause or FIRST_PAUSE)
                await trio.sleep(pause)
                continue
            pause = 0.0
            knock = self._table.knock(source_of(remote), counted=reach(remote) is not Reach.LOOPBACK)
            if knock.evicted is not None:
                self._strangers[knock.evicted].give_up(_CROWD)
            if knock.ticket is None:
                self._drop(remote, _CROWD, _CROWD)
                await trio.aclose_forcefully(stream)
                continue
            scope = trio.CancelScope(deadline=trio.current_time() + self._limits.handshake)
            stranger = self._strangers[knock.ticket] = _Stranger(scope)
            nursery.start_soon(self._welcome, throttle.around(stream), remote, knock.ticket, stranger)

    async def _welcome(
        self, stream: trio.abc.Stream, remote: Multiaddr, ticket: int, stranger: _Stranger
    ) -> None:
        """Serve one connection that somebody made to us, for as long as it lives."""

        def told(error: Exception) -> None:
            if isinstance(error, CodexError):
                self._drop(remote, _REFUSED, error.message)
            else:
                _log.error("connection crashed", address=str(remote), exc_info=error)

        def joined() -> None:
            self._answered(ticket)
            stranger.scope.deadline = inf

        try:
            with stranger.scope, contained(told):
                await self._holder.hold(stream, remote, dialled=False, joined=joined)
            if stranger.scope.cancelled_caught and stranger.why:
                self._drop(remote, stranger.why, stranger.why)
        finally:
            self._answered(ticket)
            await trio.aclose_forcefully(stream)

    def _answered(self, ticket: int) -> None:
        self._table.answered(ticket)
        self._strangers.pop(ticket, None)

    def _drop(self, remote: Multiaddr, reason: str, why: str) -> None:
        """Tell of a connection that came to nothing: at once when it is the first of its source in a while,
        and in any case in a sum.
        """
        self._board.counts.dropped[reason] += 1
        if self._dropped.add(source_of(remote), reason):
            _log.info("connection refused", address=str(remote), why=why)
        self._some_dropped.set()

    async def _keep_telling(self) -> None:
        while True:
            await self._some_dropped.wait()
            await trio.sleep(PERIOD)
            self._tell_of_dropped()

    def _tell_of_dropped(self) -> None:
        self._some_dropped = trio.Event()
        found = self._dropped.take()
        # With as many as there are sources, each has had its line.
        if found is not None and found.count > found.sources:
            _log.info("connections dropped", **found.fields())

    # -- what is asked

    async def _answer(self, dialler: Dialler, call: Any) -> Any:
        match call:
            case calls.Connect(peer, addresses):
                return await dialler.connect(peer, addresses)
            case calls.Disconnect(peer, why):
                for link in self._links.part(peer, why or "this side ended the connection"):
                    await link.left.wait()
                return await trio.lowlevel.checkpoint()
            case calls.OpenStream(peer, protocols):
                link = self._links.get(peer)
                return await _on(link, partial(link.connection.open_stream, *protocols))
            case calls.Ping(peer):
                link = self._links.get(peer)
                return await _on(link, partial(self._ping, link))
        raise TypeError(f"the switch has no answer to {type(call).__name__}")

    async def _ping(self, link: Link) -> float:
        with trio.move_on_after(pinging.PATIENCE):
            link.latency = await pinging.measure(link.connection, clock=self._clock, entropy=self._entropy)
            return link.latency
        raise PeerGone(f"{link.connection.peer} did not answer a ping within {pinging.PATIENCE:.0f} s")

    # -- the end

    async def _wind_up(self, inbox: Inbox, dialler: Dialler) -> None:
        """When the service is to finish, let nobody wait any longer for what will not come."""
        await inbox.stopping.wait()
        dialler.stop()
        for stranger in self._strangers.values():
            stranger.give_up("")
        self._links.part_all("this node stops")

    async def _ended(self) -> None:
        """Wait a moment for the connections to end."""
        with trio.move_on_after(STOPPING):
            for link in self._links.all():
                await link.left.wait()


async def _on(link: Link, work: Callable[[], Awaitable[T]]) -> T:
    """Do something on a connection. A bug in it ends that connection, and is no more than that."""
    try:
        return await work()
    except CodexError:
        raise
    except Exception as error:
        _log.error("connection crashed", peer=str(link.connection.peer), exc_info=error)
        link.connection.close("this node failed over it")
        raise PeerGone("this node failed over the connection, and has ended it") from error


def _rate(limit: int) -> str:
    return f"{human_size(limit)}/s" if limit else "without bound"
