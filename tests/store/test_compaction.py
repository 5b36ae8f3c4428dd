"""Compaction: room comes back, nothing is lost, and nothing that is wrong is carried along unseen."""

import errno
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from codex.errors import CorruptData, DiskFailed, DiskFull
from codex.store.compaction import LITTLE_ROOM
from codex.store.disk import Buffer
from codex.store.ledger import Ledger
from codex.store.planning import Put
from codex.store.repo import Repo
from codex.store.segments import Place
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks, segment_numbers

Has = Callable[..., list[bool]]

BLOCKS = make_blocks(range(24), 1000)  # three segments of eight


@pytest.fixture
def filled(repo: Repo) -> Repo:
    """Three segments, of which the third is active."""
    for first in (0, 8, 16):
        repo.take_in([Put(BLOCKS[first : first + 8], 1e12)])
    return repo


def delete(repo: Repo, *numbers: int) -> None:
    for number in numbers:
        assert repo.delete_block(BLOCKS[number].cid)


def compact(repo: Repo) -> int:
    steps = 0
    while repo.compact():
        steps += 1
    return steps


def test_a_segment_that_is_mostly_dead_is_emptied(filled: Repo, tmp_path: Path, has: Has) -> None:
    delete(filled, 0, 2, 4, 6, 7)
    used = filled.catalogue.space()
    assert compact(filled) == 1
    assert segment_numbers(tmp_path / "repo") == {2, 3, 4}
    assert has(filled, BLOCKS).count(True) == 19
    kept = [block for n, block in enumerate(BLOCKS) if n not in (0, 2, 4, 6, 7)]
    assert filled.reader.find([block.cid for block in kept]).answers == kept
    assert filled.catalogue.space() == used


def test_a_segment_that_is_half_alive_is_left_alone(filled: Repo, tmp_path: Path) -> None:
    delete(filled, 0, 2, 4, 6)
    assert compact(filled) == 0
    assert segment_numbers(tmp_path / "repo") == {1, 2, 3}


def dead_bytes(repo: Path) -> int:
    connection = sqlite3.connect(repo / "index.sqlite")
    (dead,) = connection.execute("SELECT total(length - live) FROM segments WHERE state < 2").fetchone()
    connection.close()
    return int(dead)


@pytest.mark.parametrize("room", ["little", "less than is dead", "refused"])
def test_on_a_disk_short_of_room_whatever_is_dead_is_given_back(
    filled: Repo, disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: str
) -> None:
    delete(filled, 0, 9, 18)
    assert compact(filled) == 0
    assert dead_bytes(tmp_path / "repo") == 3000
    if room == "refused":
        disk.fail(1, errno.ENOSPC)
        (verdict,) = filled.take_in([Put(make_blocks([99], 1000), 1e12)])
        assert isinstance(verdict, DiskFull)
    elif room == "little":
        monkeypatch.setattr(FaultyDisk, "free", lambda *args: LITTLE_ROOM - 1)
    else:
        monkeypatch.setattr("codex.store.compaction.LITTLE_ROOM", 0)
        monkeypatch.setattr(FaultyDisk, "free", lambda *args: 2999)
    assert compact(filled) > 0
    if room == "less than is dead":
        assert dead_bytes(tmp_path / "repo") == 2000
        return
    assert dead_bytes(tmp_path / "repo") == 0
    files = [path.stat().st_size for path in (tmp_path / "repo" / "segments").iterdir()]
    assert sum(files) == 21000
    kept = [block for n, block in enumerate(BLOCKS) if n not in (0, 9, 18)]
    assert filled.reader.find([block.cid for block in kept]).answers == kept
    assert compact(filled) == 0
    # With that done what was refused is forgotten.
    if room == "refused":
        delete(filled, 1)
        assert compact(filled) == 0


