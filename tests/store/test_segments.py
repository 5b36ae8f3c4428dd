"""Segment files: where payload goes, and what is left after writes that fail."""

import errno
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from codex.errors import DiskFailed, DiskFull
from codex.store.segments import Appender, Place, SegmentFiles, segment_name, segment_number
from codex.testing.disks import FaultyDisk


def make_appender(disk: FaultyDisk, directory: Path, *, first: int = 1, limit: int = 100) -> Appender:
    return Appender(disk, directory, begin=partial(next, count(first)), limit=limit)


@pytest.fixture
def appender(disk: FaultyDisk, tmp_path: Path) -> Appender:
    return make_appender(disk, tmp_path)


def content(path: Path, place: Place) -> bytes:
    return (path / segment_name(place.segment)).read_bytes()[place.offset :][: place.length]


def test_names_and_numbers() -> None:
    assert segment_name(1) == "00000001.seg"
    assert segment_name(123456789) == "123456789.seg"
    assert segment_number("00000001.seg") == 1
    assert segment_number("123456789.seg") == 123456789
    assert [segment_number(name) for name in ("1.seg", "00000001.seg.old", "lock", "0000000a.seg")] == [
        None
    ] * 4


def test_payload_is_laid_side_by_side_and_flushed_once(
    appender: Appender, disk: FaultyDisk, tmp_path: Path
) -> None:
    payloads = [b"alice", memoryview(b"bob"), b"", b"carol"]
    places = appender.append(payloads)
    assert places == [Place(1, 0, 5), Place(1, 5, 3), Place(1, 8, 0), Place(1, 8, 5)]
    assert [content(tmp_path, place) for place in places] == [bytes(payload) for payload in payloads]
    assert disk.log == [
        "create 00000001.seg",
        f"flush directory {tmp_path.name}",
        "write 00000001.seg",
        "flush 00000001.seg",
    ]
    assert not disk.unflushed


def test_nothing_to_append_touches_nothing(appender: Appender, disk: FaultyDisk) -> None:
    assert appender.append([]) == []
    assert disk.changes == 0


def test_a_full_segment_is_followed_by_a_new_one(appender: Appender) -> None:
    places = appender.append([bytes(60), bytes(40), bytes(1), bytes(99), bytes(10)])
    assert places == [Place(1, 0, 60), Place(1, 60, 40), Place(2, 0, 1), Place(2, 1, 99), Place(3, 0, 10)]
    assert [(tail.segment, tail.length, tail.sealed) for tail in appender.tails()] == [
        (1, 100, True),
        (2, 100, True),
        (3, 10, False),
    ]
    assert appender.active == 3


def test_a_block_larger_than_a_segment_is_alone_in_one(appender: Appender) -> None:
    places = appender.append([bytes(10), bytes(250), bytes(10)])
    assert places == [Place(1, 0, 10), Place(2, 0, 250), Place(3, 0, 10)]


def test_writes_that_come_out_short_are_continued(
    appender: Appender, disk: FaultyDisk, tmp_path: Path
) -> None:
    disk.longest_write = 7
    payloads = [b"alice" * 3, b"bob", b"c", b"carol" * 4]
    places = appender.append(payloads)
    assert [content(tmp_path, place) for place in places] == payloads


def test_more_buffers_than_the_system_takes_at_once(disk: FaultyDisk, tmp_path: Path) -> None:
    appender = make_appender(disk, tmp_path, limit=1 << 20)
    payloads = [n.to_bytes(4, "big") for n in range(2500)]
    places = appender.append(payloads)
    assert [content(tmp_path, place) for place in places[::100]] == payloads[::100]
    assert disk.log.count("write 00000001.seg") == 3


