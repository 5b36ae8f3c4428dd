"""Keys and peer ids: the network's values, and that nothing else passes for one."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import Cid, multibase
from codex.errors import DecodeError
from codex.p2p import Identity, PeerId, PublicKey
from codex.runtime.clock import SeededEntropy

Vectors = Callable[[str], Any]
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Drawn:
    """Hands out prepared bytes in place of random ones."""

    def __init__(self, *tokens: bytes) -> None:
        self.tokens = list(tokens)

    def token(self, n: int) -> bytes:
        token = self.tokens.pop(0)
        assert len(token) == n
        return token


def test_identities_of_the_network(vectors: Vectors) -> None:
    rows = vectors("spr")["identities"]
    assert len(rows) == 2
    for row in rows:
        identity = Identity(bytes.fromhex(row["private_key_hex"]))
        assert identity.to_bytes().hex() == row["private_key_file_hex"]
        assert identity.public_key.point.hex() == row["public_key_hex"]
        assert identity.public_key.to_bytes().hex() == row["public_key_protobuf_hex"]
        assert identity.peer_id.raw.hex() == row["peer_id_hex"]
        assert str(identity.peer_id) == row["peer_id"]
        assert identity.node_id.hex() == row["node_id_hex"]
        assert Identity.from_bytes(identity.to_bytes()).peer_id == identity.peer_id
        assert PublicKey.from_bytes(identity.public_key.to_bytes()) == identity.public_key
        assert PeerId.parse(row["peer_id"]) == identity.peer_id


def test_a_new_identity_is_drawn_from_the_entropy_given() -> None:
    alice = Identity.generate(SeededEntropy("alice"))
    assert alice.to_bytes() == Identity.generate(SeededEntropy("alice")).to_bytes()
    assert alice.peer_id != Identity.generate(SeededEntropy("bob")).peer_id


def test_numbers_that_are_no_key_are_drawn_again() -> None:
    one = (1).to_bytes(32)
    entropy = Drawn(bytes(32), b"\xff" * 32, ORDER.to_bytes(32), one)
    assert Identity.generate(entropy).to_bytes() == b"\x08\x02\x12\x20" + one


@pytest.mark.parametrize("secret", [b"", b"\1" * 31, b"\1" * 33, bytes(32), ORDER.to_bytes(32), b"\xff" * 32])
def test_what_is_no_secret_key_is_refused(secret: bytes) -> None:
    with pytest.raises(DecodeError):
        Identity(secret)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "0802",
        "1220" + "01" * 32,
        "08001220" + "01" * 32,
        "08011220" + "01" * 32,
        "0802121f" + "01" * 31,
        "08021221" + "01" * 33,
        "08021220" + "01" * 31,
        "08021220" + "00" * 32,
        "0b" * 36,
        "08021220" + "01" * 200,
    ],
)
def test_what_is_no_key_file_is_refused(message: str) -> None:
    with pytest.raises(DecodeError):
        Identity.from_bytes(bytes.fromhex(message))


@pytest.mark.parametrize(
    "message",
    [
        "",
        "08021221" + "00" * 33,
        "0802122102" + "ff" * 32,
        "0802122104" + "01" * 32,
        "08021220" + "01" * 32,
        "08011220" + "01" * 32,
    ],
)
def test_what_is_no_public_key_is_refused(message: str) -> None:
    with pytest.raises(DecodeError):
        PublicKey.from_bytes(bytes.fromhex(message))


@given(st.binary(max_size=80))
def test_any_bytes_are_a_key_or_refused(data: bytes) -> None:
    for reader in (PublicKey.from_bytes, Identity.from_bytes, PeerId.from_bytes):
        try:
            reader(data)
        except DecodeError:
            continue


def test_the_secret_is_never_shown() -> None:
    alice = Identity.generate(SeededEntropy("alice"))
    secret = alice.to_bytes()[4:].hex()
    shown = f"{alice!r} {alice} {alice.public_key!r}"
    assert str(alice.peer_id) in shown
    assert secret not in shown
    assert not hasattr(alice, "__dict__")


def test_signatures_are_the_same_each_time_and_hold() -> None:
    alice, bob = (Identity.generate(SeededEntropy(name)) for name in ("alice", "bob"))
    signature = alice.sign(b"content")
    assert alice.sign(b"content") == signature
    assert alice.public_key.verifies(signature, b"content")
    assert not alice.public_key.verifies(signature, b"other content")
    assert not bob.public_key.verifies(signature, b"content")


@given(st.binary(max_size=100))
def test_garbage_is_no_signature(garbage: bytes) -> None:
    assert not Identity((7).to_bytes(32)).public_key.verifies(garbage, b"content")


@given(st.integers(0, 2**576 - 1).map(lambda n: n.to_bytes(72)), st.integers(0, 71))
def test_a_changed_signature_does_not_hold(noise: bytes, place: int) -> None:
    identity = Identity((7).to_bytes(32))
    signature = bytearray(identity.sign(b"content"))
    changed = noise[0] ^ signature[place % len(signature)]
    signature[place % len(signature)] ^= changed or 1
    if bytes(signature) != identity.sign(b"content"):
        assert not identity.public_key.verifies(bytes(signature), b"content")


@given(st.integers(1, ORDER - 1))
def test_a_peer_id_reads_back_in_every_form(secret: int) -> None:
    peer_id = Identity(secret.to_bytes(32)).peer_id
    assert str(peer_id).startswith("16Uiu2HA")
    assert PeerId.parse(str(peer_id)) == peer_id
    assert PeerId.from_bytes(peer_id.raw) == peer_id
    for base in ("base58btc", "base32", "base36"):
        assert PeerId.parse(multibase.encode(base, peer_id.as_cid().raw)) == peer_id


def test_peer_ids_of_other_keys_are_names_too() -> None:
    text = "12D3KooWB1b3qZxWJanuhtseF3DmPggHCtG36KZ9ixkqHtdKH9fh"
    assert str(PeerId.parse(text)) == text
    long_key = b"\x08\x00\x12\xff\x01" + bytes(255)
    hashed = PeerId.of_key(long_key)
    assert hashed.raw == b"\x12\x20" + hashlib.sha256(long_key).digest()
    assert str(hashed).startswith("Qm")
    assert PeerId.parse(str(hashed)) == hashed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "16Uiu2HA",
        "16Uiu2HAmLb6x8CmU6v6Mopiftir16SeBnhcat5dWwKCxbs3P8oR0",
        "16Uiu2HAmLb6x8CmU6v6Mopiftir16SeBnhcat5dWwKCxbs3P8oRtt",
        "Qm",
        "1" * 1000,
        "zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL",
        "hello",
        "16Uiu2HAmLb6x8CmU6v6Mopiftir16SeBnhcat5dWwKCxbs3P8oRt ",
        "é",
    ],
)
def test_what_is_no_peer_id_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        PeerId.parse(text)


@pytest.mark.parametrize(
    "raw",
    ["", "0000", "00", "002b" + "00" * 43, "1320" + "00" * 32, "1221" + "00" * 33, "122000"],
)
def test_bytes_that_name_nobody_are_refused(raw: str) -> None:
    with pytest.raises(DecodeError):
        PeerId.from_bytes(bytes.fromhex(raw))


@given(st.text(max_size=120))
def test_any_text_is_a_peer_id_or_refused(text: str) -> None:
    try:
        parsed = PeerId.parse(text)
    except DecodeError:
        return
    assert PeerId.parse(str(parsed)) == parsed
    assert isinstance(parsed.as_cid(), Cid)
