"""The slots that could be filled, the most worth first. Pure.

Order: those that may be wanted; then the higher reward; then the lower collateral; then the later deadline;
then by lot, so that not all hosts go for the same slot first. A slot that was judged and not wanted stays,
*seen*, for the day that something else is offered. When full: the last of the order is dropped, and it is
remembered that something was, for there is more on the chain than is known here.
"""

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator
from functools import cached_property

from attrs import evolve, field, frozen

from codex.market import RequestId, SlotId, StorageAsk

Rank = tuple[bool, int, int, int]
Place = tuple[bool, int, int, int, bytes, bytes, int]


def rank_of(ask: StorageAsk, collateral: int, deadline: int, *, seen: bool) -> Rank:
    """How much slots of a request are worth: the lower, the more."""
    return seen, -ask.price_per_slot, collateral, -deadline


@frozen
class Item:
    """A slot that can be filled."""

    request: RequestId
    index: int
    ask: StorageAsk = field(repr=False)
    deadline: int
    """The moment after which it cannot be filled: the expiry of a new request, the end of one that runs."""
    collateral: int
    """What filling it costs, less when it was lost by another host."""
    repair: bool = False
    seen: bool = False
    lot: bytes = field(default=b"", repr=False)
    """Some random bytes, which decide between equals."""

    # A host that was away finds tens of thousands of slots, and looks at both a dozen times for each.
    @cached_property
    def slot(self) -> SlotId:
        return SlotId.of(self.request, self.index)

    @cached_property
    def place(self) -> Place:
        """Where it stands in the order; no two slots stand at the same place."""
        return (
            *rank_of(self.ask, self.collateral, self.deadline, seen=self.seen),
            self.lot,
            self.request.raw,
            self.index,
        )


class SlotQueue:
    """At most `size` slots, each once. Paused, it takes slots in and gives none out."""

    def __init__(self, size: int, *, paused: bool = False) -> None:
        self.paused = paused
        self.overflowed = False
        """Whether a slot was dropped since this was last set to False."""
        self._size = size
        self._order: list[Item] = []
        self._items: dict[tuple[RequestId, int], Item] = {}

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[Item]:
        """All, in order."""
        return iter(tuple(self._order))

    def __contains__(self, slot: tuple[RequestId, int]) -> bool:
        return slot in self._items

    def is_above(self, rank: Rank) -> bool:
        """Whether it is full of slots that are worth as much as one of that rank, or more."""
        return len(self._order) >= self._size and rank >= self._order[-1].place[: len(rank)]

    def push(self, item: Item) -> Item | None:
        """Take a slot in; the one that had to go for it, which may be the same.

        A slot that is here already keeps its place, and stays seen, unless it has become another offer: when
        it can be repaired now, say.
        """
        before = self.delete(item.request, item.index)
        if before is not None and evolve(before, seen=False, lot=item.lot) == item:
            item = before  # nothing new about it
        insort(self._order, item, key=_place)
        self._items[item.request, item.index] = item
        if len(self._order) <= self._size:
            return None
        self.overflowed = True
        dropped = self._order.pop()
        del self._items[dropped.request, dropped.index]
        return dropped

    def pop(self) -> Item | None:
        """Take the best slot that is not seen out; None when there is none, or the queue is paused."""
        if self.paused or not self._order or self._order[0].seen:
            return None
        item = self._order.pop(0)
        del self._items[item.request, item.index]
        return item

    def delete(self, request: RequestId, index: int) -> Item | None:
        """Forget a slot; it, if it was here."""
        item = self._items.pop((request, index), None)
        if item is not None:
            del self._order[bisect_left(self._order, item.place, key=_place)]
        return item

    def delete_request(self, request: RequestId) -> None:
        """Forget all slots of a request."""
        for item in [item for item in self._order if item.request == request]:
            self.delete(item.request, item.index)

    def expire(self, now: int) -> list[Item]:
        """Forget all slots whose deadline has passed; they."""
        over = [item for item in self._order if item.deadline < now]
        for item in over:
            self.delete(item.request, item.index)
        return over

    def reconsider(self, wanted: Callable[[Item], bool]) -> int:
        """Something else is offered: have those that were seen judged anew. How many are wanted now."""
        again = [item for item in self._order if item.seen and wanted(item)]
        for item in again:
            self.delete(item.request, item.index)
            fresh = evolve(item, seen=False)
            insort(self._order, fresh, key=_place)
            self._items[item.request, item.index] = fresh
        return len(again)


def _place(item: Item) -> Place:
    return item.place
