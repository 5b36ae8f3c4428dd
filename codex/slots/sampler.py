"""Which cells a challenge asks for, and what proves that they are in the slot.

    entropy    = the first 31 bytes of the contract's challenge, as a field element
    cell index = sponge(entropy, slot root, counter), its low bits; counter = 1, 2, ..., 5

There are as many bits as the number of cells, a power of two, takes. Cells may be named twice, and cells of
what fills a slot up may be named: those are zeros, which everybody has.
"""

from collections.abc import Iterable, Mapping, Sequence

from attrs import field, frozen

from codex.data import MerkleProof
from codex.errors import InvalidInput
from codex.kernels import poseidon2
from codex.kernels.poseidon2_spec import decode, sponge
from codex.slots import cells
from codex.slots.shape import MAX_SLOT_DEPTH, SlotShape
from codex.slots.slot_tree import SlotTree
from codex.slots.trees import verify

SAMPLES = 5
"""Cells that a challenge asks for."""

CHALLENGE_SIZE = 32
"""Bytes of a challenge."""

_ENTROPY_SIZE = 31


def entropy_of(challenge: bytes) -> int:
    """A challenge as a field element. Raises InvalidInput unless it has 32 bytes."""
    if len(challenge) != CHALLENGE_SIZE:
        raise InvalidInput(f"a challenge has {CHALLENGE_SIZE} bytes, and {len(challenge)} came")
    return int.from_bytes(challenge[:_ENTROPY_SIZE], "little")


def low_bits(number: int, bits: int) -> int:
    """The lowest bits of a number, as a number."""
    return number & ((1 << bits) - 1)


def cell_indices(entropy: int, slot_root: bytes, cell_count: int, samples: int = SAMPLES) -> tuple[int, ...]:
    """Which cells of a slot of `cell_count` cells are asked for, in order. Takes about 0.3 ms a sample.

    Raises InvalidInput unless the count is a power of two up to 2**32 and there are samples, DecodeError when
    the root is no field element.
    """
    bits = cell_count.bit_length() - 1
    if cell_count < 1 or cell_count != 1 << bits or bits > MAX_SLOT_DEPTH:
        raise InvalidInput(f"a slot of {cell_count} cells: it has a power of two, up to 2**{MAX_SLOT_DEPTH}")
    if samples < 1:
        raise InvalidInput(f"a challenge for {samples} cells: it is for 1 at least")
    root = decode(slot_root)
    return tuple(low_bits(sponge((entropy, root, counter)), bits) for counter in range(1, samples + 1))


def positions_of(shape: SlotShape, indices: Iterable[int]) -> tuple[int, ...]:
    """Which blocks of the slot must be at hand to prove these cells: each once, in order, without those that
    fill it up. Raises InvalidInput for no cell.
    """
    positions = {shape.split(index)[0] for index in indices}
    return tuple(sorted(position for position in positions if position < shape.block_count))


@frozen(slots=True)
class CellProof:
    """A cell of a slot, with its path in the block and the block's path in the slot.

    Any such value can be made; only `verify` tells whether it holds.
    """

    index: int
    cell: bytes = field(repr=False)
    in_block: MerkleProof
    block_root: bytes
    in_slot: MerkleProof

    @property
    def path(self) -> tuple[bytes, ...]:
        """The siblings from the cell's hash up to the slot root, those in the block first."""
        return self.in_block.path + self.in_slot.path

    def verify(self, shape: SlotShape, slot_root: bytes) -> bool:
        """Whether this is the cell at `index` of the slot with that root. Takes some 0.1 ms a layer."""
        if not 0 <= self.index < shape.cell_count or len(self.cell) != shape.cell_size:
            return False
        position, within = shape.split(self.index)
        expected = (within, shape.block_cells, position, shape.padded_block_count)
        found = (
            *(self.in_block.index, self.in_block.leaf_count),
            *(self.in_slot.index, self.in_slot.leaf_count),
        )
        if found != expected:
            return False
        digest = poseidon2.hash_cells(self.cell, shape.cell_size)
        return verify(self.in_block, digest, self.block_root) and verify(
            self.in_slot, self.block_root, slot_root
        )


def prove(tree: SlotTree, index: int, block: bytes | memoryview) -> CellProof:
    """The proof of one cell, made of the slot's tree and of the block that the cell is in.

    A block that fills the slot up, or is empty, is given as no bytes. Takes about 8 ms. Raises InvalidInput
    for no cell, and for a block that is not the one that the tree has there.
    """
    shape = tree.shape
    position, within = shape.split(index)
    in_block = cells.block_tree(block, shape.block_size, shape.cell_size)
    if in_block.root != tree.tree.leaf(position):
        raise InvalidInput(
            f"the block for position {position} has the root {in_block.root.hex()},"
            f" and the slot has {tree.tree.leaf(position).hex()} there"
        )
    cell = cells.cut(block, within, shape.block_size, shape.cell_size)
    return CellProof(index, cell, in_block.proof(within), in_block.root, tree.proof(position))


def prove_all(
    tree: SlotTree, indices: Sequence[int], blocks: Mapping[int, bytes | memoryview]
) -> tuple[CellProof, ...]:
    """The proofs of several cells; `blocks` has the blocks of `positions_of` by their position.

    Raises InvalidInput as `prove`, and when a block is missing.
    """
    for position in positions_of(tree.shape, indices):
        if position not in blocks:
            raise InvalidInput(f"block {position} of the slot is needed for a proof, and did not come")
    return tuple(prove(tree, index, blocks.get(tree.shape.split(index)[0], b"")) for index in indices)
