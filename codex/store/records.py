"""What other parts of the node want remembered: small values under a kind and a key, kept with the index.

A kind keeps its last so many records, counted in the order in which their keys were new. What is in a value
is its owner's business. Functions change rows in a transaction of the caller's.
"""

from collections.abc import Sequence
from sqlite3 import Connection

from attrs import field, frozen

from codex.errors import InvalidInput

LARGEST_VALUE = 1 << 20
"""Bytes. What is larger belongs into a dataset."""


@frozen
class Record:
    """One value. `number` grows with each new key of any kind; no two records share one."""

    number: int
    key: bytes
    value: bytes = field(repr=lambda value: f"<{len(value)} bytes>")


def put(tx: Connection, kind: str, entries: Sequence[tuple[bytes, bytes]], keep: int) -> None:
    """Remember values by their keys, each in the place of what had that key; of the kind at most `keep` are
    kept.

    Raises InvalidInput for a value that is too large.
    """
    for _, value in entries:
        if len(value) > LARGEST_VALUE:
            raise InvalidInput(f"a record of {len(value)} bytes is too large")
    tx.executemany(
        "INSERT INTO records(kind, key, value) VALUES (?, ?, ?)"
        " ON CONFLICT(kind, key) DO UPDATE SET value = excluded.value",
        [(kind, key, value) for key, value in entries],
    )
    tx.execute(
        "DELETE FROM records WHERE kind = ? AND number <= (SELECT number FROM records WHERE kind = ?"
        " ORDER BY number DESC LIMIT 1 OFFSET ?)",
        (kind, kind, keep),
    )


def drop(tx: Connection, kind: str, key: bytes) -> None:
    """Forget a record. Nothing happens when there is none."""
    tx.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))


def newest(
    connection: Connection, kind: str, *, prefix: bytes, before: int | None, limit: int
) -> list[Record]:
    """Up to `limit` records whose keys begin with `prefix`, the newest first; only those before `before`."""
    top = _after(prefix)
    rows = connection.execute(
        "SELECT number, key, value FROM records WHERE kind = ? AND key >= ? AND (? IS NULL OR key < ?)"
        " AND (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?",
        (kind, prefix, top, top, before, before, limit),
    )
    return [Record(number, bytes(key), bytes(value)) for number, key, value in rows]


def _after(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with `prefix`; None when there is none behind them."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
