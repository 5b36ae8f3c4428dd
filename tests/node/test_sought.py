"""Who is asked for what, against a simulation of rows of any pace: it ends about as soon as it can, and
little comes in vain.
"""

from collections.abc import Mapping
from math import inf

from hypothesis import example, given, settings
from hypothesis import strategies as st

from codex.data import Block
from codex.errors import NotOnNetwork
from codex.node.fetching import MEASURED, SLOW
from codex.node.sought import SHARES, STALL, Known, Race, Share, Sought
from codex.testing.content import noise
from codex.testing.rows import protect

SIZE = 64
STEPS = 12
DATASETS = {(k, m): protect(noise(k * STEPS * SIZE), k, m, SIZE) for k, m in ((2, 2), (4, 2), (6, 3))}
LOOK = 0.25


class Simulation:
    """Rows that bring a leaf every so many seconds, or never; or say after a while that there is none."""

    def __init__(
        self,
        k: int,
        m: int,
        intervals: Mapping[int, float],
        lost: int,
        known: Mapping[int, Known] | None = None,
    ) -> None:
        self.dataset = DATASETS[k, m]
        layout = self.dataset.layout
        self.intervals = intervals
        self.sought = Sought(layout, range(STEPS), list(layout.row(lost)), SIZE)
        rows = sorted(range(layout.rows), key=lambda row: (row == lost, row))
        self.race = Race(self.sought, rows, known or {})
        self.came = 0
        self._coming: dict[int, list[int]] = {}
        self.gone: dict[int, float] = {}
        """When the host of a row goes."""

    def run(self, most: float = 10_000.0) -> float:
        """Seconds until all is settled, or nothing more comes."""
        now = 0.0
        while self.sought.columns and now < most:
            self.race.ask(now)
            for share in self.race.turned():
                self._coming.pop(id(share), None)
            if not self.race.running:
                break
            now += LOOK
            for share in self.race.shares:
                if share.running:
                    self._bring(share, now)
            for share in self.race.useless():
                self.race.ended(share, now)
        return now

    def _bring(self, share: Share, now: float) -> None:
        interval = self.intervals[min(share.rows)]
        if interval < 0:  # nobody has it
            if now - share.since >= -interval:
                self.race.failure = NotOnNetwork("nobody has it")
                self.race.ended(share, now)
            return
        if now >= self.gone.get(min(share.rows), inf):
            self.race.failure = NotOnNetwork("nobody has it any more")
            self.race.ended(share, now)
            return
        if id(share) not in self._coming:
            self._coming[id(share)] = [i for i in share.order() if self.sought.is_of_use(i)]
        coming = self._coming[id(share)]
        while coming and (share.came + 1) * interval <= now - share.since:
            index = coming.pop(0)
            self.came += 1
            self.race.arrived(share, index, self.dataset.blocks[index], now)
        if not coming:
            self.race.ended(share, now)


paces = st.sampled_from([0.01, 0.1, 1.0, 5.0, inf, -5.0])


@st.composite
def races(draw: st.DrawFn) -> tuple[int, int, list[float], int]:
    """K, M, how many seconds each row takes for a leaf, and which row is wanted."""
    k, m = draw(st.sampled_from(sorted(DATASETS)))
    return k, m, draw(st.lists(paces, min_size=k + m, max_size=k + m)), draw(st.integers(0, k + m - 1))


@settings(max_examples=60, deadline=None)
@given(race=races())
@example(race=(2, 2, [1.0, 1.0, 0.01, 0.01], 2))  # the row itself is one of the fastest
@example(race=(4, 2, [5.0, 5.0, 0.01, 0.01, 0.01, -5.0], 5))
@example(race=(6, 3, [0.1, -5.0, 0.01, 5.0, 0.01, 1.0, 5.0, 5.0, 5.0], 8))
def test_it_ends_soon_after_it_could_whatever_the_rows_are_like(
    race: tuple[int, int, list[float], int],
) -> None:
    k, m, intervals, lost = race
    run = Simulation(k, m, dict(enumerate(intervals)), lost)
    able = sorted(interval for row, interval in enumerate(intervals) if 0 < interval < inf and row != lost)
    if len(able) < k and not 0 < intervals[lost] < inf:
        run.run(50.0)
        assert run.sought.columns
        return
    took = run.run()
    assert not run.sought.columns
    # The K-th fastest of the others, which are asked first, could not bring it sooner; nor, where they are
    # too few, the row itself. Each that is tried in vain takes its time.
    best = (able[k - 1] if len(able) >= k else max([*able, intervals[lost]])) * STEPS
    assert took <= best + (m + 1) * max(STALL + LOOK, SLOW * best + 2 * LOOK)
    # However many are slow, no more than a row comes in vain, and of each what comes between two looks.
    assert run.came <= (k + 1) * STEPS + m


