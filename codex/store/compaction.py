"""Compaction: moving what lives out of segments that are mostly dead, so that their room comes back.

While the disk is short of room, every segment is worth it that has anything dead in it and can be shortened;
that of which least is alive comes first.

A few blocks a step, from the end of the segment to its beginning, the file being shortened as it empties:
so it needs no more room than one step takes. On a full disk the steps become smaller, and what is dead at
the end of the segment is cut off first. Readers are never held up; one that looked up a block before it was
moved looks again.
"""

from collections.abc import Callable
from contextlib import suppress
from sqlite3 import Connection

from codex.codec import Cid
from codex.errors import DiskFailed, DiskFull
from codex.store.index import Row, one
from codex.store.ledger import Change, Ledger
from codex.store.schema import GONE, SEALED
from codex.store.sense import is_cid, is_place

STEPS = (32, 8, 2, 1)
"""Blocks moved in one step: 2 MiB, for which a writer waits some milliseconds; then what is tried on a full
disk.
"""

NOWHERE = 0
"""The segment of a block whose bytes are lost; it is marked bad as well."""


LITTLE_ROOM = 16 << 20
"""Free bytes below which a disk is short of room, whatever is dead on it."""


def is_short(ledger: Ledger, free: int) -> bool:
    """Whether the disk, with `free` bytes, is so short of room that everything dead is wanted back: something
    was refused or had to be lent, little is left, or more is dead than free.
    """
    if ledger.refused or ledger.ballast.missing or free < LITTLE_ROOM:
        return True
    with ledger.index.reading() as connection:
        (dead,) = connection.execute(
            "SELECT total(length - live) FROM segments WHERE state <> ?", (GONE,)
        ).fetchone()
    return bool(dead > free)


class Compactor:
    """Empties segments of which less than half is alive, or any with something dead in it. Used by one thread
    at a time.
    """

    def __init__(self, ledger: Ledger, read: Callable[[int, int, int], bytes]) -> None:
        """`read(segment, offset, size)` reads payload."""
        self._ledger = ledger
        self._read = read
        self._given_up: set[int] = set()

    def step(self, *, short: bool) -> bool:
        """Move the next few blocks; whether there was anything to do. Raises DiskFull, DiskFailed.

        `short`: whatever is dead is wanted back, however much lives beside it. A segment that cannot be read
        is left alone until the next start, and the error raised once.
        """
        victim = self._victim(short)
        if victim is None:
            return False
        limit, *smaller = STEPS
        while True:
            try:
                self._move(victim, limit)
                return True
            except DiskFull:
                # Where nothing is given back, even the smallest step would only take the last room.
                if not smaller or not self._ledger.may_shorten(victim):
                    raise
            self._ledger.make_room(sparing=True)
            with suppress(DiskFull):
                self._cut_off_end(victim)
            limit = smaller.pop(0)

    def _cut_off_end(self, victim: int) -> None:
        """Give back the room behind the last block of a segment."""

        def work(change: Change) -> int:
            end = self._end(change.tx, victim)
            change.tx.execute("UPDATE segments SET length = min(length, ?) WHERE id = ?", (end, victim))
            return end

        end = self._ledger.shrink("shorten a segment", work)
        self._ledger.shorten(victim, end)

    def _move(self, victim: int, limit: int) -> None:
        """Move the last `limit` blocks of a segment."""
        with self._ledger.index.reading() as connection:
            rows = connection.execute(
                "SELECT id, cid, offset, length, bad FROM blocks WHERE segment = ?"
                " ORDER BY offset DESC LIMIT ?",
                (victim, limit),
            ).fetchall()
        if not rows:
            # Its counter is wrong, which the next recount puts right. Until then there is nothing to move.
            self._given_up.add(victim)
            return
        rows.reverse()
        try:
            payloads = [None if row[4] else self._payload(victim, row) for row in rows]
        except DiskFailed:
            self._given_up.add(victim)
            raise
        shorten = self._ledger.may_shorten(victim)
        sound = [payload for payload in payloads if payload is not None]
        places = iter(self._ledger.append(sound, growing=False))
        with self._ledger.change("move blocks together", growing=False) as change:
            tx = change.tx
            for row, payload in zip(rows, payloads, strict=True):
                place = None if payload is None else next(places)
                segment, offset = (NOWHERE, 0) if place is None else (place.segment, place.offset)
                tx.execute(
                    "UPDATE blocks SET segment = ?, offset = ?, bad = ? WHERE id = ?",
                    (segment, offset, place is None, row[0]),
                )
                change.move(row[3], victim, segment)
            if shorten:
                end = self._end(tx, victim)
                tx.execute("UPDATE segments SET length = min(length, ?) WHERE id = ?", (end, victim))
        if shorten and end:
            self._ledger.shorten(victim, end)

    def _victim(self, short: bool) -> int | None:
        with self._ledger.index.reading() as connection:
            rows = connection.execute(
                "SELECT id, live * 2 < length FROM segments WHERE state = ? AND live * ? < length"
                " ORDER BY live * 1.0 / length",
                (SEALED, 1 if short else 2),
            ).fetchall()
        for segment, mostly_dead in rows:
            # What cannot be shortened gives nothing back before all of it was moved.
            if segment not in self._given_up and (mostly_dead or self._ledger.may_shorten(segment)):
                return int(segment)
        return None

    def _end(self, tx: Connection, segment: int) -> int:
        """Where the last block of a segment ends."""
        (length,) = tx.execute("SELECT length FROM segments WHERE id = ?", (segment,)).fetchone()
        row = one(
            tx,
            "SELECT offset, length FROM blocks WHERE segment = ? ORDER BY offset DESC, length DESC LIMIT 1",
            segment,
        )
        if row is None:
            return 0
        # By a row that makes no sense nothing is cut: what lies there may be somebody's.
        return min(row[0] + row[1], length) if is_place(segment, *row) else int(length)

    def _payload(self, segment: int, row: Row) -> bytes | None:
        """The bytes of a block; None when they do not have its hash, also when read once more."""
        _, cid, offset, length, _ = row
        if not is_cid(cid) or not is_place(segment, offset, length):
            return None
        for _ in range(2):
            data = self._read(segment, offset, length)
            if len(data) == length and Cid(cid).matches(data):
                return data
        return None


def retire(ledger: Ledger, least: int, *, short: bool) -> bool:
    """Seal the active segment if it is mostly dead and longer than `least` bytes, or, on a disk that is
    `short` of room, if anything in it is dead; whether it was.

    Without this, the room of what was deleted soon after it came would wait until the segment is full.
    """
    active = ledger.active
    if not active:
        return False
    with ledger.index.reading() as connection:
        row = one(
            connection,
            "SELECT live * 2 < length AND length >= ? FROM segments WHERE id = ? AND live < length",
            least,
            active,
        )
    if row is None or not (row[0] or (short and ledger.may_shorten(active))):
        return False
    ledger.shrink("seal a segment", lambda change: ledger.seal())
    return True
