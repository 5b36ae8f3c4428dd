"""Segment files: the payload of blocks, appended and never changed.

A segment `00000001.seg` holds blocks one after another with nothing between them; where each one lies is
known to the index alone, which names a segment before its file is made. Only the active segment grows. What
stands in it beyond the length that the index has recorded was never acknowledged, and is written over; but
only by an index of which it is certain that it lacks nothing (see tally.py). Any other may know less than
there is, so then a longer segment stays as it is. After a flush failed, nobody knows what the file
holds beyond what was flushed before, so that segment is never appended to again.
"""

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from attrs import define

from codex.errors import CodexError, DiskFull
from codex.store.disk import Buffer, Disk, File, disk_errors

SEGMENT_BYTES = 256 << 20
"""A segment is closed when the next block would make it longer. A block may be larger than that, and is
then alone.
"""

_IOV_MAX = min(1024, os.sysconf("SC_IOV_MAX"))  # the system refuses a write of more buffers than this
_WRITE_BYTES = 64 << 20  # Linux writes at most 2 GiB at once; far less is as fast
_OPEN_FILES = 64  # descriptors kept for readers: 16 GiB of data without opening anything

_NAME = re.compile(r"(\d{8,})\.seg")


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:08}.seg"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name, None for other names."""
    match = _NAME.fullmatch(name)
    return int(match[1]) if match else None


class Place(NamedTuple):
    """Where a block's bytes lie: `length` bytes at `offset` of a segment."""

    segment: int
    offset: int
    length: int


@define
class Tail:
    """A segment that was appended to. `recorded` of its `length` bytes are known to the index."""

    segment: int
    recorded: int
    length: int
    sealed: bool = False


class Appender:
    """The writing end: puts payload where it is durable, and tells where that is.

    Nothing is recorded here. The caller records the places and the `tails()` in one transaction and then
    calls `recorded()`, or `rewind()` when the transaction failed. Used by one thread at a time.
    """

    def __init__(
        self, disk: Disk, directory: Path, *, begin: Callable[[], int], limit: int = SEGMENT_BYTES
    ) -> None:
        """`begin` has the index name a new segment, durably; its number. Raises DiskFull, DiskFailed."""
        self._disk = disk
        self._directory = directory
        self._begin = begin
        self._limit = limit
        self._file: File | None = None
        self._active = Tail(0, 0, 0, sealed=True)
        self._tails: dict[int, Tail] = {}

    def resume(self, number: int, length: int, *, certain: bool) -> None:
        """Go on appending to an existing segment of which `length` bytes are recorded.

        What stands behind them is written over if it is `certain` that nobody was promised it. If not, the
        segment is sealed and stays as it is; so does a file that is shorter, for it has lost payload.
        """
        name = segment_name(number)
        with disk_errors(f"open {name}"):
            file = self._disk.open(self._directory / name)
            size = file.size()
        self._file, self._active = file, Tail(number, length, length)
        if size < length or (size > length and not certain):
            self.seal()

    @property
    def active(self) -> int | None:
        """The number of the segment that grows, if there is one."""
        return None if self._active.sealed else self._active.segment

    def append(self, payloads: Sequence[Buffer]) -> list[Place]:
        """Write the payloads, in order, and return where they are, once they are durable.

        Raises DiskFull or DiskFailed. Then nothing was appended; the next call uses a fresh segment, unless
        there was no room for the write.
        """
        places: list[Place] = []
        start = 0
        try:
            while start < len(payloads):
                file = self._room(len(payloads[start]))
                end = self._place(payloads, start, places)
                self._write(file, payloads[start:end], places[start].offset)
                start = end
        except CodexError:
            self.rewind()
            raise
        return places

    def _room(self, size: int) -> File:
        """The file of the active segment, after beginning a new one if this has no room for `size` bytes."""
        if self._file is not None and self._active.length and self._active.length + size > self._limit:
            self.seal()
        if self._file is None:
            number = self._begin()
            name = segment_name(number)
            # Until the file has its name for good it is one to be given up again.
            self._active = self._tails[number] = Tail(number, 0, 0, sealed=True)
            with disk_errors(f"create {name}"):
                file = self._disk.open(self._directory / name, create=True)
                # The index must not tell of payload in a file that a power cut could make vanish.
                self._disk.sync_dir(self._directory)
            self._file, self._active.sealed = file, False
        return self._file

    def _place(self, payloads: Sequence[Buffer], start: int, places: list[Place]) -> int:
        """Give places in the active segment to the payloads from `start`, to as many as fit; the end of
        these.
        """
        segment, offset = self._active.segment, self._active.length
        for end in range(start, len(payloads)):
            size = len(payloads[end])
            if offset + size > self._limit and end > start:
                break
            places.append(Place(segment, offset, size))
            offset += size
        return len(places)

    def _write(self, file: File, payloads: Sequence[Buffer], offset: int) -> None:
        tail = self._active
        self._tails[tail.segment] = tail
        doing = f"write to {segment_name(tail.segment)}"
        flushing = False
        try:
            with disk_errors(doing):
                tail.length = _write_all(file, payloads, offset)
                flushing = True
                file.fdatasync()
        except CodexError as error:
            cut = False
            # Gives the room back where that is possible; what the index says counts in any case.
            with suppress(OSError):
                file.truncate(tail.recorded)
                cut = True
            # A write without room changed nothing that was flushed: no reason for yet another segment.
            if flushing or not cut or not isinstance(error, DiskFull):
                self.seal()
            raise

    def tails(self) -> list[Tail]:
        """The segments whose length or state has changed since they were last recorded."""
        return list(self._tails.values())

    def recorded(self) -> None:
        """The index has recorded `tails()`."""
        for tail in self._tails.values():
            tail.recorded = tail.length
        self._tails.clear()

    def rewind(self) -> None:
        """Forget what was appended since the last record; its room will be used again.

        The caller must be sure, before the next `append`, that the index can never come to name it.
        """
        for tail in list(self._tails.values()):
            tail.length = tail.recorded
            if not tail.sealed:
                del self._tails[tail.segment]

    def seal(self) -> None:
        """Add nothing more to the active segment; to be recorded with the next transaction."""
        self._active.sealed = True
        self._tails[self._active.segment] = self._active
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _write_all(file: File, payloads: Sequence[Buffer], offset: int) -> int:
    """Write the payloads straight from where they lie; the offset behind them."""
    position = 0
    while position < len(payloads):
        part: list[Buffer] = []
        size = 0
        for payload in payloads[position : position + _IOV_MAX]:
            if part and size + len(payload) > _WRITE_BYTES:
                break
            part.append(payload)
            size += len(payload)
        position += len(part)
        while part:
            written = file.pwritev(part, offset)
            offset += written
            part = _unwritten(part, written)
    return offset


