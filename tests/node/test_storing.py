"""The flow *store*: any stream, cut in any way, becomes the one dataset that it is, or nothing at all."""

import tracemalloc
from collections.abc import AsyncIterator, Iterable
from functools import partial
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.codec import Cid
from codex.config import StoreConfig
from codex.data import BATCH_BYTES, BLOCK_SIZE, Block, Manifest, MerkleTree
from codex.errors import EmptyDataset, QuotaExceeded
from codex.node import Node
from codex.node.storing import OWN, PIECE, store_dataset
from codex.runtime import Budget
from codex.runtime.threads import Inline
from codex.testing.content import noise
from codex.testing.nodes import holdings, open_test_node, store_of

MIB = 1 << 20
MEMORY = 1 << 30  # bytes, more than anything here can take
NOISE = noise(40 * BLOCK_SIZE)


async def stream(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """`pieces` as a source, with a checkpoint before each."""
    for piece in pieces:
        await trio.lowlevel.checkpoint()
        yield piece


def expected(content: bytes, filename: str | None = None) -> Manifest:
    """The manifest that `content` must get, computed from the whole."""
    padded = content + bytes(-len(content) % BLOCK_SIZE)
    blocks = [Block.of(padded[at : at + BLOCK_SIZE]) for at in range(0, len(padded), BLOCK_SIZE)]
    root = MerkleTree.of([block.cid.digest for block in blocks]).root_cid
    return Manifest.of_upload(root, len(content), filename=filename)


near_a_border = st.builds(
    lambda blocks, off: max(1, blocks * BLOCK_SIZE + off), st.integers(0, 13), st.integers(-2, 2)
)


@st.composite
def cut_up(draw: st.DrawFn) -> list[bytes]:
    """Content of a size near a border of blocks, cut at any places, some of them near borders too."""
    size = draw(near_a_border)
    cuts = draw(st.lists(near_a_border | st.integers(0, size), max_size=12))
    places = sorted({0, size, *(cut for cut in cuts if cut < size)})
    pieces = [NOISE[first:last] for first, last in pairwise(places)]
    for at in draw(st.lists(st.integers(0, len(pieces)), max_size=2)):
        pieces.insert(at, b"")
    return pieces


@settings(max_examples=40, deadline=None)
@given(pieces=cut_up(), batch_blocks=st.integers(1, 5))
async def test_any_cutting_of_a_stream_is_the_same_dataset(pieces: list[bytes], batch_blocks: int) -> None:
    content = b"".join(pieces)
    async with open_test_node() as node:
        store = store_of(node)
        cid = await store_dataset(
            store, Inline(), stream(pieces), budget=Budget(MEMORY), batch_bytes=batch_blocks * BLOCK_SIZE
        )
        assert cid == expected(content).cid
        async with node.retrieve(cid) as dataset:
            assert dataset.manifest == expected(content)
            assert await dataset.read() == content
        space = await node.space()
        distinct = len({content[at : at + BLOCK_SIZE] for at in range(0, len(content), BLOCK_SIZE)})
        assert space.total_blocks == distinct + 1
        assert space.quota_used == distinct * BLOCK_SIZE + len(expected(content).to_bytes())


@pytest.mark.parametrize("size", [BATCH_BYTES - 1, BATCH_BYTES, BATCH_BYTES + 1, 2 * BATCH_BYTES])
async def test_a_stream_at_the_border_of_a_whole_batch(node: Node, size: int) -> None:
    content = noise(size)
    cid = await node.store(stream([content[:100], content[100:]]))
    assert cid == expected(content).cid
    async with node.retrieve(cid) as dataset:
        assert await dataset.read() == content


async def test_a_block_that_comes_twice_is_kept_once(node: Node) -> None:
    content = NOISE[:BLOCK_SIZE] * 30
    cid = await node.store(content, filename="again.bin")
    assert cid == expected(content, "again.bin").cid
    assert (await node.space()).total_blocks == 2
    async with node.retrieve(cid) as dataset:
        assert await dataset.read() == content


@pytest.mark.parametrize("pieces", [[], [b""], [b"", b"", b""]])
async def test_no_byte_is_no_dataset(node: Node, pieces: list[bytes]) -> None:
    before = await holdings(node)
    with pytest.raises(EmptyDataset, match="Empty leaves"):
        await node.store(stream(pieces))
    with pytest.raises(EmptyDataset):
        await node.store(b"")
    assert await holdings(node) == before


@pytest.mark.parametrize("after", [0, 1, BLOCK_SIZE, 20 * MIB])
async def test_what_a_source_raises_is_raised_and_nothing_is_left(node: Node, after: int) -> None:
    class Broke(Exception):
        pass

    async def breaking() -> AsyncIterator[bytes]:
        if after:
            yield noise(after)
        raise Broke

    before = await holdings(node)
    with pytest.raises(Broke):
        await node.store(breaking())
    assert await holdings(node) == before


async def test_a_stream_that_does_not_fit_leaves_nothing() -> None:
    config = StoreConfig(quota=20 * MIB)
    async with open_test_node(store=config) as node:
        kept = await node.store(noise(MIB, "kept"))
        before = await holdings(node)
        content = noise(40 * MIB)
        with pytest.raises(QuotaExceeded):
            await node.store(stream([content]))
        assert await holdings(node) == before
        with pytest.raises(QuotaExceeded):
            await node.store(stream([content]), size=len(content))
        assert await holdings(node) == before
        async with node.retrieve(kept) as dataset:
            assert await dataset.read() == noise(MIB, "kept")
        assert await node.store(stream([content[: 18 * MIB]])) == expected(content[: 18 * MIB]).cid


async def test_a_dataset_that_cannot_fit_is_refused_before_it_is_read() -> None:
    read = []

    async def source() -> AsyncIterator[bytes]:
        read.append(1)
        yield b"some file contents"

    async with open_test_node(store=StoreConfig(quota=MIB)) as node:
        with pytest.raises(QuotaExceeded):
            await node.store(source(), size=2 * MIB)
    assert read == []


async def test_a_generator_is_closed_whatever_ends_the_flow() -> None:
    closed = []

    async def source() -> AsyncIterator[bytes]:
        try:
            for number in range(100):
                yield noise(MIB, str(number))
        finally:
            closed.append(1)

    async with open_test_node(store=StoreConfig(quota=4 * MIB)) as node:
        with pytest.raises(QuotaExceeded):
            await store_dataset(store_of(node), Inline(), source(), budget=Budget(MEMORY), batch_bytes=MIB)
    assert closed == [1]


class Held:
    """A node's store, which takes no block before it is told to; `sizes` are those of what was staged."""

    def __init__(self, node: Node) -> None:
        self.store = store_of(node)
        self.free = trio.Event()
        self.sizes: list[int] = []

    async def begin(self) -> str:
        return await self.store.begin()

    async def stage(self, ingest: str, first: int, blocks: list[Block]) -> None:
        await self.free.wait()
        self.sizes.append(len(blocks))
        await self.store.stage(ingest, first, blocks)

    async def commit(self, ingest: str, tree: MerkleTree, manifest: Manifest) -> Cid:
        return await self.store.commit(ingest, tree, manifest)

    async def abort(self, ingest: str) -> None:
        await self.store.abort(ingest)


async def test_a_slow_disk_slows_the_source(node: Node) -> None:
    taken = 0

    async def source() -> AsyncIterator[bytes]:
        nonlocal taken
        for number in range(30):
            taken += 1
            yield NOISE[number * BLOCK_SIZE :][:BLOCK_SIZE]

    held = Held(node)
    cids = []

    async def store() -> None:
        cids.append(
            await store_dataset(held, Inline(), source(), budget=Budget(MEMORY), batch_bytes=2 * BLOCK_SIZE)
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(store)
        await wait_all_tasks_blocked()
        assert taken <= 3 * 2, "more than three batches are in memory"
        held.free.set()
    assert cids == [expected(NOISE[: 30 * BLOCK_SIZE]).cid]


async def test_datasets_stored_side_by_side_do_not_mix(node: Node) -> None:
    contents = [noise(BLOCK_SIZE * 3 + who, "same" if who % 2 else str(who)) for who in range(12)]
    cids: dict[int, Cid] = {}

    async def one(who: int) -> None:
        pieces = [contents[who][at : at + 10_000] for at in range(0, len(contents[who]), 10_000)]
        cids[who] = await node.store(stream(pieces))

    async with trio.open_nursery() as nursery:
        for who in range(12):
            nursery.start_soon(one, who)
    for who, cid in cids.items():
        assert cid == expected(contents[who]).cid
        async with node.retrieve(cid) as dataset:
            assert await dataset.read() == contents[who]


# -- where memory is short


@settings(max_examples=25, deadline=None)
@given(pieces=cut_up(), total=st.sampled_from([0, BLOCK_SIZE, 5 * BLOCK_SIZE]))
async def test_whatever_memory_there_is_it_is_the_same_dataset(pieces: list[bytes], total: int) -> None:
    budget = Budget(total)
    async with open_test_node() as node:
        cid = await store_dataset(store_of(node), Inline(), stream(pieces), budget=budget)
        assert cid == expected(b"".join(pieces)).cid
    assert budget.free == total


@pytest.mark.parametrize("piece", [1, 1000, BLOCK_SIZE, 300_000, 20 * MIB])
async def test_an_upload_without_any_of_the_budget_goes_on_with_its_own(node: Node, piece: int) -> None:
    content = noise(min(20 * MIB, piece * 5000))
    store = Held(node)
    store.free.set()
    pieces = (content[at : at + piece] for at in range(0, len(content), piece))
    cid = await store_dataset(store, Inline(), stream(pieces), budget=Budget(0))
    assert cid == expected(content).cid
    assert max(store.sizes) <= OWN // BLOCK_SIZE
    assert max(store.sizes) >= min(len(content) // BLOCK_SIZE, OWN // BLOCK_SIZE - 1), "batches are tiny"


async def test_uploads_that_stall_hold_no_more_than_the_budget(node: Node) -> None:
    budget, total, count = Budget(4 * MIB), 4 * MIB, 30
    taken = [0] * count
    going_on = trio.Event()
    content = noise(8 * MIB)
    cids = []

    async def source(who: int) -> AsyncIterator[bytes]:
        for at in range(0, len(content), 100_000):
            piece = content[at : at + 100_000]
            taken[who] += len(piece)
            yield piece
        await going_on.wait()

    held = Held(node)

    async def store(who: int) -> None:
        cids.append(await store_dataset(held, Inline(), source(who), budget=budget))

    async with trio.open_nursery() as nursery:
        for who in range(count):
            nursery.start_soon(store, who)
        await wait_all_tasks_blocked()
        # The disk takes nothing, and each has one piece in hand for which there is no room.
        assert total < sum(taken) <= total + count * (OWN + 100_000)
        assert min(taken) >= OWN - 100_000
        held.free.set()
        await wait_all_tasks_blocked()
        assert taken == [len(content)] * count
        assert sum(taken) - BLOCK_SIZE * sum(held.sizes) <= total + count * OWN
        going_on.set()
    assert cids == [expected(content).cid] * count
    assert budget.free == total


async def test_an_upload_that_breaks_off_gives_its_part_of_the_budget_back(
    node: Node, autojump_clock: MockClock
) -> None:
    budget = Budget(4 * MIB)
    held = Held(node)
    with trio.move_on_after(1) as scope:
        await store_dataset(held, Inline(), stream([NOISE[:MIB]] * 9), budget=budget)
    assert scope.cancelled_caught
    assert budget.free == 4 * MIB


async def test_what_breaks_off_is_no_longer_in_memory_when_it_is_given_up(node: Node) -> None:
    class Giving(Held):
        async def abort(self, ingest: str) -> None:
            now.append(tracemalloc.get_traced_memory()[0])
            await super().abort(ingest)

    class Broke(Exception):
        pass

    async def source() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(bytearray(PIECE))
        raise Broke

    now: list[int] = []
    tracemalloc.start()
    try:
        with pytest.raises(Broke):
            await store_dataset(Giving(node), Inline(), source(), budget=Budget(MEMORY))
    finally:
        tracemalloc.stop()
    assert max(now) < MIB


async def test_what_is_on_the_disk_is_no_longer_in_memory(node: Node) -> None:
    store = Held(node)
    store.free.set()
    going_on = trio.Event()

    async def source() -> AsyncIterator[bytes]:
        for _ in range(64):
            await trio.lowlevel.checkpoint()
            yield bytes(bytearray(PIECE))
        await going_on.wait()

    async with trio.open_nursery() as nursery:
        tracemalloc.start()
        try:
            nursery.start_soon(partial(store_dataset, store, Inline(), source(), budget=Budget(MEMORY)))
            await wait_all_tasks_blocked()
            assert store.sizes == [BATCH_BYTES // BLOCK_SIZE]
            now, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        going_on.set()
    assert now < MIB
