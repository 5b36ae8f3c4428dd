"""The flow *retrieve*: exactly the bytes that were asked for, verified, and read ahead only so far."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Manifest
from codex.errors import BlockNotFound, CorruptData, InvalidInput, NotAManifest
from codex.node import Node, reading
from codex.node.reading import AHEAD, RUN_BLOCKS
from codex.node.wiring import MEMORY
from codex.runtime import Feed
from codex.testing.content import damage, noise
from codex.testing.counting import leak_check
from codex.testing.nodes import open_test_node, store_of

SIZE = 20 * BLOCK_SIZE + 17
CONTENT = noise(SIZE)
BLOCKS = 21


async def ranged(node: Node, cid: Cid, offset: int, length: int | None) -> bytes:
    """The bytes that a retrieval of this range gives."""
    async with node.retrieve(cid, offset=offset, length=length) as part:
        data = await part.read()
        assert (part.offset, part.size) == (offset, len(data))
    return data


async def gather(node: Node, cid: Cid, got: bytearray) -> None:
    """Retrieve a dataset into `got`, piece by piece, so that what came before an error is there."""
    async with node.retrieve(cid) as dataset:
        async for piece in dataset:
            got += piece


near_a_border = st.builds(
    lambda blocks, off: min(SIZE, max(0, blocks * BLOCK_SIZE + off)), st.integers(0, 21), st.integers(-2, 2)
)
places = near_a_border | st.integers(0, SIZE)
ranges = st.lists(st.tuples(places, places), min_size=1, max_size=12)


@settings(max_examples=20, deadline=None)
@given(pairs=ranges, run=st.sampled_from([1, 2, 3, 5, 32]))
async def test_any_range_is_the_same_as_that_slice(pairs: list[tuple[int, int]], run: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "RUN_BLOCKS", run)
        patch.setattr(reading, "AHEAD", run * 3 * BLOCK_SIZE // 2)
        async with open_test_node() as node:
            cid = await node.store(CONTENT)
            for first, last in map(sorted, pairs):
                assert await ranged(node, cid, first, last - first) == CONTENT[first:last]
                assert await ranged(node, cid, first, None) == CONTENT[first:]


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, SIZE + 1), (SIZE, 1), (SIZE + 1, None), (5, -1)])
async def test_a_range_outside_the_dataset_is_refused(node: Node, offset: int, length: int | None) -> None:
    cid = await node.store(CONTENT)
    with pytest.raises(InvalidInput, match="do not lie within"):
        async with node.retrieve(cid, offset=offset, length=length):
            raise AssertionError("such a range was opened")


async def test_an_empty_range_is_empty(node: Node) -> None:
    cid = await node.store(CONTENT)
    for offset in (0, 1, BLOCK_SIZE, SIZE):
        assert await ranged(node, cid, offset, 0) == b""


async def test_the_pieces_are_views_of_consecutive_bytes(node: Node) -> None:
    cid = await node.store(CONTENT)
    async with node.retrieve(cid) as dataset:
        pieces = [piece async for piece in dataset]
    assert all(isinstance(piece, memoryview) and len(piece) for piece in pieces)
    assert b"".join(pieces) == CONTENT


async def test_a_single_block_can_be_retrieved(node: Node) -> None:
    cid = await node.store(CONTENT)
    manifest = await node.fetch_manifest(cid)
    [leaf] = await store_of(node).leaves(manifest.tree_cid, 3, 1)
    async with node.retrieve(leaf.cid) as block:
        assert (block.manifest, block.size) == (None, BLOCK_SIZE)
        assert await block.read() == CONTENT[3 * BLOCK_SIZE : 4 * BLOCK_SIZE]
    with pytest.raises(NotAManifest):
        async with node.retrieve(leaf.cid, manifest_only=True):
            raise AssertionError("a block was opened as a dataset")


async def test_the_empty_block_is_always_here(node: Node) -> None:
    cid = Cid.parse("zDxWB8EDDsokSpiTXNRpv1jS2LXjEdLgTiDfxFd7Eo8CSPKVj93r")
    async with node.retrieve(cid) as block:
        assert await block.read() == b""


@pytest.mark.parametrize(
    "text",
    [
        "zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ",
        "zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL",
        "zb2rhheVmk3bLks5MgzTqyznLu1zqGH5jrfTA1eAZXrjx7Vob",
    ],
)
@pytest.mark.parametrize("local", [False, True])
async def test_what_is_not_here_is_not_found(node: Node, text: str, local: bool) -> None:
    with pytest.raises(BlockNotFound) as caught:
        async with node.retrieve(Cid.parse(text), local=local):
            raise AssertionError("something was opened")
    assert "not found in local store" in str(caught.value)


async def test_a_dataset_with_holes_ends_where_the_hole_is(node: Node) -> None:
    cid = await node.store(CONTENT)
    manifest = await node.fetch_manifest(cid)
    longer = Manifest.of_upload(manifest.tree_cid, SIZE + 5 * BLOCK_SIZE)
    await store_of(node).put_manifest(longer.to_bytes())
    got = bytearray()
    with pytest.raises(BlockNotFound):
        await gather(node, longer.cid, got)
    assert CONTENT.startswith(bytes(got[:SIZE]))


async def test_a_damaged_block_ends_the_bytes_and_is_named(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        cid = await node.store(CONTENT)
        manifest = await node.fetch_manifest(cid)
        [leaf] = await store_of(node).leaves(manifest.tree_cid, 15, 1)
        damage(tmp_path, CONTENT[15 * BLOCK_SIZE : 16 * BLOCK_SIZE])
        got = bytearray()
        with pytest.raises(CorruptData, match=str(leaf.cid)):
            await gather(node, cid, got)
        assert bytes(got) == CONTENT[: len(got)]
        assert len(got) <= 15 * BLOCK_SIZE
        # What does not need that block is still to be had.
        assert await ranged(node, cid, 16 * BLOCK_SIZE, None) == CONTENT[16 * BLOCK_SIZE :]
        await node.delete(cid)
        assert (await node.space()).quota_used == 0


async def test_a_reader_that_takes_nothing_is_read_ahead_for_only_so_far(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 5 * RUN_BLOCKS * BLOCK_SIZE
    cid = await node.store(noise(size))
    handed = 0
    real = Feed.offer

    def count(feed: Feed[memoryview], piece: memoryview) -> bool:
        nonlocal handed
        handed += len(piece)
        return real(feed, piece)

    monkeypatch.setattr(Feed, "offer", count)
    async with node.retrieve(cid) as dataset:
        await wait_all_tasks_blocked()
        assert 0 < handed < AHEAD + RUN_BLOCKS * BLOCK_SIZE
        assert await dataset.read() == noise(size)
    assert handed == size


async def test_a_reader_may_leave_at_any_time(node: Node) -> None:
    cid = await node.store(CONTENT)
    assert await ranged(node, cid, 0, None) == CONTENT  # from now on the store has its segment open
    with leak_check():
        for pieces in range(3):
            async with node.retrieve(cid) as dataset:
                for _ in range(pieces):
                    await anext(dataset)


async def test_what_a_reader_raises_is_raised_as_it_is(node: Node) -> None:
    class Broke(Exception):
        pass

    async def read() -> None:
        async with node.retrieve(cid) as dataset:
            await anext(dataset)
            raise Broke

    cid = await node.store(CONTENT)
    with pytest.raises(Broke):
        await read()


async def test_a_dataset_deleted_under_a_reader_never_gives_wrong_bytes(node: Node) -> None:
    content = noise(24 << 20)
    cid = await node.store(content)
    got = bytearray()
    async with node.retrieve(cid) as dataset:
        try:
            async for piece in dataset:
                got += piece
                if len(got) < 4 << 20:
                    await node.delete(cid)
                    await node.store(noise(len(got), "something else"))
        except BlockNotFound:
            assert len(got) < len(content)
        else:
            assert len(got) == len(content)
    assert content.startswith(bytes(got))


async def test_many_readers_of_one_dataset_get_the_same(node: Node) -> None:
    cid = await node.store(CONTENT)
    done = []

    async def read(offset: int) -> None:
        assert await ranged(node, cid, offset, None) == CONTENT[offset:]
        done.append(offset)

    async with trio.open_nursery() as nursery:
        for offset in range(0, SIZE, SIZE // 10):
            nursery.start_soon(read, offset)
    assert len(done) == 11


async def test_all_transfers_of_a_node_have_one_budget(node: Node) -> None:
    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(bytearray(4 << 20))
        await trio.sleep_forever()

    budget = node._running.budget
    assert budget.free == MEMORY
    cid = await node.store(noise(12 << 20))
    assert budget.free == MEMORY
    async with node.retrieve(cid):
        await wait_all_tasks_blocked()
        reading = MEMORY - budget.free
        assert AHEAD < reading <= 2 * AHEAD
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.store, stalled())
            await wait_all_tasks_blocked()
            assert (3 << 20) < MEMORY - budget.free - reading < 4 << 20
            nursery.cancel_scope.cancel()
    assert budget.free == MEMORY
