"""Room for sale, and the slots that were taken into it: bytes and collateral, each counted once.

An availability offers `total` bytes and `collateral` tokens. A slot takes some of both as a reservation, and
gives them back when the host is done with it, for whatever reason. At any time::

    total      = free + the sizes of the slots that are reserved
    collateral = remaining + what those slots hold + lost          (lost: taken by the contract)

What is free counts as reserved in the quota, and so does what a slot has reserved and not yet filled: each
reservation has a row in `reservations`, from which blocks that are stored for the slot take their room.

Giving bytes back is never refused for want of quota, or they would be lost to the market: until what the slot
held is removed, and where a dataset here has taken its blocks over, `used + reserved` may be above the quota.
Taking is refused then, so that `used` never is.

Functions change rows in a transaction of the caller's.
"""

import enum
from sqlite3 import Connection
from typing import Any

from attrs import evolve, frozen

from codex.errors import AvailabilityNotFound, InvalidInput, QuotaExceeded
from codex.store.index import one
from codex.store.ledger import Change, no_room, space_of
from codex.store.sense import nonsense

ID_SIZE = 32
LARGEST = 2**63 - 1
"""The largest size or moment that is kept."""
LARGEST_DURATION = 2**64 - 1
LARGEST_AMOUNT = 2**256 - 1
PURPOSE = "slot"
"""Of the room that a slot has reserved."""


class Stage(enum.IntEnum):
    """How far a host has come with a slot, written down before what cannot be undone."""

    TAKEN = 0
    """Bytes and collateral are set aside."""
    RESERVING = 1
    """The reservation was sent to the chain."""
    STORED = 2
    """All of the slot is here; what it had reserved and not needed has been given back to the quota."""
    FILLING = 3
    """The collateral is on its way to the contract."""
    STAKED = 4
    """The contract has the collateral, and this host the slot."""
    RELEASING = 5
    """The contract was asked for the collateral back; `returned` says how much that was."""


@frozen(kw_only=True)
class Availability:
    """Room for sale. Bytes, seconds, and tokens in their smallest unit; `id` has 32 bytes."""

    id: bytes
    total: int
    free: int
    duration: int
    """The longest request, in seconds, that is taken."""
    price: int
    """The least for a byte and second."""
    collateral: int
    """The most that may be at stake at a time."""
    remaining: int
    """What of that is neither at stake nor lost."""
    lost: int = 0
    enabled: bool = True
    until: int = 0
    """The unix second that no slot may outlast; 0 for any."""

    @property
    def held(self) -> int:
        """Collateral of the slots that are reserved now."""
        return self.collateral - self.remaining - self.lost

    @property
    def taken(self) -> int:
        """Bytes of the slots that are reserved now."""
        return self.total - self.free


@frozen(kw_only=True)
class SlotReservation:
    """What one slot has taken of an availability. The ids have 32 bytes; `until` is the request's end."""

    id: bytes
    availability: bytes
    request: bytes
    slot: int
    size: int
    left: int
    """Bytes of `size` that are still reserved and not filled."""
    collateral: int
    until: int
    stage: Stage
    returned: int | None
    """Collateral that the contract gives back, once that is known."""
    room: str
    """The store's reservation, to be named when blocks of the slot are stored."""


_COLUMNS = "id, total, free, duration, price, collateral, remaining, lost, enabled, until"


def all_of(connection: Connection) -> list[Availability]:
    """All availabilities, the oldest first."""
    rows = connection.execute(f"SELECT {_COLUMNS} FROM availabilities ORDER BY number")
    return [_availability(row) for row in rows]


def find(connection: Connection, id: bytes) -> Availability:
    """One availability. Raises AvailabilityNotFound."""
    row = one(connection, f"SELECT {_COLUMNS} FROM availabilities WHERE id = ?", id)
    if row is None:
        raise AvailabilityNotFound(
            f"there is no availability 0x{id.hex()}",
            remedy="GET /sales/availability lists those that there are",
        )
    return _availability(row)


def _availability(row: tuple[Any, ...]) -> Availability:
    id, total, free, duration, price, collateral, remaining, lost, enabled, until = row
    if not (isinstance(free, int) and isinstance(total, int) and 0 <= free <= total):
        raise nonsense(f"an availability has {free} of {total} bytes free")
    if not isinstance(duration, int):
        raise nonsense(f"an availability is for {duration} seconds")
    return Availability(
        id=bytes(id),
        total=total,
        free=free,
        duration=duration % (LARGEST_DURATION + 1),
        price=int(price),
        collateral=int(collateral),
        remaining=int(remaining),
        lost=int(lost),
        enabled=bool(enabled),
        until=until,
    )


