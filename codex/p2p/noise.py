"""The Noise protocol XX_25519_ChaChaPoly_SHA256, with bytes in and bytes out and no I/O.

Three messages, after which both sides hold two ciphers and know each other's static key::

    initiator                 responder
      e               ->
                      <-      e, ee, s, es
      s, se           ->

A payload may ride on each; it is secret from the second message on. What the payloads say, and who may hold
which static key, is for `codex.p2p.securing` to judge. On the wire every message stands in a frame: its
length in two bytes, big endian, and then itself.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from struct import Struct

from attrs import frozen
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from codex.errors import DecodeError

PROTOCOL = b"Noise_XX_25519_ChaChaPoly_SHA256"
KEY_SIZE = 32
"""Bytes of every key here: secret, public, shared and of the ciphers."""
TAG_SIZE = 16
"""Bytes that a cipher adds to what it seals."""
OVERHEAD = 2 + TAG_SIZE
"""Bytes that a message grows by when it is sealed and framed."""
MAX_FRAME = 65535
"""Bytes of the longest message in a frame: what two bytes can say."""
MAX_PLAIN = MAX_FRAME - TAG_SIZE
"""Bytes of content that one frame carries at most."""

_Buffer = bytes | bytearray | memoryview

_LENGTH = Struct(">H")
_NONCE = Struct("<4xQ")


class Cipher:
    """One direction of a safe connection: a key, and the number of the next message. Order is everything."""

    __slots__ = ("_aead", "_count")

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._count = 0

    def seal(self, plain: _Buffer, bound: bytes = b"") -> bytes:
        """Encrypt the next message, bound to what both sides already know."""
        sealed = self._aead.encrypt(_NONCE.pack(self._count), plain, bound)
        self._count += 1
        return sealed

    def open(self, sealed: _Buffer, bound: bytes = b"") -> bytes:
        """Decrypt the next message. Raises DecodeError when it is not the one that the other side sealed."""
        try:
            plain = self._aead.decrypt(_NONCE.pack(self._count), sealed, bound)
        except InvalidTag:
            raise DecodeError("a Noise message does not decrypt") from None
        self._count += 1
        return plain

    def open_all(self, sealed: Sequence[_Buffer]) -> memoryview:
        """Decrypt the next messages, into one piece of memory. Raises DecodeError as `open` does."""
        size = sum(map(len, sealed)) - TAG_SIZE * len(sealed)
        plain = memoryview(bytearray(max(0, size)))
        decrypt, count, at = self._aead.decrypt_into, self._count, 0
        try:
            for message in sealed:
                end = at + len(message) - TAG_SIZE
                decrypt(_NONCE.pack(count), message, None, plain[at:end])
                count, at = count + 1, end
        except (InvalidTag, ValueError):
            # It says ValueError of a message that is shorter than a tag, for which there is no room.
            raise DecodeError("a Noise message does not decrypt") from None
        self._count = count
        return plain

    def seal_frames(self, plains: Iterable[Sequence[_Buffer]], out: bytearray) -> int:
        """Encrypt messages into `out`, framed, one after the other; return how many bytes they are.

        Each is given in parts, of `MAX_PLAIN` bytes together at most. `out` has room for all: memory that is
        used again and again costs half of what fresh memory does.
        """
        view, encrypt, count, at = memoryview(out), self._aead.encrypt_into, self._count, 0
        for parts in plains:
            plain = parts[0] if len(parts) == 1 else b"".join(parts)
            start, at = at + 2, at + len(plain) + OVERHEAD
            _LENGTH.pack_into(out, start - 2, at - start)
            encrypt(_NONCE.pack(count), plain, None, view[start:at])
            count += 1
        self._count = count
        return at


class Frames:
    """Takes a byte stream apart into frames. Holds less than one frame between calls.

    An empty frame is allowed here; nothing that is encrypted is that short.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest: bytes = b""

    def feed(self, data: bytes) -> Iterator[memoryview]:
        """Yield the messages that are complete with `data`; to be used up before the next call."""
        view, at, end = memoryview(data), 0, len(data)
        if self._rest:
            # Only the frame that lies across the border is copied together.
            head = self._rest + view[: max(0, 2 - len(self._rest))]
            lacking = 2 + int.from_bytes(head[:2], "big") - len(self._rest) if len(head) >= 2 else end + 1
            if lacking > end:
                self._rest += data
                return
            yield memoryview(self._rest + view[:lacking])[2:]
            at = lacking
        while end - at >= 2:
            after = at + 2 + _LENGTH.unpack_from(view, at)[0]
            if after > end:
                break
            yield view[at + 2 : after]
            at = after
        self._rest = bytes(view[at:])


@frozen
class Keys:
    """The fresh keys of one side, 32 random bytes each."""

    static: bytes
    ephemeral: bytes


