"""Nodes that find each other on a network; and that there is none, or too much of one."""

import io
import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing
from trio.abc import Clock

from codex.codec import Multiaddr
from codex.config import LogConfig
from codex.discovery import lan, lan_messages
from codex.discovery.lan import LanService, LanState
from codex.discovery.lan_messages import Answer, Neighbour, Query
from codex.discovery.sessions import Address
from codex.errors import PeerUnreachable, PortTaken
from codex.logs import configured
from codex.p2p import Identity, PeerId, SignedPeerRecord
from codex.runtime import Inbox
from codex.runtime.clock import SeededEntropy

EVERYWHERE = Multiaddr.parse("/ip4/0.0.0.0/tcp/8070")


class Segment:
    """One network: whatever a member sends, all members get, itself included. `heard` is all of it."""

    def __init__(self) -> None:
        self.members: list[Member] = []
        self.heard: list[tuple[float, bytes]] = []

    def send(self, data: bytes, source: Address) -> None:
        self.heard.append((trio.current_time(), data))
        for member in filter(Member.hosts, self.members):
            member.arrivals.send_nowait((data, source))

    def times(self, kind: type[Query] | type[Answer]) -> list[float]:
        """When packets of a kind were sent."""
        return [at for at, data in self.heard if isinstance(lan_messages.read(data), kind)]


class Member:
    """A socket on a segment, or on none."""

    def __init__(self, segment: Segment, ip: str) -> None:
        self.segment, self.ip, self.plugged = segment, ip, True
        self.arrivals, self._received = trio.open_memory_channel[tuple[bytes, Address]](10_000)
        segment.members.append(self)

    def hosts(self) -> Sequence[str]:
        return (self.ip,) if self.plugged else ()

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        assert self.plugged
        self.segment.send(data, (self.ip, 5353))

    async def receive(self) -> tuple[bytes, Address]:
        return await self._received.receive()

    def close(self) -> None:
        self.segment.members.remove(self)


class Person:
    """A node with the service, and what it was told."""

    def __init__(self, name: str, ip: str, segment: Segment) -> None:
        self.identity = Identity.generate(SeededEntropy(name))
        self.ip, self.segment = ip, segment
        self.addresses: list[Multiaddr] = [EVERYWHERE]
        self.record: SignedPeerRecord | None = SignedPeerRecord.sign(
            self.identity, 7, [Multiaddr.parse(f"/ip4/{ip}/udp/8090")]
        )
        self.told: list[tuple[PeerId, tuple[Multiaddr, ...], SignedPeerRecord | None]] = []
        self.state = LanState()
        self.socket: Member | None = None

    @property
    def home(self) -> Multiaddr:
        return Multiaddr.parse(f"/ip4/{self.ip}/tcp/8070")

    @property
    def news(self) -> tuple[PeerId, tuple[Multiaddr, ...], SignedPeerRecord | None]:
        """What others are told of this one."""
        return (self.identity.peer_id, (self.home,), self.record)

    def open_socket(self) -> Member:
        self.socket = Member(self.segment, self.ip)
        return self.socket

    async def found(
        self, peer: PeerId, addresses: tuple[Multiaddr, ...], record: SignedPeerRecord | None
    ) -> None:
        await trio.lowlevel.checkpoint()
        self.told.append((peer, addresses, record))

    def service(self, **changes: Any) -> LanService:
        parts: dict[str, Any] = {
            "open_socket": self.open_socket,
            "addresses": lambda: self.addresses,
            "record": lambda: self.record,
            "found": self.found,
            "entropy": SeededEntropy(self.ip),
            "state": self.state,
        }
        return LanService(self.identity.peer_id, **(parts | changes))

    @asynccontextmanager
    async def running(self, **changes: Any) -> Any:
        inbox = Inbox("lan")
        async with trio.open_nursery() as nursery:
            await nursery.start(self.service(**changes).run, inbox)
            yield self
            inbox.stopping.set()


@pytest.fixture
def home() -> Segment:
    return Segment()


@pytest.fixture
def alice(home: Segment) -> Person:
    return Person("alice", "192.168.1.1", home)


@pytest.fixture
def bob(home: Segment) -> Person:
    return Person("bob", "192.168.1.2", home)


