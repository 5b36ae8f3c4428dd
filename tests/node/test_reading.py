"""Reading a dataset from here and from the network at once: the right bytes in order, early, and no more is
fetched or read than must be.
"""

import gc
import weakref
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.codec import EMPTY_BLOCK, Cid
from codex.data import BLOCK_SIZE, Block
from codex.errors import BlockNotFound, NotADataset, QuotaExceeded
from codex.node.job import Progress
from codex.node.reading import AHEAD, GIVEN, OWN_BLOCKS, PIECE, RUN_BLOCKS
from codex.node.retrieving import TOGETHER, open_dataset
from codex.runtime import Budget, Feed
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import noise
from codex.testing.elsewhere import Dataset, Elsewhere, Shelf
from codex.testing.stores import make_dataset, open_test_store, payload

BLOCKS = 41
DATASET = Dataset(noise((BLOCKS - 1) * BLOCK_SIZE + 17))
SIZE = len(DATASET.content)
MEMORY = 1 << 30  # bytes, more than anything here can take

near_a_border = st.builds(
    lambda blocks, off: min(SIZE, max(0, blocks * BLOCK_SIZE + off)),
    st.integers(0, BLOCKS),
    st.integers(-2, 2),
)
places = near_a_border | st.integers(0, SIZE)


async def read(
    shelf: Shelf, network: Elsewhere, offset: int = 0, length: int | None = None, memory: int = MEMORY
) -> bytes:
    async with open_dataset(
        shelf, DATASET.manifest, offset, length, budget=Budget(memory), network=network
    ) as dataset:
        return await dataset.read()


