"""What is answered: the rules of each message, and how much can be had for a question."""

from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from codex.codec import Multiaddr
from codex.discovery import messages
from codex.discovery.answers import FAST_NODES, Answers
from codex.discovery.events import Asked, Contact
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
)
from codex.discovery.nodes import MAX_RECORD, Node
from codex.discovery.providers import Providers as Known
from codex.discovery.table import Table
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime import SeededEntropy

NOW = 1_750_000_000.0
CONTENT = bytes(range(32))
PACKET = 1280
AROUND = 101  # bytes of a packet that are no body: IV, header, tag, kind, request id


def person(
    name: str, ip: str = "10.0.0.7", seq: int = 1, *, more: int = 0
) -> tuple[Identity, SignedPeerRecord]:
    identity = Identity.generate(SeededEntropy(name))
    addresses = [Multiaddr.parse(f"/ip4/{ip}/udp/{port}") for port in range(8090, 8091 + more)]
    return identity, SignedPeerRecord.sign(identity, seq, addresses)


ALICE, ALICES = person("alice", "10.0.0.1", 7)
BOB, BOBS = person("bob", "10.0.0.2")
CROWD = [person(f"node {number}", f"10.0.1.{number % 250 + 1}")[1] for number in range(120)]


class World:
    """Alice, who knows a crowd."""

    def __init__(self, crowd: Sequence[SignedPeerRecord] = ()) -> None:
        self.table = Table(ALICE.node_id)
        self.known = Known()
        self.answers = Answers(self.table, self.known, lambda: ALICES)
        for record in crowd:
            self.table.answered(Node.of(record))

    def ask(
        self, message: Request, *, by: Identity = BOB, ip: str = "10.0.0.2", number: bytes = b"12345678"
    ) -> list[Answer]:
        contact = Contact(by.node_id, (ip, 4321), by.public_key)
        return list(self.answers.to(Asked(contact, number, message), NOW))


def records_of(answers: Sequence[Answer]) -> list[SignedPeerRecord]:
    return [record for one in answers if isinstance(one, Nodes | Providers) for record in one.records]


def distance(record: SignedPeerRecord) -> int:
    return (int.from_bytes(record.node_id) ^ int.from_bytes(ALICE.node_id)).bit_length()


def test_a_ping_is_told_our_number_and_where_it_came_from() -> None:
    assert World().ask(Ping(3), ip="9.9.9.9") == [Pong(7, "9.9.9.9", 4321)]


def test_a_protocol_that_nobody_knows_is_answered_with_nothing() -> None:
    assert World().ask(TalkRequest(b"chess", b"e4")) == [TalkResponse(b"")]


def test_nobody_known_is_one_empty_message() -> None:
    for message in (FindNode((256,)), FindNodeFast(CONTENT)):
        assert World().ask(message) == [Nodes(1, ())]
    assert World().ask(GetProviders(CONTENT)) == [Providers(1, ())]


@pytest.mark.parametrize("distances", [(0,), (256, 0, 255)])
def test_at_distance_0_are_we_and_nobody_else(distances: tuple[int, ...]) -> None:
    assert World(CROWD).ask(FindNode(distances)) == [Nodes(1, (ALICES,))]


def test_a_distance_that_is_none_spoils_the_question() -> None:
    assert World(CROWD).ask(FindNode((256, 257))) == [Nodes(1, ())]


def test_nodes_are_16_at_most_three_to_a_message_each_with_the_number_of_messages() -> None:
    answers = World(CROWD).ask(FindNode((256, 255)))
    assert [(one.total, len(one.records)) for one in answers if isinstance(one, Nodes)] == [(6, 3)] * 5 + [
        (6, 1)
    ]
    assert {distance(record) for record in records_of(answers)} <= {256, 255}
    assert len(records_of(World(CROWD).ask(FindNodeFast(CONTENT)))) == FAST_NODES


