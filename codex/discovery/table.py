"""The routing table: some of the nodes there are, many near our own place on the ring and few far from it.

The ring is cut into buckets of up to 16 nodes. A full bucket is halved when our own place is in it, or while
its depth is no multiple of 5 (so that every step of a lookup comes at least 5 bits closer); else the newcomer
waits among up to 8 reserves. A bucket is ordered: who answered last stands first.

What makes it hard to fill with invented or with one owner's nodes:

* Of the nodes of one public /24, bucket and reserves hold at most 4, and the table at most 32. Nodes of
  private networks and of this machine are not counted: there, many nodes behind few addresses is how test and
  home networks are, and whoever is inside has better means. The reference node has such limits and switches
  them off; these are wide enough for a rack of nodes, and leave three quarters of each bucket to others.
* A node that has answered takes the place of one in its bucket that never did.
* A node that did not answer is dropped for a reserve, or when it fails more often than not.
* A node that changes its address has to answer there before it counts as seen again.

`seen` tells how reliably a node answers: 0 before its first answer, 1 with it, from then on a sliding mean
that moves by a tenth with every question. Nodes are handed out to others only at 1: a single missed answer
takes that away until the node is learned anew.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from enum import Enum
from heapq import nsmallest

from attrs import define, field, frozen

from codex.discovery.distance import MAX_DISTANCE
from codex.discovery.nodes import Node

K = 16
"""Nodes in a bucket, and nodes that a lookup finds."""
RESERVES = 8
"""Nodes that wait behind a full bucket."""
BITS_PER_HOP = 5
SEEN = 1.0
"""What `seen` must be for a node to be told to others."""
DOUBTFUL = 0.5
"""At or under this `seen`, a node that does not answer is dropped even when nobody waits for its place."""

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
    """A node in the table. `seen` is 0 to 1."""

    node: Node
    seen: float = 0.0


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

    Nothing waits or fails here: every method does its work at once. `pinned` names nodes (by id) that stay
    although they do not answer: those we were told to ask first.
    """

    def __init__(self, own: bytes, *, limits: Limits | None = None) -> None:
        self.own = own
        self.pinned: set[bytes] = set()
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
        self._count(bucket, node, 1)
        if len(bucket.entries) < K:
            bucket.entries.append(entry)
            return Added.ADDED
        if len(bucket.reserves) >= RESERVES:
            self._count(bucket, bucket.reserves.pop(0).node, -1)
        bucket.reserves.append(entry)
        return Added.RESERVED

    def answered(self, node: Node) -> None:
        """Note that `node` has answered us: it is taken in if there is room, and is now the last one seen."""
        self.add(node)
        bucket = self._bucket(node.number)
        entry = _find(bucket.entries, node.node_id)
        if entry is None:
            waiting = _find(bucket.reserves, node.node_id)
            if waiting is None:
                return
            waiting.seen = _after(waiting.seen, True)
            never = next((e for e in reversed(bucket.entries) if not e.seen and not self._is_pinned(e)), None)
            if never is None:
                return
            bucket.entries[bucket.entries.index(never)] = waiting
            bucket.reserves[bucket.reserves.index(waiting)] = never
            entry = waiting
        else:
            entry.seen = _after(entry.seen, True)
        bucket.entries.remove(entry)
        bucket.entries.insert(0, entry)

    def silent(self, node_id: bytes, *, drop: bool = False) -> None:
        """Note that a node did not answer.

        It makes room for a reserve if there is one; it is dropped without one when it is doubtful, or when
        `drop` says so.
        """
        bucket = self._bucket(int.from_bytes(node_id))
        entry = _find(bucket.entries, node_id)
        if entry is None:
            waiting = _find(bucket.reserves, node_id)
            if waiting is not None:
                self._drop(bucket, bucket.reserves, waiting)
            return
        entry.seen = _after(entry.seen, False)
        if self._is_pinned(entry):
            return
        if bucket.reserves or drop or entry.seen <= DOUBTFUL:
            self._drop(bucket, bucket.entries, entry)
            if bucket.reserves:
                heir = next((e for e in reversed(bucket.reserves) if e.seen), bucket.reserves[-1])
                bucket.reserves.remove(heir)
                bucket.entries.append(heir)

    # -- questions

    def neighbours(self, target: bytes, count: int = K, *, seen: float = 0.0) -> list[Node]:
        """The `count` nodes closest to a place of 32 bytes, closest first, of those with `seen` at least."""
        place = int.from_bytes(target)
        nodes = [entry.node for entry in self if entry.seen >= seen]
        return nsmallest(count, nodes, key=lambda node: node.number ^ place)

    def at_distances(self, distances: Collection[int], count: int = K, *, seen: float = SEEN) -> list[Node]:
        """Up to `count` nodes at these logarithmic distances from ourselves, the first distance first.

        Of one distance those that answered last come first.
        """
        wanted = {distance: rank for rank, distance in reversed(list(enumerate(distances)))}
        found: list[tuple[int, int, Node]] = []
        for bucket in self._buckets:
            for age, entry in enumerate(bucket.entries):
                rank = wanted.get((entry.node.number ^ self._number).bit_length())
                if rank is not None and entry.seen >= seen:
                    found.append((rank, age, entry.node))
        return [node for _, _, node in nsmallest(count, found, key=lambda item: item[:2])]

    def stalest(self, choose: Callable[[int], int]) -> Entry | None:
        """The node to look after next: the one of some bucket that has not answered for longest.

        `choose(n)` picks a number below n. None when the table is empty.
        """
        filled = [bucket for bucket in self._buckets if bucket.entries]
        return filled[choose(len(filled))].entries[-1] if filled else None

    # -- inside

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
            known.seen = 0.0
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
        self._count(bucket, entry.node, -1)


def _find(entries: list[Entry], node_id: bytes) -> Entry | None:
    return next((entry for entry in entries if entry.node.node_id == node_id), None)


def _after(seen: float, success: bool) -> float:
    """`seen` after one more question."""
    if not seen:
        return 1.0 if success else 0.0
    return _INERTIA * seen + (1 - _INERTIA) * success
