"""Lookups of a few minutes ago, used for contents nearby."""

import random
from collections.abc import Callable

from codex.discovery.nodes import Node
from codex.discovery.regions import CAPACITY, LIFETIME, Regions
from codex.discovery.table import K

MakeNode = Callable[..., Node]

CHANCE = random.Random(5)
PLACES = [CHANCE.getrandbits(256) for _ in range(400)]


def closest(nodes: list[Node], target: int) -> list[Node]:
    return sorted(nodes, key=lambda node: node.number ^ target)[:K]


def test_nothing_is_known_where_nothing_was_looked_up(make_node: MakeNode) -> None:
    regions = Regions()
    assert regions.near(bytes(32), 0.0) is None
    regions.learn(bytes(32), [], 0.0)
    assert regions.near(bytes(32), 0.0) is None


def test_a_network_of_few_nodes_is_one_region(make_node: MakeNode) -> None:
    nodes = [make_node(place) for place in PLACES[: K - 1]]
    regions = Regions()
    regions.learn(bytes(32), closest(nodes, 0), 0.0)
    for target in PLACES[50:60]:
        assert regions.near(target.to_bytes(32), 1.0) == closest(nodes, target)
    assert regions.near(bytes(32), LIFETIME) is None


def test_in_a_region_nearly_all_of_the_closest_are_known(make_node: MakeNode) -> None:
    nodes = [make_node(place) for place in PLACES]
    regions = Regions()
    shared, lookups = [], 0
    for _ in range(500):
        target = CHANCE.getrandbits(256)
        known = regions.near(target.to_bytes(32), 0.0)
        if known is None:
            lookups += 1
            known = closest(nodes, target)
            regions.learn(target.to_bytes(32), known, 0.0)
        shared.append(len(set(known) & set(closest(nodes, target))))
        assert known[0] == closest(nodes, target)[0]
    assert lookups < 100
    assert sum(shared) / len(shared) > 0.75 * K
    assert min(shared) >= K // 2


def test_the_oldest_are_forgotten(make_node: MakeNode) -> None:
    regions = Regions()
    for number in range(CAPACITY + 5):
        place = (number << 240) + 1
        regions.learn(place.to_bytes(32), [make_node(place + extra) for extra in range(K)], 0.0)
    assert len(regions._regions) == CAPACITY
    assert regions.near((1).to_bytes(32), 0.0) is None
