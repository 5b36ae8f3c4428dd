"""Our requests that are under way: what each is known by, until when, and how each ended.

A request is known by the node and its request id, which the answer repeats, and by the nonce of the packet
that it went out with, which a challenge repeats.
"""

from collections import OrderedDict

from attrs import define, field

from codex.discovery import messages
from codex.discovery.crypto import Entropy
from codex.discovery.events import Answered, Contact, Ticket, TimedOut
from codex.discovery.messages import Answer, Nodes, Opened

RESPONSE_TIMEOUT = 1.0
"""Seconds from a request to its answer, or from one message of an answer to the next."""
ANSWER_TIMEOUT = 3.0
"""Seconds from a request to the end of an answer of several messages."""
MAX_REQUESTS = 1024
"""Requests under way."""
MAX_NODES_MESSAGES = 16
"""Messages of one answer to FindNode."""


@define(eq=False)
class Pending:
    """A request that may still be answered, or challenged."""

    ticket: Ticket
    contact: Contact
    request_id: bytes
    data: bytes
    """The message, not sealed."""
    expects: int | None
    """The kind of its answer; None when there is none."""
    asked: float
    deadline: float
    nonce: bytes | None = None
    """Of the packet that it went out with; None before that, and once it was challenged."""
    answers: list[Answer] = field(factory=list)
    total: int = 1
    """Messages that the answer has."""
    settled: bool = False
    """Whether its end was told already."""

    @property
    def key(self) -> tuple[bytes, bytes]:
        """What its answer is known by."""
        return (self.contact.node_id, self.request_id)


class Requests:
    """All of them. Each ends exactly once, as `Answered` or `TimedOut`, which `taken` hands out."""

    def __init__(self, entropy: Entropy) -> None:
        self._entropy = entropy
        self._tickets = 0
        # In the order of the deadlines: each request waits equally long, and so does each that is extended.
        self._by_key: OrderedDict[tuple[bytes, bytes], Pending] = OrderedDict()
        self._by_nonce: dict[bytes, Pending] = {}
        self._over: list[Answered | TimedOut] = []
        self._over_at = 0.0

    def __len__(self) -> int:
        return len(self._by_key)

    def __contains__(self, request: Pending) -> bool:
        return request.key in self._by_key

    def ticket(self) -> Ticket:
        """The next number."""
        self._tickets += 1
        return Ticket(self._tickets)

    def begin(self, to: Contact, message: messages.Request, now: float) -> Pending:
        """A new request, not sent yet."""
        request_id = self._entropy.token(messages.MAX_REQUEST_ID)
        answer = messages.ANSWER_TO[type(message)]
        request = Pending(
            ticket=self.ticket(),
            contact=to,
            request_id=request_id,
            data=messages.encode(request_id, message),
            expects=None if answer is None else messages.KIND_OF[answer],
            asked=now,
            deadline=now + RESPONSE_TIMEOUT,
        )
        self._by_key[request.key] = request
        return request

    def refuse(self, now: float) -> Ticket:
        """A request that is over before it began."""
        ticket = self.ticket()
        self._end(TimedOut(ticket), now)
        return ticket

    def sent(self, request: Pending, nonce: bytes) -> None:
        """The request went out in a packet with that nonce, and only that one counts."""
        self._forget_nonce(request)
        request.nonce = nonce
        self._by_nonce[nonce] = request

    def challenged(self, nonce: bytes) -> Pending | None:
        """The request that went out in the packet with that nonce. Only the first challenge to it counts."""
        request = self._by_nonce.get(nonce)
        if request is not None:
            self._forget_nonce(request)
        return request

    def settle(self, request: Pending, now: float) -> None:
        """Report a request that has no answer as sent. It is kept, for it may still be challenged."""
        if request.expects is None and not request.settled:
            request.settled = True
            self._end(Answered(request.ticket, ()), now)

    def awaiting(self, node_id: bytes, opened: Opened) -> Pending | None:
        """The request that a message of that node answers."""
        request = self._by_key.get((node_id, opened.request_id))
        return request if request is not None and request.expects == opened.kind else None

    def answered(self, request: Pending, answer: Answer, now: float) -> None:
        """Take in an answer, or one message of it."""
        if not request.answers and isinstance(answer, Nodes):
            request.total = min(answer.total, MAX_NODES_MESSAGES)
        request.answers.append(answer)
        if len(request.answers) >= request.total:
            self._finish(request, now)
        elif now + RESPONSE_TIMEOUT <= request.asked + ANSWER_TIMEOUT:
            request.deadline = now + RESPONSE_TIMEOUT
            self._by_key.move_to_end(request.key)

    def expire(self, now: float) -> None:
        """End the requests whose time is over."""
        while (request := self._first()) is not None and request.deadline <= now:
            self._finish(request, now)

    @property
    def due(self) -> float | None:
        """When something ends, or ended and was not told."""
        if self._over:
            return self._over_at
        request = self._first()
        return None if request is None else request.deadline

    def taken(self) -> list[Answered | TimedOut]:
        """What ended and was not told yet."""
        over, self._over = self._over, []
        return over

    def _first(self) -> Pending | None:
        return next(iter(self._by_key.values()), None)

    def _finish(self, request: Pending, now: float) -> None:
        del self._by_key[request.key]
        self._forget_nonce(request)
        if request.settled:
            return
        ended = Answered(request.ticket, tuple(request.answers)) if request.answers else None
        self._end(ended or TimedOut(request.ticket), now)

    def _forget_nonce(self, request: Pending) -> None:
        if request.nonce is not None:
            del self._by_nonce[request.nonce]
            request.nonce = None

    def _end(self, event: Answered | TimedOut, now: float) -> None:
        self._over.append(event)
        self._over_at = now
