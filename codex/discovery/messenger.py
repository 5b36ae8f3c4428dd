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

Requests to a node with which a handshake is under way wait for it. Each ends, `RESPONSE_TIMEOUT` after it was
made at the latest, as `Answered` or `TimedOut`; an answer of several messages may take `ANSWER_TIMEOUT`.

What strangers can cost: a packet that cannot be read is answered with 63 bytes at most, always fewer than it
has; so many a second to an address and to all (nodes that are known have a share of their own). Until a name
is proved nothing else is sent, and nothing kept but the challenge. Sessions, challenges, requests and what
waits are counted and bounded, and whatever is over the bound is dropped as if the network had lost it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import TypeVar

import coincurve
from attrs import define, field

from codex.discovery import crypto, messages, packets
from codex.discovery.events import (
    Answered,
    Asked,
    Contact,
    Counts,
    Event,
    Send,
    Ticket,
    TimedOut,
    Verified,
)
from codex.discovery.messages import Answer, Nodes, Request
from codex.discovery.rates import Limiter, Rate, site_of
from codex.discovery.sessions import Address, Place, Sessions
from codex.errors import DecodeError
from codex.p2p import Identity, PublicKey, SignedPeerRecord
from codex.p2p.identity import Entropy

HANDSHAKE_TIMEOUT = 0.5
"""Seconds that a challenge can be answered, and that requests wait for one."""
RESPONSE_TIMEOUT = 1.0
"""Seconds from a request to its answer, or from one message of an answer to the next."""
ANSWER_TIMEOUT = 3.0
"""Seconds from a request to the end of an answer of several messages."""

MAX_REQUESTS = 1024
"""Requests under way."""
MAX_WAITING = 64
"""Requests that wait for a handshake with one node."""
MAX_CHALLENGES = 512
"""Challenges not answered yet."""
MAX_ATTEMPTS = 4
"""Handshakes looked at for one challenge: checking a signature costs more than forging one."""
MAX_NODES_MESSAGES = 16
"""Messages of one answer to FindNode."""

CHALLENGES_EACH = Rate(20, 50)
"""To one site, where there may be several nodes."""
CHALLENGES_TOTAL = Rate(200, 400)
REQUESTS_EACH = Rate(100, 200)
"""From one node; nodes that announce much ask much."""
REQUESTS_TOTAL = Rate(500, 1000)

_NOISE_BYTES = 20

_K = TypeVar("_K")
_V = TypeVar("_V")


def _first(entries: OrderedDict[_K, _V]) -> tuple[_K, _V] | None:
    """The oldest entry."""
    return next(iter(entries.items()), None)


@define(eq=False)
class _Challenge:
    """A WhoAreYou that was sent."""

    data: bytes
    public_key: PublicKey | None
    """Of the node that was challenged, when it is known."""
    expires: float
    attempts: int = 0


@define(eq=False)
class _Request:
    """A request of ours, under way."""

    ticket: Ticket
    contact: Contact
    request_id: bytes
    data: bytes
    expects: int | None
    """The kind of its answer."""
    asked: float
    deadline: float
    nonce: bytes | None = None
    """Of the packet that it went out with, until that was answered with a challenge; None while it waits."""
    answers: list[Answer] = field(factory=list)
    total: int = 1
    settled: bool = False
    """Whether it was reported already; a challenge to it still counts."""