def test_as_long_as_more_is_free_than_dead_halves_are_left_alone(
    filled: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex.store.compaction.LITTLE_ROOM", 0)
    monkeypatch.setattr(FaultyDisk, "free", lambda *args: 3000)
    delete(filled, 0, 9, 18)
    assert compact(filled) == 0


@pytest.mark.parametrize("why", ["a second name", "a backup in the making"])
def test_what_would_give_nothing_back_is_not_moved_on_a_disk_short_of_room(
    filled: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    delete(filled, 0, 9, 18)
    if why == "a second name":
        for path in list((tmp_path / "repo" / "segments").iterdir()):
            (tmp_path / path.name).hardlink_to(path)
    else:
        filled.keep()
    monkeypatch.setattr(FaultyDisk, "free", lambda *args: 1000)
    assert compact(filled) == 0
    assert segment_numbers(tmp_path / "repo") == {1, 2, 3}
    filled.let_go() if why != "a second name" else None


def test_on_a_disk_short_of_room_the_log_of_the_index_is_given_back(
    filled: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "repo" / "index.sqlite-wal"
    assert compact(filled) == 0
    assert log.stat().st_size > 0
    monkeypatch.setattr(FaultyDisk, "free", lambda *args: 1000)
    assert compact(filled) == 0
    assert log.stat().st_size == 0


def test_the_log_is_not_given_up_where_there_is_no_room_for_the_ballast_then(
    reopen: Callable[..., Repo], disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = reopen(ballast_bytes=1 << 20)
    repo.take_in([Put(BLOCKS[:3], 1e12)])
    disk.fail(1, errno.ENOSPC)
    delete(repo, 0)
    log = tmp_path / "repo" / "index.sqlite-wal"
    monkeypatch.setattr(FaultyDisk, "free", lambda *args: 1000)
    assert compact(repo) > 0
    assert log.stat().st_size > 0
    monkeypatch.setattr(FaultyDisk, "free", lambda *args: 1 << 20)
    assert compact(repo) == 0
    assert log.stat().st_size == 0
    assert repo.restore_ballast()
    repo.close()


def test_a_segment_without_life_goes_at_once(filled: Repo, tmp_path: Path) -> None:
    delete(filled, *range(8))
    assert segment_numbers(tmp_path / "repo") == {2, 3}
    delete(filled, *range(16, 24))
    assert segment_numbers(tmp_path / "repo") == {2}
    filled.take_in([Put(BLOCKS[:1], 5.0)])
    assert segment_numbers(tmp_path / "repo") == {2, 4}


def test_the_active_segment_is_compacted_when_it_is_long_and_mostly_dead(repo: Repo, tmp_path: Path) -> None:
    repo.take_in([Put(BLOCKS[:4], 1e12)])
    delete(repo, 0, 1, 3)
    assert compact(repo) == 1
    assert segment_numbers(tmp_path / "repo") == {2}
    assert repo.reader.find([BLOCKS[2].cid]).answers == [BLOCKS[2]]


def test_a_short_active_segment_is_not_worth_it(reopen: Callable[..., Repo]) -> None:
    repo = reopen(segment_bytes=1 << 20)
    repo.take_in([Put(BLOCKS[:4], 1e12)])
    delete(repo, 0, 1, 3)
    assert compact(repo) == 0
    repo.close()


def test_a_long_segment_is_emptied_from_its_end_and_shortened(
    filled: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex.store.compaction.STEPS", (1,))
    delete(filled, 1, 2, 3, 4, 5)
    path = tmp_path / "repo" / "segments" / "00000001.seg"
    sizes = []
    while filled.compact():
        sizes.append(path.stat().st_size if path.exists() else None)
        audit(tmp_path / "repo")
    assert sizes == [7000, 1000]  # of which all is alive


@pytest.fixture
def room_for_one(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the disk be too full for more than one block at once; how many were tried."""
    tried: list[int] = []
    append = Ledger.append

    def append_one(ledger: Ledger, payloads: Sequence[Buffer], *, growing: bool = True) -> list[Place]:
        tried.append(len(payloads))
        if len(payloads) > 1:
            raise DiskFull("the disk is full")
        return append(ledger, payloads, growing=growing)

    monkeypatch.setattr(Ledger, "append", append_one)
    return tried


def test_on_a_full_disk_the_steps_are_small(filled: Repo, tmp_path: Path, room_for_one: list[int]) -> None:
    delete(filled, 1, 2, 3, 5, 6)
    kept = [BLOCKS[0], BLOCKS[4], BLOCKS[7]]
    path = tmp_path / "repo" / "segments" / "00000001.seg"
    sizes = []
    while filled.compact():
        sizes.append(path.stat().st_size if path.exists() else 0)
        audit(tmp_path / "repo")
    assert sizes == [5000, 1000]
    assert room_for_one == [3, 3, 2, 1, 2, 2, 2, 1]
    assert filled.reader.find([block.cid for block in kept]).answers == kept


def test_on_a_full_disk_the_dead_end_of_a_segment_is_cut_off(
    filled: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, growing: bool) -> None:
        raise DiskFull("the disk is full")

    delete(filled, *range(3, 8))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", refuse)
        with pytest.raises(DiskFull):
            filled.compact()
    assert (tmp_path / "repo" / "segments" / "00000001.seg").stat().st_size == 3000
    assert filled.reader.find([block.cid for block in BLOCKS[:3]]).answers == BLOCKS[:3]


def test_on_a_full_disk_nothing_is_moved_that_gives_no_room_back(
    filled: Repo, tmp_path: Path, room_for_one: list[int]
) -> None:
    delete(filled, *range(3, 8))
    path = tmp_path / "repo" / "segments" / "00000001.seg"
    filled.keep()
    with pytest.raises(DiskFull):
        filled.compact()
    filled.let_go()
    assert room_for_one == [3]
    assert path.stat().st_size == 8000


def test_neighbours_stay_neighbours(filled: Repo) -> None:
    delete(filled, 0, 1, 2, 3, 7)
    compact(filled)
    with filled.catalogue._readers.borrow() as connection:
        rows = connection.execute(
            "SELECT segment, offset FROM blocks WHERE cid IN (?, ?, ?) ORDER BY id",
            [block.cid.raw for block in BLOCKS[4:7]],
        ).fetchall()
    assert len({row[0] for row in rows}) == 1
    assert [row[1] - rows[0][1] for row in rows] == [0, 1000, 2000]


def test_segments_are_kept_while_somebody_needs_them(filled: Repo, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in (tmp_path / "repo" / "segments").iterdir()}
    filled.keep()
    filled.keep()
    delete(filled, *range(9, 16), *range(8))
    compact(filled)
    filled.let_go()
    delete(filled, 16)
    assert {path: path.read_bytes() for path in before} == before
    assert segment_numbers(tmp_path / "repo") == {1, 2, 3, 4}
    filled.let_go()
    delete(filled, 17)
    assert segment_numbers(tmp_path / "repo") == {3, 4}


def test_a_segment_with_a_second_name_is_not_shortened(
    filled: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex.store.compaction.STEPS", (1,))
    path = tmp_path / "repo" / "segments" / "00000001.seg"
    (tmp_path / "link").hardlink_to(path)
    content = path.read_bytes()
    delete(filled, *range(1, 7))
    assert filled.compact()
    assert path.read_bytes() == content
    compact(filled)
    assert not path.exists()
    assert (tmp_path / "link").read_bytes() == content


def test_damage_is_not_carried_along(filled: Repo, tmp_path: Path, has: Has) -> None:
    path = tmp_path / "repo" / "segments" / "00000001.seg"
    content = path.read_bytes()
    path.write_bytes(content[:3500] + b"rot" + content[3503:])
    delete(filled, 0, 1, 2, 6, 7)
    used = filled.catalogue.space()
    compact(filled)
    assert segment_numbers(tmp_path / "repo") == {2, 3, 4}
    assert has(filled, BLOCKS[3:6]) == [False, True, True]
    (answer,) = filled.reader.find([BLOCKS[3].cid]).answers
    assert isinstance(answer, CorruptData)
    assert filled.catalogue.space() == used
    audit(tmp_path / "repo")
    filled.take_in([Put(BLOCKS[3:4], 1e12)])
    assert filled.reader.find([BLOCKS[3].cid]).answers == [BLOCKS[3]]
    assert filled.catalogue.space() == used


def test_a_segment_that_cannot_be_read_is_told_once_and_left(
    filled: Repo, disk: FaultyDisk, tmp_path: Path
) -> None:
    delete(filled, *range(5), *range(8, 13))
    disk.unreadable.add("00000001.seg")
    with pytest.raises(DiskFailed):
        filled.compact()
    assert compact(filled) == 1
    assert segment_numbers(tmp_path / "repo") == {1, 3, 4}
    disk.heal()
    assert filled.reader.find([BLOCKS[6].cid]).answers == [BLOCKS[6]]


@pytest.mark.parametrize("at", range(1, 9))
@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFull), (errno.EIO, DiskFailed)])
def test_a_step_that_fails_loses_nothing(
    filled: Repo, disk: FaultyDisk, tmp_path: Path, at: int, code: int, kind: type[Exception]
) -> None:
    delete(filled, 0, 1, 2, 6, 7)
    disk.fail(at, code)
    try:
        filled.compact()
    except kind:
        assert at <= 6
    disk.heal()
    audit(tmp_path / "repo")
    assert filled.reader.find([block.cid for block in BLOCKS[3:6]]).answers == BLOCKS[3:6]
    compact(filled)
    assert 1 not in segment_numbers(tmp_path / "repo") or at > 6
    assert filled.reader.find([block.cid for block in BLOCKS[3:6]]).answers == BLOCKS[3:6]


def test_a_counter_that_is_wrong_does_not_keep_it_busy(filled: Repo) -> None:
    with filled._ledger.change("damage") as change:
        change.tx.execute("INSERT INTO segments VALUES (77, 1000, 100, 1)")
    assert compact(filled) == 1
    with filled._ledger.change("repair") as change:
        change.tx.execute("DELETE FROM segments WHERE id = 77")
