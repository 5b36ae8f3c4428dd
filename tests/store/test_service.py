"""The store as others use it: through its handle, over the mailbox, with everything behind it running."""

import errno
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from codex.codec import EMPTY_BLOCK, Cid, block_cid, root_cid
from codex.config import StoreConfig
from codex.data import Block, LeafAddress
from codex.errors import (
    BlockInUse,
    BlockNotFound,
    CorruptData,
    DataDirLocked,
    DecodeError,
    DiskFailed,
    DiskFull,
    InvalidInput,
    NotAManifest,
    QuotaExceeded,
    ServiceUnavailable,
)
from codex.runtime import Call, Threads
from codex.store import NEVER, Hold, Leaf, ProvedBlock, Reservation, Space
from codex.store.opening import open_repo
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.disks import FaultyDisk
from codex.testing.stores import (
    EPOCH,
    audit,
    make_blocks,
    make_dataset,
    open_test_store,
    read_leaves,
    segment_numbers,
    store_dataset,
)

BLOCKS = make_blocks(range(8), 1000)
TREE, MANIFEST = make_dataset(BLOCKS)
SMALL = StoreConfig(quota=100_000, block_ttl=3600.0, maintenance_interval=600.0, maintenance_blocks=3)


async def test_blocks_are_put_found_and_deleted(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await store.put_many(BLOCKS[:4])
        addresses = [block.cid for block in BLOCKS]
        assert await store.get_many(addresses[:4]) == BLOCKS[:4]
        assert await store.has_many(addresses) == [True] * 4 + [False] * 4
        assert await store.find_many(addresses) == [*BLOCKS[:4], None, None, None, None]
        with pytest.raises(BlockNotFound):
            await store.get_many(addresses)
        assert await store.delete(BLOCKS[0].cid)
        assert not await store.delete(BLOCKS[0].cid)
        assert not await store.delete(EMPTY_BLOCK)
        assert await store.space() == Space(3, 100_000, 3000, 0)
    audit(tmp_path / "repo")


async def test_a_dataset_is_stored_read_listed_and_deleted(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        cid = await store_dataset(store, BLOCKS)
        assert cid == MANIFEST.cid
        assert await store.get_manifest(cid) == MANIFEST
        assert await store.manifests() == [(cid, MANIFEST)]
        assert await store.manifests(cid) == []
        content = await read_leaves(store, TREE.root_cid, 0, 8)
        assert content == b"".join(bytes(block.data) for block in BLOCKS)
        assert await store.missing(TREE.root_cid, 0, 8) == 0
        assert [leaf.proof for leaf in await store.leaves(TREE.root_cid, 2, 3)] == [
            TREE.proof(n) for n in (2, 3, 4)
        ]
        assert await store.get_many([LeafAddress(TREE.root_cid, 3)]) == BLOCKS[3:4]
        assert await store.find_leaves(TREE.root_cid, [5, 9]) == [
            ProvedBlock(BLOCKS[5], TREE.proof(5).to_bytes()),
            None,
        ]
        with pytest.raises(BlockInUse):
            await store.delete(BLOCKS[0].cid)
        assert await store.delete_dataset(cid)
        assert not await store.delete_dataset(cid)
        assert await store.space() == Space(0, 100_000, 0, 0)
        with pytest.raises(BlockNotFound):
            await store.get_manifest(cid)
        with pytest.raises(BlockNotFound):
            await read_leaves(store, TREE.root_cid, 0, 8)
        with pytest.raises(NotAManifest):
            await store.delete_dataset(BLOCKS[0].cid)
    assert list((tmp_path / "repo" / "segments").iterdir()) == []


async def test_an_aborted_ingest_leaves_nothing(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        ingest = await store.begin()
        await store.stage(ingest, 0, BLOCKS)
        assert (await store.space()).quota_used == 8000
        await store.abort(ingest)
        await store.abort(ingest)
        assert (await store.space()).quota_used == 0
        with pytest.raises(InvalidInput):
            await store.stage(ingest, 8, BLOCKS)
        await trio.testing.wait_all_tasks_blocked()
        assert list((tmp_path / "repo" / "segments").iterdir()) == []


async def test_a_commit_that_does_not_fit_is_refused(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        ingest = await store.begin()
        await store.stage(ingest, 0, [*BLOCKS[:7], BLOCKS[0]])
        with pytest.raises(InvalidInput):
            await store.commit(ingest, TREE, MANIFEST)
        with pytest.raises(InvalidInput):
            await store.commit("nonsense", TREE, MANIFEST)
        await store.abort(ingest)


async def test_the_tree_of_a_large_dataset_goes_ahead_of_the_commit(
    tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex.store.service._PAGES", 2)
    blocks = make_blocks(range(1000), 8)
    tree, _ = make_dataset(blocks)
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        before = disk.log.count("commit")
        cid = await store_dataset(store, blocks)
        assert disk.log.count("commit") - before > 6
        leaves = await store.leaves(tree.root_cid, 0, 1000)
        assert [leaf.proof for leaf in leaves] == [tree.proof(index) for index in range(1000)]
        assert await store.delete_dataset(cid)


async def test_leaves_and_manifests_come_from_the_network(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await store.put_many([Block(MANIFEST.cid, MANIFEST.to_bytes()), BLOCKS[7]])
        assert await store.put_manifest(MANIFEST.to_bytes()) == MANIFEST.cid
        leaves = [Leaf(n, BLOCKS[n].cid, TREE.proof(n)) for n in range(8)]
        await store.put_leaves(TREE.root_cid, leaves[:3], BLOCKS[:3])
        await store.put_leaves(TREE.root_cid, leaves[7:])
        assert await store.missing(TREE.root_cid, 0, 8) == 4
        assert await store.leaves(TREE.root_cid, 0, 8) == [*leaves[:3], leaves[7]]
        with pytest.raises(BlockNotFound):
            await store.put_leaves(TREE.root_cid, leaves[3:4])
        with pytest.raises(DecodeError):
            await store.put_manifest(b"whatever")
        assert await store.has_many([MANIFEST.cid]) == [True]
        assert await store.delete_dataset(MANIFEST.cid)
        assert await store.has_many([block.cid for block in BLOCKS]) == [False] * 7 + [True]


async def test_a_block_that_only_leftovers_name_can_be_deleted(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await store.put_many(BLOCKS[:1])
        ingest = await store.begin()
        await store.stage(ingest, 0, BLOCKS)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.abort, ingest)
            nursery.start_soon(store.delete, BLOCKS[0].cid)
        assert await store.has_many([BLOCKS[0].cid]) == [False]


async def test_expired_data_goes_with_time(tmp_path: Path, disk: FaultyDisk, autojump_clock: object) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await store.put_many(BLOCKS[:2])
        await store.put_many(BLOCKS[2:3], ttl=10_000.0)
        await store.put_many(BLOCKS[3:4], ttl=0.0)
        cid = await store_dataset(store, BLOCKS[4:7])
        pinned = await store_dataset(store, BLOCKS[5:8], "pinned")
        await store.pin(pinned)
        assert await store.is_pinned(pinned)
        assert not await store.is_pinned(cid)
        assert await store.expiry(BLOCKS[0].cid) == EPOCH + 3600
        assert await store.expiry(BLOCKS[3].cid) == NEVER
        cids = [block.cid for block in BLOCKS]
        await trio.sleep(3599)
        assert await store.has_many(cids) == [True] * 8
        await trio.sleep(602)
        assert await store.has_many(cids) == [False, False, True, True, False, True, True, True]
        assert await store.has_many([cid, pinned]) == [False, True]
        await store.ensure_expiry([cids[2]], EPOCH + 50_000)
        await store.unpin(pinned)
        await trio.sleep(40_000)
        assert await store.has_many(cids) == [False, False, True, True, False, False, False, False]
        assert await store.space() == Space(2, 100_000, 2000, 0)
        with pytest.raises(InvalidInput):
            await store.put_many(BLOCKS[:1], ttl=-1.0)


async def test_holds_keep_a_slot(tmp_path: Path, disk: FaultyDisk, autojump_clock: object) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        cid = await store_dataset(store, BLOCKS)
        hold = Hold("slot", "0x12", TREE.root_cid, 2, 3, EPOCH + 90_000)
        await store.hold(hold)
        assert await store.holds("slot") == [hold]
        await store.delete_dataset(cid)
        assert await store.missing(TREE.root_cid, 2, 3) == 0
        assert (await store.space()).total_blocks == 3
        await trio.sleep(80_000)
        assert (await store.space()).total_blocks == 3
        await trio.sleep(20_000)
        assert (await store.space()).total_blocks == 0
        await store.hold(hold)
        assert await store.drop_hold("slot", "0x12")
        assert not await store.drop_hold("slot", "0x12")


async def test_room_is_reserved_and_used(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, StoreConfig(quota=5000), disk=disk) as store:
        reservation = await store.reserve(3000, "sales")
        await store.check_room(2000)
        with pytest.raises(QuotaExceeded):
            await store.check_room(2001)
        with pytest.raises(QuotaExceeded):
            await store.put_many(BLOCKS[:3])
        await store.put_many(BLOCKS[:3], reservation=reservation)
        assert await store.space() == Space(3, 5000, 3000, 0)
        assert await store.reservations("sales") == [Reservation(reservation, 0, "sales")]
        await store.release(reservation)
        for wrong in (reservation, "nonsense", "²", "1" * 30, ""):
            with pytest.raises(InvalidInput):
                await store.release(wrong)


async def test_what_is_staged_may_fill_a_reservation_and_become_leaves_of_a_tree(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async with open_test_store(tmp_path, StoreConfig(quota=5000), disk=disk) as store:
        reservation = await store.reserve(4000, "sales")
        ingest = await store.begin()
        with pytest.raises(QuotaExceeded):
            await store.stage(ingest, 0, BLOCKS[:3])
        await store.stage(ingest, 0, BLOCKS[:3], reservation=reservation)
        assert (await store.space()).quota_reserved == 1000
        leaves = [Leaf(n, BLOCKS[n].cid, TREE.proof(n)) for n in range(3)]
        await store.put_leaves(TREE.root_cid, leaves, ingest=ingest)
        await store.abort(ingest)
        await store.maintain()
        assert await store.leaves(TREE.root_cid, 0, 9) == leaves
        assert await read_leaves(store, TREE.root_cid, 0, 3) == b"".join(b.data for b in BLOCKS[:3])
        assert (await store.space()).quota_used == 3000
        with pytest.raises(InvalidInput):
            await store.stage(await store.begin(), 0, BLOCKS[3:4], reservation="77")


async def test_damage_is_marked_reported_and_mended_by_storing_again(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await store_dataset(store, BLOCKS)
        path = tmp_path / "repo" / "segments" / "00000001.seg"
        content = bytearray(path.read_bytes())
        content[2500] ^= 1
        content[5500] ^= 1
        path.write_bytes(content)
        with pytest.raises(CorruptData):
            await store.get_many([BLOCKS[2].cid])
        assert await store.has_many([BLOCKS[2].cid, BLOCKS[5].cid]) == [False, True]
        with pytest.raises(CorruptData):
            await read_leaves(store, TREE.root_cid, 3, 5)
        assert await store.has_many([BLOCKS[5].cid]) == [False]
        assert await store.find_many([BLOCKS[5].cid, BLOCKS[6].cid]) == [None, BLOCKS[6]]
        await store.put_many(BLOCKS)
        assert await store.get_many([block.cid for block in BLOCKS]) == BLOCKS
    audit(tmp_path / "repo")


async def test_a_scrub_finds_and_mends(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        cid = await store_dataset(store, BLOCKS)
        whole = [progress async for progress in store.scrub()][-1]
        assert (whole.bytes_done, whole.bytes_total) == (8000 + len(MANIFEST.to_bytes()),) * 2
        assert (whole.corrupt, whole.missing, whole.mended) == ((), (), ())
        path = tmp_path / "repo" / "segments" / "00000001.seg"
        content = bytearray(path.read_bytes())
        content[2500] ^= 1
        path.write_bytes(content)
        connection = disk.connect(tmp_path / "repo" / "index.sqlite")
        connection.execute("UPDATE manifests SET data = CAST(x'00' || substr(data, 2) AS BLOB)")
        connection.close()
        found = [progress async for progress in store.scrub()][-1]
        assert (found.corrupt, found.mended) == ((BLOCKS[2].cid,), (cid,))
        again = [progress async for progress in store.scrub()][-1]
        assert (again.corrupt, again.mended) == ((BLOCKS[2].cid,), ())
        verified = [progress async for progress in store.verify(cid)][-1]
        assert (verified.corrupt, verified.missing) == ((BLOCKS[2].cid,), ())
        assert verified.bytes_done == 7000


async def test_a_dataset_is_verified(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        cid = await store_dataset(store, BLOCKS)
        steps = [progress async for progress in store.verify(cid)]
        assert steps[-1].bytes_done == 8000
        other, manifest = make_dataset(BLOCKS[:4])
        await store.put_manifest(manifest.to_bytes())
        await store.put_leaves(other.root_cid, [Leaf(1, BLOCKS[1].cid, other.proof(1))])
        assert [progress.missing async for progress in store.verify(manifest.cid)] == [(0, 2, 3)]
        wrong = [Leaf(n, BLOCKS[n + 1].cid, other.proof(n)) for n in (0, 2, 3)]
        await store.put_leaves(other.root_cid, wrong)
        with pytest.raises(CorruptData, match="do not make up"):
            [progress async for progress in store.verify(manifest.cid)]
        with pytest.raises(BlockNotFound):
            [progress async for progress in store.verify(make_dataset(BLOCKS[:2])[1].cid)]


async def test_a_disk_that_refuses_is_an_answer_and_the_store_lives_on(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await store.put_many(BLOCKS[:1])
        for code, kind in ((errno.ENOSPC, DiskFull), (errno.EIO, DiskFailed)):
            disk.fail(1, code, times=100)
            with pytest.raises(kind):
                await store.put_many(BLOCKS[1:3])
            with pytest.raises(kind):
                await store.reserve(10, "sales")
            disk.heal()
        await store.put_many(BLOCKS[1:3])
        assert await store.get_many([block.cid for block in BLOCKS[:3]]) == BLOCKS[:3]


async def test_a_restart_brings_everything_back(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        cid = await store_dataset(store, BLOCKS)
        ingest = await store.begin()
        await store.stage(ingest, 0, make_blocks([99], 1000))
        used = await store.space()
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        assert (await store.space()).quota_used == used.quota_used - 1000
        assert await store.manifests() == [(cid, MANIFEST)]
        with pytest.raises(InvalidInput):
            await store.stage(ingest, 1, BLOCKS)


async def test_a_directory_belongs_to_one_store(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk):
        with pytest.raises(DataDirLocked):
            async with open_test_store(tmp_path, SMALL, disk=disk):
                pass


async def test_a_mistake_stops_the_service_and_the_next_start_recounts(
    tmp_path: Path, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def life() -> None:
        async with open_test_store(tmp_path, SMALL, disk=disk) as store:
            await store.put_many(BLOCKS[:2])
            with pytest.raises(ServiceUnavailable):
                await store.delete(BLOCKS[0].cid)
            await trio.sleep_forever()

    with monkeypatch.context() as patch:
        patch.setattr("codex.store.sweep.delete_block", lambda change, cid: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            await life()
    connection = disk.connect(tmp_path / "repo" / "index.sqlite")
    connection.execute("UPDATE totals SET used = used + 5")
    connection.close()
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await trio.testing.wait_all_tasks_blocked()
        assert await store.space() == Space(2, 100_000, 2000, 0)


async def test_after_an_orderly_stop_nothing_is_recounted(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await store.put_many(BLOCKS[:2])
    connection = disk.connect(tmp_path / "repo" / "index.sqlite")
    connection.execute("UPDATE totals SET used = used + 5")
    connection.close()
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await trio.testing.wait_all_tasks_blocked()
        assert (await store.space()).quota_used == 2005


async def test_an_unknown_call_is_a_mistake(tmp_path: Path, disk: FaultyDisk) -> None:
    async def life() -> None:
        async with open_test_store(tmp_path, SMALL, disk=disk) as store:
            with pytest.raises(ServiceUnavailable):
                await store._mailbox.ask(Call())
            await trio.sleep_forever()

    with pytest.raises(TypeError):
        await life()


async def test_cancelled_at_every_checkpoint_an_upload_is_whole_or_nothing(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:

        async def upload() -> None:
            ingest = await store.begin()
            try:
                await store.stage(ingest, 0, BLOCKS[:4])
                await store.stage(ingest, 4, BLOCKS[4:])
                await store.commit(ingest, TREE, MANIFEST)
            finally:
                with trio.CancelScope(shield=True):
                    await store.abort(ingest)

        async def check() -> None:
            await trio.testing.wait_all_tasks_blocked()
            space = await store.space()
            if await store.has_many([MANIFEST.cid]) == [True]:
                assert space.total_blocks == 9
                await store.delete_dataset(MANIFEST.cid)
            else:
                assert space == Space(0, 100_000, 0, 0)
            audit(tmp_path / "repo")

        assert await cancel_at_every_checkpoint(upload, check) > 10


async def test_cancelled_at_every_checkpoint_a_delete_is_finished_all_the_same(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        await store_dataset(store, BLOCKS)

        async def delete() -> None:
            await store.delete_dataset(MANIFEST.cid)

        async def check() -> None:
            await trio.testing.wait_all_tasks_blocked()
            here = (await store.has_many([MANIFEST.cid]))[0]
            assert (await store.space()).total_blocks == (9 if here else 0)
            if not here:
                await store_dataset(store, BLOCKS)

        assert await cancel_at_every_checkpoint(delete, check) > 5


async def test_on_a_real_disk_with_threads_many_do_everything_at_once(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, SMALL, offload=Threads(4)) as store:

        async def work(number: int) -> None:
            mine = [*make_blocks(range(100 * number, 100 * number + 8), 500), *BLOCKS[:2]]
            tree, _ = make_dataset(mine)
            cid = await store_dataset(store, mine)
            assert await store.get_many([LeafAddress(tree.root_cid, n) for n in range(10)]) == mine
            await store.put_many(mine[:3])
            ingest = await store.begin()
            await store.stage(ingest, 0, mine)
            await store.abort(ingest)
            if number % 2:
                await store.delete_dataset(cid)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(work, number)
        await store.maintain()
        space = await store.space()
        assert space.total_blocks == 5 * 9 + 2 + 5 * 3
    audit(tmp_path / "repo")


async def test_blocks_are_read_while_segments_are_compacted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers in threads, over a store whose blocks are moved about all the time."""
    small_segments = partial(open_repo, segment_bytes=64 * 1024)
    monkeypatch.setattr("codex.store.service.open_repo", small_segments)
    monkeypatch.setattr("codex.store.compaction.STEPS", (4,))
    reads = 0
    rounds = [make_blocks(range(100 * n, 100 * n + 90), 3000) for n in range(1, 9)]
    async with open_test_store(tmp_path, StoreConfig(quota=1 << 30), offload=Threads(4)) as store:
        current: list[Block] = []

        async def read() -> None:
            nonlocal reads
            while current:
                wanted = current
                assert await store.get_many([block.cid for block in wanted]) == wanted
                content = await read_leaves(store, make_dataset(wanted)[0].root_cid, 0, 30)
                assert content == b"".join(bytes(block.data) for block in wanted)
                reads += 1

        async with trio.open_nursery() as nursery:
            for number, blocks in enumerate(rounds):
                mixed = await store_dataset(store, blocks, "mixed")
                await store_dataset(store, blocks[::3], "kept")
                current = blocks[::3]
                if not number:
                    for _ in range(3):
                        nursery.start_soon(read)
                before = segment_numbers(tmp_path / "repo")
                await store.delete_dataset(mixed)
                await store.maintain()
                assert before - segment_numbers(tmp_path / "repo"), "nothing was moved"
            current = []
        assert reads > 10
        assert (await store.space()).total_blocks == 8 * 31
    audit(tmp_path / "repo")


async def test_a_backup_is_made_while_everything_goes_on(tmp_path: Path) -> None:
    async with open_test_store(tmp_path / "alice", SMALL, offload=Threads(4)) as store:
        cid = await store_dataset(store, BLOCKS)
        seen: list[float] = []

        async def write() -> None:
            for number in range(20):
                other = await store_dataset(
                    store, make_blocks(range(1000 + number, 1010 + number), 300), str(number)
                )
                await store.delete_dataset(other)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for number in range(3):
                await store.backup(
                    tmp_path / f"backup{number}", lambda progress: seen.append(progress.bytes_done)
                )
        assert seen
        with pytest.raises(InvalidInput):
            await store.backup(tmp_path / "backup0")
    for number in range(3):
        audit(tmp_path / f"backup{number}")
        (tmp_path / f"bob{number}").mkdir()
        (tmp_path / f"backup{number}").rename(tmp_path / f"bob{number}" / "repo")
        async with open_test_store(tmp_path / f"bob{number}", SMALL) as store:
            assert await store.get_manifest(cid) == MANIFEST
            content = await read_leaves(store, TREE.root_cid, 0, 8)
            assert content == b"".join(bytes(block.data) for block in BLOCKS)


async def test_cancelled_at_every_checkpoint_a_backup_is_whole_or_nothing(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    async with open_test_store(tmp_path / "alice", SMALL, disk=disk) as store:
        await store_dataset(store, BLOCKS)
        taken = 0

        async def backup() -> None:
            await store.backup(tmp_path / "backup")

        async def check() -> None:
            nonlocal taken
            await trio.testing.wait_all_tasks_blocked()
            assert not (tmp_path / ".backup.unfinished-backup").exists()
            if (tmp_path / "backup").exists():
                audit(tmp_path / "backup")
                taken += 1
                (tmp_path / "backup").rename(tmp_path / f"taken{taken}")

        assert await cancel_at_every_checkpoint(backup, check) > 5
        assert taken


async def test_addresses_of_nothing(tmp_path: Path, disk: FaultyDisk) -> None:
    async with open_test_store(tmp_path, SMALL, disk=disk) as store:
        assert await store.get_many([]) == []
        assert await store.get_many([EMPTY_BLOCK]) == [Block(EMPTY_BLOCK, b"")]
        await store.put_many([])
        assert await store.leaves(root_cid(bytes(32)), 0, 10) == []
        with pytest.raises(BlockNotFound):
            await store.get_manifest(block_cid(bytes(32)))
        with pytest.raises(BlockNotFound):
            await store.expiry(Cid(block_cid(bytes(32)).raw))


async def test_what_several_threads_read_comes_in_order_and_ends_before_what_is_damaged(
    tmp_path: Path,
) -> None:
    blocks = make_blocks(range(400), 2048)
    tree, _ = make_dataset(blocks)
    async with open_test_store(tmp_path, offload=Threads(4)) as store:
        await store_dataset(store, blocks)
        for first, count in ((0, 400), (17, 300)):
            wanted = b"".join(bytes(block.data) for block in blocks[first : first + count])
            assert await read_leaves(store, tree.root_cid, first, count) == wanted
        [segment] = (tmp_path / "repo" / "segments").glob("*.seg")
        with segment.open("r+b") as file:
            file.seek(250 * 2048 + 9)
            file.write(b"rot")
        assert len(await read_leaves(store, tree.root_cid, 0, 250)) == 250 * 2048
        with pytest.raises(CorruptData):
            await read_leaves(store, tree.root_cid, 240, 30)
        assert not any(await store.has_many([LeafAddress(tree.root_cid, 250)]))