def test_two_that_are_slow_and_owe_the_same_bring_it_from_both_ends() -> None:
    for slow in ((0, 1), (0, 2), (1, 3), (2, 4)):
        intervals = {row: 1.0 if row in slow else 0.01 for row in range(5)} | {5: -5.0}
        run = Simulation(4, 2, intervals, 5)
        assert run.run() <= STEPS / 2 + 2
        assert run.came <= 4 * STEPS + 3
        assert {len(share.left) for share in run.race.shares if share.turn is not None} != {0}


@settings(max_examples=60, deadline=None)
@given(slow=st.integers(0, 5), lost=st.integers(0, 5), interval=st.sampled_from([2.0, 20.0, 500.0]))
def test_one_slow_row_of_all_costs_next_to_nothing(slow: int, lost: int, interval: float) -> None:
    run = Simulation(4, 2, {row: interval if row == slow else 0.1 for row in range(6)}, lost)
    assert run.run() <= 4 * 0.1 * STEPS
    assert run.came <= 4 * STEPS + 2
    # From then on it is not even asked.
    again = Simulation(4, 2, run.intervals, lost, run.race.learned(10.0))
    again.race._rows = sorted(range(6), key=lambda row: (row in (slow, lost), row))
    assert again.run() <= 2 * 0.1 * STEPS
    assert again.came == 4 * STEPS


def test_where_all_are_alike_nobody_is_asked_in_vain() -> None:
    for interval in (0.01, 0.5, 2.0):
        run = Simulation(6, 3, dict.fromkeys(range(9), interval), 8)
        run.run()
        assert run.came == 6 * STEPS
        assert len(run.race.shares) == 6


def test_of_a_slow_row_only_what_is_of_use_is_asked_for_from_then_on() -> None:
    dataset = protect(noise(100 * SIZE), 2, 2, SIZE)
    sought = Sought(dataset.layout, range(50), list(dataset.layout.row(0)), SIZE)
    race = Race(sought, [1, 2, 3, 0], {})
    fast, slow = race.ask(0.0)
    for index in sorted(fast.left):
        race.arrived(fast, index, dataset.blocks[index], 0.5)
    race.ended(fast, 0.5)
    first = min(slow.left)
    race.arrived(slow, first, dataset.blocks[first], 0.5)
    [other] = race.ask(2.0)
    assert slow.turn == 0
    left = sorted(slow.left)
    assert len(left) == 49
    coming = sorted(other.left)
    for index in coming[:24]:
        race.arrived(other, index, dataset.blocks[index], 2.0)
    assert race.turned() == []
    race.arrived(other, coming[24], dataset.blocks[coming[24]], 2.0)
    # Half of it has come of another row by now.
    assert race.turned() == [slow]
    assert slow.order() == left[25:]
    assert race.turned() == []


def test_of_many_that_are_slow_each_pair_begins_elsewhere() -> None:
    share = Share(frozenset({0}), set(range(8)), 0.0, 0.0)
    begun = []
    for turn in (None, *range(8)):
        share.turn = turn
        order = share.order()
        assert sorted(order) == list(range(8))
        begun.append(order[:2])
    assert begun == [[0, 1], [0, 1], [7, 6], [4, 5], [3, 2], [2, 3], [1, 0], [6, 7], [5, 4]]


def test_one_that_is_not_quite_so_slow_is_waited_for() -> None:
    # By the time that others are judged, one of its blocks is as good as here.
    run = Simulation(4, 2, {0: 0.095 * SLOW, 1: 0.1, 2: 0.1, 3: 0.1, 4: 0.1, 5: 0.1}, 5)
    run.run()
    assert run.came == 4 * STEPS
    assert len(run.race.shares) == 4


