"""When contents are announced: new ones at once, all in half the interval, and any order against a model."""

from collections.abc import Container
from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from codex.codec import Cid, manifest_cid
from codex.discovery.schedule import INTERVAL, LONGEST_PAUSE, SHORTEST_PAUSE, Lag, Schedule

NOW = 1_750_000_000.0
CIDS = [manifest_cid(number.to_bytes(4)) for number in range(2000)]


def drain(schedule: Schedule, now: float) -> list[Cid]:
    found = []
    while (taken := schedule.take(now)) is not None:
        found.append(taken[0])
    return found


def keep(schedule: Schedule, cids: Container[Cid], before: float) -> None:
    for strays in schedule.strays(cids, before):
        schedule.drop(strays)
    schedule.settle()


def test_what_is_announced_is_due_again_after_the_interval() -> None:
    schedule = Schedule()
    schedule.add(CIDS[:1], NOW)
    assert schedule.take(NOW) == (CIDS[0], True)
    assert schedule.take(NOW + INTERVAL) is None  # it is under way
    schedule.done(CIDS[0], NOW + 5)
    assert schedule.next_at() == NOW + 5 + INTERVAL
    assert schedule.take(NOW + 4 + INTERVAL) is None
    assert schedule.take(NOW + 5 + INTERVAL) == (CIDS[0], False)


def test_what_failed_stays_due() -> None:
    schedule = Schedule()
    schedule.add(CIDS[:2], NOW)
    assert schedule.take(NOW) == (CIDS[0], True)
    schedule.failed(CIDS[0])
    assert schedule.lag(NOW + 9) == Lag(2, 2, 9.0)
    assert sorted(map(str, drain(schedule, NOW))) == sorted(map(str, CIDS[:2]))


def test_what_is_new_goes_before_what_is_late() -> None:
    schedule = Schedule()
    schedule.add(CIDS[:5], NOW - 100)
    schedule.add(CIDS[5:6], NOW, urgent=True)
    schedule.add(CIDS[3:4], NOW, urgent=True)
    assert schedule.urgent
    assert drain(schedule, NOW) == [CIDS[5], CIDS[3], CIDS[0], CIDS[1], CIDS[2], CIDS[4]]
    assert not schedule.urgent


def test_a_restart_goes_on_where_it_was() -> None:
    schedule = Schedule()
    schedule.restore({CIDS[0]: NOW - 10, CIDS[1]: NOW - INTERVAL - 10, CIDS[2]: NOW + 999, CIDS[3]: NOW})
    schedule.add(CIDS[:3], NOW)
    assert schedule.lag(NOW) == Lag(3, 2, 10.0)
    assert drain(schedule, NOW) == [CIDS[1], CIDS[2]]
    assert schedule.next_at() == NOW - 10 + INTERVAL
    keep(schedule, CIDS[:3], NOW)
    assert schedule.take_changes() == ([], [CIDS[3]])


def test_what_was_told_with_other_addresses_is_told_again() -> None:
    schedule = Schedule()
    schedule.restore({CIDS[0]: NOW - 10, CIDS[1]: NOW - 3, CIDS[2]: NOW - 10}, NOW - 5)
    schedule.add(CIDS[:2], NOW)
    assert drain(schedule, NOW) == [CIDS[0]]  # it is under way, and not renewed
    assert schedule.take(NOW) is None
    for _ in schedule.renew(NOW, NOW):
        pass
    schedule.add(CIDS[2:3], NOW)
    assert schedule.take(NOW) == (CIDS[1], False)
    assert schedule.take(NOW) == (CIDS[2], False)
    schedule.done(CIDS[1], NOW)
    schedule.failed(CIDS[0])
    for _ in schedule.renew(NOW, NOW):
        pass
    assert drain(schedule, NOW) == [CIDS[0]]


def test_what_was_told_by_a_clock_that_was_ahead_is_told_again() -> None:
    schedule = Schedule()
    schedule.add(CIDS[:2], NOW)
    assert drain(schedule, NOW) == CIDS[:2]
    schedule.done(CIDS[0], NOW + 10**6)
    schedule.done(CIDS[1], NOW)
    for _ in schedule.renew(0.0, NOW + 1):
        pass
    assert drain(schedule, NOW + 1) == [CIDS[0]]


def test_what_is_gone_is_not_announced_nor_written_down() -> None:
    schedule = Schedule()
    schedule.add(CIDS[:4], NOW)
    assert schedule.take(NOW) == (CIDS[0], True)
    schedule.drop(CIDS[:2])
    schedule.done(CIDS[0], NOW)
    assert drain(schedule, NOW) == CIDS[2:4]
    schedule.done(CIDS[2], NOW)
    keep(schedule, {CIDS[3]}, NOW + 1)
    assert schedule.take_changes() == ([], CIDS[:3])
    assert schedule.take_changes() == ([], [])


