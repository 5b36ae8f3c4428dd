"""The queue of slots, against a list that is sorted anew each time."""

from typing import Any

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from codex.market import RequestId, SlotId, StorageAsk
from codex.sales.queue import Item, SlotQueue, rank_of

ASK = StorageAsk(
    proof_probability=1,
    price_per_byte_per_second=1,
    collateral_per_byte=1,
    slots=3,
    slot_size=10,
    duration=10,
    max_slot_loss=0,
)


def request(number: int) -> RequestId:
    return RequestId(number.to_bytes(32, "big"))


def item(
    number: int = 0, index: int = 0, *, price: int = 1, collateral: int = 1, deadline: int = 100, **more: Any
) -> Item:
    ask = evolve(ASK, price_per_byte_per_second=price)
    return Item(request(number), index, ask, deadline=deadline, collateral=collateral, **more)


def test_what_follows_from_an_item_is_worked_out_once() -> None:
    there = item(1, 2)
    assert there.slot == SlotId.of(request(1), 2)
    assert there.slot is there.slot
    assert there.place is there.place
    assert (evolve(there, index=3).slot, evolve(there, seen=True).place) == (
        SlotId.of(request(1), 3),
        item(1, 2, seen=True).place,
    )


def in_order(queue: SlotQueue) -> list[tuple[int, int]]:
    return [(int.from_bytes(there.request.raw, "big"), there.index) for there in queue]


def test_the_order() -> None:
    queue = SlotQueue(10)
    for there in (
        item(1, price=1),
        item(2, price=9, seen=True),
        item(3, price=2, collateral=5, deadline=10),
        item(4, price=2, collateral=4, deadline=10),
        item(5, price=2, collateral=5, deadline=11),
    ):
        assert queue.push(there) is None
    assert in_order(queue) == [(4, 0), (5, 0), (3, 0), (1, 0), (2, 0)]


def test_equals_are_ordered_by_lot() -> None:
    queue = SlotQueue(10)
    for index, lot in enumerate((b"c", b"a", b"b")):
        queue.push(evolve(item(index=index), lot=lot))
    assert [there.index for there in queue] == [1, 2, 0]


def test_the_worst_gives_way_and_that_is_remembered() -> None:
    queue = SlotQueue(2)
    queue.push(item(1, price=5))
    queue.push(item(2, price=3))
    assert queue.push(item(3, price=4)) == item(2, price=3)
    assert queue.overflowed
    assert queue.push(item(4, price=1)) == item(4, price=1)
    assert in_order(queue) == [(1, 0), (3, 0)]


def test_a_full_queue_tells_what_would_be_dropped_at_once() -> None:
    queue = SlotQueue(2)
    queue.push(item(1, price=5))
    assert not queue.is_above(rank_of(item(price=1).ask, 1, 1, seen=True))
    queue.push(item(2, price=3, collateral=5, deadline=10))
    for seen, price, collateral, deadline, above in (
        (False, 4, 9, 1, False),
        (False, 3, 4, 1, False),
        (False, 3, 5, 11, False),
        (False, 3, 5, 10, True),
        (False, 3, 6, 20, True),
        (False, 2, 1, 99, True),
        (True, 9, 1, 99, True),
    ):
        assert queue.is_above(rank_of(item(price=price).ask, collateral, deadline, seen=seen)) is above


def test_what_is_seen_or_paused_is_not_given_out() -> None:
    queue = SlotQueue(5, paused=True)
    queue.push(item(1))
    assert queue.pop() is None
    queue.paused = False
    assert queue.pop() == item(1)
    queue.push(item(2, seen=True))
    assert queue.pop() is None
    assert queue.reconsider(lambda there: there.collateral > 1) == 0
    assert queue.reconsider(lambda there: True) == 1
    assert queue.pop() == item(2)
    assert queue.pop() is None


def test_a_slot_told_twice_stays_seen_until_it_is_another_offer() -> None:
    queue = SlotQueue(5)
    queue.push(item(1, seen=True))
    queue.push(evolve(item(1), lot=b"another"))
    assert queue.pop() is None
    queue.push(item(1, collateral=0, repair=True))
    assert queue.pop() == item(1, collateral=0, repair=True)
    assert len(queue) == 0


def test_requests_and_deadlines_end() -> None:
    queue = SlotQueue(9)
    for index in range(3):
        queue.push(item(1, index, deadline=50))
        queue.push(item(2, index, deadline=60 + index))
    queue.delete_request(request(1))
    assert in_order(queue) == [(2, 2), (2, 1), (2, 0)]
    assert [there.index for there in queue.expire(61)] == [0]
    assert (request(2), 1) in queue
    assert (request(2), 0) not in queue
    assert item(2, 1).slot == SlotId.of(request(2), 1)


class QueueMachine(RuleBasedStateMachine):
    @initialize(size=st.integers(1, 8))
    def begin(self, size: int) -> None:
        self.queue = SlotQueue(size)
        self.size = size
        self.model: list[Item] = []

    def forget(self, number: int, index: int) -> Item | None:
        found = [there for there in self.model if (there.request, there.index) == (request(number), index)]
        self.model = [there for there in self.model if there not in found]
        return found[0] if found else None

    @rule(
        number=st.integers(0, 3),
        index=st.integers(0, 2),
        price=st.integers(1, 3),
        deadline=st.integers(1, 5),
        seen=st.booleans(),
    )
    def push(self, number: int, index: int, price: int, deadline: int, seen: bool) -> None:
        coming = item(number, index, price=price, deadline=deadline, seen=seen)
        before = self.forget(number, index)
        if before is not None and evolve(before, seen=False) == coming:
            coming = before
        self.model.append(coming)
        self.model.sort(key=lambda there: there.place)
        expected = self.model.pop() if len(self.model) > self.size else None
        assert self.queue.push(coming) == expected
        assert not expected or self.queue.overflowed

    @rule()
    def pop(self) -> None:
        wanted = [there for there in self.model if not there.seen]
        expected = wanted[0] if wanted else None
        assert self.queue.pop() == expected
        if expected is not None:
            self.model.remove(expected)

    @rule(number=st.integers(0, 3), index=st.integers(0, 2))
    def delete(self, number: int, index: int) -> None:
        assert self.queue.delete(request(number), index) == self.forget(number, index)

    @rule(number=st.integers(0, 3))
    def delete_request(self, number: int) -> None:
        self.queue.delete_request(request(number))
        self.model = [there for there in self.model if there.request != request(number)]

    @rule(now=st.integers(0, 6))
    def expire(self, now: int) -> None:
        over = [there for there in self.model if there.deadline < now]
        assert self.queue.expire(now) == over
        self.model = [there for there in self.model if there not in over]

    @rule(price=st.integers(1, 3))
    def reconsider(self, price: int) -> None:
        def wanted(there: Item) -> bool:
            return there.ask.price_per_byte_per_second >= price

        expected = [there for there in self.model if there.seen and wanted(there)]
        assert self.queue.reconsider(wanted) == len(expected)
        self.model = [evolve(there, seen=False) if there in expected else there for there in self.model]
        self.model.sort(key=lambda there: there.place)

    @invariant()
    def it_is_the_model(self) -> None:
        assert list(self.queue) == self.model
        assert len(self.queue) == len(self.model) <= self.size


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
