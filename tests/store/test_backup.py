"""Backups: one moment of the store, taken while it goes on, complete or not there at all."""

import errno
import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from codex.errors import CodexError, DiskFailed, DiskFull, InvalidInput
from codex.store import backup as backup_module
from codex.store.backup import Backup
from codex.store.gathering import MARK
from codex.store.manifests import Record
from codex.store.opening import open_repo
from codex.store.planning import Put, Stage
from codex.store.repo import Repo
from codex.testing.disks import FaultyDisk, FaultyFile
from codex.testing.stores import GONE, audit, make_blocks, segment_name, segment_numbers

Upload = Callable[..., Record]
Reopen = Callable[..., Repo]

BLOCKS = make_blocks(range(1, 21), 1000)


@pytest.fixture
def filled(repo: Repo, upload: Upload) -> Repo:
    """A dataset in three segments, and an upload that is going on."""
    upload(repo, BLOCKS)
    repo.take_in([Stage(repo.begin(), 0, make_blocks([77], 900))])
    return repo


@pytest.fixture
def check(disk: FaultyDisk, tmp_path: Path) -> Callable[[Path], None]:
    """Assert that a directory is a store with the dataset in it, and nothing else."""

    def check(target: Path) -> None:
        again = open_repo(target, quota=1 << 20, disk=disk, ballast_bytes=0)
        assert again.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
        assert again.catalogue.space().total_blocks == 21
        assert again.catalogue.recount().right
        again.abandon()
        audit(target)

    return check


def take(backup: Backup) -> None:
    backup.begin()
    while backup.step():
        pass
    backup.finish()


def test_a_backup_opens_as_a_store(filled: Repo, tmp_path: Path, check: Callable[[Path], None]) -> None:
    backup = filled.backup(tmp_path / "backup")
    filled.keep()
    take(backup)
    filled.let_go()
    assert backup.bytes_done == backup.bytes_total == 20900
    check(tmp_path / "backup")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup", "repo"]


def test_sealed_segments_are_linked_and_the_active_one_copied(filled: Repo, tmp_path: Path) -> None:
    take(filled.backup(tmp_path / "backup"))
    same = [
        (tmp_path / "backup" / "segments" / name).samefile(tmp_path / "repo" / "segments" / name)
        for name in ("00000001.seg", "00000002.seg", "00000003.seg")
    ]
    assert same == [True, True, False]


def test_where_links_are_impossible_all_is_copied(
    filled: Repo, tmp_path: Path, check: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyDisk, "link", lambda *args: False)
    monkeypatch.setattr(backup_module, "_STEP_BYTES", 3000)
    monkeypatch.setattr(backup_module, "_READ_BYTES", 700)
    backup = filled.backup(tmp_path / "backup")
    backup.begin()
    steps = 1
    while backup.step():
        steps += 1
    backup.finish()
    assert steps == 3 + 3 + 2
    names = [path.name for path in (tmp_path / "repo" / "segments").iterdir()]
    assert not any(
        (tmp_path / "backup" / "segments" / name).samefile(tmp_path / "repo" / "segments" / name)
        for name in names
    )
    check(tmp_path / "backup")


def test_what_happens_meanwhile_is_not_in_it_and_does_not_harm_it(
    filled: Repo, tmp_path: Path, upload: Upload, clear: Callable[[Repo], None], check: Callable[[Path], None]
) -> None:
    backup = filled.backup(tmp_path / "backup")
    filled.keep()
    backup.begin()
    filled.take_in([Put(make_blocks(range(100, 120), 1000), 1e12)])
    ((cid, _),) = filled.catalogue.manifests(None, 5)
    assert backup.step()
    filled.drop_dataset(cid)
    clear(filled)
    while filled.compact():
        pass
    other = upload(filled, make_blocks(range(200, 205), 1000))
    while backup.step():
        pass
    backup.finish()
    filled.let_go()
    check(tmp_path / "backup")
    filled.drop_dataset(other.cid)
    clear(filled)
    while filled.compact():
        pass
    check(tmp_path / "backup")


