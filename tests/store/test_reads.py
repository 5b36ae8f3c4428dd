"""Reading: everything verified, neighbours together, and a second look before anything is called damaged."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from codex.codec import Cid, block_cid, manifest_cid, root_cid
from codex.data import Block, LeafAddress
from codex.errors import BlockNotFound, CorruptData, DiskFailed
from codex.store import reads
from codex.store.manifests import Record
from codex.store.planning import Put, Stage
from codex.store.reads import Run, blocks_of
from codex.store.repo import Repo
from codex.store.stretches import Stretch
from codex.testing.disks import FaultyDisk
from codex.testing.stores import make_blocks, make_dataset, read_alone

Upload = Callable[..., Record]

BLOCKS = make_blocks(range(12), 1000)
TREE, _ = make_dataset(BLOCKS)
EMPTY = Block.of(b"")
ABSENT = block_cid(bytes(32))


@pytest.fixture
def dataset(repo: Repo, upload: Upload) -> Cid:
    """A dataset of all blocks, over two segments; its tree."""
    upload(repo, BLOCKS)
    return TREE.root_cid


@pytest.fixture
def rot(tmp_path: Path) -> Callable[..., None]:
    """Damage some bytes of a segment."""

    def rot(offset: int, segment: int = 1, bytes_: bytes = b"rot") -> None:
        path = tmp_path / "repo" / "segments" / f"{segment:08}.seg"
        content = bytearray(path.read_bytes())
        content[offset : offset + len(bytes_)] = bytes_
        path.write_bytes(content)

    return rot


def read_run(repo: Repo, tree: Cid, first: int, count: int) -> Run:
    """The buffers of `count` leaves, and the error that ended them."""
    buffers: list[memoryview] = []

    def take(buffer: memoryview) -> bool:
        buffers.append(buffer)
        return True

    fed = read_alone(Stretch(repo.reader, tree, first, first + count, 64, take))
    return Run(buffers, fed.rotten, fed.error)


def test_blocks_are_found_by_any_address_in_any_order(repo: Repo, dataset: Cid) -> None:
    addresses = [
        BLOCKS[7].cid,
        LeafAddress(dataset, 2),
        EMPTY.cid,
        BLOCKS[7].cid,
        LeafAddress(dataset, 11),
        LeafAddress(dataset, 0),
    ]
    found = repo.reader.find(addresses)
    assert blocks_of(found, addresses) == [BLOCKS[7], BLOCKS[2], EMPTY, BLOCKS[7], BLOCKS[11], BLOCKS[0]]
    assert repo.reader.has(addresses) == [True] * 6


def test_what_is_not_here_is_none_and_named_when_it_must_be(repo: Repo, dataset: Cid) -> None:
    addresses = [
        BLOCKS[0].cid,
        ABSENT,
        LeafAddress(dataset, 12),
        LeafAddress(root_cid(bytes(32)), 0),
        manifest_cid(b""),
        LeafAddress(dataset, -1),
    ]
    found = repo.reader.find(addresses)
    assert found.answers == [BLOCKS[0], None, None, None, None, None]
    assert repo.reader.has(addresses) == [True] + [False] * 5
    for address in addresses[1:]:
        with pytest.raises(BlockNotFound, match=str(address).split("/")[0]):
            blocks_of(repo.reader.find([address]), [address])


def test_a_manifest_is_a_block_too(repo: Repo, upload: Upload) -> None:
    record = upload(repo, BLOCKS)
    assert repo.reader.find([record.cid]).answers == [Block(record.cid, record.data)]
    assert repo.reader.has([record.cid]) == [True]


def test_scattered_and_neighbouring_leaves(repo: Repo, upload: Upload) -> None:
    many = make_blocks(range(100, 1400), 16)
    tree, _ = make_dataset(many)
    upload(repo, many)
    for indices in (list(range(1299, -1, -1)), [0, 1299], list(range(0, 1300, 2)), [5, 5, 5]):
        addresses = [LeafAddress(tree.root_cid, index) for index in indices]
        assert blocks_of(repo.reader.find(addresses), addresses) == [many[index] for index in indices]


def test_neighbours_are_read_at_once_and_share_a_buffer(
    repo: Repo, dataset: Cid, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[int, int, int]] = []
    original = repo.reader._files.read

    def count(segment: int, offset: int, size: int) -> bytes:
        read.append((segment, offset, size))
        return original(segment, offset, size)

    monkeypatch.setattr(repo.reader._files, "read", count)
    addresses = [block.cid for block in BLOCKS]
    blocks = blocks_of(repo.reader.find(addresses), addresses)
    assert read == [(1, 0, 8000), (2, 0, 4000)]
    assert blocks[0].data.obj is blocks[7].data.obj
    read.clear()
    assert len(read_run(repo, dataset, 0, 12).buffers) == 3
    assert read == [(1, 0, 4000), (1, 4000, 4000), (2, 0, 4000)]
    read.clear()
    monkeypatch.setattr(reads, "RUN_BYTES", 2500)
    read_run(repo, dataset, 1, 4)
    assert read == [(1, 1000, 2000), (1, 3000, 2000)]
    read.clear()
    monkeypatch.setattr(reads, "BLOCKS_BYTES", 3000)
    repo.reader.find_leaves(dataset, [1, 2, 3, 4, 6, 8])
    assert read == [(1, 1000, 3000), (1, 4000, 1000), (1, 6000, 1000), (2, 0, 1000)]


@pytest.mark.parametrize(("first", "count"), [(0, 12), (3, 1), (0, 0), (7, 2), (11, 1)])
def test_a_run_is_the_bytes_in_order(repo: Repo, dataset: Cid, first: int, count: int) -> None:
    run = read_run(repo, dataset, first, count)
    assert run.error is None
    assert b"".join(run.buffers) == b"".join(bytes(block.data) for block in BLOCKS[first : first + count])


def test_a_run_of_repeated_shuffled_and_empty_leaves(repo: Repo, upload: Upload) -> None:
    upload(repo, BLOCKS)
    mixed = [BLOCKS[n] for n in (3, 3, 2, 11, 0, 1)] + [EMPTY, BLOCKS[3], EMPTY]
    tree, _ = make_dataset(mixed)
    upload(repo, mixed)
    run = read_run(repo, tree.root_cid, 0, 9)
    assert run.error is None
    assert b"".join(run.buffers) == b"".join(bytes(block.data) for block in mixed)


def test_a_run_that_is_not_all_here_ends_with_what_is_missing(repo: Repo, dataset: Cid) -> None:
    run = read_run(repo, dataset, 10, 5)
    assert b"".join(run.buffers) == bytes(BLOCKS[10].data) + bytes(BLOCKS[11].data)
    assert isinstance(run.error, BlockNotFound)
    assert "/12" in str(run.error)
    run = read_run(repo, root_cid(bytes(32)), 0, 1)
    assert isinstance(run.error, BlockNotFound)


def test_damage_is_found_by_reading_and_remembered(
    repo: Repo, dataset: Cid, rot: Callable[..., None]
) -> None:
    rot(2500)
    addresses = [block.cid for block in BLOCKS]
    found = repo.reader.find(addresses)
    assert isinstance(found.answers[2], CorruptData)
    assert [answer == block for answer, block in zip(found.answers, BLOCKS, strict=True)] == [True] * 2 + [
        False
    ] + [True] * 9
    with pytest.raises(CorruptData, match=str(BLOCKS[2].cid)):
        blocks_of(found, addresses)
    assert repo.reader.has([BLOCKS[2].cid]) == [True]
    repo.mark_bad(found.rotten)
    assert repo.reader.has([BLOCKS[2].cid, LeafAddress(dataset, 2)]) == [False, False]
    assert repo.reader.missing(dataset, 0, 12) == 1
    again = repo.reader.find([LeafAddress(dataset, 2)])
    assert isinstance(again.answers[0], CorruptData)
    assert again.rotten == ()


def test_leaves_that_are_damaged_or_gone_are_left_out(
    repo: Repo, upload: Upload, rot: Callable[..., None]
) -> None:
    mixed = [*BLOCKS[:5], EMPTY, BLOCKS[1]]
    tree, _ = make_dataset(mixed)
    upload(repo, mixed)
    proved = [(block, tree.proof(index).to_bytes()) for index, block in enumerate(mixed)]
    indices = [6, 0, 5, 7, 5, 2, 1]
    found = repo.reader.find_leaves(tree.root_cid, indices)
    assert found.answers == [proved[index] if index < 7 else None for index in indices]
    rot(1500)
    found = repo.reader.find_leaves(tree.root_cid, range(8))
    assert found.answers == [proved[0], None, *proved[2:6], None, None]
    assert len(found.rotten) == 1
    repo.mark_bad(found.rotten)
    again = repo.reader.find_leaves(tree.root_cid, range(8))
    assert (again.answers, again.rotten) == (found.answers, ())
    assert repo.reader.find_leaves(tree.root_cid, []).answers == []


def test_a_run_ends_before_damage(repo: Repo, dataset: Cid, rot: Callable[..., None]) -> None:
    rot(2500)
    run = read_run(repo, dataset, 0, 12)
    assert b"".join(run.buffers) == bytes(BLOCKS[0].data) + bytes(BLOCKS[1].data)
    assert isinstance(run.error, CorruptData)
    assert len(run.rotten) == 1
    repo.mark_bad(run.rotten)
    run = read_run(repo, dataset, 0, 12)
    assert sum(map(len, run.buffers)) == 2000
    assert isinstance(run.error, CorruptData)
    assert run.rotten == ()


@pytest.mark.parametrize("cut", [0, 2500])
def test_a_segment_that_was_shortened_has_lost_only_its_end(
    repo: Repo, dataset: Cid, tmp_path: Path, cut: int
) -> None:
    path = tmp_path / "repo" / "segments" / "00000001.seg"
    content = path.read_bytes()
    path.write_bytes(content[:cut])
    found = repo.reader.find([block.cid for block in BLOCKS])
    lost = [isinstance(answer, CorruptData) for answer in found.answers]
    assert lost == [n >= cut // 1000 for n in range(8)] + [False] * 4
    run = read_run(repo, dataset, 0, 12)
    assert sum(map(len, run.buffers)) == cut // 1000 * 1000
    path.write_bytes(content)


def test_blocks_that_move_while_they_are_read_are_found_where_they_went(
    repo: Repo, dataset: Cid, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another store would have moved and overwritten everything between the look-up and the read."""
    repo.take_in([Put(make_blocks(range(50, 54), 1000), 5.0)])
    original = repo.reader._files.read
    moved = False

    def move_first(segment: int, offset: int, size: int) -> bytes:
        nonlocal moved
        if not moved:
            moved = True
            with repo._ledger.change("swap two blocks") as change:
                (a, b) = change.tx.execute(
                    "SELECT id, offset FROM blocks WHERE segment = 1 LIMIT 2"
                ).fetchall()
                data = original(1, a[1], 1000), original(1, b[1], 1000)
                file = repo._disk.open(repo.directory / "segments" / "00000001.seg")
                file.pwritev([data[1]], a[1])
                file.pwritev([data[0]], b[1])
                file.fdatasync()
                change.tx.execute("UPDATE blocks SET offset = ? WHERE id = ?", (b[1], a[0]))
                change.tx.execute("UPDATE blocks SET offset = ? WHERE id = ?", (a[1], b[0]))
        return original(segment, offset, size)

    monkeypatch.setattr(repo.reader._files, "read", move_first)
    found = repo.reader.find([block.cid for block in BLOCKS])
    assert found.answers == BLOCKS
    assert found.rotten == ()


