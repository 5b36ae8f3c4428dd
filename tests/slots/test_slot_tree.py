"""The tree of a slot: what fills it up, its names, and how it is kept."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import Cid
from codex.codec.cid import (
    CODEX_SLOT_CELL,
    CODEX_SLOT_ROOT,
    IDENTITY,
    POSEIDON2_MERKLE_2KB,
    proving_root_cid,
    slot_cell_cid,
    slot_root_cid,
)
from codex.errors import DecodeError, InvalidInput
from codex.kernels import poseidon2_spec as spec
from codex.kernels.poseidon2_constants import PRIME
from codex.slots import SlotShape, SlotTree, field_tree, verify
from codex.slots.cells import zero_root

Vectors = Callable[[str], Any]


def _shape(blocks: int) -> SlotShape:
    return SlotShape(slot_count=3, block_count=blocks)


def _roots(count: int) -> bytes:
    return b"".join(spec.encode(pow(7, i + 1, PRIME)) for i in range(count))


def test_known_root_of_one_block_of_zeros(vectors: Vectors) -> None:
    tree = SlotTree.of(_shape(1), zero_root())
    assert tree.root.hex() == vectors("poseidon2")["constants"]["single_zero_block_slot_root_le_hex"]
    assert tree.root == spec.encode(int(vectors("slots")["constants"]["single_zero_block_slot_root"]))


def test_known_names(vectors: Vectors) -> None:
    known, element = vectors("slots")["cids_of_field_element_12345"], spec.encode(12345)
    for name, cid in (
        ("cell", slot_cell_cid(element)),
        ("slot", slot_root_cid(element)),
        ("verify", proving_root_cid(element)),
    ):
        assert str(cid) == known[name]
        assert cid.raw.hex() == known[f"{name}_hex"]
        assert Cid.parse(known[name]) == cid


@settings(max_examples=20)
@given(st.integers(1, 20))
def test_blocks_of_zeros_fill_it_up(count: int) -> None:
    shape = _shape(count)
    tree = SlotTree.of(shape, _roots(count))
    assert tree.tree.leaf_count == shape.padded_block_count
    assert tree.root == field_tree(_roots(count) + zero_root() * shape.pad_blocks).root
    for position in range(shape.padded_block_count):
        leaf = _roots(count)[position * 32 :][:32] if position < count else zero_root()
        assert verify(tree.proof(position), leaf, tree.root)


def test_its_names_say_what_they_are() -> None:
    tree = SlotTree.of(_shape(3), _roots(3))
    assert (tree.cid.codec, tree.cid.multihash_code, tree.cid.digest) == (
        CODEX_SLOT_ROOT,
        IDENTITY,
        tree.root,
    )
    leaf = tree.leaf_cid(1)
    assert (leaf.codec, leaf.multihash_code) == (CODEX_SLOT_CELL, POSEIDON2_MERKLE_2KB)
    assert leaf.digest == _roots(3)[32:64]
    assert tree.leaf_cid(3).digest == zero_root()
    assert tree.proof(0).code == IDENTITY


@given(st.integers(1, 9))
def test_it_is_kept_in_32_bytes_a_block(count: int) -> None:
    tree = SlotTree.of(_shape(count), _roots(count))
    kept = tree.to_bytes()
    assert len(kept) == 32 * count
    assert SlotTree.from_bytes(_shape(count), kept, tree.root) == tree


def test_what_is_read_must_give_the_root() -> None:
    tree = SlotTree.of(_shape(3), _roots(3))
    kept, other = tree.to_bytes(), spec.encode(1)
    with pytest.raises(DecodeError, match=f"has the root {tree.root.hex()}, not {other.hex()}"):
        SlotTree.from_bytes(_shape(3), kept, other)
    with pytest.raises(DecodeError, match="has the root"):
        SlotTree.from_bytes(_shape(3), kept[32:] + kept[:32], tree.root)
    with pytest.raises(DecodeError, match="the roots of 3 blocks have 96 bytes, and 64 bytes came"):
        SlotTree.from_bytes(_shape(3), kept[:64], tree.root)
    with pytest.raises(DecodeError, match="no field element"):
        SlotTree.from_bytes(_shape(3), b"\xff" * 96, tree.root)


@pytest.mark.parametrize("size", [0, 64, 95, 128])
def test_another_number_of_roots_is_refused(size: int) -> None:
    with pytest.raises(InvalidInput, match=f"have 96 bytes, and {size} bytes came"):
        SlotTree.of(_shape(3), bytes(size))


@pytest.mark.parametrize("position", [-1, 4])
def test_leaves_that_are_not_there_are_refused(position: int) -> None:
    tree = SlotTree.of(_shape(3), _roots(3))
    with pytest.raises(InvalidInput, match=f"none at {position}"):
        tree.proof(position)
    with pytest.raises(InvalidInput, match=f"none at {position}"):
        tree.leaf_cid(position)
