"""What the store does of itself, and that a disk that refuses only puts it off."""

import errno
from pathlib import Path

import pytest
import trio
import trio.testing

from codex.config import StoreConfig
from codex.errors import DiskFull
from codex.runtime import Inline, VirtualClock
from codex.store.care import Caretaker
from codex.store.lane import Lane
from codex.store.planning import Put, Stage
from codex.store.repo import Repo
from codex.testing.disks import FaultyDisk
from codex.testing.stores import EPOCH, make_blocks, open_test_store, segment_numbers, store_dataset

BLOCKS = make_blocks(range(8), 1000)
CONFIG = StoreConfig(quota=100_000, block_ttl=3600.0, maintenance_interval=600.0, maintenance_blocks=3)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_expiry_that_the_disk_refuses_is_made_up_for_later(
    tmp_path: Path, disk: FaultyDisk, autojump_clock: object, code: int
) -> None:
    async with open_test_store(tmp_path, CONFIG, disk=disk) as store:
        await store.put_many(BLOCKS)
        await trio.sleep(3590)
        disk.fail(1, code, times=10**6)
        await trio.sleep(700)
        assert (await store.space()).total_blocks == 8
        disk.heal()
        await trio.sleep(600)
        assert (await store.space()).total_blocks == 0


async def test_removal_that_the_disk_refuses_is_made_up_for_later(
    tmp_path: Path, disk: FaultyDisk, autojump_clock: object
) -> None:
    async with open_test_store(tmp_path, CONFIG, disk=disk) as store:
        ingest = await store.begin()
        await store.stage(ingest, 0, BLOCKS)
        disk.fail(2, errno.EIO, times=10**6)
        await store.abort(ingest)
        await trio.sleep(1)
        assert segment_numbers(tmp_path / "repo") == {1}
        assert (await store.space()).total_blocks == 0
        disk.heal()
        await trio.sleep(600)
        assert segment_numbers(tmp_path / "repo") == set()


async def test_what_a_killed_run_left_is_removed_after_the_start(
    tmp_path: Path, disk: FaultyDisk, repo: Repo
) -> None:
    repo.take_in([Stage(repo.begin(), 0, BLOCKS)])
    repo.abandon()
    async with open_test_store(tmp_path, CONFIG, disk=disk) as store:
        await trio.testing.wait_all_tasks_blocked()
        assert segment_numbers(tmp_path / "repo") == set()
        assert (await store.space()).total_blocks == 0


async def test_a_recount_that_the_disk_refuses_can_be_done_again(repo: Repo, disk: FaultyDisk) -> None:
    offload = Inline()
    lane = Lane(offload, repo.take_in)
    care = Caretaker(repo, lane, CONFIG, offload=offload, clock=VirtualClock(EPOCH))
    repo.take_in([Put(BLOCKS, 1e12)])
    with repo._ledger.change("damage") as change:
        change.tx.execute("UPDATE totals SET used = used + 1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        disk.fail(1, errno.EIO)
        await care.recount()
        assert repo.catalogue.space().quota_used == 8001
        await care.recount()
        assert repo.catalogue.space().quota_used == 8000
        nursery.cancel_scope.cancel()


async def test_an_interval_of_nothing_is_a_second(repo: Repo, autojump_clock: object) -> None:
    config = StoreConfig(maintenance_interval=0.0, maintenance_blocks=0)
    offload = Inline()
    lane = Lane(offload, repo.take_in)
    care = Caretaker(repo, lane, config, offload=offload, clock=VirtualClock(EPOCH))
    repo.take_in([Put(BLOCKS, EPOCH + 2.5)])
    with trio.move_on_after(2.7):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.run)
            nursery.start_soon(care.expire_at_intervals)
    assert repo.catalogue.space().total_blocks == 8
    with trio.move_on_after(2.7):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lane.run)
            nursery.start_soon(care.expire_at_intervals)
    assert repo.catalogue.space().total_blocks == 0


async def test_other_writers_have_their_turn_between_the_steps(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, CONFIG, disk=disk) as store:
        blocks = make_blocks(range(100, 160), 100)
        cid = await store_dataset(store, blocks)
        done: list[str] = []

        async def delete() -> None:
            await store.delete_dataset(cid)
            done.append("deleted")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(delete)
            for _ in range(3):
                await store.put_many(BLOCKS[:1])
                done.append("put")
        assert done == ["put", "put", "put", "deleted"]


async def test_the_ballast_is_taken_on_again_when_there_is_room(
    tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch, autojump_clock: object
) -> None:
    ballast = tmp_path / "repo" / "ballast"
    async with open_test_store(tmp_path, CONFIG, disk=disk) as store:
        await store.put_many(BLOCKS)
        assert ballast.stat().st_size == 2 << 20
        with monkeypatch.context() as full:
            full.setattr(FaultyDisk, "free", lambda *args: 0)
            disk.fail(1, errno.ENOSPC)
            assert await store.delete(BLOCKS[0].cid)
            assert ballast.stat().st_size == 1 << 20
            await trio.sleep(700)
            assert ballast.stat().st_size == 1 << 20
        await trio.sleep(600)
        assert ballast.stat().st_size == 2 << 20


async def test_what_did_not_fit_has_whatever_is_dead_given_back(
    tmp_path: Path, disk: FaultyDisk, autojump_clock: object
) -> None:
    async with open_test_store(tmp_path, CONFIG, disk=disk) as store:
        await store.put_many(BLOCKS)
        assert await store.delete(BLOCKS[0].cid)
        (segment,) = (tmp_path / "repo" / "segments").iterdir()
        await trio.sleep(1)
        before = segment.stat().st_size
        disk.fail(1, errno.ENOSPC)
        with pytest.raises(DiskFull):
            await store.put_many(BLOCKS[:1])
        await trio.sleep(1)
        (segment,) = (tmp_path / "repo" / "segments").iterdir()
        assert segment.stat().st_size == before - len(BLOCKS[0].data)