def test_a_backup_of_a_backup_and_of_an_empty_store(repo: Repo, tmp_path: Path, disk: FaultyDisk) -> None:
    take(repo.backup(tmp_path / "backup"))
    audit(tmp_path / "backup")


def test_segments_without_anything_in_them_are_not_in_it(
    filled: Repo, tmp_path: Path, check: Callable[[Path], None]
) -> None:
    loose = make_blocks(range(300, 316), 1000)
    filled.take_in([Put(loose, 1e12)])
    filled.keep()
    for block in loose:
        filled.delete_block(block.cid)
    filled.let_go()
    gone = {number for number, state in states(tmp_path / "repo") if state == GONE}
    assert gone
    for number in gone:
        (tmp_path / "repo" / "segments" / segment_name(number)).unlink()  # as it is when only its row is left
    take(filled.backup(tmp_path / "backup"))
    assert not gone & segment_numbers(tmp_path / "backup")
    check(tmp_path / "backup")
    assert GONE not in {state for _, state in states(tmp_path / "backup")}


def states(repo: Path) -> list[tuple[int, int]]:
    connection = sqlite3.connect(repo / "index.sqlite")
    rows = connection.execute("SELECT id, state FROM segments").fetchall()
    connection.close()
    return rows


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("kept", [True, False])
def test_a_backup_survives_a_power_cut_as_soon_as_it_is_made(
    filled: Repo,
    disk: FaultyDisk,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    check: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
    links: bool,
    kept: bool,
) -> None:
    if not links:
        monkeypatch.setattr(FaultyDisk, "link", lambda *args: False)
    take(filled.backup(tmp_path / "backup"))
    after = tmp_path_factory.mktemp("after") / "cut"
    disk.cut(tmp_path, after, lambda: kept)
    assert not (after / ".backup.unfinished-backup").exists()
    check(after / "backup")


def test_a_power_cut_at_any_call_leaves_a_whole_backup_or_none(
    filled: Repo,
    disk: FaultyDisk,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    check: Callable[[Path], None],
) -> None:
    before = disk.changes
    take(filled.backup(tmp_path / "backup0"))
    calls = disk.changes - before
    after = tmp_path_factory.mktemp("after")
    whole = 0
    for at in range(1, calls + 1):
        target = tmp_path / f"backup{at}"
        disk.fail(at, errno.EIO, times=10**6)
        with suppress(CodexError):
            take(filled.backup(target))
        disk.heal()
        for kept in (True, False):
            cut = after / f"{at}{kept}"
            disk.cut(tmp_path, cut, lambda kept=kept: kept)
            if (cut / target.name).exists():
                check(cut / target.name)
                whole += 1
    assert 0 < whole < calls


def test_nothing_is_overwritten(filled: Repo, tmp_path: Path) -> None:
    for name in ("file", "directory"):
        path = tmp_path / name
        path.touch() if name == "file" else path.mkdir()
        with pytest.raises(InvalidInput) as caught:
            filled.backup(path)
        assert caught.value.remedy


def test_what_a_cut_backup_left_is_cleared_by_the_next(
    filled: Repo, tmp_path: Path, check: Callable[[Path], None]
) -> None:
    cut = filled.backup(tmp_path / "backup")
    cut.begin()
    cut.step()
    cut._gathering._release()  # as the system does for a process that ends
    assert not (tmp_path / "backup").exists()
    assert (tmp_path / ".backup.unfinished-backup").exists()
    take(filled.backup(tmp_path / "backup"))
    check(tmp_path / "backup")
    assert not (tmp_path / ".backup.unfinished-backup").exists()


