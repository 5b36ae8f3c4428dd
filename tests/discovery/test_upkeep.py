"""Keeping company: who is called when a table has shrunk, and how often."""

from collections.abc import Sequence
from itertools import pairwise

import trio
from trio.testing import MockClock

from codex.codec import Multiaddr
from codex.discovery.messages import Answer, Ping, Pong, Request
from codex.discovery.nodes import Node
from codex.discovery.records import OwnRecords
from codex.discovery.seeds import Seeds
from codex.discovery.table import Table
from codex.discovery.upkeep import CALLS, CHECK, LONGEST_RECALL, TRIES, Upkeep, Witness, _Missed
from codex.discovery.votes import Votes
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime import SeededEntropy, VirtualClock

EPOCH = 1_750_000_000.0


def calls(missed: _Missed, answer: int, wanted: int, begin: float, seconds: float) -> list[float]:
    """When they are called, looking every half minute."""
    times = [begin + CHECK * step for step in range(int(seconds / CHECK))]
    return [now for now in times if missed.is_due(answer, wanted, now)]


def test_those_who_are_missing_are_called_at_once_and_then_ever_more_rarely() -> None:
    found = calls(_Missed(), 3, 9, 0.0, 4 * 3600)
    assert found[:5] == [0, 30, 90, 210, 450]
    pauses = [later - sooner for sooner, later in pairwise(found)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_RECALL


def test_nobody_is_called_while_the_table_is_as_large_as_it_was() -> None:
    assert calls(_Missed(), 9, 9, 0.0, 3600) == []


def test_another_loss_makes_the_calls_frequent_again() -> None:
    missed = _Missed()
    calls(missed, 5, 9, 0.0, 7200)
    assert calls(missed, 4, 9, 7200.0, 90) == [7200, 7230]
    calls(missed, 9, 9, 7320.0, 60)
    assert calls(missed, 8, 9, 7380.0, 90) == [7380, 7410]


# Whom it calls


class World:
    """Everybody that a node knows or remembers; those of `alive` answer. Time is trio's."""

    def __init__(self, remembered: int) -> None:
        identity = Identity.generate(SeededEntropy("alice"))
        self.nodes = [node_of(number) for number in range(remembered)]
        self.alive: set[bytes] = set()
        self.pinged: list[tuple[float, Node]] = []
        self.lookups: list[float] = []
        clock, arrivals = VirtualClock(EPOCH), trio.lowlevel.ParkingLot()
        self.table, self.seeds = Table(identity.peer_id.node_id), Seeds()
        for node in self.nodes:
            self.seeds.saw(node, EPOCH)
        self.witness = Witness(self.table, self.seeds, Votes(), arrivals=arrivals, clock=clock)
        self.upkeep = Upkeep(
            (),
            self.table,
            self.seeds,
            OwnRecords(identity, EPOCH),
            talk=self,  # type: ignore[arg-type]
            finder=self,  # type: ignore[arg-type]
            arrivals=arrivals,
            entropy=SeededEntropy("upkeep"),
        )

    async def ask(self, node: Node, message: Request) -> Sequence[Answer] | None:
        await trio.sleep(0.1)
        self.pinged.append((trio.current_time(), node))
        answer = [Pong(node.seq, "10.0.0.1", 8090)] if node.node_id in self.alive else None
        self.witness.ended(node, message, answer)
        return answer

    async def lookup(self, target: bytes) -> list[Node]:
        await trio.lowlevel.checkpoint()
        self.lookups.append(trio.current_time())
        return []

    def called(self, since: float) -> set[bytes]:
        """Who was called since then."""
        return {node.node_id for at, node in self.pinged if at > since}


def node_of(number: int) -> Node:
    identity = Identity.generate(SeededEntropy(f"node {number}"))
    place = Multiaddr.of(("ip4", f"10.0.1.{number + 1}"), ("udp", "8090"))
    return Node.of(SignedPeerRecord.sign(identity, 1, [place]))


async def shrunken(world: World, nursery: trio.Nursery, left: int) -> None:
    """Have all answer, and then all but `left` of them be silent until the table has dropped them."""
    world.alive = {node.node_id for node in world.nodes}
    nursery.start_soon(world.upkeep.find_company)
    await trio.sleep(1)
    assert world.table.verified == len(world.nodes)
    await trio.sleep(10 * CHECK)
    for node in world.nodes[left:]:
        world.alive.discard(node.node_id)
        while world.table.get(node.node_id):
            world.table.silent(node.node_id)


async def test_those_who_were_dropped_are_called_at_the_next_look_and_fill_the_table(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = World(12)
    await shrunken(world, nursery, 2)
    gone, began, looked = {node.node_id for node in world.nodes[2:]}, trio.current_time(), len(world.lookups)
    world.alive |= gone
    await trio.sleep(CHECK + 1)
    assert world.called(began) == gone
    assert world.table.verified == 12
    # With more company there may be more to find.
    assert len(world.lookups) > looked


async def test_those_who_stay_away_are_called_ever_more_rarely_and_the_others_not_at_all(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = World(12)
    await shrunken(world, nursery, 2)
    gone, began = {node.node_id for node in world.nodes[2:]}, trio.current_time()
    await trio.sleep(4 * 3600)
    assert world.called(began) == gone
    one = world.nodes[-1].node_id
    times = [at for at, node in world.pinged if node.node_id == one and at > began]
    pauses = [round(later - sooner) for sooner, later in pairwise(times[::TRIES])]
    assert pauses == sorted(pauses)
    assert 8 < len(pauses) < 20
    assert LONGEST_RECALL <= pauses[-1] <= LONGEST_RECALL + 2 * CHECK
    # Who comes back then is found all the same, and soon after it all who came with it.
    world.alive |= gone
    await trio.sleep(LONGEST_RECALL + 2 * CHECK)
    assert world.table.verified == 12


async def test_of_very_many_who_are_missing_some_are_called_each_time(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    world = World(40)
    world.alive = {world.nodes[0].node_id}
    world.witness.ended(world.nodes[0], Ping(1), [Pong(1, "10.0.0.1", 8090)])
    for node in world.nodes[1:]:
        while world.table.get(node.node_id):
            world.table.silent(node.node_id)
    nursery.start_soon(world.upkeep.find_company)
    await trio.sleep(CHECK + 1)
    assert len(world.called(0)) == CALLS
    await trio.sleep(3600)
    assert len(world.called(0)) > 2 * CALLS
