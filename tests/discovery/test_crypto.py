"""The cryptography of discovery: the network's own values, byte for byte, and nothing else accepted."""

from collections.abc import Callable
from typing import Any

import coincurve
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.discovery import crypto
from codex.p2p import Identity, PublicKey
from codex.runtime.clock import SeededEntropy

Vectors = Callable[[str], Any]
KEY, NONCE = bytes(range(16)), bytes(range(12))


@pytest.fixture(scope="module")
def rows(vectors: Vectors) -> Any:
    return vectors("discv5")["crypto"]


def data(row: Any, name: str) -> bytes:
    return bytes.fromhex(row[name + "_hex"])


def test_shared_secrets(rows: Any) -> None:
    row = rows["ecdh"]
    own, other = Identity(data(row, "secret_key")), PublicKey(data(row, "public_key"))
    for seed in range(5):  # the same, however the secret is split
        assert crypto.shared_secret(own, other, SeededEntropy(seed)) == data(row, "shared_secret")


class Drawn:
    """Entropy that gives what it was told to give."""

    def __init__(self, *tokens: bytes) -> None:
        self._tokens = list(tokens)

    def token(self, n: int) -> bytes:
        assert len(self._tokens[0]) == n
        return self._tokens.pop(0)


def test_draws_that_cannot_split_a_secret_are_drawn_again(rows: Any) -> None:
    row = rows["ecdh"]
    own, other = Identity(data(row, "secret_key")), PublicKey(data(row, "public_key"))
    one = (1).to_bytes(32)
    entropy = Drawn(bytes(32), b"\xff" * 32, data(row, "secret_key"), one)
    assert crypto.shared_secret(own, other, entropy) == data(row, "shared_secret")


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.integers(0, 2**32))
def test_both_sides_have_the_same_secret(one: int, two: int) -> None:
    entropy = SeededEntropy(two)
    alice, bob = Identity.generate(SeededEntropy(one)), Identity.generate(entropy)
    shared = crypto.shared_secret(alice, bob.public_key, entropy)
    assert shared == crypto.shared_secret(bob, alice.public_key, entropy)
    assert shared == coincurve.PublicKey(bob.public_key.point).multiply(alice.to_bytes()[-32:]).format()


def test_session_keys(rows: Any) -> None:
    row = rows["key_derivation"]
    own, other = Identity(data(row, "ephemeral_key")), PublicKey(data(row, "dest_public_key"))
    shared = crypto.shared_secret(own, other, SeededEntropy(0))
    keys = crypto.derive_keys(
        shared, data(row, "node_id_a"), data(row, "node_id_b"), data(row, "challenge_data")
    )
    assert keys.initiator == data(row, "initiator_key")
    assert keys.recipient == data(row, "recipient_key")


def test_session_keys_are_not_shown() -> None:
    keys = crypto.SessionKeys(b"i" * 16, b"r" * 16)
    assert "iii" not in repr(keys)
    assert "rrr" not in repr(keys)


def test_id_signatures(rows: Any) -> None:
    row = rows["id_signature"]
    identity = Identity(data(row, "static_key"))
    proof = (data(row, "challenge_data"), data(row, "ephemeral_public_key"), data(row, "node_id_b"))
    assert crypto.identity_proof(*proof) == data(row, "inner_sha256")
    signature = crypto.prove_identity(identity, *proof)
    assert signature == data(row, "signature_der")
    assert crypto.proves_identity(identity.public_key, signature, *proof)
    for at in range(3):
        other = list(proof)
        other[at] = bytes([other[at][0] ^ 1]) + other[at][1:]
        assert not crypto.proves_identity(identity.public_key, signature, *other)
    stranger = Identity.generate(SeededEntropy("carol")).public_key
    assert not crypto.proves_identity(stranger, signature, *proof)


@given(st.binary(max_size=80))
def test_garbage_proves_nothing(signature: bytes) -> None:
    key = Identity.generate(SeededEntropy("alice")).public_key
    assert not crypto.proves_identity(key, signature, b"challenge", b"key", bytes(32))


def test_sealing(rows: Any) -> None:
    row = rows["aes_gcm"]
    key, nonce, associated = data(row, "key"), data(row, "nonce"), data(row, "associated_data")
    sealed, plaintext = data(row, "ciphertext"), data(row, "plaintext")
    assert crypto.seal(key, nonce, plaintext, associated) == sealed
    assert crypto.unseal(key, nonce, sealed, associated) == plaintext
    assert len(row["must_fail_hex"]) == 3
    for wrong in row["must_fail_hex"]:
        assert crypto.unseal(key, nonce, bytes.fromhex(wrong), associated) is None


@given(st.binary(max_size=100), st.binary(max_size=100), st.data())
def test_what_was_changed_is_not_unsealed(plaintext: bytes, associated: bytes, draw: st.DataObject) -> None:
    sealed = crypto.seal(KEY, NONCE, plaintext, associated)
    assert crypto.unseal(KEY, NONCE, sealed, associated) == plaintext
    at = draw.draw(st.integers(0, len(sealed) - 1))
    changed = sealed[:at] + bytes([sealed[at] ^ draw.draw(st.integers(1, 255))]) + sealed[at + 1 :]
    assert crypto.unseal(KEY, NONCE, changed, associated) is None
    assert crypto.unseal(KEY, NONCE, sealed, associated + b"x") is None
    assert crypto.unseal(KEY, NONCE, sealed[:-1], associated) is None


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=16, max_size=16), st.binary(max_size=300))
def test_a_mask_comes_off_the_way_it_was_put_on(node_id: bytes, iv: bytes, header: bytes) -> None:
    masked = crypto.mask(node_id, iv)(header)
    assert len(masked) == len(header)
    show = crypto.mask(node_id, iv)
    assert show(masked[:7]) + show(masked[7:]) == header
