"""Cells: the pieces of a block that are hashed and asked for by themselves, and the tree over them.

A cell has 2048 bytes, which are 67 field elements: 66 times 31 bytes, and the last two bytes with a mark. The
sponge makes one element of them, the leaf of the block's tree.

A block of 64 KiB takes about 7 ms with the kernel and 0.15 s without; call this off the loop.
"""

from functools import lru_cache

from codex.data import BLOCK_SIZE, CELL_SIZE, MerkleTree
from codex.errors import InvalidInput
from codex.kernels import poseidon2
from codex.kernels.poseidon2_spec import to_elements
from codex.slots.trees import field_tree


def block_root(block: bytes | memoryview, block_size: int = BLOCK_SIZE, cell_size: int = CELL_SIZE) -> bytes:
    """The root over a block's cells, 32 bytes. A block without data stands for zeros; one of zeros, of which
    images of disks have many, takes hardly any time.

    Raises InvalidInput for a block of another size, and for one that is no whole number of cells.
    """
    if not len(block) or _whole(block, block_size) == bytes(block_size):
        return zero_root(block_size, cell_size)
    return poseidon2.block_root(block, cell_size)


def block_tree(
    block: bytes | memoryview, block_size: int = BLOCK_SIZE, cell_size: int = CELL_SIZE
) -> MerkleTree:
    """The whole tree over a block's cells, for the paths from them. Raises InvalidInput as `block_root`."""
    return field_tree(poseidon2.hash_cells(_whole(block or bytes(block_size), block_size), cell_size))


@lru_cache(maxsize=8)
def zero_root(block_size: int = BLOCK_SIZE, cell_size: int = CELL_SIZE) -> bytes:
    """The root of a block of zeros, which empty blocks and those that fill up a slot have. Remembered."""
    return poseidon2.block_root(bytes(block_size), cell_size)


def cut(
    block: bytes | memoryview, index: int, block_size: int = BLOCK_SIZE, cell_size: int = CELL_SIZE
) -> bytes:
    """The bytes of one cell. Raises InvalidInput as `block_root`, and when there is no such cell."""
    count = block_size // cell_size
    if not 0 <= index < count:
        raise InvalidInput(f"a block has {count} cells and none at {index}")
    at = index * cell_size
    return bytes(_whole(block or bytes(block_size), block_size)[at : at + cell_size])


def elements(cell: bytes | memoryview) -> tuple[int, ...]:
    """A cell as a circuit takes it: 67 field elements for 2048 bytes."""
    return tuple(to_elements(cell))


def _whole(block: bytes | memoryview, block_size: int) -> bytes | memoryview:
    if len(block) != block_size:
        raise InvalidInput(f"a block of {len(block)} bytes, where blocks have {block_size}")
    return block
