"""Finding the nodes on the same network without knowing any: a service that asks by multicast, and answers.

It asks at its start, soon again, and then ever more rarely, and anew whenever the machine comes to another
network. To have no network, or no access to the port of multicast DNS, is a state: the service looks again
later, and says so once.

Everybody on the network can say anything here. So packets are looked at and neighbours told of at a rate, and
what a neighbour says is for those who use it to check: a connection to it proves its name. Addresses that
only this machine reaches are believed only when they come from this machine.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from typing import Protocol

import trio
from attrs import define, evolve

from codex.codec import Multiaddr
from codex.discovery import lan_messages
from codex.discovery.crypto import Entropy
from codex.discovery.lan_messages import Answer, Neighbour, Query
from codex.discovery.nodes import Reach, address_of, reach_of
from codex.discovery.rates import Limiter, Rate
from codex.discovery.sessions import Address
from codex.errors import CodexError, DecodeError
from codex.logs import get_logger
from codex.p2p import PeerId, SignedPeerRecord
from codex.runtime import Inbox

FIRST_INTERVAL = 1.0
LONGEST_INTERVAL = 300.0
"""Seconds between two questions; each interval is twice the one before."""
LOOK = 15.0
"""Seconds between two looks at the networks of this machine."""
RETRY = 60.0
"""Seconds until the port is tried again."""
ANSWER_DELAY = (0.02, 0.12)
"""Seconds after a question, so that not all answer at once."""
ANSWER_PAUSE = 1.0
"""Seconds from one answer of ours to the next, however many ask."""
MDNS_PORT = 5353
"""Answers come from this port; what comes from another is no answer."""

READ_EACH = Rate(20, 40)
"""Packets looked at, of one machine."""
READ_TOTAL = Rate(100, 200)
REPEAT = Rate(1 / 60, 1)
"""How often the same news of one node are told."""
TELL_EACH = Rate(1, 20)
"""News that one machine may bring."""
TELL_TOTAL = Rate(5, 50)
TELLERS = 4
"""Neighbours that are told of at once."""
WAITING = 32
"""Neighbours that wait to be told of; those that come on top are told of when they are heard again."""
MAX_NAMED = 8
"""Addresses that we tell."""

_NAME_BYTES = 20

_log = get_logger("lan")

Found = Callable[[PeerId, tuple[Multiaddr, ...], SignedPeerRecord | None], Awaitable[None]]
"""Is told of a node: its name, its addresses without the name, and its record in discovery if it has one."""


class MulticastSocket(Protocol):
    """A member of the group of multicast DNS, on every network of this machine."""

    def hosts(self) -> Sequence[str]:
        """This machine's own IPv4 address on each of its networks, as they are now."""
        ...

    async def send(self, data: bytes) -> None:
        """Send one datagram to everybody; whether it arrives nobody is told."""
        ...

    async def receive(self) -> tuple[bytes, Address]:
        """The next datagram, and where it comes from."""
        ...

    def close(self) -> None:
        """Leave the group."""
        ...


@define
class LanState:
    """How finding neighbours stands; the service writes it, everybody may look."""

    hosts: tuple[str, ...] = ()
    """This machine's address on each network where nodes are looked for."""
    trouble: str = ""
    """Why nodes are not looked for; empty when they are."""
    asked: int = 0
    answered: int = 0
    told: int = 0
    """Packets sent, and how often a neighbour was told of."""


