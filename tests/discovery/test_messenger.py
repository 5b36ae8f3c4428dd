"""The messenger: two that talk, over whatever the network does to them, and what strangers can make it do."""

import heapq
from collections.abc import Callable, Iterator
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from codex.codec import Multiaddr
from codex.discovery import packets
from codex.discovery.events import Answered, Asked, Contact, Event, Send, Ticket, TimedOut, Verified
from codex.discovery.messages import (
    AddProvider,
    Answer,
    FindNode,
    FindNodeFast,
    GetProviders,
    Nodes,
    Ping,
    Pong,
    Providers,
    Request,
    TalkRequest,
    TalkResponse,
    nodes_answer,
)
from codex.discovery.messenger import EXCHANGE_TIMEOUT, MAX_WAITING, REQUESTS_EACH, Messenger
from codex.discovery.requests import MAX_REQUESTS
from codex.discovery.sessions import Address
from codex.errors import DecodeError
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime.clock import SeededEntropy

CONTENT = bytes(range(32))


class Person:
    """A node with a messenger, that answers what it is asked and keeps what it is told."""

    def __init__(self, name: str, ip: str, *, knows: "list[Person] | None" = None) -> None:
        self.name = name
        self.identity = Identity.generate(SeededEntropy(name))
        self.address: Address = (ip, 8090)
        self.record = SignedPeerRecord.sign(self.identity, 7, [Multiaddr.parse(f"/ip4/{ip}/udp/8090")])
        self.contact = Contact.of(self.record)
        self.knows = {person.identity.node_id: person.record for person in knows or []}
        self.asked: list[Asked] = []
        self.verified: list[Verified] = []
        self.ended: dict[Ticket, Answered | TimedOut] = {}
        self.open: set[Ticket] = set()
        self.reply = self.truth
        self.lives = 0
        self.restart()

    def restart(self) -> None:
        """Begin anew, without sessions."""
        self.lives += 1
        self.messenger = Messenger(
            self.identity,
            lambda: self.record,
            entropy=SeededEntropy(f"{self.name}/{self.lives}"),
            known=self.knows.get,
        )
        self.open.clear()
        self.ended.clear()

    def ask(self, other: "Person", message: Request, now: float) -> tuple[Ticket, list[Send]]:
        ticket, sends = self.messenger.request(other.contact, message, now)
        self.open.add(ticket)
        return ticket, sends

    def take(self, events: list[Event]) -> list[Send]:
        """Note what happened, and return what is to be sent."""
        sends: list[Send] = []
        for event in events:
            match event:
                case Send():
                    sends.append(event)
                case Asked():
                    self.asked.append(event)
                    sends += self.messenger.respond(event, *self.reply(event))
                case Answered(ticket) | TimedOut(ticket):
                    assert ticket not in self.ended, "each request ends once"
                    self.open.remove(ticket)
                    self.ended[ticket] = event
                case Verified():
                    self.verified.append(event)
        return sends

    def truth(self, asked: Asked) -> tuple[Answer, ...]:
        match asked.message:
            case Ping():
                return (Pong(self.record.record.seq, *asked.contact.address),)
            case FindNode() | FindNodeFast():
                return nodes_answer([self.record] * 7)
            case TalkRequest(_, request):
                return (TalkResponse(request),)
            case GetProviders():
                return (Providers(1, (self.record,)),)
        return ()