def test_what_came_while_a_list_was_made_is_kept() -> None:
    schedule = Schedule()
    schedule.add(CIDS[:1], NOW)
    schedule.add(CIDS[1:2], NOW + 5, urgent=True)
    keep(schedule, set(), NOW + 5)
    assert CIDS[0] not in schedule
    assert CIDS[1] in schedule


def test_of_many_that_are_gone_some_are_told_at_a_time() -> None:
    schedule = Schedule()
    schedule.add(CIDS, NOW)
    found = list(schedule.strays(set(CIDS[::2]), NOW + 1))
    assert [cid for some in found for cid in some] == CIDS[1::2]
    assert max(map(len, found)) <= 1000


def test_what_could_not_be_written_is_told_again_unless_there_is_news() -> None:
    schedule = Schedule()
    schedule.add(CIDS[:2], NOW)
    for cid in drain(schedule, NOW):
        schedule.done(cid, NOW)
    lost = schedule.take_changes()
    schedule.drop(CIDS[1:2])
    schedule.put_back(*lost)
    assert schedule.take_changes() == ([(CIDS[0], NOW)], [CIDS[1]])


def test_however_many_there_are_they_take_half_the_interval_and_stay_spread() -> None:
    schedule = Schedule()
    assert schedule.pause == LONGEST_PAUSE
    schedule.add(CIDS, NOW)
    assert schedule.pause == INTERVAL / 2 / len(CIDS)
    now = NOW
    times: dict[Cid, list[float]] = {cid: [] for cid in CIDS}
    while now < NOW + 3 * INTERVAL:
        taken = schedule.take(now)
        if taken is None:
            at = schedule.next_at()
            assert at is not None
            now = at
            continue
        times[taken[0]].append(now)
        schedule.done(taken[0], now)
        now += schedule.pause
    assert all(len(each) >= 3 for each in times.values())
    firsts = sorted(each[0] for each in times.values())
    thirds = sorted(each[2] for each in times.values())
    assert firsts[-1] - firsts[0] > 0.49 * INTERVAL
    assert thirds[-1] - thirds[0] > 0.49 * INTERVAL
    for each in times.values():
        assert all(later - earlier <= INTERVAL * 1.001 for earlier, later in pairwise(each))
    assert Schedule(1.0).pause >= SHORTEST_PAUSE


class Anything(RuleBasedStateMachine):
    """A schedule beside a dict of contents with the time that each is due at, and those under way."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.schedule = Schedule()
        self.due: dict[Cid, float] = {}
        self.under_way: set[Cid] = set()

    some = st.lists(st.sampled_from(CIDS[:8]), max_size=4)

    @rule(cids=some, urgent=st.booleans())
    def add(self, cids: list[Cid], urgent: bool) -> None:
        self.schedule.add(cids, self.now, urgent=urgent)
        for cid in cids:
            if cid not in self.due or (urgent and cid not in self.under_way):
                self.due[cid] = min(self.now, self.due.get(cid, self.now))

    @rule(cids=some)
    def drop(self, cids: list[Cid]) -> None:
        self.schedule.drop(cids)
        for cid in cids:
            self.due.pop(cid, None)
            self.under_way.discard(cid)

    @rule(seconds=st.sampled_from([1.0, INTERVAL / 2, INTERVAL]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        taken = self.schedule.take(self.now)
        ready = {cid for cid, due in self.due.items() if due <= self.now} - self.under_way
        if taken is None:
            assert not ready
        else:
            assert taken[0] in ready
            self.under_way.add(taken[0])

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), well=st.booleans())
    def end(self, data: st.DataObject, well: bool) -> None:
        cid = data.draw(st.sampled_from(sorted(self.under_way, key=str)))
        self.under_way.discard(cid)
        if well:
            self.schedule.done(cid, self.now)
            self.due[cid] = self.now + INTERVAL
        else:
            self.schedule.failed(cid)

    @invariant()
    def holds(self) -> None:
        assert len(self.schedule) == len(self.due)
        late = [due for due in self.due.values() if due <= self.now]
        assert self.schedule.lag(self.now) == Lag(
            len(self.due), len(late), self.now - min(late, default=self.now)
        )
        waiting = [due for cid, due in self.due.items() if cid not in self.under_way]
        at = self.schedule.next_at()
        assert not waiting or (at is not None and at <= max(self.now, min(waiting)))


def test_any_order_is_as_the_model_says() -> None:
    run_state_machine_as_test(
        Anything, settings=settings(max_examples=80, stateful_step_count=30, deadline=None)
    )
