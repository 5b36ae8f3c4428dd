"""The ballast: room that is really taken, given back at once, and taken on again when there is plenty."""

import errno
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
    assert path.stat().st_size == 0
    assert not ballast.release()
    small.room = 1999
    assert not ballast.restore()
    assert path.stat().st_size == 0
    with pytest.raises(DiskFull, match="kept for deleting") as caught:
        ballast.require()
    assert caught.value.remedy
    small.room = 2000
    ballast.require()
    assert ballast.restore()
    assert ballast.restore()
    assert path.stat().st_size == 1000
    ballast.close()


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
