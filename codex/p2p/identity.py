"""Who a node is: a secp256k1 key pair, and the peer id that names its public half.

Keys travel as small protobuf messages (1: kind of key, 2: its bytes). A peer id is a multihash of that
message: the message itself for keys as short as ours, its sha2-256 for long ones of other networks.
Signatures are ECDSA over sha2-256, DER, low S, with the nonce of RFC 6979: signing twice gives the same
bytes.
"""

import hashlib
from typing import Protocol

import coincurve
from attrs import frozen
from Crypto.Hash import keccak

from codex.codec import IDENTITY, SHA2_256, Cid, multibase, varint
from codex.codec.cid import LIBP2P_KEY, check_multihash
from codex.codec.protobuf import Message, Writer
from codex.errors import DecodeError

SECP256K1 = 2
"""The kind of our keys, the only one that the network speaks."""

PUBLIC_KEY_SIZE = 33
"""Bytes of a compressed point."""
SECRET_SIZE = 32
"""Bytes of a secret key, a number below the order of the curve."""
MAX_INLINE = 42
"""Bytes of the longest key message that is its own peer id; longer ones are hashed."""
MAX_TEXT = 128
"""Characters of the longest peer id in bare base58; the longest there is has 61."""
_MAX_MESSAGE = 128

_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Entropy(Protocol):
    """Where random bytes come from."""

    def token(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


@frozen(slots=True, repr=False)
class PeerId:
    """The name of a node: its bytes, a multihash. The constructor trusts; foreign input is parsed."""

    raw: bytes

    @classmethod
    def of_key(cls, message: bytes) -> "PeerId":
        """The name of whoever holds the public key in that protobuf message."""
        if len(message) <= MAX_INLINE:
            return cls(bytes((IDENTITY, len(message))) + message)
        return cls(bytes((SHA2_256, 32)) + hashlib.sha256(message).digest())

    @classmethod
    def from_bytes(cls, raw: bytes) -> "PeerId":
        """Check and take the binary form. Raises DecodeError when it cannot name a node."""
        check_multihash(raw)
        if raw[0] not in (IDENTITY, SHA2_256) or (raw[0] == IDENTITY and not 0 < raw[1] <= MAX_INLINE):
            raise DecodeError("a peer id is a short key, or the sha2-256 of a long one")
        return cls(raw)

    @classmethod
    def parse(cls, text: str) -> "PeerId":
        """Read a peer id as bare base58 (`16Uiu2…`) or as the CID of a key (`b…`, `k…`, `z…`). Raises
        DecodeError.
        """
        # Both kinds of multihash start with one of these in base58, and no CID does.
        if text.startswith(("1", "Qm")):
            if len(text) > MAX_TEXT:
                raise DecodeError(f"a peer id has at most {MAX_TEXT} characters")
            return cls.from_bytes(multibase.BASE58BTC.decode(text))
        cid = Cid.parse(text)
        if cid.codec != LIBP2P_KEY:
            raise DecodeError("the CID is not that of a peer's key")
        return cls.from_bytes(cid.multihash)

    def __str__(self) -> str:
        return multibase.BASE58BTC.encode(self.raw)

    def __repr__(self) -> str:
        return f"PeerId({str(self)!r})"

    def as_cid(self) -> Cid:
        """The same name as a CID."""
        return Cid(varint.encode(1) + varint.encode(LIBP2P_KEY) + self.raw)

    @property
    def node_id(self) -> bytes:
        """The node's place in discovery: the keccak256 of the bytes, 32 bytes, big endian."""
        return keccak.new(digest_bits=256, data=self.raw).digest()


@frozen(slots=True)
class PublicKey:
    """A point of secp256k1, compressed. The constructor trusts; foreign input goes through `from_bytes`."""

    point: bytes

    @classmethod
    def from_bytes(cls, message: bytes) -> "PublicKey":
        """Read the protobuf message. Raises DecodeError for other kinds of key, and for no point of the
        curve.
        """
        point = _key_of(message, PUBLIC_KEY_SIZE)
        try:
            coincurve.PublicKey(point)
        except ValueError:
            raise DecodeError("the public key is no point of secp256k1") from None
        return cls(point)

    def to_bytes(self) -> bytes:
        """The protobuf message, 37 bytes."""
        return Writer().varint(1, SECP256K1).bytes(2, self.point).finish()

    @property
    def peer_id(self) -> PeerId:
        """The name of whoever holds this key."""
        return PeerId.of_key(self.to_bytes())

    def verifies(self, signature: bytes, content: bytes) -> bool:
        """Whether `signature` (DER) over `content` was made with the secret half. False for any garbage."""
        try:
            return coincurve.PublicKey(self.point).verify(signature, content)
        except ValueError:
            return False


class Identity:
    """A secret key and what follows from it. Never shows the secret, not even in tracebacks and logs."""

    __slots__ = ("_key", "peer_id", "public_key")

    def __init__(self, secret: bytes) -> None:
        """Take a secret key of 32 bytes. Raises DecodeError when it is none."""
        if len(secret) != SECRET_SIZE or not 0 < int.from_bytes(secret) < _CURVE_ORDER:
            raise DecodeError("the secret key is no secret key of secp256k1")
        self._key = coincurve.PrivateKey(secret)
        self.public_key = PublicKey(self._key.public_key.format())
        self.peer_id = self.public_key.peer_id

    @classmethod
    def generate(cls, entropy: Entropy) -> "Identity":
        """Draw a new key."""
        while True:
            secret = entropy.token(SECRET_SIZE)
            # All but about one in 2**127 numbers are keys.
            if 0 < int.from_bytes(secret) < _CURVE_ORDER:
                return cls(secret)

    @classmethod
    def from_bytes(cls, message: bytes) -> "Identity":
        """Read the protobuf message of a key file. Raises DecodeError."""
        return cls(_key_of(message, SECRET_SIZE))

    def to_bytes(self) -> bytes:
        """The protobuf message of a key file, 36 bytes: the secret itself."""
        return Writer().varint(1, SECP256K1).bytes(2, self._key.secret).finish()

    @property
    def node_id(self) -> bytes:
        """The node's place in discovery, 32 bytes."""
        return self.peer_id.node_id

    def sign(self, content: bytes) -> bytes:
        """Sign `content`: DER, 70 to 72 bytes, the same for the same content."""
        return self._key.sign(content)

    def __repr__(self) -> str:
        return f"Identity({str(self.peer_id)!r})"


def _key_of(message: bytes, size: int) -> bytes:
    """The bytes of the secp256k1 key in a protobuf message, `size` of them. Raises DecodeError."""
    fields = Message(message, limit=_MAX_MESSAGE)
    kind, key = fields.varint(1, -1), fields.bytes(2)
    if kind != SECP256K1:
        raise DecodeError("the key is not of the kind secp256k1")
    if key is None or len(key) != size:
        raise DecodeError(f"the key has not {size} bytes")
    return key
