"""Which rows of a protected dataset are whole on this node, how many more may go, and what is lost already.

Only what is here counts: what others have is theirs to tell. Padding is known, and nobody has to hold it.
"""

from bisect import bisect_left
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing

from attrs import frozen

from codex.data import LeafAddress, Manifest, Strategy
from codex.erasure import Layout
from codex.node.fetching import STRETCH, Holdings


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
    """All rows. `spare` is how many more rows may go, whichever, without anything being lost; `lost` the
    bytes of the content that cannot be recovered from what is here, as half-open ranges.
    """

    k: int
    m: int
    rows: tuple[Row, ...]
    spare: int
    lost: tuple[range, ...]


def has_rows(manifest: Manifest) -> bool:
    """Whether a dataset is protected, in the way that is in use."""
    return manifest.protection is not None and manifest.protection.strategy is Strategy.STEPPED


async def survey(store: Holdings, manifest: Manifest, missing: Sequence[int] = ()) -> Survey:
    """Look at all rows of a protected dataset, of which the `missing` leaves, in order, are known not to be
    here; others that are not to be had are damaged. Raises InvalidInput unless it has rows.
    """
    layout = Layout.of(manifest)
    present = [0] * layout.rows
    least = layout.rows
    lost: list[list[range]] = [[] for _ in range(layout.k)]
    async with aclosing(_columns(store, manifest, layout, [range(layout.steps)])) as parts:
        async for columns, here in parts:
            for row, flags in enumerate(here):
                present[row] += sum(flags)
            counts = [sum(column) for column in zip(*here, strict=True)]
            least = min(least, *counts)
            _add_lost(lost, layout, columns, here, counts)
    rows = []
    for row, count in enumerate(present):
        leaves = layout.row(row)
        padding = len(range(max(leaves.start, layout.padding.start), min(leaves.stop, layout.padding.stop)))
        gone = [i for i in _within(missing, leaves) if i not in layout.padding]
        kind = "data" if row < layout.k else "parity"
        rows.append(Row(row, kind, count - padding, len(gone), len(leaves) - count - len(gone)))
    return Survey(layout.k, layout.m, tuple(rows), max(0, least - layout.k), _bytes_of(lost, manifest))


async def lost(store: Holdings, manifest: Manifest, first: int, stop: int) -> int:
    """How many of these leaves of the content can be had neither from this node nor from its other rows."""
    layout = Layout.of(manifest)
    steps = layout.steps
    left, right = first % steps, (stop - 1) % steps + 1
    if stop - first >= steps:
        parts = [range(steps)]
    elif left < right:
        parts = [range(left, right)]
    else:
        parts = [range(right), range(left, steps)]
    found: list[list[range]] = [[] for _ in range(layout.k)]
    async with aclosing(_columns(store, manifest, layout, parts)) as columns:
        async for numbers, here in columns:
            counts = [sum(column) for column in zip(*here, strict=True)]
            _add_lost(found, layout, numbers, here, counts)
    return sum(len(range(max(part.start, first), min(part.stop, stop))) for row in found for part in row)


async def _columns(
    store: Holdings, manifest: Manifest, layout: Layout, parts: Iterable[range]
) -> AsyncGenerator[tuple[range, list[list[bool]]], None]:
    """Some columns at a time, with what of them is here, by row; padding is."""
    most = max(1, STRETCH // layout.rows)
    for part in parts:
        for at in range(part.start, part.stop, most):
            columns = range(at, min(at + most, part.stop))
            rows = [layout.row(row, columns) for row in range(layout.rows)]
            found = await store.has_many([LeafAddress(manifest.tree_cid, i) for row in rows for i in row])
            flags = iter(found)
            yield columns, [[next(flags) or index in layout.padding for index in row] for row in rows]


def _add_lost(
    lost: list[list[range]],
    layout: Layout,
    columns: range,
    here: Sequence[Sequence[bool]],
    counts: Sequence[int],
) -> None:
    """Note the leaves of data, by row, that are not here and in columns with fewer than K blocks."""
    for at, column in enumerate(columns):
        if counts[at] >= layout.k:
            continue
        for row in range(layout.k):
            if not here[row][at]:
                _append(lost[row], range(layout.index(row, column), layout.index(row, column) + 1))


def _append(parts: list[range], part: range) -> None:
    if parts and parts[-1].stop == part.start:
        part = range(parts.pop().start, part.stop)
    parts.append(part)


def _bytes_of(lost: Sequence[Sequence[range]], manifest: Manifest) -> tuple[range, ...]:
    """The bytes of the content in these leaves."""
    size, total = manifest.block_size, manifest.original_size
    found: list[range] = []
    for row in lost:
        for part in row:
            _append(found, range(part.start * size, min(part.stop * size, total)))
    return tuple(found)


def _within(indices: Sequence[int], part: range) -> Sequence[int]:
    return indices[bisect_left(indices, part.start) : bisect_left(indices, part.stop)]
