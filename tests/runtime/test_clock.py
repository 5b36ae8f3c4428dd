"""Clocks and entropy: the real ones, and the reproducible ones."""

import time

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from codex.runtime.clock import Clock, Entropy, SeededEntropy, SystemClock, SystemEntropy, VirtualClock


def test_the_system_clock_is_the_machines() -> None:
    clock: Clock = SystemClock()
    before = time.time()
    assert before <= clock.now() <= time.time()
    first = clock.monotonic()
    assert first <= clock.monotonic() <= first + 60


async def test_the_virtual_clock_follows_trio(autojump_clock: trio.testing.MockClock) -> None:
    clock: Clock = VirtualClock(1_700_000_000)
    assert clock.now() == 1_700_000_000
    start = clock.monotonic()
    await trio.sleep(365 * 86400)
    assert clock.now() == 1_700_000_000 + 365 * 86400
    assert clock.monotonic() - start == 365 * 86400


@pytest.mark.parametrize("entropy", [SystemEntropy(), SeededEntropy(7)])
def test_tokens_have_their_length_and_differ(entropy: Entropy) -> None:
    assert [len(entropy.token(n)) for n in (0, 1, 31, 32, 33, 100)] == [0, 1, 31, 32, 33, 100]
    assert len({entropy.token(16) for _ in range(100)}) == 100


@given(st.integers() | st.text(), st.lists(st.integers(0, 100)))
def test_a_seed_gives_one_stream_however_it_is_cut(seed: int | str, lengths: list[int]) -> None:
    one, other = SeededEntropy(seed), SeededEntropy(seed)
    assert b"".join(one.token(n) for n in lengths) == other.token(sum(lengths))


def test_seeds_of_different_kinds_or_values_are_different_streams() -> None:
    seeds: list[int | str] = [0, 1, -1, "0", "1", "", "0/alice", "0/bob"]
    assert len({SeededEntropy(seed).token(16) for seed in seeds}) == len(seeds)


def test_a_seeds_stream_never_changes() -> None:
    # SHA-256 of eight zero bytes and "str:alice".
    assert SeededEntropy("alice").token(8).hex() == "e05da6ec9f71f66e"
