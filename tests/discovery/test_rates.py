"""Rates: what is allowed in the long run and at once, to each and to all, however many there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.discovery.rates import Limiter, Rate, site_of

PLENTY = Rate(1e6, 10**6)


def test_a_burst_and_then_the_rate() -> None:
    limiter = Limiter(Rate(2, 3), PLENTY)
    assert [limiter.allows("alice", 10.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert not limiter.allows("alice", 10.4)
    assert limiter.allows("alice", 10.5)
    assert not limiter.allows("alice", 10.5)
    assert [limiter.allows("alice", 100.0) for _ in range(5)] == [True] * 3 + [False] * 2


def test_one_does_not_use_up_what_another_has() -> None:
    limiter = Limiter(Rate(1, 1), PLENTY)
    assert limiter.allows("alice", 0.0)
    assert not limiter.allows("alice", 0.0)
    assert limiter.allows("bob", 0.0)


def test_all_together_have_a_rate_of_their_own() -> None:
    limiter = Limiter(PLENTY, Rate(5, 5))
    assert sum(limiter.allows(n, 0.0) for n in range(100)) == 5
    assert sum(limiter.allows(n, 1.0) for n in range(100)) == 5


def test_what_is_refused_costs_nothing() -> None:
    limiter = Limiter(Rate(1, 1), Rate(2, 2))
    assert limiter.allows("alice", 0.0)
    assert not any(limiter.allows("alice", 0.0) for _ in range(10))
    assert limiter.allows("bob", 0.0)


def test_keys_are_forgotten_when_there_are_too_many() -> None:
    limiter = Limiter(Rate(0, 1), PLENTY, max_keys=10)
    for n in range(1000):
        assert limiter.allows(n, 0.0)
        assert len(limiter) <= 10
    assert not limiter.allows(999, 0.0)
    assert limiter.allows(0, 0.0)


def test_a_flood_from_many_gets_no_buckets() -> None:
    limiter = Limiter(PLENTY, Rate(1, 1))
    assert limiter.allows("alice", 0.0)
    assert not any(limiter.allows(n, 0.0) for n in range(1000))
    assert len(limiter) == 1


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), max_size=100),
    st.integers(1, 5),
    st.integers(1, 8),
)
def test_nobody_ever_gets_more(asks: list[tuple[float, int]], each: int, total: int) -> None:
    limiter = Limiter(Rate(each, each), Rate(total, total))
    now = 0.0
    allowed: list[tuple[float, int]] = []
    for wait, key in asks:
        now += wait
        if limiter.allows(key, now):
            allowed.append((now, key))
    for first in range(len(allowed)):
        span = [(at, key) for at, key in allowed[first:] if at <= allowed[first][0] + 1]
        assert len(span) <= 2 * total + 1
        assert all(sum(key == one for _, key in span) <= 2 * each + 1 for one in range(4))


@pytest.mark.parametrize(
    ("ip", "site"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("::1", "::"),
    ],
)
def test_a_site(ip: str, site: str) -> None:
    assert site_of(ip) == site