class World:
    """Persons, datagrams on their way, and the time. What becomes of a datagram is up to `fate`, which gives
    the delays, in seconds, after which copies of it arrive.
    """

    def __init__(self, *people: Person, fate: Callable[[Send], list[float]] = lambda _: [0.01]) -> None:
        self.people = {person.address: person for person in people}
        self.fate = fate
        self.now = 100.0
        self.sent: list[tuple[Address, Send]] = []
        self.to_nobody: list[Send] = []
        self._number = count()
        self._underway: list[tuple[float, int, Address, Send]] = []

    def send(self, source: Address, sends: list[Send]) -> None:
        for send in sends:
            self.sent.append((source, send))
            if send.to not in self.people:
                self.to_nobody.append(send)
                continue
            for delay in self.fate(send):
                heapq.heappush(self._underway, (self.now + delay, next(self._number), source, send))

    def ask(self, one: Person, other: Person, message: Request) -> Ticket:
        ticket, sends = one.ask(other, message, self.now)
        self.send(one.address, sends)
        return ticket

    def next(self) -> float | None:
        """When something happens next."""
        times = [due[0] for due in self._underway[:1]]
        times += [due for person in self.people.values() if (due := person.messenger.next_tick()) is not None]
        return min(times, default=None)

    def run(self, until: float = 1e9) -> None:
        """Go on until nothing will happen, or for so many seconds."""
        end = self.now + until
        for _ in range(100_000):
            due = self.next()
            if due is None or due > end:
                self.now = end if until < 1e9 else self.now
                return
            self.now = max(self.now, due)
            self._step()
        raise AssertionError("the world does not come to rest")

    def _step(self) -> None:
        for person in self.people.values():
            if (due := person.messenger.next_tick()) is not None and due <= self.now:
                self.send(person.address, person.take(person.messenger.tick(self.now)))
        while self._underway and self._underway[0][0] <= self.now:
            _, _, source, send = heapq.heappop(self._underway)
            person = self.people[send.to]
            self.send(person.address, person.take(person.messenger.receive(send.data, source, self.now)))


@pytest.fixture
def alice() -> Person:
    return Person("alice", "192.0.2.1")


@pytest.fixture
def bob() -> Person:
    return Person("bob", "192.0.2.2")


@pytest.fixture
def world(alice: Person, bob: Person) -> World:
    return World(alice, bob)


def messages_of(person: Person, ticket: Ticket) -> tuple[Answer, ...]:
    ended = person.ended[ticket]
    assert isinstance(ended, Answered)
    return ended.messages


def kinds(world: World) -> list[str]:
    """What kind of packet each datagram so far was."""
    return [
        type(packets.decode(send.data, world.people[send.to].identity.node_id)).__name__
        for _, send in world.sent
    ]


# -- the conversation


def test_the_first_question_to_a_node(world: World, alice: Person, bob: Person) -> None:
    ticket = world.ask(alice, bob, Ping(7))
    world.run()
    assert messages_of(alice, ticket) == (Pong(7, *alice.address),)
    assert kinds(world) == ["Ordinary", "WhoAreYou", "Handshake", "Ordinary"]
    assert [len(send.data) for _, send in world.sent][:2] == [16 + 23 + 32 + 20, 63]
    assert [asked.message for asked in bob.asked] == [Ping(7)]
    assert bob.asked[0].contact == alice.contact
    # Bob did not know alice, and now has her record; alice knew where to ask.
    assert bob.verified == [Verified(alice.record, alice.address)]
    assert alice.verified == []
    assert alice.messenger.sessions == bob.messenger.sessions == 1
    assert alice.messenger.next_tick() is None
    assert bob.messenger.next_tick() is None


@pytest.mark.parametrize(
    ("message", "answer"),
    [
        (Ping(7), Pong),
        (FindNode((0, 256)), Nodes),
        (FindNodeFast(CONTENT), Nodes),
        (TalkRequest(b"echo", b"hi"), TalkResponse),
        (GetProviders(CONTENT), Providers),
    ],
)
def test_every_question_has_its_answer(
    world: World, alice: Person, bob: Person, message: Request, answer: type[Answer]
) -> None:
    first = world.ask(alice, bob, message)
    world.run()
    again = world.ask(alice, bob, message)
    world.run()
    assert messages_of(alice, first) == messages_of(alice, again)
    assert {type(one) for one in messages_of(alice, first)} == {answer}
    assert [asked.message for asked in bob.asked] == [message, message]
    assert kinds(world).count("WhoAreYou") == 1


def test_an_answer_of_several_messages(world: World, alice: Person, bob: Person) -> None:
    ticket = world.ask(alice, bob, FindNode((256,)))
    world.run()
    answer = messages_of(alice, ticket)
    assert [len(one.records) for one in answer if isinstance(one, Nodes)] == [3, 3, 1]


