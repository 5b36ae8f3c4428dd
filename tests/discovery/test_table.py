"""The routing table: its rules one by one, and any order of everything against what must always hold."""

from collections import Counter
from collections.abc import Callable
from math import inf
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from codex.discovery.nodes import Node
from codex.discovery.table import BITS_PER_HOP, DOUBTFUL, MISSES, RESERVES, Added, K, Limits, Table

MakeNode = Callable[..., Node]

BITS = 256
TOP = 1 << BITS - 1


def table_of(*nodes: Node, own: int = 0) -> Table:
    table = Table(own.to_bytes(32))
    for node in nodes:
        table.add(node)
    return table


def far(make_node: MakeNode, count: int, first: int = 0) -> list[Node]:
    """Nodes in one small corner of the half of the space that 0 is not in: more than 5 bits are the same."""
    return [make_node(TOP + number) for number in range(first, first + count)]


def seen(table: Table, node: Node) -> float:
    entry = table.get(node.node_id)
    assert entry is not None
    return entry.seen


# What is taken in


def test_a_node_is_known_once_and_we_are_not(make_node: MakeNode) -> None:
    table = table_of()
    assert table.add(make_node(5)) is Added.ADDED
    assert table.add(make_node(5)) is Added.KNOWN
    assert table.add(make_node(0)) is Added.OURSELVES
    assert [entry.node.number for entry in table] == [5]
    assert table.get((5).to_bytes(32)) is not None
    assert table.get((6).to_bytes(32)) is None


def test_the_newer_record_counts(make_node: MakeNode) -> None:
    table = table_of(make_node(5, seq=3))
    table.answered(make_node(5, seq=3))
    table.add(make_node(5, "10.0.0.9", seq=2))
    assert [entry.node.address[0] for entry in table] == ["10.0.0.1"]
    table.add(make_node(5, seq=4))
    assert [(entry.node.seq, entry.seen) for entry in table] == [(4, 1.0)]


def test_a_node_at_a_new_address_has_to_answer_there_first(make_node: MakeNode) -> None:
    table = table_of(make_node(5))
    table.answered(make_node(5))
    table.add(make_node(5, "10.0.0.9", seq=2))
    assert seen(table, make_node(5)) == 0
    table.answered(make_node(5, "10.0.0.9", seq=2))
    assert seen(table, make_node(5)) == 1


def test_a_bucket_far_from_us_is_split_to_the_hop_and_no_further(make_node: MakeNode) -> None:
    table = table_of(*far(make_node, K))
    assert table.buckets == 1
    assert table.add(make_node(TOP + 99)) is Added.RESERVED
    # The half without us: split at depths 1 to 4, with all nodes in the same part each time.
    assert table.buckets == 1 + BITS_PER_HOP
    assert (len(table), table.waiting) == (K, 1)


def test_our_own_bucket_is_always_split(make_node: MakeNode) -> None:
    table = table_of(*[make_node(1 << bit) for bit in range(BITS)])
    assert len(table) == BITS
    assert table.waiting == 0


def test_the_reserve_is_short_and_the_newest_wait_in_it(make_node: MakeNode) -> None:
    nodes = far(make_node, K + RESERVES + 3)
    table = table_of(*nodes)
    assert table.waiting == RESERVES
    for node in nodes[:K]:
        table.silent(node.node_id)
    assert {entry.node for entry in table} == set(nodes[-RESERVES:])


# How often one answers


def test_seen_is_a_sliding_mean(make_node: MakeNode) -> None:
    node = make_node(5)
    table = table_of(node)
    assert (seen(table, node), table.verified) == (0, 0)
    table.answered(node)
    assert (seen(table, node), table.verified) == (1, 1)
    table.silent(node.node_id)
    assert seen(table, node) == pytest.approx(0.9)
    table.answered(node)
    assert seen(table, node) == pytest.approx(0.91)


def test_who_never_answered_is_dropped_at_the_first_silence(make_node: MakeNode) -> None:
    table = table_of(make_node(5))
    table.silent((5).to_bytes(32))
    assert len(table) == 0


def test_who_answered_is_dropped_only_when_it_was_looked_after_in_vain_several_times(
    make_node: MakeNode,
) -> None:
    node = make_node(5)
    table = table_of(node)
    table.answered(node)
    for _ in range(MISSES - 1):
        table.silent(node.node_id)
    assert seen(table, node) > DOUBTFUL
    table.answered(node)  # and so it begins anew
    for _ in range(MISSES - 1):
        table.silent(node.node_id)
    assert table.get(node.node_id) is not None
    table.silent(node.node_id)
    assert table.get(node.node_id) is None


