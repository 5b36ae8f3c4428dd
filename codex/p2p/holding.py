"""The life of one connection: handshake, identify, joining, signs of life, and the end. In one task.

What goes wrong before it has joined is raised, and after that is told to nobody but those who use it.
"""

from collections.abc import Callable
from functools import partial

import trio
from attrs import evolve

from codex.codec import Multiaddr
from codex.errors import DecodeError, HandshakeFailed, ProtocolRefused
from codex.p2p import identify, pinging
from codex.p2p.connection import Connection, open_connection
from codex.p2p.framing import MessageReader, write_message
from codex.p2p.handlers import Handler, Handlers
from codex.p2p.identify import Identify
from codex.p2p.identity import Identity, PeerId
from codex.p2p.limits import Budget, Limits
from codex.p2p.links import Link, Links
from codex.p2p.record import SignedPeerRecord
from codex.p2p.streams import Stream
from codex.runtime import Clock, Entropy

IDENTIFYING = 10.0
"""Seconds that a peer has to say who it is."""
HANDSHAKE = 15.0
"""Seconds for the handshake with a node that we dial: there may be another address to try."""
STREAMS = 4
"""Streams on which one peer may ask us at once who we are."""


class Holder:
    """Keeps connections, each for as long as it lives. `record` is what we tell others about ourselves; what
    `fuller` gives goes in its place where it names the same addresses and others besides.
    """

    def __init__(
        self,
        identity: Identity,
        agent: str,
        *,
        links: Links,
        handlers: Handlers,
        limits: Limits,
        clock: Clock,
        entropy: Entropy,
        fuller: Callable[[], SignedPeerRecord | None],
    ) -> None:
        self.record: SignedPeerRecord | None = None
        self._identity = identity
        self._agent = agent
        self._links = links
        self._handlers = handlers
        self._limits = limits
        self._dialled = evolve(limits, handshake=min(limits.handshake, HANDSHAKE))
        self._clock = clock
        self._entropy = entropy
        self._fuller = fuller
        self._budget = Budget(limits.all_high)

    async def hold(
        self,
        stream: trio.abc.Stream,
        address: Multiaddr,
        *,
        dialled: bool,
        expect: PeerId | None = None,
        joined: Callable[[], None],
    ) -> None:
        """Make `stream` a connection to whoever is at `address`, and keep it until it ends; it is closed
        then.

        `joined` is called when the peer has joined; before that HandshakeFailed and PeerGone may be raised.
        """
        served = _Served(self._handlers)
        # Whoever is called says who it is when it has let the caller in, and not before: so a caller that
        # was told has arrived. The caller itself says it at once.
        tell = partial(self._tell, served, address, not dialled)
        served.own.add(identify.PROTOCOL, tell, limit=STREAMS)
        served.own.add(pinging.PROTOCOL, pinging.answer, limit=pinging.STREAMS)
        async with open_connection(
            stream,
            identity=self._identity,
            dialer=dialled,
            expect=expect,
            protocols=served,
            limits=self._dialled if dialled else self._limits,
            entropy=self._entropy,
            clock=self._clock,
            budget=self._budget,
        ) as connection:
            told = await self._identified(connection)
            link = self._links.join(connection, address, dialled, told)
            try:
                joined()
                served.joined.set()
                await self._live(link)
            finally:
                self._links.leave(link)

    async def _live(self, link: Link) -> None:
        """Wait until the connection is over, or is to be ended on this side."""
        connection = link.connection
        with link.scope:
            async with trio.open_nursery() as nursery:
                measure = partial(pinging.keep_measuring, clock=self._clock, entropy=self._entropy)
                nursery.start_soon(measure, connection, link.note)
                await connection.closed.wait()
                nursery.cancel_scope.cancel()

    async def _identified(self, connection: Connection) -> Identify:
        """Who the peer says that it is. Raises HandshakeFailed, PeerGone."""
        with trio.move_on_after(IDENTIFYING):
            try:
                stream = await connection.open_stream(identify.PROTOCOL)
                try:
                    data = await MessageReader(stream, identify.MAX_MESSAGE).receive()
                finally:
                    await stream.aclose()
                if data is None:
                    raise DecodeError("it said nothing")
                told = Identify.from_bytes(data)
            except (DecodeError, ProtocolRefused) as error:
                raise HandshakeFailed(f"the peer does not identify itself: {error.message}") from None
            if told.public_key.peer_id != connection.peer:
                raise HandshakeFailed(f"the peer identifies itself as {told.public_key.peer_id}")
            return told
        raise HandshakeFailed(f"the peer did not identify itself within {IDENTIFYING:.0f} s")

    async def _tell(self, served: "_Served", observed: Multiaddr, later: bool, stream: Stream) -> None:
        """Say who we are; `later` is when the peer has joined."""
        if later:
            await served.joined.wait()
        own = self.record
        addresses = own.record.addresses if own is not None else ()
        fuller = self._fuller()
        record = fuller if fuller is not None and set(addresses) <= set(fuller.record.addresses) else own
        message = Identify(
            public_key=self._identity.public_key,
            addresses=addresses,
            protocols=served.names(),
            observed=observed,
            agent=self._agent,
            record=record,
        )
        await write_message(stream, message.to_bytes())


class _Served:
    """What one peer is served: by handlers of the connection's own at once, by the others when it joined."""

    def __init__(self, others: Handlers) -> None:
        self.own = Handlers()
        self.joined = trio.Event()
        self._others = others

    def names(self) -> tuple[str, ...]:
        return (*self.own.names(), *self._others.names())

    def handler(self, name: str) -> Handler | None:
        own = self.own.handler(name)
        other = self._others.handler(name)
        if own is not None or other is None:
            return own

        async def serve(stream: Stream) -> None:
            await self.joined.wait()
            await other(stream)

        return serve