async def test_two_find_each_other(autojump_clock: Clock, alice: Person, bob: Person) -> None:
    async with alice.running():
        await trio.sleep(30)
        async with bob.running():
            await trio.sleep(1)
    assert alice.told == [bob.news]
    assert bob.told == [alice.news]


async def test_nobody_finds_itself(autojump_clock: Clock, alice: Person, home: Segment) -> None:
    async with alice.running():
        await trio.sleep(10)
    assert alice.told == []
    # But it answers its own questions, so that those who only listen learn of it.
    assert len(home.times(Answer)) > 1


async def test_it_asks_ever_more_rarely(autojump_clock: Clock, alice: Person, home: Segment) -> None:
    async with alice.running():
        await trio.sleep(3600)
    asked = home.times(Query)
    assert asked[:4] == [0, 1, 3, 7]
    assert asked[-1] - asked[-2] == lan.LONGEST_INTERVAL
    assert len(asked) == alice.state.asked < 25


async def test_many_questions_get_one_answer_a_second(
    autojump_clock: Clock, alice: Person, home: Segment
) -> None:
    stranger = Member(home, "192.168.1.9")
    async with alice.running():
        await trio.sleep(2)
        home.heard.clear()
        for _ in range(200):
            await stranger.send(lan_messages.query())
            await trio.sleep(0.05)
    answers = home.times(Answer)
    assert 8 <= len(answers) <= 11
    assert min(after - before for before, after in pairwise(answers)) >= 1


async def test_answers_wait_a_moment(autojump_clock: Clock, alice: Person, home: Segment) -> None:
    async with alice.running():
        await trio.sleep(1.5)
    low, high = lan.ANSWER_DELAY
    assert low <= home.times(Answer)[0] - home.times(Query)[0] <= high


async def test_tools_that_look_at_networks_are_answered(
    autojump_clock: Clock, alice: Person, home: Segment
) -> None:
    from dnslib import QTYPE, DNSQuestion, DNSRecord

    stranger = Member(home, "192.168.1.9")
    async with alice.running():
        await trio.sleep(2)
        home.heard.clear()
        await stranger.send(bytes(DNSRecord(questions=[DNSQuestion(lan_messages.META, QTYPE.PTR)]).pack()))
        await trio.sleep(0.5)
    assert lan_messages.meta_answer() in [data for _, data in home.heard]


async def test_what_is_told_of_us(autojump_clock: Clock, alice: Person, bob: Person) -> None:
    alice.addresses = [
        Multiaddr.parse("/ip4/127.0.0.1/tcp/1"),
        Multiaddr.parse("/ip6/::1/tcp/1"),
        Multiaddr.parse("/ip6/::/tcp/1"),
        Multiaddr.parse("/ip4/203.0.113.7/tcp/1"),
        EVERYWHERE,
        alice.home,
        Multiaddr.parse("/ip6/fd00::1/tcp/1"),
    ]
    alice.record = None
    async with alice.running(), bob.running():
        await trio.sleep(1)
    told = ("/ip4/203.0.113.7/tcp/1", str(alice.home), "/ip6/fd00::1/tcp/1")
    assert bob.told == [(alice.identity.peer_id, tuple(map(Multiaddr.parse, told)), None)]


LOCAL = [Multiaddr.parse("/ip4/127.0.0.1/tcp/8070"), Multiaddr.parse("/ip6/::1/tcp/8070")]


def listen_locally(person: Person) -> None:
    person.addresses = LOCAL
    person.record = SignedPeerRecord.sign(person.identity, 7, [Multiaddr.parse("/ip4/127.0.0.1/udp/8090")])


async def test_nodes_that_listen_for_their_machine_alone_find_each_other_on_it(
    autojump_clock: Clock, alice: Person, home: Segment
) -> None:
    bob = Person("bob", alice.ip, home)
    listen_locally(alice)
    listen_locally(bob)
    async with alice.running(), bob.running(entropy=SeededEntropy("bob")):
        await trio.sleep(5)
    assert alice.told == [(bob.identity.peer_id, tuple(LOCAL), bob.record)]
    assert bob.told == [(alice.identity.peer_id, tuple(LOCAL), alice.record)]


