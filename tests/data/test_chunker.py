"""Cutting a stream: the same bytes give the same blocks, however they come in."""

import tracemalloc
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec.cid import Cid
from codex.data import BLOCK_SIZE, Batch, Batcher, Manifest, TreeBuilder, hash_blocks
from codex.data.chunker import GATHERED, SMALL

Vectors = Callable[[str], Any]


def _blocks(batches: Sequence[Batch]) -> list[bytes]:
    return [bytes(block) for batch in batches for block in batch.blocks()]


def _cut(pieces: Sequence[bytes | memoryview], block_size: int, batch_bytes: int) -> list[Batch]:
    batcher = Batcher(block_size, batch_bytes)
    batches = [batch for piece in pieces for batch in batcher.feed(piece)]
    last = batcher.finish()
    assert batcher.finish() is None
    assert batcher.size == sum(map(len, pieces))
    return [*batches, last] if last is not None else batches


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=300),
    st.lists(st.integers(0, 300), max_size=12),
    st.integers(1, 40),
    st.integers(0, 120),
)
def test_any_splitting_gives_the_same_blocks(
    data: bytes, cuts: list[int], block_size: int, batch_bytes: int
) -> None:
    batches = _cut(_pieces(data, cuts), block_size, batch_bytes)
    padded = data + bytes(-len(data) % block_size)
    expected = [padded[at : at + block_size] for at in range(0, len(padded), block_size)]
    assert [bytes(block) for batch in batches for block in batch.blocks()] == expected
    # Each batch says which part it is, and all but the last have the same size.
    assert [batch.first for batch in batches] == [
        sum(before.block_count for before in batches[:i]) for i in range(len(batches))
    ]
    assert sum(batch.size for batch in batches) == len(data)
    whole = max(1, batch_bytes // block_size) * block_size
    assert all(batch.size == whole for batch in batches[:-1])
    assert all(0 < batch.size <= whole for batch in batches)
    assert all(len(batch.blocks()) == batch.block_count for batch in batches)


def test_a_batch_is_given_as_soon_as_it_is_full() -> None:
    batcher = Batcher(4, 8)
    assert batcher.feed(b"1234567") == []
    (batch,) = batcher.feed(b"8")
    assert [bytes(block) for block in batch.blocks()] == [b"1234", b"5678"]
    first, second = batcher.feed(b"a" * 17)
    assert (first.first, first.size, second.first, second.size) == (2, 8, 4, 8)
    last = batcher.finish()
    assert last is not None
    assert (last.first, last.size, last.block_count) == (6, 1, 1)
    assert [bytes(block) for block in last.blocks()] == [b"a\0\0\0"]
    assert batcher.size == 25


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.binary(max_size=60) | st.integers(0, 3).map(lambda n: bytes(n * SMALL)), max_size=12),
    st.integers(1, 40),
    st.integers(0, 120),
    st.sets(st.integers(0, 11)),
)
def test_a_batch_may_be_cut_before_its_time(
    pieces: list[bytes], block_size: int, batch_bytes: int, early: set[int]
) -> None:
    batcher = Batcher(block_size, batch_bytes)
    batches: list[Batch] = []
    for number, piece in enumerate(pieces):
        batches += batcher.feed(piece)
        if number in early:
            kept = batcher.held
            batch = batcher.cut()
            assert (batch is None) == (kept < block_size)
            assert batcher.held == kept % block_size
            if batch is not None:
                assert batch.size == kept - kept % block_size
                batches.append(batch)
    last = batcher.finish()
    batches += [last] if last is not None else []
    data = b"".join(pieces)
    padded = data + bytes(-len(data) % block_size)
    assert b"".join(_blocks(batches)) == padded
    assert [batch.first for batch in batches] == [
        sum(before.block_count for before in batches[:i]) for i in range(len(batches))
    ]


