"""The connections that are ready, each with what is known of the peer. Changes without waiting, and tells.

`PeerTable` decides; what it decides about connections is done here.
"""

from collections.abc import Callable
from math import inf

import trio
from attrs import define, field

from codex.codec import Multiaddr
from codex.errors import PeerGone
from codex.logs import get_logger
from codex.p2p import identify, pinging
from codex.p2p.addresses import Reach, dialable, reach, source_of
from codex.p2p.board import PeerJoined, PeerLeft, Switchboard
from codex.p2p.connection import Connection
from codex.p2p.identify import Identify
from codex.p2p.identity import PeerId
from codex.p2p.peers import PeerInfo, PeerTable

RETIRE = 10.0
"""Seconds that a connection which is one too many still lives, for what has begun on it."""

_HOUSEKEEPING = ("", identify.PROTOCOL, pinging.PROTOCOL)

_log = get_logger("p2p")


@define(eq=False)
class Link:
    """A connection to a peer that has joined. Cancelling `scope` ends it in good order."""

    number: int
    connection: Connection
    address: Multiaddr
    dialled: bool
    told: Identify
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    left: trio.Event = field(factory=trio.Event)
    latency: float | None = None
    why: str = ""

    @property
    def busy(self) -> bool:
        """Whether the peer is being sent something, or sends something after we have turned to it. Streams
        alone are no work, since they cost nothing, nor is what comes unasked.
        """
        connection, now = self.connection, trio.current_time()
        if connection.outgoing.runs(now):
            return True
        turned = any(one.ours and one.protocol not in _HOUSEKEEPING for one in connection.streams())
        return turned and connection.incoming.runs(now)

    def end(self, why: str) -> None:
        """End it, after what was handed over has been sent. The first reason counts."""
        self.why = self.why or why
        self.scope.cancel()

    def note(self, latency: float) -> None:
        """The way to the peer and back took so long, in seconds."""
        self.latency = latency

    def info(self) -> PeerInfo:
        """How things stand now."""
        connection, told = self.connection, self.told
        return PeerInfo(
            peer=connection.peer,
            address=self.address,
            dialled=self.dialled,
            agent=told.agent,
            protocols=told.protocols,
            since=connection.since,
            bytes_in=connection.bytes_in,
            bytes_out=connection.bytes_out,
            latency=self.latency,
            streams=len(connection.streams()),
            record=told.record,
            listening=told.addresses,
            observed=told.observed,
        )


class Links:
    """Everybody who is here."""

    def __init__(self, table: PeerTable, board: Switchboard) -> None:
        self._table = table
        self._board = board
        self._links: dict[int, Link] = {}
        self.on_join: Callable[[PeerId], None] = lambda peer: None
        """Told of each connection that is ready."""

    def join(self, connection: Connection, address: Multiaddr, dialled: bool, told: Identify) -> Link:
        """Take in a connection whose peer has identified itself. Raises PeerGone when it is not wanted."""
        peer = connection.peer
        verdict = self._table.join(
            peer,
            dialled=dialled,
            now=trio.current_time(),
            address=address if dialled else None,
            source="" if dialled else source_of(address),
            shared=reach(address) is not Reach.PUBLIC,
            busy=self.busy(),
        )
        if verdict.link is None:
            raise PeerGone(verdict.why)
        link = self._links[verdict.link] = Link(verdict.link, connection, address, dialled, told)
        listening = told.record.record.addresses if told.record is not None else told.addresses
        reached = (address,) if dialled else ()
        self._table.remember(peer, [one for one in (*reached, *listening) if dialable(one)])
        for number, why in verdict.close:
            self._links[number].end(why)
        if verdict.retire is not None:
            self._retire(self._links[verdict.retire])
        if verdict.first:
            _log.info("peer joined", peer=str(peer), address=str(address), agent=told.agent, dialled=dialled)
            self._board.publish(PeerJoined(peer, address))
        self.on_join(peer)
        return link

    def leave(self, link: Link) -> None:
        """A connection is over. Its peer has left, when this was the last one to it."""
        del self._links[link.number]
        self._board.counts.bytes_in += link.connection.bytes_in
        self._board.counts.bytes_out += link.connection.bytes_out
        peer = link.connection.peer
        why = link.why or link.connection.why or "a part of this node failed"
        if self._table.left(link.number):
            _log.info("peer left", peer=str(peer), why=why)
            self._board.publish(PeerLeft(peer, why))
        link.left.set()

    def part(self, peer: PeerId, why: str) -> list[Link]:
        """End every connection to a peer; those that are being ended now."""
        found = [self._links[number] for number in self._table.links_to(peer)]
        for link in found:
            self._table.part(link.number)
            link.end(why)
        return found

    def part_all(self, why: str) -> None:
        """End everything."""
        for link in self._links.values():
            self._table.part(link.number)
            link.end(why)

    def all(self) -> list[Link]:
        """Every connection that is ready, also those that are being ended."""
        return list(self._links.values())

    def get(self, peer: PeerId) -> Link:
        """The connection to begin something on. Raises PeerGone when the peer is not here."""
        number = self._table.pick(peer)
        if number is None:
            raise PeerGone(f"there is no connection to {peer}")
        return self._links[number]

    def busy(self) -> set[int]:
        """The connections that somebody works on."""
        return {number for number, link in self._links.items() if link.busy}

    def is_connected(self, peer: PeerId) -> bool:
        return self._table.pick(peer) is not None

    def infos(self) -> list[PeerInfo]:
        return [self.get(peer).info() for peer in self._table.peers()]

    def moved(self) -> tuple[int, int]:
        connections = [link.connection for link in self._links.values()]
        return sum(one.bytes_in for one in connections), sum(one.bytes_out for one in connections)

    def _retire(self, link: Link) -> None:
        if link.scope.deadline == inf:
            # If it is the last one to end after all, why it did is told by its own end.
            link.scope.deadline = trio.current_time() + RETIRE
