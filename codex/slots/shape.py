"""The numbers of a dataset's slots: which blocks belong to which, how many cells there are, what fills up.

A slot has as many blocks as the dataset has code words. Its tree is filled up with blocks of zeros, which
nobody stores, until the number of its cells is a power of two: then chance names each cell with the same
likelihood by so many bits.
"""

from attrs import field, frozen

from codex.data import BLOCK_SIZE, CELL_SIZE, Manifest, Strategy
from codex.data.protection import MAX_SLOTS
from codex.errors import InvalidInput

MAX_BLOCK_CELLS = 65536
"""Cells of a block, at most. The network's blocks have 32."""

MAX_SLOT_DEPTH = 32
"""Layers that a proof has for the way from a cell to the slot root, those within the block included."""

_MAX_SLOT_CELLS = 1 << MAX_SLOT_DEPTH


@frozen(slots=True, kw_only=True)
class SlotShape:
    """The shape that all slots of a dataset have. Sizes are in bytes.

    `slot_count` is K + M. `block_count` is that of one slot, without what fills it up. Raises InvalidInput
    for numbers that no slot can have.
    """

    slot_count: int
    block_count: int
    block_size: int = BLOCK_SIZE
    cell_size: int = CELL_SIZE
    strategy: Strategy = field(default=Strategy.LINEAR)

    def __attrs_post_init__(self) -> None:
        if not 0 < self.slot_count <= MAX_SLOTS:
            raise InvalidInput(f"a dataset cannot have {self.slot_count} slots: it has 1 to {MAX_SLOTS}")
        if self.cell_size < 1 or self.block_size < 1 or self.block_size % self.cell_size:
            raise InvalidInput(f"a block of {self.block_size} bytes has no cells of {self.cell_size} bytes")
        cells = self.block_cells
        if cells > MAX_BLOCK_CELLS or cells & (cells - 1):
            raise InvalidInput(f"a block of {cells} cells: it has 1 to {MAX_BLOCK_CELLS}, a power of two")
        if self.block_count < 1:
            raise InvalidInput(f"a slot of {self.block_count} blocks: it has 1 at least")
        if self.cell_count > _MAX_SLOT_CELLS:
            raise InvalidInput(f"a slot of {self.cell_count} cells: it has {_MAX_SLOT_CELLS} at most")

    @classmethod
    def of(cls, manifest: Manifest, cell_size: int = CELL_SIZE) -> "SlotShape":
        """The shape of a protected dataset's slots. A verifiable one says itself how large its cells are.

        Raises InvalidInput when it is not protected, and for numbers that no slot can have.
        """
        if manifest.protection is None:
            raise InvalidInput("the dataset is not protected: it has no slots")
        manifest.verify()
        told = manifest.protection.verification
        return cls(
            slot_count=manifest.slot_count,
            block_count=manifest.slot_block_count,
            block_size=manifest.block_size,
            cell_size=told.cell_size if told else cell_size,
            strategy=told.strategy if told else Strategy.LINEAR,
        )

    @property
    def block_cells(self) -> int:
        """Cells of a block."""
        return self.block_size // self.cell_size

    @property
    def padded_block_count(self) -> int:
        """Blocks of a slot with those that fill it up: a power of two."""
        return 1 << (self.block_count - 1).bit_length()

    @property
    def pad_blocks(self) -> int:
        """Blocks of zeros that fill a slot up."""
        return self.padded_block_count - self.block_count

    @property
    def cell_count(self) -> int:
        """Cells of a slot, also of what fills it up: a power of two."""
        return self.padded_block_count * self.block_cells

    @property
    def slot_size(self) -> int:
        """Bytes of a slot as the contract counts them: with what fills it up."""
        return self.padded_block_count * self.block_size

    def indices(self, slot: int) -> range:
        """Which blocks of the dataset a slot has, in its order. Raises InvalidInput for no slot."""
        return indices(self.strategy, self.slot_count * self.block_count, self.slot_count, self.check(slot))

    def place(self, index: int) -> tuple[int, int]:
        """Which slot a block of the dataset is in, and where there. Raises InvalidInput for no block."""
        count = self.slot_count * self.block_count
        if not 0 <= index < count:
            raise InvalidInput(f"the dataset has {count} blocks and none at {index}")
        if self.strategy is Strategy.LINEAR:
            return divmod(index, self.block_count)
        position, slot = divmod(index, self.slot_count)
        return slot, position

    def check(self, slot: int) -> int:
        """Return the number of a slot. Raises InvalidInput when there is none of that number."""
        if not 0 <= slot < self.slot_count:
            raise InvalidInput(f"the dataset has {self.slot_count} slots and none at {slot}")
        return slot

    def split(self, cell: int) -> tuple[int, int]:
        """Which block of a slot a cell is in, and where there. Raises InvalidInput for no cell."""
        if not 0 <= cell < self.cell_count:
            raise InvalidInput(f"the slot has {self.cell_count} cells and none at {cell}")
        return divmod(cell, self.block_cells)


def indices(strategy: Strategy, count: int, groups: int, group: int) -> range:
    """Which of the indices from 0 to `count` a group has, when they are dealt out to so many groups.

    LINEAR gives neighbours together, and the last group what is left. STEPPED takes every n-th one, with as
    many steps as there are groups. Raises InvalidInput without indices or groups, and for no such group.
    """
    if count < 1 or groups < 1:
        raise InvalidInput(f"{count} indices cannot be dealt out to {groups} groups: both are 1 at least")
    if not 0 <= group < groups:
        raise InvalidInput(f"there are {groups} groups and none at {group}")
    if strategy is Strategy.STEPPED:
        return range(group, count, groups)
    step = -(-count // groups)
    return range(min(group * step, count), min((group + 1) * step, count))
