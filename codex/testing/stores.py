"""Stores for tests: opening one, filling it, and an audit that no sum in it may escape."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

from codex.codec import Cid
from codex.config import StoreConfig
from codex.data import Block, Manifest, MerkleTree
from codex.runtime import CRITICAL, Feed, Inline, Offload, VirtualClock, open_supervisor
from codex.store import BlockStore, Disk, MarketBook
from codex.store.service import StoreService

Rows = TypeVar("Rows")
Made = TypeVar("Made")
Fed = TypeVar("Fed", covariant=True)

# The audit reads the index as it stands on the disk, and not through the code that it audits.
STAGING, LIVE, HELD, DOOMED = range(4)
GONE = 2  # the state of a segment that may have no file


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:08}.seg"


EPOCH = 1_750_000_000.0  # unix seconds when trio's clock shows 0


@asynccontextmanager
async def open_test_store(
    data_dir: Path,
    config: StoreConfig | None = None,
    *,
    offload: Offload | None = None,
    disk: Disk | None = None,
) -> AsyncIterator[BlockStore]:
    """Run the store's service on `data_dir` for the length of the block; its handle.

    By default its clock is trio's, which may be virtual, and the work is done in place.
    """
    async with open_supervisor() as supervisor:
        mailbox = await supervisor.start(
            "store",
            lambda: StoreService(
                data_dir,
                config or StoreConfig(),
                offload=offload or Inline(),
                clock=VirtualClock(EPOCH),
                disk=disk,
            ),
            CRITICAL,
        )
        yield BlockStore(mailbox)


def book_of(store: BlockStore) -> MarketBook:
    """The market's door to the store behind this one."""
    return MarketBook(store._mailbox)


async def store_dataset(
    store: BlockStore, blocks: Sequence[Block], name: str | None = None, *, ttl: float | None = None
) -> Cid:
    """Store blocks as a dataset; the CID of its manifest."""
    tree, manifest = make_dataset(blocks, name)
    ingest = await store.begin()
    await store.stage(ingest, 0, blocks)
    return await store.commit(ingest, tree, manifest, ttl=ttl)


async def read_leaves(store: BlockStore, tree: Cid, first: int, count: int) -> bytes:
    """The bytes of `count` leaves, read as a retrieval does. Raises BlockNotFound, CorruptData."""
    feed: Feed[memoryview] = Feed(1 << 40)
    at = first
    while at < first + count:
        at = await store.read_on(tree, at, first + count, feed, blocks=64)
    feed.end()
    return b"".join([piece async for piece in feed])


class Stretch(Protocol[Rows, Made, Fed]):
    """Leaves that are being read, in the form in which the store has them done by several threads."""

    @property
    def fed(self) -> Fed: ...
    def begin(self) -> Rows | None: ...
    def read(self, rows: Rows) -> Made: ...
    def hand_on(self, made: Made) -> bool: ...


def read_alone(stretch: Stretch[Rows, Made, Fed]) -> Fed:
    """Read a stretch in this thread, for as long as what it is handed to has room; how far that went."""
    while (rows := stretch.begin()) is not None and stretch.hand_on(stretch.read(rows)):
        pass
    return stretch.fed


