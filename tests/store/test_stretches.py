"""Long stretches of leaves: in order, small at first, and ended by what cannot be had."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codex.codec import Cid, root_cid
from codex.data import Block
from codex.errors import BlockNotFound, CorruptData, NotADataset
from codex.store import stretches
from codex.store.manifests import Record
from codex.store.reads import Run
from codex.store.repo import Repo
from codex.store.stretches import Stretch
from codex.testing.stores import make_blocks, make_dataset, read_alone

Upload = Callable[..., Record]

BLOCKS = make_blocks(range(12), 1000)
TREE, _ = make_dataset(BLOCKS)
EMPTY = Block.of(b"")


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


def read_on(repo: Repo, tree: Cid, first: int, stop: int, blocks: int, room: int) -> tuple[bytes, list[int]]:
    """A long stretch, taken `room` buffers at a time: its bytes, and where each hop stopped."""
    got: list[memoryview] = []
    stops = [first]
    while stops[-1] < stop:
        taken: list[memoryview] = []

        def take(buffer: memoryview, taken: list[memoryview] = taken) -> bool:
            taken.append(buffer)
            return len(taken) < room

        fed = read_alone(Stretch(repo.reader, tree, stops[-1], stop, blocks, take))
        got += taken
        if fed.error is not None:
            raise fed.error
        assert fed.next > stops[-1]
        stops.append(fed.next)
    return b"".join(got), stops


@pytest.mark.parametrize("blocks", [1, 3, 64])
@pytest.mark.parametrize("room", [1, 2, 100])
def test_a_long_stretch_is_the_bytes_in_order(
    repo: Repo, upload: Upload, blocks: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stretches, "LOOKED_UP", 7)
    many = [*make_blocks(range(100, 140), 16), EMPTY, *make_blocks(range(120, 150), 16), EMPTY]
    tree, _ = make_dataset(many)
    upload(repo, many)
    for first, stop in ((0, 72), (5, 71), (40, 41), (71, 72), (3, 3)):
        data, stops = read_on(repo, tree.root_cid, first, stop, blocks, room)
        assert data == b"".join(bytes(block.data) for block in many[first:stop])
        assert stops[-1] == stop


def test_a_long_stretch_begins_small_and_gives_up_its_thread(
    repo: Repo, dataset: Cid, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    gather = repo.reader.gather

    def count(rows: list[Any]) -> Run:
        asked.append(len(rows))
        return gather(rows)

    monkeypatch.setattr(repo.reader, "gather", count)
    assert read_alone(Stretch(repo.reader, dataset, 0, 12, 64, lambda _: True)).next == 12
    assert asked == [4, 8]
    monkeypatch.setattr(stretches, "HOP_BYTES", 4001)
    assert read_on(repo, dataset, 0, 12, 2, 100)[1] == [0, 6, 12]


def test_what_cannot_be_had_of_a_long_stretch_comes_last(
    repo: Repo, dataset: Cid, rot: Callable[..., None]
) -> None:
    got: list[memoryview] = []

    def take(buffer: memoryview) -> bool:
        got.append(buffer)
        return True

    fed = read_alone(Stretch(repo.reader, dataset, 2, 15, 64, take))
    assert isinstance(fed.error, BlockNotFound)
    assert b"".join(got) == b"".join(bytes(block.data) for block in BLOCKS[2:])
    got.clear()
    rot(1500, 2)
    fed = read_alone(Stretch(repo.reader, dataset, 2, 12, 64, take))
    assert isinstance(fed.error, CorruptData)
    assert len(fed.rotten) == 1
    assert b"".join(got) == b"".join(bytes(block.data) for block in BLOCKS[2:9])
    repo.mark_bad(fed.rotten)
    fed = read_alone(Stretch(repo.reader, root_cid(bytes(32)), 0, 1, 64, take))
    assert isinstance(fed.error, BlockNotFound)


@pytest.mark.parametrize("odd", [*make_blocks([1], 24), *make_blocks([1], 8), EMPTY])
def test_a_long_stretch_ends_before_a_leaf_of_another_size(repo: Repo, upload: Upload, odd: Block) -> None:
    many = [*make_blocks(range(100, 109), 16), odd, *make_blocks(range(110, 120), 16)]
    tree, _ = make_dataset(many)
    upload(repo, many)
    got: list[memoryview] = []
    fed = read_alone(
        Stretch(repo.reader, tree.root_cid, 2, 20, 64, lambda view: got.append(view) is None, 16)
    )
    assert b"".join(got) == b"".join(bytes(block.data) for block in many[2:9])
    assert fed.next == 9
    assert isinstance(fed.error, NotADataset)
    assert f"has {len(odd.data)} bytes, and 16" in fed.error.message


def test_leaves_without_bytes_before_one_that_is_damaged_count(
    repo: Repo, upload: Upload, rot: Callable[..., None]
) -> None:
    mixed = [EMPTY, BLOCKS[0], EMPTY, BLOCKS[1]]
    tree, _ = make_dataset(mixed)
    upload(repo, mixed)
    rot(1500)
    stretch = Stretch(repo.reader, tree.root_cid, 0, 4, 4, lambda _: True)
    fed = read_alone(stretch)
    assert isinstance(fed.error, CorruptData)
    assert fed.next == 3
    repo.mark_bad(fed.rotten)