def test_what_was_lost_of_an_answer_does_not_spoil_the_rest(alice: Person, bob: Person) -> None:
    world = World(alice, bob)
    world.ask(alice, bob, Ping(7))
    world.run()
    answers = count()
    world.fate = lambda send: [] if send.to == alice.address and next(answers) == 1 else [0.01]
    start = world.now
    ticket = world.ask(alice, bob, FindNode((256,)))
    world.run()
    assert len(messages_of(alice, ticket)) == 2
    assert world.now - start == pytest.approx(1.02)


def test_an_answer_that_trickles_in_has_an_end(alice: Person, bob: Person) -> None:
    world = World(alice, bob)
    world.ask(alice, bob, Ping(7))
    world.run()
    start, answers = world.now, count(1)
    world.fate = lambda send: [0.9 * next(answers)] if send.to == alice.address else [0.0]
    bob.reply = lambda _: tuple(Nodes(16, (bob.record,)) for _ in range(16))
    ticket = world.ask(alice, bob, FindNode((256,)))
    world.run(until=3)
    assert len(messages_of(alice, ticket)) == 3
    world.run()
    assert world.now > start + 10  # the rest came, and nobody waited for it


def test_an_unasked_for_total_is_not_waited_for(world: World, alice: Person, bob: Person) -> None:
    bob.reply = lambda _: (Nodes(2**32 - 1, (bob.record,)),) * 20
    ticket = world.ask(alice, bob, FindNode((256,)))
    world.run()
    assert len(messages_of(alice, ticket)) == 16


def test_a_total_of_none_is_one(world: World, alice: Person, bob: Person) -> None:
    bob.reply = lambda _: (Nodes(0),)
    ticket = world.ask(alice, bob, FindNode((256,)))
    world.run()
    assert messages_of(alice, ticket) == (Nodes(0),)


def test_many_questions_need_one_handshake(world: World, alice: Person, bob: Person) -> None:
    tickets = [world.ask(alice, bob, Ping(n)) for n in range(20)]
    assert len(world.sent) == 1
    world.run()
    assert all(messages_of(alice, ticket) for ticket in tickets)
    assert kinds(world).count("WhoAreYou") == kinds(world).count("Handshake") == 1
    assert [asked.message for asked in bob.asked] == [Ping(n) for n in range(20)]


def test_nobody_answers(alice: Person, bob: Person) -> None:
    world = World(alice, bob, fate=lambda _: [])
    start = world.now
    tickets = [world.ask(alice, bob, Ping(n)) for n in range(3)]
    world.run(until=0.99)
    assert alice.ended == {}
    world.run(until=0.01)
    assert world.now == start + 1
    assert {ticket: alice.ended[ticket] for ticket in tickets} == {one: TimedOut(one) for one in tickets}
    # What waited was tried once, when the first had not been heard of.
    assert kinds(world) == ["Ordinary", "Ordinary"]
    assert alice.messenger.requests == 0
    world.run()
    assert len(world.sent) == 2


def test_what_waits_is_sent_when_the_first_gets_lost(alice: Person, bob: Person) -> None:
    packets_so_far = count()
    world = World(alice, bob, fate=lambda _: [] if next(packets_so_far) == 0 else [0.01])
    start = world.now
    first, second, third = (world.ask(alice, bob, Ping(n)) for n in range(3))
    world.run(until=EXCHANGE_TIMEOUT + 0.1)
    assert messages_of(alice, second)
    assert messages_of(alice, third)
    world.run()
    assert alice.ended[first] == TimedOut(first)
    assert world.now == start + 1
    assert kinds(world).count("Handshake") == 1


def test_an_announcement_is_told_and_not_answered(world: World, alice: Person, bob: Person) -> None:
    for round_number in (1, 2):
        ticket = world.ask(alice, bob, AddProvider(CONTENT, alice.record))
        world.run()
        assert messages_of(alice, ticket) == ()
        assert len(bob.asked) == round_number
    assert alice.messenger.requests == 0