def test_where_those_asked_instead_give_nothing_either_everybody_is_asked() -> None:
    run = Simulation(6, 3, {row: inf if row in (0, 6, 7) else 2.0 for row in range(9)}, 8)
    assert run.run() <= 2 * (STALL + LOOK) + STEPS * 2.0 + LOOK
    assert {row for share in run.race.shares for row in share.rows} == set(range(9))


def test_who_is_known_to_be_no_faster_is_not_asked_instead() -> None:
    intervals = {0: 0.1, 1: 0.1, 2: 0.1, 3: 5.0, 4: 5.0, 5: 0.1}
    run = Simulation(4, 2, intervals, 5, {3: Known(0.02, 5.0), 4: Known(0.02, 5.0)})
    run.run(30.0)
    assert {row for share in run.race.shares for row in share.rows} == {0, 1, 2, 3, 5}


def test_of_one_that_is_gone_even_those_are_asked_that_are_known_to_be_no_faster() -> None:
    # Row 4 is slow, and then its host goes: row 5 is whole, though it was slow before.
    for known in (Known(0.05, 2.0), Known(1.0, 0.1)):
        run = Simulation(
            4, 2, {0: -5.0, 1: 0.1, 2: 0.1, 3: 0.1, 4: 1.0, 5: 2.0}, 0, {0: Known(0.0, 3.0), 5: known}
        )
        run.gone[4] = 5.0
        run.run(200.0)
        assert not run.sought.columns


def test_one_that_was_fast_and_is_not_any_more_is_replaced_by_one_that_is() -> None:
    known = {0: Known(0.0, 3.0), **dict.fromkeys(range(1, 6), Known(1.0, 0.1))}
    for interval in (inf, 2.0):
        run = Simulation(4, 2, {0: -5.0, 1: 0.1, 2: 0.1, 3: 0.1, 4: interval, 5: 0.1}, 0, known)
        assert run.run(200.0) <= MEASURED + 2 * LOOK + STEPS * 0.1
        assert not run.sought.columns


def test_of_many_rows_several_are_asked_together() -> None:
    dataset = protect(noise(150 * SIZE), 150, 50, SIZE)
    sought = Sought(dataset.layout, range(1), [0], SIZE)
    race = Race(sought, range(1, 200), {})
    shares = race.ask(0.0)
    assert len(shares) <= SHARES
    assert sorted(index for share in shares for index in share.left) == list(range(1, 151))
    for share in shares[1:]:
        for index in sorted(share.left):
            race.arrived(share, index, dataset.blocks[index], 0.5)
        race.ended(share, 0.5)
    # What the first of them owes is asked of others.
    assert race.ask(0.75) == []
    owed = len(shares[0].left)
    assert owed == 10
    one = min(shares[0].left)
    race.arrived(shares[0], one, dataset.blocks[one], 1.0)
    more = {index for share in race.ask(1.0 + SLOW) for index in share.left}
    assert more == set(range(151, 151 + owed - 1))
    known = race.learned(1.0 + SLOW)
    assert (known[one].pace, known[100].pace) == (1.0, 1.0)
    assert all(known[row].pace * SLOW < 1 for row in shares[0].rows - {one})


def test_what_is_settled_is_of_no_use_any_more() -> None:
    dataset = DATASETS[2, 2]
    sought = Sought(dataset.layout, range(1), [0], SIZE)
    race = Race(sought, [1, 2, 3, 0], {})
    first, second = race.ask(0.0)
    [index] = first.left
    race.arrived(first, index, dataset.blocks[index], 0.1)
    assert race.ask(STALL + 0.1) != []
    assert race.useless() == [first]
    race.arrived(second, next(iter(second.left)), Block.of(b"short"), 3.5)
    assert sought.columns == {0: 1}
    assert not race.silent
    third = race.shares[2]
    race.arrived(third, next(iter(third.left)), dataset.blocks[next(iter(third.left))], 4.0)
    assert race.useless() == race.shares
