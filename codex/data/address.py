"""Where a block is looked for: by its own CID, or as a leaf of a dataset's tree."""

from typing import TypeAlias

from attrs import frozen

from codex.codec.cid import Cid


@frozen(slots=True, eq=False)
class LeafAddress:
    """The block at `index` (from 0) of the dataset whose tree has the root `tree`."""

    tree: Cid
    index: int

    # Written out as those of Cid are, and for the same reason.
    def __eq__(self, other: object) -> bool:
        if other.__class__ is not LeafAddress:
            return NotImplemented
        return other.index == self.index and other.tree.raw == self.tree.raw

    def __hash__(self) -> int:
        return hash((self.tree.raw, self.index))

    def __str__(self) -> str:
        return f"{self.tree}/{self.index}"


BlockAddress: TypeAlias = Cid | LeafAddress
"""A manifest or a single block is asked for by CID; a block of a dataset by its place in the tree."""
