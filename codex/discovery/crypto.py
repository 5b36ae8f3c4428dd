"""The cryptography of discovery packets: how keys are agreed on, proved, and used.

The scheme is that of discv5.1 with the network's changes: keys travel as protobuf messages of 37 bytes, and
the proof of identity is an ECDSA signature over a double sha2-256. All keys are points and numbers of
secp256k1; session keys are for AES-128.
"""

import hashlib
from collections.abc import Callable
from typing import Protocol

import coincurve
from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from codex.p2p import Identity, PublicKey

KEY_BYTES = 16
"""Bytes of a session key, and of the masking key, which is the first half of the receiver's node id."""
IV_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16
_SECRET_BYTES = 32

_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_PROOF_TEXT = b"discovery v5 identity proof"
_AGREEMENT_TEXT = b"discovery v5 key agreement"


class Entropy(Protocol):
    """Where random bytes come from."""

    def token(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


@frozen(slots=True)
class SessionKeys:
    """What a handshake yields: the key that its initiator writes with, and the recipient's."""

    initiator: bytes = field(repr=False)
    recipient: bytes = field(repr=False)


def shared_secret(own: Identity, other: PublicKey, entropy: Entropy) -> bytes:
    """What the holders of two keys have in common: the compressed product of one's secret and the other's
    point, 33 bytes.
    """
    # How long a multiplication takes depends on the number. The secret is therefore split at random each
    # time, so that whoever measures how fast handshakes are answered learns nothing about it.
    secret = int.from_bytes(own.to_bytes()[-_SECRET_BYTES:])
    while True:
        share = int.from_bytes(entropy.token(_SECRET_BYTES))
        # All but about one in 2**127 numbers will do.
        if 0 < share < _CURVE_ORDER and share != secret:
            break
    point = coincurve.PublicKey(other.point)
    shares = (share, (secret - share) % _CURVE_ORDER)
    parts = [point.multiply(number.to_bytes(_SECRET_BYTES)) for number in shares]
    return bytes(coincurve.PublicKey.combine_keys(parts).format())


def derive_keys(shared: bytes, initiator: bytes, recipient: bytes, challenge: bytes) -> SessionKeys:
    """The keys of a session between two node ids, from their shared secret and the challenge data of the
    WHOAREYOU packet: HKDF with sha2-256.
    """
    info = _AGREEMENT_TEXT + initiator + recipient
    both = HKDF(algorithm=SHA256(), length=2 * KEY_BYTES, salt=challenge, info=info).derive(shared)
    return SessionKeys(both[:KEY_BYTES], both[KEY_BYTES:])


def identity_proof(challenge: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    """What the initiator of a handshake signs: the challenge data, its ephemeral key as it stands in the
    packet, and the recipient's node id, hashed. Signing hashes once more.
    """
    return hashlib.sha256(_PROOF_TEXT + challenge + ephemeral + recipient).digest()


def prove_identity(identity: Identity, challenge: bytes, ephemeral: bytes, recipient: bytes) -> bytes:
    """The signature of a handshake packet: DER, 70 to 72 bytes, the same for the same arguments."""
    return identity.sign(identity_proof(challenge, ephemeral, recipient))


def proves_identity(
    key: PublicKey, signature: bytes, challenge: bytes, ephemeral: bytes, recipient: bytes
) -> bool:
    """Whether the holder of `key` made the signature of a handshake packet. False for any garbage."""
    return key.verifies(signature, identity_proof(challenge, ephemeral, recipient))


def seal(key: bytes, nonce: bytes, plaintext: bytes, associated: bytes) -> bytes:
    """Encrypt with AES-128-GCM; the tag stands at the end. A nonce is used once with a key."""
    return AESGCM(key).encrypt(nonce, plaintext, associated)


def unseal(key: bytes, nonce: bytes, sealed: bytes, associated: bytes) -> bytes | None:
    """Decrypt what `seal` made; None when it was made with another key, or is anything else."""
    if len(sealed) < TAG_BYTES:
        return None
    try:
        return AESGCM(key).decrypt(nonce, sealed, associated)
    except InvalidTag:
        return None


def mask(receiver: bytes, iv: bytes) -> Callable[[bytes], bytes]:
    """What hides the header of a packet to the node id `receiver`, or shows it again, piece by piece:
    AES-128-CTR.
    """
    return Cipher(AES(receiver[:KEY_BYTES]), CTR(iv)).encryptor().update
