"""Groups of requests: one flush, a verdict on each, and nothing done by halves."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from codex.codec import EMPTY_BLOCK
from codex.data import Block
from codex.errors import DiskFailed, DiskFull, QuotaExceeded
from codex.store.planning import Put, Stage
from codex.store.repo import Repo
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks

Has = Callable[..., list[bool]]

BLOCKS = make_blocks(range(10), 1000)


def test_a_group_is_flushed_once(repo: Repo, disk: FaultyDisk, has: Has) -> None:
    repo.take_in([Put(BLOCKS[9:], 5.0)])
    disk.log.clear()
    ingest_free = [Put([block], 5.0) for block in BLOCKS[:5]]
    assert repo.take_in(ingest_free) == [None] * 5
    assert disk.log == ["write 00000001.seg", "flush 00000001.seg", "commit", "write tally"]
    assert has(repo, BLOCKS[:5]) == [True] * 5


def test_payload_is_durable_before_the_index_speaks_of_it(repo: Repo, disk: FaultyDisk) -> None:
    repo.take_in([Put(BLOCKS[:8], 5.0)])
    assert [path.name for path in disk.unflushed] == ["tally"]
    writes = [n for n, what in enumerate(disk.log) if what in ("write 00000001.seg", "flush 00000001.seg")]
    assert disk.log[max(writes) + 1 :] == ["commit", "write tally"]


def test_what_is_here_already_is_not_written_again(repo: Repo, disk: FaultyDisk) -> None:
    repo.take_in([Put(BLOCKS[:5], 5.0)])
    disk.log.clear()
    assert repo.take_in([Put(BLOCKS[:5], 9.0), Put([BLOCKS[0]] * 3, 7.0)]) == [None, None]
    assert disk.log == ["commit", "write tally"]
    assert repo.catalogue.expiry(BLOCKS[0].cid) == 9.0
    assert repo.catalogue.space().quota_used == 5000


def test_the_same_block_in_several_requests_is_kept_once(repo: Repo, tmp_path: Path) -> None:
    ingest = repo.begin()
    group = [Put(BLOCKS[:2], 5.0), Stage(ingest, 0, [BLOCKS[1], BLOCKS[2], BLOCKS[1]]), Put(BLOCKS[:3], 8.0)]
    assert repo.take_in(group) == [None] * 3
    assert repo.catalogue.space().quota_used == 3000
    assert sum(path.stat().st_size for path in (tmp_path / "repo" / "segments").iterdir()) == 3000


def test_the_empty_block_is_not_stored(repo: Repo, has: Has) -> None:
    empty = Block(EMPTY_BLOCK, b"")
    assert repo.take_in([Put([empty], 5.0)]) == [None]
    assert has(repo, [empty]) == [True]
    assert repo.catalogue.space().total_blocks == 0


def test_a_block_without_data_but_of_another_kind_is_one(repo: Repo, has: Has) -> None:
    raw = Block(type(EMPTY_BLOCK).parse("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"), b"")
    assert raw.verify()
    assert repo.take_in([Put([raw, BLOCKS[0]], 5.0)]) == [None]
    assert has(repo, [raw]) == [True]
    assert repo.reader.find([raw.cid]).answers == [raw]
    assert repo.catalogue.space().total_blocks == 2


def test_no_request_at_all_is_done_at_once(repo: Repo, disk: FaultyDisk) -> None:
    changes = disk.changes
    assert repo.take_in([]) == []
    assert disk.changes == changes


def test_who_does_not_fit_is_refused_alone_before_anything_is_written(
    reopen: Callable[..., Repo], disk: FaultyDisk, has: Has
) -> None:
    repo = reopen(quota=4500)
    group = [Put(BLOCKS[:2], 5.0), Put(BLOCKS[2:6], 5.0), Put(BLOCKS[6:8], 5.0), Put(BLOCKS[8:9], 5.0)]
    verdicts = repo.take_in(group)
    assert [type(verdict) for verdict in verdicts] == [type(None), QuotaExceeded, type(None), QuotaExceeded]
    assert "500 more bytes, not for 1000" in str(verdicts[3])
    assert has(repo, BLOCKS) == [True, True, False, False, False, False, True, True, False, False]
    assert disk.log.count("write 00000001.seg") == 1
    space = repo.catalogue.space()
    assert (space.quota_used, space.available) == (4000, 500)
    repo.close()


def test_when_none_fits_nothing_is_written(reopen: Callable[..., Repo], disk: FaultyDisk) -> None:
    repo = reopen(quota=500)
    changes = disk.changes
    assert [type(v) for v in repo.take_in([Put(BLOCKS[:1], 5.0), Put(BLOCKS, 5.0)])] == [QuotaExceeded] * 2
    assert disk.changes == changes
    repo.close()


def test_a_block_that_is_here_fits_always(reopen: Callable[..., Repo]) -> None:
    repo = reopen(quota=2000)
    assert repo.take_in([Put(BLOCKS[:2], 5.0)]) == [None]
    assert repo.take_in([Put(BLOCKS[:2], 9.0)]) == [None]
    repo.close()


def test_room_comes_out_of_a_reservation_first(reopen: Callable[..., Repo]) -> None:
    repo = reopen(quota=5000)
    number = repo.reserve(2500, "sales")
    assert repo.take_in([Put(BLOCKS[:2], 5.0, number)]) == [None]
    assert (repo.catalogue.space().quota_used, repo.catalogue.space().quota_reserved) == (2000, 500)
    assert repo.take_in([Put(BLOCKS[2:3], 5.0, number), Put(BLOCKS[3:4], 5.0, number)]) == [None, None]
    assert (repo.catalogue.space().quota_used, repo.catalogue.space().quota_reserved) == (4000, 0)
    (verdict,) = repo.take_in([Put(BLOCKS[4:6], 5.0, number)])
    assert isinstance(verdict, QuotaExceeded)
    assert [left.size for left in repo.catalogue.reservations("sales")] == [0]
    repo.release(number)
    repo.close()


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFull), (errno.EIO, DiskFailed)])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_after_a_failure_each_request_gets_a_verdict_of_its_own(
    repo: Repo, disk: FaultyDisk, has: Has, tmp_path: Path, at: int, code: int, kind: type[Exception]
) -> None:
    repo.take_in([Put(BLOCKS[:1], 5.0)])
    # The group fails once, and then its first request alone once more.
    disk.fail(at, code)
    group = [Put(BLOCKS[1:3], 5.0), Put(BLOCKS[:1], 9.0), Put(BLOCKS[3:5], 5.0)]
    assert repo.take_in(group) == [None, None, None]
    disk.fail(at, code, times=100)
    verdicts = repo.take_in([Put(BLOCKS[5:6], 5.0), Put(BLOCKS[6:7], 5.0)])
    assert [type(verdict) for verdict in verdicts] == [kind, kind]
    disk.heal()
    assert has(repo, BLOCKS) == [True] * 5 + [False] * 5
    assert repo.take_in([Put(BLOCKS[5:], 5.0)]) == [None]
    assert has(repo, BLOCKS) == [True] * 10
    audit(tmp_path / "repo")


def test_a_damaged_block_is_mended_by_storing_it_again(repo: Repo, has: Has, tmp_path: Path) -> None:
    repo.take_in([Put(BLOCKS[:3], 5.0)])
    path = tmp_path / "repo" / "segments" / "00000001.seg"
    path.write_bytes(path.read_bytes()[:1500] + b"rot" + path.read_bytes()[1503:])
    repo.mark_bad(repo.reader.find([block.cid for block in BLOCKS[:3]]).rotten)
    assert has(repo, BLOCKS[:3]) == [True, False, True]
    used = repo.catalogue.space()
    ingest = repo.begin()
    assert repo.take_in([Put(BLOCKS[:2], 5.0), Stage(ingest, 0, BLOCKS[:3])]) == [None, None]
    assert has(repo, BLOCKS[:3]) == [True] * 3
    assert repo.reader.find([BLOCKS[1].cid]).answers == [BLOCKS[1]]
    assert repo.catalogue.space() == used
