"""A full disk: what does not fit is refused, what is there stays, and deleting always works and gives room
back.

Told on a simulated disk with little room, and on a real file system of that size where this process may
mount one.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from codex.data import Block
from codex.errors import DiskFull
from codex.store.disk import Disk, OsDisk
from codex.store.manifests import Record, record_of
from codex.store.opening import open_repo
from codex.store.planning import Stage
from codex.store.repo import Repo
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks, make_dataset

ROOM = 12 << 20
BALLAST = 1 << 20
BLOCK = 16 << 10
DATASET_BLOCKS = 48  # 768 KiB


def mount(path: Path) -> bool:
    """Put a small file system at `path`, if this process may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", path]
    return not subprocess.run(command, capture_output=True).returncode


def unmount(path: Path) -> None:
    subprocess.run(["umount", "--lazy", path], check=True)


def mountable() -> bool:
    with tempfile.TemporaryDirectory() as name:
        if not mount(Path(name)):
            return False
        unmount(Path(name))
        return True


@pytest.fixture(params=["simulated", *(["mounted"] if mountable() else [])])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, Disk]]:
    """A directory on a disk with 12 MiB."""
    if request.param == "simulated":
        disk = FaultyDisk()
        disk.capacity = ROOM
        yield tmp_path, disk
    else:
        assert mount(tmp_path)
        yield tmp_path, OsDisk()
        unmount(tmp_path)


@pytest.fixture
def start(small: tuple[Path, Disk]) -> Callable[[], Repo]:
    """Open the store on the small disk."""
    directory, disk = small

    def start() -> Repo:
        return open_repo(
            directory / "repo", quota=1 << 40, disk=disk, segment_bytes=1 << 20, ballast_bytes=BALLAST
        )

    return start


def upload(repo: Repo, blocks: list[Block]) -> Record:
    """Store a dataset as a node does: in batches, given up when the disk refuses."""
    tree, manifest = make_dataset(blocks, block_size=BLOCK)
    record = record_of(Block(manifest.cid, manifest.to_bytes()))
    ingest = repo.begin()
    try:
        for first in range(0, len(blocks), 16):
            (verdict,) = repo.take_in([Stage(ingest, first, blocks[first : first + 16])])
            if verdict is not None:
                raise verdict
        repo.commit(ingest, tree, record, 1e12)
    except DiskFull:
        repo.abort(ingest)
        raise
    return record


def clear(repo: Repo) -> None:
    while (tree := repo.next_tree()) is not None:
        while repo.sweep(tree, 0.0, 1000):
            pass


def fill(repo: Repo, datasets: Iterator[list[Block]]) -> dict[Record, list[Block]]:
    """Store datasets until the disk is full."""
    stored: dict[Record, list[Block]] = {}
    try:
        for blocks in datasets:
            stored[upload(repo, blocks)] = blocks
    except DiskFull as error:
        full = error
    assert full.remedy
    clear(repo)
    return stored


def large(first: int) -> Iterator[list[Block]]:
    """Datasets of 832 KiB, of which 64 KiB are the same in each."""
    shared = make_blocks(range(900_000, 900_004), BLOCK)
    for number in range(first, first + 100):
        yield [*make_blocks(range(1000 * number, 1000 * number + DATASET_BLOCKS), BLOCK), *shared]


def small_ones() -> Iterator[list[Block]]:
    for number in range(800_000, 820_000):
        yield make_blocks([number], 100)


def delete(repo: Repo, records: list[Record]) -> None:
    for record in records:
        assert repo.drop_dataset(record.cid) is not None
        clear(repo)
    while repo.compact():
        pass


def check(repo: Repo, stored: dict[Record, list[Block]]) -> None:
    audit(repo.directory)
    blocks = {block.cid for blocks in stored.values() for block in blocks}
    for record, content in stored.items():
        assert repo.catalogue.manifest(record.cid) == record.manifest
        assert repo.reader.find([block.cid for block in content]).answers == content
    assert repo.catalogue.space().total_blocks == len(blocks) + len(stored)


def fill_up(directory: Path, disk: Disk) -> None:
    """Take every byte that is left on the small disk, as some other program might."""
    if isinstance(disk, FaultyDisk):
        assert disk.capacity is not None
        disk.capacity -= disk.free(directory)
        return
    with (directory / "other").open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("last", [0, 2, 4])
def test_what_is_deleted_on_a_full_disk_gives_its_room_back(small: tuple[Path, Disk], last: int) -> None:
    directory, disk = small
    repo = open_repo(directory / "repo", quota=1 << 40, disk=disk, ballast_bytes=BALLAST)
    datasets = [make_blocks(range(1000 * n, 1000 * n + 12), 1 << 16) for n in range(1, 6)]
    stored = {upload(repo, blocks): blocks for blocks in datasets}
    segments = directory / "repo" / "segments"
    assert [path.stat().st_size for path in segments.iterdir()] == [5 * 12 << 16]
    fill_up(directory, disk)
    kept = list(stored)[last]
    delete(repo, [record for record in stored if record is not kept])
    taken = [path.stat().st_size for path in segments.iterdir()]
    assert sum(taken) == 12 << 16
    assert len(taken) <= 3
    check(repo, {kept: stored[kept]})
    assert disk.free(directory) > 2 << 20
    fresh = make_blocks(range(9000, 9012), 1 << 16)
    stored = {kept: stored[kept], upload(repo, fresh): fresh}
    check(repo, stored)
    repo.abandon()
    repo = open_repo(directory / "repo", quota=1 << 40, disk=disk, ballast_bytes=BALLAST)
    check(repo, stored)
    repo.close()