class LanService:
    """One life of it.

    `addresses` gives where this node takes connections: `/ip4/0.0.0.0/…` stands for each network's own, and
    `/ip6/::/…` for nothing: what it stands for is given beside it. When only this machine reaches them all,
    the other nodes of this machine are told of them. With none, the node is looking and not found. `record`
    gives the node's record in discovery, None while there is none. `found` may take its time: a few
    neighbours are told of at once, others wait.
    """

    def __init__(
        self,
        peer_id: PeerId,
        *,
        open_socket: Callable[[], MulticastSocket],
        addresses: Callable[[], Sequence[Multiaddr]],
        record: Callable[[], SignedPeerRecord | None],
        found: Found,
        entropy: Entropy,
        state: LanState | None = None,
    ) -> None:
        self.state = LanState() if state is None else state
        self._peer_id = peer_id
        self._open_socket = open_socket
        self._addresses = addresses
        self._record = record
        self._found = found
        self._entropy = entropy
        # A name that says nothing about the node, and is another one each time.
        self._name = entropy.token(_NAME_BYTES).hex()
        self._asked = trio.Event()
        self._asked_meta = False
        self._reading = Limiter(READ_EACH, READ_TOTAL)
        self._telling = Limiter(TELL_EACH, TELL_TOTAL)
        self._repeating = Limiter(REPEAT, READ_TOTAL)

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Look for neighbours, and let them find us, until `inbox` says to stop."""
        task_status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._live)
            await inbox.stopping.wait()
            nursery.cancel_scope.cancel()

    async def _live(self) -> None:
        while True:
            try:
                socket = self._open_socket()
            except CodexError as error:
                self._note_trouble(error.message)
                await trio.sleep(RETRY)
                continue
            try:
                await self._talk(socket)
            finally:
                socket.close()

    async def _talk(self, socket: MulticastSocket) -> None:
        news, told = trio.open_memory_channel[Neighbour](WAITING)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ask, socket)
            nursery.start_soon(self._answer, socket)
            for _ in range(TELLERS):
                nursery.start_soon(self._tell, told)
            await self._listen(socket, news)

    async def _ask(self, socket: MulticastSocket) -> None:
        """Ask who is there: at growing intervals, and from the beginning on each new network."""
        query, interval, due = lan_messages.query(), FIRST_INTERVAL, 0.0
        while True:
            now, hosts = trio.current_time(), tuple(socket.hosts())
            if hosts != self.state.hosts:
                self.state.hosts, interval, due = hosts, FIRST_INTERVAL, now
                if all(reach_of(host) is Reach.MACHINE for host in hosts) and hosts:
                    _log.info("this machine is in no network: looking for nodes on it", at=", ".join(hosts))
                elif hosts:
                    _log.info("looking for nodes nearby", networks=", ".join(hosts))
            if not hosts:
                self._note_trouble("this machine is in no network")
            else:
                self.state.trouble = ""
                if due <= now:
                    await socket.send(query)
                    self.state.asked += 1
                    due, interval = now + interval, min(2 * interval, LONGEST_INTERVAL)
            await trio.sleep_until(min(now + LOOK, due) if hosts else now + LOOK)

    async def _answer(self, socket: MulticastSocket) -> None:
        """Tell of ourselves when somebody asked, once for all who ask at the same time."""
        while True:
            await self._asked.wait()
            low, high = ANSWER_DELAY
            await trio.sleep(low + (high - low) * int.from_bytes(self._entropy.token(2)) / 0xFFFF)
            self._asked, meta, self._asked_meta = trio.Event(), self._asked_meta, False
            own = self._neighbour()
            if own.addresses:
                if meta:
                    await socket.send(lan_messages.meta_answer())
                await socket.send(lan_messages.answer(self._name, own))
                self.state.answered += 1
            await trio.sleep(ANSWER_PAUSE)

    async def _listen(self, socket: MulticastSocket, news: "trio.MemorySendChannel[Neighbour]") -> None:
        while True:
            data, source = await socket.receive()
            if not self._reading.allows(source[0], trio.current_time()):
                continue
            try:
                packet = lan_messages.read(data)
            except DecodeError:
                continue  # most of what is said on a network is about other things
            match packet:
                case Query(meta):
                    self._asked_meta |= meta
                    self._asked.set()
                case Answer(neighbours) if source[1] == MDNS_PORT:
                    for neighbour in neighbours:
                        if not self._is_here(source[0]):
                            neighbour = _from_elsewhere(neighbour)
                        if self._is_news(neighbour, source[0]):
                            with suppress(trio.WouldBlock):
                                news.send_nowait(neighbour)

    def _is_here(self, ip: str) -> bool:
        """Whether a packet from `ip` is one of this machine."""
        return ip in self.state.hosts or reach_of(ip) is Reach.MACHINE

    def _is_news(self, neighbour: Neighbour, source: str) -> bool:
        """Whether a neighbour is to be told of: not ourselves, nor what was told just now, nor too much."""
        if neighbour.peer_id == self._peer_id or not (neighbour.addresses or neighbour.record):
            return False
        now, seq = trio.current_time(), neighbour.record.record.seq if neighbour.record else None
        return self._repeating.allows(
            (neighbour.peer_id, neighbour.addresses, seq), now
        ) and self._telling.allows(source, now)

    async def _tell(self, news: "trio.MemoryReceiveChannel[Neighbour]") -> None:
        async for neighbour in news:
            self.state.told += 1
            try:
                await self._found(neighbour.peer_id, neighbour.addresses, neighbour.record)
            except CodexError as error:
                _log.debug("a node nearby is of no use", peer=str(neighbour.peer_id), why=error.message)

    def _neighbour(self) -> Neighbour:
        """What we tell of ourselves."""
        own = self._addresses()
        named = [one for address in own for one in _on_networks(address, self.state.hosts)]
        # Who listens for this machine alone, and looks for others all the same, looks for those on it.
        told = named or [address for address in own if _is_loopback(address)]
        return Neighbour(self._peer_id, tuple(dict.fromkeys(told))[:MAX_NAMED], self._record())

    def _note_trouble(self, trouble: str) -> None:
        if trouble != self.state.trouble:
            self.state.trouble = trouble
            _log.info("nodes nearby are not looked for", why=trouble)


def _on_networks(address: Multiaddr, hosts: Sequence[str]) -> list[Multiaddr]:
    """The forms of `address` that mean something to a neighbour."""
    match address.parts[0]:
        case ("ip4", "0.0.0.0"):
            return [Multiaddr((("ip4", host), *address.parts[1:])) for host in hosts]
        case ("ip6", "::"):
            return []
    return [] if _is_loopback(address) else [address]


def _is_loopback(address: Multiaddr) -> bool:
    """Whether only this machine reaches `address`."""
    protocol, host = address.parts[0]
    if protocol not in ("ip4", "ip6"):
        return False
    ip = ip_address(str(host))
    if isinstance(ip, IPv6Address):
        ip = ip.ipv4_mapped or ip
    return ip.is_loopback


def _from_elsewhere(neighbour: Neighbour) -> Neighbour:
    """What another machine may tell us: nothing that would have us call ourselves."""
    place = None if neighbour.record is None else address_of(neighbour.record)
    local = place is not None and reach_of(place[0]) is Reach.MACHINE
    return evolve(
        neighbour,
        addresses=tuple(address for address in neighbour.addresses if not _is_loopback(address)),
        record=None if local else neighbour.record,
    )