@define(eq=False)
class _Exchange:
    """A handshake with a node that we began: a packet went out that is to be answered with a challenge."""

    expires: float
    waiting: list[_Request] = field(factory=list)


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
        known: Callable[[bytes], SignedPeerRecord | None],
    ) -> None:
        self.counts = Counts()
        self._identity = identity
        self._node_id = identity.node_id
        self._record = record
        self._entropy = entropy
        self._known = known
        self._sessions = Sessions()
        self._tickets = 0
        # All of these are in the order of their deadlines, since each kind always lasts as long.
        self._challenges: OrderedDict[Place, _Challenge] = OrderedDict()
        self._exchanges: OrderedDict[Place, _Exchange] = OrderedDict()
        self._requests: OrderedDict[tuple[bytes, bytes], _Request] = OrderedDict()
        self._by_nonce: dict[bytes, _Request] = {}
        self._over: list[Event] = []
        self._over_at = 0.0
        self._stranger_challenges = Limiter(CHALLENGES_EACH, CHALLENGES_TOTAL)
        self._known_challenges = Limiter(CHALLENGES_EACH, CHALLENGES_TOTAL)
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
        self._tickets += 1
        ticket = Ticket(self._tickets)
        if len(self._requests) >= MAX_REQUESTS or to.node_id == self._node_id:
            self.counts.limited += 1
            self._end(TimedOut(ticket), now)
            return ticket, []
        request_id = self._entropy.token(messages.MAX_REQUEST_ID)
        answer = messages.ANSWER_TO[type(message)]
        request = _Request(
            ticket,
            to,
            request_id,
            messages.encode(request_id, message),
            None if answer is None else messages.KIND_OF[answer],
            now,
            now + RESPONSE_TIMEOUT,
        )
        self._requests[to.node_id, request_id] = request
        return ticket, self._submit(request, now)

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
        return events + self._taken()

    def tick(self, now: float) -> list[Event]:
        """Return what is over by `now`, and what may go out instead."""
        events: list[Event] = []
        while (first := _first(self._challenges)) and first[1].expires <= now:
            del self._challenges[first[0]]
        while (due := _first(self._requests)) and due[1].deadline <= now:
            self._finish(due[1], now)
        while (late := _first(self._exchanges)) and late[1].expires <= now:
            del self._exchanges[late[0]]
            # Nobody answered. What waited is still to be sent, and the first of it asks for keys again.
            events += self._submit_all(late[1].waiting, now)
        return events + self._taken()

    def next_tick(self) -> float | None:
        """When `tick` will have something to do; None when nothing is under way."""
        times = [self._over_at] if self._over else []
        if first := _first(self._challenges):
            times.append(first[1].expires)
        if due := _first(self._requests):
            times.append(due[1].deadline)
        if late := _first(self._exchanges):
            times.append(late[1].expires)
        return min(times, default=None)

    # Requests of ours

    def _submit(self, request: _Request, now: float) -> list[Send]:
        """Send a request, under the keys there are, or to be asked for keys; or let it wait for them."""
        place = request.contact.place
        session = self._sessions.get(place)
        if session is not None:
            nonce, send = self._sealed(request.contact, session.write, request.data)
            self._expect_challenge(request, nonce)
            if request.expects is None:
                self._settle(request, now)
            return [send]
        exchange = self._exchanges.get(place)
        if exchange is None:
            self._exchanges[place] = _Exchange(now + HANDSHAKE_TIMEOUT)
            nonce, send = self._noise(request.contact)
            self._expect_challenge(request, nonce)
            return [send]
        if len(exchange.waiting) < MAX_WAITING:
            exchange.waiting.append(request)
        else:
            self.counts.limited += 1
        return []

    def _submit_all(self, waiting: Iterable[_Request], now: float) -> list[Send]:
        """Send requests that waited, but for those that are over by now."""
        key_of = self._requests.get
        alive = [one for one in waiting if key_of((one.contact.node_id, one.request_id)) is one]
        return [send for request in alive for send in self._submit(request, now)]

    def _expect_challenge(self, request: _Request, nonce: bytes) -> None:
        request.nonce = nonce
        self._by_nonce[nonce] = request

    def _settle(self, request: _Request, now: float) -> None:
        """Report a request that has no answer as sent. It is kept, for it may still be challenged."""
        if not request.settled:
            request.settled = True
            self._end(Answered(request.ticket, ()), now)

    def _finish(self, request: _Request, now: float) -> None:
        """Forget a request, and report how it ended unless that was done."""
        del self._requests[request.contact.node_id, request.request_id]
        if request.nonce is not None:
            self._by_nonce.pop(request.nonce, None)
        if request.settled:
            return
        if request.answers:
            self._end(Answered(request.ticket, tuple(request.answers)), now)
        else:
            self._end(TimedOut(request.ticket), now)

    def _end(self, event: Answered | TimedOut, now: float) -> None:
        self._over.append(event)
        self._over_at = now

    def _taken(self) -> list[Event]:
        """What is over and was not told yet."""
        over, self._over = self._over, []
        return over

    # What comes in

    def _ordinary(self, packet: packets.Ordinary, source: Address, now: float) -> list[Event]:
        place = (packet.source, source)
        if packet.source == self._node_id:
            self.counts.unsolicited += 1
            return []
        session = self._sessions.get(place)
        data = None
        if session is not None:
            data = packets.message_in(packet, session.read)
            if data is None and session.read_before is not None:
                data = packets.message_in(packet, session.read_before)
                if data is not None:
                    session.swap()
        if session is None or data is None:
            self.counts.unreadable += 1
            return self._challenge(packet, place, now)
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
        request = self._requests.get((contact.node_id, opened.request_id))
        if request is None or opened.kind != request.expects:
            self.counts.unsolicited += 1
            return []
        self._answer(request, messages.read_answer(opened), now)
        return []

    def _answer(self, request: _Request, answer: Answer, now: float) -> None:
        if not request.answers and isinstance(answer, Nodes):
            request.total = min(answer.total, MAX_NODES_MESSAGES)
        request.answers.append(answer)
        if len(request.answers) >= request.total:
            self._finish(request, now)
        elif now + RESPONSE_TIMEOUT <= request.asked + ANSWER_TIMEOUT:
            request.deadline = now + RESPONSE_TIMEOUT
            self._requests.move_to_end((request.contact.node_id, request.request_id))

    def _challenge(self, packet: packets.Ordinary, place: Place, now: float) -> list[Event]:
        """Ask who it is, unless that is being asked, or is asked too often."""
        if place in self._challenges:
            return []
        record = self._known(place[0])
        limiter = self._stranger_challenges if record is None else self._known_challenges
        if len(self._challenges) >= MAX_CHALLENGES or not limiter.allows(site_of(place[1][0]), now):
            self.counts.limited += 1
            return []
        seq = 0 if record is None else record.record.seq
        key = None if record is None else PublicKey.from_bytes(record.envelope.public_key)
        answer = packets.WhoAreYou(
            self._entropy.token(crypto.IV_BYTES),
            packet.nonce,
            self._entropy.token(packets.ID_NONCE_BYTES),
            seq,
        )
        self._challenges[place] = _Challenge(answer.challenge, key, now + HANDSHAKE_TIMEOUT)
        return [self._sent(answer, *place)]

    def _who_are_you(self, packet: packets.WhoAreYou, now: float) -> list[Event]:
        """Prove our name to a node that could not read a request, and send the request along."""
        request = self._by_nonce.pop(packet.nonce, None)
        if request is None:
            self.counts.unsolicited += 1
            return []
        request.nonce = None
        contact = request.contact
        secret = self._secret()
        ephemeral = PublicKey(coincurve.PrivateKey(secret).public_key.format()).to_bytes()
        own = self._record()
        handshake = packets.Handshake(
            source=self._node_id,
            iv=self._entropy.token(crypto.IV_BYTES),
            nonce=self._entropy.token(crypto.NONCE_BYTES),
            signature=crypto.prove_identity(self._identity, packet.challenge, ephemeral, contact.node_id),
            ephemeral=ephemeral,
            record=own.to_bytes() if packet.record_seq < own.record.seq else b"",
        )
        shared = crypto.shared_secret(secret, contact.public_key.point, self._entropy)
        keys = crypto.derive_keys(shared, self._node_id, contact.node_id, packet.challenge)
        self._sessions.agree(contact.place, contact.public_key, write=keys.initiator, read=keys.recipient)
        self.counts.handshakes += 1
        events: list[Event] = [
            self._sent(packets.with_message(handshake, keys.initiator, request.data), *contact.place)
        ]
        if request.expects is None:
            self._settle(request, now)
        exchange = self._exchanges.pop(contact.place, None)
        if exchange is not None:
            events += self._submit_all(exchange.waiting, now)
        return events

    def _handshake(self, packet: packets.Handshake, source: Address, now: float) -> list[Event]:
        """Look at the answer to a challenge of ours, and begin a session when it is good."""
        place = (packet.source, source)
        challenge = self._challenges.get(place)
        if challenge is None:
            self.counts.unsolicited += 1
            return []
        challenge.attempts += 1
        if challenge.attempts >= MAX_ATTEMPTS:
            del self._challenges[place]
        try:
            record = SignedPeerRecord.from_bytes(packet.record) if packet.record else None
            ephemeral = PublicKey.from_bytes(packet.ephemeral)
        except DecodeError:
            self.counts.refused += 1
            return []
        key = challenge.public_key
        if record is not None and record.node_id == packet.source:
            key = PublicKey.from_bytes(record.envelope.public_key)
        elif record is not None:
            key = None
        if key is None or not crypto.proves_identity(
            key, packet.signature, challenge.data, packet.ephemeral, self._node_id
        ):
            self.counts.refused += 1
            return []
        # Only now, so that nobody else can spend the challenge of an honest node.
        self._challenges.pop(place, None)
        shared = crypto.shared_secret(crypto.secret_of(self._identity), ephemeral.point, self._entropy)
        keys = crypto.derive_keys(shared, packet.source, self._node_id, challenge.data)
        data = packets.message_in(packet, keys.initiator)
        if data is None:
            # It has keys that do not work, and would prove its name again and again.
            self._sessions.drop(place)
            self.counts.refused += 1
            return []
        session = self._sessions.agree(place, key, write=keys.recipient, read=keys.initiator)
        session.is_repeated(packet.nonce)
        self.counts.handshakes += 1
        events: list[Event] = [] if record is None else [Verified(record, source)]
        try:
            events += self._message(data, Contact(packet.source, source, key), now)
        except DecodeError:
            self.counts.garbage += 1  # a message of a later kind; the keys are good all the same
        # There are keys now, also for what waits until we are asked who we are.
        exchange = self._exchanges.pop(place, None)
        if exchange is not None:
            events += self._submit_all(exchange.waiting, now)
        return events

    # What goes out

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

    def _secret(self) -> bytes:
        """A new secret key."""
        return crypto.secret_of(Identity.generate(self._entropy))
