"""Reading: where a block lies, and its bytes, verified against its hash every time.

Rows come out of a snapshot of the index, payload out of the segments; blocks that lie side by side are read
at once. Between the two a compaction may have moved a block: what does not match its hash is looked up once
more before it is called corrupt. Everything here may run in any number of threads at once.
"""

import hashlib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from operator import itemgetter
from sqlite3 import Connection

from attrs import frozen

from codex.codec import BLOCK_PREFIX, CODEX_MANIFEST, EMPTY_BLOCK, Cid, is_empty
from codex.data import Block, BlockAddress, LeafAddress
from codex.errors import BlockNotFound, CorruptData, IndexDamaged, NotADataset
from codex.store import manifests
from codex.store.disk import Buffer
from codex.store.index import Readers, Row, at_once, select_in
from codex.store.lifetime import tree_of
from codex.store.segments import SegmentFiles
from codex.store.sense import is_cid, is_place, sensible
from codex.store.staging import SEEN
from codex.store.trees import encoded
from codex.store.values import ProvedBlock

RUN_BYTES = 2 << 20
"""Bytes that are read at once where leaves are handed on as they lie, so that little is lost in going from
one run to the next."""
BLOCKS_BYTES = 256 << 10
"""Bytes that are read at once where blocks are wanted one by one and lie side by side. A block keeps the
whole of its run in memory; and what is hashed before more is read is still in the processor's cache."""

# Columns of a row here: id, cid, segment, offset, length, bad; of a leaf's row, its index and proof too.
_COLUMNS = "b.id, b.cid, b.segment, b.offset, b.length, b.bad"
_LEAF = f"SELECT {_COLUMNS}, l.idx, l.proof FROM leaves l LEFT JOIN blocks b ON b.id = l.block"
_LEAF_RUN = f"{_LEAF} WHERE l.tree = ? AND l.idx >= ? AND l.idx < ? ORDER BY l.idx"
_PLACE_COLUMNS = ("id", "cid", "segment", "offset", "length", "bad", "idx")
_LEAF_COLUMNS = (*_PLACE_COLUMNS, "proof")

_BY_PLACE = itemgetter(2, 3)
_EMPTY = Block(EMPTY_BLOCK, b"")

Answer = Block | CorruptData | None
"""What became of one address: its block, a damaged one, or None for one that is not here."""


@frozen(slots=True)
class Found:
    """Answers, one for each address, and the rows of blocks that were found not to have their hash any
    more.
    """

    answers: list[Answer]
    rotten: tuple[int, ...] = ()


@frozen(slots=True)
class FoundLeaves:
    """As `Found`, of leaves with their proofs; None for one that is not here, damaged, or cannot be proved,
    for which `unproved` gives the reason.
    """

    answers: list[ProvedBlock | None]
    rotten: tuple[int, ...] = ()
    unproved: CorruptData | None = None


@frozen(slots=True)
class Run:
    """The bytes of consecutive leaves; or, where `error` tells of one that cannot be had, of those before
    it.
    """

    buffers: list[memoryview]
    rotten: tuple[int, ...] = ()
    error: BlockNotFound | CorruptData | None = None


