"""How fast a peer is taken to be, and how much it gets to do."""

import pytest

from codex.exchange.pace import FIRST_WINDOW, MAX_WINDOW, MIN_WINDOW, Pace


def test_the_pace_follows_what_is_measured():
    pace = Pace()
    pace.asked(0)
    now = 0.0
    for _ in range(50):
        now += 0.1
        pace.delivered(10_000_000, now, last=False)
    assert pace.rate == pytest.approx(100e6)
    assert pace.latency == pytest.approx(0.1)
    assert pace.window == MAX_WINDOW
    for _ in range(50):
        now += 1
        pace.delivered(1000, now, last=False)
    assert pace.window == MIN_WINDOW
    pace.delivered(0, now, last=True)
    assert pace.expected(1000) == pytest.approx(1, rel=0.1)


def test_a_far_peer_gets_enough_to_do():
    """With half a second there and back, ten megabytes a second need five on order."""
    pace, now = Pace(), 0.0
    for _ in range(20):
        pace.asked(now)
        now += 0.5
        pace.delivered(min(pace.window, 5_000_000), now, last=False)
        pace.delivered(0, now, last=True)
    assert pace.window > 5_000_000


def test_nothing_is_measured_while_nothing_is_on_order():
    pace = Pace()
    pace.delivered(1000, 5, last=False)
    assert pace.rate is None
    assert pace.window == FIRST_WINDOW
    assert pace.expected(FIRST_WINDOW) == 1
    pace.asked(10)
    pace.stalled()
    assert pace.window == MIN_WINDOW
