"""Opening a store: what is checked, cleared away and taken up again at a start.

Nothing here takes longer for more data, but for one look at the names of the segments: no rows are scanned
and no payload is read. What was being written when the last run ended is given up; its leaves are removed
later, but count no more.

A file goes only when the index says so, and only an index that lacks nothing is believed. One that is behind
its tally, or does not know a file, was damaged, lost, emptied or replaced by an older one: then everything is
left as it is, the log of the index too. Where there is no tally nothing is certain: then what a segment holds
beyond its recorded length is kept, in the segment or under another name.
"""

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from codex.errors import CorruptData, DiskFailed, DiskFull
from codex.store import holds, staging
from codex.store.ballast import BALLAST_BYTES, Ballast
from codex.store.disk import Disk, File, OsDisk, disk_errors
from codex.store.index import PUT_BACK, Index, Readers, Row, changes_in
from codex.store.ledger import Change, Ledger, begin_segment, forget_segments, remove_segments
from codex.store.repo import Repo
from codex.store.schema import ACTIVE, GONE, SEALED
from codex.store.segments import SEGMENT_BYTES, Appender, SegmentFiles, segment_name, segment_number
from codex.store.sense import nonsense
from codex.store.tally import Tally

INDEX = "index.sqlite"
TALLY = "tally"
KEPT = ".kept"
"""What is added to the name of a segment of which the index knows nothing, but perhaps should."""


def open_repo(
    directory: Path,
    *,
    quota: int,
    disk: Disk | None = None,
    segment_bytes: int = SEGMENT_BYTES,
    ballast_bytes: int = BALLAST_BYTES,
) -> Repo:
    """Open the store in `directory`, made when there is none. `quota` is in bytes.

    Raises DataDirLocked when it is open elsewhere; CorruptData for an index that is damaged, or no index, or
    one that lacks changes, or does not know some segments, or knows some that are missing; WrongVersion for
    one from a newer program; DiskFull, DiskFailed.
    """
    disk = disk or OsDisk()
    segments = directory / "segments"
    with disk_errors(f"make {segments}"):
        disk.makedirs(directory)
        disk.makedirs(segments)
    with disk_errors(f"lock {directory / 'lock'}"):
        lock = disk.lock(directory / "lock")
    with ExitStack() as undo:
        undo.callback(lock.close)
        found = _find_segments(disk, directory)
        ballast = Ballast(disk, directory / "ballast", ballast_bytes)
        undo.callback(ballast.close)
        undo.callback(_stow, ballast)
        tally = Tally(disk, directory / TALLY)
        undo.callback(tally.close)
        index = _open_index(disk, directory / INDEX, ballast, tally, new=not found)
        undo.callback(index.close)
        repo = _assemble(disk, directory, index, ballast, tally, lock, quota, segment_bytes, found)
        undo.pop_all()
        return repo


def _stow(ballast: Ballast) -> None:
    """Take back what room a start has left."""
    with suppress(DiskFailed):
        ballast.stow()


def _find_segments(disk: Disk, directory: Path) -> set[int]:
    """The numbers of the segment files. Raises CorruptData when there are some, but no index."""
    with disk_errors(f"look into {directory}"):
        names = disk.listdir(directory / "segments")
        found = {number for name in names if (number := segment_number(name)) is not None}
        missing = INDEX not in disk.listdir(directory)
    if missing and found:
        raise CorruptData(
            f"the index of the store is missing in {directory}, but there are {len(found)} segments",
            remedy=PUT_BACK,
        )
    return found


def _open_index(disk: Disk, path: Path, ballast: Ballast, tally: Tally, *, new: bool) -> Index:
    try:
        _check_tally(disk, path, tally)
        return Index(disk, path, new=new)
    except DiskFull:
        if not ballast.release_all():
            raise
    _check_tally(disk, path, tally)
    return Index(disk, path, new=new)


def _check_tally(disk: Disk, path: Path, tally: Tally) -> None:
    """Raise CorruptData for an index that lacks changes, before opening it does away with the traces."""
    if tally.noted and path.name in disk.listdir(path.parent):
        known = changes_in(disk, path)
        if known is None or known < tally.noted:
            lack = (
                "its totals" if known is None else f"its last {tally.noted - known} of {tally.noted} changes"
            )
            raise CorruptData(
                f"the index of the store lacks {lack}: its log {path.name}-wal is damaged or lost, or an"
                " older index was put in its place",
                remedy="put the newest index.sqlite back, together with its index.sqlite-wal, or restore a"
                f" backup; to go on without those changes, remove the file {path.with_name(TALLY)}",
            )


