"""Lookups: whom they ask, whom they believe, when they end; and through networks that were made up."""

import heapq
import random
from collections.abc import Callable, Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from codex.discovery.lookup import ALPHA, MAX_NODES, MAX_QUESTIONS, PATIENCE, Lookup, distances
from codex.discovery.nodes import Node
from codex.discovery.table import K, Table
from codex.p2p import SignedPeerRecord

MakeNode = Callable[..., Node]

OWN = bytes(32)
TARGET = (1 << 255).to_bytes(32)
NEAR = 1 << 255


# Whom to ask


@pytest.mark.parametrize(
    ("centre", "expected"),
    [
        (0, [0, 1, 2]),
        (1, [1, 2, 3]),
        (2, [2, 3, 1]),
        (100, [100, 101, 99]),
        (254, [254, 255, 253]),
        (255, [255, 254, 253]),
        (256, [256, 255, 254]),
    ],
)
def test_distances_lie_around_the_target(centre: int, expected: list[int]) -> None:
    assert distances(centre) == expected


@given(st.integers(0, 256))
def test_distances_are_few_and_each_once(centre: int) -> None:
    found = distances(centre)
    assert found[0] == centre
    assert 3 <= len(set(found)) == len(found) <= 4
    assert all(0 < distance < 256 for distance in found[1:])


def test_the_closest_are_asked_first_and_few_at_once(make_node: MakeNode) -> None:
    nodes = [make_node(NEAR + number) for number in range(1, 30)]
    lookup = Lookup(TARGET, OWN, reversed(nodes))
    assert lookup.due(0.0) == nodes[:ALPHA]
    assert lookup.due(0.1) == []
    lookup.heard(nodes[1], [])
    assert lookup.due(0.1) == [nodes[3]]
    lookup.unheard(nodes[0])
    assert lookup.due(0.1) == nodes[4:6]  # one is silent: there is one more at once from now on


def test_a_lookup_without_anybody_is_over(make_node: MakeNode) -> None:
    lookup = Lookup(TARGET, OWN, [])
    assert lookup.is_over(0.0)
    assert lookup.due(0.0) == []
    assert (lookup.closest(), lookup.hops, lookup.wake_at(0.0)) == ([], 0, None)


def test_all_of_the_closest_that_answer_are_asked_and_no_more(make_node: MakeNode) -> None:
    nodes = [make_node(NEAR + number) for number in range(1, 40)]
    lookup = Lookup(TARGET, OWN, nodes)
    asked = []
    while not lookup.is_over(0.0):
        for node in lookup.due(0.0):
            asked.append(node)
            lookup.heard(node, [])
    assert asked == nodes[:K] == lookup.closest()
    assert lookup.questions == K


def test_who_does_not_answer_is_replaced_by_the_next(make_node: MakeNode) -> None:
    nodes = [make_node(NEAR + number) for number in range(1, 40)]
    lookup = Lookup(TARGET, OWN, nodes)
    while not lookup.is_over(0.0):
        for node in lookup.due(0.0):
            if node.number % 2:
                lookup.unheard(node)
            else:
                lookup.heard(node, [])
    assert lookup.closest() == [node for node in nodes if node.number % 2 == 0][:K]


def test_the_slow_are_not_waited_for_and_still_count(make_node: MakeNode) -> None:
    nodes = [make_node(NEAR + number) for number in range(1, 6)]
    lookup = Lookup(TARGET, OWN, nodes)
    first = lookup.due(0.0)
    assert lookup.wake_at(0.0) == PATIENCE
    assert lookup.due(PATIENCE) == nodes[3:]
    assert not lookup.is_over(PATIENCE)
    for node in nodes[3:]:
        lookup.heard(node, [])
    assert lookup.is_over(PATIENCE)
    lookup.heard(first[0], [])
    assert lookup.closest() == [nodes[0], *nodes[3:]]


def test_the_slow_are_waited_for_when_there_is_nobody_else(make_node: MakeNode) -> None:
    node = make_node(NEAR + 1)
    lookup = Lookup(TARGET, OWN, [node])
    lookup.due(0.0)
    assert not lookup.is_over(PATIENCE + 1)
    lookup.unheard(node)
    assert lookup.is_over(PATIENCE + 1)
    assert lookup.closest() == []


# Whom to believe


def records(*nodes: Node) -> list[SignedPeerRecord]:
    return [node.record for node in nodes]