class Reader:
    """Verified reads. Raises DiskFailed where the disk refuses, CorruptData where the index is damaged."""

    def __init__(self, readers: Readers, files: SegmentFiles) -> None:
        self._readers = readers
        self._files = files

    def find(self, addresses: Sequence[BlockAddress]) -> Found:
        """The blocks at these addresses, as far as they are here and sound."""
        answers: list[Answer] = [None] * len(addresses)
        with self._readers.snapshot() as connection:
            rows = _locate(connection, addresses, answers)
        data, rotten = self._fetch([row for row in rows if row is not None and row[0] is not None])
        for at, row in enumerate(rows):
            if row is None:
                continue
            payload = b"" if row[0] is None else data.get(row[0])
            if payload is not None:
                answers[at] = Block(EMPTY_BLOCK if row[0] is None else Cid(row[1]), payload)
            elif row[0] in rotten or row[5]:
                answers[at] = _corrupt(row[1])
        return Found(answers, tuple(rotten))

    def find_leaves(self, tree: Cid, indices: Sequence[int]) -> FoundLeaves:
        """The blocks of these leaves with their proofs, as far as they are here and sound. Raises CorruptData
        when there are some and none can be proved.
        """
        rows: list[Row] = []
        proved: list[bytes] = []
        unproved: CorruptData | None = None
        with self._readers.snapshot() as connection:
            number = tree_of(connection, tree)
            if number is not None:
                rows = _leaf_rows(connection, number, sorted(set(indices)), _LEAF_COLUMNS)
                rows = [row for row in rows if not row[5]]
                try:
                    proved = _proofs(connection, number, rows)
                except IndexDamaged:
                    raise
                except CorruptData as error:
                    unproved = error
                    rows, proved = _provable(connection, number, rows)
                    if not rows:
                        raise
        data, rotten = self._fetch([row for row in rows if row[0] is not None])
        found: dict[int, ProvedBlock] = {}
        for row, proof in zip(rows, proved, strict=True):
            if row[0] is None:
                found[row[6]] = ProvedBlock(_EMPTY, proof)
            elif row[0] in data:
                found[row[6]] = ProvedBlock(Block(Cid(row[1]), data[row[0]]), proof)
        return FoundLeaves([found.get(index) for index in indices], tuple(rotten), unproved)

    def places(
        self, tree: Cid, first: int, count: int, block_size: int | None
    ) -> tuple[list[Row], BlockNotFound | CorruptData | NotADataset | None]:
        """Where those leaves lie, up to the first that cannot be had, and why it cannot."""
        with self._readers.snapshot() as connection:
            number = tree_of(connection, tree)
            rows: list[Row] = []
            if number is not None:
                values = (number, first, first + count)
                rows = list(map(_checked, at_once(connection, _PLACE_COLUMNS, ("cid",), _LEAF_RUN, values)))
        wanted: list[Row] = []
        error: BlockNotFound | CorruptData | NotADataset | None = None
        for index, row in enumerate(rows, first):
            if row[6] != index:
                break
            if row[5]:
                error = _corrupt(row[1])
                break
            if block_size is not None and (row[4] or 0) != block_size:
                error = NotADataset.of_size(tree, index, row[4] or 0, block_size)
                break
            wanted.append(row)
        if error is None and len(wanted) < count:
            error = _absent(LeafAddress(tree, first + len(wanted)))
        return wanted, error

    def gather(self, rows: list[Row]) -> Run:
        """The bytes of the rows, in this order, as whole runs where they lie side by side."""
        buffers: list[memoryview] = []
        rows = [row for row in rows if row[4]]
        for run in _runs(rows, RUN_BYTES):
            whole = self._read(run)
            if whole is not None and all(_sound(row[1], view) for row, view in _cut(run, whole)):
                buffers.append(whole)
                continue
            data, rotten = self._fetch(run)
            for row in run:
                if row[0] not in data:
                    gone = row[0] not in rotten and not row[5]
                    error = _absent(Cid(row[1])) if gone else _corrupt(row[1])
                    return Run(buffers, tuple(rotten), error)
                buffers.append(memoryview(data[row[0]]))
        return Run(buffers)

    def _fetch(self, rows: Sequence[Row]) -> tuple[dict[int, Buffer], list[int]]:
        """The bytes of blocks by row, and those rows whose bytes are wrong. Rows that vanish are in
        neither.
        """
        data, doubtful = self._fetch_once(rows)
        if not doubtful:
            return data, []
        with self._readers.borrow() as connection:
            sql = f"SELECT {_COLUMNS} FROM blocks b WHERE b.id"
            again = [_checked(row) for row in select_in(connection, sql, doubtful)]
        more, rotten = self._fetch_once(again)
        return data | more, rotten + [row[0] for row in again if row[5]]

    def _fetch_once(self, rows: Iterable[Row]) -> tuple[dict[int, Buffer], list[int]]:
        distinct = {row[0]: row for row in rows if not row[5]}
        data: dict[int, Buffer] = {}
        doubtful: list[int] = []
        for run in _runs(sorted(distinct.values(), key=_BY_PLACE), BLOCKS_BYTES):
            whole = self._read(run)
            if whole is None:
                doubtful += [row[0] for row in run] if len(run) == 1 else self._one_by_one(run, data)
                continue
            for row, view in _cut(run, whole):
                if _sound(row[1], view):
                    data[row[0]] = view
                else:
                    doubtful.append(row[0])
        return data, doubtful

    def _one_by_one(self, run: Sequence[Row], data: dict[int, Buffer]) -> list[int]:
        """Read what can be read of a run that is not there as a whole; the rows of the rest."""
        doubtful = []
        for row in run:
            view = self._read([row])
            if view is not None and _sound(row[1], view):
                data[row[0]] = view
            else:
                doubtful.append(row[0])
        return doubtful

    def _read(self, run: Sequence[Row]) -> memoryview | None:
        """The bytes of blocks that lie side by side; None when not all of them can be read."""
        segment, offset = run[0][2:4]
        size = run[-1][3] + run[-1][4] - offset
        data = self._files.read(segment, offset, size)
        return memoryview(data) if len(data) == size else None

    def has(self, addresses: Sequence[BlockAddress]) -> list[bool]:
        """Whether there is a block at each address, as far as is known without reading it."""
        answers: list[Answer] = [None] * len(addresses)
        with self._readers.snapshot() as connection:
            rows = _locate(connection, addresses, answers)
        return [
            isinstance(answer, Block) or (row is not None and not row[5])
            for answer, row in zip(answers, rows, strict=True)
        ]

    def missing(self, tree: Cid, first: int, count: int) -> int:
        """How many of these leaves are not here, or damaged."""
        with self._readers.snapshot() as connection:
            number = tree_of(connection, tree)
            (here,) = connection.execute(
                "SELECT count(*) FROM leaves l LEFT JOIN blocks b ON b.id = l.block"
                " WHERE l.tree = ? AND l.idx >= ? AND l.idx < ? AND (l.block IS NULL OR NOT b.bad)",
                (number, first, first + count),
            ).fetchone()
        return count - int(here)


