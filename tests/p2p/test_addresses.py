"""Addresses: what is announced, what is dialled and in which order, and who counts as one source."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import Multiaddr
from codex.errors import ConfigError, DecodeError
from codex.p2p.addresses import (
    MAX_DIALLED,
    Endpoint,
    Reach,
    announced,
    dialable,
    endpoint,
    reach,
    source_of,
    split_peer,
    to_dial,
)
from codex.testing.switches import identity_of

BOB, CAROL = identity_of("bob").peer_id, identity_of("carol").peer_id
HOSTS = [
    "/ip4/192.0.2.7",
    "/ip4/8.8.8.8",
    "/ip4/10.0.0.1",
    "/ip4/127.0.0.1",
    "/ip4/0.0.0.0",
    "/ip4/224.0.0.1",
    "/ip6/2a00::1",
    "/ip6/::1",
    "/ip6/::",
    "/ip6/fe80::1",
    "/dns4/codex.example.org",
]
TAILS = ["/tcp/8070", "/tcp/0", "/tcp/1", "/udp/8070", "/tcp/8070/ws", "/tcp/8070/tls", "/udp/1/quic-v1"]
PEERS = ["", f"/p2p/{BOB}", f"/p2p/{CAROL}", f"/p2p/{CAROL}/p2p-circuit"]

anything = st.builds(
    lambda host, tail, peer: Multiaddr.parse(host + tail + peer),
    st.sampled_from(HOSTS),
    st.sampled_from(TAILS),
    st.sampled_from(PEERS),
)


def parse(*texts: str) -> list[Multiaddr]:
    return [Multiaddr.parse(text) for text in texts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/ip4/192.0.2.7/tcp/8070", Endpoint("192.0.2.7", 8070, 4)),
        ("/ip6/2a00::1/tcp/1", Endpoint("2a00::1", 1, 6)),
        (f"/ip4/192.0.2.7/tcp/8070/p2p/{BOB}", Endpoint("192.0.2.7", 8070, 4)),
        ("/dns/codex.example.org/tcp/1", Endpoint("codex.example.org", 1, None, True)),
        ("/dns4/codex.example.org/tcp/1", Endpoint("codex.example.org", 1, 4, True)),
        ("/dns6/codex.example.org/tcp/1", Endpoint("codex.example.org", 1, 6, True)),
        ("/dnsaddr/codex.example.org/tcp/1", None),
        ("/ip4/192.0.2.7/udp/8070", None),
        ("/ip4/192.0.2.7/tcp/8070/ws", None),
        ("/ip4/192.0.2.7/tcp/8070/tls/ws", None),
        (f"/ip4/192.0.2.7/tcp/1/p2p/{BOB}/p2p-circuit/p2p/{CAROL}", None),
        ("/ip4/192.0.2.7", None),
        (f"/p2p/{BOB}", None),
        ("/unix/tmp/codex", None),
    ],
)
def test_endpoints_are_those_of_plain_tcp(text: str, expected: Endpoint | None) -> None:
    assert endpoint(Multiaddr.parse(text)) == expected


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("/ip4/8.8.8.8", Reach.PUBLIC),
        ("/ip4/10.1.2.3", Reach.PRIVATE),
        ("/ip4/172.16.0.1", Reach.PRIVATE),
        ("/ip4/192.168.1.1", Reach.PRIVATE),
        ("/ip4/100.64.0.1", Reach.PRIVATE),  # behind a carrier's router
        ("/ip4/169.254.3.4", Reach.PRIVATE),
        ("/ip4/127.0.0.1", Reach.LOOPBACK),
        ("/ip4/127.8.8.8", Reach.LOOPBACK),
        ("/ip4/0.0.0.0", Reach.NOWHERE),
        ("/ip4/224.0.0.251", Reach.NOWHERE),
        ("/ip4/255.255.255.255", Reach.NOWHERE),
        ("/ip6/2a00:1450::1", Reach.PUBLIC),
        ("/ip6/fd00::1", Reach.PRIVATE),
        ("/ip6/::1", Reach.LOOPBACK),
        ("/ip6/::", Reach.NOWHERE),
        ("/ip6/fe80::1", Reach.NOWHERE),
        ("/ip6/ff02::1", Reach.NOWHERE),
        ("/ip6/::ffff:127.0.0.1", Reach.LOOPBACK),
        ("/ip6/::ffff:10.0.0.1", Reach.PRIVATE),
        ("/dns4/codex.example.org", Reach.PUBLIC),
        ("/unix/tmp/codex", Reach.NOWHERE),
    ],
)
def test_how_far_addresses_carry(ip: str, expected: Reach) -> None:
    assert reach(Multiaddr.parse(f"{ip}/tcp/1" if "unix" not in ip else ip)) is expected


def test_a_peer_is_taken_off_the_address_it_stands_behind() -> None:
    bare = Multiaddr.parse("/ip4/192.0.2.7/tcp/8070")
    assert split_peer(bare) == (bare, None)
    assert split_peer(Multiaddr.parse(f"/ip4/192.0.2.7/tcp/8070/p2p/{BOB}")) == (bare, BOB)
    with pytest.raises(DecodeError, match="not where it is"):
        split_peer(Multiaddr.parse(f"/p2p/{BOB}"))


def test_what_is_dialled_is_sorted_by_promise_and_free_of_ourselves() -> None:
    given_ = parse(
        "/ip4/127.0.0.1/tcp/8070",
        "/ip4/10.0.0.1/tcp/8070",
        f"/ip4/8.8.8.8/tcp/8070/p2p/{BOB}",
        f"/ip4/8.8.4.4/tcp/8070/p2p/{CAROL}",
        "/ip4/8.8.8.8/tcp/8070",
        "/ip4/0.0.0.0/tcp/8070",
        "/ip4/10.0.0.2/udp/8070",
        "/ip4/10.0.0.2/tcp/0",
        "/ip4/10.0.0.9/tcp/8070",
        "/ip4/127.0.0.1/tcp/8071",
        "/dns4/codex.example.org/tcp/8070",
    )
    own = parse("/ip4/0.0.0.0/tcp/8070", "/ip4/10.0.0.9/tcp/8070")
    assert [str(address) for address in to_dial(BOB, given_, own)] == [
        "/ip4/8.8.8.8/tcp/8070",
        "/dns4/codex.example.org/tcp/8070",
        "/ip4/10.0.0.1/tcp/8070",
        "/ip4/127.0.0.1/tcp/8071",
    ]


@given(st.lists(anything, max_size=40), st.lists(anything, max_size=4))
def test_what_is_dialled_is_always_bare_bounded_and_not_our_own(
    addresses: list[Multiaddr], own: list[Multiaddr]
) -> None:
    found = to_dial(BOB, addresses, own)
    assert len(found) <= MAX_DIALLED
    assert len(set(found)) == len(found)
    assert list(found) == sorted(found, key=reach)
    for address in found:
        assert dialable(address)
        assert "p2p" not in address.protocols
        assert address not in own
        # Somebody had said that bob, or whoever, is there.
        assert {address, address.join(("p2p", str(BOB)))} & set(addresses)


@given(
    st.lists(st.sampled_from(["/ip4/0.0.0.0/tcp/1", "/ip4/10.0.0.1/tcp/2", "/ip6/::/tcp/3"]), max_size=4),
    st.sampled_from(["any", "none", "upnp", "pmp", "extip:203.0.113.7"]),
    st.sampled_from([None, "10.0.0.5", "203.0.113.9"]),
)
def test_what_is_announced_can_be_dialled(listening: list[str], nat: str, route: str | None) -> None:
    routes = {4: route, 6: None if route is None else "fd00::5"}
    found = announced(parse(*listening), nat, routes.__getitem__)
    ports = {address.get("tcp") for address in parse(*listening)}
    assert {address.get("tcp") for address in found.addresses} == ports
    assert all(dialable(address) for address in found.addresses)


@pytest.mark.parametrize(
    ("listening", "nat", "expected", "notes"),
    [
        (["/ip4/0.0.0.0/tcp/1"], "none", ["/ip4/10.0.0.5/tcp/1"], 0),
        (["/ip4/0.0.0.0/tcp/1"], "any", ["/ip4/10.0.0.5/tcp/1"], 1),
        (["/ip4/0.0.0.0/tcp/1"], "upnp", ["/ip4/10.0.0.5/tcp/1"], 1),
        (["/ip4/0.0.0.0/tcp/1"], "pmp", ["/ip4/10.0.0.5/tcp/1"], 1),
        (["/ip4/8.8.8.8/tcp/1"], "any", ["/ip4/8.8.8.8/tcp/1"], 0),
        (
            ["/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.5/tcp/1"],
            "any",
            ["/ip4/8.8.8.8/tcp/1", "/ip4/10.0.0.5/tcp/1"],
            0,
        ),
        (["/ip4/127.0.0.1/tcp/1"], "none", ["/ip4/127.0.0.1/tcp/1"], 0),
        (["/ip4/127.0.0.1/tcp/1"], "any", ["/ip4/127.0.0.1/tcp/1"], 0),
        (["/ip6/::/tcp/1"], "any", ["/ip6/::1/tcp/1"], 1),
        ([], "any", [], 0),
        (["/ip6/::/tcp/1"], "none", ["/ip6/::1/tcp/1"], 1),
        (
            ["/ip4/0.0.0.0/tcp/1", "/ip6/::/tcp/1", "/ip4/10.0.0.5/tcp/2"],
            "extip:203.0.113.7",
            ["/ip4/203.0.113.7/tcp/1", "/ip4/203.0.113.7/tcp/2"],
            0,
        ),
    ],
)
def test_what_is_announced(listening: list[str], nat: str, expected: list[str], notes: int) -> None:
    found = announced(parse(*listening), nat, {4: "10.0.0.5", 6: None}.__getitem__)
    assert [str(address) for address in found.addresses] == expected
    assert len(found.notes) == notes


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown"):
        announced([], "magic", lambda version: None)


def test_a_source_is_an_address_or_a_household() -> None:
    first, second, third = parse(
        "/ip6/2a00:1:2:3::1/tcp/1", "/ip6/2a00:1:2:3:ffff::2/tcp/9", "/ip6/2a00:1:2:4::1/tcp/1"
    )
    assert source_of(first) == source_of(second) != source_of(third)
    one, same, other = parse("/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/2", "/ip4/192.0.2.2/tcp/1")
    assert source_of(one) == source_of(same) != source_of(other)
