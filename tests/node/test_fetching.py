"""What is missing of a dataset, and getting all of it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from codex.data import BLOCK_SIZE
from codex.errors import BlockNotFound
from codex.node.fetching import Stretch, fetch_dataset, stretches
from codex.node.job import Progress
from codex.testing.content import noise
from codex.testing.elsewhere import Dataset, Elsewhere, Shelf

BLOCKS = 25
DATASET = Dataset(noise(BLOCKS * BLOCK_SIZE))
TREE = DATASET.manifest.tree_cid


async def found(shelf: Shelf, first: int, count: int, length: int) -> list[Stretch]:
    return [part async for part in stretches(shelf, TREE, first, count, length=length)]


@settings(max_examples=50, deadline=None)
@given(
    here=st.sets(st.integers(0, BLOCKS - 1)),
    pair=st.tuples(st.integers(0, BLOCKS), st.integers(0, BLOCKS)),
    length=st.integers(1, 30),
)
async def test_stretches_cover_what_is_asked_for(here: set[int], pair: tuple[int, int], length: int) -> None:
    first, stop = sorted(pair)
    parts = await found(Shelf(DATASET, here), first, stop - first, length)
    assert [part.first for part in parts] == [first, *[part.stop for part in parts[:-1]]]
    assert parts[-1].stop == stop
    assert [index for part in parts for index in part.missing] == sorted(set(range(first, stop)) - here)


async def test_a_dataset_that_is_here_or_not_at_all_is_asked_for_once() -> None:
    assert await found(Shelf(DATASET, range(BLOCKS)), 2, 20, 4) == [Stretch(2, 22, ())]
    assert await found(Shelf(DATASET), 2, 20, 4) == [Stretch(2, 22, range(2, 22))]


@pytest.mark.parametrize("here", [(), range(7), range(0, BLOCKS, 2), range(BLOCKS)])
async def test_only_what_is_missing_is_fetched(here: range, autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET, here)
    network = Elsewhere(shelf)
    progress = Progress()
    missing = BLOCKS - len(here)
    assert await fetch_dataset(shelf, network, DATASET.manifest, progress) == {"blocks": missing}
    assert len(shelf.here) == BLOCKS
    assert sorted(network.wanted) == sorted(set(range(BLOCKS)) - set(here))
    assert (progress.phase, progress.bytes_done) == ("fetching", missing * BLOCK_SIZE)
    assert shelf.read == []


async def test_what_nobody_has_is_a_verdict(autojump_clock: MockClock) -> None:
    shelf = Shelf(DATASET)
    network = Elsewhere(shelf, lost={20}, batch=1)
    with pytest.raises(BlockNotFound, match="nobody has it"):
        await fetch_dataset(shelf, network, DATASET.manifest, Progress())
    assert len(shelf.here) == 20
    assert network.open == 0