def test_nodes_near_a_target_are_the_nearest() -> None:
    nodes = [entry.node for entry in World(CROWD).table]
    target = int.from_bytes(CONTENT)
    nearest = [node.record for node in sorted(nodes, key=lambda node: node.number ^ target)]
    assert records_of(World(CROWD).ask(FindNodeFast(CONTENT))) == nearest[:FAST_NODES]


def test_only_those_who_answer_are_told_of() -> None:
    world = World()
    for record in CROWD[:4]:
        world.table.add(Node.of(record))
    assert records_of(world.ask(FindNodeFast(CONTENT))) == []
    for record in CROWD[:2]:
        world.table.answered(Node.of(record))
    world.table.silent(CROWD[0].node_id)
    assert records_of(world.ask(FindNodeFast(CONTENT))) == [CROWD[1]]


def test_nobody_is_told_of_himself_nor_of_networks_that_he_is_not_in() -> None:
    public = person("carol", "8.8.8.8")[1]
    local = person("dave", "127.0.0.1")[1]
    world = World([BOBS, public, local])

    def told(ip: str) -> set[SignedPeerRecord]:
        return set(records_of(world.ask(FindNodeFast(CONTENT), ip=ip)))

    assert told("9.9.9.9") == {public}
    assert told("10.0.0.2") == {public}
    assert told("127.0.0.1") == {public, local}
    everything = records_of(world.ask(FindNode(tuple(range(1, 257))), ip="127.0.0.1"))
    assert set(everything) == {public, local}


# Providers


def test_a_node_is_believed_what_it_says_of_itself() -> None:
    world = World()
    assert world.ask(AddProvider(CONTENT, BOBS)) == []
    assert world.ask(GetProviders(CONTENT)) == [Providers(1, (BOBS,))]
    assert world.ask(GetProviders(bytes(32))) == [Providers(1, ())]


def test_nobody_is_believed_what_he_says_of_others() -> None:
    world = World()
    assert world.ask(AddProvider(CONTENT, CROWD[0])) == []
    assert len(world.known) == 0


def test_a_record_too_large_to_be_passed_on_is_not_taken() -> None:
    _, large = person("bob", more=100)
    assert len(large.to_bytes()) > MAX_RECORD
    world = World()
    world.ask(AddProvider(CONTENT, large))
    assert len(world.known) == 0


def test_what_one_neighbourhood_says_counts_together() -> None:
    world = World()
    for number, ip in enumerate(["8.8.8.1", "8.8.8.2", "10.0.0.1", "10.0.0.2"]):
        identity, record = person(f"node {number}", ip)
        world.ask(AddProvider(CONTENT, record), by=identity, ip=ip)
    assert set(world.known._sources) == {"8.8.8", "10.0.0.1", "10.0.0.2"}


def test_of_many_providers_each_question_is_told_others() -> None:
    world = World()
    for record in CROWD[:40]:
        world.known.add(CONTENT, record, NOW)
    told = [records_of(world.ask(GetProviders(CONTENT), number=bytes([n]))) for n in range(40)]
    assert all(4 <= len(records) == len(set(records)) <= 8 for records in told)
    assert {record for records in told for record in records} == set(CROWD[:40])


# Amplification


@settings(max_examples=40, deadline=None)
@given(more=st.lists(st.integers(0, 70), min_size=1, max_size=30), data=st.data())
def test_every_packet_is_small_whatever_we_know(more: list[int], data: st.DataObject) -> None:
    world = World()
    for number, extra in enumerate(more):
        _, record = person(f"node {number}", more=extra)
        if len(record.to_bytes()) <= MAX_RECORD:
            world.table.answered(Node.of(record))
            world.known.add(CONTENT, record, NOW)
    question = data.draw(
        st.sampled_from([FindNode((256, 255, 254)), FindNodeFast(CONTENT), GetProviders(CONTENT), Ping(1)])
    )
    answers = world.ask(question)
    assert 1 <= len(answers) <= 16
    for answer in answers:
        assert len(messages.encode(b"12345678", answer)) + AROUND <= PACKET
    assert len(records_of(answers)) <= 16
