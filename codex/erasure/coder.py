"""Parity for columns, and blocks that are lost brought back from the others of their column.

Both compute for milliseconds to a second, most of it without the interpreter's lock: call them off the loop.
They take what memory the given and the returned blocks take, and what the kernel says it does. For a dataset,
go through its columns in batches: `for columns in layout.batches(columns_at_once(layout, size))`.
"""

from collections.abc import Mapping, Sequence

from codex.codec.cid import EMPTY_BLOCK
from codex.data import Block, hash_blocks
from codex.erasure.layout import Layout
from codex.errors import InvalidInput, NotFound
from codex.kernels import leopard
from codex.kernels.leopard_spec import Buffer

MAX_BATCH = 16 * 1024 * 1024
"""Bytes of a batch of columns, parity included, unless one column alone has more."""


def columns_at_once(layout: Layout, size: int, batch: int = MAX_BATCH) -> int:
    """How many columns of blocks of `size` bytes make a batch: one at least."""
    return max(1, batch // (layout.rows * size))


def encode(layout: Layout, size: int, data: Sequence[Sequence[Buffer]]) -> list[list[Block]]:
    """Return the parity of some columns, by row: M rows of as many blocks as each row of data has.

    `data` are the K rows of the same consecutive columns (`layout.row` tells the leaves), in blocks of `size`
    bytes; padding is empty. Raises InvalidInput when rows or blocks do not fit together.
    """
    return [hash_blocks(row) for row in leopard.encode(layout.shape, data, size)]


def recover(layout: Layout, size: int, known: Mapping[int, Buffer], wanted: Sequence[int]) -> list[Block]:
    """Return the blocks at the `wanted` leaves, in that order, from others of the same columns.

    Leaves go by their index in the protected tree, and may be of any columns; those with the same rows at
    hand are done together. `known` has blocks of `size` bytes, of which each column takes the first K.
    Padding is known, and need not be given; wanted, it is the empty block.

    The blocks are named by what they contain. Whether that is what the dataset had is for the caller to see,
    by the CIDs of its tree: a known block that is wrong makes all that is recovered from it wrong.

    Raises NotFound when a column has fewer than K known blocks, InvalidInput for leaves that are none and
    blocks of another size.
    """
    given: dict[int, dict[int, Buffer]] = {}
    for index, data in known.items():
        row, column = layout.place(index)
        given.setdefault(column, {})[row] = data
    missing: dict[int, list[int]] = {}
    found: dict[int, Block] = {}
    for index in dict.fromkeys(wanted):
        row, column = layout.place(index)
        if index in known:
            raise InvalidInput(f"leaf {index} is wanted, and known")
        if index in layout.padding:
            found[index] = Block(EMPTY_BLOCK, b"")
        else:
            missing.setdefault(column, []).append(row)
    # Columns in which the same rows are at hand, and the same are missing, are coded in one go.
    alike: dict[tuple[tuple[int, ...], tuple[int, ...]], list[int]] = {}
    for column, rows in missing.items():
        used = _rows_to_use(layout, column, given.setdefault(column, {}))
        alike.setdefault((used, tuple(rows)), []).append(column)
    for (used, lost), columns in alike.items():
        blocks = {row: [given[column][row] for column in columns] for row in used}
        for row, made in zip(lost, leopard.recover(layout.shape, blocks, lost, size), strict=True):
            for column, block in zip(columns, hash_blocks(made), strict=True):
                found[layout.index(row, column)] = block
    return [found[index] for index in wanted]


def _rows_to_use(layout: Layout, column: int, given: dict[int, Buffer]) -> tuple[int, ...]:
    """The K rows that a column is recovered from, of which padding joins those that are given.

    Raises NotFound when there are not as many.
    """
    padding = [row for row in range(layout.k) if layout.index(row, column) in layout.padding]
    given.update(dict.fromkeys(padding, b""))
    used = (*padding, *(row for row in given if row not in padding))
    if len(used) < layout.k:
        raise NotFound(
            f"column {column} has {len(used)} blocks that are at hand, and takes K = {layout.k} of its"
            f" {layout.rows} to recover others"
        )
    return used[: layout.k]
