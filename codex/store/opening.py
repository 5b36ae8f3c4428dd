"""Opening a store: what is checked, cleared away and taken up again at a start.

Nothing here takes longer for more data, but for one look at the names of the segments: no rows are scanned
and no payload is read. What was being written when the last run ended is given up; its leaves are removed
later, but count no more.

A file goes only when the index says so. One that the index does not know is the sign of an index that was
lost, emptied or replaced by an older one, and then everything is left as it is.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from codex.errors import CorruptData, DiskFull
from codex.store import staging
from codex.store.ballast import BALLAST_BYTES, Ballast
from codex.store.disk import Disk, File, OsDisk, disk_errors
from codex.store.index import PUT_BACK, Index, Readers, Row
from codex.store.ledger import Change, Ledger, begin_segment, forget_segments, remove_segments
from codex.store.repo import Repo
from codex.store.schema import ACTIVE, GONE, SEALED
from codex.store.segments import SEGMENT_BYTES, Appender, SegmentFiles, segment_name, segment_number
from codex.store.sense import nonsense

INDEX = "index.sqlite"


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
    one that does not know some segments, or knows some that are missing; WrongVersion for one from a newer
    program; DiskFull, DiskFailed.
    """
    disk = disk or OsDisk()
    segments = directory / "segments"
    with disk_errors(f"make {segments}"):
        disk.makedirs(directory)
        disk.makedirs(segments)
        lock = disk.lock(directory / "lock")
    try:
        found = _find_segments(disk, directory)
        ballast = Ballast(disk, directory / "ballast", ballast_bytes)
        index = _open_index(disk, directory / INDEX, ballast, new=not found)
        try:
            return _assemble(disk, directory, index, ballast, lock, quota, segment_bytes, found)
        except BaseException:
            index.close()
            raise
    except BaseException:
        lock.close()
        raise


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


def _open_index(disk: Disk, path: Path, ballast: Ballast, *, new: bool) -> Index:
    try:
        return Index(disk, path, new=new)
    except DiskFull:
        if not ballast.release():
            raise
    return Index(disk, path, new=new)


def _assemble(
    disk: Disk,
    directory: Path,
    index: Index,
    ballast: Ballast,
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
    gone = [number for number, length, state in rows if state == GONE or (not length and number not in found)]
    with disk_errors(f"remove segments in {segments}"):
        remove_segments(disk, segments, [number for number in gone if number in found])
    files = SegmentFiles(disk, segments)
    appender = Appender(disk, segments, begin=partial(begin_segment, index), limit=segment_bytes)
    growing = [(number, length) for number, length, state in rows if state == ACTIVE and number in found]
    for number, length in growing[-1:]:
        appender.resume(number, length)
    ledger = Ledger(disk, segments, index=index, appender=appender, files=files, ballast=ballast, quota=quota)
    ledger.shrink("open the store", partial(_begin_life, gone, [number for number, _ in growing[:-1]]))
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
        segment_bytes=segment_bytes,
    )


def _begin_life(gone: Sequence[int], ended: Sequence[int], change: Change) -> None:
    """Mark the store as in use; forget segments that are `gone`, seal those that were cut off growing."""
    change.tx.execute("UPDATE totals SET clean = 0")
    forget_segments(change.tx, gone)
    change.tx.executemany(
        "UPDATE segments SET state = ? WHERE id = ?", [(SEALED, segment) for segment in ended]
    )
    staging.give_up_all(change.tx)


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