class Told:
    """A lookup at its first node, which answers; nodes are told by records that stand for themselves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, teller: Node, others: Sequence[Node]) -> None:
        by_record = {id(node.record): node for node in others}
        monkeypatch.setattr(Node, "of", lambda record: by_record[id(record)])
        self.teller = teller
        self.lookup = Lookup(TARGET, OWN, [teller])
        assert self.lookup.due(0.0) == [teller]


def test_what_lies_at_other_distances_than_asked_for_is_not_believed(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = make_node(NEAR + (1 << 100))  # 101 away from the target
    good = [make_node(NEAR + 1), make_node(NEAR + (1 << 100) + (1 << 99)), make_node(NEAR + (1 << 101))]
    bad = [make_node(NEAR + (1 << 150)), make_node(1), make_node(NEAR + (1 << 100) + 5)]
    told = Told(monkeypatch, teller, good + bad)
    assert told.lookup.heard(teller, records(*bad, *good)) == good


def test_we_are_never_found_and_an_answer_is_cut(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    teller = make_node(NEAR - 1)  # the greatest distance
    others = [make_node(NEAR + number) for number in range(40)]
    us = make_node(0)
    told = Told(monkeypatch, teller, [us, *others])
    assert told.lookup.heard(teller, records(us, *others)) == others[: MAX_NODES - 1]
    assert told.lookup.heard(teller, records(*others)) == []  # it was not asked again


def test_of_one_neighbourhood_few_are_among_the_closest(make_node: MakeNode) -> None:
    crowd = [make_node(NEAR + number, f"8.8.8.{number}") for number in range(1, 30)]
    others = [make_node(NEAR + (1 << 200) + number, f"9.9.{number}.1") for number in range(1, 30)]
    lookup = Lookup(TARGET, OWN, crowd + others)
    while not lookup.is_over(0.0):
        for node in lookup.due(0.0):
            lookup.heard(node, [])
    assert lookup.closest() == crowd[:4] + others[: K - 4]


def test_who_tells_of_nodes_that_are_not_there_is_believed_no_further(
    make_node: MakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    liar = make_node((1 << 255) - 1)
    inventions = [make_node(NEAR + number) for number in range(1, 17)]
    told = Told(monkeypatch, liar, inventions)
    told.lookup.heard(liar, records(*inventions))
    asked = 0
    while not told.lookup.is_over(0.0):
        for node in told.lookup.due(0.0):
            asked += 1
            told.lookup.unheard(node)
    assert asked == 3
    assert told.lookup.closest() == [liar]


def test_what_others_tell_too_is_believed(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    liar, honest = make_node(NEAR - 1), make_node(NEAR - 2)
    inventions = [make_node(NEAR + number) for number in range(1, 16)]
    real = make_node(NEAR + 100)
    monkeypatch.setattr(
        Node, "of", lambda record: {id(one.record): one for one in [*inventions, real]}[id(record)]
    )
    lookup = Lookup(TARGET, OWN, [liar, honest])
    lookup.due(0.0)
    lookup.heard(liar, records(*inventions, real))
    lookup.heard(honest, records(real))
    while not lookup.is_over(0.0):
        for node in lookup.due(0.0):
            if node == real:
                lookup.heard(node, [])
            else:
                lookup.unheard(node)
    assert lookup.closest()[0] == real


# Through networks


class Network:
    """Nodes with tables, no sockets and a clock of its own; `dead` never answer, `liars` invent nodes."""

    def __init__(self, make: MakeNode, size: int, seed: int, dead: set[int], liars: set[int]) -> None:
        self.make = make
        self.dead = dead
        self.liars = liars
        self.random = random.Random(seed)
        self.nodes = [make(self.random.getrandbits(256)) for _ in range(size)]
        self.by_id = {node.node_id: node for node in self.nodes}
        self.by_record = {id(node.record): node for node in self.nodes}
        self.tables: dict[bytes, Table] = {}
        for node in self.nodes:
            table = self.tables[node.node_id] = Table(node.node_id)
            for other in self.random.sample(self.nodes, len(self.nodes)):
                if size < K or self.random.random() < 0.8:
                    table.answered(other)

    def answer(self, node: Node, lookup: Lookup) -> list[Node]:
        if self.nodes.index(node) not in self.liars:
            return self.tables[node.node_id].at_distances(lookup.distances_for(node), MAX_NODES)
        invented = []
        for number in range(300):
            place = int.from_bytes(lookup.target) ^ self.random.getrandbits(200)
            invented.append(self.make(place, f"10.9.{number % 250}.1"))
            self.by_record[id(invented[-1].record)] = invented[-1]
        return invented

    def look_up(self, target: bytes, start: Node) -> tuple[Lookup, float]:
        """The lookup when it is over, and how many seconds it took."""
        lookup = Lookup(target, start.node_id, self.tables[start.node_id].neighbours(target))
        now, arriving, number = 0.0, [], 0
        asked: list[Node] = []
        while not lookup.is_over(now):
            for node in lookup.due(now):
                assert node not in asked
                asked.append(node)
                alive = node.node_id in self.by_id and self.nodes.index(node) not in self.dead
                at = now + (0.05 + self.random.random() / 10 if alive else 1.0)
                heapq.heappush(arriving, (at, number := number + 1, node, alive))
            wake = lookup.wake_at(now)
            if arriving and (wake is None or arriving[0][0] <= wake):
                now, _, node, alive = heapq.heappop(arriving)
                if alive:
                    lookup.heard(node, records(*self.answer(node, lookup)))
                else:
                    lookup.unheard(node)
            else:
                assert wake is not None
                now = wake
        assert lookup.questions == len(asked) <= MAX_QUESTIONS
        return lookup, now

    def closest(self, target: bytes, but: Node) -> list[Node]:
        place = int.from_bytes(target)
        alive = [node for number, node in enumerate(self.nodes) if number not in self.dead and node != but]
        return sorted(alive, key=lambda node: node.number ^ place)[:K]


@pytest.fixture
def network(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Network]:
    def made(size: int, seed: int, dead: set[int] | None = None, liars: set[int] | None = None) -> Network:
        network = Network(make_node, size, seed, dead or set(), liars or set())
        monkeypatch.setattr(Node, "of", lambda record: network.by_record[id(record)])
        return network

    return made


@pytest.mark.parametrize("size", [2, 5, 20, 300])
def test_a_lookup_finds_the_closest_nodes_of_the_network(network: Callable[..., Network], size: int) -> None:
    world = network(size, 1)
    for seed in range(10):
        start = world.nodes[seed % size]
        target = random.Random(seed).randbytes(32)
        lookup, _ = world.look_up(target, start)
        found, true = lookup.closest(), world.closest(target, start)
        assert found[0] == true[0]
        assert len(set(found) & set(true)) >= len(true) - 1
        assert lookup.hops <= 5


def test_dead_nodes_cost_time_and_no_result(network: Callable[..., Network]) -> None:
    world = network(200, 2, dead=set(range(1, 100)))
    for seed in range(10):
        target = random.Random(seed).randbytes(32)
        lookup, took = world.look_up(target, world.nodes[0])
        assert lookup.closest()[0] == world.closest(target, world.nodes[0])[0]
        assert took < 5


def test_lying_nodes_do_not_keep_the_closest_from_being_found(network: Callable[..., Network]) -> None:
    world = network(200, 3, liars=set(range(1, 40)))
    successes = 0
    for seed in range(10):
        target = random.Random(seed).randbytes(32)
        lookup, took = world.look_up(target, world.nodes[0])
        honest = [node for node in lookup.closest() if node.node_id in world.by_id]
        successes += world.closest(target, world.nodes[0])[0] in honest
        assert took < 12
    assert successes >= 9


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_whatever_is_answered_a_lookup_ends(data: st.DataObject, make_node: MakeNode) -> None:
    count = data.draw(st.integers(0, 40))
    nodes = [make_node(NEAR + number * number) for number in range(1, count + 1)]
    lookup = Lookup(TARGET, OWN, nodes)
    pending: list[Node] = []
    now = 0.0
    while not lookup.is_over(now):
        pending += lookup.due(now)
        what = data.draw(st.sampled_from(["heard", "unheard", "late"]))
        if what == "late" or not pending:
            now = max(now, lookup.wake_at(now) or now) + 0.001
            if lookup.wake_at(now) is None and pending and not lookup.is_over(now):
                lookup.unheard(pending.pop())
        elif what == "heard":
            lookup.heard(pending.pop(0), [])
        else:
            lookup.unheard(pending.pop(0))
        assert lookup.questions <= count
    assert len(lookup.closest()) <= K
