"""The bucket: over any longer time the rate is kept, and after a pause little comes at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.p2p.ratelimit import BURST, LEAST_WAIT, MAX_PIECE, MIN_PIECE, TokenBucket


@given(
    st.floats(100, 1e12),
    st.lists(st.tuples(st.integers(1, 100_000), st.floats(0, 2)), min_size=1, max_size=100),
)
def test_the_rate_is_kept(rate: float, moves: list[tuple[int, float]]) -> None:
    start = now = 1_000_000.0
    bucket = TokenBucket(rate, now)
    moved = last = 0
    for count, pause in moves:
        now += pause
        while (wait := bucket.wait(now)) > 0:
            assert wait >= LEAST_WAIT
            now += wait
        bucket.charge(count, now)
        moved += count
        last = count
    # The last piece is still to be paid for.
    assert moved - last <= rate * (now - start) + bucket.burst + 1e-3 * rate + 1


def test_it_waits_no_longer_than_it_must() -> None:
    bucket = TokenBucket(1000, 0)
    assert bucket.wait(0) == 0
    bucket.charge(1250, 0)
    assert bucket.wait(0) == pytest.approx(1)
    assert bucket.wait(0.75) == pytest.approx(0.25)
    assert bucket.wait(1.01) == 0
    bucket.charge(10, 100)
    assert bucket.wait(100) == 0  # a pause saves up so much, and no more
    bucket.charge(int(1000 * BURST) + 490, 100)
    assert bucket.wait(100) == pytest.approx(0.5)


def test_pieces_are_small_enough_to_take_turns() -> None:
    assert TokenBucket(10, 0).piece == MIN_PIECE
    assert TokenBucket(100_000, 0).piece == 25_000
    assert TokenBucket(1e9, 0).piece == MAX_PIECE
    with pytest.raises(ValueError):
        TokenBucket(0, 0)
