"""The store of one data directory, without a loop: opening and closing it, and everything that changes it.

Plain synchronous code. The methods of `Repo` change the store and are called by one thread at a time;
`reader`, `catalogue` and `scrubber` may be used by any number of threads meanwhile. Every change is durable
when its method returns, and either made as a whole or not at all. All raise DiskFull, DiskFailed and
CorruptData besides what they say.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from codex.codec import Cid
from codex.data import MerkleTree
from codex.errors import BlockNotFound, DiskFull, InvalidInput
from codex.store import compaction, holds, lifetime, manifests, recount, slot_trees, staging, sweep, trees
from codex.store.backup import Backup
from codex.store.catalogue import Catalogue
from codex.store.disk import Disk, File, disk_errors
from codex.store.index import Readers, one
from codex.store.intake import take_in
from codex.store.ledger import Change, Ledger, no_room, space_of
from codex.store.manifests import Record
from codex.store.planning import Request
from codex.store.reads import Reader
from codex.store.scrub import Scrubber
from codex.store.segments import Appender, SegmentFiles
from codex.store.stall import Stall
from codex.store.values import Hold, Recount, SlotRoots, Verdict

T = TypeVar("T")

_LEAST_STEP = 16
"""Rows whose removal must fit, at least, on a full disk."""


class Repo:
    """An open store. Made by `opening.open_repo` only."""

    def __init__(
        self,
        disk: Disk,
        directory: Path,
        *,
        ledger: Ledger,
        appender: Appender,
        readers: Readers,
        files: SegmentFiles,
        lock: File,
        unclean: bool,
        kept: Sequence[str],
        segment_bytes: int,
    ) -> None:
        self.directory = directory
        self.unclean = unclean  # the last stop was not orderly: the counters deserve a recount
        self.kept = kept  # files of payload, some of which the index may or may not have forgotten
        self.reader = Reader(readers, files)
        self.catalogue = Catalogue(readers, ledger.quota)
        self.scrubber = Scrubber(readers, self.reader)
        self.stall = Stall(ledger, readers)
        self._disk = disk
        self._ledger = ledger
        self._appender = appender
        self._readers = readers
        self._files = files
        self._lock = lock
        self._retire_bytes = segment_bytes // 8
        self._compactor = compaction.Compactor(ledger, files.read)

    def close(self) -> None:
        """Close in good order. Nothing may be in use any more. A disk that refuses makes it an unclean
        close.
        """
        try:
            self._ledger.shrink(
                "close the store", lambda change: change.tx.execute("UPDATE totals SET clean = 1")
            )
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close as if the process had been killed: the next start will recount."""
        self._appender.close()
        self._files.close()
        self._readers.close()
        try:
            self._ledger.close()
        finally:
            self._lock.close()

    # -- blocks and leaves

    def take_in(self, requests: Sequence[Request]) -> list[Verdict]:
        """Store what the requests bring, in one flush; a verdict on each."""
        return take_in(self._ledger, requests)

    def delete_block(self, cid: Cid) -> bool:
        """Remove a block; False when it is not here. Raises BlockInUse."""
        return self._ledger.shrink("delete a block", lambda change: sweep.delete_block(change, cid))

    def mark_bad(self, rows: Sequence[int]) -> None:
        """Remember that these blocks do not have their hash: they count as absent until stored again."""
        self._ledger.shrink(
            "mark damaged blocks",
            lambda change: change.tx.executemany(
                "UPDATE blocks SET bad = 1 WHERE id = ?", [(row,) for row in rows]
            ),
        )

    # -- ingests

    def begin(self) -> int:
        """Begin an ingest; its number."""
        with self._ledger.change("begin an upload") as change:
            return staging.begin(change.tx)

    def add_nodes(self, ingest: int, tree: MerkleTree, first: int, count: int) -> None:
        """Store some of the pages of the tree's nodes ahead of the commit (see `trees.page_count`)."""
        with self._ledger.change("record a tree") as change:
            trees.write_pages(change.tx, staging.staging_tree(change.tx, ingest), tree, first, count)

    def keep_slot_roots(
        self, owner: Cid | int, pages: Sequence[slot_trees.Page], slots: Sequence[SlotRoots]
    ) -> None:
        """Store pages of slots' roots, and the `slots` that are complete with them.

        `owner` is the CID of a tree, or the number of the ingest that brings one. Raises BlockNotFound when
        there is no such tree, InvalidInput when there is no such ingest.
        """
        with self._ledger.change("record the tree of a slot") as change:
            tx = change.tx
            row = staging.staging_tree(tx, owner) if isinstance(owner, int) else lifetime.tree_of(tx, owner)
            if row is None:
                raise BlockNotFound(f"there is no dataset of the tree {owner} on this node")
            slot_trees.write(tx, row, pages, slots)

    def commit(
        self, ingest: int, tree: MerkleTree, record: Record, expiry: float, first_page: int = 0
    ) -> None:
        """Make the ingest a dataset. Pages of nodes from `first_page` on are stored with it.

        Raises InvalidInput when tree, manifest and leaves do not belong together, QuotaExceeded.
        """
        manifest = record.manifest
        if manifest.tree_cid != tree.root_cid or manifest.block_count != tree.leaf_count:
            raise InvalidInput("the manifest does not describe the tree that it is stored with")
        with self._ledger.change("record a dataset") as change:
            row = staging.staging_tree(change.tx, ingest)
            (leaves,) = change.tx.execute("SELECT leaves FROM trees WHERE id = ?", (row,)).fetchone()
            if leaves != tree.leaf_count:
                raise InvalidInput(f"the tree has {tree.leaf_count} leaves, but {leaves} were staged")
            self._check_room(change, record)
            trees.write_pages(change.tx, row, tree, first_page, trees.page_count(tree))
            change.tx.execute("UPDATE trees SET size = ? WHERE id = ?", (tree.leaf_count, row))
            lifetime.take_over(change.tx, tree.root_cid, row)
            staging.close(change, ingest)
            manifests.put(change, record, expiry, tree=row)

    def abort(self, ingest: int) -> None:
        """Give an ingest up: from now on nothing of it counts. Nothing happens when it is not open."""
        self._ledger.shrink("abort an upload", lambda change: staging.give_up(change, ingest))

    # -- datasets

    def put_manifest(self, record: Record, expiry: float) -> None:
        """Store a manifest. Raises QuotaExceeded."""
        with self._ledger.change("record a manifest") as change:
            self._check_room(change, record)
            manifests.put(change, record, expiry)

    def mend_manifests(self, records: Sequence[Record]) -> None:
        """Write sound copies of damaged manifests."""
        with self._ledger.change("mend manifests") as change:
            manifests.rewrite(change.tx, records)

    def drop_dataset(self, manifest: Cid) -> int | None:
        """Make a dataset vanish; the tree to be swept, or None when there is no such dataset."""
        return self._ledger.shrink("delete a dataset", lambda change: lifetime.drop_dataset(change, manifest))

    def pin(self, manifest: Cid, pinned: bool) -> None:
        """Keep a dataset whatever its expiry, or no longer. Raises BlockNotFound."""
        with self._ledger.change("pin a dataset") as change:
            lifetime.pin(change.tx, manifest, pinned)

    def hold(self, hold: Hold, record: Record | None = None) -> bool:
        """Begin or change a hold; whether its manifest came with it. Raises InvalidInput, BlockNotFound,
        QuotaExceeded.
        """
        with self._ledger.change("hold leaves") as change:
            comes = record is not None and not manifests.is_here(change.tx, record.cid)
            if record is not None and comes:
                self._check_room(change, record)
                manifests.put_record(change, record)
            holds.put_hold(change, hold)
        return comes

    def keep_hold(self, purpose: str, key: str, until: float, filled: bool) -> bool:
        """Keep a hold until then at least; False when there is none."""
        with self._ledger.change("keep leaves") as change:
            return holds.keep_hold(change.tx, purpose, key, until, filled=filled)

    def drop_hold(self, purpose: str, key: str) -> int | None:
        """End a hold; the tree to be swept, or None when there is no such hold."""
        return self._ledger.shrink("let leaves go", lambda change: holds.drop_hold(change, purpose, key))

    def extend(self, cids: Sequence[Cid], until: float) -> None:
        """Keep blocks, datasets and trees at least until then. Raises BlockNotFound, InvalidInput."""
        with self._ledger.change("extend expiries") as change:
            lifetime.extend(change.tx, cids, until)

    # -- room

    def reserve(self, size: int, purpose: str) -> int:
        """Promise room; the number of the reservation. Raises QuotaExceeded, InvalidInput."""
        if size < 0:
            raise InvalidInput(f"{size} bytes cannot be reserved")
        with self._ledger.change("reserve room") as change:
            self._check(change, size)
            number = change.tx.execute(
                "INSERT INTO reservations(bytes, purpose) VALUES (?, ?)", (size, purpose)
            ).lastrowid
            assert number is not None
            change.reserve(size)
        return number

    def release(self, reservation: int, size: int | None = None) -> None:
        """Give reserved room back: some of it, or all and with it the reservation. Raises InvalidInput."""

        def work(change: Change) -> None:
            row = one(change.tx, "SELECT bytes FROM reservations WHERE id = ?", reservation)
            if row is None:
                raise InvalidInput(f"there is no reservation {reservation}")
            left = row[0]
            if size is not None and not 0 <= size <= left:
                raise InvalidInput(f"{size} bytes of {left} cannot be released")
            if size is None:
                change.tx.execute("DELETE FROM reservations WHERE id = ?", (reservation,))
            else:
                change.tx.execute(
                    "UPDATE reservations SET bytes = bytes - ? WHERE id = ?", (size, reservation)
                )
            change.reserve(-(left if size is None else size))

        self._ledger.shrink("release room", work)

    def _check_room(self, change: Change, record: Record) -> None:
        if not manifests.is_here(change.tx, record.cid):
            self._check(change, len(record.data))

    def _check(self, change: Change, size: int) -> None:
        available = space_of(change.tx, self._ledger.quota).available
        if size > available:
            raise no_room(self._ledger.quota, available, size)

    # -- maintenance, in steps

    def expire(self, now: float, limit: int) -> int:
        """Let go of up to `limit` things whose time has come; how many there were."""
        return self._in_smaller_steps(
            "remove what has expired", limit, lambda limit, change: sweep.expire(change, now, limit)
        )

    def next_tree(self) -> int | None:
        """A tree with leaves to remove, if there is one."""
        with self._ledger.index.reading() as connection:
            return sweep.next_tree(connection)

    def sweep(self, tree: int, now: float, limit: int) -> bool:
        """Remove up to `limit` unwanted leaves of a tree; whether there is more to do for it."""
        return self._in_smaller_steps(
            "remove leaves", limit, lambda limit, change: sweep.sweep(change, tree, now, limit)
        )

    def _in_smaller_steps(self, doing: str, limit: int, work: Callable[[int, Change], T]) -> T:
        """Have something removed; when the disk is too full for a step of that size, by a smaller one."""
        while True:
            try:
                return self._ledger.shrink(doing, partial(work, limit))
            except DiskFull:
                if limit <= _LEAST_STEP:
                    raise
            limit = max(limit // 4, _LEAST_STEP)

    def compact(self) -> bool:
        """Move a few blocks out of a segment that is mostly dead or, on a disk that is short of room, has
        anything dead in it; whether there was one. When there is none left, such a disk also gets the room
        of the index's log back.
        """
        with disk_errors(f"look into {self.directory}"):
            free = self._disk.free(self.directory)
        short = compaction.is_short(self._ledger, free)
        if self._compactor.step(short=short):
            return True
        least = min(self._retire_bytes, free)
        if compaction.retire(self._ledger, least, short=short) and self._compactor.step(short=short):
            return True
        if short:
            self._ledger.give_back()
        return False

    def restore_ballast(self) -> bool:
        """Take the ballast on again if there is room; whether it is aboard."""
        return self._ledger.ballast.restore()

    def correct(self, found: Recount) -> None:
        """Put counters right by the differences that a recount found."""
        self._ledger.shrink("correct the counters", lambda change: recount.correct(change, found))

    def backup(self, target: Path) -> Backup:
        """Prepare a backup; `keep` must be in force while it runs. Raises InvalidInput."""
        return Backup(self._disk, self.directory, self._readers, target)

    def keep(self) -> None:
        """Remove no segment and shorten none until `let_go`."""
        self._ledger.keep()

    def let_go(self) -> None:
        """End what `keep` began."""
        self._ledger.let_go()