def payload(number: int, size: int) -> bytes:
    """Some bytes that differ for every number."""
    return (number.to_bytes(8, "big") * (size // 8 + 1))[:size]


def make_blocks(numbers: Sequence[int], size: int = 1024) -> list[Block]:
    """A block for each number, of `size` bytes."""
    return [Block.of(payload(number, size)) for number in numbers]


def make_dataset(
    blocks: Sequence[Block], name: str | None = None, block_size: int = 1024
) -> tuple[MerkleTree, Manifest]:
    """The tree over the blocks, and a manifest for it. The blocks need not have `block_size` bytes."""
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    size = len(blocks) * block_size
    return tree, Manifest(tree_cid=tree.root_cid, dataset_size=size, block_size=block_size, filename=name)


def audit(repo: Path) -> None:
    """Assert that everything in the store's directory adds up: counters, references, charges, places and
    hashes.

    The store may be open, with nothing being written. Blocks that are known to be bad need not have their
    hash.
    """
    connection = sqlite3.connect(f"file:{repo / 'index.sqlite'}?mode=ro", uri=True, isolation_level=None)
    try:
        connection.execute("BEGIN")
        _audit_sums(connection)
        _audit_ingests(connection)
        _audit_trees(connection)
        _audit_segments(connection, repo / "segments")
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    finally:
        connection.close()


def _none(connection: sqlite3.Connection, sql: str) -> None:
    rows = connection.execute(sql).fetchall()
    assert not rows, f"{sql}: {rows}"


def _audit_sums(connection: sqlite3.Connection) -> None:
    totals = connection.execute("SELECT blocks, used, reserved FROM totals").fetchone()
    rows = connection.execute(
        "SELECT (SELECT count(*) FROM blocks) + (SELECT count(*) FROM manifests),"
        " (SELECT total(length) FROM blocks) + (SELECT total(length(data)) FROM manifests),"
        " (SELECT total(bytes) FROM reservations) + (SELECT total(free) FROM availabilities)"
    ).fetchone()
    assert totals == rows, f"totals {totals}, rows {rows}"
    _none(connection, "SELECT * FROM reservations WHERE bytes < 0")
    _audit_availabilities(connection)
    _none(
        connection,
        "SELECT id, refs FROM blocks b WHERE refs <> (SELECT count(*) FROM leaves WHERE block = b.id)",
    )
    _none(
        connection,
        "SELECT * FROM segments s WHERE live <> (SELECT total(length) FROM blocks WHERE segment = s.id)",
    )
    _none(connection, "SELECT * FROM trees t WHERE leaves <> (SELECT count(*) FROM leaves WHERE tree = t.id)")


def _audit_availabilities(connection: sqlite3.Connection) -> None:
    _none(
        connection,
        "SELECT * FROM reservations WHERE purpose = 'slot' AND id NOT IN (SELECT room FROM slot_reservations)"
        " UNION ALL SELECT room, size, id FROM slot_reservations"
        " WHERE room NOT IN (SELECT id FROM reservations WHERE purpose = 'slot' AND bytes <= size)"
        " OR availability NOT IN (SELECT id FROM availabilities)",
    )
    slots = connection.execute("SELECT availability, size, collateral FROM slot_reservations").fetchall()
    for id, total, free, collateral, remaining, lost in connection.execute(
        "SELECT id, total, free, collateral, remaining, lost FROM availabilities"
    ):
        mine = [(size, int(held)) for owner, size, held in slots if owner == id]
        assert total == free + sum(size for size, _ in mine), f"of {total} bytes some are nobody's"
        assert int(remaining) >= 0
        assert int(lost) >= 0
        assert int(collateral) == int(remaining) + int(lost) + sum(held for _, held in mine)


def _audit_ingests(connection: sqlite3.Connection) -> None:
    _none(
        connection,
        "SELECT * FROM ingests i WHERE blocks <> (SELECT count(*) FROM blocks WHERE staged_by = i.id)"
        " OR bytes <> (SELECT total(length) FROM blocks WHERE staged_by = i.id)",
    )
    # While a block has an owner, only leaves of ingests name it, and each but the owner's is counted.
    _none(
        connection,
        "SELECT b.id, i.id, count(*), c.leaves FROM blocks b JOIN leaves l ON l.block = b.id"
        " LEFT JOIN ingests i ON i.tree = l.tree LEFT JOIN costaged c ON c.block = b.id AND c.ingest = i.id"
        " WHERE b.staged_by IN (SELECT id FROM ingests) GROUP BY b.id, i.id"
        " HAVING i.id IS NULL OR (i.id <> b.staged_by AND count(*) IS NOT c.leaves)"
        " OR (i.id = b.staged_by AND c.leaves IS NOT NULL)",
    )
    _none(
        connection,
        "SELECT * FROM costaged c WHERE NOT EXISTS"
        " (SELECT 1 FROM blocks WHERE id = c.block AND staged_by IN (SELECT id FROM ingests))"
        " OR NOT EXISTS (SELECT 1 FROM leaves WHERE block = c.block"
        "  AND tree = (SELECT tree FROM ingests WHERE id = c.ingest))",
    )
    # An owner that was given up owns nothing that an open ingest wants too.
    _none(
        connection,
        "SELECT * FROM costaged c JOIN ingests i ON i.id = c.ingest JOIN blocks b ON b.id = c.block"
        " JOIN ingests o ON o.id = b.staged_by WHERE i.open AND NOT o.open",
    )


def _audit_trees(connection: sqlite3.Connection) -> None:
    _none(
        connection,
        "SELECT * FROM leaves WHERE tree NOT IN (SELECT id FROM trees)"
        " OR (block IS NOT NULL AND block NOT IN (SELECT id FROM blocks))",
    )
    _none(
        connection,
        f"SELECT * FROM trees WHERE (cid IS NULL) <> (state IN ({STAGING}, {DOOMED}))"
        f" OR (state = {DOOMED} AND swept IS NULL) OR (state = {STAGING} AND swept IS NOT NULL)"
        f" OR (state = {STAGING} AND id NOT IN (SELECT tree FROM ingests WHERE open))",
    )
    _none(
        connection,
        f"SELECT tree FROM manifests WHERE whole AND tree NOT IN (SELECT id FROM trees WHERE state = {LIVE})"
        " UNION ALL SELECT tree FROM manifests WHERE NOT whole AND (pinned OR expiry > 0"
        " OR cid NOT IN (SELECT manifest FROM holds WHERE manifest IS NOT NULL))"
        " UNION ALL SELECT h.tree FROM holds h LEFT JOIN manifests m ON m.cid = h.manifest"
        " WHERE h.tree NOT IN (SELECT id FROM trees WHERE cid IS NOT NULL)"
        " OR (h.manifest IS NOT NULL AND m.tree IS NOT h.tree)",
    )
    # A tree that is wanted is swept only for the sake of a hold that has ended.
    _none(
        connection,
        f"SELECT id FROM trees t WHERE state = {LIVE} AND swept IS NOT NULL"
        " AND NOT EXISTS (SELECT 1 FROM adopted WHERE tree = t.id AND key IS NULL)"
        " UNION ALL SELECT a.tree FROM adopted a LEFT JOIN holds h ON h.purpose = a.purpose AND h.key = a.key"
        " WHERE a.key IS NOT NULL AND h.tree IS NOT a.tree",
    )
    for table in ("tree_nodes", "slot_trees", "slot_roots"):
        _none(connection, f"SELECT * FROM {table} WHERE tree NOT IN (SELECT id FROM trees)")


def _audit_segments(connection: sqlite3.Connection, directory: Path) -> None:
    _none(connection, f"SELECT * FROM segments WHERE state = {GONE} AND live <> 0")
    known = dict(connection.execute("SELECT id, state FROM segments"))
    unknown = {int(path.stem) for path in directory.glob("*.seg")} - known.keys()
    assert not unknown, f"the index does not know the segments {unknown}"
    lengths = dict(
        connection.execute("SELECT id, length FROM segments WHERE length > 0 AND state <> ?", (GONE,))
    )
    for segment, length in lengths.items():
        content = (directory / segment_name(segment)).read_bytes()
        assert len(content) >= length, f"{segment_name(segment)} has {len(content)} of {length} bytes"
        end = 0
        for offset, size, cid, bad in connection.execute(
            "SELECT offset, length, cid, bad FROM blocks WHERE segment = ? ORDER BY offset, length",
            (segment,),
        ):
            assert offset >= end, f"blocks overlap at {offset} of {segment_name(segment)}"
            end = offset + size
            assert bad or Cid(cid).matches(content[offset:end]), f"{Cid(cid)} is damaged"
        assert end <= length, f"a block lies beyond the end of {segment_name(segment)}"
    for number, bad, size in connection.execute(
        "SELECT segment, bad, length FROM blocks WHERE segment NOT IN (SELECT id FROM segments)"
    ):
        assert bad or size == 0, f"a block lies in segment {number}, which is gone"


def segment_numbers(repo: Path) -> set[int]:
    """The segments that stand in the store's directory."""
    return {int(path.stem) for path in (repo / "segments").iterdir()}
