"""Ingests: datasets on their way in, of which nothing is seen before the last step.

An ingest fills a tree in state STAGING. Blocks that came with it are `staged_by` it, and its row counts
them: that is its *charge*. What has an owner here cannot be seen from outside. When the ingest is
committed, its row goes, and so its blocks have no owner any more: one step, however many they are. When it
is given up, its charge is no longer counted as used from that moment, though removing the leaves takes
time.

Uploads of the same content may run side by side. Then a block has one owner, and `costaged` says by how
many leaves of which other ingests it is wanted as well, so that it finds a new owner when it must:

    while a block has an owner, its references are the owner's leaves plus those counted in `costaged`.
"""

from collections import Counter
from collections.abc import Mapping
from sqlite3 import Connection

from codex.errors import InvalidInput
from codex.store.index import one
from codex.store.ledger import Change
from codex.store.lifetime import doom
from codex.store.schema import DOOMED, STAGING

SEEN = "(staged_by IS NULL OR staged_by NOT IN (SELECT id FROM ingests))"
"""SQL: a block that can be seen from outside."""


def owners(connection: Connection) -> dict[int, bool]:
    """All ingests that own something, and whether they are still open."""
    return {number: bool(is_open) for number, is_open in connection.execute("SELECT id, open FROM ingests")}


def begin(tx: Connection) -> int:
    """Begin an ingest; its number."""
    tree = tx.execute("INSERT INTO trees(state) VALUES (?)", (STAGING,)).lastrowid
    number = tx.execute("INSERT INTO ingests(tree) VALUES (?)", (tree,)).lastrowid
    assert number is not None
    return number


def staging_tree(connection: Connection, ingest: int) -> int:
    """The row of the tree that an ingest fills. Raises InvalidInput when it is not open."""
    row = one(connection, "SELECT tree FROM ingests WHERE id = ? AND open = 1", ingest)
    if row is None:
        raise InvalidInput(f"there is no open ingest {ingest}", remedy="begin a new one")
    return int(row[0])


def close(change: Change, ingest: int) -> None:
    """The ingest is committed: what it wanted belongs to a dataset from now on."""
    tx = change.tx
    # Blocks that came with other ingests, and those that other ingests wanted of this one, are nobody's own
    # now.
    rows = tx.execute(
        "SELECT b.id, b.length, b.staged_by FROM costaged c JOIN blocks b ON b.id = c.block"
        " WHERE c.ingest = ? OR b.staged_by = ?",
        (ingest, ingest),
    ).fetchall()
    free(change, rows)
    tx.execute("DELETE FROM ingests WHERE id = ?", (ingest,))


def free(change: Change, rows: list[tuple[int, int, int]]) -> None:
    """Take blocks, given as (row, length, owner), from their owners: somebody wants them for good."""
    change.tx.executemany("UPDATE blocks SET staged_by = NULL WHERE id = ?", [(row[0],) for row in rows])
    change.tx.executemany("DELETE FROM costaged WHERE block = ?", [(row[0],) for row in rows])
    for _, length, owner in set(rows):
        change.charge(owner, -1, length)


def share(change: Change, shares: Mapping[tuple[int, int], int]) -> None:
    """More leaves of ingests name blocks that other ingests own: how many, by (block, ingest).

    Their references are counted already.
    """
    tx = change.tx
    tx.executemany(
        "INSERT INTO costaged(block, ingest, leaves) VALUES (?, ?, ?)"
        " ON CONFLICT(block, ingest) DO UPDATE SET leaves = leaves + excluded.leaves",
        [(block, ingest, leaves) for (block, ingest), leaves in shares.items()],
    )
    for block, heir in dict(shares.keys()).items():
        owner, still_open = tx.execute(
            "SELECT i.id, i.open FROM blocks b JOIN ingests i ON i.id = b.staged_by WHERE b.id = ?", (block,)
        ).fetchone()
        if not still_open:
            _hand_over(change, block, owner, heir)


