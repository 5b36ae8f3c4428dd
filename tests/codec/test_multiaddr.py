"""Multiaddresses: text and bytes, and the addresses of real peer records."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import multiaddr, multibase, protobuf
from codex.codec.multiaddr import Multiaddr
from codex.errors import DecodeError

Vectors = Callable[[str], Any]

_PEER = "16Uiu2HAmLb6x8CmU6v6Mopiftir16SeBnhcat5dWwKCxbs3P8oRt"
_PEER_HEX = "0025080212210375dea2b0552bb77de18f4ba8360997d1afa51c4fbe1a792a44002f93725b3e53"


@pytest.mark.parametrize(
    ("text", "encoded"),
    [
        ("/ip4/1.2.3.4/tcp/8070", "0401020304" + "061f86"),
        ("/ip4/0.0.0.0/udp/1", "0400000000" + "91020001"),
        ("/ip6/::1/tcp/0", "29" + "00" * 15 + "01" + "060000"),
        ("/ip6zone/eth0/ip6/fe80::1/udp/65535", "2a0465746830" + "29fe80" + "00" * 13 + "01" + "9102ffff"),
        ("/dns/a.b/tcp/1", "3503612e62" + "060001"),
        ("/dns4/example.org/tcp/443/wss", "360b" + b"example.org".hex() + "0601bb" + "de03"),
        ("/dns6/x/tcp/80/ws", "370178" + "060050" + "dd03"),
        ("/dnsaddr/x", "380178"),
        ("/ip4/127.0.0.1/udp/1/quic", "047f000001" + "91020001" + "cc03"),
        ("/ip4/127.0.0.1/udp/1/quic-v1", "047f000001" + "91020001" + "cd03"),
        ("/ip4/127.0.0.1/tcp/1/tls/ws", "047f000001" + "060001" + "c003" + "dd03"),
        ("/ip4/127.0.0.1/tcp/1/noise", "047f000001" + "060001" + "c603"),
        (f"/p2p/{_PEER}", "a50327" + _PEER_HEX),
        (f"/p2p/{_PEER}/p2p-circuit", "a50327" + _PEER_HEX + "a202"),
        ("/unix/a/b/c/d/e", "9003" + "0a" + b"/a/b/c/d/e".hex()),
        ("/ip4/127.0.0.1/tcp/1/unix/stdio", "047f000001" + "060001" + "9003" + "06" + b"/stdio".hex()),
    ],
)
def test_known_addresses_both_ways(text: str, encoded: str) -> None:
    address = Multiaddr.parse(text)
    assert address.to_bytes().hex() == encoded
    assert str(address) == text
    assert Multiaddr.from_bytes(bytes.fromhex(encoded)) == address
    assert Multiaddr.from_bytes(memoryview(bytes.fromhex(encoded))) == address


def test_addresses_of_peer_records(vectors: Vectors) -> None:
    rows = [*vectors("spr")["records"], vectors("spr")["peer_record_interop"]]
    assert sum(len(row["addresses"]) for row in rows) > 10
    for row in rows:
        record = protobuf.Message(bytes.fromhex(row["payload_hex"]))
        encoded = [protobuf.Message(info).bytes(1) or b"" for info in record.repeated(3)]
        assert [str(Multiaddr.from_bytes(data)) for data in encoded] == row["addresses"]
        assert [Multiaddr.parse(text).to_bytes() for text in row["addresses"]] == encoded


def test_parts_can_be_asked_for() -> None:
    address = Multiaddr.parse(f"/ip4/192.0.2.1/tcp/8070/ws/p2p/{_PEER}")
    assert address.protocols == ("ip4", "tcp", "ws", "p2p")
    assert address.get("ip4") == "192.0.2.1"
    assert address.get("tcp") == "8070"
    assert address.get("p2p") == _PEER
    assert address.get("ws") is None
    assert address.get("udp") is None


def test_addresses_are_built_from_parts() -> None:
    address = Multiaddr.of(("ip4", "192.0.2.1"), ("tcp", "8070"))
    assert str(address.join(("p2p", _PEER))) == f"/ip4/192.0.2.1/tcp/8070/p2p/{_PEER}"
    assert address == Multiaddr.parse("/ip4/192.0.2.1/tcp/8070")
    assert hash(address) == hash(Multiaddr.parse("/ip4/192.0.2.1/tcp/8070/"))


def test_values_take_their_customary_form() -> None:
    assert str(Multiaddr.parse("/ip6/2001:DB8:0:0:0:0:0:1/tcp/00080")) == "/ip6/2001:db8::1/tcp/80"
    assert str(Multiaddr.parse(f"/ipfs/{_PEER}")) == f"/p2p/{_PEER}"
    as_cid = multibase.encode("base36", bytes.fromhex("0172" + _PEER_HEX))
    assert Multiaddr.parse(f"/p2p/{as_cid}").get("p2p") == _PEER


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "//", "ip4/1.2.3.4", "1.2.3.4:80", "/nonsense", "/ip4", "/ip4/", "/tcp/1/udp"),
        *("/ip4/1.2.3", "/ip4/1.2.3.256", "/ip4/01.2.3.4", "/ip4/::1", "/ip6/1.2.3.4", "/ip6/fe80::1%eth0"),
        *("/tcp/-1", "/tcp/65536", "/tcp/+1", "/tcp/1_0", "/tcp/٣", "/tcp/000001", "/tcp/a", "/tcp//udp/1"),
        *("/dns4/", "/dns4/a\nb", "/dns4/" + "a" * 256, "/dns4/\ud800", "/ip4/1.2.3.4/ws/80"),
        *(
            "/p2p/",
            "/p2p/Qm",
            "/p2p/1",
            "/p2p/0OIl",
            "/p2p/zDxWB8EDDsokSpiTXNRpv1jS2LXjEdLgTiDfxFd7Eo8CSPKVj93r",
        ),
        *(
            "/unix",
            "/unix/",
            "/unix/a\0b",
            "/" + "x" * 5000,
            "/p2p/1" + "1" * 5000,
            "/p2p-circuit" * 600,
            "/ws" * 600,
        ),
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        Multiaddr.parse(text)


@pytest.mark.parametrize(
    "encoded",
    [
        "",  # nothing
        "05",  # an unknown protocol
        "8400" + "01020304",  # a code that is longer than it need be
        "04010203",  # ends early
        "06",
        "36",
        "360561",
        "3600",  # an empty name
        "3603612f62",  # a name with a slash
        "3601ff",  # not UTF-8
        "36020a61",  # a line break
        "9003" + "0161",  # a path without a slash
        "9003" + "022f00",
        "9003" + "03" + b"/a/".hex(),
        "a50300",  # an empty peer id
        "a50302" + "1220",
        "a50303" + "120100",
        "a503" + "16" + "1114" + "00" * 20,  # a hash that makes no peer id
        "36ff" + "ff" * 8 + "01",  # an enormous length
        "dd03" * 600,  # too long
    ],
)
def test_other_bytes_are_refused(encoded: str) -> None:
    with pytest.raises(DecodeError):
        Multiaddr.from_bytes(bytes.fromhex(encoded))


def test_parts_that_do_not_fit_are_refused() -> None:
    for parts, why in (
        ((), "at least one part"),
        ((("ws", "1"),), "ws has no value"),
        ((("tcp", None),), "tcp needs a value"),
        ((("tcp", "1"), ("carrier-pigeon", None)), "'carrier-pigeon' of the address is unknown"),
    ):
        with pytest.raises(DecodeError, match=why):
            Multiaddr.of(*parts)


_NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: "/" not in name and name.isprintable()
)
_PARTS = st.one_of(
    st.tuples(st.just("ip4"), st.ip_addresses(v=4).map(str)),
    st.tuples(st.just("ip6"), st.ip_addresses(v=6).map(str)),
    st.tuples(st.sampled_from(["tcp", "udp"]), st.integers(0, 65535).map(str)),
    st.tuples(st.sampled_from(["dns", "dns4", "dns6", "dnsaddr", "ip6zone"]), _NAMES),
    st.tuples(st.sampled_from(["ws", "wss", "tls", "noise", "quic", "quic-v1", "p2p-circuit"]), st.none()),
    st.tuples(
        st.just("p2p"),
        st.binary(min_size=32, max_size=32).map(lambda d: multibase.BASE58BTC.encode(b"\x12\x20" + d)),
    ),
)


@settings(deadline=None)
@given(st.lists(_PARTS, min_size=1, max_size=6))
def test_parts_read_back_from_text_and_bytes(parts: list[tuple[str, str | None]]) -> None:
    address = Multiaddr.of(*parts)
    assert address.parts == tuple(parts)
    assert Multiaddr.parse(str(address)) == address
    assert Multiaddr.from_bytes(address.to_bytes()) == address


_CODES = st.sampled_from(
    ["04", "06", "29", "2a", "35", "36", "9102", "a202", "9003", "a503", "dd03", "a50322"]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_CODES.map(bytes.fromhex) | st.binary(max_size=12), max_size=8).map(b"".join))
def test_any_bytes_give_an_address_or_a_refusal(data: bytes) -> None:
    try:
        address = Multiaddr.from_bytes(data)
    except DecodeError:
        return
    assert address.to_bytes() == data
    assert Multiaddr.parse(str(address)) == address


_WORDS = st.sampled_from(
    ["", "ip4", "ip6", "tcp", "udp", "dns", "p2p", "ipfs", "unix", "ws", "1", "::", "1.2.3.4", _PEER]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(_WORDS | st.text(max_size=5), max_size=8).map("/".join) | st.text(max_size=30))
def test_any_text_gives_an_address_or_a_refusal(text: str) -> None:
    try:
        address = Multiaddr.parse(text)
    except DecodeError:
        return
    assert Multiaddr.from_bytes(address.to_bytes()) == address
    assert len(address.to_bytes()) <= multiaddr.MAX_BYTES
