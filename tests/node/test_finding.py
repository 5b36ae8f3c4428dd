"""Finding a manifest: here, elsewhere, and what is told when it is nowhere."""

from pathlib import Path

import pytest
from trio.testing import MockClock

from codex.codec.cid import EMPTY_BLOCK
from codex.data import Manifest
from codex.errors import BlockNotFound, NotAManifest
from codex.node import ManifestStored
from codex.testing.neighbourhood import open_test_network
from codex.testing.nodes import open_test_node


async def test_what_is_here_and_what_is_not(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        finder = node._running.finder
        cid = await node.store(b"some file contents")
        assert (await finder.find(cid)).dataset_size == 18
        await node.delete(cid)
        for local, remedy in ((True, ""), (False, "without a network")):
            with pytest.raises(BlockNotFound, match="could not be retrieved") as caught:
                await finder.find(cid, local=local)
            assert remedy in caught.value.remedy
        with pytest.raises((NotAManifest, BlockNotFound)):
            await finder.find(EMPTY_BLOCK)


async def test_what_comes_from_others_is_told_of_and_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "bob", directory=tmp_path) as nodes:
        cid = await nodes["alice"].store(b"some file contents")
        finder = nodes["bob"]._running.finder
        async with nodes["bob"].events(8) as events:
            assert (await finder.find(cid)).dataset_size == 18
            told = await anext(events)
            while not isinstance(told, ManifestStored):
                told = await anext(events)
            assert told == ManifestStored(cid)
        assert (await finder.find(cid, local=True)).dataset_size == 18


async def test_what_is_only_looked_at_is_neither_kept_nor_told_of(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_test_network("alice", "bob", directory=tmp_path) as nodes:
        cid = await nodes["alice"].store(b"some file contents")
        finder = nodes["bob"]._running.finder
        async with nodes["bob"].events(8) as events:
            manifest, block = await finder.look(cid)
            assert manifest == Manifest.from_bytes(block.data)
            assert not await nodes["bob"].has(cid)
            assert await nodes["bob"].fetch_manifest(cid) == manifest
            await nodes["alice"].delete(cid)
            assert await finder.look(cid) == (manifest, block)
            told = [await anext(events)]
            while not isinstance(told[-1], ManifestStored):
                told.append(await anext(events))
        assert told.count(ManifestStored(cid)) == 1
        with pytest.raises(NotAManifest):
            await finder.look(EMPTY_BLOCK)
    async with open_test_node(tmp_path / "carol") as node:
        with pytest.raises(BlockNotFound, match="could not be retrieved"):
            await node._running.finder.look(cid)
