"""The node in process: its life, what it holds, and what it refuses to do."""

from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.config import Config, P2pConfig, StoreConfig
from codex.data import BLOCK_SIZE
from codex.errors import (
    BlockInUse,
    BlockNotFound,
    CodexError,
    ConfigError,
    DataDirLocked,
    NotAManifest,
    NotEnabled,
    ServiceUnavailable,
)
from codex.lock import running_node
from codex.node import Node, Terms, open_node
from codex.runtime.lifecycle import State
from codex.testing.content import noise
from codex.testing.nodes import holdings, open_test_node, simulated, store_of

CONTENT = b"some file contents"
CID = Cid.parse("zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy")
TREE = Cid.parse("zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL")
BLOCK = Cid.parse("zDxWB8ED98hxJ51XwYaoQAwMdskCcmTaPR6Ce2wq88bjvjXRYuR9")
UNKNOWN = Cid.parse("zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ")
MIB = 1 << 20


async def read(node: Node, cid: Cid) -> bytes:
    """A whole dataset or block."""
    async with node.retrieve(cid) as retrieval:
        return await retrieval.read()


# -- its life


async def test_what_is_stored_outlives_the_node(tmp_path: Path) -> None:
    content = noise(3 * MIB)
    async with open_test_node(tmp_path) as node:
        cid = await node.store(content, filename="codex.png", mimetype="image/png")
        held = await holdings(node)
    async with open_test_node(tmp_path) as node:
        assert await holdings(node) == held
        manifest = await node.fetch_manifest(cid)
        assert (manifest.filename, manifest.mimetype) == ("codex.png", "image/png")
        assert await read(node, cid) == content


async def test_with_real_threads_it_is_the_same_node(tmp_path: Path) -> None:
    async with open_test_node(tmp_path, threads=True) as node:
        assert await node.store(CONTENT) == CID
        assert await read(node, CID) == CONTENT
        held = await holdings(node)
    async with open_test_node(tmp_path) as node:
        assert await holdings(node) == held


async def test_who_a_node_is_stays(tmp_path: Path) -> None:
    async with open_test_node(tmp_path, seed="alice") as node:
        first = node.info()
    async with open_test_node(tmp_path, seed="someone else") as node:
        second = node.info()
    async with open_test_node(tmp_path / "other", seed="bob") as node:
        other = node.info()
    assert (first.peer_id, first.node_id) == (second.peer_id, second.node_id)
    assert first.peer_id != other.peer_id
    assert first.repo == tmp_path


