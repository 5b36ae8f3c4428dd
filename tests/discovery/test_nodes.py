"""Nodes as their records tell of them."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from codex.codec import Multiaddr
from codex.discovery.nodes import (
    MAX_RECORD,
    Node,
    Reach,
    address_of,
    is_plausible,
    neighbourhood,
    reach_of,
    told_by,
)
from codex.errors import DecodeError
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime import SeededEntropy

ALICE = Identity.generate(SeededEntropy("alice"))


def record(*addresses: str, identity: Identity = ALICE, seq: int = 1) -> SignedPeerRecord:
    return SignedPeerRecord.sign(identity, seq, [Multiaddr.parse(address) for address in addresses])


@pytest.mark.parametrize(
    ("ip", "reach"),
    [
        ("127.0.0.1", Reach.MACHINE),
        ("127.255.255.255", Reach.MACHINE),
        ("10.0.0.1", Reach.NETWORK),
        ("172.16.0.1", Reach.NETWORK),
        ("172.31.255.255", Reach.NETWORK),
        ("172.32.0.0", Reach.WORLD),
        ("192.168.255.1", Reach.NETWORK),
        ("169.254.1.1", Reach.NETWORK),
        ("8.8.8.8", Reach.WORLD),
        ("198.51.100.7", Reach.WORLD),
        ("0.0.0.0", None),
        ("0.1.2.3", None),
        ("224.0.0.1", None),
        ("255.255.255.255", None),
        ("::1", None),
        ("nowhere", None),
    ],
)
def test_every_address_is_reached_from_somewhere_or_from_nowhere(ip: str, reach: Reach | None) -> None:
    assert reach_of(ip) is reach


@given(st.ip_addresses(v=4))
def test_only_public_addresses_have_a_neighbourhood(ip: object) -> None:
    text = str(ip)
    group = neighbourhood(text)
    assert (group is not None) == (reach_of(text) is Reach.WORLD)
    assert group is None or text.startswith(group + ".")


def test_a_node_is_where_its_first_addresses_say() -> None:
    node = Node.of(record("/ip6/::1/tcp/1", "/ip4/8.8.8.8/tcp/2", "/ip4/9.9.9.9/udp/3"))
    assert node.address == ("8.8.8.8", 3)
    assert (node.node_id, node.peer_id, node.seq) == (ALICE.node_id, ALICE.peer_id, 1)
    assert node.number == int.from_bytes(ALICE.node_id)
    assert (node.reach, node.group) == (Reach.WORLD, "8.8.8")


@pytest.mark.parametrize(
    "addresses",
    [
        [],
        ["/ip4/8.8.8.8/tcp/2"],
        ["/ip6/::1/udp/2"],
        ["/dns4/alice.example/udp/2"],
        ["/ip4/0.0.0.0/udp/2"],
        ["/ip4/224.0.0.1/udp/2"],
        ["/ip4/8.8.8.8/udp/0"],
    ],
)
def test_a_record_that_says_no_place_makes_no_node(addresses: list[str]) -> None:
    assert address_of(record(*addresses)) is None
    with pytest.raises(DecodeError):
        Node.of(record(*addresses))


def test_a_record_too_large_to_be_passed_on_makes_no_node() -> None:
    many = [f"/ip4/8.8.8.8/udp/{port}" for port in range(1, 200)]
    fitting = [count for count in range(1, 199) if len(record(*many[:count]).to_bytes()) <= MAX_RECORD]
    Node.of(record(*many[: fitting[-1]]))
    with pytest.raises(DecodeError, match="bytes"):
        Node.of(record(*many[: fitting[-1] + 1]))


PLACES = ["127.0.0.5", "10.1.2.3", "192.168.0.9", "8.8.8.8"]
OTHERS = {ip: record(f"/ip4/{ip}/udp/9", identity=Identity.generate(SeededEntropy(ip))) for ip in PLACES}


@pytest.mark.parametrize(
    ("teller", "believed"),
    [
        ("127.0.0.1", PLACES),
        ("10.0.0.1", ["10.1.2.3", "192.168.0.9", "8.8.8.8"]),
        ("9.9.9.9", ["8.8.8.8"]),
    ],
)
def test_nobody_speaks_of_networks_that_he_is_not_in(teller: str, believed: list[str]) -> None:
    bob = Node.of(record(f"/ip4/{teller}/udp/9"))
    assert [node.address[0] for node in told_by(bob, OTHERS.values(), limit=16)] == believed


def test_what_is_told_is_cut_and_each_node_counts_once() -> None:
    bob = Node.of(record("/ip4/127.0.0.1/udp/9"))
    records = list(OTHERS.values())
    assert len(told_by(bob, records, limit=2)) == 2
    assert len(told_by(bob, records[:1] * 5, limit=16)) == 1
    assert told_by(bob, [record("/ip4/8.8.8.8/tcp/1"), *records], limit=1) == []


@pytest.mark.parametrize(
    ("host", "plausible"),
    [
        ("8.8.8.8", "world"),
        ("2001:db9::1", "world"),
        ("relay.example", "world"),
        ("0.0.0.0", "world"),
        ("10.0.0.9", "world network"),
        ("fd00::1", "world network"),
        ("fe80::1", "world network"),
        ("::ffff:192.168.1.1", "world network"),
        ("127.0.0.1", "world network machine"),
        ("::1", "world network machine"),
        ("::ffff:127.0.0.1", "world network machine"),
    ],
)
def test_nobody_has_us_send_nearer_than_where_it_is(host: str, plausible: str) -> None:
    places = {"world": "1.2.3.4", "network": "10.0.0.1", "machine": "127.0.0.1"}
    found = [
        name
        for name, ip in places.items()
        if is_plausible(record(f"/ip4/{ip}/udp/8090", f"/ip4/{ip}/tcp/1"), host)
    ]
    assert found == plausible.split()


@pytest.mark.parametrize("addresses", [(), ("/ip4/1.2.3.4/tcp/8070",), ("/ip4/224.0.0.1/udp/8090",)])
def test_a_record_without_a_place_in_discovery_is_not_asked(addresses: tuple[str, ...]) -> None:
    assert not is_plausible(record(*addresses), "127.0.0.1")