async def test_another_machine_cannot_have_us_call_our_own(
    autojump_clock: Clock, alice: Person, bob: Person
) -> None:
    listen_locally(alice)
    alice.addresses = [*LOCAL, Multiaddr.parse("/ip6/::ffff:127.0.0.1/tcp/8070")]
    async with alice.running(), bob.running():
        await trio.sleep(5)
        assert alice.state.answered > 0
    assert bob.told == []
    assert alice.told == [bob.news]


async def test_a_node_without_addresses_looks_and_is_not_found(
    autojump_clock: Clock, alice: Person, bob: Person
) -> None:
    alice.addresses = []
    async with alice.running(), bob.running():
        await trio.sleep(5)
    assert alice.told == [bob.news]
    assert bob.told == []
    assert alice.state.answered == 0


async def test_the_same_is_told_once_a_minute_and_news_at_once(
    autojump_clock: Clock, alice: Person, bob: Person
) -> None:
    async with alice.running(), bob.running():
        await trio.sleep(20)
        assert bob.told == [alice.news]
        old = alice.news
        alice.record = SignedPeerRecord.sign(alice.identity, 8, [])
        await trio.sleep(20)
        assert bob.told == [old, alice.news]
        await trio.sleep(600)
    assert 3 < len(bob.told) < 10
    assert set(bob.told[2:]) == {alice.news}


# -- networks that come and go


async def test_without_a_network_it_waits_for_one(autojump_clock: Clock, alice: Person, bob: Person) -> None:
    def unplugged() -> Member:
        socket = alice.open_socket()
        socket.plugged = False
        return socket

    async with bob.running(), alice.running(open_socket=unplugged):
        await trio.sleep(1000)
        assert alice.state.trouble == "this machine is in no network"
        assert alice.told == []
        assert alice.socket is not None
        alice.socket.plugged = True
        await trio.sleep(lan.LOOK + 1)
        assert alice.state.trouble == ""
        assert alice.state.hosts == (alice.ip,)
        assert alice.told == [bob.news]


async def test_on_a_machine_without_networks_its_nodes_find_each_other(
    autojump_clock: Clock, home: Segment
) -> None:
    log = io.StringIO()
    alice, bob = Person("alice", "127.0.0.1", home), Person("bob", "127.0.0.1", home)
    bob.addresses = [Multiaddr.parse("/ip4/0.0.0.0/tcp/8071")]
    with configured(LogConfig(format="json"), stream=log):
        async with alice.running(), bob.running():
            await trio.sleep(5)
    assert alice.told == [(bob.identity.peer_id, (Multiaddr.parse("/ip4/127.0.0.1/tcp/8071"),), bob.record)]
    assert bob.told == [alice.news]
    [line] = {line["event"] for line in map(json.loads, log.getvalue().splitlines())}
    assert line == "this machine is in no network: looking for nodes on it"


async def test_on_another_network_it_asks_from_the_beginning(
    autojump_clock: Clock, alice: Person, home: Segment
) -> None:
    async with alice.running():
        await trio.sleep(1000)
        home.heard.clear()
        assert alice.socket is not None
        alice.socket.ip = "10.0.0.1"
        start = trio.current_time()
        await trio.sleep(lan.LOOK + 2)
    asked = home.times(Query)
    assert asked[0] - start <= lan.LOOK
    assert asked[1] - asked[0] == lan.FIRST_INTERVAL
    assert alice.state.hosts == ("10.0.0.1",)


async def test_a_port_that_is_not_shared_is_tried_again(
    autojump_clock: Clock, alice: Person, bob: Person
) -> None:
    tries = 0

    def third_time() -> Member:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise PortTaken("the UDP port 5353 of 224.0.0.251 is in use")
        return alice.open_socket()

    async with bob.running(), alice.running(open_socket=third_time):
        await trio.sleep(lan.RETRY - 1)
        assert alice.state.trouble == "the UDP port 5353 of 224.0.0.251 is in use"
        await trio.sleep(lan.RETRY + 2)
        assert alice.state.trouble == ""
        assert alice.told == [bob.news]


async def test_it_leaves_the_group_when_it_stops(autojump_clock: Clock, alice: Person, home: Segment) -> None:
    async with alice.running():
        await trio.sleep(1)
        assert len(home.members) == 1
    assert home.members == []


# -- whatever else is on a network


