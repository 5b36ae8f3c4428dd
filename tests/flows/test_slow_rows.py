"""Rows of a protected dataset that come slowly: nobody waits for them who can do without, and little more is
sent than is needed.
"""

import pytest
import trio
from trio.testing import MockClock

from codex.config import StoreConfig
from codex.data import BLOCK_SIZE
from codex.node import Node
from codex.testing.content import noise
from codex.testing.neighbourhood import Neighbourhood, open_test_network
from codex.testing.nodes import EPOCH, store_of
from codex.testing.rows import Protected, protect

SIZE = 1024
SLOW = 14_000  # bytes a second: a row of 500 blocks takes forty
LATER = EPOCH + 1000 * 86400
DATASET = protect(noise(2000 * SIZE), 4, 2, SIZE)
HOSTED = protect(noise(2000 * SIZE), 4, 2, SIZE, cell_size=512)


async def provide(people: Neighbourhood, dataset: Protected, **rows: tuple[int, ...]) -> None:
    """Let people whom carol knows have these rows and the manifest."""
    for name, numbers in rows.items():
        await dataset.keep(store_of(people[name]), sorted(dataset.leaves(*numbers)))
        info = people[name].info()
        await people["carol"].connect(info.peer_id, info.announced)


async def read(node: Node, dataset: Protected, offset: int = 0, length: int | None = None) -> float:
    """Read it; the seconds that took."""
    began = trio.current_time()
    async with node.retrieve(dataset.cid, offset=offset, length=length) as found:
        whole = await found.read()
    assert whole == dataset.content[offset : offset + (len(dataset.content) if length is None else length)]
    return trio.current_time() - began


def blocks_in(node: Node) -> int:
    return sum(peer.trade.blocks_in for peer in node.peers())


@pytest.mark.parametrize("slow", [0, 2])
async def test_a_read_does_not_wait_for_a_slow_row(autojump_clock: MockClock, slow: int) -> None:
    async with open_test_network("alice", "carol") as people:
        await people.add("bob", upload_limit=SLOW)
        fast = tuple(row for row in range(6) if row != slow)
        await provide(people, DATASET, alice=fast, bob=(slow,))
        assert await read(people["carol"], DATASET) < 15
        # All content but the slow row, of that what has come, one of parity, the manifest, and the trial.
        assert blocks_in(people["carol"]) < 1.15 * 2000


async def test_a_read_of_rows_that_are_wanted_one_by_one(autojump_clock: MockClock) -> None:
    dataset = protect(noise(3200 * SIZE), 2, 1, SIZE)  # more of a row than is on order at once
    async with open_test_network("alice", "carol") as people:
        await people.add("bob", upload_limit=SLOW)
        await provide(people, dataset, alice=(1, 2), bob=(0,))
        assert await read(people["carol"], dataset) < 30


async def test_a_range_of_a_slow_row_takes_the_rest_of_the_row(autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "carol") as people:
        await people.add("bob", upload_limit=4_000)
        await provide(people, DATASET, alice=(1, 2, 3, 4, 5), bob=(0,))
        assert await read(people["carol"], DATASET, 100 * SIZE, 100 * SIZE) < 10
        # Where the range ends nobody proves what is computed of it.
        assert blocks_in(people["carol"]) < 4 * 400


async def test_without_room_for_other_rows_a_slow_one_is_waited_for(autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "carol", store=StoreConfig(quota=3000 * SIZE)) as people:
        await people.add("bob", upload_limit=4_000)
        await provide(people, DATASET, alice=(1, 2, 3, 4, 5), bob=(0,))
        await people["carol"].store(noise(40 * BLOCK_SIZE, "something else"))
        assert 20 < await read(people["carol"], DATASET, 100 * SIZE, 100 * SIZE) < 60
        assert blocks_in(people["carol"]) < 150


@pytest.mark.parametrize("repair", [False, True])
async def test_a_slot_is_filled_without_a_slow_row(autojump_clock: MockClock, repair: bool) -> None:
    async with open_test_network("alice", "carol") as people:
        await people.add("bob", upload_limit=SLOW)
        # Of the slot itself, and, where that is lost, of one that it is made of.
        slow = 2 if repair else 1
        fast = tuple(row for row in range(6) if row not in ({1, 2} if repair else {1}))
        await provide(people, HOSTED, alice=fast, bob=(slow,))
        began = trio.current_time()
        await people["carol"].on_store(HOSTED.cid, 1, LATER)
        assert trio.current_time() - began < (25 if repair else 15)
        assert blocks_in(people["carol"]) < 1.25 * 2000


async def test_where_all_are_slow_no_row_comes_twice(autojump_clock: MockClock) -> None:
    dataset = protect(noise(400 * SIZE), 4, 2, SIZE)
    async with open_test_network("carol") as people:
        names = [f"host{row}" for row in range(6)]
        for row, name in enumerate(names):
            await people.add(name, upload_limit=3_000)
            await provide(people, dataset, **{name: (row,)})
        took = await read(people["carol"], dataset)
        assert took < 160  # a row takes 50 at the very least
        assert blocks_in(people["carol"]) <= 1.02 * dataset.layout.total


async def test_of_two_slow_rows_where_one_is_enough_little_comes_twice(autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "carol") as people:
        await people.add("bob", upload_limit=4_000)
        await people.add("dave", upload_limit=4_000)
        await provide(people, HOSTED, bob=(0,), dave=(1,), alice=(2, 3, 4))
        await people["carol"].on_store(HOSTED.cid, 5, LATER, repair=True)
        assert blocks_in(people["carol"]) < 1.15 * 2000  # with both whole it would be 1.25


async def test_a_slow_host_that_dies_is_done_without(autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "carol") as people:
        await people.add("bob", upload_limit=4_000)
        await provide(people, DATASET, alice=(0, 2, 3, 4, 5), bob=(1,))
        async with trio.open_nursery() as nursery:

            async def die() -> None:
                await trio.sleep(3)
                people.network.crash(people.ip("bob"), silent=True)

            nursery.start_soon(die)
            assert await read(people["carol"], DATASET) < 25
        people.nursery.cancel_scope.cancel()


async def test_blocks_of_the_usual_size_that_take_seconds_each(autojump_clock: MockClock) -> None:
    dataset = protect(noise(8 * BLOCK_SIZE), 2, 1, BLOCK_SIZE)
    async with open_test_network("alice", "carol") as people:
        await people.add("bob", upload_limit=10_000)
        await provide(people, dataset, alice=(1, 2), bob=(0,))
        assert await read(people["carol"], dataset) < 15
