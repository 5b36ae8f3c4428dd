"""What is open after a long tale has been told."""

from attrs import evolve

from codex.market import (
    RequestCancelled,
    RequestFailed,
    RequestFulfilled,
    RequestId,
    SlotFilled,
    SlotFreed,
    SlotReservationsFull,
    StorageRequested,
)
from codex.runtime import SeededEntropy
from codex.sales.openings import MOST, Opening, Openings
from codex.testing.hosts import a_request

ASK = a_request(slots=4).ask
A, B = RequestId(bytes([1]) * 32), RequestId(bytes([2]) * 32)


def told(*events: object) -> tuple[list[tuple[RequestId, set[int]]], list[tuple[RequestId, int]]]:
    openings = Openings()
    for event in events:
        openings.hear(event)  # type: ignore[arg-type]
    requests, freed = openings.take(100)
    assert openings.take(100) == ([], [])
    return [(opening.told.request, set(opening.without)) for opening in requests], freed


def asked(request: RequestId, expiry: int = 100) -> StorageRequested:
    return StorageRequested(request, ASK, expiry)


def test_a_request_is_open_until_it_is_filled_or_over() -> None:
    assert told(asked(A), asked(B)) == ([(A, set()), (B, set())], [])
    assert told(asked(A), SlotFilled(A, 1), SlotReservationsFull(A, 3)) == ([(A, {1, 3})], [])
    assert told(asked(A), RequestFulfilled(A)) == ([], [])
    assert told(asked(A), RequestFailed(A)) == ([], [])
    assert told(asked(A), RequestCancelled(A), asked(B)) == ([(B, set())], [])
    assert told(asked(A, 99)) == ([], [])


def test_a_freed_slot_is_open_until_it_is_filled_or_its_request_over() -> None:
    assert told(SlotFreed(A, 2)) == ([], [(A, 2)])
    assert told(SlotFreed(A, 2), SlotFilled(A, 2)) == ([], [])
    assert told(SlotFreed(A, 2), SlotFreed(B, 1), RequestFailed(A)) == ([], [(B, 1)])
    assert told(asked(A), RequestFulfilled(A), SlotFreed(A, 0)) == ([], [(A, 0)])


def test_what_is_told_of_others_changes_nothing() -> None:
    assert told(SlotFilled(A, 1), RequestFulfilled(A), RequestFailed(B)) == ([], [])


def test_the_slots_of_an_opening_are_those_that_are_not_filled() -> None:
    opening = Opening(asked(A), frozenset({1}))
    items = opening.items(SeededEntropy("slots").token)
    assert [item.index for item in items] == [0, 2, 3]
    assert {(item.request, item.deadline, item.collateral) for item in items} == {
        (A, 100, ASK.collateral_per_slot)
    }
    assert len({item.lot for item in items}) == len(items)


def test_of_a_request_with_any_number_of_slots_some_are_looked_at() -> None:
    huge = evolve(asked(A), ask=evolve(ASK, slots=2**64 - 1))
    items = Opening(huge, frozenset()).items(SeededEntropy("slots").token)
    assert len(items) == MOST
    assert all(0 <= item.index < huge.ask.slots for item in items)
    others = Opening(huge, frozenset()).items(SeededEntropy("others").token)
    assert [item.index for item in items] != [item.index for item in others]
