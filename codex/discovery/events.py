"""Who is talked with, and what comes out of talking: the vocabulary of the messenger."""

from typing import NewType, TypeAlias

from attrs import define, frozen

from codex.discovery.messages import Answer, Request
from codex.discovery.nodes import address_of
from codex.discovery.sessions import Address, Place
from codex.errors import DecodeError
from codex.p2p import PublicKey, SignedPeerRecord

Ticket = NewType("Ticket", int)
"""The number of one request of ours."""


@frozen(slots=True)
class Contact:
    """A node that can be asked: its place, where it listens, and its key."""

    node_id: bytes
    address: Address
    public_key: PublicKey

    @classmethod
    def of(cls, record: SignedPeerRecord) -> "Contact":
        """The node of a record, where it says that it is. Raises DecodeError when it does not say."""
        address = address_of(record)
        if address is None:
            raise DecodeError("the record has no IPv4 address with a UDP port that a node can have")
        return cls(record.node_id, address, record.public_key)

    @property
    def place(self) -> Place:
        """The node at its address."""
        return (self.node_id, self.address)


@frozen(slots=True)
class Send:
    """Send this datagram."""

    data: bytes
    to: Address


@frozen(slots=True)
class Asked:
    """A node, proved to be who and where it says, asks something. `respond` answers."""

    contact: Contact
    request_id: bytes
    message: Request


@frozen(slots=True)
class Answered:
    """A request of ours ended well.

    `messages` is one answer; for FindNode one or more, of which some may have been lost; for AddProvider
    none: it was sent under keys of the other side, and whether it arrived nobody knows.
    """

    ticket: Ticket
    messages: tuple[Answer, ...]


@frozen(slots=True)
class TimedOut:
    """A request of ours was not answered in time."""

    ticket: Ticket


@frozen(slots=True)
class Verified:
    """A node proved its name from the address `source`, and sent its record along.

    What the record says may be something else: compare its address with `source` before believing it.
    """

    record: SignedPeerRecord
    source: Address


Event: TypeAlias = Send | Asked | Answered | TimedOut | Verified


@define
class Counts:
    """What went through, since the start. Numbers of datagrams unless said otherwise."""

    received: int = 0
    received_bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    garbage: int = 0
    """Not a packet to us, or with a message that is none."""
    unreadable: int = 0
    """Not sealed with a key of ours."""
    repeated: int = 0
    unsolicited: int = 0
    """Answers, challenges and handshakes that nobody waited for."""
    limited: int = 0
    """Dropped because a rate or a bound was reached."""
    refused: int = 0
    """Handshakes that proved nothing."""
    handshakes: int = 0
    """Sessions begun or renewed, from either side."""
