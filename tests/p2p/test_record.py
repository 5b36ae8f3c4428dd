"""Signed peer records: the network's own bytes both ways, and that forged or broken ones are refused."""

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from codex.codec.multiaddr import Multiaddr
from codex.codec.protobuf import Message, Writer
from codex.errors import DecodeError
from codex.p2p import Envelope, Identity, PeerId, PeerRecord, SignedPeerRecord, self_record
from codex.p2p.record import DOMAIN, MAX_ENVELOPE, PAYLOAD_TYPE, signed_content
from codex.runtime.clock import SeededEntropy

Vectors = Callable[[str], Any]
ALICE = Identity.generate(SeededEntropy("alice"))
BOB = Identity.generate(SeededEntropy("bob"))


def test_records_of_the_network(vectors: Vectors) -> None:
    rows = vectors("spr")["records"]
    assert len(rows) == 8
    for row in rows:
        signed = SignedPeerRecord.parse(row["uri"])
        assert signed == SignedPeerRecord.from_bytes(bytes.fromhex(row["envelope_hex"]))
        assert signed.envelope.public_key.hex() == row["public_key_protobuf_hex"]
        assert signed.envelope.author(DOMAIN).point.hex() == row["public_key_hex"]
        assert signed.envelope.payload_type.hex() == row["payload_type_hex"]
        assert signed.envelope.payload.hex() == row["payload_hex"]
        assert signed.envelope.signature.hex() == row["signature_der_hex"]
        assert str(signed.record.peer_id) == row["peer_id"]
        assert signed.record.peer_id.raw.hex() == row["peer_id_hex"]
        assert signed.record.seq == row["seq"]
        assert [str(address) for address in signed.record.addresses] == row["addresses"]
        assert signed.node_id.hex() == row["node_id_hex"]
        # And back, to the same bytes.
        assert signed.record.to_bytes().hex() == row["payload_hex"]
        assert signed.to_bytes().hex() == row["envelope_hex"]
        assert str(signed) == row["uri"]


def test_records_signed_here_have_the_bytes_of_the_network(vectors: Vectors) -> None:
    rows = [row for row in vectors("spr")["records"] if "private_key_hex" in row]
    assert len(rows) == 6
    for row in rows:
        identity = Identity(bytes.fromhex(row["private_key_hex"]))
        addresses = [Multiaddr.parse(text) for text in row["addresses"]]
        assert str(SignedPeerRecord.sign(identity, row["seq"], addresses)) == row["uri"]
        assert self_record(identity, row["seq"], addresses) == row["uri"]


def test_what_the_network_refuses_is_refused(vectors: Vectors) -> None:
    rows = vectors("spr")["reject"]
    assert len(rows) == 6
    for row in rows:
        form = row["uri"] if "uri" in row else bytes.fromhex(row["envelope_hex"])
        with pytest.raises(DecodeError):
            _read(form)


def test_an_envelope_of_another_network_is_understood_but_its_kind_of_key_is_not(vectors: Vectors) -> None:
    row = vectors("spr")["envelope_interop"]
    envelope = Envelope.from_bytes(bytes.fromhex(row["envelope_hex"]))
    assert envelope.payload_type.decode() == row["payload_type"]
    assert envelope.payload.decode() == row["payload"]
    assert envelope.to_bytes().hex() == row["envelope_hex"]
    # The signature proves that what is signed here is what is signed there.
    key = Message(envelope.public_key).bytes(2)
    assert key is not None
    content = signed_content(row["domain"].encode(), envelope.payload_type, envelope.payload)
    Ed25519PublicKey.from_public_bytes(key).verify(envelope.signature, content)
    with pytest.raises(DecodeError, match="secp256k1"):
        envelope.author(row["domain"].encode())


def test_a_peer_record_of_another_network_is_understood(vectors: Vectors) -> None:
    row = vectors("spr")["peer_record_interop"]
    record = PeerRecord.from_bytes(bytes.fromhex(row["payload_hex"]))
    assert str(record.peer_id) == row["peer_id"]
    assert record.seq == row["seq"]
    assert [str(address) for address in record.addresses] == row["addresses"]
    assert record.to_bytes().hex() == row["payload_hex"]


ADDRESSES = st.lists(
    st.tuples(st.ip_addresses(), st.sampled_from(["tcp", "udp"]), st.integers(0, 65535)).map(
        lambda one: Multiaddr.parse(f"/ip{one[0].version}/{one[0]}/{one[1]}/{one[2]}")
    ),
    max_size=8,
)


