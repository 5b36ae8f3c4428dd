"""One search for the nodes closest to a place on the ring: who is asked next, who is believed, when it ends.

The nodes known to be closest are asked for nodes that are closer still, until the 16 closest that answer have
all been asked. Nothing in here waits: whoever drives a lookup asks the nodes that `due` names, and brings in
what they say. Times are seconds of one clock, any.

Against nodes that lie, each answer is cut to what may be told (`told_by`) at the distances that were asked
for; of one public /24 only 4 nodes count among the closest; whoever told of 3 nodes more that are silent than
of nodes that answer is not believed any further; and there is an end after 64 questions.
"""

from bisect import insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from attrs import define, field

from codex.discovery.distance import MAX_DISTANCE
from codex.discovery.nodes import Node, told_by
from codex.discovery.table import K, Limits
from codex.p2p import SignedPeerRecord

ALPHA = 3
"""Questions at once."""
ALPHA_MOST = 10
"""Questions at once when many are silent: one more for each of them."""
PATIENCE = 0.5
"""Seconds without an answer after which the next node is asked; an answer that comes later still counts."""
MAX_QUESTIONS = 64
"""An honest search among a million nodes takes some 30."""
MAX_NODES = 16
"""Nodes taken from one answer."""

_DISTANCES = 3
_DISBELIEF = 3


@define(eq=False, slots=True)
class _Candidate:
    """A node that may be asked. `hops` is how many answers led to it; `tellers` are those who told of it."""

    node: Node
    distance: int
    hops: int
    tellers: set[bytes] = field(factory=set)
    asked_at: float | None = None
    answered: bool = False
    failed: bool = False


class Lookup:
    """A search for the nodes closest to `target` (32 bytes), from `start` on. `own` is our own node id."""

    def __init__(
        self, target: bytes, own: bytes, start: Iterable[Node], *, k: int = K, alpha: int = ALPHA
    ) -> None:
        self.target = target
        self.questions = 0
        self._failures = 0
        self._own = own
        self._number = int.from_bytes(target)
        self._k = k
        self._alpha = alpha
        self._limit = Limits().bucket
        self._known: dict[bytes, _Candidate] = {}
        self._order: list[_Candidate] = []
        self._pending: dict[bytes, _Candidate] = {}
        self._credit: Counter[bytes] = Counter()
        for node in start:
            self._meet(node, None)

    # -- what to do

    def due(self, now: float) -> list[Node]:
        """The nodes to ask now; from here on they count as asked."""
        due: list[Node] = []
        awaited = len(self._awaited(now))
        silent = len(self._pending) - awaited + self._failures
        at_once = min(ALPHA_MOST, self._alpha + silent)
        free = min(at_once - awaited, MAX_QUESTIONS - self.questions)
        # Where many are silent, those behind the closest are asked too, before it is known who is missing.
        for candidate in self._best(now, self._k + min(silent, self._k)):
            if len(due) >= free:
                break
            if candidate.asked_at is None:
                candidate.asked_at = now
                self._pending[candidate.node.node_id] = candidate
                self.questions += 1
                due.append(candidate.node)
        return due

    def wake_at(self, now: float) -> float | None:
        """When to look at `due` and `is_over` again though nothing has come in; None for never."""
        return min((asked + PATIENCE for asked in self._awaited(now)), default=None)

    def is_over(self, now: float) -> bool:
        """Whether there is nobody left to ask or to wait for.

        Those who have been silent for a while are waited for only when nobody has answered at all.
        """
        if self._awaited(now):
            return False
        if self._pending and not any(candidate.answered for candidate in self._order):
            return False
        if self.questions >= MAX_QUESTIONS:
            return True
        return all(candidate.asked_at is not None for candidate in self._best(now, self._k))

    def distances_for(self, node: Node) -> list[int]:
        """The logarithmic distances from `node` to ask it for: where the target is, and around."""
        return distances((node.number ^ self._number).bit_length())

    # -- what came in

    def heard(self, node: Node, records: Sequence[SignedPeerRecord]) -> list[Node]:
        """Take in what `node` answered; the nodes that it may tell of, known ones included."""
        candidate = self._settle(node)
        if candidate is None:
            return []
        candidate.answered, candidate.failed = True, False
        for teller in candidate.tellers:
            self._credit[teller] += 1
        asked = set(self.distances_for(node))
        told = [
            other
            for other in told_by(node, records, limit=MAX_NODES)
            if other.node_id != self._own and (other.number ^ node.number).bit_length() in asked
        ]
        for other in told:
            self._meet(other, candidate)
        return told

    def unheard(self, node: Node) -> None:
        """Note that `node` did not answer, or nothing that is an answer."""
        candidate = self._settle(node)
        if candidate is not None:
            candidate.failed = True
            self._failures += 1
            for teller in candidate.tellers:
                self._credit[teller] -= 1

    # -- what was found

    def closest(self) -> list[Node]:
        """The nodes that have answered, closest to the target first, at most k."""
        return [candidate.node for candidate in self._found()]

    @property
    def hops(self) -> int:
        """How many answers in a row led to the closest node; 0 when nobody has answered."""
        return next((candidate.hops for candidate in self._found()), 0)

    # -- inside

    def _meet(self, node: Node, teller: _Candidate | None) -> None:
        candidate = self._known.get(node.node_id)
        if candidate is None:
            hops = teller.hops + 1 if teller else 1
            candidate = _Candidate(node, node.number ^ self._number, hops)
            self._known[node.node_id] = candidate
            insort(self._order, candidate, key=lambda one: one.distance)
        elif node.seq > candidate.node.seq and candidate.asked_at is None:
            candidate.node = node
        if teller is not None:
            candidate.tellers.add(teller.node.node_id)

    def _settle(self, node: Node) -> _Candidate | None:
        return self._pending.pop(node.node_id, None)

    def _awaited(self, now: float) -> list[float]:
        """When those were asked whose answer may well be on its way."""
        times = [candidate.asked_at for candidate in self._pending.values()]
        return [asked for asked in times if asked is not None and now < asked + PATIENCE]

    def _best(self, now: float, count: int) -> Iterator[_Candidate]:
        """The `count` closest of those who have answered, may answer soon, or may be asked."""
        hopeful = (one for one in self._order if not one.failed and self._hopeful(one, now))
        return self._chosen(hopeful, count)

    def _hopeful(self, one: _Candidate, now: float) -> bool:
        if one.asked_at is not None:
            return one.answered or now < one.asked_at + PATIENCE
        return not one.tellers or any(self._credit[teller] > -_DISBELIEF for teller in one.tellers)

    def _found(self) -> Iterator[_Candidate]:
        return self._chosen((one for one in self._order if one.answered), self._k)

    def _chosen(self, candidates: Iterable[_Candidate], count: int) -> Iterator[_Candidate]:
        """The first `count`, with no more of one public /24 than may be."""
        crowd: Counter[str] = Counter()
        for candidate in candidates:
            group = candidate.node.group
            if group is not None:
                if crowd[group] >= self._limit:
                    continue
                crowd[group] += 1
            yield candidate
            count -= 1
            if not count:
                return


def distances(centre: int) -> list[int]:
    """Three or four logarithmic distances to ask a node for that is `centre` (0 to 256) away from the target:
    that one, and those beside it.
    """
    found = [centre]
    step = 1
    while len(found) < _DISTANCES:
        found += [beside for beside in (centre + step, centre - step) if 0 < beside < MAX_DISTANCE]
        step += 1
    return found
