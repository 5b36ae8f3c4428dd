"""When each of our contents is announced next: pure bookkeeping, without a clock of its own.

New contents are announced at once, all others half an hour after the last time. However many are due, they
are taken one by one with pauses between them, so that all of them together fill half the interval: neither
the first start with a full store nor a start after a long rest makes a storm, and what was spread out once
stays spread out.

Times are unix seconds.
"""

import heapq
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from itertools import count

from attrs import define, frozen

from codex.codec import Cid

INTERVAL = 1800.0
"""Seconds between two announcements of one content. Others believe them for a day."""
SHORTEST_PAUSE = 0.03
"""Seconds. Others answer a hundred requests of one node in a second."""
LONGEST_PAUSE = 1.0

_BATCH = 1000


@frozen
class Lag:
    """How far the announcements are behind: `due` contents should have been announced, the oldest of them
    `oldest` seconds ago.
    """

    contents: int
    due: int
    oldest: float


@define(eq=False, slots=True)
class _Item:
    """A content of ours. `last` is when it was announced, None for never; `due` when it is to be."""

    cid: Cid
    added: float
    last: float | None
    due: float
    urgent: bool = False
    taken: bool = False
    gone: bool = False


class Schedule:
    """Our contents, each with the time of its next announcement."""

    def __init__(self, interval: float = INTERVAL) -> None:
        self._interval = interval
        self._items: dict[Cid, _Item] = {}
        self._heap: list[tuple[float, int, _Item]] = []
        self._urgent: deque[_Item] = deque()
        self._numbers = count()
        self._restored: dict[Cid, float] = {}
        self._since = 0.0
        self._written: dict[Cid, float | None] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, cid: Cid) -> bool:
        return cid in self._items

    @property
    def pause(self) -> float:
        """Seconds between two announcements that are not of new contents."""
        return min(LONGEST_PAUSE, max(SHORTEST_PAUSE, self._interval / 2 / max(1, len(self._items))))

    def restore(self, times: Mapping[Cid, float], since: float = 0.0) -> None:
        """Remember when contents were announced, for when it turns out that they are still ours; what was
        before `since` does not count.
        """
        self._restored.update(times)
        self._since = since

    def renew(self, since: float, now: float) -> Iterator[None]:
        """Have what was announced before `since` announced again, and what will be added, too: it was told
        with addresses that reach this node no more. So is what was announced at a time that still lies ahead,
        by a clock that was wrong. Each step looks at a thousand contents.
        """
        self._since = since
        for batch in _batches(list(self._items.values())):
            for item in batch:
                counts = item.last is None or since <= item.last <= now
                if not counts and now < item.due and not item.taken:
                    item.due = now
                    self._push(item, False)
            yield

    def add(self, cids: Iterable[Cid], now: float, *, urgent: bool = False) -> None:
        """Take contents in that are ours. `urgent`: before all others, also those known already."""
        for cid in cids:
            item = self._items.get(cid)
            if item is None:
                last = self._restored.pop(cid, None)
                # A time that lies ahead comes of a clock that was wrong.
                last = None if last is None or last > now else last
                due = now if last is None or last < self._since else last + self._interval
                item = _Item(cid, now, last, due)
                self._items[cid] = item
                self._push(item, urgent)
            elif urgent:
                item.added = now
                if not item.taken:
                    item.due = min(item.due, now)
                    self._push(item, urgent)

    def drop(self, cids: Iterable[Cid]) -> None:
        """Take contents out that are ours no more."""
        for cid in cids:
            item = self._items.pop(cid, None)
            if item is not None:
                item.gone = True
                self._written[cid] = None

    def strays(self, cids: Container[Cid], before: float) -> Iterator[list[Cid]]:
        """Those of ours that are not among `cids`, but for what was added at `before` or later, some at a
        time: each step looks at a thousand contents, and what it yields may be dropped meanwhile.
        """
        for batch in _batches(list(self._items.values())):
            yield [item.cid for item in batch if item.added < before and item.cid not in cids]

    def settle(self) -> None:
        """Forget those contents of another life that are ours no more: all that are ours have been added."""
        for cid in self._restored:
            self._written.setdefault(cid, None)
        self._restored.clear()

    def take(self, now: float) -> tuple[Cid, bool] | None:
        """The content to announce now, and whether it has never been; None when none is due. `done` or
        `failed` must follow.
        """
        while self._urgent:
            item = self._urgent.popleft()
            # It may stand there twice.
            if item.urgent and not item.gone and not item.taken:
                return self._begin(item)
        while self._heap and self._heap[0][0] <= now:
            due, _, item = heapq.heappop(self._heap)
            # What was moved since has another place in the queue.
            if not item.gone and not item.taken and due == item.due:
                return self._begin(item)
        return None

    def done(self, cid: Cid, now: float) -> None:
        """Note that a content was announced."""
        item = self._items.get(cid)
        if item is not None and item.taken:
            item.last, item.due, item.taken = now, now + self._interval, False
            self._written[cid] = now
            self._push(item, False)

    def failed(self, cid: Cid) -> None:
        """Note that nobody could be told; the content stays due."""
        item = self._items.get(cid)
        if item is not None and item.taken:
            item.taken = False
            self._push(item, item.last is None)

    @property
    def urgent(self) -> bool:
        """Whether there are new contents."""
        return bool(self._urgent)

    def next_at(self) -> float | None:
        """When the next content is due; None when there is none."""
        if self._urgent:
            return self._urgent[0].added
        return self._heap[0][0] if self._heap else None

    def lag(self, now: float) -> Lag:
        """How far we are behind. Looks at every content."""
        due = [item.due for item in self._items.values() if item.due <= now]
        return Lag(len(self._items), len(due), now - min(due, default=now))

    def take_changes(self) -> tuple[list[tuple[Cid, float]], list[Cid]]:
        """What is to be written down: when contents were announced, and those that are ours no more."""
        written, self._written = self._written, {}
        return (
            [(cid, at) for cid, at in written.items() if at is not None],
            [cid for cid, at in written.items() if at is None],
        )

    def put_back(self, times: Iterable[tuple[Cid, float]], dropped: Iterable[Cid]) -> None:
        """Let what could not be written down be among the changes once more."""
        self._written = {**dict(times), **dict.fromkeys(dropped), **self._written}

    def _begin(self, item: _Item) -> tuple[Cid, bool]:
        item.taken, item.urgent = True, False
        return item.cid, item.last is None

    def _push(self, item: _Item, urgent: bool) -> None:
        if not urgent:
            heapq.heappush(self._heap, (item.due, next(self._numbers), item))
        elif not item.urgent:
            item.urgent = True
            self._urgent.append(item)


def _batches(items: list[_Item]) -> Iterator[list[_Item]]:
    for first in range(0, len(items), _BATCH):
        yield items[first : first + _BATCH]