@given(st.integers(1, 2**256 - 2**130), st.integers(0, 2**64 - 1), ADDRESSES)
def test_a_record_reads_back(secret: int, seq: int, addresses: list[Multiaddr]) -> None:
    identity = Identity(secret.to_bytes(32))
    signed = SignedPeerRecord.sign(identity, seq, addresses)
    assert SignedPeerRecord.parse(str(signed)) == signed
    assert SignedPeerRecord.from_bytes(signed.to_bytes()) == signed
    assert signed.record == PeerRecord(identity.peer_id, seq, tuple(addresses))
    assert str(SignedPeerRecord.sign(identity, seq, addresses)) == str(signed)


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    whole = SignedPeerRecord.sign(ALICE, 5, [Multiaddr.parse("/ip4/192.0.2.1/tcp/8070")])
    changed = bytearray(whole.to_bytes())
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(DecodeError):
        SignedPeerRecord.from_bytes(bytes(changed))


@given(st.integers(0, 300))
def test_a_cut_record_is_refused(length: int) -> None:
    whole = SignedPeerRecord.sign(ALICE, 5, [Multiaddr.parse("/ip4/192.0.2.1/tcp/8070")])
    for cut in (whole.to_bytes()[:length], str(whole)[:length]):
        if len(cut) < len(whole.to_bytes()):
            with pytest.raises(DecodeError):
                _read(cut)


def _read(form: bytes | str) -> SignedPeerRecord:
    return SignedPeerRecord.parse(form) if isinstance(form, str) else SignedPeerRecord.from_bytes(form)


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda text: "spr:" + text))
def test_anything_else_is_refused(form: bytes | str) -> None:
    with pytest.raises(DecodeError):
        _read(form)


def test_a_record_signed_for_something_else_is_refused() -> None:
    payload = PeerRecord(ALICE.peer_id, 1).to_bytes()
    for domain, payload_type in ((b"other", PAYLOAD_TYPE), (DOMAIN, b"\x03\x02"), (DOMAIN, b"")):
        envelope = Envelope.seal(ALICE, domain, payload_type, payload)
        with pytest.raises(DecodeError):
            SignedPeerRecord.from_bytes(envelope.to_bytes())


def test_a_record_about_somebody_else_is_refused() -> None:
    envelope = Envelope.seal(BOB, DOMAIN, PAYLOAD_TYPE, PeerRecord(ALICE.peer_id, 1).to_bytes())
    with pytest.raises(DecodeError, match="another node"):
        SignedPeerRecord.from_bytes(envelope.to_bytes())


def test_unknown_addresses_are_left_out_unless_there_are_no_others() -> None:
    known = Multiaddr.parse("/ip4/192.0.2.1/udp/8090")
    unknown = bytes.fromhex("bf8401")

    def record(*addresses: bytes) -> bytes:
        writer = Writer().bytes(1, ALICE.peer_id.raw).varint(2, 1)
        for address in addresses:
            writer.message(3, Writer().bytes(1, address))
        return writer.finish()

    assert PeerRecord.from_bytes(record(unknown, known.to_bytes(), b"")).addresses == (known,)
    assert PeerRecord.from_bytes(record()).addresses == ()
    with pytest.raises(DecodeError, match="no address"):
        PeerRecord.from_bytes(record(unknown))


def test_what_a_record_or_envelope_lacks_is_said() -> None:
    with pytest.raises(DecodeError, match="sequence"):
        PeerRecord.from_bytes(Writer().bytes(1, ALICE.peer_id.raw).finish())
    with pytest.raises(DecodeError, match="sequence"):
        PeerRecord.from_bytes(Writer().varint(2, 1).finish())
    with pytest.raises(DecodeError, match="lacks"):
        Envelope.from_bytes(Writer().bytes(1, b"").bytes(2, b"").bytes(3, b"").finish())


def test_a_huge_record_is_refused_before_it_is_read() -> None:
    with pytest.raises(DecodeError):
        SignedPeerRecord.from_bytes(bytes(MAX_ENVELOPE + 1))
    with pytest.raises(DecodeError, match="at most"):
        SignedPeerRecord.parse("spr:" + "A" * 10_000_000)


def test_another_nodes_record_names_it() -> None:
    signed = SignedPeerRecord.sign(BOB, 9)
    assert (signed.record.peer_id, signed.record.seq, signed.node_id) == (BOB.peer_id, 9, BOB.node_id)
    assert isinstance(signed.record.peer_id, PeerId)
