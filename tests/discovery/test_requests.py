"""Requests under way: each ends once and in time, in whatever order they are answered."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import Multiaddr
from codex.discovery import messages
from codex.discovery.events import Answered, Contact, TimedOut
from codex.discovery.messages import AddProvider, FindNode, Nodes, Ping, Pong
from codex.discovery.requests import ANSWER_TIMEOUT, RESPONSE_TIMEOUT, Pending, Requests
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime.clock import SeededEntropy

RECORD = SignedPeerRecord.sign(
    Identity.generate(SeededEntropy("bob")), 7, [Multiaddr.parse("/ip4/192.0.2.2/udp/8090")]
)
BOB = Contact.of(RECORD)
CAROL = Contact.of(
    SignedPeerRecord.sign(
        Identity.generate(SeededEntropy("carol")), 7, [Multiaddr.parse("/ip4/192.0.2.3/udp/8090")]
    )
)
PONG = Pong(7, "192.0.2.1", 8090)


@pytest.fixture
def requests() -> Requests:
    return Requests(SeededEntropy(0))


def opened(request: Pending, kind: type[messages.Answer]) -> messages.Opened:
    return messages.Opened(messages.KIND_OF[kind], request.request_id, b"")


def test_a_request_is_known_by_its_node_its_id_and_its_kind(requests: Requests) -> None:
    request = requests.begin(BOB, Ping(7), 0.0)
    assert messages.open_message(request.data).request_id == request.request_id
    assert len(request.request_id) == messages.MAX_REQUEST_ID
    assert requests.awaiting(BOB.node_id, opened(request, Pong)) is request
    assert requests.awaiting(BOB.node_id, opened(request, Nodes)) is None
    assert requests.awaiting(CAROL.node_id, opened(request, Pong)) is None
    requests.answered(request, PONG, 0.5)
    assert requests.awaiting(BOB.node_id, opened(request, Pong)) is None
    assert requests.taken() == [Answered(request.ticket, (PONG,))]
    assert requests.taken() == []
    assert request not in requests


def test_only_the_packet_sent_last_is_challenged_and_once(requests: Requests) -> None:
    request = requests.begin(BOB, Ping(7), 0.0)
    requests.sent(request, b"first")
    requests.sent(request, b"second")
    assert requests.challenged(b"first") is None
    assert requests.challenged(b"second") is request
    assert requests.challenged(b"second") is None


def test_what_is_over_is_not_challenged(requests: Requests) -> None:
    request = requests.begin(BOB, Ping(7), 0.0)
    requests.sent(request, b"nonce")
    requests.expire(RESPONSE_TIMEOUT)
    assert requests.taken() == [TimedOut(request.ticket)]
    assert requests.challenged(b"nonce") is None


def test_what_has_no_answer_is_told_once_and_kept_for_a_challenge(requests: Requests) -> None:
    request = requests.begin(BOB, AddProvider(bytes(32), RECORD), 0.0)
    requests.sent(request, b"nonce")
    requests.settle(request, 0.1)
    assert requests.due == 0.1
    assert requests.taken() == [Answered(request.ticket, ())]
    assert requests.challenged(b"nonce") is request
    requests.settle(request, 0.2)
    requests.expire(RESPONSE_TIMEOUT)
    assert requests.taken() == []
    assert requests.due is None


def test_what_has_an_answer_is_not_settled_without(requests: Requests) -> None:
    request = requests.begin(BOB, Ping(7), 0.0)
    requests.settle(request, 0.1)
    assert requests.taken() == []
    assert request in requests


def test_a_request_that_is_extended_does_not_hold_up_others(requests: Requests) -> None:
    extended = requests.begin(BOB, FindNode((256,)), 0.0)
    other = requests.begin(BOB, Ping(7), 0.1)
    requests.answered(extended, Nodes(3), 0.9)
    assert requests.due == 0.1 + RESPONSE_TIMEOUT
    requests.expire(1.2)
    assert requests.taken() == [TimedOut(other.ticket)]
    assert requests.due == 0.9 + RESPONSE_TIMEOUT
    requests.expire(1.9)
    assert requests.taken() == [Answered(extended.ticket, (Nodes(3),))]


def test_a_refused_request_is_over_at_once(requests: Requests) -> None:
    ticket = requests.refuse(5.0)
    assert requests.due == 5.0
    assert requests.taken() == [TimedOut(ticket)]
    assert len(requests) == 0


@given(
    st.lists(st.tuples(st.floats(0, 0.7), st.sampled_from(["ask", "find", "answer", "wait"])), max_size=60)
)
def test_all_end_once_and_in_time(steps: list[tuple[float, str]]) -> None:
    requests = Requests(SeededEntropy(0))
    begun: dict[int, tuple[Pending, float]] = {}
    ended: set[int] = set()
    now = 0.0
    for wait, act in [*steps, (ANSWER_TIMEOUT, "wait")]:
        now += wait
        requests.expire(now)
        alive = [request for request, _ in begun.values() if request in requests]
        if act in ("ask", "find"):
            request = requests.begin(BOB, Ping(7) if act == "ask" else FindNode((256,)), now)
            begun[request.ticket] = (request, now)
        elif act == "answer" and alive:
            answer = PONG if alive[-1].expects == messages.KIND_OF[Pong] else Nodes(3)
            requests.answered(alive[-1], answer, now)
        for event in requests.taken():
            assert event.ticket not in ended
            ended.add(event.ticket)
        for ticket, (_, at) in begun.items():
            assert ticket in ended or now < at + ANSWER_TIMEOUT
        deadlines = [request.deadline for request, _ in begun.values() if request in requests]
        assert requests.due == min(deadlines, default=None)
    assert ended == set(begun)
    assert len(requests) == 0