def test_who_fails_more_often_than_not_is_dropped_though_it_answers_now_and_then(
    make_node: MakeNode,
) -> None:
    node = make_node(5)
    table = table_of(node)
    table.answered(node)
    rounds = 0
    while table.get(node.node_id) is not None and rounds < 100:
        rounds += 1
        table.silent(node.node_id)
        table.silent(node.node_id)
        if table.get(node.node_id) is not None:
            table.answered(node)
    assert 3 < rounds < 30


def test_a_busy_minute_of_unanswered_questions_costs_nobody_the_place(make_node: MakeNode) -> None:
    nodes = far(make_node, K)
    table = table_of(*nodes, make_node(5))
    for node in nodes:
        table.answered(node)
    for node in (*nodes, make_node(5)):
        for _ in range(20):
            table.doubt(node.node_id)
    assert {entry.node for entry in table} == set(nodes)  # without the one that has never answered
    assert table.verified == K
    assert table.neighbours(TOP.to_bytes(32), good=True) == table.at_distances([256]) == []
    for node in nodes:
        table.answered(node)
    assert table.neighbours(TOP.to_bytes(32), good=True) == nodes


def test_who_is_doubted_is_asked_behind_all_others_and_looked_after_before_them(make_node: MakeNode) -> None:
    nodes = far(make_node, 4)
    table = table_of(*nodes)
    for node in nodes:
        table.answered(node)
    table.doubt(nodes[1].node_id)
    assert table.neighbours(TOP.to_bytes(32)) == [nodes[0], nodes[2], nodes[3], nodes[1]]
    entry = table.stalest(lambda count: 0)
    assert entry is not None
    assert entry.node == nodes[1]


def test_who_is_doubted_goes_before_the_stalest_of_other_buckets(make_node: MakeNode) -> None:
    nodes = [make_node(1 << bit) for bit in range(200, BITS)]
    table = table_of(*nodes)
    for node in nodes:
        table.answered(node)
    assert table.buckets > 2
    for node in (nodes[0], nodes[-1]):
        table.doubt(node.node_id)
        entry = table.stalest(lambda count: 0)
        assert entry is not None
        assert entry.node == node
        table.answered(node)


def test_who_is_pinned_stays_and_leaves_the_others_their_turn(make_node: MakeNode) -> None:
    nodes = far(make_node, K + 2)
    table = table_of(*nodes)
    table.pinned.add(nodes[0].node_id)
    for node in nodes[:K]:
        table.answered(node)
    for _ in range(30):
        table.silent(nodes[0].node_id)
    assert table.get(nodes[0].node_id) is not None
    assert table.waiting == 2
    entry = table.stalest(lambda count: 0)
    assert entry is not None
    assert entry.node == nodes[1]


def test_a_node_that_is_gone_makes_place_for_a_reserve_that_has_answered(make_node: MakeNode) -> None:
    nodes = far(make_node, K + 3)
    table = table_of(*nodes)
    for node in nodes[:K]:
        table.answered(node)
    table.answered(nodes[K])  # it waits, as all in the bucket have answered too
    assert table.get(nodes[K].node_id) is None
    for _ in range(MISSES):
        table.silent(nodes[0].node_id)
    assert table.get(nodes[0].node_id) is None
    assert seen(table, nodes[K]) == 1


def test_who_answers_takes_the_place_of_one_that_never_did(make_node: MakeNode) -> None:
    nodes = far(make_node, K + 1)
    table = table_of(*nodes)
    for node in nodes[1:K]:
        table.answered(node)
    table.answered(nodes[K])
    assert table.get(nodes[0].node_id) is None
    assert seen(table, nodes[K]) == 1
    assert (len(table), table.waiting) == (K, 1)


def test_a_table_full_of_inventions_takes_every_node_that_answers(make_node: MakeNode) -> None:
    table = table_of(*far(make_node, 500))
    real = far(make_node, K, 1000)
    for node in real:
        table.answered(node)
    assert {entry.node for entry in table if entry.seen} == set(real)


# Eclipses