@pytest.mark.parametrize("size", [1, 7, SMALL - 1])
def test_small_pieces_take_little_more_than_their_bytes(size: int) -> None:
    batcher = Batcher()
    piece = bytes(size)
    tracemalloc.start()
    try:
        for _ in range(2 * BLOCK_SIZE // size * 8):
            batcher.feed(piece)
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now < 1.1 * batcher.held + 2 * GATHERED
    last = batcher.finish()
    assert last is not None
    assert len(last.pieces) <= batcher.size // (GATHERED - SMALL) + 1


def test_what_is_dropped_is_kept_no_more() -> None:
    batcher = Batcher(4, 100)
    batcher.feed(b"12345")
    batcher.feed(bytes(2 * SMALL)[:95])
    batcher.clear()
    assert batcher.held == 0
    assert batcher.cut() is None
    assert batcher.finish() is None


def test_nothing_gives_nothing() -> None:
    batcher = Batcher()
    assert batcher.feed(b"") == []
    assert batcher.finish() is None
    assert batcher.size == 0


def test_feeding_bytes_copies_only_at_the_borders_of_batches() -> None:
    pieces = [bytes([n]) * SMALL for n in range(3)]
    batcher = Batcher(10, 5 * SMALL // 2)
    done = [batch for piece in pieces for batch in batcher.feed(piece)]
    assert [[part is piece for part, piece in zip(batch.pieces, pieces, strict=True)] for batch in done] == [
        [True, True, False]
    ]


def test_what_is_kept_is_bytes_and_changes_no_more() -> None:
    # Joining anything else keeps the interpreter's lock, and the loop with it.
    buffer = bytearray(b"abcdefgh")
    batcher = Batcher(4, 4)
    first, second = batcher.feed(memoryview(buffer))
    buffer[:] = bytes(8)
    assert all(type(part) is bytes for batch in (first, second) for part in batch.pieces)
    assert b"".join(map(bytes, first.blocks() + second.blocks())) == b"abcdefgh"


def test_blocks_are_read_only_views_of_one_buffer() -> None:
    (batch,) = _cut([memoryview(bytearray(b"abcdef")), b"gh"], 3, 100)
    blocks = batch.blocks()
    assert all(block.readonly for block in blocks)
    assert len({id(block.obj) for block in blocks}) == 1
    assert [bytes(block) for block in blocks] == [b"abc", b"def", b"gh\0"]


def test_a_batch_shows_its_size_and_not_its_bytes() -> None:
    (batch,) = _cut([b"abc", b"def"], 3, 100)
    assert repr(batch) == "Batch(first=0, size=6, block_size=3, pieces=<1 pieces>)"


@pytest.mark.parametrize("block_size", [0, -1])
def test_a_block_size_must_be_positive(block_size: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        Batcher(block_size)


@cache
def _pattern_row(offset: int) -> bytes:
    return bytes((7 * j + offset) & 255 for j in range(256))


def _content(formula: str, size: int) -> bytes:
    """The bytes that a row of cids.json means."""
    if formula.startswith(("UTF-8 text: ", "ASCII: ")):
        return formula.split(": ", 1)[1].encode()
    if formula == "the single byte 00" or formula.endswith(" zero bytes"):
        return bytes(size)
    if formula.startswith("pattern, "):
        rows = [_pattern_row((13 * row + (row >> 8) + 5) & 255) for row in range(-(-size // 256))]
        return b"".join(rows)[:size]
    assert formula.startswith("31-pattern")
    return (bytes((31 * i + 7) & 255 for i in range(256)) * (size // 256 + 1))[:size]


def test_known_uploads_from_bytes_to_manifest(vectors: Vectors) -> None:
    rows = vectors("cids")["datasets"]
    assert len(rows) > 30
    for row in rows:
        data = _content(row["content"], row["dataset_size"])
        pieces = [data[at : at + 100_000] for at in range(0, len(data), 100_000)]
        builder = TreeBuilder()
        cids: list[Cid] = []
        for batch in _cut(pieces, BLOCK_SIZE, 1 << 20):
            blocks = hash_blocks(batch.blocks())
            builder.add([block.cid.digest for block in blocks])
            cids += [block.cid for block in blocks]
        tree = builder.finish()
        manifest = Manifest.of_upload(tree.root_cid, len(data), row["filename"], row["mimetype"])
        assert [str(cid) for cid in cids[:8]] == row["block_cids"]
        assert len(cids) == row["blocks"] == manifest.block_count
        assert str(tree.root_cid) == row["tree_cid"]
        assert manifest.to_bytes().hex() == row["manifest_hex"]
        assert str(manifest.cid) == row["manifest_cid"]
