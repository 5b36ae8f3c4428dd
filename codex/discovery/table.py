"""The routing table: some of the nodes there are, many near our own place on the ring and few far from it.

The ring is cut into buckets of up to 16 nodes. A full bucket is halved when our own place is in it, or while
its depth is no multiple of 5 (so that every step of a lookup comes at least 5 bits closer); else the newcomer
waits among up to 8 reserves. A bucket is ordered: who showed last that it is there, by an answer
or a question, stands first.

What makes it hard to fill with invented or with one owner's nodes:

* Of the nodes of one public /24, bucket and reserves hold at most 4, and the table at most 32. Nodes of
  private networks and of this machine are not counted: there, many nodes behind few addresses is how test and
  home networks are, and whoever is inside has better means. The reference node has such limits and switches
  them off; these are wide enough for a rack of nodes, and leave three quarters of each bucket to others.
* A node that has answered takes the place of one in its bucket that never did.
* A node that has never answered is dropped when it does not. One that has is doubted first: it is asked after
  next, and dropped when it was silent each of 3 times that it was looked after, or fails more often than not.
* A node that changes its address has to answer there before it counts as seen again.

`seen` tells how reliably a node answers: 0 before its first answer, 1 with it, from then on a sliding mean
that moves by a tenth with every question. Nodes are handed out to others only while nobody doubts them: a
single missed answer takes that away until the next one comes. A busy minute, in which many answers are late,
thus costs nobody the place.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from enum import Enum
from heapq import nsmallest
from math import inf

from attrs import define, field, frozen

from codex.discovery.distance import MAX_DISTANCE
from codex.discovery.nodes import Node
from codex.discovery.sessions import Address

K = 16
"""Nodes in a bucket, and nodes that a lookup finds."""
RESERVES = 8
"""Nodes that wait behind a full bucket."""
BITS_PER_HOP = 5
MISSES = 3
"""Times in a row that a node which answered before is looked after in vain, until it is dropped."""
DOUBTFUL = 0.5
"""At or under this `seen`, a node that does not answer is dropped at once."""

_INERTIA = 0.9


@frozen
class Limits:
    """How many nodes of one public /24 there may be, reserves included."""

    bucket: int = 4
    table: int = 32


class Added(Enum):
    """What became of a node that was to be added."""

    ADDED = "added"
    KNOWN = "known"
    """It was there before; its record is now the newer of the two."""
    RESERVED = "reserved"
    CROWDED = "crowded"
    """There are enough of its /24."""
    OURSELVES = "ourselves"


@define(eq=False, slots=True)
class Entry:
    """A node in the table. `seen` is 0 to 1; `misses` counts the times in a row that it was looked after in
    vain, and `doubted` is whether its last answer is missing; `shown` is when it last was there.
    """

    node: Node
    seen: float = 0.0
    misses: int = 0
    doubted: bool = False
    shown: float = -inf

    @property
    def good(self) -> bool:
        """Whether it answers, as far as is known, so that others may be told of it."""
        return self.seen > DOUBTFUL and not self.doubted

    def is_stale(self, before: float) -> bool:
        """Whether it has shown nothing since, and may be there; with inf everyone is."""
        return before == inf or (self.shown < before and self.misses < MISSES)


@define(eq=False, slots=True)
class _Bucket:
    """The nodes whose number starts with the same `depth` bits as `start`."""

    start: int
    depth: int
    entries: list[Entry] = field(factory=list)
    reserves: list[Entry] = field(factory=list)
    crowd: Counter[str] = field(factory=Counter)

    def everyone(self) -> list[Entry]:
        return [*self.entries, *self.reserves]


class Table:
    """The nodes that we know, around our own place `own` (32 bytes), which is never among them.

    Nothing waits or fails here: every method does its work at once. Times are seconds of one clock, any.
    `pinned` names nodes (by id) that stay although they do not answer: those we were told to ask first.
    """

    def __init__(self, own: bytes, *, limits: Limits | None = None) -> None:
        self.own = own
        self.pinned: set[bytes] = set()
        self.changes = 0
        """How many nodes came or went so far, reserves included."""
        self._number = int.from_bytes(own)
        self._limits = limits or Limits()
        self._buckets = [_Bucket(0, 0)]
        self._starts = [0]
        self._crowd: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(len(bucket.entries) for bucket in self._buckets)

    def __iter__(self) -> Iterator[Entry]:
        """The nodes, bucket by bucket around the ring, without the reserves."""
        for bucket in self._buckets:
            yield from bucket.entries

    @property
    def buckets(self) -> int:
        """How many buckets there are."""
        return len(self._buckets)

    @property
    def waiting(self) -> int:
        """How many nodes are in reserve."""
        return sum(len(bucket.reserves) for bucket in self._buckets)

    @property
    def verified(self) -> int:
        """How many nodes answer, more often than not."""
        return sum(entry.seen > DOUBTFUL for entry in self)

    def get(self, node_id: bytes) -> Entry | None:
        """The entry of a node; None when it is not in the table, or only in reserve."""
        return _find(self._bucket(int.from_bytes(node_id)).entries, node_id)

    # -- changes

    def add(self, node: Node) -> Added:
        """Take a node in that somebody spoke of, as one that has not answered; or take its newer record."""
        if node.node_id == self.own:
            return Added.OURSELVES
        bucket = self._bucket(node.number)
        known = _find(bucket.everyone(), node.node_id)
        if known is not None:
            return self._renew(bucket, known, node)
        if not self._has_room(bucket, node):
            return Added.CROWDED
        while len(bucket.entries) >= K and self._may_split(bucket):
            self._split(bucket)
            bucket = self._bucket(node.number)
        entry = Entry(node)
        self.changes += 1
        self._count(bucket, node, 1)
        if len(bucket.entries) < K:
            bucket.entries.append(entry)
            return Added.ADDED
        if len(bucket.reserves) >= RESERVES:
            self._count(bucket, bucket.reserves.pop(0).node, -1)
        bucket.reserves.append(entry)
        return Added.RESERVED

    def answered(self, node: Node, now: float = 0.0) -> None:
        """Note that `node` has answered us: it is taken in if there is room, and is now the last one seen.

        `now` is -inf when it was not asked whether it is there.
        """
        self.add(node)
        bucket = self._bucket(node.number)
        entry = _find(bucket.entries, node.node_id)
        if entry is None:
            waiting = _find(bucket.reserves, node.node_id)
            if waiting is None:
                return
            _has_answered(waiting, now)
            never = next((e for e in reversed(bucket.entries) if not e.seen and not self._is_pinned(e)), None)
            if never is None:
                return
            bucket.entries[bucket.entries.index(never)] = waiting
            bucket.reserves[bucket.reserves.index(waiting)] = never
            entry = waiting
        else:
            _has_answered(entry, now)
        _to_front(bucket, entry)

    def heard(self, node_id: bytes, address: Address, now: float) -> None:
        """Note that a node has said something, from that address and in its own name: if it has answered a
        ping there before, and nobody doubts it, it has shown that it is there.
        """
        bucket = self._bucket(int.from_bytes(node_id))
        entry = _find(bucket.entries, node_id)
        known = entry is not None and entry.good and entry.shown > -inf
        if entry is not None and known and entry.node.address == address:
            entry.shown = now
            _to_front(bucket, entry)

    def silent(self, node_id: bytes) -> None:
        """Note that a node that was looked after did not answer: after some times it is dropped."""
        self._missed(node_id, 1)

    def doubt(self, node_id: bytes) -> None:
        """Note that a node left a question open. Many may be open at the same busy moment, so that this
        drops none but who never answered; it is to be looked after next.
        """
        self._missed(node_id, 0)

    # -- questions

    def neighbours(self, target: bytes, count: int = K, *, good: bool = False) -> list[Node]:
        """The `count` nodes closest to a place of 32 bytes, closest first; those that are doubted come behind
        all others, or with `good` not at all, like those that have not answered.
        """
        place = int.from_bytes(target)
        entries = [entry for entry in self if entry.good or not good]
        near = nsmallest(count, entries, key=lambda entry: (entry.doubted, entry.node.number ^ place))
        return [entry.node for entry in near]

    def at_distances(self, distances: Collection[int], count: int = K) -> list[Node]:
        """Up to `count` good nodes at these logarithmic distances from ourselves, the first distance first.

        Of one distance those that answered last come first.
        """
        wanted = {distance: rank for rank, distance in reversed(list(enumerate(distances)))}
        found: list[tuple[int, int, Node]] = []
        for bucket in self._buckets:
            for age, entry in enumerate(bucket.entries):
                rank = wanted.get((entry.node.number ^ self._number).bit_length())
                if rank is not None and entry.good:
                    found.append((rank, age, entry.node))
        return [node for _, _, node in nsmallest(count, found, key=lambda item: item[:2])]

    def stalest(self, choose: Callable[[int], int], before: float = inf) -> Entry | None:
        """The node to look after next: the one of some bucket that has shown nothing for longest; those that
        are doubted go first.

        `choose(n)` picks a number below n. None when nobody is doubted, and all that are not known to be gone
        have shown something since `before`.
        """
        filled = [bucket.entries for bucket in self._buckets if bucket.entries]
        due = [last for *_, last in filled if last.doubted and last.misses < MISSES]
        if not due:
            stale = [next((e for e in reversed(entries) if e.is_stale(before)), None) for entries in filled]
            due = [entry for entry in stale if entry is not None]
        return due[choose(len(due))] if due else None

    # -- inside

    def _missed(self, node_id: bytes, misses: int) -> None:
        """Doubt a node; drop it when it has missed too much, for a reserve if there is one."""
        bucket = self._bucket(int.from_bytes(node_id))
        entry = _find(bucket.entries, node_id)
        if entry is None:
            waiting = _find(bucket.reserves, node_id)
            if waiting is not None:
                self._drop(bucket, bucket.reserves, waiting)
            return
        known = entry.seen > 0
        if misses or not known:
            entry.seen = _after(entry.seen, False)
            entry.misses += 1
        entry.doubted = True
        bucket.entries.remove(entry)
        # Who stays though it is gone has its turn after all others, or they would have none.
        bucket.entries.insert(0 if entry.misses >= MISSES else len(bucket.entries), entry)
        if self._is_pinned(entry) or (known and entry.misses < MISSES and entry.seen > DOUBTFUL):
            return
        self._drop(bucket, bucket.entries, entry)
        if bucket.reserves:
            heir = next((e for e in reversed(bucket.reserves) if e.seen), bucket.reserves[-1])
            bucket.reserves.remove(heir)
            bucket.entries.append(heir)

    def _bucket(self, number: int) -> _Bucket:
        return self._buckets[bisect_right(self._starts, number) - 1]

    def _is_pinned(self, entry: Entry) -> bool:
        return entry.node.node_id in self.pinned

    def _renew(self, bucket: _Bucket, known: Entry, node: Node) -> Added:
        if node.seq <= known.node.seq:
            return Added.KNOWN
        if node.address != known.node.address:
            self._count(bucket, known.node, -1)
            fits = self._has_room(bucket, node)
            self._count(bucket, node if fits else known.node, 1)
            if not fits:
                return Added.CROWDED
            known.seen, known.misses, known.doubted, known.shown = 0.0, 0, False, -inf
        known.node = node
        return Added.KNOWN

    def _may_split(self, bucket: _Bucket) -> bool:
        mine = bucket is self._bucket(self._number)
        return bucket.depth < MAX_DISTANCE and (mine or bucket.depth % BITS_PER_HOP != 0)

    def _split(self, bucket: _Bucket) -> None:
        depth = bucket.depth + 1
        halves = _Bucket(bucket.start, depth), _Bucket(bucket.start | 1 << MAX_DISTANCE - depth, depth)
        for source in ("entries", "reserves"):
            for entry in getattr(bucket, source):
                half = halves[entry.node.number >= halves[1].start]
                getattr(half, source).append(entry)
                if group := entry.node.group:
                    half.crowd[group] += 1
        for half in halves:
            while len(half.entries) < K and half.reserves:
                half.entries.append(half.reserves.pop())
        at = self._buckets.index(bucket)
        self._buckets[at : at + 1] = halves
        self._starts[at : at + 1] = [half.start for half in halves]

    def _has_room(self, bucket: _Bucket, node: Node) -> bool:
        group = node.group
        return group is None or (
            bucket.crowd[group] < self._limits.bucket and self._crowd[group] < self._limits.table
        )

    def _count(self, bucket: _Bucket, node: Node, change: int) -> None:
        group = node.group
        if group is not None:
            for crowd in (bucket.crowd, self._crowd):
                crowd[group] += change
                if not crowd[group]:
                    del crowd[group]

    def _drop(self, bucket: _Bucket, entries: list[Entry], entry: Entry) -> None:
        entries.remove(entry)
        self.changes += 1
        self._count(bucket, entry.node, -1)


def _find(entries: list[Entry], node_id: bytes) -> Entry | None:
    return next((entry for entry in entries if entry.node.node_id == node_id), None)


def _to_front(bucket: _Bucket, entry: Entry) -> None:
    bucket.entries.remove(entry)
    bucket.entries.insert(0, entry)


def _has_answered(entry: Entry, now: float) -> None:
    entry.seen, entry.misses, entry.doubted = _after(entry.seen, True), 0, False
    entry.shown = max(entry.shown, now)


def _after(seen: float, success: bool) -> float:
    """`seen` after one more question."""
    if not seen:
        return 1.0 if success else 0.0
    return _INERTIA * seen + (1 - _INERTIA) * success
