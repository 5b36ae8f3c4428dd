"""How far back one has to read, after all that may have happened."""

from codex.market import (
    RequestCancelled,
    RequestFailed,
    RequestFulfilled,
    RequestId,
    SlotFilled,
    SlotFreed,
    StorageRequested,
)
from codex.sales.standing import DEPTH, Standing
from codex.testing.hosts import a_request

ASK = a_request(slots=4).ask
A, B = RequestId(bytes([1]) * 32), RequestId(bytes([2]) * 32)
LASTING = 1000
NOW = 5000


def told(*events: tuple[object, int]) -> Standing:
    standing = Standing(LASTING)
    for event, block in events:
        standing.hear(event, block, NOW)  # type: ignore[arg-type]
    return standing


def asked(request: RequestId, expiry: int = NOW + 100) -> StorageRequested:
    return StorageRequested(request, ASK, expiry)


def test_without_anything_open_it_is_as_far_as_a_reorganisation_may_reach() -> None:
    assert told().since(1000, NOW) == 1000 - DEPTH
    assert told().since(10, NOW) == 0


def test_the_oldest_that_is_open_counts() -> None:
    assert told((asked(A), 50), (asked(B), 20)).since(1000, NOW) == 20
    assert told((asked(A), 990)).since(1000, NOW) == 1000 - DEPTH


def test_what_is_closed_counts_until_nothing_can_undo_it() -> None:
    for over in (RequestFulfilled(A), RequestFailed(A), RequestCancelled(A)):
        standing = told((asked(A), 50), (over, 900))
        assert standing.since(900 + DEPTH, NOW) == 50
        assert standing.since(901 + DEPTH, NOW) == 901


def test_a_request_that_is_told_again_is_open_again() -> None:
    standing = told((asked(A), 50), (RequestFulfilled(A), 60), (asked(A), 55))
    assert standing.since(1000, NOW) == 55


def test_what_has_expired_is_forgotten() -> None:
    standing = told((asked(A, NOW - 1), 50), (asked(B, NOW), 60))
    assert standing.since(1000, NOW) == 60
    assert standing.since(1000, NOW + 1) == 1000 - DEPTH


def test_a_slot_that_was_lost_is_open_until_it_is_filled_or_cannot_be() -> None:
    lost = (SlotFreed(A, 2), 100)
    assert told(lost, (SlotFilled(A, 1), 110)).since(1000, NOW) == 100
    assert told(lost, (RequestFulfilled(A), 110)).since(1000, NOW) == 100
    assert told(lost, (SlotFilled(A, 2), 110)).since(1000, NOW) == 1000 - DEPTH
    assert told(lost, (RequestFailed(A), 110)).since(1000, NOW) == 1000 - DEPTH
    assert told(lost, (RequestFailed(B), 110)).since(1000, NOW) == 100
    standing = told(lost)
    standing.past_filling(A, 2, 120)
    assert standing.since(1000, NOW) == 1000 - DEPTH
    assert told(lost).since(1000, NOW + LASTING) == 100
    assert told(lost).since(1000, NOW + LASTING + 1) == 1000 - DEPTH


def test_what_was_never_open_cannot_be_closed() -> None:
    standing = told((RequestFulfilled(A), 3), (SlotFilled(A, 1), 4), (RequestFailed(B), 5))
    standing.past_filling(A, 1, 6)
    assert standing.since(1000, NOW) == 1000 - DEPTH