async def test_noise_and_other_services_are_passed_over(
    autojump_clock: Clock, alice: Person, bob: Person, home: Segment
) -> None:
    entropy = SeededEntropy("noise")
    async with alice.running(), bob.running():
        await trio.sleep(0.1)
        for size in range(300):
            home.send(entropy.token(size), ("192.168.1.9", 5353))
        await trio.sleep(1)
    assert alice.told == [bob.news]


async def test_an_answer_from_another_port_is_none(
    autojump_clock: Clock, alice: Person, bob: Person, home: Segment
) -> None:
    answer = lan_messages.answer("b" * 40, Neighbour(bob.identity.peer_id, (bob.home,), bob.record))
    async with alice.running():
        await trio.sleep(1)
        home.send(answer, (bob.ip, 40_000))
        await trio.sleep(1)
        assert alice.told == []
        home.send(answer, (bob.ip, 5353))
        await trio.sleep(1)
        assert alice.told == [bob.news]


async def test_a_machine_that_says_too_much_is_not_listened_to(
    autojump_clock: Clock, alice: Person, bob: Person, home: Segment
) -> None:
    answer = lan_messages.answer("b" * 40, Neighbour(bob.identity.peer_id, (bob.home,), bob.record))
    async with alice.running():
        await trio.sleep(2)
        for _ in range(lan.READ_EACH.burst):
            home.send(b"noise", ("192.168.1.9", 5353))
        home.send(answer, ("192.168.1.9", 5353))
        await trio.lowlevel.checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert alice.told == []
        home.send(answer, (bob.ip, 5353))
        await trio.sleep(0.1)
        assert alice.told == [bob.news]


def stranger(number: int) -> bytes:
    """The answer of one of very many nodes."""
    peer = Identity.generate(SeededEntropy(number)).peer_id
    address = Multiaddr.parse(f"/ip4/192.168.1.9/tcp/{1 + number}")
    return lan_messages.answer("c" * 40, Neighbour(peer, (address,)))


async def test_a_machine_that_makes_up_nodes_does_not_keep_others_from_being_found(
    autojump_clock: Clock, alice: Person, bob: Person, home: Segment
) -> None:
    answers = [stranger(number) for number in range(300)]
    async with alice.running():
        for answer in answers:
            home.send(answer, ("192.168.1.9", 5353))
            await trio.sleep(0.01)
        assert 0 < len(alice.told) <= lan.TELL_EACH.burst + 4
        async with bob.running():
            await trio.sleep(1)
        assert bob.news in alice.told


async def test_a_neighbour_that_takes_long_does_not_hold_up_others(
    autojump_clock: Clock, alice: Person, bob: Person, home: Segment
) -> None:
    async def found(peer: PeerId, addresses: tuple[Multiaddr, ...], record: SignedPeerRecord | None) -> None:
        if peer != bob.identity.peer_id:
            await trio.sleep_forever()
        await alice.found(peer, addresses, record)

    async with alice.running(found=found):
        for number in range(lan.TELLERS - 1):
            home.send(stranger(number), ("192.168.1.9", 5353))
        await trio.sleep(1)
        async with bob.running():
            await trio.sleep(1)
        assert alice.told == [bob.news]


async def test_when_nobody_takes_news_any_more_they_are_dropped(
    autojump_clock: Clock, alice: Person, home: Segment
) -> None:
    begun, go_on = 0, trio.Event()

    async def found(*_: object) -> None:
        nonlocal begun
        begun += 1
        await go_on.wait()

    answers = [stranger(number) for number in range(60)]
    async with alice.running(found=found):
        await trio.sleep(1)
        for number, answer in enumerate(answers):
            home.send(answer, (f"192.168.1.{10 + number % 6}", 5353))
        await trio.sleep(1)
        assert begun == lan.TELLERS
        go_on.set()
        await trio.sleep(1)
        assert begun == lan.TELLERS + lan.WAITING


async def test_a_neighbour_that_cannot_be_reached_ends_nothing(
    autojump_clock: Clock, alice: Person, bob: Person
) -> None:
    async def found(peer: PeerId, *_: object) -> None:
        await trio.lowlevel.checkpoint()
        alice.told.append((peer, (), None))
        raise PeerUnreachable("nobody answers")

    async with alice.running(found=found), bob.running():
        await trio.sleep(1000)
    assert len(alice.told) > 3
    assert alice.state.told == len(alice.told)
