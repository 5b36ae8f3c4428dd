"""What the store speaks of: leaves, holds, reservations, room, and how far a long look has come. All
frozen.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar, overload

from attrs import field, frozen

from codex.codec import Cid
from codex.data import Block, MerkleProof
from codex.errors import CodexError

NEVER = float("inf")
"""The expiry of what does not expire."""


@frozen(slots=True)
class Leaf:
    """The block at `index` of a dataset's tree, and the proof that it belongs there."""

    index: int
    cid: Cid
    proof: MerkleProof


class ProvedBlock(NamedTuple):
    """A block of a dataset, and the proof that it belongs there, encoded as `MerkleProof.to_bytes` does.

    A tuple, because some sixteen of these are made for every megabyte that a peer is given.
    """

    block: Block
    proof: bytes


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

    `purpose` and `key` together name it: what it is for, and which of them it is. `manifest` names a dataset
    of the tree: its manifest stays as long as the hold, and goes with it if nobody else wants it. `slot` says
    which slot the leaves are, whose tree then goes with them. One that is `filling` is no promise yet: it
    does not outlive the process that began it.
    """

    purpose: str
    key: str
    tree: Cid
    first: int
    count: int
    expiry: float
    manifest: Cid | None = None
    slot: int | None = None
    filling: bool = False


@frozen(slots=True)
class Reservation:
    """Room of `size` bytes that is promised to `purpose` and not yet filled."""

    id: str
    size: int
    purpose: str


T = TypeVar("T")


class Findings(Sequence[T]):
    """What was found so far, in order; equal to any sequence of the same. It does not change.

    The next one shares what this one has, so that a million of them found in small steps take no longer than
    all at once.
    """

    __slots__ = ("_all", "_count")

    def __init__(self, found: Iterable[T] = ()) -> None:
        self._all = list(found)
        self._count = len(self._all)

    def further(self, found: Iterable[T]) -> "Findings[T]":
        """These, and those behind them."""
        grown: Findings[T] = Findings()
        # Only the longest may grow in place: another one has lent the rest to somebody else.
        grown._all = self._all if len(self._all) == self._count else self._all[: self._count]
        grown._all.extend(found)
        grown._count = len(grown._all)
        return grown

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> list[T]: ...
    def __getitem__(self, at: int | slice) -> T | list[T]:
        if isinstance(at, slice):
            first, stop, step = at.indices(self._count)
            return self._all[first:stop] if step == 1 else self._all[: self._count][at]
        return self._all[range(self._count)[at]]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(other) == self._count and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"<{self._count}>"


@frozen(slots=True)
class Progress:
    """How far a scrub, a check or a backup has come.

    `corrupt` are blocks whose bytes do not have their hash, `missing` leaves that have no block here,
    `mended` manifests that were put right. `unreadable` are blocks that a backup lacks, as the disk did not
    give them, of so many `unreadable_bytes`. The lists hold everything found so far.
    """

    bytes_done: int
    bytes_total: int
    corrupt: Findings[Cid] = field(factory=Findings)
    missing: Findings[int] = field(factory=Findings)
    mended: Findings[Cid] = field(factory=Findings)
    unreadable: Findings[Cid] = field(factory=Findings)
    unreadable_bytes: int = 0

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
            self.corrupt.further(corrupt),
            self.missing.further(missing),
            self.mended.further(mended),
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
