"""Nodes that are remembered: the last ones that answered, for a week."""

from codex.codec import Multiaddr
from codex.discovery.nodes import Node
from codex.discovery.seeds import CAPACITY, LIFETIME, Seed, Seeds
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime import SeededEntropy

NOW = 1_750_000_000.0


def record(number: int, address: str = "/ip4/10.0.0.1/udp/8090") -> SignedPeerRecord:
    identity = Identity.generate(SeededEntropy(number))
    return SignedPeerRecord.sign(identity, 1, [Multiaddr.parse(address)])


RECORDS = [record(number) for number in range(CAPACITY + 10)]
NODES = [Node.of(one) for one in RECORDS]


def test_who_answered_last_comes_first_and_who_is_present_is_not_missing() -> None:
    seeds = Seeds()
    for number, at in [(0, 1), (1, 2), (2, 3), (0, 4)]:
        seeds.saw(NODES[number], NOW + at)
    assert seeds.missing(()) == [NODES[0], NODES[2], NODES[1]]
    assert seeds.missing({NODES[2].node_id}) == [NODES[0], NODES[1]]
    assert len(seeds) == 3


def test_there_are_so_many_and_the_oldest_are_forgotten() -> None:
    seeds = Seeds()
    for number, node in enumerate(NODES):
        seeds.saw(node, NOW + number)
    assert len(seeds) == CAPACITY
    assert seeds.missing(())[-1] == NODES[10]


def test_what_is_written_down_is_what_comes_back() -> None:
    seeds, again = Seeds(), Seeds()
    for number in (3, 1, 2):
        seeds.saw(NODES[number], NOW - number)
    saved = seeds.to_save(NOW)
    assert [seed.record for seed in saved] == [RECORDS[3], RECORDS[1], RECORDS[2]]
    again.restore(saved, NOW)
    assert again.missing(()) == [NODES[1], NODES[2], NODES[3]]
    assert set(again.to_save(NOW)) == set(saved)


def test_what_is_older_than_a_week_is_not_written_down() -> None:
    seeds = Seeds()
    seeds.saw(NODES[0], NOW)
    seeds.saw(NODES[1], NOW + 10)
    assert [seed.record for seed in seeds.to_save(NOW + LIFETIME)] == [RECORDS[1]]
    assert len(seeds) == 1


def test_what_makes_no_sense_does_not_come_back() -> None:
    seeds = Seeds()
    seeds.restore(
        [
            Seed(RECORDS[0], NOW - LIFETIME),
            Seed(RECORDS[1], NOW + 1),
            Seed(record(2, "/ip4/10.0.0.1/tcp/1"), NOW - 1),
            Seed(RECORDS[3], NOW),
        ],
        NOW,
    )
    assert seeds.missing(()) == [NODES[3]]