def give_up(change: Change, ingest: int) -> None:
    """The ingest is aborted: hide it, and have its leaves removed. Nothing happens when it is not open.

    Blocks that another open ingest wants go over to that one.
    """
    tx = change.tx
    row = one(tx, "SELECT tree FROM ingests WHERE id = ? AND open = 1", ingest)
    if row is None:
        return
    tree = row[0]
    tx.execute("UPDATE ingests SET open = 0 WHERE id = ?", (ingest,))
    doom(tx, tree)
    heirs = tx.execute(
        "SELECT c.block, min(c.ingest) FROM costaged c JOIN blocks b ON b.id = c.block"
        " JOIN ingests i ON i.id = c.ingest WHERE b.staged_by = ? AND i.open = 1 GROUP BY c.block",
        (ingest,),
    ).fetchall()
    for block, heir in heirs:
        _hand_over(change, block, ingest, heir)


def give_up_all(tx: Connection) -> None:
    """At the start: whoever was writing is gone. It takes as long for much as for little."""
    tx.execute(
        "UPDATE trees SET state = ?, swept = 0 WHERE state = ? AND id IN (SELECT tree FROM ingests)",
        (DOOMED, STAGING),
    )
    tx.execute("UPDATE ingests SET open = 0")


def released(change: Change, tree: int, lost: Counter[int]) -> None:
    """Leaves of a tree were removed, and their references uncounted: `lost` of them by block.

    Blocks that are still there for the sake of other ingests get one of those as their owner.
    """
    tx = change.tx
    row = one(tx, "SELECT id FROM ingests WHERE tree = ?", tree)
    if row is None or one(tx, "SELECT 1 FROM costaged LIMIT 1") is None:
        return
    ingest = row[0]
    for block, count in lost.items():
        state = one(
            tx,
            "SELECT b.staged_by, b.refs, sum(c.leaves), max(CASE WHEN c.ingest <> ? THEN c.ingest END)"
            " FROM blocks b JOIN costaged c ON c.block = b.id WHERE b.id = ? GROUP BY b.id",
            ingest,
            block,
        )
        if state is None:
            continue
        owner, refs, shared, heir = state
        if owner != ingest:
            tx.execute(
                "UPDATE costaged SET leaves = leaves - ? WHERE block = ? AND ingest = ?",
                (count, block, ingest),
            )
            tx.execute("DELETE FROM costaged WHERE block = ? AND leaves <= 0", (block,))
        elif refs == shared:
            _hand_over(change, block, ingest, heir)
    # Of blocks that are gone nothing can be wanted any more.
    tx.executemany(
        "DELETE FROM costaged WHERE block = ? AND block NOT IN (SELECT id FROM blocks)",
        [(block,) for block in lost],
    )


def forget(tx: Connection, tree: int) -> None:
    """All leaves of the tree are removed: if it was an ingest's, that owns nothing any more."""
    tx.execute("DELETE FROM costaged WHERE ingest IN (SELECT id FROM ingests WHERE tree = ?)", (tree,))
    tx.execute("DELETE FROM ingests WHERE tree = ?", (tree,))


def _hand_over(change: Change, block: int, owner: int, heir: int) -> None:
    """Make `heir`, which wants the block too, its owner."""
    tx = change.tx
    length, refs, shared = tx.execute(
        "SELECT b.length, b.refs, sum(c.leaves) FROM blocks b JOIN costaged c ON c.block = b.id"
        " WHERE b.id = ?",
        (block,),
    ).fetchone()
    tx.execute("UPDATE blocks SET staged_by = ? WHERE id = ?", (heir, block))
    tx.execute("DELETE FROM costaged WHERE block = ? AND ingest = ?", (block, heir))
    if refs > shared:
        tx.execute(
            "INSERT INTO costaged(block, ingest, leaves) VALUES (?, ?, ?)", (block, owner, refs - shared)
        )
    change.charge(owner, -1, length)
    change.charge(heir, 1, length)
