"""How long things live: who wants a tree, and what becomes of it when nobody does any longer.

    block     stays while a leaf names it (`refs` > 0) or until its own expiry.
    manifest  is a dataset: stays while it is pinned, or until its expiry, or until it is deleted. After that
              it stays as a mere record (not `whole`) while a hold names it.
    tree      is wanted by each of its datasets (several names may share one tree), and by its own claim, a
              time until which somebody who fetches leaves without a manifest wants it.
    hold      keeps a run of leaves of a tree until it is dropped or expires, whoever else wants the tree or
              not. Leaves that came for its sake (`adopted`) go with it, unless the tree is claimed or pinned.
    leaf      stays while its tree is wanted or a hold covers it.

A tree is in one of four states::

    STAGING --commit--> LIVE <--wanted again-- HELD      LIVE: somebody wants it whole
       |                 | '--only holds left--> |       HELD: leaves that no hold covers are being removed
       '--abort, crash-> DOOMED <--no hold left--'       DOOMED: without a name; all its leaves are being
                                                         removed

Expiry is a promise to keep, not a promise to remove: what has expired is still found until maintenance
comes by, and lives on when it is wanted again before that. Deleting and aborting hide at once. Removing
leaves, which takes time, is the work of sweep.py; here `swept` is set to 0 to ask for it.

Functions change rows in a transaction of the caller's; times are unix seconds.
"""

from collections.abc import Iterable, Sequence
from sqlite3 import Connection

from codex.codec import CODEX_MANIFEST, CODEX_ROOT, Cid
from codex.errors import BlockNotFound, InvalidInput
from codex.store import slot_trees
from codex.store.index import Row, one
from codex.store.ledger import Change
from codex.store.schema import DOOMED, HELD, LIVE, STAGING
from codex.store.sense import stored_cid
from codex.store.values import Hold

MAX_INDEX = 2**62
"""Leaves of the largest tree; keeps every sum of indices within SQLite's integers."""


def tree_of(connection: Connection, tree: Cid) -> int | None:
    """The row of the tree with that CID; None when there is none that can be seen."""
    row = one(connection, "SELECT id FROM trees WHERE cid = ?", tree.raw)
    return None if row is None else int(row[0])


def known_tree(tx: Connection, tree: Cid) -> int:
    """The row of that tree, made when there is none: it then has no leaves and nobody wants it yet."""
    found = tree_of(tx, tree)
    if found is None:
        found = tx.execute("INSERT INTO trees(cid, state) VALUES (?, ?)", (tree.raw, HELD)).lastrowid
        assert found is not None
    return found


def want(tx: Connection, tree: int, until: float = 0.0) -> None:
    """A manifest names the tree, or (with `until`) somebody claims it: it is whole again from now on."""
    tx.execute(
        "UPDATE trees SET state = ?, swept = NULL, claim = max(claim, ?) WHERE id = ? AND state IN (?, ?)",
        (LIVE, until, tree, LIVE, HELD),
    )
    tx.execute("DELETE FROM adopted WHERE tree = ? AND key IS NULL", (tree,))


def settle(tx: Connection, tree: int) -> None:
    """Somebody stopped wanting the tree: let it be what those who are left make of it."""
    row = one(
        tx,
        "SELECT state, claim > 0 OR EXISTS (SELECT 1 FROM manifests WHERE tree = t.id AND whole),"
        " EXISTS (SELECT 1 FROM holds WHERE tree = t.id) FROM trees t WHERE id = ?",
        tree,
    )
    if row is None or row[0] in (STAGING, DOOMED) or row[1]:
        return
    if row[2]:
        tx.execute("UPDATE trees SET state = ?, swept = 0 WHERE id = ?", (HELD, tree))
    else:
        doom(tx, tree)


def doom(tx: Connection, tree: int) -> None:
    """Take the tree's name away and have all its leaves removed."""
    tx.execute("UPDATE trees SET state = ?, cid = NULL, claim = 0, swept = 0 WHERE id = ?", (DOOMED, tree))
    tx.execute("DELETE FROM adopted WHERE tree = ?", (tree,))


def take_over(tx: Connection, tree: Cid, heir: int) -> None:
    """Give a tree's name, its manifests, its holds, its claim, and the trees of its slots to another row with
    the same leaves.

    The old row, whose leaves may be incomplete, is doomed.
    """
    old = tree_of(tx, tree)
    claim = 0.0
    if old is not None:
        (claim,) = tx.execute("SELECT claim FROM trees WHERE id = ?", (old,)).fetchone()
        tx.execute("UPDATE manifests SET tree = ? WHERE tree = ?", (heir, old))
        tx.execute("UPDATE holds SET tree = ? WHERE tree = ?", (heir, old))
        slot_trees.hand_over(tx, old, heir)
        doom(tx, old)
    tx.execute(
        "UPDATE trees SET cid = ?, state = ?, claim = ?, swept = NULL WHERE id = ?",
        (tree.raw, LIVE, claim, heir),
    )


def forget_manifest(change: Change, manifest: Cid) -> int | None:
    """Remove the row of a manifest; the row of its tree, to be settled, or None when there is no such
    manifest.
    """
    row = one(change.tx, "SELECT id, tree, length(data) FROM manifests WHERE cid = ?", manifest.raw)
    if row is None:
        return None
    number, tree, length = row
    change.tx.execute("DELETE FROM manifests WHERE id = ?", (number,))
    change.manifest(-1, length)
    return int(tree)


