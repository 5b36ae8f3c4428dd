"""What the store speaks of: leaves, holds, reservations, room, and how far a long look has come. All
frozen.
"""

from collections.abc import Iterable

from attrs import field, frozen

from codex.codec import Cid
from codex.data import MerkleProof
from codex.errors import CodexError

NEVER = float("inf")
"""The expiry of what does not expire."""


@frozen(slots=True)
class Leaf:
    """The block at `index` of a dataset's tree, and the proof that it belongs there."""

    index: int
    cid: Cid
    proof: MerkleProof


@frozen(slots=True)
class SlotRoots:
    """What the tree of a slot can be built of again: the roots of its blocks, 32 bytes each, in order.

    `root` is the slot's name. Whether the one follows from the other is for whoever builds the tree to see.
    """

    slot: int
    root: Cid
    roots: bytes = field(repr=lambda roots: f"<{len(roots)} bytes>")


@frozen(slots=True)
class Space:
    """How much the node holds. Blocks are counted, the rest is in bytes; manifests count with their own
    length.
    """

    total_blocks: int
    quota_max: int
    quota_used: int
    quota_reserved: int

    @property
    def available(self) -> int:
        """Bytes that may still be stored or reserved."""
        return max(0, self.quota_max - self.quota_used - self.quota_reserved)


@frozen(slots=True)
class Hold:
    """A promise to keep the leaves `first` to `first + count - 1` of a tree until `expiry` (unix seconds).

    `purpose` and `key` together name it: what it is for, and which of them it is.
    """

    purpose: str
    key: str
    tree: Cid
    first: int
    count: int
    expiry: float


@frozen(slots=True)
class Reservation:
    """Room of `size` bytes that is promised to `purpose` and not yet filled."""

    id: str
    size: int
    purpose: str


def _how_many(found: tuple[object, ...]) -> str:
    return f"<{len(found)}>"


@frozen(slots=True)
class Progress:
    """How far a scrub, a check or a backup has come.

    `corrupt` are blocks whose bytes do not have their hash, `missing` leaves that have no block here,
    `mended` manifests that were put right. The lists hold everything found so far.
    """

    bytes_done: int
    bytes_total: int
    corrupt: tuple[Cid, ...] = field(default=(), repr=_how_many)
    missing: tuple[int, ...] = field(default=(), repr=_how_many)
    mended: tuple[Cid, ...] = field(default=(), repr=_how_many)

    def further(
        self,
        size: int,
        *,
        corrupt: Iterable[Cid] = (),
        missing: Iterable[int] = (),
        mended: Iterable[Cid] = (),
    ) -> "Progress":
        """This, `size` bytes later, with what was found on the way."""
        return Progress(
            self.bytes_done + size,
            self.bytes_total,
            (*self.corrupt, *corrupt),
            (*self.missing, *missing),
            (*self.mended, *mended),
        )


@frozen(slots=True)
class Recount:
    """What counting all rows found: by how much the counters were wrong. All zero and empty when they were
    right.
    """

    blocks: int = 0
    used: int = 0
    reserved: int = 0
    segments: tuple[tuple[int, int], ...] = ()
    """Segment and difference of its live bytes."""
    refs: tuple[tuple[int, int], ...] = ()
    """Row of a block and difference of its references."""
    trees: tuple[tuple[int, int], ...] = ()
    """Row of a tree and difference of its leaves."""

    @property
    def right(self) -> bool:
        """Whether there is nothing to correct."""
        return self == Recount()


Verdict = CodexError | None
"""What became of one request among several: None for done."""
