"""Which rows of a protected dataset are whole on this node, how many more may go, and what is lost already.

Only what is here counts: what others have is theirs to tell. Padding is known, and nobody has to hold it.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from typing import Protocol

from attrs import frozen

from codex.codec import Cid
from codex.data import LeafAddress, Manifest, Strategy
from codex.erasure import Layout
from codex.errors import CorruptData
from codex.node.fetching import STRETCH, Holdings
from codex.store import Leaf


@frozen
class Row:
    """One row, in blocks without padding: `present` are here and not known to be damaged, `corrupt` are
    damaged. Rows before the K-th are data, the others parity.
    """

    number: int
    kind: str
    present: int
    missing: int
    corrupt: int


@frozen
class Survey:
    """All rows. `spare` is how many more rows may go, whichever, without anything being lost; blocks of a
    column that are equal are stored once, and go together. `lost` are the bytes of the content that cannot be
    recovered from what is here, as half-open ranges.
    """

    k: int
    m: int
    rows: tuple[Row, ...]
    spare: int
    lost: tuple[range, ...]


class Named(Protocol):
    """What can be asked about which blocks are at leaves; see BlockStore for the contract."""

    async def leaves(self, tree: Cid, first: int, count: int) -> list[Leaf]: ...


def has_rows(manifest: Manifest) -> bool:
    """Whether a dataset is protected, in the way that is in use."""
    return manifest.protection is not None and manifest.protection.strategy is Strategy.STEPPED


async def survey(
    store: Holdings, manifest: Manifest, missing: Sequence[int] = (), named: Named | None = None
) -> Survey:
    """Look at all rows of a protected dataset, of which the `missing` leaves, in order, are known not to be
    here; others that are not to be had are damaged. Raises InvalidInput unless it has rows.

    Equal blocks are only seen with `named`, which takes some 10 µs a leaf; all count as different without.
    """
    layout = Layout.of(manifest)
    present = [0] * layout.rows
    spare = layout.m
    holes: list[list[range]] = [[] for _ in range(layout.rows)]
    short: list[range] = []  # columns with fewer than K blocks
    async with aclosing(_columns(store, manifest, layout)) as parts:
        async for columns, here in parts:
            counts = [0] * len(columns)
            for row, flags in enumerate(here):
                leaves = layout.row(row, columns)
                for run in runs([index for index, found in zip(leaves, flags, strict=True) if not found]):
                    join(holes[row], run)
                known = [f or index in layout.padding for index, f in zip(leaves, flags, strict=True)]
                present[row] += sum(flags[: len(leaves) - _padding(layout, leaves)])
                counts = [count + one for count, one in zip(counts, known, strict=True)]
            spare = min(spare, min(counts) - layout.k)
            if named is not None and spare > 0:
                blocks = await _different(named, manifest, layout, columns, here)
                spare = min(
                    spare, *(_spare(n - layout.k, some) for n, some in zip(counts, blocks, strict=True))
                )
            for run in runs([at for at, count in zip(columns, counts, strict=True) if count < layout.k]):
                join(short, run)
    rows = []
    for row, count in enumerate(present):
        leaves = layout.row(row)
        leaves = leaves[: len(leaves) - _padding(layout, leaves)]
        gone = len(_within(missing, leaves))
        kind = "data" if row < layout.k else "parity"
        rows.append(Row(row, kind, count, gone, len(leaves) - count - gone))
    return Survey(layout.k, layout.m, tuple(rows), max(0, spare), _lost(layout, manifest, holes, short))


async def lost(store: Holdings, manifest: Manifest, offset: int, length: int) -> int:
    """How many blocks with these bytes of the content can be had neither from this node nor from its other
    rows.
    """
    layout = Layout.of(manifest)
    holed, bare = await _quick_look(store, manifest, layout)
    if holed <= layout.m or not length:
        return 0
    size, end = manifest.block_size, offset + length
    padded = range(layout.padding.start // layout.steps, -(-layout.padding.stop // layout.steps))
    if layout.rows - bare + len(padded) < layout.k:
        # No column has K blocks, so that whatever is not here is lost, however large the dataset.
        first = offset // size
        return await store.missing(manifest.tree_cid, first, -(-end // size) - first)
    parts = (
        range(max(part.start, offset), min(part.stop, end)) for part in (await survey(store, manifest)).lost
    )
    return sum(-(-part.stop // size) - part.start // size for part in parts if part)


async def _quick_look(store: Holdings, manifest: Manifest, layout: Layout) -> tuple[int, int]:
    """In how many rows something is missing, and in how many of those everything."""
    holed = bare = 0
    for row in range(layout.rows):
        leaves = layout.row(row)
        count = len(leaves) - _padding(layout, leaves)
        missing = await store.missing(manifest.tree_cid, leaves.start, count)
        holed += missing > 0
        bare += 0 < missing == count
    return holed, bare


def without_padding(manifest: Manifest, missing: Sequence[int]) -> Sequence[int]:
    """Those of some leaves, which ascend, that somebody has to hold. There may be very many."""
    if not has_rows(manifest):
        return missing
    padding = Layout.of(manifest).padding
    return [*missing[: bisect_left(missing, padding.start)], *missing[bisect_left(missing, padding.stop) :]]


def runs(indices: Sequence[int]) -> Iterator[range]:
    """Indices that ascend, as runs of consecutive ones."""
    if isinstance(indices, range) and indices.step == 1:
        if indices:
            yield indices
        return
    first = stop = -1
    for index in indices:
        if index != stop:
            if first < stop:
                yield range(first, stop)
            first = index
        stop = index + 1
    if first < stop:
        yield range(first, stop)


def join(found: list[range], run: range) -> None:
    """Add a run behind others; to the last of them where it goes on there."""
    if found and found[-1].stop == run.start:
        run = range(found.pop().start, run.stop)
    found.append(run)


async def _columns(
    store: Holdings, manifest: Manifest, layout: Layout
) -> AsyncGenerator[tuple[range, list[list[bool]]], None]:
    """Some columns at a time, with what of them is here, by row."""
    for columns in layout.batches(max(1, STRETCH // layout.rows)):
        rows = [layout.row(row, columns) for row in range(layout.rows)]
        found = iter(await store.has_many([LeafAddress(manifest.tree_cid, i) for row in rows for i in row]))
        yield columns, [[next(found) for _ in row] for row in rows]


async def _different(
    named: Named, manifest: Manifest, layout: Layout, columns: range, here: Sequence[Sequence[bool]]
) -> list[list[int]]:
    """How often each column has each of its blocks that are here, the most frequent first; padding aside."""
    blocks: list[Counter[Cid | int]] = [Counter() for _ in columns]
    for row, flags in enumerate(here):
        leaves = layout.row(row, columns)
        whole = len(leaves) - _padding(layout, leaves)
        try:
            found = await named.leaves(manifest.tree_cid, leaves.start, whole)
            cids = {leaf.index: leaf.cid for leaf in found}
        except CorruptData:
            cids = {}  # a proof is damaged, and what is there counts as different
        for counter, index, flag in zip(blocks, leaves[:whole], flags, strict=False):
            if flag:
                counter[cids.get(index, row)] += 1
    return [sorted(counter.values(), reverse=True) for counter in blocks]


def _spare(room: int, blocks: Sequence[int]) -> int:
    """How many different blocks of a column may go that has `room` leaves more than it needs."""
    spare = 0
    for count in blocks:
        room -= count
        if room < 0:
            break
        spare += 1
    return spare


def _lost(
    layout: Layout, manifest: Manifest, holes: Sequence[Sequence[range]], short: Sequence[range]
) -> tuple[range, ...]:
    """The bytes of the content that cannot be had: those of holes in which a column is short. A hole is
    recovered as a whole or not at all, for only so it can be proved; one that goes on in the next row, too.
    """
    size, total = manifest.block_size, manifest.original_size
    whole: list[range] = []
    for row in holes:
        for hole in row:
            join(whole, hole)
    found: list[range] = []
    for hole in whole:
        if any(_meet(short, part) for part in _columns_of(layout, hole)):
            part = range(min(hole.start * size, total), min(hole.stop * size, total))
            if part:
                join(found, part)
    return tuple(found)


def _columns_of(layout: Layout, run: range) -> Iterator[range]:
    """The columns that a run of leaves is in, row by row; padding takes nothing to be recovered."""
    for row in range(run.start // layout.steps, -(-run.stop // layout.steps)):
        leaves = layout.row(row)
        stop = leaves.stop - _padding(layout, leaves)
        yield range(max(run.start, leaves.start) - leaves.start, min(run.stop, stop) - leaves.start)


def _meet(parts: Sequence[range], part: range) -> bool:
    """Whether one of these runs, which ascend, has something of another one."""
    at = bisect_right(parts, part.start, key=lambda one: one.stop)
    return at < len(parts) and parts[at].start < part.stop


def _padding(layout: Layout, leaves: range) -> int:
    """How many of these leaves are padding; it is at their end."""
    return len(range(max(leaves.start, layout.padding.start), min(leaves.stop, layout.padding.stop)))


def _within(indices: Sequence[int], part: range) -> Sequence[int]:
    return indices[bisect_left(indices, part.start) : bisect_left(indices, part.stop)]
