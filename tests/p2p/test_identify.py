"""Identify: the network's own bytes both ways, and what is kept of what a peer says."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import Multiaddr
from codex.codec.protobuf import Message, Writer
from codex.errors import DecodeError
from codex.p2p import Identity, SignedPeerRecord
from codex.p2p.identify import MAX_MESSAGE, MAX_TEXT, Identify, is_plain
from codex.runtime.clock import SeededEntropy

Vectors = Callable[[str], Any]
ALICE = Identity.generate(SeededEntropy("alice"))
BOB = Identity.generate(SeededEntropy("bob"))
HOME = Multiaddr.parse("/ip4/192.0.2.1/tcp/8070")


def full() -> Identify:
    return Identify(
        public_key=ALICE.public_key,
        addresses=(HOME, Multiaddr.parse("/ip6/2001:db8::1/tcp/8070")),
        protocols=("/ipfs/id/1.0.0", "/codex/blockexc/1.0.0"),
        observed=Multiaddr.parse("/ip4/192.0.2.7/tcp/40000"),
        agent="Codex",
        record=SignedPeerRecord.sign(ALICE, 7, [HOME]),
    )


def test_what_a_node_of_the_network_said(vectors: Vectors) -> None:
    data = bytes.fromhex(vectors("blockexc")["live_exchange"]["identify_hex"])
    said = Identify.from_bytes(data)
    assert said.protocols == ("/ipfs/id/1.0.0", "/codex/blockexc/1.0.0")
    assert [str(address) for address in said.addresses] == ["/ip4/127.0.0.1/tcp/19185"]
    assert str(said.observed) == "/ip4/127.0.0.1/tcp/39320"
    assert (said.protocol_version, said.agent) == ("ipfs/0.1.0", "Codex")
    assert said.record is not None
    assert said.record.record.peer_id == said.public_key.peer_id
    assert said.to_bytes() == data


def test_there_and_back() -> None:
    assert Identify.from_bytes(full().to_bytes()) == full()


def test_the_least_that_can_be_said() -> None:
    least = Identify(public_key=ALICE.public_key)
    assert Identify.from_bytes(least.to_bytes()) == least
    said = Identify.from_bytes(Writer().bytes(1, ALICE.public_key.to_bytes()).finish())
    assert said == evolve(least, protocol_version="")


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("/ip4/192.0.2.1/tcp/1", True),
        ("/ip6/::1/tcp/1", True),
        ("/ip4/192.0.2.1/udp/1", False),
        ("/ip4/192.0.2.1", False),
        ("/dns4/example.org/tcp/1", False),
        (f"/ip4/192.0.2.1/tcp/1/p2p/{ALICE.peer_id}", False),
    ],
)
def test_only_plain_addresses_are_written(address: str, plain: bool) -> None:
    parsed = Multiaddr.parse(address)
    assert is_plain(parsed) is plain
    said = Identify(public_key=ALICE.public_key, addresses=(parsed,), observed=parsed)
    fields = Message(said.to_bytes())
    assert fields.repeated(2) == ([parsed.to_bytes()] if plain else [])
    assert fields.bytes(4) == (parsed.to_bytes() if plain else None)


def test_addresses_that_are_not_understood_are_left_out() -> None:
    data = full().to_bytes() + Writer().bytes(2, b"\xff\xff\x03strange").bytes(4, b"\x01").finish()
    said = Identify.from_bytes(data)
    assert said.addresses == full().addresses
    assert said.observed is None


def test_a_message_without_a_key_of_the_network_is_refused() -> None:
    with pytest.raises(DecodeError, match="does not say its key"):
        Identify.from_bytes(Writer().text(6, "Codex").finish())
    ed25519 = Writer().varint(1, 1).bytes(2, bytes(32)).finish()
    with pytest.raises(DecodeError, match="secp256k1"):
        Identify.from_bytes(Writer().bytes(1, ed25519).finish())


def test_the_record_of_another_node_is_refused() -> None:
    said = evolve(full(), record=SignedPeerRecord.sign(BOB, 1, [HOME]))
    with pytest.raises(DecodeError, match="another node"):
        Identify.from_bytes(said.to_bytes())


def test_a_record_that_is_not_signed_well_counts_as_none() -> None:
    data = bytearray(full().to_bytes())
    data[-1] ^= 1  # the end of the signature, which ends the message
    assert Identify.from_bytes(bytes(data)) == evolve(full(), record=None)


def test_texts_are_cut_and_fit_to_be_printed() -> None:
    writer = Writer().bytes(1, ALICE.public_key.to_bytes()).bytes(3, b"/a\nb")
    said = Identify.from_bytes(writer.bytes(6, b"\x1b[31m\xff" + b"x" * 1000).finish())
    assert said.protocols == ("/a\N{REPLACEMENT CHARACTER}b",)
    assert said.agent.startswith("\N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER}x")
    assert len(said.agent) == MAX_TEXT


def test_much_is_refused() -> None:
    key = Writer().bytes(1, ALICE.public_key.to_bytes()).finish()
    with pytest.raises(DecodeError, match="more than"):
        Identify.from_bytes(key + Writer().bytes(6, bytes(MAX_MESSAGE)).finish())
    with pytest.raises(DecodeError, match="too many fields"):
        Identify.from_bytes(key + b"\x1a\x00" * 1000)


@given(st.binary(max_size=200), st.integers(0, 400))
def test_garbage_is_read_or_refused(data: bytes, at: int) -> None:
    good = full().to_bytes()
    for message in (data, good[:at] + data, good[:at] + data + good[at + len(data) :]):
        try:
            said = Identify.from_bytes(message)
        except DecodeError:
            continue
        assert said.record is None or said.record.record.peer_id == said.public_key.peer_id