@settings(max_examples=150, deadline=None)
@given(
    here=st.sets(st.integers(0, BLOCKS - 1)) | st.builds(lambda n: set(range(n)), st.integers(0, BLOCKS)),
    pair=st.tuples(places, places),
    batch=st.integers(1, 9),
)
def test_any_range_comes_whatever_is_here(here: set[int], pair: tuple[int, int], batch: int) -> None:
    offset, end = sorted(pair)
    shelf = Shelf(DATASET, here)
    network = Elsewhere(shelf, batch=batch)

    async def main() -> bytes:
        return await read(shelf, network, offset, end - offset)

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == DATASET.content[offset:end]
    needed = set(range(offset // BLOCK_SIZE, -(-end // BLOCK_SIZE))) if end > offset else set()
    assert set(network.wanted) == needed - here
    assert set(shelf.read) == needed & here
    assert len(network.wanted) == len(set(network.wanted))
    assert len(shelf.read) == len(set(shelf.read))
    assert network.open == 0


async def test_the_first_bytes_are_given_while_the_others_are_under_way(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    network = Elsewhere(shelf, batch=2, delay=1)
    started = trio.current_time()
    async with open_dataset(shelf, DATASET.manifest, budget=Budget(MEMORY), network=network) as dataset:
        first = await anext(dataset)
        assert trio.current_time() - started == pytest.approx(1)
        assert bytes(first) == DATASET.content[: len(first)]


async def test_what_arrived_is_not_read_back(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    assert await read(shelf, Elsewhere(shelf)) == DATASET.content
    assert shelf.read == []
    assert len(shelf.here) == BLOCKS


async def test_pieces_are_handed_out_together_where_they_are_there(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    network = Elsewhere(shelf, batch=BLOCKS)
    async with open_dataset(shelf, DATASET.manifest, budget=Budget(MEMORY), network=network) as dataset:
        taken, most = [await anext(dataset)], 0
        while parts := await dataset.some():
            taken += parts
            most = max(most, len(parts))
        assert await dataset.some() == []
    assert b"".join(taken) == DATASET.content
    assert most == TOGETHER // BLOCK_SIZE


async def test_of_small_blocks_no_more_wait_for_the_reader_than_memory_is_counted_for(
    autojump_clock: MockClock,
) -> None:
    small = Dataset(noise(40_000), block_size=1)
    shelf = Shelf(small)
    network = Elsewhere(shelf, batch=64, delay=0)
    async with open_dataset(shelf, small.manifest, budget=Budget(MEMORY), network=network) as dataset:
        await wait_all_tasks_blocked(0.01)
        assert len(shelf.here) <= AHEAD // PIECE + 64 + GIVEN
        assert await dataset.read() == small.content


async def test_a_reader_that_takes_nothing_has_only_so_much_fetched(autojump_clock: MockClock) -> None:
    large = Dataset(noise(400 * BLOCK_SIZE))
    shelf = Shelf(large)
    network = Elsewhere(shelf, batch=4, window=16, delay=0)
    async with open_dataset(shelf, large.manifest, budget=Budget(MEMORY), network=network) as dataset:
        await wait_all_tasks_blocked(0.01)
        # Those in the exchange's window, those that wait for the reader, and those on their way to it.
        assert len(network.wanted) <= 16 + AHEAD // BLOCK_SIZE // 2 + 2 * GIVEN + 2 * 4
        assert await dataset.read() == large.content


async def test_damage_that_reading_finds_is_fetched_anew(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET, range(BLOCKS))
    shelf.damaged = {0, 7, 40}
    network = Elsewhere(shelf)
    assert await read(shelf, network) == DATASET.content
    assert sorted(network.wanted) == [0, 7, 40]


@pytest.mark.parametrize("here", [range(5), range(30), (), range(0, 41, 2)])
async def test_the_bytes_end_where_nobody_has_the_rest(
    here: Iterable[int], autojump_clock: MockClock
) -> None:
    lost = 35
    shelf = Shelf(DATASET, here)
    network = Elsewhere(shelf, lost={lost}, batch=1)
    got = bytearray()

    async def gather() -> None:
        async with open_dataset(shelf, DATASET.manifest, budget=Budget(MEMORY), network=network) as dataset:
            async for piece in dataset:
                got.extend(piece)

    with pytest.raises(BlockNotFound, match="nobody has it"):
        await gather()
    assert bytes(got) == DATASET.content[: lost * BLOCK_SIZE]
    assert network.open == 0


async def test_progress_tells_what_is_handed_out(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    progress = Progress()
    async with open_dataset(
        shelf,
        DATASET.manifest,
        10,
        500_000,
        budget=Budget(MEMORY),
        network=Elsewhere(shelf),
        progress=progress,
    ) as dataset:
        assert progress.bytes_total == 500_000
        first = await anext(dataset)
        assert progress.bytes_done == len(first)
        await dataset.read()
    assert progress.bytes_done == 500_000


async def test_cancelled_at_any_step_nothing_is_wanted_any_more(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET, range(0, BLOCKS, 3))
    network = Elsewhere(shelf, delay=0)

    async def retrieve() -> None:
        for index in range(1, BLOCKS, 3):
            shelf.here.pop(index, None)
        assert await read(shelf, network) == DATASET.content

    async def check() -> None:
        assert network.open == 0

    assert await cancel_at_every_checkpoint(retrieve, check) > 5


# -- where memory is short


@settings(max_examples=100, deadline=None)
@given(
    here=st.sets(st.integers(0, BLOCKS - 1)) | st.builds(lambda n: set(range(n)), st.integers(0, BLOCKS)),
    pair=st.tuples(places, places),
    batch=st.integers(1, 9),
    memory=st.integers(0, 12).map(lambda blocks: blocks * BLOCK_SIZE),
)
def test_any_range_comes_with_whatever_memory(
    here: set[int], pair: tuple[int, int], batch: int, memory: int
) -> None:
    offset, end = sorted(pair)
    shelf = Shelf(DATASET, here)
    network = Elsewhere(shelf, batch=batch)

    async def main() -> bytes:
        return await read(shelf, network, offset, end - offset, memory)

    assert trio.run(main, clock=MockClock(autojump_threshold=0)) == DATASET.content[offset:end]
    assert len(network.wanted) == len(set(network.wanted))
    assert network.open == 0


async def test_what_arrives_too_early_is_held_as_far_as_there_is_room(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    # The last of each batch comes first, so that all of it waits for one.
    assert await read(shelf, Elsewhere(shelf, batch=BLOCKS), memory=10 * BLOCK_SIZE) == DATASET.content
    assert set(range(BLOCKS)) > set(shelf.read) >= set(range(BLOCKS - 10 - OWN_BLOCKS))


async def test_what_was_handed_on_makes_room_for_what_arrives_next(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    # There is room for a few of the small batches at once, and far from all.
    assert await read(shelf, Elsewhere(shelf, batch=4), memory=20 * BLOCK_SIZE) == DATASET.content
    assert shelf.read == []


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("memory", [0, 3 << 20, 20 << 20])
async def test_readers_that_take_nothing_hold_no_more_than_the_budget(
    network: bool, memory: int, autojump_clock: MockClock
) -> None:
    large = Dataset(noise(320 * BLOCK_SIZE))
    budget, count = Budget(memory), 16
    feeds: list[Feed[memoryview]] = []
    wanted = 0

    async def open_one() -> None:
        nonlocal wanted
        shelf = Shelf(large, () if network else range(320))
        others = Elsewhere(shelf, batch=1, window=1, delay=0) if network else None
        async with open_dataset(shelf, large.manifest, budget=budget, network=others) as dataset:
            feeds.append(dataset._feed)
            begun.set()
            await take.wait()
            assert await dataset.read() == large.content

    begun, take = trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(open_one)
        await wait_all_tasks_blocked(0.01)
        held = [feed._held for feed in feeds]
        assert len(held) == count
        assert min(held) >= BLOCK_SIZE
        assert sum(held) <= memory + count * OWN_BLOCKS * BLOCK_SIZE
        assert memory == 0 or sum(held) > memory // 4
        take.set()
    assert budget.free == memory


@pytest.mark.parametrize("here", [(), (0, 1), (2,), (0, 1, 2, 3)])
@pytest.mark.parametrize("size", [0, 100, BLOCK_SIZE - 1, BLOCK_SIZE + 1, 2 * BLOCK_SIZE])
async def test_blocks_of_another_size_than_the_manifest_says_give_no_shifted_bytes(
    autojump_clock: MockClock, here: tuple[int, ...], size: int
) -> None:
    odd = Dataset(noise(4 * BLOCK_SIZE))
    odd.blocks[2] = Block.of(bytes(size)) if size else Block(EMPTY_BLOCK, b"")
    shelf = Shelf(odd, here)
    got = b""

    async def read_it() -> None:
        nonlocal got
        network = Elsewhere(shelf, batch=1)
        async with open_dataset(shelf, odd.manifest, budget=Budget(MEMORY), network=network) as dataset:
            async for piece in dataset:
                got += piece

    with pytest.raises(NotADataset, match=str(BLOCK_SIZE)):
        await read_it()
    assert got == odd.content[: 2 * BLOCK_SIZE]


async def test_of_what_does_not_fit_nothing_is_read_or_fetched(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET, range(5))
    shelf.quota = (BLOCKS - 1) * BLOCK_SIZE
    network = Elsewhere(shelf)
    with pytest.raises(QuotaExceeded, match=r"2\.25 MiB of the dataset are not on this node"):
        await read(shelf, network)
    assert (shelf.read, network.wanted) == ([], [])
    # A part that does is read.
    assert await read(shelf, network, 0, 7 * BLOCK_SIZE) == DATASET.content[: 7 * BLOCK_SIZE]


async def test_blocks_whose_sizes_even_out_give_no_shifted_bytes(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    blocks = [Block.of(payload(i, size)) for i, size in enumerate([BLOCK_SIZE, 60_000, 71_072, BLOCK_SIZE])]
    got = b""
    async with open_test_store(tmp_path) as store:
        tree, manifest = make_dataset(blocks, block_size=BLOCK_SIZE)
        ingest = await store.begin()
        await store.stage(ingest, 0, blocks)
        await store.commit(ingest, tree, manifest)

        async def read_it() -> None:
            nonlocal got
            async with open_dataset(store, manifest, budget=Budget(MEMORY)) as dataset:
                async for piece in dataset:
                    got += piece

        with pytest.raises(NotADataset, match=r"block 1 .* has 60000 bytes, and 65536 by its manifest"):
            await read_it()
    assert got == blocks[0].data


async def test_a_reader_alone_is_read_ahead_for_in_whole_runs(autojump_clock: MockClock) -> None:
    large = Dataset(noise(320 * BLOCK_SIZE))
    asked = []

    class Asked(Shelf):
        async def read_on(
            self,
            tree: Cid,
            first: int,
            stop: int,
            feed: Feed[memoryview],
            *,
            blocks: int,
            block_size: int | None = None,
        ) -> int:
            asked.append(blocks)
            return await super().read_on(tree, first, stop, feed, blocks=blocks, block_size=block_size)

    shelf = Asked(large, range(320))
    async with open_dataset(shelf, large.manifest, budget=Budget(MEMORY)) as dataset:
        await wait_all_tasks_blocked(0.01)
        assert dataset._feed._held == AHEAD
        assert await dataset.read() == large.content
    assert set(asked) == {RUN_BLOCKS}


async def test_a_reader_makes_room_for_others_as_it_goes_on(autojump_clock: MockClock) -> None:
    large = Dataset(noise(320 * BLOCK_SIZE))
    budget = Budget(8 << 20)
    shelf = Shelf(large, range(320))
    async with open_dataset(shelf, large.manifest, budget=budget) as alice:
        await wait_all_tasks_blocked(0.01)
        before = alice._feed._held
        async with open_dataset(shelf, large.manifest, budget=budget) as bob:
            await wait_all_tasks_blocked(0.01)
            assert bob._feed._held <= 2 * OWN_BLOCKS * BLOCK_SIZE < before
            for _ in range(200):
                await anext(alice)
                await anext(bob)
            await wait_all_tasks_blocked(0.01)
            assert before // 4 <= bob._feed._held <= 4 << 20
            assert before // 4 <= alice._feed._held <= 4 << 20


async def test_what_was_read_ahead_is_let_go_when_the_block_is_left(autojump_clock: MockClock) -> None:
    class Bytes(bytearray):
        pass

    def tracked(block: Block) -> Block:
        data = Bytes(block.data)
        buffers.append(weakref.ref(data))
        return Block(block.cid, memoryview(data))

    class Gone(Exception):
        pass

    async def leave() -> None:
        async with open_dataset(shelf, DATASET.manifest, budget=Budget(MEMORY)) as dataset:
            await anext(dataset)
            await wait_all_tasks_blocked(0.01)
            shelf.here.clear()
            assert sum(buffer() is not None for buffer in buffers) >= BLOCKS - 1
            raise Gone

    buffers: list[weakref.ref[Bytes]] = []
    shelf = Shelf(DATASET)
    shelf.here = {index: tracked(block) for index, block in enumerate(DATASET.blocks)}
    gc.disable()
    try:
        with pytest.raises(Gone) as caught:
            await leave()
        # Not even the error, whose frames are still here, keeps what nobody has taken.
        assert caught.value.__traceback__ is not None
        assert [buffer() for buffer in buffers[1:]] == [None] * (BLOCKS - 1)
    finally:
        gc.enable()
