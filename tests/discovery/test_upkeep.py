"""Keeping company: how often those who are missing from a table are called."""

from itertools import pairwise

from codex.discovery.upkeep import CHECK, LONGEST_RECALL, _Missed


def calls(missed: _Missed, answer: int, wanted: int, begin: float, seconds: float) -> list[float]:
    """When they are called, looking every half minute."""
    times = [begin + CHECK * step for step in range(int(seconds / CHECK))]
    return [now for now in times if missed.is_due(answer, wanted, now)]


def test_those_who_are_missing_are_called_at_once_and_then_ever_more_rarely() -> None:
    found = calls(_Missed(), 3, 9, 0.0, 4 * 3600)
    assert found[:5] == [0, 30, 90, 210, 450]
    pauses = [later - sooner for sooner, later in pairwise(found)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_RECALL


def test_nobody_is_called_while_the_table_is_as_large_as_it_was() -> None:
    assert calls(_Missed(), 9, 9, 0.0, 3600) == []


def test_another_loss_makes_the_calls_frequent_again() -> None:
    missed = _Missed()
    calls(missed, 5, 9, 0.0, 7200)
    assert calls(missed, 4, 9, 7200.0, 90) == [7200, 7230]
    calls(missed, 9, 9, 7320.0, 60)
    assert calls(missed, 8, 9, 7380.0, 90) == [7380, 7410]
