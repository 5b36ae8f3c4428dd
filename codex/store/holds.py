"""Holds: promises to keep runs of leaves, such as slots, and what came for their sake.

A hold has leaves of its own (`adopted`): those that were not here before and came for it. It may name a
manifest, which stays as long, and a slot, whose tree goes with the leaves. When it ends, all of that goes in
the same transaction that ends it (leaves are left to sweep.py, which works in steps), but for this:

    another hold of the same leaves inherits what the one brought;
    leaves of a tree that is claimed or pinned stay: somebody came to use the dataset and found them here;
    a manifest that is a dataset of its own (`whole`), or that another hold names, stays.

A hold that is filling is no promise yet. It ends as any other, and whatever of them is found at the start is
ended then: who was filling it is gone.

Functions change rows in a transaction of the caller's; times are unix seconds.
"""

from collections.abc import Iterable
from sqlite3 import Connection

from codex.codec import Cid
from codex.errors import BlockNotFound, InvalidInput
from codex.store import slot_trees
from codex.store.index import Row, one
from codex.store.ledger import Change
from codex.store.lifetime import MAX_INDEX, forget_manifest, is_named, known_tree, settle
from codex.store.schema import HELD, LIVE
from codex.store.sense import stored_cid
from codex.store.values import Hold


def put_hold(change: Change, hold: Hold) -> None:
    """Begin a hold, or change it: one of the same purpose and key is replaced.

    The tree need not be here yet. Raises InvalidInput for a range that no tree has, BlockNotFound when the
    manifest is not here.
    """
    if hold.first < 0 or hold.count < 1 or hold.first + hold.count > MAX_INDEX:
        raise InvalidInput(f"{hold.count} leaves from {hold.first} are no range of a tree")
    tx, name = change.tx, hold.manifest
    before = _hold_row(tx, hold.purpose, hold.key)
    tree = known_tree(tx, hold.tree)
    if name is not None and (
        one(tx, "SELECT 1 FROM manifests WHERE cid = ? AND tree = ?", name.raw, tree) is None
    ):
        raise BlockNotFound(f"there is no dataset {name} of the tree {hold.tree} on this node")
    tx.execute(
        "INSERT OR REPLACE INTO holds(purpose, key, tree, first, count, expiry, manifest, slot, filling)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(hold.purpose, hold.key, tree, hold.first, hold.count, hold.expiry),
            *(None if name is None else name.raw, hold.slot, hold.filling),
        ),
    )
    if before is not None and before[:3] != (tree, hold.first, hold.count):
        _let_go(change, hold.purpose, hold.key, before)
    # What another hold of these leaves brought and has not been removed yet is this one's now.
    tx.execute(
        "UPDATE adopted SET purpose = ?, key = ? WHERE tree = ? AND key IS NULL AND first >= ?"
        " AND first + count <= ?",
        (hold.purpose, hold.key, tree, hold.first, hold.first + hold.count),
    )


def keep_hold(tx: Connection, purpose: str, key: str, until: float, *, filled: bool) -> bool:
    """Keep a hold until then at least; False when there is none. One that is filling becomes a promise when
    it is `filled`, and else counts as none.
    """
    return (
        tx.execute(
            "UPDATE holds SET expiry = max(expiry, ?), filling = 0"
            " WHERE purpose = ? AND key = ? AND (filling = 0 OR ?)",
            (until, purpose, key, filled),
        ).rowcount
        > 0
    )


