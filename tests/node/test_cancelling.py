"""Cancelled at every checkpoint: an upload leaves nothing, a download harms nothing, and both work after."""

from collections.abc import AsyncIterator
from pathlib import Path

import trio

from codex.data import BLOCK_SIZE
from codex.node import Node
from codex.node.storing import store_dataset
from codex.runtime import Budget
from codex.runtime.threads import Inline
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import noise
from codex.testing.nodes import holdings, open_served_node, open_test_node, store_of
from codex.testing.stores import audit

CONTENT = noise(5 * BLOCK_SIZE + 1)
MEMORY = 1 << 30  # bytes


async def source() -> AsyncIterator[bytes]:
    """The content in pieces that fall across blocks and batches, with checkpoints between them."""
    for at in range(0, len(CONTENT), 100_000):
        await trio.lowlevel.checkpoint()
        yield CONTENT[at : at + 100_000]


async def test_an_upload_cancelled_anywhere_leaves_nothing(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        kept = await node.store(CONTENT[:BLOCK_SIZE])  # shares a block with what is cut
        before = await holdings(node)
        stored = []

        async def upload() -> None:
            stored.append(
                await store_dataset(
                    store_of(node), Inline(), source(), budget=Budget(MEMORY), batch_bytes=2 * BLOCK_SIZE
                )
            )

        async def check() -> None:
            if stored:
                # Done before the cancellation struck, which must then be seen as done.
                async with node.retrieve(stored[-1]) as dataset:
                    assert await dataset.read() == CONTENT
                await node.delete(stored.pop())
            assert await holdings(node) == before
            async with node.retrieve(kept) as dataset:
                assert await dataset.read() == CONTENT[:BLOCK_SIZE]

        cut = await cancel_at_every_checkpoint(upload, check)
        assert cut > 50
        await upload()
        await check()
    audit(tmp_path / "repo")


async def test_an_upload_by_the_node_itself_cancelled_anywhere_leaves_nothing(node: Node) -> None:
    before = await holdings(node)

    async def upload() -> None:
        await node.store(CONTENT, filename="codex.png")

    async def check() -> None:
        # The very last steps may come after the dataset is there: all of it, or nothing.
        space, cids = await holdings(node)
        for cid in cids:
            async with node.retrieve(cid) as dataset:
                assert await dataset.read() == CONTENT
            await node.delete(cid)
        if not cids:
            assert space == before[0]
        assert await holdings(node) == before

    assert await cancel_at_every_checkpoint(upload, check) > 20


async def test_a_download_cancelled_anywhere_harms_nothing(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        content = noise(10 * 32 * BLOCK_SIZE)  # several runs, so that reading ahead is under way
        cid = await node.store(content)
        before = await holdings(node)

        async def download() -> None:
            async with node.retrieve(cid) as dataset:
                async for _ in dataset:
                    await trio.lowlevel.checkpoint()

        async def check() -> None:
            assert await holdings(node) == before

        assert await cancel_at_every_checkpoint(download, check) > 20
        async with node.retrieve(cid) as dataset:
            assert await dataset.read() == content
    audit(tmp_path / "repo")


async def test_a_delete_cancelled_anywhere_is_done_or_not(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        before = await holdings(node)
        cid = await node.store(CONTENT)
        held = await holdings(node)

        async def delete() -> None:
            await node.delete(cid)

        async def check() -> None:
            if await node.has(cid):
                assert await holdings(node) == held
                async with node.retrieve(cid) as dataset:
                    assert await dataset.read() == CONTENT
            else:
                # It is out of sight at once; what is left of it is removed behind the scenes.
                assert (await holdings(node))[1] == ()
                await node.delete(cid)
                await store_of(node).maintain()
                assert await holdings(node) == before
                assert await node.store(CONTENT) == cid

        assert await cancel_at_every_checkpoint(delete, check) > 0
    audit(tmp_path / "repo")


async def test_a_start_cancelled_anywhere_leaves_a_directory_that_starts(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        cid = await node.store(CONTENT)

    async def life() -> None:
        async with open_served_node(tmp_path) as served:
            assert (await served.client.get(f"/data/{cid}")).body == CONTENT

    async def check() -> None:
        async with open_test_node(tmp_path) as node, node.retrieve(cid) as dataset:
            assert await dataset.read() == CONTENT

    assert await cancel_at_every_checkpoint(life, check, own_only=True) > 5
    audit(tmp_path / "repo")
