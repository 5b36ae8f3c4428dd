"""The bounds fit each other and what the network takes."""

from codex.p2p.limits import Budget, Limits
from codex.p2p.mplex import MAX_PAYLOAD


def test_a_frame_of_mplex_is_no_longer_than_others_take_and_not_longer_than_a_batch() -> None:
    limits = Limits()
    assert limits.payload <= MAX_PAYLOAD
    assert limits.payload <= limits.batch


def test_lower_marks_are_lower() -> None:
    limits = Limits()
    assert 0 < limits.stream_low < limits.stream_high < limits.connection_high < limits.all_high
    assert limits.share < limits.connection_high
    assert limits.batch_least < limits.batch
    assert limits.negotiating < limits.inbound_streams
    assert limits.stream_idle < limits.connection_idle
    # The answers to all that may come at once find room.
    assert limits.burst < limits.queued


def test_a_budget_is_exceeded_above_its_limit() -> None:
    budget = Budget(10)
    budget.used = 10
    assert not budget.exceeded
    budget.used = 11
    assert budget.exceeded