def blocks_of(found: Found, addresses: Sequence[BlockAddress]) -> list[Block]:
    """All blocks that were asked for. Raises BlockNotFound or CorruptData for the first that is not."""
    blocks: list[Block] = []
    for answer, address in zip(found.answers, addresses, strict=True):
        if answer is None:
            raise _absent(address)
        if isinstance(answer, CorruptData):
            raise answer
        blocks.append(answer)
    return blocks


def _locate(
    connection: Connection, addresses: Sequence[BlockAddress], answers: list[Answer]
) -> list[Row | None]:
    """The row of the block at each address, None where there is none; empty blocks and manifests are
    answered.
    """
    rows: list[Row | None] = [None] * len(addresses)
    single: dict[bytes, list[int]] = {}
    named: dict[Cid, list[int]] = {}
    leaves: dict[Cid, dict[int, list[int]]] = {}
    for at, address in enumerate(addresses):
        if isinstance(address, LeafAddress):
            leaves.setdefault(address.tree, {}).setdefault(address.index, []).append(at)
        elif is_empty(address):
            answers[at] = Block(address, b"")
        elif address.codec == CODEX_MANIFEST:
            named.setdefault(address, []).append(at)
        else:
            single.setdefault(address.raw, []).append(at)
    for row in select_in(connection, f"SELECT {_COLUMNS} FROM blocks b WHERE {SEEN} AND cid", list(single)):
        for at in single[row[1]]:
            rows[at] = _checked(row)
    for cid, answer in manifests.read_many(connection, named).items():
        for at in named[cid]:
            answers[at] = answer
    for tree, places in leaves.items():
        number = tree_of(connection, tree)
        for row in _leaf_rows(connection, number, sorted(places)) if number is not None else ():
            for at in places[row[6]]:
                rows[at] = row
    return rows


def _leaf_rows(
    connection: Connection, tree: int, indices: list[int], columns: Sequence[str] = _PLACE_COLUMNS
) -> list[Row]:
    """The rows of those leaves that are here, in the order of the indices, which is ascending. The leaf of
    the empty block has an index and nothing else.
    """
    if not indices:
        return []
    first, last = indices[0], indices[-1]
    if last - first < 2 * len(indices):
        rows = at_once(connection, columns, ("cid", "proof"), _LEAF_RUN, (tree, first, last + 1))
        if last - first >= len(indices):
            wanted = set(indices)
            rows = [row for row in rows if row[6] in wanted]
    else:
        rows = list(select_in(connection, f"{_LEAF} WHERE l.tree = {tree:d} AND l.idx", indices))
    return list(map(_checked, rows))


def _proofs(connection: Connection, tree: int, rows: Iterable[Row]) -> list[bytes]:
    """The proofs of leaves by their rows. Raises CorruptData when one cannot be proved."""
    with sensible("prove leaves"):
        return encoded(connection, tree, [(row[6], row[7]) for row in rows])


def _provable(connection: Connection, tree: int, rows: Iterable[Row]) -> tuple[list[Row], list[bytes]]:
    """Those of the rows whose leaves can be proved, and their proofs."""
    kept: list[Row] = []
    proved: list[bytes] = []
    for row in rows:
        with suppress(CorruptData):
            proved += _proofs(connection, tree, [row])
            kept.append(row)
    return kept, proved


def _runs(rows: Iterable[Row], most: int) -> Iterable[list[Row]]:
    """Cut rows into runs that lie side by side, in this order, of at most so many bytes or one block."""
    run: list[Row] = []
    size = 0
    for row in rows:
        if run and row[2] == run[-1][2] and row[3] == run[-1][3] + run[-1][4] and size + row[4] <= most:
            run.append(row)
            size += row[4]
        else:
            if run:
                yield run
            run, size = [row], row[4]
    if run:
        yield run


def _cut(run: Sequence[Row], whole: memoryview) -> Iterable[tuple[Row, memoryview]]:
    start = 0
    for row in run:
        end = start + row[4]
        yield row, whole[start:end]
        start = end


def _sound(cid: bytes, data: Buffer) -> bool:
    if cid.startswith(BLOCK_PREFIX):
        return hashlib.sha256(data).digest() == cid[len(BLOCK_PREFIX) :]
    return Cid(cid).matches(data)


def _checked(row: Row) -> Row:
    """The row itself; or, when it says nothing by which a block could be read, as that of a bad block."""
    number, cid, segment, offset, length = row[:5]
    if number is None or (is_place(segment, offset, length) and is_cid(cid)):
        return row
    return (number, cid if is_cid(cid) else None, 0, 0, 0, 1, *row[6:])


def _absent(address: BlockAddress) -> BlockNotFound:
    return BlockNotFound(f"the block {address} is not on this node")


def _corrupt(cid: bytes | None) -> CorruptData:
    name = "a block" if cid is None else f"the block {Cid(cid)}"
    return CorruptData(
        f"{name} is damaged on this disk",
        remedy="store or fetch it again; scrub the store, and look after the disk",
    )
