"""Nodes of the DHT as their records tell of them: where they are on the ring, and where packets reach them.

A node's address is the first IPv4 address of its record with the first UDP port. Records that have none, or
one that nobody could be reached at, make no node.
"""

from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address

from attrs import field, frozen

from codex.discovery.sessions import Address
from codex.errors import DecodeError
from codex.p2p import PeerId, SignedPeerRecord

MAX_RECORD = 1024
"""Bytes of the largest record that is kept and passed on, so that every answer fits into a packet. Ours have
some 200, and one with twenty addresses has 500.
"""


class Reach(IntEnum):
    """From how far away an address can be meant, the nearest first."""

    MACHINE = 0
    NETWORK = 1
    WORLD = 2


_NETWORKS = (
    (IPv4Network("127.0.0.0/8"), Reach.MACHINE),
    (IPv4Network("10.0.0.0/8"), Reach.NETWORK),
    (IPv4Network("172.16.0.0/12"), Reach.NETWORK),
    (IPv4Network("192.168.0.0/16"), Reach.NETWORK),
    (IPv4Network("169.254.0.0/16"), Reach.NETWORK),
)
_RANGES = tuple(
    (int(network.network_address), int(network.broadcast_address), reach) for network, reach in _NETWORKS
)
_NOWHERE = (
    (0, 0x00FFFFFF),  # "this" network, with the address of no address
    (0xE0000000, 0xFFFFFFFF),  # multicast, reserved, broadcast
)


@lru_cache(maxsize=1024)
def reach_of(ip: str) -> Reach | None:
    """Whence `ip` can be reached; None when it is no IPv4 address that one node has."""
    try:
        number = int(IPv4Address(ip))
    except ValueError:
        return None
    if any(first <= number <= last for first, last in _NOWHERE):
        return None
    return next((reach for first, last, reach in _RANGES if first <= number <= last), Reach.WORLD)


def neighbourhood(ip: str) -> str | None:
    """The /24 that a public address is in, which is what one owner has many addresses of; None for others."""
    return ip.rpartition(".")[0] if reach_of(ip) is Reach.WORLD else None


def address_of(record: SignedPeerRecord) -> Address | None:
    """Where packets for the node of `record` go, or None when it does not say."""
    ip = next((a.parts[0][1] for a in record.record.addresses if a.parts[0][0] == "ip4"), None)
    port = next(
        (a.parts[1][1] for a in record.record.addresses if len(a.parts) > 1 and a.parts[1][0] == "udp"), None
    )
    if ip is None or port is None or port == "0" or reach_of(ip) is None:
        return None
    return ip, int(port)


def is_plausible(record: SignedPeerRecord, host: str) -> bool:
    """Whether a node that speaks to us from `host`, an IP address or a name, may show us this record: it says
    where packets reach the node, and that is no nearer to us than the node itself. Nobody far away is to have
    us send packets into our own network, nor to our own machine.
    """
    place = address_of(record)
    reach = None if place is None else reach_of(place[0])
    return reach is not None and reach >= _reach_of_host(host)


def _reach_of_host(host: str) -> Reach:
    try:
        ip = ip_address(host)
    except ValueError:
        return Reach.WORLD
    if isinstance(ip, IPv6Address):
        mapped = ip.ipv4_mapped
        if mapped is None:
            if ip.is_loopback:
                return Reach.MACHINE
            return Reach.NETWORK if ip.is_private or ip.is_link_local else Reach.WORLD
        host = str(mapped)
    # Whoever comes from nowhere has a place in no network of ours.
    reach = reach_of(host)
    return Reach.WORLD if reach is None else reach


@frozen(slots=True)
class Node:
    """A node that can be asked. Two are equal when they are the same node, whatever their records say."""

    node_id: bytes
    number: int = field(eq=False)
    """The node id as a number: distances are taken of it."""
    record: SignedPeerRecord = field(eq=False, repr=False)
    address: Address = field(eq=False)
    reach: Reach = field(eq=False, repr=False)
    group: str | None = field(eq=False, repr=False)
    """The public /24 it is in, or None."""

    @classmethod
    def of(cls, record: SignedPeerRecord) -> "Node":
        """The node of a record. Raises DecodeError when no packet can reach it, or the record is too large to
        be passed on.
        """
        address = address_of(record)
        reach = reach_of(address[0]) if address else None
        if address is None or reach is None:
            raise DecodeError("the record has no IPv4 address with a UDP port that a node can have")
        if len(record.to_bytes()) > MAX_RECORD:
            raise DecodeError(f"the record has more than {MAX_RECORD} bytes")
        node_id = record.node_id
        return cls(node_id, int.from_bytes(node_id), record, address, reach, neighbourhood(address[0]))

    @property
    def peer_id(self) -> PeerId:
        """The node's name."""
        return self.record.record.peer_id

    @property
    def seq(self) -> int:
        """The number of the record: of two, the higher one counts."""
        return self.record.record.seq


def told_by(teller: Node, records: Iterable[SignedPeerRecord], *, limit: int) -> list[Node]:
    """Those of the first `limit` records that `teller` may tell of: each node once, and none that is nearer
    to us than the teller is.

    Whoever is far away must not make us send packets into our own network, nor to our own machine. A teller
    on this machine may speak of the network around it.
    """
    found: dict[bytes, Node] = {}
    sender = reach_of(teller.address[0])
    for record, _ in zip(records, range(limit), strict=False):
        try:
            node = Node.of(record)
        except DecodeError:
            continue  # one that is reached in ways we do not know; the others still count
        if sender is not None and node.reach >= sender:
            found.setdefault(node.node_id, node)
    return list(found.values())