def put(change: Change, quota: int, made: Availability) -> None:
    """Offer room, none of which is taken. Raises InvalidInput, QuotaExceeded."""
    if len(made.id) != ID_SIZE or made.free != made.total or made.remaining != made.collateral or made.lost:
        raise InvalidInput("an availability begins with all of its room and collateral free")
    _check(made)
    if one(change.tx, "SELECT 1 FROM availabilities WHERE id = ?", made.id) is not None:
        raise InvalidInput(f"there is an availability 0x{made.id.hex()} already")
    _check_room(change, quota, made.total)
    change.tx.execute(f"INSERT INTO availabilities({_COLUMNS}) VALUES ({','.join('?' * 10)})", _row(made))
    change.reserve(made.total)


def alter(
    change: Change,
    quota: int,
    id: bytes,
    *,
    total: int | None = None,
    duration: int | None = None,
    price: int | None = None,
    collateral: int | None = None,
    enabled: bool | None = None,
    until: int | None = None,
) -> Availability:
    """Change what is given; how it is then. A new collateral starts with nothing lost.

    Raises AvailabilityNotFound, QuotaExceeded, and InvalidInput, also for what would break a promise: less
    room or collateral than slots have taken, or an end before that of a slot.
    """
    before = find(change.tx, id)
    after = evolve(
        before,
        total=before.total if total is None else total,
        duration=before.duration if duration is None else duration,
        price=before.price if price is None else price,
        collateral=before.collateral if collateral is None else collateral,
        enabled=before.enabled if enabled is None else enabled,
        until=before.until if until is None else until,
    )
    if collateral is not None:
        after = evolve(after, remaining=collateral - before.held, lost=0)
    grown = after.total - before.total
    after = evolve(after, free=before.free + grown)
    _check(after)
    if after.free < 0:
        raise InvalidInput(
            f"slots have taken {before.taken} bytes of it, so that it cannot have {after.total}",
            remedy="wait until they end, or disable it so that none is added",
        )
    if after.remaining < 0:
        raise InvalidInput(
            f"{before.held} of its collateral is at stake, so that it cannot be {after.collateral}",
            remedy="wait until those slots end",
        )
    if until:
        (last,) = change.tx.execute(
            "SELECT coalesce(max(until), 0) FROM slot_reservations WHERE availability = ?", (id,)
        ).fetchone()
        if until < last:
            raise InvalidInput(
                f"a slot is held until {last}, which is after {until}",
                remedy=f"give {last} or later, or 0 for no limit",
            )
    if grown > 0:
        _check_room(change, quota, grown)
    assignments = ", ".join(f"{column} = ?" for column in _COLUMNS.split(", "))
    change.tx.execute(f"UPDATE availabilities SET {assignments} WHERE id = ?", (*_row(after), id))
    change.reserve(grown)
    return after


def delete(change: Change, id: bytes) -> None:
    """Offer it no more. Raises AvailabilityNotFound, and InvalidInput while slots are in it."""
    there = find(change.tx, id)
    (slots,) = change.tx.execute(
        "SELECT count(*) FROM slot_reservations WHERE availability = ?", (id,)
    ).fetchone()
    if slots:
        raise InvalidInput(
            f"{slots} slots are in this availability",
            remedy="disable it, so that none is added, and delete it when they have ended",
        )
    change.tx.execute("DELETE FROM availabilities WHERE id = ?", (id,))
    change.reserve(-there.free)


# -- slots in it


def take(
    change: Change,
    quota: int,
    availability: bytes,
    *,
    id: bytes,
    request: bytes,
    slot: int,
    size: int,
    collateral: int,
    until: int,
) -> SlotReservation:
    """Set bytes and collateral aside for a slot.

    Raises AvailabilityNotFound; InvalidInput when it has too little of either left, or the slot has taken its
    share already; QuotaExceeded when more is used than was meant to be, so that the slot would not fit.
    """
    there = find(change.tx, availability)
    if len(id) != ID_SIZE or len(request) != ID_SIZE or not 0 <= slot <= LARGEST or size < 1:
        raise InvalidInput(f"{size} bytes of slot {slot} cannot be reserved")
    if not 0 <= until <= LARGEST:
        raise InvalidInput(f"nothing can be reserved until {until}: it is beyond all there will be")
    if one(change.tx, "SELECT 1 FROM slot_reservations WHERE request = ? AND slot = ?", request, slot):
        raise InvalidInput(f"slot {slot} of 0x{request.hex()} is reserved already")
    if size > there.free:
        raise InvalidInput(f"the slot has {size} bytes, and {there.free} are free")
    if not 0 <= collateral <= there.remaining:
        raise InvalidInput(f"the slot takes {collateral} of collateral, and {there.remaining} remain")
    _check_fit(change, quota, size)
    room = change.tx.execute(
        "INSERT INTO reservations(bytes, purpose) VALUES (?, ?)", (size, PURPOSE)
    ).lastrowid
    change.tx.execute(
        "INSERT INTO slot_reservations(id, availability, request, slot, size, collateral, until, stage, room)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (id, availability, request, slot, size, str(collateral), until, Stage.TAKEN, room),
    )
    change.tx.execute(
        "UPDATE availabilities SET free = free - ?, remaining = ? WHERE id = ?",
        (size, str(there.remaining - collateral), availability),
    )
    return _reserved(change.tx, id)


