"""What two nodes tell each other first: who they are, where they listen and what they speak. Pure.

A message of `/ipfs/id/1.0.0`, with its length in front on the wire. A node of the reference closes a
connection whose message it cannot read to the last address, so that what is written here keeps to addresses
of IP and TCP, and what is read is taken more kindly: what is not understood is left out.
"""

from collections.abc import Iterable, Iterator

from attrs import frozen

from codex.codec import Multiaddr
from codex.codec.protobuf import Message, Writer
from codex.errors import DecodeError
from codex.p2p.identity import PublicKey
from codex.p2p.record import SignedPeerRecord

PROTOCOL = "/ipfs/id/1.0.0"
PROTOCOL_VERSION = "ipfs/0.1.0"
"""What the reference says that it speaks."""

MAX_MESSAGE = 16384
"""Bytes. Ours have some 600; a node with a hundred addresses and protocols still fits."""
MAX_FIELDS = 512
"""Fields of one message; each address and each protocol is one."""
MAX_TEXT = 256
"""Characters that are kept of a text of the peer's."""

_PLAIN = (("ip4", "tcp"), ("ip6", "tcp"))


@frozen(kw_only=True)
class Identify:
    """One such message. What a peer left out, or what could not be read, is empty or None."""

    public_key: PublicKey
    addresses: tuple[Multiaddr, ...] = ()
    """Where the node listens; plain IP and TCP when written."""
    protocols: tuple[str, ...] = ()
    observed: Multiaddr | None = None
    """Where the node sees the one it tells this to."""
    protocol_version: str = PROTOCOL_VERSION
    agent: str = ""
    record: SignedPeerRecord | None = None
    """Where the node listens, signed, for others to pass on."""

    def to_bytes(self) -> bytes:
        """The message as the network's nodes read it: without what is no plain address of IP and TCP."""
        writer = Writer().bytes(1, self.public_key.to_bytes())
        for address in self.addresses:
            if is_plain(address):
                writer.bytes(2, address.to_bytes())
        for name in self.protocols:
            writer.text(3, name)
        if self.observed is not None and is_plain(self.observed):
            writer.bytes(4, self.observed.to_bytes())
        writer.text(5, self.protocol_version).text(6, self.agent)
        if self.record is not None:
            writer.bytes(8, self.record.to_bytes())
        return writer.finish()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "Identify":
        """Read a message. Raises DecodeError when it is none, or has no key of this network, or shows the
        record of another node.

        Whether the key is that of the connection is for the caller to see.
        """
        fields = Message(data, limit=MAX_MESSAGE, max_fields=MAX_FIELDS)
        key = fields.bytes(1)
        if key is None:
            raise DecodeError("the peer does not say its key")
        public_key = PublicKey.from_bytes(key)
        record = _record(fields.bytes(8))
        if record is not None and record.record.peer_id != public_key.peer_id:
            raise DecodeError("the record that the peer shows is that of another node")
        observed = fields.bytes(4)
        return cls(
            public_key=public_key,
            addresses=tuple(_known(fields.repeated(2))),
            protocols=tuple(text(name) for name in fields.repeated(3)),
            observed=next(_known([observed] if observed else ()), None),
            protocol_version=text(fields.bytes(5) or b""),
            agent=text(fields.bytes(6) or b""),
            record=record,
        )


def is_plain(address: Multiaddr) -> bool:
    """Whether every node of the network can read the address: an IP address and a TCP port, and no more."""
    return address.protocols in _PLAIN


def text(data: bytes) -> str:
    """Text of a peer's, fit for logs and tables: cut, and without what cannot be printed."""
    shown = data[: 4 * MAX_TEXT].decode(errors="replace")[:MAX_TEXT]
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in shown)


def _known(addresses: Iterable[bytes]) -> Iterator[Multiaddr]:
    for data in addresses:
        try:
            yield Multiaddr.from_bytes(data)
        except DecodeError:
            continue  # a protocol of other nodes; the other addresses still count


def _record(envelope: bytes | None) -> SignedPeerRecord | None:
    if not envelope:
        return None
    try:
        return SignedPeerRecord.from_bytes(envelope)
    except DecodeError:
        return None  # of no use to anybody, and no reason to part
