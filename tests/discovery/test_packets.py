"""Packets: the network's own bytes both ways, and that nothing but a packet is taken for one."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.discovery import crypto, messages, packets
from codex.discovery.packets import Handshake, Ordinary, WhoAreYou
from codex.errors import DecodeError
from codex.p2p import Identity, PublicKey, SignedPeerRecord
from codex.runtime.clock import SeededEntropy

Vectors = Callable[[str], Any]
BOB = Identity.generate(SeededEntropy("bob")).node_id


@pytest.fixture(scope="module")
def rows(vectors: Vectors) -> dict[str, Any]:
    return {row["name"]: row for row in vectors("discv5")["packets"]}


def data(row: Any, name: str) -> bytes:
    return bytes.fromhex(row[name + "_hex"])


def decoded(row: Any) -> packets.Packet:
    """The packet of a row, which every field of it and its bytes agree with."""
    packet = packets.decode(data(row, "packet"), data(row, "dest_node_id"))
    assert packet.kind == row["flag"]
    assert packet.iv == data(row, "iv")
    assert packet.nonce == data(row, "nonce")
    assert packet.header.endswith(data(row, "authdata"))
    assert packets.encode(packet, data(row, "dest_node_id")) == data(row, "packet")
    return packet


def check_message(row: Any, plaintext: bytes | None) -> None:
    assert plaintext == data(row, "plaintext")
    opened = messages.open_message(plaintext)
    assert opened.request_id == data(row["message"], "request_id")
    assert messages.read_request(opened) == messages.Ping(row["message"]["spr_seq"])


def test_all_rows_are_looked_at(rows: dict[str, Any]) -> None:
    assert sorted(rows) == [
        "Ping Handshake Message Packet",
        "Ping Handshake Message Packet with SPR",
        "ordinary message (ping)",
        "whoareyou",
    ]


def test_an_ordinary_packet_of_the_network(rows: dict[str, Any]) -> None:
    row = rows["ordinary message (ping)"]
    packet = decoded(row)
    assert isinstance(packet, Ordinary)
    assert packet.source == data(row, "src_node_id")
    assert packet.iv + packet.header == data(row, "associated_data")
    check_message(row, packets.message_in(packet, data(row, "read_key")))
    assert packets.message_in(packet, b"\x01" * 16) is None
    bare = Ordinary(packet.source, packet.iv, packet.nonce)
    assert packets.with_message(bare, data(row, "read_key"), data(row, "plaintext")) == packet


def test_a_challenge_of_the_network(rows: dict[str, Any]) -> None:
    row = rows["whoareyou"]
    packet = decoded(row)
    assert isinstance(packet, WhoAreYou)
    assert packet.id_nonce == data(row, "id_nonce")
    assert packet.record_seq == row["spr_seq"]
    assert packet.challenge == data(row, "challenge_data")
    assert packet.sealed == b""
    assert len(data(row, "packet")) == packets.MIN_PACKET


@pytest.mark.parametrize("name", ["Ping Handshake Message Packet", "Ping Handshake Message Packet with SPR"])
def test_a_handshake_of_the_network(rows: dict[str, Any], vectors: Vectors, name: str) -> None:
    row, (a, b) = rows[name], vectors("discv5")["identities"]
    packet = decoded(row)
    assert isinstance(packet, Handshake)
    assert packet.source == data(row, "src_node_id") == data(a, "node_id")
    assert packet.signature == data(row, "id_signature_der")
    assert packet.ephemeral == data(row, "ephemeral_public_key_protobuf")
    assert packet.record.hex() == (row["record_envelope_hex"] or "")
    # The proof of its name: checked, and made again to the same bytes.
    initiator, recipient = Identity(data(a, "private_key")), Identity(data(b, "private_key"))
    proof = (data(row, "challenge_data"), packet.ephemeral, recipient.node_id)
    assert crypto.proves_identity(initiator.public_key, packet.signature, *proof)
    assert crypto.prove_identity(initiator, *proof) == packet.signature
    # The keys, and the message under them.
    shared = crypto.shared_secret(recipient, PublicKey.from_bytes(packet.ephemeral), SeededEntropy(0))
    assert shared == data(row, "shared_secret")
    keys = crypto.derive_keys(shared, packet.source, recipient.node_id, data(row, "challenge_data"))
    assert (keys.initiator, keys.recipient) == (data(row, "initiator_key"), data(row, "recipient_key"))
    check_message(row, packets.message_in(packet, keys.initiator))
    sealed = packets.with_message(attrs.evolve(packet, sealed=b""), keys.initiator, data(row, "plaintext"))
    assert sealed == packet


def test_the_record_in_a_handshake_of_the_network(rows: dict[str, Any], vectors: Vectors) -> None:
    row = rows["Ping Handshake Message Packet with SPR"]
    packet = decoded(row)
    assert isinstance(packet, Handshake)
    signed = SignedPeerRecord.from_bytes(packet.record)
    assert signed.node_id == packet.source
    assert signed.record.seq == row["record"]["seq"] > row["whoareyou_spr_seq"]
    identity = Identity(data(vectors("discv5")["identities"][0], "private_key"))
    assert SignedPeerRecord.sign(identity, signed.record.seq, signed.record.addresses) == signed


def test_one_byte_more_is_refused_or_not_read(rows: dict[str, Any]) -> None:
    row = rows["whoareyou"]
    with pytest.raises(DecodeError, match="fixed size"):
        packets.decode(data(row, "packet") + b"\0", data(row, "dest_node_id"))
    for name, key in (
        ("Ping Handshake Message Packet", "initiator_key"),
        ("Ping Handshake Message Packet with SPR", "initiator_key"),
        ("ordinary message (ping)", "read_key"),
    ):
        packet = packets.decode(data(rows[name], "packet") + b"\0", data(rows[name], "dest_node_id"))
        assert not isinstance(packet, WhoAreYou)
        assert packets.message_in(packet, data(rows[name], key)) is None


def test_a_packet_to_another_node_is_noise(rows: dict[str, Any]) -> None:
    for row in rows.values():
        with pytest.raises(DecodeError, match="no packet to this node"):
            packets.decode(data(row, "packet"), BOB)


IDS = st.binary(min_size=32, max_size=32)
IVS, NONCES = st.binary(min_size=16, max_size=16), st.binary(min_size=12, max_size=12)
SEALED = st.binary(min_size=16, max_size=300)
PACKETS: st.SearchStrategy[packets.Packet] = st.one_of(
    st.builds(Ordinary, IDS, IVS, NONCES, SEALED),
    st.builds(WhoAreYou, IVS, NONCES, st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1)),
    st.builds(
        Handshake,
        IDS,
        IVS,
        NONCES,
        signature=st.binary(max_size=255),
        ephemeral=st.binary(max_size=255),
        record=st.binary(max_size=500),
        sealed=SEALED,
    ),
)


@given(PACKETS, IDS)
def test_packets_come_back_as_they_were(packet: packets.Packet, receiver: bytes) -> None:
    assert packets.decode(packets.encode(packet, receiver), receiver) == packet


@given(st.binary(max_size=400))
def test_noise_is_no_packet(datagram: bytes) -> None:
    with pytest.raises(DecodeError):
        packets.decode(datagram, BOB)


@given(PACKETS, st.data())
def test_a_damaged_packet_is_refused_or_another_one(packet: packets.Packet, draw: st.DataObject) -> None:
    datagram = bytearray(packets.encode(packet, BOB))
    for _ in range(draw.draw(st.integers(1, 3))):
        datagram[draw.draw(st.integers(0, len(datagram) - 1))] ^= draw.draw(st.integers(1, 255))
    damaged = bytes(datagram[: draw.draw(st.integers(0, len(datagram)))]) + draw.draw(st.binary(max_size=20))
    with suppress(DecodeError):
        read = packets.decode(damaged, BOB)
        assert packets.encode(read, BOB) == damaged


@given(st.sampled_from([0, 1, 2, 3, 255]), st.integers(0, 2**16 - 1), st.binary(max_size=400))
def test_any_header_with_any_content_is_refused_or_read(kind: int, size: int, content: bytes) -> None:
    header = b"discv5\x00\x01" + bytes((kind,)) + bytes(12) + size.to_bytes(2)
    datagram = bytes(16) + crypto.mask(BOB, bytes(16))(header + content)
    with suppress(DecodeError):
        assert packets.encode(packets.decode(datagram, BOB), BOB)[:16] == bytes(16)


@pytest.mark.parametrize("size", [0, 62, packets.MAX_PACKET + 1])
def test_sizes_are_bounded(size: int) -> None:
    with pytest.raises(DecodeError, match="63 to 65507"):
        packets.decode(bytes(size), BOB)


@pytest.mark.parametrize(
    ("authdata", "sealed", "why"),
    [
        (bytes(31), bytes(32), "lacks its sender"),
        (bytes(33), bytes(32), "lacks its sender"),
        (bytes(32), bytes(15), "lacks its sender or its message"),
    ],
)
def test_an_ordinary_packet_is_whole(authdata: bytes, sealed: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        packets.decode(made(0, authdata, sealed), BOB)


@pytest.mark.parametrize(
    ("authdata", "sealed", "why"),
    [
        (bytes(33), bytes(32), "lacks its sender"),
        (bytes(34), bytes(15), "lacks its sender or its message"),
        (bytes(32) + b"\x01\x00", bytes(16), "ends inside"),
        (bytes(32) + b"\x00\x01", bytes(16), "ends inside"),
        (bytes(32) + b"\xff\xff" + bytes(509), bytes(16), "ends inside"),
    ],
)
def test_a_handshake_is_whole(authdata: bytes, sealed: bytes, why: str) -> None:
    with pytest.raises(DecodeError, match=why):
        packets.decode(made(2, authdata, sealed), BOB)


@pytest.mark.parametrize("authdata", [bytes(23), bytes(25)])
def test_a_challenge_is_whole(authdata: bytes) -> None:
    with pytest.raises(DecodeError, match="fixed size"):
        packets.decode(made(1, authdata, bytes(24 - len(authdata)) if len(authdata) < 24 else b""), BOB)


def test_other_kinds_and_versions_are_refused() -> None:
    with pytest.raises(DecodeError, match="unknown kind 3"):
        packets.decode(made(3, bytes(32), bytes(32)), BOB)
    header = b"discv5\x00\x02" + bytes(60)
    with pytest.raises(DecodeError, match="no packet"):
        packets.decode(bytes(16) + crypto.mask(BOB, bytes(16))(header), BOB)


def test_a_header_that_goes_on_behind_the_end_is_refused() -> None:
    whole = made(0, bytes(32), bytes(16))
    with pytest.raises(DecodeError, match="ends inside its header"):
        packets.decode(whole[: 16 + 23 + 31], BOB)


def made(kind: int, authdata: bytes, sealed: bytes) -> bytes:
    """A packet to bob of any kind and content."""
    header = b"discv5\x00\x01" + bytes((kind,)) + bytes(12) + len(authdata).to_bytes(2) + authdata
    return bytes(16) + crypto.mask(BOB, bytes(16))(header) + sealed