@pytest.mark.parametrize(
    ("what", "code", "kind"),
    [("write", errno.EIO, DiskFailed), ("flush", errno.EIO, DiskFailed), ("flush", errno.ENOSPC, DiskFull)],
)
def test_after_a_failure_a_segment_is_never_appended_to(
    appender: Appender, disk: FaultyDisk, tmp_path: Path, what: str, code: int, kind: type[Exception]
) -> None:
    appender.append([b"alice"])
    appender.recorded()
    disk.fail(1 if what == "write" else 2, code)
    with pytest.raises(kind, match="could not write to"):
        appender.append([b"bob"])
    assert [(tail.segment, tail.length, tail.sealed) for tail in appender.tails()] == [(1, 5, True)]
    assert (tmp_path / "00000001.seg").read_bytes() == b"alice"
    assert appender.append([b"carol"]) == [Place(2, 0, 5)]


def test_a_write_without_room_is_no_reason_for_another_segment(
    appender: Appender, disk: FaultyDisk, tmp_path: Path
) -> None:
    appender.append([b"alice"])
    appender.recorded()
    for payload in (b"bob", b"carol"):
        disk.longest_write = 1
        disk.fail(2, errno.ENOSPC)
        with pytest.raises(DiskFull):
            appender.append([payload])
        assert appender.tails() == []
        assert (tmp_path / "00000001.seg").read_bytes() == b"alice"
    assert appender.append([b"dora"]) == [Place(1, 5, 4)]


def test_a_segment_that_cannot_be_cut_back_is_not_used_again(appender: Appender, disk: FaultyDisk) -> None:
    appender.append([b"alice"])
    appender.recorded()
    disk.fail(1, errno.ENOSPC, times=2)
    with pytest.raises(DiskFull):
        appender.append([b"bob"])
    assert [(tail.segment, tail.length, tail.sealed) for tail in appender.tails()] == [(1, 5, True)]
    assert appender.append([b"bob"]) == [Place(2, 0, 3)]


def test_a_new_segment_that_cannot_be_filled_is_given_up(
    appender: Appender, disk: FaultyDisk, tmp_path: Path
) -> None:
    disk.fail(4, errno.ENOSPC)
    with pytest.raises(DiskFull):
        appender.append([b"alice"])
    assert [(tail.segment, tail.length, tail.sealed) for tail in appender.tails()] == [(1, 0, True)]
    assert (tmp_path / "00000001.seg").read_bytes() == b""
    assert appender.append([b"alice"]) == [Place(2, 0, 5)]


def test_a_failure_behind_a_full_segment_takes_all_back(
    appender: Appender, disk: FaultyDisk, tmp_path: Path
) -> None:
    appender.append([bytes(10)])
    appender.recorded()
    disk.fail(5, errno.EIO)
    with pytest.raises(DiskFailed):
        appender.append([bytes(80), bytes(80)])
    tails = [(tail.segment, tail.length, tail.sealed) for tail in appender.tails()]
    assert tails == [(1, 10, True), (2, 0, True)]
    assert appender.append([bytes(5)]) == [Place(3, 0, 5)]


def test_what_was_not_recorded_is_overwritten(appender: Appender, tmp_path: Path) -> None:
    appender.append([b"alice"])
    appender.recorded()
    appender.append([b"carol", b"dora"])
    appender.rewind()
    assert appender.append([b"bob"]) == [Place(1, 5, 3)]
    assert (tmp_path / "00000001.seg").read_bytes().startswith(b"alicebob")
    appender.recorded()
    assert appender.tails() == []


def test_resuming_goes_on_where_the_index_says(disk: FaultyDisk, tmp_path: Path) -> None:
    (tmp_path / "00000007.seg").write_bytes(b"alice")
    appender = make_appender(disk, tmp_path, first=8)
    appender.resume(7, 5, certain=False)
    assert appender.append([b"carol"]) == [Place(7, 5, 5)]


