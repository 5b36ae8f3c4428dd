"""Cells and the trees over them: known values, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from codex.data import BLOCK_SIZE
from codex.errors import InvalidInput
from codex.kernels import poseidon2_spec as spec
from codex.slots import block_root, block_tree
from codex.slots.cells import cut, elements, zero_root

Vectors = Callable[[str], Any]


def test_known_block_roots(vectors: Vectors, content: Callable[[str, int, int], bytes]) -> None:
    roots = [row["root_le_hex"] for row in vectors("poseidon2")["blocks"]]
    pattern, text = content("pattern", BLOCK_SIZE, 0), b"some file contents".ljust(BLOCK_SIZE, b"\x00")
    assert [block_root(block).hex() for block in (bytes(BLOCK_SIZE), pattern, text)] == roots
    assert [block_tree(block).root.hex() for block in (bytes(BLOCK_SIZE), pattern, text)] == roots


def test_known_constants(vectors: Vectors) -> None:
    known = vectors("poseidon2")["constants"]
    assert zero_root().hex() == known["zero_block_root_le_hex"]
    assert block_tree(b"").leaf(0).hex() == known["empty_cell_digest_le_hex"]
    also = vectors("slots")["constants"]
    assert zero_root() == spec.encode(int(also["zero_block_root"]))
    assert zero_root().hex() == also["zero_block_root_le_hex"]
    assert block_tree(b"").leaf(31) == spec.encode(int(also["empty_cell_digest"]))


def test_a_block_without_data_is_one_of_zeros() -> None:
    assert block_root(b"") == block_root(bytes(BLOCK_SIZE)) == zero_root()
    assert block_tree(b"") == block_tree(bytes(BLOCK_SIZE))
    assert cut(b"", 31) == bytes(2048)


@pytest.mark.parametrize("at", [0, 1, 2047, 40_000, BLOCK_SIZE - 1])
def test_a_block_with_a_single_byte_in_it_is_none_of_zeros(at: int) -> None:
    block = bytearray(BLOCK_SIZE)
    block[at] = 1
    assert block_root(memoryview(block)) == block_tree(bytes(block)).root != zero_root()


def test_the_tree_is_over_the_cells() -> None:
    block = bytes(range(256)) * 4
    tree = block_tree(block, 1024, 128)
    assert tree.leaf_count == 8
    for index in range(8):
        cell = cut(block, index, 1024, 128)
        assert cell == block[index * 128 : (index + 1) * 128]
        assert tree.leaf(index) == spec.encode(spec.sponge(elements(cell)))
    assert tree.root == block_root(block, 1024, 128) == spec.block_root(block, 128)
    assert block_root(memoryview(block), 1024, 128) == tree.root


def test_a_cell_has_67_elements() -> None:
    assert elements(bytes(2048)) == (0,) * 66 + (1 << 16,)
    assert elements(b"\xff" * 2048) == ((1 << 248) - 1,) * 66 + (0x1FFFF,)


@pytest.mark.parametrize("size", [1, 2048, BLOCK_SIZE - 1, BLOCK_SIZE + 1])
def test_blocks_of_another_size_are_refused(size: int) -> None:
    for call in (block_root, block_tree, lambda block: cut(block, 0)):
        with pytest.raises(InvalidInput, match=f"a block of {size} bytes, where blocks have 65536"):
            call(bytes(size))


@pytest.mark.parametrize("cell_size", [0, -1, 3, 2 * BLOCK_SIZE])
def test_impossible_cells_are_refused(cell_size: int) -> None:
    with pytest.raises(InvalidInput, match=str(cell_size)):
        block_root(bytes(BLOCK_SIZE), BLOCK_SIZE, cell_size)
    with pytest.raises(InvalidInput, match=str(cell_size)):
        block_tree(bytes(BLOCK_SIZE), BLOCK_SIZE, cell_size)


@pytest.mark.parametrize("index", [-1, 32])
def test_cells_that_are_not_there_are_refused(index: int) -> None:
    with pytest.raises(InvalidInput, match=f"32 cells and none at {index}"):
        cut(bytes(BLOCK_SIZE), index)
