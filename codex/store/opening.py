"""Opening a store: what is checked, cleared away and taken up again at a start.

Nothing here takes longer for more data, but for one look at the names of the segments: no rows are scanned
and no payload is read. What was being written when the last run ended is given up; its leaves are removed
later, but count no more.
"""

from pathlib import Path
from sqlite3 import Connection

from codex.errors import CorruptData, DiskFull
from codex.store import staging
from codex.store.ballast import BALLAST_BYTES, Ballast
from codex.store.disk import Disk, File, OsDisk, disk_errors
from codex.store.index import Index, Readers
from codex.store.ledger import Ledger
from codex.store.repo import Repo
from codex.store.schema import ACTIVE
from codex.store.segments import SEGMENT_BYTES, Appender, SegmentFiles, segment_name, segment_number

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

    Raises DataDirLocked when it is open elsewhere; CorruptData for an index that is damaged, or no index,
    or speaks of segments that are gone; WrongVersion for one from a newer program; DiskFull, DiskFailed.
    """
    disk = disk or OsDisk()
    segments = directory / "segments"
    with disk_errors(f"make {segments}"):
        disk.makedirs(segments)
        lock = disk.lock(directory / "lock")
    try:
        _refuse_without_index(disk, directory)
        ballast = Ballast(disk, directory / "ballast", ballast_bytes)
        index = _open_index(disk, directory / INDEX, ballast)
        try:
            return _assemble(disk, directory, index, ballast, lock, quota, segment_bytes)
        except BaseException:
            index.close()
            raise
    except BaseException:
        lock.close()
        raise


def _refuse_without_index(disk: Disk, directory: Path) -> None:
    """Raise CorruptData for segments without an index: a new one would take them for leftovers.

    The index is made before the first segment, so this is never how a first run ends.
    """
    with disk_errors(f"look into {directory}"):
        if INDEX in disk.listdir(directory):
            return
        segments = [name for name in disk.listdir(directory / "segments") if segment_number(name) is not None]
    if segments:
        raise CorruptData(
            f"the index of the store is missing in {directory}, but there are {len(segments)} segments",
            remedy=f"put {INDEX} back, or restore a backup; to begin anew, move {directory} away",
        )


def _open_index(disk: Disk, path: Path, ballast: Ballast) -> Index:
    try:
        return Index(disk, path)
    except DiskFull:
        if not ballast.release():
            raise
    return Index(disk, path)


def _assemble(
    disk: Disk, directory: Path, index: Index, ballast: Ballast, lock: File, quota: int, segment_bytes: int
) -> Repo:
    segments = directory / "segments"
    with index.reading() as connection:
        rows = connection.execute("SELECT id, length, state FROM segments ORDER BY id").fetchall()
        (clean,) = connection.execute("SELECT clean FROM totals").fetchone()
    last = _match_files(disk, segments, {row[0] for row in rows})
    files = SegmentFiles(disk, segments)
    appender = Appender(disk, segments, last=last, limit=segment_bytes)
    for number, length, state in rows[-1:]:
        if state == ACTIVE:
            appender.resume(number, length)
    ledger = Ledger(disk, segments, index=index, appender=appender, files=files, ballast=ballast, quota=quota)
    ledger.shrink("open the store", lambda change: _begin_life(change.tx))
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


def _begin_life(tx: Connection) -> None:
    tx.execute("UPDATE totals SET clean = 0")
    staging.give_up_all(tx)


def _match_files(disk: Disk, segments: Path, recorded: set[int]) -> int:
    """Compare the files with what the index knows, and remove those it does not know; the highest number
    seen.

    Such a file was begun and never recorded, or given up and not yet removed, when the last run ended.
    """
    with disk_errors(f"look into {segments}"):
        found = {number for name in disk.listdir(segments) if (number := segment_number(name)) is not None}
        missing = sorted(recorded - found)
        if missing:
            names = ", ".join(segment_name(number) for number in missing[:5])
            raise CorruptData(
                f"{len(missing)} segments of the store are missing in {segments}: {names}",
                remedy="put them back, or restore a backup. If they are lost, make an empty file of each:"
                " the blocks in them then count as damaged, and can be stored or fetched again",
            )
        for number in found - recorded:
            disk.unlink(segments / segment_name(number))
    return max(found | recorded, default=0)
