"""Reading a dataset from here and from the network at once: the right bytes in order, early, and no more is
fetched or read than must be.
"""

from collections.abc import Iterable

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.data import BLOCK_SIZE
from codex.errors import BlockNotFound
from codex.node.job import Progress
from codex.node.reading import AHEAD, JOINED
from codex.node.retrieving import open_dataset
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import noise
from codex.testing.elsewhere import Dataset, Elsewhere, Shelf

BLOCKS = 41
DATASET = Dataset(noise((BLOCKS - 1) * BLOCK_SIZE + 17))
SIZE = len(DATASET.content)

near_a_border = st.builds(
    lambda blocks, off: min(SIZE, max(0, blocks * BLOCK_SIZE + off)),
    st.integers(0, BLOCKS),
    st.integers(-2, 2),
)
places = near_a_border | st.integers(0, SIZE)


async def read(shelf: Shelf, network: Elsewhere, offset: int = 0, length: int | None = None) -> bytes:
    async with open_dataset(shelf, DATASET.manifest, offset, length, network=network) as dataset:
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
    async with open_dataset(shelf, DATASET.manifest, network=network) as dataset:
        first = await anext(dataset)
        assert trio.current_time() - started == pytest.approx(1)
        assert bytes(first) == DATASET.content[: len(first)]


async def test_what_arrived_is_not_read_back(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    assert await read(shelf, Elsewhere(shelf)) == DATASET.content
    assert shelf.read == []
    assert len(shelf.here) == BLOCKS


async def test_pieces_are_joined_where_they_are_there(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    async with open_dataset(shelf, DATASET.manifest, network=Elsewhere(shelf, batch=BLOCKS)) as dataset:
        pieces = [piece async for piece in dataset]
    assert max(map(len, pieces)) == JOINED * BLOCK_SIZE


async def test_a_reader_that_takes_nothing_has_only_so_much_fetched(autojump_clock: MockClock) -> None:
    large = Dataset(noise(400 * BLOCK_SIZE))
    shelf = Shelf(large)
    network = Elsewhere(shelf, batch=4, window=16, delay=0)
    async with open_dataset(shelf, large.manifest, network=network) as dataset:
        await wait_all_tasks_blocked(0.01)
        # Those in the exchange's window, those that wait for the reader, and those on their way to it.
        assert len(network.wanted) <= 16 + AHEAD // BLOCK_SIZE // 2 + 2 * JOINED + 2 * 4
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
        async with open_dataset(shelf, DATASET.manifest, network=network) as dataset:
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
        shelf, DATASET.manifest, 10, 500_000, network=Elsewhere(shelf), progress=progress
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
