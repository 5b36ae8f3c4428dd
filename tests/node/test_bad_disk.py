"""A disk that is full or broken: clear errors, nothing half done, and deleting still works."""

import errno
from pathlib import Path

import pytest
import trio

from codex.codec import Cid
from codex.data import BLOCK_SIZE
from codex.errors import CodexError, CorruptData, DiskFailed, DiskFull, IndexDamaged
from codex.node.job import JobState
from codex.testing.content import damage, noise
from codex.testing.disks import FaultyDisk
from codex.testing.nodes import holdings, open_served_node, open_test_node
from codex.testing.stores import audit

CONTENT = noise(3 * BLOCK_SIZE + 1)
FOR_EVER = 1_000_000


async def changes_of_an_upload(directory: Path) -> int:
    """How often an upload changes the disk."""
    disk = FaultyDisk()
    async with open_test_node(directory, disk=disk) as node:
        before = disk.changes
        await node.store(CONTENT)
        return disk.changes - before


@pytest.mark.parametrize(("code", "error"), [(errno.ENOSPC, DiskFull), (errno.EIO, DiskFailed)])
async def test_an_upload_that_meets_a_bad_disk_at_any_change_is_whole_or_not_there(
    tmp_path: Path, code: int, error: type[CodexError]
) -> None:
    count = await changes_of_an_upload(tmp_path / "measured")
    assert count >= 3
    for at in range(1, count + 1):
        disk = FaultyDisk()
        directory = tmp_path / f"{at}"
        async with open_test_node(directory, disk=disk) as node:
            kept = await node.store(b"kept")
            before = await holdings(node)
            disk.fail(at, code)
            refused = None
            try:
                cid = await node.store(CONTENT)
            except error as caught:
                refused = caught
            disk.heal()
            if refused is not None:
                assert refused.remedy
                assert await holdings(node) == before
                cid = await node.store(CONTENT)
            async with node.retrieve(cid) as dataset:
                assert await dataset.read() == CONTENT
            async with node.retrieve(kept) as dataset:
                assert await dataset.read() == b"kept"
        audit(directory / "repo")


