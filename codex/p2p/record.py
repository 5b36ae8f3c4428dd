"""Signed peer records: where a node says it is reached, in a form that nobody else can have written.

A peer record (name, sequence number, addresses) is sealed in an envelope with the node's public key and a
signature over the domain, the kind of content and the content, each with its length in front. As text it is
`spr:` and the envelope in base64url without padding. Of two records of one node, the higher number counts.
"""

from collections.abc import Iterable
from functools import cached_property

from attrs import frozen

from codex.codec import multibase, varint
from codex.codec.multiaddr import Multiaddr
from codex.codec.protobuf import Message, Writer
from codex.errors import DecodeError
from codex.p2p.identity import Identity, PeerId, PublicKey

DOMAIN = b"libp2p-peer-record"
PAYLOAD_TYPE = b"\x03\x01"
"""The code of peer records in the multicodec table, as two bytes, big endian."""
MAX_ENVELOPE = 16384
"""Bytes. Ours have some 200; a node with a hundred addresses still fits."""
PREFIX = "spr:"

_BASE64URL = multibase.BASES["base64url"]


@frozen
class Envelope:
    """Content with its author's signature, as parts. Made valid by `seal`, and found valid by `author`."""

    public_key: bytes
    """The author's key as a protobuf message; of any kind until `author` looks at it."""
    payload_type: bytes
    payload: bytes
    signature: bytes

    @classmethod
    def seal(cls, identity: Identity, domain: bytes, payload_type: bytes, payload: bytes) -> "Envelope":
        """Sign `payload` for `domain`. The same arguments give the same bytes."""
        signature = identity.sign(signed_content(domain, payload_type, payload))
        return cls(identity.public_key.to_bytes(), payload_type, payload, signature)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Envelope":
        """Take an envelope apart, without looking at the signature. Raises DecodeError."""
        fields = Message(data, limit=MAX_ENVELOPE)
        parts = (fields.bytes(1), fields.bytes(2), fields.bytes(3), fields.bytes(5))
        present = [part for part in parts if part is not None]
        if len(present) < len(parts):
            raise DecodeError("the envelope lacks its key, its type, its payload or its signature")
        return cls(*present)

    def to_bytes(self) -> bytes:
        """The envelope as a protobuf message."""
        return (
            Writer()
            .bytes(1, self.public_key)
            .bytes(2, self.payload_type)
            .bytes(3, self.payload)
            .bytes(5, self.signature)
            .finish()
        )

    def author(self, domain: bytes) -> PublicKey:
        """Whoever signed this for `domain`. Raises DecodeError when the signature is not that of the key."""
        key = PublicKey.from_bytes(self.public_key)
        if not key.verifies(self.signature, signed_content(domain, self.payload_type, self.payload)):
            raise DecodeError("the signature of the envelope is not that of its key")
        return key


def signed_content(domain: bytes, payload_type: bytes, payload: bytes) -> bytes:
    """What the signature of an envelope stands over."""
    return b"".join(varint.encode(len(part)) + part for part in (domain, payload_type, payload))


@frozen
class PeerRecord:
    """Where a node is reached. `seq` is 0 .. 2**64 - 1 and grows with each new record of the node."""

    peer_id: PeerId
    seq: int
    addresses: tuple[Multiaddr, ...] = ()

    @classmethod
    def from_bytes(cls, data: bytes) -> "PeerRecord":
        """Read the protobuf message. Raises DecodeError.

        Addresses in protocols that are not known here are left out; of those that are given, at least one
        must be known.
        """
        fields = Message(data, limit=MAX_ENVELOPE)
        name, seq, infos = fields.bytes(1), fields.varint(2, -1), fields.repeated(3)
        if name is None or seq < 0:
            raise DecodeError("the peer record lacks its peer id or its sequence number")
        addresses = tuple(_known_addresses(infos))
        if infos and not addresses:
            raise DecodeError("no address of the peer record is known here")
        return cls(PeerId.from_bytes(name), seq, addresses)

    def to_bytes(self) -> bytes:
        """The record as a protobuf message."""
        writer = Writer().bytes(1, self.peer_id.raw).varint(2, self.seq)
        for address in self.addresses:
            writer.message(3, Writer().bytes(1, address.to_bytes()))
        return writer.finish()


def _known_addresses(infos: Iterable[bytes]) -> Iterable[Multiaddr]:
    for info in infos:
        data = Message(info).bytes(1)
        if data is None:
            continue
        try:
            yield Multiaddr.from_bytes(data)
        except DecodeError:
            continue  # a protocol of later nodes; the other addresses still count


@frozen
class SignedPeerRecord:
    """A peer record in its envelope. Made by `sign`, or from foreign input that was checked; never else."""

    record: PeerRecord
    envelope: Envelope

    @classmethod
    def sign(cls, identity: Identity, seq: int, addresses: Iterable[Multiaddr] = ()) -> "SignedPeerRecord":
        """The record of `identity` itself. The same arguments give the same bytes."""
        record = PeerRecord(identity.peer_id, seq, tuple(addresses))
        return cls(record, Envelope.seal(identity, DOMAIN, PAYLOAD_TYPE, record.to_bytes()))

    @classmethod
    def from_bytes(cls, data: bytes) -> "SignedPeerRecord":
        """Open and check an envelope. Raises DecodeError unless the node named in the record signed it."""
        envelope = Envelope.from_bytes(data)
        if envelope.payload_type != PAYLOAD_TYPE:
            raise DecodeError("the envelope holds no peer record")
        record = PeerRecord.from_bytes(envelope.payload)
        if envelope.author(DOMAIN).peer_id != record.peer_id:
            raise DecodeError("the peer record is signed by another node than the one it names")
        return cls(record, envelope)

    @classmethod
    def parse(cls, text: str) -> "SignedPeerRecord":
        """Read and check the text form. Raises DecodeError."""
        if not text.startswith(PREFIX):
            raise DecodeError(f"a signed peer record starts with {PREFIX}")
        if len(text) > 2 * MAX_ENVELOPE:
            raise DecodeError(f"a signed peer record has at most {MAX_ENVELOPE} bytes")
        return cls.from_bytes(_BASE64URL.decode(text.removeprefix(PREFIX)))

    def to_bytes(self) -> bytes:
        """The envelope's bytes."""
        return self._bytes

    def __str__(self) -> str:
        return PREFIX + _BASE64URL.encode(self.to_bytes())

    # What follows from a record is asked for with every packet that has to do with its node, and does not
    # change: it is worked out once.

    @cached_property
    def node_id(self) -> bytes:
        """The node's place in discovery, 32 bytes."""
        return self.record.peer_id.node_id

    @cached_property
    def public_key(self) -> PublicKey:
        """The node's key."""
        return PublicKey.from_bytes(self.envelope.public_key)

    @cached_property
    def _bytes(self) -> bytes:
        return self.envelope.to_bytes()


def self_record(identity: Identity, seq: int, addresses: Iterable[Multiaddr] = ()) -> str:
    """The text of a fresh record of `identity`: what the node says about itself."""
    return str(SignedPeerRecord.sign(identity, seq, addresses))
