"""The ballast: room that is really taken, given back at once, and taken on again when there is plenty."""

import errno
import os
from pathlib import Path

import pytest

from codex.errors import DiskFailed, DiskFull
from codex.store.ballast import Ballast
from codex.store.disk import OsDisk
from codex.testing.disks import FaultyDisk


class SmallDisk(FaultyDisk):
    """A disk that says how much room it has."""

    room = 1 << 30

    def free(self, path: Path) -> int:
        return self.room


@pytest.fixture
def small(tmp_path: Path) -> SmallDisk:
    return SmallDisk()


def test_it_is_taken_aboard_lent_out_and_taken_again(small: SmallDisk, tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    ballast = Ballast(small, path, 1000)
    assert ballast.aboard
    assert path.stat().st_size == 1000
    assert ballast.release()
    assert path.stat().st_size == 500
    assert not ballast.release()
    assert ballast.missing == 500
    small.room = 999
    assert not ballast.restore()
    assert path.stat().st_size == 500
    with pytest.raises(DiskFull, match="kept for deleting") as caught:
        ballast.require()
    assert caught.value.remedy
    small.room = 1000
    ballast.require()
    assert ballast.restore()
    assert ballast.restore()
    assert path.stat().st_size == 1000
    ballast.close()


def test_it_is_lent_by_halves_but_for_what_a_start_needs(small: SmallDisk, tmp_path: Path) -> None:
    ballast = Ballast(small, tmp_path / "ballast", 1 << 20)
    small.room = 0
    sizes = []
    while ballast.release(sparing=True):
        sizes.append((tmp_path / "ballast").stat().st_size >> 10)
    assert sizes == [512, 256]
    while ballast.release():
        sizes.append((tmp_path / "ballast").stat().st_size >> 10)
    assert sizes == [512, 256, 128]


def test_for_a_start_all_of_it_is_given(small: SmallDisk, tmp_path: Path) -> None:
    path = tmp_path / "ballast"
    ballast = Ballast(small, path, 1000)
    ballast.release()
    assert ballast.release_all()
    assert path.stat().st_size == 0
    assert not ballast.release_all()
    small.room = 1999
    assert not ballast.restore()
    small.room = 2000
    assert ballast.restore()


@pytest.mark.parametrize(("room", "most", "held"), [(100_000, 1 << 30, 100_000), (100_000, 90_000, 50_000)])
def test_at_the_end_it_takes_what_there_is(
    small: SmallDisk, tmp_path: Path, room: int, most: int, held: int
) -> None:
    path = tmp_path / "ballast"
    ballast = Ballast(small, path, 200_000)
    ballast.release_all()
    small.room = room
    small.capacity = most
    ballast.stow()
    assert path.stat().st_size == held
    small.room = 0
    again = Ballast(small, path, 200_000)
    assert again.missing == 200_000 - held
    assert again.release_all()
    small.room = 10_000  # not worth it
    again.stow()
    assert path.stat().st_size == 0
    small.room = small.capacity = 1 << 30
    again.stow()
    assert path.stat().st_size == 200_000


def test_one_that_is_too_large_is_cut(small: SmallDisk, tmp_path: Path) -> None:
    Ballast(small, tmp_path / "ballast", 3000).close()
    assert Ballast(small, tmp_path / "ballast", 1000).aboard
    assert (tmp_path / "ballast").stat().st_size == 1000


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_what_is_no_file_is_no_full_disk(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ballast"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    with pytest.raises(DiskFailed, match="open ballast"):
        Ballast(OsDisk(), path, 1000)


def test_a_disk_that_fails_to_give_room_is_not_full(small: SmallDisk, tmp_path: Path) -> None:
    ballast = Ballast(small, tmp_path / "ballast", 1000)
    ballast.release()
    for take in (ballast.require, ballast.restore):
        small.fail(1, errno.EIO)
        with pytest.raises(DiskFailed, match="take room for ballast"):
            take()
    ballast.require()


def test_it_is_found_again_at_the_next_start(small: SmallDisk, tmp_path: Path) -> None:
    Ballast(small, tmp_path / "ballast", 1000).close()
    small.room = 0
    assert Ballast(small, tmp_path / "ballast", 1000).aboard
    assert not Ballast(small, tmp_path / "ballast", 2000).aboard


def test_it_takes_real_room_on_a_real_disk(tmp_path: Path) -> None:
    Ballast(OsDisk(), tmp_path / "ballast", 1 << 20).close()
    assert (tmp_path / "ballast").stat().st_blocks * 512 >= 1 << 20


def test_a_disk_without_room_for_it_is_no_error(small: SmallDisk, tmp_path: Path) -> None:
    small.fail(2, errno.ENOSPC)
    ballast = Ballast(small, tmp_path / "ballast", 1000)
    assert not ballast.aboard
    assert (tmp_path / "ballast").stat().st_size == 0
    assert ballast.restore()


def test_none_may_be_asked_for(small: SmallDisk, tmp_path: Path) -> None:
    ballast = Ballast(small, tmp_path / "ballast", 0)
    assert not ballast.aboard
    assert not ballast.restore()
    assert not ballast.release()


def test_a_disk_that_fails_is_told(small: SmallDisk, tmp_path: Path) -> None:
    small.fail(1, errno.EIO)
    with pytest.raises(DiskFailed, match="ballast"):
        Ballast(small, tmp_path / "ballast", 1000)
    ballast = Ballast(small, tmp_path / "ballast", 1000)
    small.fail(1, errno.EIO)
    with pytest.raises(DiskFailed, match="ballast"):
        ballast.release()