def test_an_announcement_to_nobody_times_out(alice: Person, bob: Person) -> None:
    world = World(alice, bob, fate=lambda _: [])
    ticket = world.ask(alice, bob, AddProvider(CONTENT, alice.record))
    world.run()
    assert alice.ended[ticket] == TimedOut(ticket)


def test_an_announcement_reaches_a_node_that_began_anew(world: World, alice: Person, bob: Person) -> None:
    world.ask(alice, bob, Ping(7))
    world.run()
    bob.restart()
    ticket = world.ask(alice, bob, AddProvider(CONTENT, alice.record))
    world.run()
    assert messages_of(alice, ticket) == ()
    assert [asked.message for asked in bob.asked][1:] == [AddProvider(CONTENT, alice.record)]


@pytest.mark.parametrize("who", ["alice", "bob"])
def test_a_node_that_began_anew(world: World, alice: Person, bob: Person, who: str) -> None:
    world.ask(alice, bob, Ping(7))
    world.run()
    {"alice": alice, "bob": bob}[who].restart()
    for one, other in ((alice, bob), (bob, alice)):
        ticket = world.ask(one, other, Ping(7))
        world.run()
        assert messages_of(one, ticket)


def test_both_ask_at_once(world: World, alice: Person, bob: Person) -> None:
    tickets = [
        (one, world.ask(one, other, Ping(n))) for n in range(3) for one, other in ((alice, bob), (bob, alice))
    ]
    world.run()
    assert all(messages_of(person, ticket) for person, ticket in tickets)
    # And from here on, without another handshake.
    before = kinds(world).count("WhoAreYou")
    for one, other in ((alice, bob), (bob, alice)) * 3:
        ticket = world.ask(one, other, Ping(7))
        world.run()
        assert messages_of(one, ticket)
    assert kinds(world).count("WhoAreYou") == before


def test_a_handshake_of_the_other_serves_our_question_too(alice: Person, bob: Person) -> None:
    """Bob's challenge gets lost, and he asks something himself."""
    to_alice = count()
    world = World(
        alice, bob, fate=lambda send: [] if send.to == alice.address and next(to_alice) == 0 else [0.01]
    )
    mine = [world.ask(alice, bob, Ping(n)) for n in range(2)]
    world.run(until=0.02)
    theirs = world.ask(bob, alice, Ping(2))
    world.run(until=0.1)
    assert messages_of(bob, theirs)
    assert [asked.message for asked in bob.asked] == [Ping(0), Ping(1)]
    assert all(messages_of(alice, ticket) for ticket in mine)
    assert kinds(world).count("Handshake") == 1


def test_a_node_that_is_known_need_not_send_its_record(alice: Person) -> None:
    bob = Person("bob", "192.0.2.2", knows=[alice])
    world = World(alice, bob)
    ticket = world.ask(alice, bob, Ping(7))
    world.run()
    assert messages_of(alice, ticket)
    assert bob.verified == []
    handshake = packets.decode(world.sent[2][1].data, bob.identity.node_id)
    assert isinstance(handshake, packets.Handshake)
    assert handshake.record == b""


def test_a_newer_record_is_sent_to_whoever_has_an_old_one(alice: Person) -> None:
    bob = Person("bob", "192.0.2.2", knows=[alice])
    alice.record = SignedPeerRecord.sign(alice.identity, 8, alice.record.record.addresses)
    world = World(alice, bob)
    world.ask(alice, bob, Ping(8))
    world.run()
    assert bob.verified == [Verified(alice.record, alice.address)]


def test_nobody_asks_itself(world: World, alice: Person) -> None:
    ticket = world.ask(alice, alice, Ping(7))
    assert world.sent == []
    world.run()
    assert alice.ended[ticket] == TimedOut(ticket)


def test_answers_are_not_sent_without_a_session(alice: Person, bob: Person) -> None:
    assert alice.messenger.respond(Asked(bob.contact, b"1", Ping(7)), Pong(7, "192.0.2.2", 1)) == []


def test_an_answer_that_fits_into_no_datagram(world: World, alice: Person, bob: Person) -> None:
    world.ask(alice, bob, Ping(7))
    world.run()
    with pytest.raises(ValueError, match="does not fit"):
        bob.messenger.respond(bob.asked[0], TalkResponse(bytes(65_500)))