@pytest.mark.parametrize("gone", [[0, 1], [1, 3], [3, 4]])
def test_what_is_deleted_gives_its_room_back_however_much_is_left(
    small: tuple[Path, Disk], gone: list[int]
) -> None:
    directory, disk = small
    repo = open_repo(directory / "repo", quota=1 << 40, disk=disk, ballast_bytes=BALLAST)
    datasets = [make_blocks(range(1000 * n, 1000 * n + 12), 1 << 16) for n in range(1, 7)]
    stored = {upload(repo, blocks): blocks for blocks in datasets}
    fill_up(directory, disk)
    records = [list(stored)[n] for n in gone]
    delete(repo, records)
    stored = {record: blocks for record, blocks in stored.items() if record not in records}
    check(repo, stored)
    assert sum(path.stat().st_size for path in (directory / "repo" / "segments").iterdir()) == 4 * 12 << 16
    fresh = make_blocks(range(9000, 9012), 1 << 16)
    stored[upload(repo, fresh)] = fresh
    check(repo, stored)
    repo.close()


@pytest.mark.parametrize("orderly", [True, False])
def test_a_node_starts_and_deletes_again_though_every_byte_of_room_is_taken_from_it(
    small: tuple[Path, Disk], orderly: bool
) -> None:
    directory, disk = small

    def start() -> Repo:
        return open_repo(directory / "repo", quota=1 << 40, disk=disk, ballast_bytes=BALLAST)

    repo = start()
    datasets = [make_blocks(range(1000 * n, 1000 * n + 12), 1 << 16) for n in range(1, 7)]
    stored = {upload(repo, blocks): blocks for blocks in datasets}
    fill_up(directory, disk)
    for _ in range(2):
        record = next(iter(stored))
        assert repo.drop_dataset(record.cid) is not None
        clear(repo)
        del stored[record]
        fill_up(directory, disk)
    for _ in range(4):
        if orderly:
            repo.close()
        else:
            repo.abandon()
        fill_up(directory, disk)
        repo = start()
        check(repo, stored)
        fill_up(directory, disk)
    assert disk.free(directory) == 0
    delete(repo, [next(iter(stored))])
    del stored[next(iter(stored))]
    check(repo, stored)
    fresh = make_blocks(range(9000, 9012), 1 << 16)
    stored[upload(repo, fresh)] = fresh
    check(repo, stored)
    repo.close()


def test_a_segment_that_is_part_of_a_backup_is_not_cut_on_a_full_disk(small: tuple[Path, Disk]) -> None:
    directory, disk = small
    repo = open_repo(directory / "repo", quota=1 << 40, disk=disk, ballast_bytes=BALLAST)
    datasets = [make_blocks(range(1000 * n, 1000 * n + 24), 1 << 16) for n in range(1, 4)]
    stored = {upload(repo, blocks): blocks for blocks in datasets}
    (path,) = (directory / "repo" / "segments").iterdir()
    (directory / "link").hardlink_to(path)
    content = path.read_bytes()
    fill_up(directory, disk)
    kept = list(stored)[1]
    with suppress(DiskFull):
        delete(repo, [record for record in stored if record is not kept])
    assert (directory / "link").read_bytes() == content
    check(repo, {kept: stored[kept]})
    repo.close()


def test_a_full_disk_is_lived_with(start: Callable[[], Repo], small: tuple[Path, Disk]) -> None:
    repo = start()
    stored = fill(repo, large(1))
    assert len(stored) > 8
    check(repo, stored)
    # To the last page, if the index has not taken that already.
    tiny = fill(repo, small_ones())
    check(repo, stored | tiny)
    # A node starts on such a disk as well.
    repo.abandon()
    repo = start()
    check(repo, stored | tiny)
    # Deleting works, harms nobody, and gives room back.
    delete(repo, list(tiny))
    check(repo, stored)
    gone = list(stored)[::2]
    delete(repo, gone)
    stored = {record: blocks for record, blocks in stored.items() if record not in gone}
    check(repo, stored)
    more = fill(repo, large(200))
    assert len(more) >= len(gone) // 2
    stored |= more
    check(repo, stored)
    delete(repo, list(stored))
    assert repo.catalogue.space().quota_used == 0
    assert list((small[0] / "repo" / "segments").iterdir()) == []
    assert repo.restore_ballast()
    assert len(fill(repo, large(400))) > 5
    repo.close()