def _unwritten(buffers: list[Buffer], written: int) -> list[Buffer]:
    """What remains of `buffers` after their first `written` bytes."""
    for position, buffer in enumerate(buffers):
        if written < len(buffer):
            return [memoryview(buffer)[written:], *buffers[position + 1 :]]
        written -= len(buffer)
    return []


def _is_readable(file: File) -> bool:
    """Whether the disk gives the first or the last byte of a file: then what it refuses of it is a damaged
    place, as wrong bytes are, and the rest can be had.
    """
    for end in (0, max(0, file.size() - 1)):
        with suppress(OSError):
            return bool(file.pread(1, end))
    return False


class SegmentFiles:
    """The reading end: open segments, shared by all threads, about 64 of them kept open.

    There is no lock: every step on the dictionary is atomic, and a file that two threads opened at once, or
    that is dropped while somebody reads it, is closed with its last reader.
    """

    def __init__(self, disk: Disk, directory: Path) -> None:
        self._disk = disk
        self._directory = directory
        self._open: dict[int, File] = {}

    def read(self, segment: int, offset: int, size: int) -> bytes:
        """Read `size` bytes; fewer when the segment ends there or is gone, or has a place there that the disk
        does not give. Raises DiskFailed when it gives nothing of the segment.
        """
        with disk_errors(f"read {segment_name(segment)}"):
            try:
                file = self._file(segment)
            except FileNotFoundError:
                return b""
            try:
                return file.pread(size, offset)
            except OSError:
                if not _is_readable(file):
                    raise
                return b""

    def _file(self, segment: int) -> File:
        file = self._open.get(segment)
        if file is None:
            file = self._disk.open(self._directory / segment_name(segment))
            file = self._open.setdefault(segment, file)
            for other in list(self._open)[:-_OPEN_FILES]:
                self._open.pop(other, None)
        return file

    def forget(self, segment: int) -> None:
        """Close a segment that was removed, as soon as the last reader in it is done."""
        self._open.pop(segment, None)

    def close(self) -> None:
        """Close all files that no reader is in."""
        self._open.clear()
