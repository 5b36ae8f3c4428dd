"""Requests and answers between nodes over datagrams, as a machine without I/O.

Whoever runs it brings datagrams (`receive`), the time (`tick`, and every `now`: seconds on a clock that never
goes back) and requests (`request`, `respond`), sends what comes out (`Send`), and learns what happened from
the other events. Nothing here waits, and nothing is sent twice.

How two nodes come to talk::

    alice                                             bob
      request --- noise, or a message that bob cannot read --->
      <------------------ WhoAreYou (63 bytes) ---------------  at most once per 0.5 s to a node
      --- Handshake: alice's name proved, keys, the request -->  both have a session now
      <------------------------- answer -----------------------

Requests to a node with which a handshake is under way wait for it. Each ends, a second after
it was made at the latest, as `Answered` or `TimedOut`; an answer of several messages may take three.

What strangers can cost: a packet that cannot be read is answered with 63 bytes at most, always fewer than it
has; so many a second to an address and to all (nodes that are known have a share of their own). Until a name
is proved nothing else is sent, and nothing kept but the challenge. Sessions, challenges, requests and what
waits are counted and bounded, and whatever is over the bound is dropped as if the network had lost it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable

from attrs import define, field

from codex.discovery import crypto, messages, packets
from codex.discovery.challenges import HANDSHAKE_TIMEOUT, Challenges, Known
from codex.discovery.crypto import Entropy
from codex.discovery.events import Asked, Contact, Counts, Event, Send, Ticket, Verified
from codex.discovery.messages import Answer, Request
from codex.discovery.rates import Limiter, Rate, site_of
from codex.discovery.requests import MAX_REQUESTS, Pending, Requests
from codex.discovery.sessions import Address, Place, Session, Sessions
from codex.errors import DecodeError
from codex.p2p import Identity, SignedPeerRecord, Tally

EXCHANGE_TIMEOUT = HANDSHAKE_TIMEOUT + 0.1
"""Seconds that requests wait for a handshake with their node. A little more than the challenge lives on the
other side, which does not issue another one before."""
MAX_WAITING = 64
"""Requests that wait for a handshake with one node."""
REQUESTS_EACH = Rate(100, 200)
"""From one node; nodes that announce much ask much."""
REQUESTS_TOTAL = Rate(500, 1000)

_NOISE_BYTES = 20
_DROPS = ("no packets to this node", "more than is answered", "handshakes that prove nothing")


@define(eq=False)
class _Exchange:
    """A handshake with a node that we asked for, with noise in the place of `first`."""

    expires: float
    first: Pending
    waiting: list[Pending] = field(factory=list)


class Messenger:
    """One node's end of the conversation with all others.

    `record` gives our own record as it is now. `known` gives the record of a node id that we know, from
    wherever, or None: such a node need not send its record again.
    """

    def __init__(
        self,
        identity: Identity,
        record: Callable[[], SignedPeerRecord],
        *,
        entropy: Entropy,
        known: Known,
    ) -> None:
        self.counts = Counts()
        self.dropped = Tally()
        """What came and was dropped, by where from; whoever keeps the log takes it."""
        self._identity = identity
        self._node_id = identity.node_id
        self._record = record
        self._entropy = entropy
        self._challenges = Challenges(self._node_id, known, entropy, self.counts)
        self._sessions = Sessions()
        self._requests = Requests(entropy)
        # In the order in which they expire, since all live equally long.
        self._exchanges: OrderedDict[Place, _Exchange] = OrderedDict()
        self._served = Limiter(REQUESTS_EACH, REQUESTS_TOTAL)

    @property
    def requests(self) -> int:
        """Requests of ours that are under way."""
        return len(self._requests)

    @property
    def sessions(self) -> int:
        """Nodes at addresses that we share keys with."""
        return len(self._sessions)

    def request(self, to: Contact, message: Request, now: float) -> tuple[Ticket, list[Send]]:
        """Ask a node. What comes of it is told once, with the ticket, by a later `receive` or `tick`."""
        if len(self._requests) >= MAX_REQUESTS or to.node_id == self._node_id:
            self.counts.limited += 1
            return self._requests.refuse(now), []
        request = self._requests.begin(to, message, now)
        return request.ticket, self._submit(request, now)

    def respond(self, to: Asked, *answers: Answer) -> list[Send]:
        """Answer what was asked, in one packet for each message. Nothing is sent without a session.

        Raises ValueError for an answer that does not fit into a datagram.
        """
        contact = to.contact
        session = self._sessions.get(contact.place)
        if session is None:
            return []
        return [
            self._sealed(contact, session.write, messages.encode(to.request_id, answer))[1]
            for answer in answers
        ]

    def receive(self, datagram: bytes, source: Address, now: float) -> list[Event]:
        """Take in a datagram from `source`; return what is to be done and what happened, in order."""
        self.counts.received += 1
        self.counts.received_bytes += len(datagram)
        events = self.tick(now)
        before = self._drops()
        try:
            packet = packets.decode(datagram, self._node_id)
            match packet:
                case packets.Ordinary():
                    events += self._ordinary(packet, source, now)
                case packets.WhoAreYou():
                    events += self._who_are_you(packet, now)
                case packets.Handshake():
                    events += self._handshake(packet, source, now)
        except DecodeError:
            self.counts.garbage += 1
        for reason, then, after in zip(_DROPS, before, self._drops(), strict=True):
            if after > then:
                self.dropped.add(site_of(source[0]), reason)
        return events + self._requests.taken()

    def _drops(self) -> tuple[int, int, int]:
        return self.counts.garbage, self.counts.limited, self.counts.refused

    def tick(self, now: float) -> list[Event]:
        """Return what is over by `now`, and what may go out instead."""
        events: list[Event] = []
        self._challenges.expire(now)
        self._requests.expire(now)
        while (exchange := self._first_exchange()) is not None and exchange.expires <= now:
            self._exchanges.popitem(last=False)
            # Nobody answered. What waited is still to be sent, and the first of it asks for keys again.
            events += self._submit_all(exchange.waiting, now)
        return events + self._requests.taken()

    def next_tick(self) -> float | None:
        """When `tick` will have something to do; None when nothing is under way."""
        exchange = self._first_exchange()
        times = (self._challenges.expires, self._requests.due, exchange.expires if exchange else None)
        return min((time for time in times if time is not None), default=None)

    def _first_exchange(self) -> _Exchange | None:
        return next(iter(self._exchanges.values()), None)

    # -- our requests

    def _submit(self, request: Pending, now: float) -> list[Send]:
        """Send a request, under the keys there are, or to be asked for keys; or let it wait for them."""
        place = request.contact.place
        session = self._sessions.get(place)
        if session is not None:
            nonce, send = self._sealed(request.contact, session.write, request.data)
            self._requests.sent(request, nonce)
            self._requests.settle(request, now)
            return [send]
        exchange = self._exchanges.get(place)
        if exchange is None:
            self._exchanges[place] = _Exchange(now + EXCHANGE_TIMEOUT, request)
            nonce, send = self._noise(request.contact)
            self._requests.sent(request, nonce)
            return [send]
        if len(exchange.waiting) < MAX_WAITING:
            exchange.waiting.append(request)
        else:
            self.counts.limited += 1
        return []

    def _submit_all(self, waiting: Iterable[Pending], now: float) -> list[Send]:
        """Send requests that waited, but for those that are over by now."""
        alive = [request for request in waiting if request in self._requests]
        return [send for request in alive for send in self._submit(request, now)]

    def _submit_waiting(self, place: Place, now: float) -> list[Send]:
        """There are keys: send what waited for them, and first what went out as noise and was not asked
        about.
        """
        exchange = self._exchanges.pop(place, None)
        if exchange is None:
            return []
        first = [exchange.first] if exchange.first.nonce is not None else []
        return self._submit_all([*first, *exchange.waiting], now)

    # -- what comes in

    def _ordinary(self, packet: packets.Ordinary, source: Address, now: float) -> list[Event]:
        if packet.source == self._node_id:
            self.counts.unsolicited += 1
            return []
        place = (packet.source, source)
        session = self._sessions.get(place)
        data = _read(session, packet) if session else None
        if session is None or data is None:
            self.counts.unreadable += 1
            challenge = self._challenges.issue(packet.nonce, place, now)
            return [] if challenge is None else [self._sent(challenge, *place)]
        if session.is_repeated(packet.nonce):
            self.counts.repeated += 1
            return []
        return self._message(data, Contact(packet.source, source, session.public_key), now)

    def _message(self, data: bytes, contact: Contact, now: float) -> list[Event]:
        """Hand over a message of a node that is who it says."""
        opened = messages.open_message(data)
        if opened.is_request:
            if not self._served.allows(contact.place, now):
                self.counts.limited += 1
                return []
            return [Asked(contact, opened.request_id, messages.read_request(opened))]
        request = self._requests.awaiting(contact.node_id, opened)
        if request is None:
            self.counts.unsolicited += 1
            return []
        self._requests.answered(request, messages.read_answer(opened), now)
        return []

    def _who_are_you(self, packet: packets.WhoAreYou, now: float) -> list[Event]:
        """Prove our name to a node that could not read a request, and send the request along."""
        request = self._requests.challenged(packet.nonce)
        if request is None:
            self.counts.unsolicited += 1
            return []
        contact = request.contact
        ephemeral = Identity.generate(self._entropy)
        ephemeral_key = ephemeral.public_key.to_bytes()
        record = self._record()
        proof = packets.Handshake(
            source=self._node_id,
            iv=self._entropy.token(crypto.IV_BYTES),
            nonce=self._entropy.token(crypto.NONCE_BYTES),
            signature=crypto.prove_identity(self._identity, packet.challenge, ephemeral_key, contact.node_id),
            ephemeral=ephemeral_key,
            record=record.to_bytes() if packet.record_seq < record.record.seq else b"",
        )
        shared = crypto.shared_secret(ephemeral, contact.public_key, self._entropy)
        keys = crypto.derive_keys(shared, self._node_id, contact.node_id, packet.challenge)
        self._sessions.agree(contact.place, contact.public_key, write=keys.initiator, read=keys.recipient)
        self.counts.handshakes += 1
        handshake = packets.with_message(proof, keys.initiator, request.data)
        self._requests.settle(request, now)
        return [self._sent(handshake, *contact.place), *self._submit_waiting(contact.place, now)]

    def _handshake(self, packet: packets.Handshake, source: Address, now: float) -> list[Event]:
        """Take up the session that a node offers, whose name we asked to be proved."""
        place = (packet.source, source)
        proof = self._challenges.meet(packet, place)
        if proof is None:
            return []
        shared = crypto.shared_secret(self._identity, proof.ephemeral, self._entropy)
        keys = crypto.derive_keys(shared, packet.source, self._node_id, proof.challenge)
        data = packets.message_in(packet, keys.initiator)
        if data is None:
            # It has keys that do not work, and would only prove its name again and again.
            self._sessions.drop(place)
            self.counts.refused += 1
            return []
        self._sessions.agree(place, proof.public_key, write=keys.recipient, read=keys.initiator)
        self.counts.handshakes += 1
        events: list[Event] = [] if proof.record is None else [Verified(proof.record, source)]
        try:
            events += self._message(data, Contact(packet.source, source, proof.public_key), now)
        except DecodeError:
            self.counts.garbage += 1  # a message of a later kind; the keys are good all the same
        return events + self._submit_waiting(place, now)

    # -- what goes out

    def _sealed(self, to: Contact, key: bytes, data: bytes) -> tuple[bytes, Send]:
        """A message under the keys of a session, with the nonce of its packet."""
        packet = packets.with_message(self._plain(), key, data)
        return packet.nonce, self._sent(packet, *to.place)

    def _noise(self, to: Contact) -> tuple[bytes, Send]:
        """A packet that nobody can read, as small as a message may be."""
        packet = self._plain(self._entropy.token(_NOISE_BYTES))
        return packet.nonce, self._sent(packet, *to.place)

    def _plain(self, sealed: bytes = b"") -> packets.Ordinary:
        iv, nonce = self._entropy.token(crypto.IV_BYTES), self._entropy.token(crypto.NONCE_BYTES)
        return packets.Ordinary(self._node_id, iv, nonce, sealed)

    def _sent(self, packet: packets.Packet, receiver: bytes, to: Address) -> Send:
        data = packets.encode(packet, receiver)
        if len(data) > packets.MAX_PACKET:
            raise ValueError(f"a packet of {len(data)} bytes does not fit into a datagram")
        self.counts.sent += 1
        self.counts.sent_bytes += len(data)
        return Send(data, to)


def _read(session: Session, packet: packets.Ordinary) -> bytes | None:
    """The message in a packet under one of the session's two keys; None when it is under neither."""
    data = packets.message_in(packet, session.read)
    if data is None and session.read_before is not None:
        data = packets.message_in(packet, session.read_before)
        if data is not None:
            session.swap()
    return data