def test_one_neighbourhood_gets_a_few_places_in_a_bucket(make_node: MakeNode) -> None:
    table = table_of()
    found = [table.add(make_node(TOP + number, f"8.8.8.{number}")) for number in range(50)]
    assert Counter(found) == {Added.ADDED: Limits().bucket, Added.CROWDED: 50 - Limits().bucket}
    assert table.add(make_node(TOP + 99, "8.8.9.1")) is Added.ADDED
    # A place that becomes free is one for the neighbourhood again.
    table.silent((TOP).to_bytes(32))
    assert table.add(make_node(TOP + 98, "8.8.8.1")) is Added.ADDED


def test_one_neighbourhood_gets_a_share_of_the_table(make_node: MakeNode) -> None:
    table = table_of(*[make_node(1 << bit, "10.0.0.1") for bit in range(BITS)])
    for bit in range(BITS):
        table.add(make_node((1 << bit) + 1, "8.8.8.8"))
    assert sum(entry.node.group == "8.8.8" for entry in table) == Limits().table


def test_the_networks_around_us_are_not_counted(make_node: MakeNode) -> None:
    table = table_of(*[make_node(TOP + number, "127.0.0.1", port=number + 1) for number in range(K)])
    assert len(table) == K


def test_a_node_that_moves_moves_its_place_in_the_count(make_node: MakeNode) -> None:
    table = table_of(*[make_node(TOP + number, f"8.8.8.{number}") for number in range(4)])
    table.add(make_node(TOP, "9.9.9.9", seq=2))
    assert table.add(make_node(TOP + 5, "8.8.8.5")) is Added.ADDED
    assert table.add(make_node(TOP, "8.8.8.6", seq=3)) is Added.CROWDED
    assert [entry.node.address[0] for entry in table if entry.node.number == TOP] == ["9.9.9.9"]


# Questions


@pytest.mark.parametrize("target", [0, 1, TOP, TOP + 77, (1 << BITS) - 1])
def test_neighbours_are_the_closest(make_node: MakeNode, target: int) -> None:
    table = table_of(*[make_node(number * 7**50 % (1 << BITS)) for number in range(1, 300)])
    nodes = [entry.node for entry in table]
    expected = sorted(nodes, key=lambda node: node.number ^ target)
    assert table.neighbours(target.to_bytes(32)) == expected[:K]
    assert table.neighbours(target.to_bytes(32), 3) == expected[:3]
    assert table.neighbours(target.to_bytes(32), good=True) == []


def test_at_a_distance_are_those_who_answered_and_the_first_distance_goes_first(
    make_node: MakeNode,
) -> None:
    nodes = [make_node((1 << bit) + extra) for bit in range(200, BITS) for extra in range(3)]
    table = table_of(*nodes)
    assert table.at_distances([256, 255]) == []
    for node in nodes:
        table.answered(node)
    table.silent(nodes[-1].node_id)
    found = table.at_distances([255, 256, 254])
    assert [node.number.bit_length() for node in found] == [255] * 3 + [256] * 2 + [254] * 3
    assert table.at_distances([255, 256, 254], 4) == found[:4]
    assert table.at_distances([1]) == []


def test_the_stalest_node_of_a_bucket_is_looked_after(make_node: MakeNode) -> None:
    table = table_of()
    assert table.stalest(lambda count: 0) is None
    nodes = [make_node(number) for number in (5, 6, 7)]
    for node in nodes:
        table.answered(node)
    table.answered(nodes[0])
    entry = table.stalest(lambda count: count - 1)
    assert entry is not None
    assert entry.node == nodes[1]


def test_who_has_shown_lately_that_it_is_there_is_not_looked_after(make_node: MakeNode) -> None:
    table = table_of()
    nodes = [make_node(number) for number in (5, 6, 7)]
    for at, node in enumerate(nodes):
        table.answered(node, 100.0 + at)
    assert table.stalest(lambda count: 0, 100.0) is None
    entry = table.stalest(lambda count: 0, 102.0)
    assert entry is not None
    assert entry.node == nodes[0]
    table.heard(nodes[0].node_id, nodes[0].address, 200.0)
    table.heard(nodes[1].node_id, ("10.0.0.99", 1), 200.0)  # a place where it has not answered
    entry = table.stalest(lambda count: 0, 102.0)
    assert entry is not None
    assert entry.node == nodes[1]
    table.doubt(nodes[2].node_id)
    table.heard(nodes[2].node_id, nodes[2].address, 300.0)  # it asks, and leaves questions open
    entry = table.stalest(lambda count: 0, 102.0)
    assert entry is not None
    assert entry.node == nodes[2]


