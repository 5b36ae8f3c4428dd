"""The small values of the store."""

import time

import pytest

from codex.codec import block_cid
from codex.store import Progress, Space
from codex.store.values import Findings, Recount


def test_what_is_available_is_never_less_than_nothing() -> None:
    assert Space(1, 100, 30, 20).available == 50
    assert Space(1, 100, 90, 20).available == 0


def test_progress_adds_up() -> None:
    one, two = block_cid(bytes(32)), block_cid(bytes([1]) * 32)
    progress = (
        Progress(0, 100).further(10, corrupt=[one]).further(5, corrupt=[two], missing=[7], mended=(one,))
    )
    assert progress == Progress(15, 100, Findings((one, two)), Findings((7,)), Findings((one,)))
    assert [*progress.corrupt, *progress.missing, *progress.mended] == [one, two, 7, one]
    assert repr(progress).startswith(
        "Progress(bytes_done=15, bytes_total=100, corrupt=<2>, missing=<1>, mended=<1>, "
    )


def test_a_step_changes_none_before_it() -> None:
    first = Progress(0, 9).further(1, missing=[3, 4])
    second, other = first.further(1, missing=[5]), first.further(1, missing=[6, 7])
    assert first.missing == Findings([3, 4]) != second.missing
    assert [*second.missing, *other.missing] == [3, 4, 5, 3, 4, 6, 7]
    assert (other.missing[-1], other.missing[1:3], list(first.missing), first.missing[1:]) == (
        7,
        [4, 6],
        [3, 4],
        [4],
    )
    assert hash(first.missing) == hash(Findings((3, 4)))
    with pytest.raises(IndexError):
        _ = first.missing[2]
    assert (first.missing[::-1], first.missing[:9], second.missing[-2:]) == ([4, 3], [3, 4], [4, 5])


def test_the_millionth_find_takes_no_longer_than_the_first() -> None:
    progress = Progress(0, 0)
    begun = time.process_time()
    for step in range(10_000):
        progress = progress.further(0, missing=range(step * 100, step * 100 + 100))
    assert progress.missing[-1] == 999_999
    assert time.process_time() - begun < 3  # and most of a minute when each step copies what it has


def test_a_recount_is_right_when_nothing_differs() -> None:
    assert Recount().right
    assert not Recount(refs=((1, 1),)).right