async def test_two_nodes_cannot_share_a_directory(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        with pytest.raises(DataDirLocked) as caught:
            async with open_test_node(tmp_path):
                raise AssertionError("two nodes run on one directory")
        assert caught.value.remedy
        assert await node.store(CONTENT) == CID
    async with open_test_node(tmp_path) as node:
        assert await node.has(CID)


async def test_a_directory_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    taken = trio.Path(tmp_path / "file")
    await taken.write_text("no directory")
    with pytest.raises(ConfigError) as caught:
        async with open_test_node(tmp_path / "file"):
            raise AssertionError("a node runs on a file")
    assert caught.value.remedy


async def test_a_node_can_live_in_a_nursery_of_somebody_else(tmp_path: Path) -> None:
    node = Node(Config(tmp_path), seams=simulated())
    async with trio.open_nursery() as nursery:
        await nursery.start(node.start)
        assert await node.store(CONTENT) == CID
        await node.stop()
        await node.stop()
    with pytest.raises(ServiceUnavailable):
        await node.space()


async def test_a_node_that_is_cancelled_stops_in_order(tmp_path: Path) -> None:
    node = Node(Config(tmp_path), seams=simulated())
    async with trio.open_nursery() as nursery:
        await nursery.start(node.start)
        await node.store(CONTENT)
        nursery.cancel_scope.cancel()
    assert running_node(tmp_path) is None
    async with open_test_node(tmp_path) as again:
        assert await read(again, CID) == CONTENT


async def test_what_the_block_raises_is_raised_as_it_is(tmp_path: Path) -> None:
    class Broke(Exception):
        pass

    with pytest.raises(Broke):
        async with open_test_node(tmp_path):
            raise Broke
    async with open_test_node(tmp_path) as node:
        assert await node.store(CONTENT) == CID


async def test_every_call_of_a_node_that_does_not_run_says_so(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as stopped:
        pass
    for node in (stopped, Node(Config(tmp_path / "never"))):
        for call in (
            node.space,
            partial(node.store, CONTENT),
            partial(node.has, CID),
            partial(read, node, CID),
        ):
            with pytest.raises(ServiceUnavailable) as caught:
                await call()
            assert "not running" in str(caught.value)
            assert caught.value.remedy
        with pytest.raises(ServiceUnavailable):
            node.info()


async def test_the_services_are_told_of(node: Node) -> None:
    states = node.states()
    assert states[0].name == "store"
    assert {service.state for service in states} == {State.RUNNING}


async def test_the_defaults_are_the_real_things(tmp_path: Path) -> None:
    # But for where it listens: nobody else is to find it.
    alone = P2pConfig(listen_addrs=("/ip4/127.0.0.1/tcp/0",))
    async with open_node(Config(data_dir=tmp_path, p2p=alone)) as node:
        assert await node.store(CONTENT) == CID
        assert (await node.space()).quota_max == 20 << 30
        assert [address.startswith("/ip4/127.0.0.1/tcp/") for address in node.info().addresses] == [True]


async def test_a_store_that_crashes_ends_the_node(tmp_path: Path) -> None:
    def broken(self: object) -> int:
        raise ZeroDivisionError("a bug in the store")

    async def crash() -> None:
        async with open_test_node(tmp_path) as node:
            with pytest.raises(ServiceUnavailable):
                await node.store(CONTENT)
            await trio.sleep_forever()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("codex.store.repo.Repo.begin", broken)
        with pytest.raises(ZeroDivisionError, match="a bug in the store"):
            await crash()
    async with open_test_node(tmp_path) as node:
        assert await node.store(CONTENT) == CID


# -- what it holds


async def test_delete_frees_everything(node: Node) -> None:
    before = await holdings(node)
    cid = await node.store(noise(5 * MIB))
    assert await node.has(cid)
    await node.delete(cid)
    assert await holdings(node) == before
    assert not await node.has(cid)
    with pytest.raises(BlockNotFound):
        await read(node, cid)
    await node.delete(cid)  # nothing to do, and no error


async def test_a_dataset_that_shares_blocks_survives_the_other(node: Node) -> None:
    content = noise(10 * BLOCK_SIZE)
    whole = await node.store(content)
    half = await node.store(content[: 5 * BLOCK_SIZE])
    named = await node.store(content, filename="whole.bin")
    assert (await node.space()).total_blocks == 10 + 3
    await node.delete(whole)
    assert await read(node, half) == content[: 5 * BLOCK_SIZE]
    assert await read(node, named) == content
    await node.delete(named)
    assert (await node.space()).total_blocks == 5 + 1
    assert await read(node, half) == content[: 5 * BLOCK_SIZE]
    await node.delete(half)
    assert (await node.space()).quota_used == 0


async def test_a_block_in_use_cannot_be_deleted(node: Node) -> None:
    await node.store(CONTENT)
    with pytest.raises(BlockInUse):
        await node.delete(BLOCK)
    assert await read(node, CID) == CONTENT
    await node.delete(CID)
    await node.delete(BLOCK)


async def test_has_tells_of_manifests_and_blocks(node: Node) -> None:
    await node.store(CONTENT)
    assert [await node.has(cid) for cid in (CID, BLOCK, TREE, UNKNOWN)] == [True, True, False, False]


async def test_manifests_come_in_the_order_of_their_cids(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codex.node.node.LIST_PAGE", 3)
    stored = {await node.store(bytes([number])) for number in range(10)}
    listed = [cid async for cid, _ in node.iterate_manifests()]
    assert listed == sorted(stored, key=lambda cid: cid.raw)


async def test_manifests_of_what_is_none(node: Node) -> None:
    await node.store(CONTENT)
    with pytest.raises(NotAManifest, match="Unable to decode as manifest"):
        await node.fetch_manifest(BLOCK)
    with pytest.raises(BlockNotFound):
        await node.fetch_manifest(UNKNOWN)


# -- how long things stay


async def test_a_pinned_dataset_does_not_expire(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = StoreConfig(block_ttl=60, maintenance_interval=10)
    async with open_test_node(tmp_path, store=config) as node:
        kept = await node.store(b"kept")
        lost = await node.store(b"lost")
        await node.pin(kept)
        await trio.sleep(1000)
        assert [await node.has(cid) for cid in (kept, lost)] == [True, False]
        assert await read(node, kept) == b"kept"
        await node.unpin(kept)
        await trio.sleep(20)
        assert not await node.has(kept)
        assert (await node.space()).quota_used == 0
        with pytest.raises(BlockNotFound):
            await node.pin(kept)
        with pytest.raises(BlockNotFound):
            await node.unpin(kept)


async def test_time_goes_on_while_a_node_is_stopped(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = StoreConfig(block_ttl=60, maintenance_interval=10)
    async with open_test_node(tmp_path, store=config) as node:
        cid = await node.store(CONTENT)
    await trio.sleep(100)
    async with open_test_node(tmp_path, store=config) as node:
        await trio.sleep(15)
        assert not await node.has(cid)
        assert (await node.space()).quota_used == 0


# -- what it cannot do


TERMS = Terms(
    duration=600, proof_probability=1, price_per_byte_per_second=1, collateral_per_byte=1, expiry=60
)


async def test_what_needs_a_network_or_a_market_says_so(node: Node) -> None:
    await node.store(CONTENT)
    peer = node.info().peer_id
    for call in (
        lambda: node.find_peer(peer),
        lambda: node.connect(peer),
        lambda: node.connect(peer, ["/ip4/127.0.0.1/tcp/8070"]),
        lambda: node.request_storage(CID, TERMS),
    ):
        with pytest.raises(NotEnabled) as caught:
            await call()
        assert caught.value.remedy


async def test_a_complete_dataset_needs_no_fetching(node: Node) -> None:
    await node.store(CONTENT)
    await node.fetch_dataset_async_task(CID)


async def test_missing_blocks_cannot_be_fetched_without_a_network(node: Node) -> None:
    content = noise(4 * BLOCK_SIZE)
    cid = await node.store(content)
    manifest = await node.fetch_manifest(cid)
    await node.delete(cid)
    await store_of(node).put_manifest(manifest.to_bytes())
    with pytest.raises(NotEnabled, match="4 blocks"):
        await node.fetch_dataset_async_task(cid)
    with pytest.raises(BlockNotFound):
        await read(node, cid)
    assert await node.store(content) == cid
    await node.fetch_dataset_async_task(cid)
    assert await read(node, cid) == content


def test_every_refusal_says_what_to_do() -> None:
    problem = NotEnabled("what", remedy="do").as_problem()
    assert isinstance(NotEnabled("x"), CodexError)
    assert (problem.code, problem.message, problem.remedy) == ("not-enabled", "what", "do")