def adopt(tx: Connection, tree: int, hold: tuple[str, str], indices: Iterable[int]) -> None:
    """Note that leaves, in order, came for the sake of a hold, given by its purpose and key."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == sum(runs[-1]):
            runs[-1][1] += 1
        else:
            runs.append([index, 1])
    for first, count in runs:
        if not tx.execute(
            "UPDATE adopted SET count = count + ? WHERE tree = ? AND purpose = ? AND key = ?"
            " AND first + count = ?",
            (count, tree, *hold, first),
        ).rowcount:
            tx.execute(
                "INSERT INTO adopted(tree, first, count, purpose, key) VALUES (?, ?, ?, ?, ?)",
                (tree, first, count, *hold),
            )


def drop_hold(change: Change, purpose: str, key: str) -> int | None:
    """End a hold; the row of its tree, to be swept, or None when there is none of that purpose and key."""
    row = _hold_row(change.tx, purpose, key)
    if row is None:
        return None
    change.tx.execute("DELETE FROM holds WHERE purpose = ? AND key = ?", (purpose, key))
    _let_go(change, purpose, key, row)
    return int(row[0])


def give_up_filling(change: Change) -> None:
    """At the start: whoever was filling a hold is gone, and what it has brought goes too."""
    for purpose, key in change.tx.execute("SELECT purpose, key FROM holds WHERE filling").fetchall():
        drop_hold(change, purpose, key)


def _hold_row(tx: Connection, purpose: str, key: str) -> Row | None:
    return one(
        tx,
        "SELECT tree, first, count, filling, manifest, slot FROM holds WHERE purpose = ? AND key = ?",
        purpose,
        key,
    )


def _let_go(change: Change, purpose: str, key: str, row: Row) -> None:
    """A hold, whose row is gone, has ended: let what it kept be what those who are left make of it."""
    tx = change.tx
    tree, first, count, filling, manifest, slot = row
    heir = one(
        tx,
        "SELECT purpose, key FROM holds WHERE tree = ? AND first = ? AND count = ? ORDER BY filling LIMIT 1",
        *(tree, first, count),
    )
    brought = one(tx, "SELECT 1 FROM adopted WHERE purpose = ? AND key = ? LIMIT 1", purpose, key) is not None
    owned = one(
        tx,
        "SELECT claim > 0 OR EXISTS (SELECT 1 FROM manifests WHERE tree = t.id AND pinned)"
        " FROM trees t WHERE id = ?",
        tree,
    )
    if heir is not None:
        tx.execute(
            "UPDATE adopted SET purpose = ?, key = ? WHERE purpose = ? AND key = ?", (*heir, purpose, key)
        )
    elif owned is not None and owned[0] and not filling:
        # Somebody has come to use the dataset meanwhile, and has found these leaves here.
        brought = False
        tx.execute("DELETE FROM adopted WHERE purpose = ? AND key = ?", (purpose, key))
    else:
        tx.execute(
            "UPDATE adopted SET purpose = NULL, key = NULL WHERE purpose = ? AND key = ?", (purpose, key)
        )
    if manifest is not None:
        _release_record(change, Cid(manifest))
    settle(tx, tree)
    state = one(tx, "SELECT state FROM trees WHERE id = ?", tree)
    if heir is None and state is not None:
        if brought and state[0] == LIVE:
            tx.execute("UPDATE trees SET swept = 0 WHERE id = ?", (tree,))
        if slot is not None and (brought or state[0] == HELD):
            slot_trees.remove_slot(tx, tree, slot)


def _release_record(change: Change, manifest: Cid) -> None:
    """Remove a record that no hold names. If somebody claims its tree it is a dataset for as long: of leaves
    without a manifest nobody could make anything.
    """
    tx = change.tx
    row = one(
        tx,
        "SELECT t.id, t.claim FROM manifests m JOIN trees t ON t.id = m.tree WHERE m.cid = ? AND NOT m.whole",
        manifest.raw,
    )
    if row is None or is_named(tx, manifest):
        return
    if row[1] > 0:
        tx.execute("UPDATE manifests SET whole = 1, expiry = ? WHERE cid = ?", (row[1], manifest.raw))
    else:
        forget_manifest(change, manifest)


def outlasts(connection: Connection, manifest: Cid) -> bool:
    """Whether a dataset, and what is here of it, stays when the holds of it end."""
    row = one(
        connection,
        "SELECT t.claim > 0 OR NOT EXISTS (SELECT 1 FROM holds WHERE tree = t.id)"
        " FROM manifests m JOIN trees t ON t.id = m.tree WHERE m.cid = ?",
        manifest.raw,
    )
    return row is not None and bool(row[0])


def holds_of(connection: Connection, purpose: str) -> list[Hold]:
    """All holds of a purpose, by key."""
    rows = connection.execute(
        "SELECT h.key, t.cid, h.first, h.count, h.expiry, h.manifest, h.slot, h.filling"
        " FROM holds h JOIN trees t ON t.id = h.tree WHERE h.purpose = ? ORDER BY h.key",
        (purpose,),
    )
    return [
        Hold(
            *(purpose, key, stored_cid(tree), first, count, expiry),
            manifest=None if manifest is None else stored_cid(manifest),
            slot=slot,
            filling=bool(filling),
        )
        for key, tree, first, count, expiry, manifest, slot, filling in rows
    ]