class Handshake:
    """One side of the handshake. `write` and `read` take turns, as the three messages do; the initiator
    writes first.
    """

    def __init__(self, keys: Keys, *, initiator: bool, prologue: bytes = b"") -> None:
        """`prologue` is what both sides must already agree on; the network has none."""
        self._static = X25519PrivateKey.from_private_bytes(keys.static)
        self._ephemeral = X25519PrivateKey.from_private_bytes(keys.ephemeral)
        self._initiator = initiator
        self._hash = self._chain = PROTOCOL  # exactly 32 bytes, and so not hashed
        self._cipher: Cipher | None = None
        self._turn = 0
        self._remote_ephemeral: X25519PublicKey | None = None
        self._remote_static: X25519PublicKey | None = None
        self._mix_hash(prologue)

    @property
    def done(self) -> bool:
        """Whether all three messages have passed."""
        return self._turn == len(_MESSAGES)

    @property
    def writes(self) -> bool:
        """Whether the next message is ours to write."""
        return not self.done and (self._turn % 2 == 0) == self._initiator

    @property
    def shows_static(self) -> bool:
        """Whether the next message shows the static key of who writes it, and so hides its payload."""
        return not self.done and "s" in _MESSAGES[self._turn]

    @property
    def static(self) -> bytes:
        """Our static public key, 32 bytes."""
        return self._static.public_key().public_bytes_raw()

    @property
    def remote_static(self) -> bytes | None:
        """The other side's static public key; None until its message with `s` was read."""
        return self._remote_static.public_bytes_raw() if self._remote_static else None

    @property
    def hash(self) -> bytes:
        """What both sides have seen so far, hashed: 32 bytes that name this handshake when it is done."""
        return self._hash

    def write(self, payload: bytes = b"") -> bytes:
        """Return our next message, without its frame."""
        if not self.writes:
            raise ValueError("the next message of the handshake is not ours")
        out = bytearray()
        for token in _MESSAGES[self._turn]:
            if token == "e":
                public = self._ephemeral.public_key().public_bytes_raw()
                self._mix_hash(public)
                out += public
            elif token == "s":
                out += self._seal(self.static)
            else:
                self._mix_shared(token)
        out += self._seal(payload)
        self._turn += 1
        return bytes(out)

    def read(self, message: _Buffer) -> bytes:
        """Take the other side's next message; its payload. Raises DecodeError, and is then of no more use."""
        if self.writes or self.done:
            raise ValueError("the next message of the handshake is not the other side's")
        rest = bytes(message)
        for token in _MESSAGES[self._turn]:
            if token == "e":
                key, rest = _split(rest, KEY_SIZE)
                self._remote_ephemeral = X25519PublicKey.from_public_bytes(key)
                self._mix_hash(key)
            elif token == "s":
                sealed, rest = _split(rest, KEY_SIZE + TAG_SIZE)
                self._remote_static = X25519PublicKey.from_public_bytes(self._open(sealed))
            else:
                self._mix_shared(token)
        payload = self._open(rest)
        self._turn += 1
        return payload

    def ciphers(self) -> tuple[Cipher, Cipher]:
        """What comes after the handshake is sent with the first and received with the second."""
        if not self.done:
            raise ValueError("the handshake is not done")
        first, second = (Cipher(key) for key in _derive(self._chain, b""))
        return (first, second) if self._initiator else (second, first)

    def _mix_hash(self, data: bytes) -> None:
        self._hash = hashlib.sha256(self._hash + data).digest()

    def _mix_shared(self, token: str) -> None:
        """Bring the secret that both sides compute from a key of each into everything that follows."""
        # The first letter is the initiator's key, the second the responder's.
        own, other = (token[0], token[1]) if self._initiator else (token[1], token[0])
        remote = self._remote_ephemeral if other == "e" else self._remote_static
        assert remote is not None, "the order of the messages brings every key before its use"
        try:
            shared = (self._ephemeral if own == "e" else self._static).exchange(remote)
        except ValueError:
            raise DecodeError("a key of the other side gives away the secret made with it") from None
        self._chain, key = _derive(self._chain, shared)
        self._cipher = Cipher(key)

    def _seal(self, plain: bytes) -> bytes:
        sealed = self._cipher.seal(plain, self._hash) if self._cipher else plain
        self._mix_hash(sealed)
        return sealed

    def _open(self, sealed: bytes) -> bytes:
        plain = self._cipher.open(sealed, self._hash) if self._cipher else sealed
        self._mix_hash(sealed)
        return plain


_MESSAGES: Sequence[Sequence[str]] = (("e",), ("e", "ee", "s", "es"), ("s", "se"))


def frame(message: bytes) -> bytes:
    """Put a message of at most `MAX_FRAME` bytes into its frame."""
    return _LENGTH.pack(len(message)) + message


def _split(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise DecodeError("a message of the Noise handshake is too short")
    return data[:size], data[size:]


def _derive(chain: bytes, secret: bytes) -> tuple[bytes, bytes]:
    """The next two keys, from the chain of all before and a new secret."""
    both = HKDF(SHA256(), length=2 * KEY_SIZE, salt=chain, info=b"").derive(secret)
    return both[:KEY_SIZE], both[KEY_SIZE:]
