"""Removing: the leaves of trees that nobody wants, blocks that have expired, and single blocks on request.

All in steps of a bounded number of rows, each a transaction, so that nobody waits long and a crash in
between only leaves the rest for later.
"""

from collections import Counter
from collections.abc import Iterable
from sqlite3 import Connection

from attrs import frozen

from codex.codec import Cid
from codex.errors import BlockInUse
from codex.store import slot_trees, staging
from codex.store.holds import drop_hold
from codex.store.index import Row, one, select_in
from codex.store.ledger import Change
from codex.store.lifetime import end_dataset, settle
from codex.store.schema import DOOMED, LIVE

_NODE_PAGES = 128  # pages of Merkle nodes removed in one step: 1 MiB


def next_tree(connection: Connection) -> int | None:
    """The oldest tree with leaves to remove, or None."""
    row = one(connection, "SELECT id FROM trees WHERE swept IS NOT NULL ORDER BY id LIMIT 1")
    return None if row is None else int(row[0])


def sweep(change: Change, tree: int, now: float, limit: int) -> bool:
    """Remove up to `limit` leaves that nothing keeps any more, with the blocks that go with them.

    Returns whether there is more to do for this tree.
    """
    tx = change.tx
    row = one(tx, "SELECT state, swept FROM trees WHERE id = ? AND swept IS NOT NULL", tree)
    if row is None:
        return False
    state, swept = row
    gap = _next_gap(tx, tree, swept, state)
    while gap is not None:
        rows = tx.execute(
            "SELECT idx, block FROM leaves WHERE tree = ? AND idx >= ? AND idx < ? ORDER BY idx LIMIT ?",
            (tree, gap.first, gap.end, limit),
        ).fetchall()
        if rows:
            _remove_leaves(change, tree, rows, now)
            tx.execute("UPDATE trees SET swept = ? WHERE id = ?", (rows[-1][0] + 1, tree))
            return True
        gap = _next_gap(tx, tree, gap.end, state)
    if state != DOOMED:
        tx.execute("UPDATE trees SET swept = NULL WHERE id = ?", (tree,))
        tx.execute("DELETE FROM adopted WHERE tree = ? AND key IS NULL", (tree,))
        return False
    removed = tx.execute(
        "DELETE FROM tree_nodes WHERE rowid IN (SELECT rowid FROM tree_nodes WHERE tree = ? LIMIT ?)",
        (tree, _NODE_PAGES),
    ).rowcount
    if removed == _NODE_PAGES or slot_trees.remove(tx, tree):
        return True
    staging.forget(tx, tree)
    tx.execute("DELETE FROM trees WHERE id = ?", (tree,))
    return False


@frozen(slots=True)
class _Gap:
    first: int
    end: int


def _next_gap(tx: Connection, tree: int, at: int, state: int) -> _Gap | None:
    """The first run of indices from `at` on that no hold covers and that has leaves. Of a tree that is
    wanted, only what holds brought that have ended.
    """
    if state != LIVE:
        row = one(tx, "SELECT max(idx) + 1 FROM leaves WHERE tree = ?", tree)
        return _uncovered(tx, tree, at, (row and row[0]) or 0)
    for first, end in tx.execute(
        "SELECT first, first + count FROM adopted WHERE tree = ? AND key IS NULL AND first + count > ?"
        " ORDER BY first",
        (tree, at),
    ):
        gap = _uncovered(tx, tree, max(at, first), end)
        if gap is not None:
            return gap
    return None


def _uncovered(tx: Connection, tree: int, at: int, end: int) -> _Gap | None:
    """The first run of indices from `at` to `end - 1` that no hold covers."""
    while at < end:
        covered = one(
            tx,
            "SELECT max(first + count) FROM holds WHERE tree = ? AND first <= ? AND first + count > ?",
            tree,
            at,
            at,
        )
        if covered is None or covered[0] is None:
            follows = one(tx, "SELECT min(first) FROM holds WHERE tree = ? AND first > ?", tree, at)
            stop = follows[0] if follows and follows[0] is not None else end
            return _Gap(at, min(stop, end))
        at = covered[0]
    return None


def _remove_leaves(change: Change, tree: int, rows: list[Row], now: float) -> None:
    tx = change.tx
    tx.execute("DELETE FROM leaves WHERE tree = ? AND idx >= ? AND idx <= ?", (tree, rows[0][0], rows[-1][0]))
    tx.execute("UPDATE trees SET leaves = leaves - ? WHERE id = ?", (len(rows), tree))
    lost = Counter(block for _, block in rows if block is not None)
    kept: list[tuple[int, int]] = []
    gone: list[Row] = []
    for row in select_in(
        tx, "SELECT id, segment, length, staged_by, refs, expiry FROM blocks WHERE id", list(lost)
    ):
        if row[4] == lost[row[0]] and row[5] <= now:
            gone.append(row)
        else:
            kept.append((lost[row[0]], row[0]))
    tx.executemany("UPDATE blocks SET refs = refs - ? WHERE id = ?", kept)
    _remove_blocks(change, gone)
    staging.released(change, tree, lost)


def _remove_blocks(change: Change, rows: Iterable[Row]) -> None:
    """Delete block rows, each given as (id, segment, length, staged_by, …)."""
    rows = list(rows)
    owners = staging.owners(change.tx)
    change.tx.executemany("DELETE FROM blocks WHERE id = ?", [(row[0],) for row in rows])
    for row in rows:
        change.block(-1, row[1], row[2])
        if row[3] in owners:
            change.charge(row[3], -1, row[2])


def expire(change: Change, now: float, limit: int) -> int:
    """Let go of up to `limit` manifests, holds, claims and blocks whose time has come; how many.

    Trees that are no longer wanted after that are left to `sweep`.
    """
    tx = change.tx
    done = 0
    for (cid,) in tx.execute(
        "SELECT cid FROM manifests WHERE pinned = 0 AND whole AND expiry <= ? ORDER BY expiry LIMIT ?",
        (now, limit),
    ).fetchall():
        tree = end_dataset(change, Cid(cid))
        assert tree is not None
        settle(tx, tree)
        done += 1
    for purpose, key in tx.execute(
        "SELECT purpose, key FROM holds WHERE expiry <= ? ORDER BY expiry LIMIT ?", (now, limit - done)
    ).fetchall():
        drop_hold(change, purpose, key)
        done += 1
    for (tree,) in tx.execute(
        "SELECT id FROM trees WHERE claim > 0 AND claim <= ? ORDER BY claim LIMIT ?", (now, limit - done)
    ).fetchall():
        tx.execute("UPDATE trees SET claim = 0 WHERE id = ?", (tree,))
        settle(tx, tree)
        done += 1
    rows = tx.execute(
        "SELECT id, segment, length, staged_by FROM blocks WHERE refs = 0 AND expiry <= ?"
        " ORDER BY expiry LIMIT ?",
        (now, limit - done),
    ).fetchall()
    _remove_blocks(change, rows)
    return done + len(rows)


def delete_block(change: Change, cid: Cid) -> bool:
    """Remove a block that no dataset needs; False when it is not here. Raises BlockInUse."""
    row = one(change.tx, "SELECT id, segment, length, staged_by, refs FROM blocks WHERE cid = ?", cid.raw)
    if row is None or row[3] in staging.owners(change.tx):
        return False
    if row[4]:
        raise BlockInUse(
            f"the block {cid} is part of a dataset", remedy="delete the dataset, by the CID of its manifest"
        )
    _remove_blocks(change, [row])
    return True
