"""What is said of a job: the table of its states, its pace, and when it will be done."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.node.job import BRIEF, SAMPLE, STATES, WINDOW, JobEnd, JobState, Pace, Progress
from codex.runtime.machine import IllegalMove, Machine, mermaid


def test_a_job_ends_in_one_of_three_ways_and_only_once() -> None:
    ends = {
        JobEnd.FINISH: JobState.DONE,
        JobEnd.FAIL: JobState.FAILED,
        JobEnd.CANCEL: JobState.CANCELLED,
    }
    for end, state in ends.items():
        machine = Machine(STATES)
        assert machine.state is JobState.RUNNING
        assert machine.fire(end) is state
        assert machine.ended
        for second in JobEnd:
            with pytest.raises(IllegalMove):
                machine.fire(second)


def test_the_table_can_be_drawn() -> None:
    drawn = mermaid(STATES)
    assert "[*] --> running" in drawn
    assert "running --> cancelled: cancel!" in drawn


def test_a_rate_needs_a_moment_to_be_told() -> None:
    pace = Pace(100.0)
    assert pace.rate(100.0, 0) == 0.0
    assert pace.rate(100.0 + BRIEF / 2, 5_000_000) == 0.0
    assert pace.rate(100.0 + BRIEF, 1000) == 1000 / BRIEF


def test_a_rate_follows_the_last_seconds() -> None:
    pace = Pace(0.0)
    done = 0
    for tick in range(1, 400):
        done += 250 if tick <= 200 else 25
        pace.sample(tick / 4, done)
        if 4 < tick <= 200:
            assert pace.rate(tick / 4, done) == pytest.approx(1000)
    assert pace.rate(400 / 4, done + 25) == pytest.approx(100)
    assert pace.average(400 / 4, done + 25) == pytest.approx((200 * 250 + 200 * 25) / 100)


def test_a_stall_is_shown_as_such_after_the_window() -> None:
    pace = Pace(0.0)
    for second in range(1, 20):
        pace.sample(float(second), second * 1000)
    rates = []
    for tick in range(1, 30):
        now = 19 + tick / 4
        pace.sample(now, 19_000)
        rates.append(pace.rate(now, 19_000))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0.0


def test_a_rate_that_nobody_looked_at_is_that_of_the_whole_time() -> None:
    pace = Pace(0.0)
    pace.sample(1000.0, 5000)
    assert pace.rate(1000.0, 5000) == 5.0


@given(st.lists(st.tuples(st.floats(0, 0.9), st.integers(0, 1 << 30)), max_size=60))
def test_a_rate_is_that_since_a_moment_of_the_last_seconds(steps: list[tuple[float, int]]) -> None:
    pace = Pace(0.0)
    history = [(0.0, 0)]
    for wait, more in steps:
        now, done = history[-1][0] + wait, history[-1][1] + more
        history.append((now, done))
        pace.sample(now, done)
        honest = [
            (done - before) / (now - then)
            for then, before in history
            if BRIEF <= now - then <= WINDOW + 2 * SAMPLE
        ]
        assert pace.rate(now, done) in honest or (pace.rate(now, done) == 0 and now < BRIEF)
        assert len(pace._samples) <= WINDOW / SAMPLE + 2


def test_the_time_to_go() -> None:
    assert Progress(bytes_total=None).eta(10.0) is None
    assert Progress(bytes_total=100).eta(0.0) is None
    assert Progress(bytes_done=40, bytes_total=100).eta(10.0) == 6.0
    assert Progress(bytes_done=140, bytes_total=100).eta(10.0) == 0.0
