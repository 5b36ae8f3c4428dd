"""The cryptography of discovery packets: how keys are agreed on, proved, and used.

The scheme is that of discv5.1 with the network's changes: keys travel as protobuf messages of 37 bytes, and
the proof of identity is an ECDSA signature over a double sha2-256. All keys are points and numbers of
secp256k1; session keys are for AES-128.
"""

import hashlib

import coincurve
from attrs import field, frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from codex.errors import DecodeError
from codex.p2p import Identity, PublicKey
from codex.p2p.identity import SECRET_SIZE, Entropy

KEY_BYTES = 16
"""Bytes of a session key, and of the masking key, which is the first half of the receiver's node id."""
IV_BYTES = 16
NONCE_BYTES = 12
TAG_BYTES = 16

_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_PROOF_TEXT = b"discovery v5 identity proof"
_AGREEMENT_TEXT = b"discovery v5 key agreement"


@frozen(slots=True)
class SessionKeys:
    """What a handshake yields: the key that its initiator writes with, and the recipient's."""

    initiator: bytes = field(repr=False)
    recipient: bytes = field(repr=False)


def secret_of(identity: Identity) -> bytes:
    """The secret key of `identity`, 32 bytes. Not to be kept anywhere else."""
    return identity.to_bytes()[-SECRET_SIZE:]


def shared_secret(secret: bytes, point: bytes, entropy: Entropy) -> bytes:
    """What the holder of `secret` has in common with the holder of the key `point`: the compressed product
    of the two, 33 bytes.

    Raises DecodeError when `point` is none of the curve.
    """
    # How long the multiplication takes depends on the number. The secret is therefore split at random each
    # time, so that whoever measures answers to handshakes learns nothing about it.
    number = int.from_bytes(secret)
    one = int.from_bytes(entropy.token(SECRET_SIZE)) % (_CURVE_ORDER - 1) + 1
    other = (number - one) % _CURVE_ORDER
    try:
        key = coincurve.PublicKey(point)
    except ValueError:
        raise DecodeError("the public key is no point of secp256k1") from None
    if other == 0:
        return bytes(key.multiply(secret).format())
    parts = [key.multiply(share.to_bytes(SECRET_SIZE)) for share in (one, other)]
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


def mask(receiver: bytes, iv: bytes, header: bytes) -> bytes:
    """Hide the header of a packet to the node id `receiver`, or show it again: AES-128-CTR."""
    return Cipher(AES(receiver[:KEY_BYTES]), CTR(iv)).encryptor().update(header)
