import pytest

from codex.devnet.values import Event, Filter

A, B, C = (bytes([number] * 32) for number in (1, 2, 3))
HERE, THERE = bytes([1] * 20), bytes([2] * 20)


def wanted(*places: set[bytes], addresses: set[bytes] = frozenset()) -> Filter:  # type: ignore[assignment]
    return Filter(frozenset(addresses), tuple(frozenset(place) for place in places))


@pytest.mark.parametrize(
    ("filter", "topics", "takes"),
    [
        (wanted(), (), True),
        (wanted(), (A, B), True),
        (wanted({A}), (A, B), True),
        (wanted({A}), (B, A), False),
        (wanted({A, B}), (B,), True),
        (wanted(set(), {B}), (A, B), True),
        (wanted(set(), {B}), (A, C), False),
        # A place that takes any wants a topic all the same.
        (wanted(set()), (), False),
        (wanted({A}, set()), (A,), False),
        (wanted(addresses={THERE}), (A,), False),
        (wanted(addresses={HERE, THERE}), (A,), True),
    ],
)
def test_which_events_a_filter_takes(filter: Filter, topics: tuple[bytes, ...], takes: bool) -> None:
    assert filter.takes(Event(HERE, topics, b"")) is takes
