"""Counting everything again: whether the counters still are the sums of the rows, and putting them right.

They change in the same transactions as the rows, so that they can only differ through damage or a mistake.
It is done in the background after a start that followed no orderly stop. Differences, not sums, are
written: what happens between the counting, which reads a snapshot, and the writing is thus kept.
"""

from sqlite3 import Connection

from codex.store.ledger import Change
from codex.store.sense import COUNTED
from codex.store.values import Recount


def recount(connection: Connection) -> Recount:
    """Compare all counters with the rows, within a snapshot. About 2 s for a million blocks in datasets."""
    blocks, used, reserved = connection.execute("SELECT blocks, used, reserved FROM totals").fetchone()
    counted = connection.execute(
        "SELECT (SELECT count(*) FROM blocks) + (SELECT count(*) FROM manifests),"
        f" (SELECT coalesce(sum({COUNTED}), 0) FROM blocks)"
        " + (SELECT coalesce(sum(length(data)), 0) FROM manifests),"
        " (SELECT coalesce(sum(bytes), 0) FROM reservations)"
        " + (SELECT coalesce(sum(free), 0) FROM availabilities)"
    ).fetchone()
    segments = connection.execute(
        "SELECT s.id, coalesce(b.live, 0) - s.live AS wrong FROM segments s LEFT JOIN"
        f" (SELECT segment, sum({COUNTED}) AS live FROM blocks GROUP BY segment) b"
        " ON b.segment = s.id WHERE wrong <> 0"
    ).fetchall()
    refs = connection.execute(
        "SELECT b.id, coalesce(l.n, 0) - b.refs AS wrong FROM blocks b"
        " LEFT JOIN (SELECT block, count(*) AS n FROM leaves WHERE block IS NOT NULL GROUP BY block) l"
        " ON l.block = b.id WHERE wrong <> 0"
    ).fetchall()
    trees = connection.execute(
        "SELECT t.id, (SELECT count(*) FROM leaves WHERE tree = t.id) - t.leaves AS wrong FROM trees t"
        " WHERE wrong <> 0"
    ).fetchall()
    return Recount(
        counted[0] - blocks,
        counted[1] - used,
        counted[2] - reserved,
        tuple(segments),
        tuple(refs),
        tuple(trees),
    )


def correct(change: Change, found: Recount) -> None:
    """Write the differences down."""
    tx = change.tx
    tx.execute(
        "UPDATE totals SET blocks = blocks + ?, used = used + ?, reserved = reserved + ?",
        (found.blocks, found.used, found.reserved),
    )
    for table, column, rows in (
        ("segments", "live", found.segments),
        ("blocks", "refs", found.refs),
        ("trees", "leaves", found.trees),
    ):
        tx.executemany(
            f"UPDATE {table} SET {column} = {column} + ? WHERE id = ?", [(wrong, row) for row, wrong in rows]
        )