def test_who_only_asks_is_looked_after_soon(make_node: MakeNode) -> None:
    table = table_of()
    asker, other = make_node(5), make_node(6)
    table.answered(asker, -inf)
    table.answered(other, 100.0)
    table.heard(asker.node_id, asker.address, 100.0)
    entry = table.stalest(lambda count: 0, 50.0)
    assert entry is not None
    assert entry.node == asker


def test_who_is_pinned_and_gone_does_not_count_as_stale(make_node: MakeNode) -> None:
    table = table_of()
    gone, other = make_node(5), make_node(6)
    table.pinned.add(gone.node_id)
    for node in (gone, other):
        table.answered(node, 100.0)
    for _ in range(MISSES):
        table.silent(gone.node_id)
    assert table.stalest(lambda count: 0, 50.0) is None
    assert table.stalest(lambda count: 0) is not None


def test_whatever_comes_or_goes_is_a_change(make_node: MakeNode) -> None:
    nodes = far(make_node, K + 1)
    table = table_of(*nodes)
    assert table.changes == K + 1
    table.answered(nodes[0])
    table.add(nodes[1])
    assert table.changes == K + 1
    table.silent(nodes[1].node_id)
    assert table.changes == K + 2


# Any order


class Anything(RuleBasedStateMachine):
    """Nodes of few places and addresses, so that all of them meet."""

    make: MakeNode

    def __init__(self) -> None:
        super().__init__()
        self.own = TOP + 3
        self.table = Table(self.own.to_bytes(32), limits=Limits(3, 12))
        self.met: set[int] = set()

    places = st.one_of(
        st.builds(lambda top, low: (top << 249) + low, st.integers(0, 127), st.integers(0, 12)),
        st.builds(lambda bit: TOP + 3 ^ 1 << bit, st.integers(0, 255)),
    )
    addresses = st.builds("{}.{}".format, st.sampled_from(["10.0.0", "8.8.8", "9.9.9"]), st.integers(1, 3))

    @rule(places=st.lists(places, min_size=1, max_size=20), ip=addresses, seq=st.integers(1, 3))
    def add(self, places: list[int], ip: str, seq: int) -> None:
        for place in places:
            self.met.add(place)
            assert (self.table.add(self.make(place, ip, seq=seq)) is Added.OURSELVES) == (place == self.own)

    @rule(place=places, ip=addresses, seq=st.integers(1, 3))
    def answered(self, place: int, ip: str, seq: int) -> None:
        self.met.add(place)
        before = self.table.get(place.to_bytes(32))
        self.table.answered(self.make(place, ip, seq=seq))
        if before is not None:
            after = self.table.get(place.to_bytes(32))
            assert after is not None
            assert after.seen > 0

    @rule(data=st.data(), doubt=st.booleans())
    def silent(self, data: Any, doubt: bool) -> None:
        place = data.draw(st.sampled_from(sorted(self.met))) if self.met else 1
        entry = self.table.get(place.to_bytes(32))
        size, waiting = len(self.table), self.table.waiting
        known = entry is not None and entry.seen > 0
        (self.table.doubt if doubt else self.table.silent)(place.to_bytes(32))
        if entry is not None:
            gone = self.table.get(place.to_bytes(32)) is None
            assert gone == (not known or entry.misses >= MISSES or entry.seen <= DOUBTFUL)
            assert not (gone and known and doubt)
            assert len(self.table) + self.table.waiting == size + waiting - gone

    @invariant()
    def holds(self) -> None:
        table = self.table
        everyone: list[Node] = []
        end = 0
        for bucket in table._buckets:
            assert bucket.start == end
            end += 1 << BITS - bucket.depth
            assert len(bucket.entries) <= K
            assert len(bucket.reserves) <= RESERVES
            assert len(bucket.entries) == K or not bucket.reserves
            inside = [entry.node for entry in bucket.everyone()]
            assert all(bucket.start <= node.number < end for node in inside)
            crowd = Counter(node.group for node in inside if node.group)
            assert crowd == bucket.crowd
            assert all(count <= 3 for count in crowd.values())
            everyone += inside
        assert end == 1 << BITS
        assert len({node.number for node in everyone}) == len(everyone)
        assert self.own not in {node.number for node in everyone}
        crowd = Counter(node.group for node in everyone if node.group)
        assert crowd == table._crowd
        assert all(count <= 12 for count in crowd.values())
        assert all(0 <= entry.seen <= 1 for entry in table)


def test_any_order_keeps_the_table_in_shape(make_node: MakeNode) -> None:
    kind = type("Made", (Anything,), {"make": staticmethod(make_node)})
    run_state_machine_as_test(kind, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
