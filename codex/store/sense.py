"""What is stored may not make sense: a damaged index can hold anything, in any column.

Rows are checked where something is done by them that harm could come from; wherever else such a row breaks
a step, `sensible` turns that into CorruptData, so that one bad row is one answer and not the end of a node.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from codex.codec import BLOCK_PREFIX, Cid
from codex.codec.cid import DIGEST_SIZE
from codex.data.manifest import MAX_BLOCK_SIZE
from codex.errors import CorruptData, DecodeError, IndexDamaged

LARGEST_BLOCK = MAX_BLOCK_SIZE
"""Bytes of the largest block: no more is ever read for one, whatever the index says."""

COUNTED = (
    f"(CASE WHEN typeof(length) = 'integer' AND length BETWEEN 0 AND {LARGEST_BLOCK} THEN length ELSE 0 END)"
)
"""SQL: what a row of `blocks` counts for, as `counted` of its length."""

REMEDY = "restore the data directory from a backup, or move its repo folder away and start empty"

_DAMAGED = "the index of the block store is damaged"

_BLOCK_CID_SIZE = len(BLOCK_PREFIX) + DIGEST_SIZE
_END = 2**62

# What Python says when a value is of another type or size than its column promises.
_NONSENSE = (TypeError, ValueError, LookupError, OverflowError, MemoryError, DecodeError)

# SQLite has one code for these and for mistakes in statements.
_LACKS = ("no such table", "no such column", "integer overflow", "Could not decode")
_NONSENSE_CODES = (sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_TOOBIG)


@contextmanager
def sensible(doing: str) -> Iterator[None]:
    """Raise CorruptData, "could not" `doing`, when the block stumbles over what the index holds; IndexDamaged
    when it lacks whole tables.
    """
    try:
        yield
    except _NONSENSE as error:
        raise nonsense(f"could not {doing}: {error}") from error
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in _NONSENSE_CODES and not str(error).startswith(_LACKS):
            raise
        if str(error).startswith("no such"):  # not a row of it, but what rows are in
            raise IndexDamaged(f"{_DAMAGED}: could not {doing} ({error})", remedy=REMEDY) from error
        raise nonsense(f"could not {doing} ({error})") from error


def nonsense(what: str) -> CorruptData:
    """What to say of an index that does not make sense."""
    return CorruptData(f"{_DAMAGED}: {what}", remedy=REMEDY)


def counted(length: Any) -> int:
    """The length of a block as it counts: that of a damaged row counts for nothing until a recount."""
    return length if type(length) is int and 0 <= length <= LARGEST_BLOCK else 0


def is_place(segment: Any, offset: Any, length: Any) -> bool:
    """Whether these columns of a row of `blocks` say where a block may lie."""
    return (
        type(segment) is int
        and type(offset) is int
        and type(length) is int
        and 0 <= offset < _END
        and 0 <= length <= LARGEST_BLOCK
    )


def is_cid(raw: Any) -> bool:
    """Whether a column holds a CID."""
    if type(raw) is not bytes:
        return False
    if len(raw) == _BLOCK_CID_SIZE and raw.startswith(BLOCK_PREFIX):
        return True
    try:
        Cid.from_bytes(raw)
    except DecodeError:
        return False
    return True


def stored_cid(raw: Any) -> Cid:
    """The CID in a column. Raises CorruptData."""
    if not is_cid(raw):
        raise nonsense("there is no CID where one should be")
    return Cid(raw)