def _assemble(
    disk: Disk,
    directory: Path,
    index: Index,
    ballast: Ballast,
    tally: Tally,
    lock: File,
    quota: int,
    segment_bytes: int,
    found: set[int],
) -> Repo:
    segments = directory / "segments"
    with index.reading() as connection:
        rows = connection.execute("SELECT id, length, state FROM segments ORDER BY id").fetchall()
        if not all(type(value) is int and value >= 0 for row in rows for value in row):
            raise nonsense("a segment has no number, length or state")
        (clean,) = connection.execute("SELECT clean FROM totals").fetchone()
    _match_files(segments, rows, found)
    growing = [(number, length) for number, length, state in rows if state == ACTIVE and number in found]
    kept = [] if tally.noted is not None else _keep_longer(disk, segments, growing)
    found -= {number for number, length in growing if not length and segment_name(number) + KEPT in kept}
    growing = [(number, length) for number, length in growing if number in found]
    gone = [number for number, length, state in rows if state == GONE or (not length and number not in found)]
    with disk_errors(f"remove segments in {segments}"):
        remove_segments(disk, segments, [number for number in gone if number in found])
    files = SegmentFiles(disk, segments)
    appender = Appender(disk, segments, begin=partial(begin_segment, index), limit=segment_bytes)
    for number, length in growing[-1:]:
        appender.resume(number, length, certain=tally.noted is not None)
    ledger = Ledger(
        disk,
        segments,
        index=index,
        appender=appender,
        files=files,
        ballast=ballast,
        tally=tally,
        quota=quota,
    )
    begin_life = partial(_begin_life, gone, [number for number, _ in growing[:-1]])
    try:
        ledger.shrink("open the store", begin_life)
    except DiskFull:
        if not ballast.release_all():
            raise
        ledger.shrink("open the store", begin_life)
    _stow(ballast)
    tally.flush()
    with disk_errors(f"record {directory}"):
        disk.sync_dir(directory)
        disk.sync_dir(directory.parent)
    return Repo(
        disk,
        directory,
        ledger=ledger,
        appender=appender,
        readers=Readers(disk, directory / INDEX),
        files=files,
        lock=lock,
        unclean=not clean,
        kept=kept,
        segment_bytes=segment_bytes,
    )


def _keep_longer(disk: Disk, segments: Path, growing: Sequence[tuple[int, int]]) -> list[str]:
    """The names of segments that are longer than recorded. One of which nothing is recorded would be removed:
    it gets another name.
    """
    kept = []
    with disk_errors(f"look into {segments}"):
        for number, length in growing:
            name = segment_name(number)
            if disk.size(segments / name) > length:
                if not length:
                    disk.rename(segments / name, segments / (name + KEPT))
                kept.append(name if length else name + KEPT)
    return kept


def _begin_life(gone: Sequence[int], ended: Sequence[int], change: Change) -> None:
    """Mark the store as in use; forget segments that are `gone`, seal those that were cut off growing."""
    change.tx.execute("UPDATE totals SET clean = 0")
    forget_segments(change.tx, gone)
    change.tx.executemany(
        "UPDATE segments SET state = ? WHERE id = ?", [(SEALED, segment) for segment in ended]
    )
    staging.give_up_all(change.tx)
    holds.give_up_filling(change)


def _match_files(segments: Path, rows: Sequence[Row], found: set[int]) -> None:
    """Raise CorruptData for files that the index does not know, and for payload without its file."""
    unknown = sorted(found - {row[0] for row in rows})
    if unknown:
        raise CorruptData(
            f"the index does not know {len(unknown)} segments in {segments}: {_names(unknown)}."
            " It is older than they are, or was lost",
            remedy=PUT_BACK,
        )
    missing = [row[0] for row in rows if row[1] and row[2] != GONE and row[0] not in found]
    if missing:
        raise CorruptData(
            f"{len(missing)} segments of the store are missing in {segments}: {_names(missing)}",
            remedy="put them back, or restore a backup. If they are lost, make an empty file of each:"
            " the blocks in them then count as damaged, and can be stored or fetched again",
        )


def _names(numbers: Sequence[int]) -> str:
    return ", ".join([segment_name(number) for number in numbers[:5]]) + (" …" if len(numbers) > 5 else "")