async def test_a_full_disk_refuses_uploads_and_still_deletes(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with open_served_node(tmp_path, disk=disk) as served:
        cid = (await served.client.post("/data", CONTENT)).text
        before = await holdings(served.node)
        disk.fail(1, errno.ENOSPC, times=FOR_EVER)
        reply = await served.client.post("/data", noise(5 * BLOCK_SIZE, "more"))
        assert reply.status == 500
        assert "space" in reply.text
        assert (await served.client.get(f"/data/{cid}")).body == CONTENT
        disk.heal()
        assert await holdings(served.node) == before
        assert (await served.client.delete(f"/data/{cid}")).status == 204
        assert (await served.client.get("/space")).json()["quotaUsedBytes"] == 0
        assert (await served.client.post("/data", CONTENT)).text == cid


async def test_a_disk_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with open_test_node(tmp_path, disk=disk) as node:
        cid = await node.store(CONTENT)
        disk.unreadable.add("00000001.seg")
        with pytest.raises(DiskFailed) as caught:
            async with node.retrieve(cid) as dataset:
                await dataset.read()
        assert caught.value.remedy
        disk.heal()
        async with node.retrieve(cid) as dataset:
            assert await dataset.read() == CONTENT


async def test_a_place_that_cannot_be_read_is_damage_and_parity_brings_back_what_was_there(
    tmp_path: Path,
) -> None:
    disk = FaultyDisk()
    async with open_test_node(tmp_path, disk=disk) as node:
        cid = await node.store(CONTENT)
        view = await (await node.protect(cid, 2, 1)).wait()
        assert isinstance(view.result, dict)
        verifiable = Cid.parse(view.result["verifiableCid"])
        disk.damaged["00000001.seg"] = range(BLOCK_SIZE, BLOCK_SIZE + 4096)
        view = await (await node.scrub()).wait()
        assert isinstance(view.result, dict)
        assert view.result["corruptBlocks"] == 1
        async with node.retrieve(verifiable) as dataset:
            assert await dataset.read() == CONTENT
        async with node.retrieve(cid) as dataset:
            assert await dataset.read() == CONTENT


async def test_a_backup_of_a_failing_disk_has_what_can_be_read_and_tells_of_the_rest(
    tmp_path: Path,
) -> None:
    disk = FaultyDisk()
    target = tmp_path / "bob" / "repo"
    target.parent.mkdir(mode=0o700)
    async with open_test_node(tmp_path / "alice", disk=disk) as node:
        cid = await node.store(CONTENT)
        kept = await node.store(b"kept")
        disk.damaged["00000001.seg"] = range(BLOCK_SIZE + 1, BLOCK_SIZE + 4096)
        view = await (await node.backup(target)).wait()
        disk.heal()
        assert view.state == JobState.DONE
        assert isinstance(view.result, dict)
        assert view.result["unreadableBlocks"] == 1
        assert view.result["unreadableBytes"] == BLOCK_SIZE
        lost = view.result["unreadable"]
    async with open_test_node(target.parent, seed="bob") as bob:
        view = await (await bob.scrub()).wait()
        assert isinstance(view.result, dict)
        found = await (await bob.verify(cid)).wait()
        assert isinstance(found.result, dict)
        assert view.result["corrupt"] == found.result["corrupt"] == lost
        assert found.result["corruptBlocks"] == 1
        async with bob.retrieve(kept) as dataset:
            assert await dataset.read() == b"kept"
        assert await bob.store(CONTENT) == cid
        async with bob.retrieve(cid) as dataset:
            assert await dataset.read() == CONTENT
    audit(target)


async def test_a_download_from_a_disk_that_breaks_is_cut(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with open_served_node(tmp_path, disk=disk) as served:
        cid = (await served.client.post("/data", CONTENT)).text
        disk.unreadable.add("00000001.seg")
        reply = await served.client.get(f"/data/{cid}")
        assert reply.status == 500 or not reply.complete
        disk.heal()
        assert (await served.client.get(f"/data/{cid}")).body == CONTENT


@pytest.mark.parametrize("victim", ["index.sqlite", "00000001.seg"])
async def test_a_store_that_lost_a_file_does_not_start(tmp_path: Path, victim: str) -> None:
    async with open_test_node(tmp_path) as node:
        await node.store(CONTENT)
    for path in await trio.to_thread.run_sync(lambda: list(tmp_path.rglob(victim + "*"))):
        path.unlink()
    with pytest.raises(CorruptData) as caught:
        async with open_test_node(tmp_path):
            raise AssertionError("a store runs without its files")
    assert caught.value.remedy


async def test_a_store_whose_index_is_garbage_does_not_start(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        await node.store(CONTENT)
    for path in await trio.to_thread.run_sync(lambda: list(tmp_path.rglob("index.sqlite*"))):
        path.write_bytes(b"garbage" * 10_000)
    with pytest.raises(CorruptData) as caught:
        async with open_test_node(tmp_path):
            raise AssertionError("a store runs on garbage")
    assert caught.value.remedy


async def test_damage_found_in_one_dataset_leaves_the_others_whole(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        first = await node.store(CONTENT)
        second = await node.store(noise(3 * BLOCK_SIZE, "bob"))
        damage(tmp_path, CONTENT[:BLOCK_SIZE])
        with pytest.raises(CorruptData):
            async with node.retrieve(first) as dataset:
                await dataset.read()
        async with node.retrieve(second) as dataset:
            assert await dataset.read() == noise(3 * BLOCK_SIZE, "bob")
        assert await node.store(CONTENT) == first  # storing it again mends it
        async with node.retrieve(first) as dataset:
            assert await dataset.read() == CONTENT
    audit(tmp_path / "repo")


async def test_a_full_disk_is_a_condition_until_something_is_stored(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with open_served_node(tmp_path, disk=disk) as served:
        disk.fail(1, errno.ENOSPC, times=FOR_EVER)
        for _ in range(2):
            assert (await served.client.post("/data", CONTENT)).status == 500
        health = await served.client.get("/health")
        [store] = [one for one in health.json()["services"] if one["name"] == "store"]
        assert (health.status, health.json()["state"]) == (200, "degraded")
        assert (store["state"], store["condition"]["code"]) == ("running", "disk-full")
        assert store["condition"]["remedy"]
        assert store["condition"]["since"] >= store["since"]
        # Reading and deleting work.
        assert (await served.client.get("/ready")).json() == {"ready": True}
        disk.heal()
        assert (await served.client.post("/data", CONTENT)).status == 200
        assert (await served.client.get("/health")).json()["state"] == "ok"


async def damage_the_index_of_a_node(tmp_path: Path) -> None:
    async with open_served_node(tmp_path) as served:
        await served.client.post("/data", CONTENT)
        for path in (tmp_path / "repo").glob("index.sqlite*"):
            path.write_bytes(noise(path.stat().st_size, "nonsense"))
        assert (await served.client.post("/data", noise(5, "more"))).status == 500
        health = await served.client.get("/health")
        [store] = [one for one in health.json()["services"] if one["name"] == "store"]
        assert (health.status, health.json()["state"]) == (503, "degraded")
        assert (store["state"], store["condition"]["code"]) == ("running", "index-damaged")
        assert store["condition"]["serves"] is False
        ready = await served.client.get("/ready")
        assert (ready.status, ready.json()) == (503, {"ready": False, "waitingFor": ["store"]})


async def test_a_node_whose_index_is_damaged_is_not_ready(tmp_path: Path) -> None:
    with pytest.raises(IndexDamaged, match="close the store"):  # which cannot be done in good order either
        await damage_the_index_of_a_node(tmp_path)