def test_contacts_of_records(alice: Person) -> None:
    assert alice.contact.address == ("192.0.2.1", 8090)
    assert alice.contact.node_id == alice.identity.node_id
    assert alice.contact.public_key == alice.identity.public_key
    with pytest.raises(DecodeError, match="no IPv4 address"):
        Contact.of(SignedPeerRecord.sign(alice.identity, 7, [Multiaddr.parse("/ip4/192.0.2.1/tcp/1")]))


# -- what others may try


def test_a_packet_that_comes_twice_is_read_once(alice: Person, bob: Person) -> None:
    world = World(alice, bob, fate=lambda _: [0.01, 0.02, 0.05])
    for number in range(1, 4):
        ticket = world.ask(alice, bob, FindNode((256,)))
        world.run()
        assert len(messages_of(alice, ticket)) == 3
        assert len(bob.asked) == number
    assert alice.messenger.counts.repeated > 0


def test_an_answer_of_another_kind_is_none(world: World, alice: Person, bob: Person) -> None:
    bob.reply = lambda _: (TalkResponse(b"hi"),)
    ticket = world.ask(alice, bob, Ping(7))
    world.run()
    assert alice.ended[ticket] == TimedOut(ticket)
    assert alice.messenger.counts.unsolicited == 1


def test_an_answer_of_another_node_is_none(world: World, alice: Person, bob: Person) -> None:
    carol = Person("carol", "192.0.2.3")
    world.people[carol.address] = carol
    world.ask(carol, alice, Ping(7))
    world.run()
    bob.reply = lambda _: ()
    ticket = world.ask(alice, bob, Ping(7))
    world.run(until=0.5)
    stolen = Asked(alice.contact, bob.asked[-1].request_id, Ping(7))
    world.send(carol.address, carol.messenger.respond(stolen, Pong(1, "192.0.2.66", 1)))
    world.run()
    assert alice.ended[ticket] == TimedOut(ticket)


def test_a_challenge_that_answers_nothing_is_passed_over(alice: Person, bob: Person) -> None:
    packet = packets.WhoAreYou(bytes(16), bytes(12), bytes(16), 0)
    datagram = packets.encode(packet, alice.identity.node_id)
    assert alice.messenger.receive(datagram, bob.address, 0.0) == []
    assert alice.messenger.counts.unsolicited == 1


def test_only_the_first_challenge_to_a_packet_counts(alice: Person, bob: Person) -> None:
    _, (send,) = alice.messenger.request(bob.contact, Ping(7), 0.0)
    (challenge,) = bob.messenger.receive(send.data, alice.address, 0.1)
    assert isinstance(challenge, Send)
    assert len(alice.messenger.receive(challenge.data, bob.address, 0.2)) == 1
    assert alice.messenger.receive(challenge.data, bob.address, 0.3) == []


def test_questions_are_taken_at_a_rate(world: World, alice: Person, bob: Person) -> None:
    world.ask(alice, bob, Ping(7))
    world.run()
    for n in range(1000):
        world.ask(alice, bob, Ping(n))
    world.run()
    assert len(bob.asked) <= REQUESTS_EACH.burst + 1
    assert bob.messenger.counts.limited > 700


def test_our_own_questions_are_bounded(alice: Person, bob: Person) -> None:
    for n in range(2 * MAX_REQUESTS):
        alice.ask(bob, Ping(n), 0.0)
    assert alice.messenger.requests == MAX_REQUESTS
    assert alice.messenger.counts.limited >= 2 * MAX_REQUESTS - MAX_WAITING - 1
    alice.take(alice.messenger.tick(0.0))
    assert len(alice.open) == MAX_REQUESTS
    alice.take(alice.messenger.tick(2.0))
    assert alice.open == set()
    assert alice.messenger.next_tick() is None


@given(st.binary(max_size=300))
def test_noise_is_counted(datagram: bytes) -> None:
    alice = Person("alice", "192.0.2.1")
    assert alice.messenger.receive(datagram, ("192.0.2.9", 9), 0.0) == []
    assert alice.messenger.counts.garbage == 1
    assert alice.messenger.counts.received_bytes == len(datagram)