def tree_of(directory: Path) -> dict[str, bytes | None]:
    """Everything below a directory."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
    }


@pytest.mark.parametrize(
    "kind", ["link", "directory", "closed directory", "marked", "open and marked", "file"]
)
def test_what_is_somebody_elses_is_never_cleared_away(filled: Repo, tmp_path: Path, kind: str) -> None:
    letters = tmp_path / "letters"
    (letters / "segments").mkdir(parents=True)
    (letters / "diary.txt").write_text("dear bob")
    (letters / "segments" / "x").write_text("x")
    (letters / "index.sqlite").write_text("not a letter")
    gathered = tmp_path / ".backup.unfinished-backup"
    if kind == "link":
        (letters / MARK).touch()
        gathered.symlink_to(letters)
    elif kind == "file":
        gathered.write_text("mine")
    else:
        letters.rename(gathered)
        gathered.chmod(0o755 if kind == "open and marked" else 0o700)
        if "directory" not in kind:
            (gathered / MARK).touch()
    gathered.chmod(0o755) if kind == "directory" else None
    if kind == "marked":
        # What the mark makes ours is what backups are made of, and no more than that.
        (gathered / "index.sqlite").unlink()
    before = tree_of(tmp_path)
    backup = filled.backup(tmp_path / "backup")
    with pytest.raises(InvalidInput, match="unfinished-backup exists") as caught:
        backup.begin()
    assert caught.value.remedy
    backup.cancel()
    assert tree_of(tmp_path) == before


def test_a_backup_in_the_making_is_not_cleared_away_by_another(
    filled: Repo, tmp_path: Path, check: Callable[[Path], None]
) -> None:
    first = filled.backup(tmp_path / "backup")
    first.begin()
    first.step()
    with pytest.raises(InvalidInput, match="unfinished-backup exists"):
        filled.backup(tmp_path / "backup").begin()
    while first.step():
        pass
    first.finish()
    check(tmp_path / "backup")


def test_links_in_what_a_cut_backup_left_are_not_followed(filled: Repo, tmp_path: Path) -> None:
    letter = tmp_path / "letters" / "00000001.seg"
    letter.parent.mkdir()
    letter.write_text("dear bob")
    gathered = tmp_path / ".backup.unfinished-backup"
    gathered.mkdir(mode=0o700)
    (gathered / MARK).touch()
    (gathered / "segments").symlink_to(letter.parent)
    (gathered / "index.sqlite").symlink_to(letter)
    take(filled.backup(tmp_path / "backup"))
    assert letter.read_text() == "dear bob"
    assert not (tmp_path / "backup" / "segments").is_symlink()
    assert not (tmp_path / "backup" / MARK).exists()


def test_a_cancelled_backup_leaves_nothing(filled: Repo, tmp_path: Path) -> None:
    backup = filled.backup(tmp_path / "backup")
    backup.cancel()
    backup.begin()
    backup.step()
    backup.cancel()
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_refuses_leaves_no_backup(
    filled: Repo, disk: FaultyDisk, tmp_path: Path, code: int
) -> None:
    before = disk.changes
    take(filled.backup(tmp_path / "first"))
    for at in range(1, disk.changes - before + 1):
        disk.fail(at, code)
        backup = filled.backup(tmp_path / "backup")
        try:
            take(backup)
        except CodexError as error:
            refused = error
        else:
            assert disk.log[-1].startswith("unlink")  # it is complete without that
        assert refused.remedy
        disk.heal()
        backup.cancel()
        if (tmp_path / "backup").exists():
            # Only flushing its name failed, or less: it is there, and complete.
            audit(tmp_path / "backup")
            shutil.rmtree(tmp_path / "backup")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "repo"]


@pytest.mark.parametrize("place", [range(1), range(999, 1001), range(3500, 3501), range(2000, 5000)])
def test_what_the_disk_does_not_give_is_left_out_and_told_of(
    filled: Repo,
    disk: FaultyDisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: range,
) -> None:
    monkeypatch.setattr(FaultyDisk, "link", lambda *args: False)
    filled.take_in([Put(make_blocks([88], 900), 1e12)])
    disk.damaged["00000001.seg"] = place
    backup = filled.backup(tmp_path / "backup")
    take(backup)
    disk.heal()
    hit = [
        block.cid for at, block in enumerate(BLOCKS[:8]) if {*place} & {*range(at * 1000, at * 1000 + 1000)}
    ]
    assert list(backup.unreadable) == hit
    assert backup.unreadable_bytes == 1000 * len(hit)
    assert backup.bytes_done == backup.bytes_total
    again = open_repo(tmp_path / "backup", quota=1 << 20, disk=disk, ballast_bytes=0)
    scrubbed = again.scrubber.blocks(0)
    assert set(scrubbed.corrupt) == set(hit)
    again.mark_bad(scrubbed.rotten)
    sound = [block for block in BLOCKS if block.cid not in hit]
    assert again.reader.find([block.cid for block in sound]).answers == sound
    again.take_in([Put([block for block in BLOCKS if block.cid in hit], 1e12)])
    assert again.reader.find([block.cid for block in BLOCKS]).answers == BLOCKS
    again.abandon()
    audit(tmp_path / "backup")


def test_a_step_ends_where_the_disk_does_not_give_a_block(
    filled: Repo, disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyDisk, "link", lambda *args: False)
    disk.damaged["00000002.seg"] = range(8000)
    backup = filled.backup(tmp_path / "backup")
    backup.begin()
    backup.step()
    for blocks in range(1, 9):
        backup.step()
        assert len(backup.unreadable) == blocks
    backup.cancel()
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


def test_what_nobody_needs_is_not_missed(
    repo: Repo, disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyDisk, "link", lambda *args: False)
    repo.take_in([Put(BLOCKS[:8], 1e12)])
    for at in (2, 3, 7):
        repo.delete_block(BLOCKS[at].cid)
    disk.damaged["00000001.seg"] = range(2500, 3500)
    backup = repo.backup(tmp_path / "first")
    take(backup)
    assert (list(backup.unreadable), backup.unreadable_bytes) == ([], 0)
    disk.damaged["00000001.seg"] = range(7500, 8000)
    backup = repo.backup(tmp_path / "second")
    take(backup)
    assert (list(backup.unreadable), backup.unreadable_bytes) == ([], 0)
    kept = [block for at, block in enumerate(BLOCKS[:8]) if at not in (2, 3, 7)]
    for target in ("first", "second"):
        assert (tmp_path / target / "segments" / "00000001.seg").stat().st_size == 8000
        again = open_repo(tmp_path / target, quota=1 << 20, disk=FaultyDisk(), ballast_bytes=0)
        assert again.reader.find([block.cid for block in kept]).answers == kept
        again.abandon()


def test_a_disk_that_gives_nothing_is_not_backed_up(
    filled: Repo, disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyDisk, "link", lambda *args: False)
    disk.unreadable |= {segment_name(number) for number in segment_numbers(tmp_path / "repo")}
    backup = filled.backup(tmp_path / "backup")
    with pytest.raises(DiskFailed, match="none of the segments") as caught:
        take(backup)
    assert caught.value.remedy
    backup.cancel()
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


@pytest.mark.parametrize("code", [errno.EIO, errno.EBADMSG, errno.EUCLEAN])
def test_a_segment_that_cannot_be_linked_or_opened_is_left_out(
    filled: Repo, disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    refused = tmp_path / "repo" / "segments" / "00000001.seg"
    plain_link, plain_open = FaultyDisk.link, FaultyDisk.open

    def link(disk: FaultyDisk, source: Path, target: Path) -> bool:
        if source == refused:
            raise OSError(code, os.strerror(code))
        return plain_link(disk, source, target)

    def open_file(disk: FaultyDisk, path: Path, *, create: bool = False) -> FaultyFile:
        if path == refused:
            raise OSError(code, os.strerror(code))
        return plain_open(disk, path, create=create)

    monkeypatch.setattr(FaultyDisk, "link", link)
    monkeypatch.setattr(FaultyDisk, "open", open_file)
    backup = filled.backup(tmp_path / "backup")
    take(backup)
    monkeypatch.undo()
    assert list(backup.unreadable) == [block.cid for block in BLOCKS[:8]]
    again = open_repo(tmp_path / "backup", quota=1 << 20, disk=disk, ballast_bytes=0)
    assert again.reader.find([block.cid for block in BLOCKS[8:]]).answers == BLOCKS[8:]
    again.abandon()


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES])
def test_what_is_not_the_fault_of_a_segment_leaves_nothing_out(
    filled: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*args: object) -> bool:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(FaultyFile, "pread", refuse)
        backup = filled.backup(tmp_path / "backup")
        with pytest.raises(DiskFailed, match=os.strerror(code)):
            take(backup)
        backup.cancel()
    with monkeypatch.context() as patched:
        patched.setattr(FaultyDisk, "link", refuse)
        backup = filled.backup(tmp_path / "backup")
        with pytest.raises(DiskFailed, match=os.strerror(code)):
            take(backup)
        backup.cancel()


def test_a_segment_that_is_too_short_is_backed_up_as_far_as_it_goes(filled: Repo, tmp_path: Path) -> None:
    path = tmp_path / "repo" / "segments" / "00000003.seg"
    content = path.read_bytes()
    path.write_bytes(content[:1100])
    backup = filled.backup(tmp_path / "backup")
    take(backup)
    path.write_bytes(content)
    assert [*backup.unreadable] == [block.cid for block in (*BLOCKS[17:], *make_blocks([77], 900))]
    copy = tmp_path / "backup" / "segments" / path.name
    assert copy.read_bytes() == content[:1100].ljust(len(content), b"\0")


def test_what_the_index_says_amiss_of_a_place_does_not_hold_a_backup_up(
    filled: Repo, disk: FaultyDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FaultyDisk, "link", lambda *args: False)
    disk.damaged["00000001.seg"] = range(8000)
    wrong = [("x", 1000, 1000), (b"", 2000, -5), (b"c", "y", 1000), (b"d", None, None), (b"e", 5000, 2**62)]
    connection = sqlite3.connect(tmp_path / "repo" / "index.sqlite")
    sound = connection.execute("SELECT id, cid, offset, length FROM blocks WHERE segment = 1").fetchall()
    for row, (cid, offset, length) in zip(sound, wrong, strict=False):
        change = (
            "UPDATE blocks SET cid = ?, offset = ifnull(?, offset), length = ifnull(?, length) WHERE id = ?"
        )
        connection.execute(change, (cid, offset, length, row[0]))
    connection.commit()
    backup = filled.backup(tmp_path / "backup")
    take(backup)
    assert backup.bytes_done == backup.bytes_total
    assert backup.unreadable_bytes
    for number, cid, offset, length in sound:
        values = (cid, offset, length, number)
        connection.execute("UPDATE blocks SET cid = ?, offset = ?, length = ? WHERE id = ?", values)
    connection.commit()
    connection.close()


def test_a_disk_that_has_no_room_for_the_log_of_the_copy_is_full(
    filled: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoRoom(sqlite3.Connection):
        def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
            failure = sqlite3.OperationalError("disk I/O error")
            failure.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
            raise failure

    monkeypatch.setattr(FaultyDisk, "connect", lambda self, path: sqlite3.connect(path, factory=NoRoom))
    backup = filled.backup(tmp_path / "backup")
    with pytest.raises(DiskFull):
        backup.begin()
    backup.cancel()
    assert [path.name for path in tmp_path.iterdir()] == ["repo"]


def test_nobody_else_may_look_into_a_store_or_its_backup(tmp_path: Path, upload: Upload) -> None:
    before = os.umask(0)
    try:
        (tmp_path / "repo").mkdir(mode=0o755)
        repo = open_repo(tmp_path / "repo", quota=1 << 20)
        upload(repo, BLOCKS)
        take(repo.backup(tmp_path / "backup"))
        repo.take_in([Put(make_blocks([99]), 1e12)])
        paths = [tmp_path / "repo", tmp_path / "backup", *tmp_path.rglob("*")]
        assert any(path.name == "index.sqlite-wal" for path in paths)
        for path in paths:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), f"{path} has the mode {mode:o}"
        repo.close()
    finally:
        os.umask(before)
