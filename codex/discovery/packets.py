"""The three kinds of packet that nodes send each other, as bytes and back.

A packet is an IV (16 bytes), a masked header, and for two of the kinds a sealed message. The header is
`"discv5"`, the version 1 (2 bytes), the kind (1), a nonce (12), the size of what follows (2), and that:

    Ordinary    the sender's node id
    WhoAreYou   an id nonce (16), the sequence number of the record that the sender has of the receiver (8);
                the nonce is that of the packet that it answers; no message
    Handshake   the sender's node id, the sizes of the next two (1 each), a signature, an ephemeral public
                key, and possibly the sender's record

Whoever does not know the receiver's node id cannot tell a packet from noise. Numbers are big endian.
"""

from typing import ClassVar, TypeAlias, TypeVar

import attrs
from attrs import frozen

from codex.discovery.crypto import IV_BYTES, NONCE_BYTES, TAG_BYTES, mask, seal, unseal
from codex.discovery.distance import ID_BYTES
from codex.errors import DecodeError

MIN_PACKET = 63
"""Bytes of the smallest packet, a WhoAreYou."""
MAX_PACKET = 65507
"""Bytes that fit in one UDP datagram over IPv4. Nodes send answers that are longer than any frame of a
network."""
ID_NONCE_BYTES = 16

_PROTOCOL = b"discv5\x00\x01"
_STATIC_BYTES = len(_PROTOCOL) + 1 + NONCE_BYTES + 2


@frozen(slots=True)
class Ordinary:
    """A message under the keys of a session; or noise, which asks to be answered with a WhoAreYou."""

    kind: ClassVar[int] = 0

    source: bytes
    """The sender's node id; anyone may claim any."""
    iv: bytes
    nonce: bytes
    sealed: bytes = b""
    """The message with its tag."""

    @property
    def header(self) -> bytes:
        """The header, not masked."""
        return _header(self.kind, self.nonce, self.source)


@frozen(slots=True)
class WhoAreYou:
    """The answer to a packet that could not be read: a challenge to prove one's name."""

    kind: ClassVar[int] = 1

    iv: bytes
    nonce: bytes
    id_nonce: bytes
    record_seq: int
    """Of the record that the sender has of the receiver; 0 when it has none."""

    @property
    def header(self) -> bytes:
        """The header, not masked."""
        return _header(self.kind, self.nonce, self.id_nonce + self.record_seq.to_bytes(8))

    @property
    def sealed(self) -> bytes:
        """There is no message."""
        return b""

    @property
    def challenge(self) -> bytes:
        """What the answer is bound to, 63 bytes."""
        return self.iv + self.header


@frozen(slots=True)
class Handshake:
    """The answer to a challenge: a proof of name, half of a key agreement, and the message that could not be
    read.
    """

    kind: ClassVar[int] = 2

    source: bytes
    iv: bytes
    nonce: bytes
    signature: bytes
    ephemeral: bytes
    """A public key as a protobuf message; of any kind until someone looks."""
    record: bytes = b""
    """The sender's signed peer record, or nothing; of any content until someone looks."""
    sealed: bytes = b""

    @property
    def header(self) -> bytes:
        """The header, not masked."""
        sizes = bytes((len(self.signature), len(self.ephemeral)))
        authdata = self.source + sizes + self.signature + self.ephemeral + self.record
        return _header(self.kind, self.nonce, authdata)


Packet: TypeAlias = Ordinary | WhoAreYou | Handshake
Sealable = TypeVar("Sealable", Ordinary, Handshake)


def with_message(packet: Sealable, key: bytes, message: bytes) -> Sealable:
    """The same packet with `message`, sealed together with the header."""
    return attrs.evolve(packet, sealed=seal(key, packet.nonce, message, packet.iv + packet.header))


def message_in(packet: Ordinary | Handshake, key: bytes) -> bytes | None:
    """The message; None when it was not sealed with that key, or with another header."""
    return unseal(key, packet.nonce, packet.sealed, packet.iv + packet.header)


def encode(packet: Packet, receiver: bytes) -> bytes:
    """The packet as the datagram to the node id `receiver`."""
    return packet.iv + mask(receiver, packet.iv)(packet.header) + packet.sealed


def decode(datagram: bytes, receiver: bytes) -> Packet:
    """Take apart a datagram that came to the node id `receiver`. Nothing in it is proved by that. Raises
    DecodeError.
    """
    if not MIN_PACKET <= len(datagram) <= MAX_PACKET:
        raise DecodeError(f"a packet has {MIN_PACKET} to {MAX_PACKET} bytes")
    iv, rest = datagram[:IV_BYTES], datagram[IV_BYTES:]
    # The mask is a stream: the static part tells how far the header goes.
    show = mask(receiver, iv)
    static = show(rest[:_STATIC_BYTES])
    if not static.startswith(_PROTOCOL):
        raise DecodeError("the datagram is no packet to this node")
    end = _STATIC_BYTES + int.from_bytes(static[-2:])
    if end > len(rest):
        raise DecodeError("the packet ends inside its header")
    authdata = show(rest[_STATIC_BYTES:end])
    kind, nonce, sealed = static[len(_PROTOCOL)], static[len(_PROTOCOL) + 1 : -2], rest[end:]
    match kind:
        case Ordinary.kind:
            return _ordinary(iv, nonce, authdata, sealed)
        case WhoAreYou.kind:
            return _who_are_you(iv, nonce, authdata, sealed)
        case Handshake.kind:
            return _handshake(iv, nonce, authdata, sealed)
    raise DecodeError(f"the packet is of the unknown kind {kind}")


def _header(kind: int, nonce: bytes, authdata: bytes) -> bytes:
    return _PROTOCOL + bytes((kind,)) + nonce + len(authdata).to_bytes(2) + authdata


def _ordinary(iv: bytes, nonce: bytes, authdata: bytes, sealed: bytes) -> Ordinary:
    if len(authdata) != ID_BYTES or len(sealed) < TAG_BYTES:
        raise DecodeError("the packet lacks its sender or its message")
    return Ordinary(authdata, iv, nonce, sealed)


def _who_are_you(iv: bytes, nonce: bytes, authdata: bytes, sealed: bytes) -> WhoAreYou:
    if len(authdata) != ID_NONCE_BYTES + 8 or sealed:
        raise DecodeError("the challenge is not of its fixed size")
    return WhoAreYou(iv, nonce, authdata[:ID_NONCE_BYTES], int.from_bytes(authdata[ID_NONCE_BYTES:]))


def _handshake(iv: bytes, nonce: bytes, authdata: bytes, sealed: bytes) -> Handshake:
    if len(authdata) < ID_BYTES + 2 or len(sealed) < TAG_BYTES:
        raise DecodeError("the handshake lacks its sender or its message")
    signature_end = ID_BYTES + 2 + authdata[ID_BYTES]
    key_end = signature_end + authdata[ID_BYTES + 1]
    if key_end > len(authdata):
        raise DecodeError("the handshake ends inside its signature or its key")
    return Handshake(
        source=authdata[:ID_BYTES],
        iv=iv,
        nonce=nonce,
        signature=authdata[ID_BYTES + 2 : signature_end],
        ephemeral=authdata[signature_end:key_end],
        record=authdata[key_end:],
        sealed=sealed,
    )