# -- whatever the network does


def fates(draw: st.DataObject) -> Callable[[Send], list[float]]:
    """A network that loses, doubles, delays and reorders as it is drawn."""
    delays = st.sampled_from([0.001, 0.01, 0.1, 0.3])
    copies = st.lists(delays, max_size=3)
    return lambda _: draw.draw(copies)


@settings(max_examples=60)
@given(st.data())
def test_everything_ends_over_any_network(draw: st.DataObject) -> None:
    alice, bob = Person("alice", "192.0.2.1"), Person("bob", "192.0.2.2")
    world = World(alice, bob, fate=fates(draw))
    tickets = []
    for _ in range(draw.draw(st.integers(1, 8))):
        one, other = draw.draw(st.sampled_from([(alice, bob), (bob, alice)]))
        tickets.append((one, world.ask(one, other, draw.draw(st.sampled_from([Ping(1), FindNode((256,))])))))
        world.run(until=draw.draw(st.sampled_from([0.0, 0.05, 0.5, 2.0])))
    world.run()
    assert all(ticket in person.ended for person, ticket in tickets)
    # And once the network is good again, so is everything else.
    world.fate = lambda _: [0.01]
    world.run()
    for one, other in ((alice, bob), (bob, alice)):
        ticket = world.ask(one, other, Ping(7))
        world.run()
        assert messages_of(one, ticket)


class Conversation(RuleBasedStateMachine):
    """Two that ask each other at any time, begin anew at any time, over a network that does what it wants."""

    def __init__(self) -> None:
        super().__init__()
        self.alice, self.bob = Person("alice", "192.0.2.1"), Person("bob", "192.0.2.2")
        self.fates: Iterator[list[float]] = iter(())
        self.world = World(self.alice, self.bob, fate=lambda _: next(self.fates, [0.01]))
        self.questions = 0

    @rule(fates=st.lists(st.lists(st.sampled_from([0.001, 0.02, 0.2, 0.7]), max_size=3), max_size=12))
    def disturb(self, fates: list[list[float]]) -> None:
        self.fates = iter(fates)

    @rule(
        bob_asks=st.booleans(),
        message=st.sampled_from(
            [Ping(1), FindNode((1, 256)), GetProviders(CONTENT), TalkRequest(b"echo", b"hi")]
        ),
        times=st.integers(1, 5),
    )
    def ask(self, bob_asks: bool, message: Request, times: int) -> None:
        one, other = (self.bob, self.alice) if bob_asks else (self.alice, self.bob)
        for _ in range(times):
            self.world.ask(one, other, message)
            self.questions += 1

    @rule(bob_announces=st.booleans())
    def announce(self, bob_announces: bool) -> None:
        one, other = (self.bob, self.alice) if bob_announces else (self.alice, self.bob)
        self.world.ask(one, other, AddProvider(CONTENT, one.record))

    @rule(bob_does=st.booleans())
    def begin_anew(self, bob_does: bool) -> None:
        (self.bob if bob_does else self.alice).restart()

    @rule(seconds=st.sampled_from([0.01, 0.1, 0.5, 1.5]))
    def wait(self, seconds: float) -> None:
        self.world.run(until=seconds)

    @rule()
    def settle(self) -> None:
        self.world.run()
        assert self.alice.open == self.bob.open == set()
        self.fates = iter(())
        for one, other in ((self.alice, self.bob), (self.bob, self.alice)):
            ticket = self.world.ask(one, other, Ping(7))
            self.world.run()
            assert messages_of(one, ticket)

    @invariant()
    def nothing_is_kept_for_longer_than_it_takes(self) -> None:
        for person in (self.alice, self.bob):
            assert person.messenger.sessions <= 1
            assert person.messenger.requests <= self.questions + 100
            due = person.messenger.next_tick()
            assert due is None or due <= self.world.now + 1


Conversation.TestCase.settings = settings(max_examples=40, stateful_step_count=25)
test_a_conversation = Conversation.TestCase