def advance(change: Change, id: bytes, stage: Stage, returned: int | None = None) -> SlotReservation:
    """Write down how far the slot has come. From STORED on it needs no more room than it has filled.

    Raises InvalidInput for a reservation that there is not.
    """
    there = _reserved(change.tx, id)
    change.tx.execute(
        "UPDATE slot_reservations SET stage = ?, returned = ? WHERE id = ?",
        (stage, None if returned is None else str(returned), id),
    )
    if stage >= Stage.STORED and there.left:
        change.tx.execute("UPDATE reservations SET bytes = 0 WHERE id = ?", (int(there.room),))
        change.reserve(-there.left)
    return _reserved(change.tx, id)


def give_back(change: Change, id: bytes, collateral: int) -> bool:
    """End a reservation: all of its bytes go back, and so much of its collateral; the rest of that is lost.

    False when there is no such reservation (any more). More collateral than the slot held is the host's gain
    and not the availability's.
    """
    row = one(change.tx, "SELECT 1 FROM slot_reservations WHERE id = ?", id)
    if row is None:
        return False
    slot = _reserved(change.tx, id)
    there = find(change.tx, slot.availability)
    back = min(max(collateral, 0), slot.collateral)
    change.tx.execute("DELETE FROM slot_reservations WHERE id = ?", (id,))
    change.tx.execute("DELETE FROM reservations WHERE id = ?", (int(slot.room),))
    change.tx.execute(
        "UPDATE availabilities SET free = free + ?, remaining = ?, lost = ? WHERE id = ?",
        (slot.size, str(there.remaining + back), str(there.lost + slot.collateral - back), there.id),
    )
    change.reserve(slot.size - slot.left)
    return True


_SLOT_SQL = (
    "SELECT s.id, s.availability, s.request, s.slot, s.size, coalesce(r.bytes, 0), s.collateral, s.until,"
    " s.stage, s.returned, s.room FROM slot_reservations s LEFT JOIN reservations r ON r.id = s.room"
)


def slots(connection: Connection, availability: bytes | None = None) -> list[SlotReservation]:
    """What slots have reserved, of one availability or of all, the oldest first."""
    if availability is None:
        rows = connection.execute(f"{_SLOT_SQL} ORDER BY s.room")
    else:
        rows = connection.execute(f"{_SLOT_SQL} WHERE s.availability = ? ORDER BY s.room", (availability,))
    return [_slot(row) for row in rows]


def _reserved(connection: Connection, id: bytes) -> SlotReservation:
    row = one(connection, f"{_SLOT_SQL} WHERE s.id = ?", id)
    if row is None:
        raise InvalidInput(f"no slot has a reservation 0x{id.hex()}")
    return _slot(row)


def _slot(row: tuple[Any, ...]) -> SlotReservation:
    id, availability, request, slot, size, left, collateral, until, stage, returned, room = row
    return SlotReservation(
        id=bytes(id),
        availability=bytes(availability),
        request=bytes(request),
        slot=slot,
        size=size,
        left=left,
        collateral=int(collateral),
        until=until,
        stage=Stage(stage),
        returned=None if returned is None else int(returned),
        room=str(room),
    )


# -- what is allowed


def _row(there: Availability) -> tuple[Any, ...]:
    amounts = [str(there.price), str(there.collateral), str(there.remaining), str(there.lost)]
    # A column has 63 bits and a sign, and the network's durations 64: the upper half is kept as negative.
    duration = there.duration if there.duration <= LARGEST else there.duration - LARGEST_DURATION - 1
    return (there.id, there.total, there.free, duration, *amounts, int(there.enabled), there.until)


def _check(there: Availability) -> None:
    for value, least, most, what in (
        (there.total, 1, LARGEST, "the total size"),
        (there.duration, 1, LARGEST_DURATION, "the duration"),
        (there.price, 1, LARGEST_AMOUNT, "the price per byte and second"),
        (there.collateral, 1, LARGEST_AMOUNT, "the collateral"),
        (there.until, 0, LARGEST, "the end"),
    ):
        if not least <= value <= most:
            raise InvalidInput(f"{what} of an availability cannot be {value}")


def _check_room(change: Change, quota: int, size: int) -> None:
    available = space_of(change.tx, quota).available
    if size > available:
        raise no_room(quota, available, size)


def _check_fit(change: Change, quota: int, size: int) -> None:
    """Raise QuotaExceeded when what is used, and will be by reservations, leaves no room for the slot."""
    (promised,) = change.tx.execute("SELECT coalesce(sum(bytes), 0) FROM reservations").fetchone()
    room = quota - space_of(change.tx, quota).quota_used - promised
    if size > room:
        raise QuotaExceeded(
            f"the slot has {size} bytes, and blocks that were stored beside the market leave room for"
            f" {max(0, room)} in the quota of {quota}",
            remedy="delete datasets, or raise --storage-quota",
        )
