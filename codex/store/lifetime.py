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
leaves, which takes time, is the work of sweep.py; here `swept` is set to 0 to ask for it. Holds are in
holds.py.

Functions change rows in a transaction of the caller's; times are unix seconds.
"""

from collections.abc import Sequence
from sqlite3 import Connection

from codex.codec import CODEX_MANIFEST, CODEX_ROOT, Cid
from codex.errors import BlockNotFound, InvalidInput
from codex.store import slot_trees
from codex.store.index import one
from codex.store.ledger import Change
from codex.store.schema import DOOMED, HELD, LIVE, STAGING

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
    if is_named(change.tx, manifest):
        change.tx.execute("UPDATE manifests SET pinned = 0 WHERE cid = ?", (manifest.raw,))
        make_record(change.tx, manifest)
        return int(row[0])
    return forget_manifest(change, manifest)


def is_named(tx: Connection, manifest: Cid) -> bool:
    """Whether a hold names the manifest."""
    return one(tx, "SELECT 1 FROM holds WHERE manifest = ? LIMIT 1", manifest.raw) is not None


def make_record(tx: Connection, manifest: Cid) -> None:
    """A manifest is here for the sake of holds only, unless it is pinned. Its tree is to be settled."""
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
