"""When a row that comes slowly is compared with the others."""

import pytest

from codex.node.fetching import FIRST, SLOW, STALL
from codex.node.pacing import LONG, Pace


def test_what_is_here_soon_is_waited_for() -> None:
    pace = Pace()
    pace.note(99, STALL - 0.1)
    assert pace.doubtful(10_000) is None
    pace.note(0, 0.1)
    assert pace.doubtful(int(100 / STALL * LONG)) is None
    # Looked at again after as long, and only what came since counts.
    assert pace.doubtful(10_000) is None
    pace.note(0, STALL)
    assert pace.doubtful(5) == pytest.approx(1 / STALL)


def test_what_is_tried_in_vain_is_tried_more_and_more_rarely() -> None:
    pace, tried = Pace(), []
    for second in range(200):
        pace.note(1, 1.0)
        if pace.doubtful(100_000) is not None:
            tried.append(second + 1)
    assert tried == [5, 15, 35, 75, 155]


def test_where_nothing_came_it_is_time_too() -> None:
    pace = Pace()
    pace.note(0, 2 * STALL)
    assert pace.doubtful(10) == pytest.approx(1 / (2 * STALL))


def test_patience_follows_the_pace() -> None:
    pace = Pace()
    assert pace.patience == FIRST
    assert Pace(first=STALL).patience == STALL
    pace.note(10, 1)
    assert pace.patience == STALL
    pace.note(10, 9)
    pace.note(0, 10)
    assert pace.patience == SLOW * 10
