"""The tree of a slot: what a host keeps to prove that it has the slot.

It is over as many leaves as the next power of two after the number of the slot's blocks; the leaves that fill
it up are the roots of blocks of zeros.
"""

from attrs import field, frozen

from codex.codec.cid import Cid, slot_cell_cid, slot_root_cid
from codex.data import MerkleProof, MerkleTree
from codex.errors import DecodeError, InvalidInput
from codex.kernels.poseidon2_spec import ELEMENT_SIZE
from codex.slots.cells import zero_root
from codex.slots.shape import SlotShape
from codex.slots.trees import field_tree


@frozen(slots=True)
class SlotTree:
    """The tree over the block roots of one slot, filled up. Takes 64 bytes a block.

    The proof of any cell follows from it and from the cell's block, so no path needs to be kept.
    """

    shape: SlotShape
    tree: MerkleTree = field(repr=False)

    @classmethod
    def of(cls, shape: SlotShape, roots: bytes) -> "SlotTree":
        """Build it over the block roots, 32 bytes each one after the other, without those that fill it up.

        Takes about 6 µs a block: a large tree is built off the loop. Raises InvalidInput for another number
        of roots, DecodeError when one is no field element.
        """
        if len(roots) != shape.block_count * ELEMENT_SIZE:
            raise InvalidInput(
                f"the roots of {shape.block_count} blocks have {shape.block_count * ELEMENT_SIZE} bytes,"
                f" and {len(roots)} bytes came"
            )
        padding = zero_root(shape.block_size, shape.cell_size) * shape.pad_blocks
        return cls(shape, field_tree(roots + padding))

    @classmethod
    def from_bytes(cls, shape: SlotShape, data: bytes, root: bytes) -> "SlotTree":
        """Read what `to_bytes` wrote, and build the tree again.

        Raises DecodeError when that gives another root than this, or cannot be done.
        """
        try:
            tree = cls.of(shape, data)
        except InvalidInput as error:
            raise DecodeError(f"no tree of a slot: {error}") from None
        if tree.root != root:
            raise DecodeError(f"the tree of the slot has the root {tree.root.hex()}, not {root.hex()}")
        return tree

    def to_bytes(self) -> bytes:
        """What the tree can be built of again: the roots of the blocks that are stored, 32 bytes each."""
        return self.tree.layers[0][: self.shape.block_count * ELEMENT_SIZE]

    @property
    def root(self) -> bytes:
        """The slot root."""
        return self.tree.root

    @property
    def cid(self) -> Cid:
        """The name of the slot, as the verifiable manifest has it."""
        return slot_root_cid(self.tree.root)

    def leaf_cid(self, position: int) -> Cid:
        """The name of a leaf, as other nodes store it. Raises InvalidInput for no leaf."""
        return slot_cell_cid(self.tree.leaf(position))

    def proof(self, position: int) -> MerkleProof:
        """The path from a block root up to the slot root. Raises InvalidInput for no leaf."""
        return self.tree.proof(position)
