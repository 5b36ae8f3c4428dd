"""Nodes that were made up, for tests of rules that look at no signature."""

from collections.abc import Callable

import pytest

from codex.codec import Multiaddr
from codex.discovery.nodes import Node, neighbourhood, reach_of
from codex.p2p import Envelope, PeerId, PeerRecord, SignedPeerRecord

MakeNode = Callable[..., Node]


def _make_node(number: int, ip: str = "10.0.0.1", *, port: int = 8090, seq: int = 1) -> Node:
    """The node at a place of its own choice, which no real node has."""
    peer = PeerId(b"\x00\x20" + number.to_bytes(32))
    address = Multiaddr.of(("ip4", ip), ("udp", str(port)))
    record = SignedPeerRecord(PeerRecord(peer, seq, (address,)), Envelope(b"", b"", b"", b""))
    reach = reach_of(ip)
    assert reach is not None
    return Node(number.to_bytes(32), number, record, (ip, port), reach, neighbourhood(ip))


@pytest.fixture(scope="session")
def make_node() -> MakeNode:
    """`make_node(number, ip, port=…, seq=…)`: a node whose place is `number`."""
    return _make_node