@pytest.mark.parametrize("recorded", [0, 5])
def test_what_was_certainly_never_acknowledged_is_written_over_but_not_cut(
    disk: FaultyDisk, tmp_path: Path, recorded: int
) -> None:
    (tmp_path / "00000007.seg").write_bytes(b"alicebob and dora")
    appender = make_appender(disk, tmp_path, first=8)
    appender.resume(7, recorded, certain=True)
    assert (tmp_path / "00000007.seg").read_bytes() == b"alicebob and dora"
    assert appender.append([b"carol"]) == [Place(7, recorded, 5)]
    assert (tmp_path / "00000007.seg").read_bytes()[: recorded + 5] == b"alicecarol"[5 - recorded :]


@pytest.mark.parametrize(("content", "certain"), [(b"ali", True), (b"ali", False), (b"alicebob", False)])
def test_a_segment_that_is_not_as_long_as_recorded_is_left_as_it_is(
    disk: FaultyDisk, tmp_path: Path, content: bytes, certain: bool
) -> None:
    (tmp_path / "00000007.seg").write_bytes(content)
    appender = make_appender(disk, tmp_path, first=8)
    appender.resume(7, 5, certain=certain)
    assert (tmp_path / "00000007.seg").read_bytes() == content
    assert [(tail.segment, tail.length, tail.sealed) for tail in appender.tails()] == [(7, 5, True)]
    assert appender.append([b"carol"]) == [Place(8, 0, 5)]


def test_reading_gives_what_is_there(disk: FaultyDisk, tmp_path: Path) -> None:
    (tmp_path / "00000001.seg").write_bytes(b"alicebob")
    files = SegmentFiles(disk, tmp_path)
    assert files.read(1, 5, 3) == b"bob"
    assert files.read(1, 5, 10) == b"bob"
    assert files.read(2, 0, 10) == b""
    disk.unreadable.add("00000001.seg")
    with pytest.raises(DiskFailed, match="could not read"):
        files.read(1, 0, 1)
    files.close()


def test_a_place_that_the_disk_does_not_give_is_not_all_of_the_disk(disk: FaultyDisk, tmp_path: Path) -> None:
    (tmp_path / "00000001.seg").write_bytes(b"alicebobcarol")
    files = SegmentFiles(disk, tmp_path)
    for damaged in (range(5, 8), range(8), range(5, 13)):
        disk.damaged["00000001.seg"] = damaged
        assert files.read(1, 5, 3) == b""
    disk.damaged["00000001.seg"] = range(6, 8)
    assert files.read(1, 5, 3) == b"b"
    assert files.read(1, 8, 5) == b"carol"
    disk.damaged["00000001.seg"] = range(13)
    with pytest.raises(DiskFailed, match="could not read"):
        files.read(1, 5, 3)
    files.close()


def test_few_files_are_kept_open(disk: FaultyDisk, tmp_path: Path) -> None:
    files = SegmentFiles(disk, tmp_path)
    for number in range(1, 101):
        (tmp_path / segment_name(number)).write_bytes(b"alice")
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    for number in [*range(1, 101), *range(1, 101)]:
        assert files.read(number, 0, 5) == b"alice"
    if before:
        assert len(list(Path("/proc/self/fd").iterdir())) <= before + 64
    files.close()


def test_a_removed_segment_is_forgotten(disk: FaultyDisk, tmp_path: Path) -> None:
    path = tmp_path / segment_name(1)
    path.write_bytes(b"alice")
    files = SegmentFiles(disk, tmp_path)
    assert files.read(1, 0, 5) == b"alice"
    path.unlink()
    assert files.read(1, 0, 5) == b"alice"
    files.forget(1)
    assert files.read(1, 0, 5) == b""


@pytest.mark.parametrize("at", [1, 2])
def test_a_segment_whose_name_is_not_durable_is_not_used(
    appender: Appender, disk: FaultyDisk, at: int
) -> None:
    disk.fail(at, errno.EIO)
    with pytest.raises(DiskFailed, match="could not create"):
        appender.append([b"alice"])
    assert appender.active is None
    assert [(tail.segment, tail.length, tail.sealed) for tail in appender.tails()] == [(1, 0, True)]
    assert appender.append([b"alice"]) == [Place(2, 0, 5)]
