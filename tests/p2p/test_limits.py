"""The bounds fit each other and what the network takes."""

from codex.codec import varint
from codex.p2p.limits import Budget, Limits
from codex.p2p.mplex import MAX_ID, MAX_PAYLOAD, Key, Kind, header
from codex.p2p.noise import MAX_PLAIN


def test_a_full_frame_of_mplex_fits_one_of_noise() -> None:
    limits = Limits()
    longest = header(Kind.DATA, Key(MAX_ID, True), limits.payload)
    assert len(longest) <= varint.MAX_BYTES + 3
    assert limits.payload + len(longest) <= MAX_PLAIN
    assert limits.payload <= MAX_PAYLOAD


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