def end_dataset(change: Change, manifest: Cid) -> int | None:
    """A manifest is no dataset any more; the row of its tree, to be settled, or None when it was none. While
    a hold names it, it stays as a record.
    """
    row = one(change.tx, "SELECT tree FROM manifests WHERE cid = ? AND whole", manifest.raw)
    if row is None:
        return None
    if _is_named(change.tx, manifest):
        change.tx.execute("UPDATE manifests SET pinned = 0 WHERE cid = ?", (manifest.raw,))
        _make_record(change.tx, manifest)
        return int(row[0])
    return forget_manifest(change, manifest)


def _is_named(tx: Connection, manifest: Cid) -> bool:
    return one(tx, "SELECT 1 FROM holds WHERE manifest = ? LIMIT 1", manifest.raw) is not None


def _make_record(tx: Connection, manifest: Cid) -> None:
    tx.execute("UPDATE manifests SET whole = 0, expiry = 0 WHERE cid = ? AND NOT pinned", (manifest.raw,))


def drop_dataset(change: Change, manifest: Cid) -> int | None:
    """Delete a dataset; the row of its tree, or None when there is no such dataset.

    When it was the tree's last one, the tree's claim ends too: deleting means more than not claiming.
    """
    tree = end_dataset(change, manifest)
    if tree is not None:
        if one(change.tx, "SELECT 1 FROM manifests WHERE tree = ? AND whole", tree) is None:
            change.tx.execute("UPDATE trees SET claim = 0 WHERE id = ?", (tree,))
        settle(change.tx, tree)
    return tree


def pin(tx: Connection, manifest: Cid, pinned: bool) -> None:
    """Keep a dataset whatever its expiry, or no longer. Raises BlockNotFound."""
    row = one(tx, "SELECT tree, whole FROM manifests WHERE cid = ?", manifest.raw)
    if row is None:
        raise BlockNotFound(f"there is no dataset {manifest} on this node")
    tree, whole = row
    if pinned and not whole:
        want(tx, tree)
    tx.execute(
        "UPDATE manifests SET pinned = ?, whole = max(whole, ?) WHERE cid = ?", (pinned, pinned, manifest.raw)
    )


def put_hold(change: Change, hold: Hold, *, record: bool = False) -> None:
    """Begin a hold, or change it: one of the same purpose and key is replaced.

    The tree need not be here yet. With `record` the manifest is here for the sake of holds only, unless it is
    pinned. Raises InvalidInput for a range that no tree has, BlockNotFound when the manifest is not here.
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
    if record and name is not None:
        _make_record(tx, name)
        settle(tx, tree)
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
    if row is None or _is_named(tx, manifest):
        return
    if row[1] > 0:
        tx.execute("UPDATE manifests SET whole = 1, expiry = ? WHERE cid = ?", (row[1], manifest.raw))
    else:
        forget_manifest(change, manifest)


def holds(connection: Connection, purpose: str) -> list[Hold]:
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


def extend(tx: Connection, cids: Sequence[Cid], until: float) -> None:
    """Keep blocks, datasets (by manifest) and trees at least until then.

    Raises InvalidInput for a time that is not positive, BlockNotFound when one of them is not here.
    """
    if not until > 0:
        raise InvalidInput(f"{until} is no time to keep anything until")
    for cid in cids:
        if not _extend(tx, cid, until):
            raise BlockNotFound(f"{cid} is not on this node")


def _extend(tx: Connection, cid: Cid, until: float) -> bool:
    if cid.codec == CODEX_ROOT:
        tree = tree_of(tx, cid)
        if tree is not None:
            want(tx, tree, until)
        return tree is not None
    if cid.codec == CODEX_MANIFEST:
        row = one(tx, "SELECT tree FROM manifests WHERE cid = ? AND NOT whole", cid.raw)
        if row is not None:
            want(tx, row[0])
        sql = "UPDATE manifests SET expiry = max(expiry, ?), whole = 1 WHERE cid = ?"
    else:
        sql = (
            "UPDATE blocks SET expiry = max(expiry, ?) WHERE cid = ?"
            " AND (staged_by IS NULL OR staged_by NOT IN (SELECT id FROM ingests))"
        )
    return tx.execute(sql, (until, cid.raw)).rowcount > 0


def expiry_of(connection: Connection, cid: Cid) -> float:
    """Until when a block, a dataset (by manifest) or a claimed tree is kept; 0 for only while referenced.

    A pinned dataset never expires; the manifest of a hold stays as long. Raises BlockNotFound.
    """
    if cid.codec == CODEX_MANIFEST:
        sql = (
            "SELECT CASE WHEN pinned THEN 9e999 ELSE"
            " max(expiry, (SELECT coalesce(max(h.expiry), 0) FROM holds h WHERE h.manifest = m.cid)) END"
            " FROM manifests m WHERE cid = ?"
        )
    elif cid.codec == CODEX_ROOT:
        sql = "SELECT claim FROM trees WHERE cid = ?"
    else:
        sql = (
            "SELECT expiry FROM blocks WHERE cid = ?"
            " AND (staged_by IS NULL OR staged_by NOT IN (SELECT id FROM ingests))"
        )
    row = one(connection, sql, cid.raw)
    if row is None:
        raise BlockNotFound(f"{cid} is not on this node")
    return float(row[0])