def test_a_block_that_is_deleted_while_it_is_read_is_not_here(
    repo: Repo, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo.take_in([Put(BLOCKS[:1], 5.0)])
    original = repo.reader._files.read

    def delete_first(segment: int, offset: int, size: int) -> bytes:
        repo.delete_block(BLOCKS[0].cid)
        return original(segment, offset, size)

    monkeypatch.setattr(repo.reader._files, "read", delete_first)
    found = repo.reader.find([BLOCKS[0].cid])
    assert (found.answers, found.rotten) == ([None], ())


def test_a_leaf_that_is_deleted_while_it_is_read_is_not_called_damaged(
    repo: Repo, upload: Upload, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(repo, BLOCKS[:2])
    record = upload(repo, BLOCKS[2:3])
    tree, _ = make_dataset(BLOCKS[2:3])
    original = repo.reader._files.read
    gone: list[tuple[int, int]] = []  # the place that was compacted away

    def replace_first(segment: int, offset: int, size: int) -> bytes:
        if not gone:
            gone.append((segment, offset))
            rows = repo.catalogue.space().total_blocks
            number = repo.drop_dataset(record.cid)
            assert number is not None
            while repo.sweep(number, 0.0, 5):
                pass
            assert repo.take_in([Put(BLOCKS[5:6], 1e12)]) == [None]
            assert repo.catalogue.space().total_blocks == rows - 1
        return b"" if (segment, offset) in gone else original(segment, offset, size)

    monkeypatch.setattr(repo.reader._files, "read", replace_first)
    run = read_run(repo, tree.root_cid, 0, 1)
    assert (run.buffers, run.rotten) == ([], ())
    assert isinstance(run.error, BlockNotFound)


def test_a_disk_that_does_not_read_is_an_answer_and_no_damage(
    repo: Repo, dataset: Cid, disk: FaultyDisk
) -> None:
    disk.unreadable.add("00000001.seg")
    with pytest.raises(DiskFailed):
        repo.reader.find([BLOCKS[0].cid])
    with pytest.raises(DiskFailed):
        read_run(repo, dataset, 0, 12)
    disk.heal()
    assert repo.reader.find([BLOCKS[0].cid]).answers == [BLOCKS[0]]


@pytest.mark.parametrize("place", [range(2000, 2001), range(2500, 2501), range(1900, 3100)])
def test_what_lies_where_the_disk_does_not_read_is_damaged_and_nothing_else(
    repo: Repo, dataset: Cid, disk: FaultyDisk, place: range
) -> None:
    disk.damaged["00000001.seg"] = place
    lost = set(range(place.start // 1000, -(-place.stop // 1000)))
    found = repo.reader.find([block.cid for block in BLOCKS])
    for number, (answer, block) in enumerate(zip(found.answers, BLOCKS, strict=True)):
        assert isinstance(answer, CorruptData) if number in lost else answer == block
    assert len(found.rotten) == len(lost)
    run = read_run(repo, dataset, 0, 12)
    assert b"".join(run.buffers) == b"".join(bytes(block.data) for block in BLOCKS[: min(lost)])
    assert isinstance(run.error, CorruptData)
    repo.mark_bad(found.rotten)
    assert repo.take_in([Put([BLOCKS[number] for number in lost], 1e12)]) == [None]
    assert read_run(repo, dataset, 0, 12).error is None
    disk.heal()


def test_blocks_of_other_hashes_are_verified_too(repo: Repo, rot: Callable[..., None]) -> None:
    block = Block(Cid(bytes.fromhex("01829a031340") + hashlib.sha512(b"alice").digest()), b"alice")
    assert block.verify()
    assert repo.take_in([Put([block], 5.0)]) == [None]
    assert repo.reader.find([block.cid]).answers == [block]
    rot(0)
    found = repo.reader.find([block.cid])
    assert isinstance(found.answers[0], CorruptData)
    repo.mark_bad(found.rotten)


def test_missing_leaves_are_counted(repo: Repo, dataset: Cid) -> None:
    assert repo.reader.missing(dataset, 0, 12) == 0
    assert repo.reader.missing(dataset, 10, 5) == 3
    assert repo.reader.missing(root_cid(bytes(32)), 0, 7) == 7


def test_nothing_is_asked_and_nothing_is_found(repo: Repo) -> None:
    assert repo.reader.find([]).answers == []
    assert repo.reader.has([]) == []


def test_staged_leaves_have_no_address(repo: Repo) -> None:
    repo.take_in([Stage(repo.begin(), 0, BLOCKS)])
    assert repo.reader.find([LeafAddress(TREE.root_cid, 0), BLOCKS[0].cid]).answers == [None, None]
