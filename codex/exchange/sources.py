"""What the wants know of one peer as a source, and what one fetch knows of its own wants.

Plain state, changed by `Wants` only.
"""

from collections import OrderedDict, deque
from collections.abc import Sequence
from itertools import islice
from math import inf

from attrs import define, field

from codex.codec import Cid
from codex.data import BlockAddress
from codex.exchange.pace import Pace
from codex.exchange.verdict import Tried
from codex.p2p import PeerId

_EXCUSED = 4096
"""Withdrawn orders of one peer that are remembered: what comes for them was merely late."""
_LATE = 64
"""Withdrawn orders whose blocks may be under way in one message. Others send 20, and this node up to 64."""
_HINTS = 256


@define(eq=False, slots=True)
class Want:
    """A block that has not come yet. `place` counts the wants of its fetch.

    `asked` is who it is on order from, at most one; `asked_before` all that had the order and lost it, whose
    late answers are as good. `holders` have it, or are taken to have it; `lackers` said that they have not.
    Neighbours have, as a rule, the same of these, and share them.
    """

    address: BlockAddress
    size: int
    place: int
    fetch: "Fetch"
    holders: frozenset[PeerId] = frozenset()
    lackers: frozenset[PeerId] = frozenset()
    followers: tuple["Fetch", ...] = ()
    asked: "Source | None" = None
    asked_before: frozenset[PeerId] = frozenset()
    tries: int = 0
    over: bool = False


@define(eq=False, slots=True)
class Fetch:
    """The wants of one caller, all about one dataset or block, in the order in which they are to come.

    `held` are bytes that are on order, or have come and have not been taken away by the caller.
    """

    subject: Cid
    progress: float
    """When a block came last, or the fetch began."""
    refresh_at: float
    """When peers are asked again for what nobody had."""
    tried: Tried = field(factory=Tried)
    wants: dict[Want, None] = field(factory=dict)
    places: int = 0
    held: int = 0
    on_order: int = 0
    delivered: int = 0
    ready: dict[PeerId, deque[Want]] = field(factory=dict)
    """By source: wants that it may be asked for; some may be over or on order by now."""
    presumed: set[PeerId] = field(factory=set)
    """Sources that are taken to have everything, for they were said to, or never lacked a thing."""
    told: dict[PeerId, int] = field(factory=dict)
    """By peer: up to which place it was asked what it has."""
    unheard: dict[PeerId, float] = field(factory=dict)
    """Peers that were asked what they have and have not answered, and since when."""
    refreshes: int = 0
    exhausted: Want | None = None
    """A want that was asked for more often than it may."""

    def presume(self, peer: PeerId) -> None:
        """Take a peer to have all that is wanted, but for what it said it has not."""
        self.presumed.add(peer)
        ready = self.ready.setdefault(peer, deque())
        for want in self.wants:
            # What another fetch pursues is that one's to offer.
            if want.fetch is self and peer not in want.lackers and peer not in want.holders:
                want.holders |= {peer}
                ready.append(want)

    def offer(self, want: Want, *, first: bool = False) -> None:
        """Let every holder of a want be asked for it."""
        for peer in want.holders:
            ready = self.ready.get(peer)
            if ready is None:
                continue
            if first:
                ready.appendleft(want)
            else:
                ready.append(want)
            self._sweep(peer, ready)

    def offer_new(self, wants: Sequence[Want]) -> None:
        """As `offer`, for wants that all have the same holders."""
        for peer in wants[0].holders if wants else ():
            ready = self.ready.get(peer)
            if ready is not None:
                ready.extend(wants)
                self._sweep(peer, ready)

    def _sweep(self, peer: PeerId, ready: deque[Want]) -> None:
        """Drop what is over or on order, where that may be most of it."""
        if len(ready) > 2 * len(self.wants) + 64:
            still = [want for want in ready if not want.over and want.asked is None]
            self.ready[peer] = deque(dict.fromkeys(still))

    def forget(self, peer: PeerId) -> None:
        """Forget all that is known of a peer."""
        for want in self.wants:
            want.holders -= {peer}
            want.lackers -= {peer}
        self.ready.pop(peer, None)
        self.presumed.discard(peer)
        self.told.pop(peer, None)
        self.unheard.pop(peer, None)


@define(eq=False, slots=True)
class Source:
    """A connected peer, and what it has on order from us.

    `strikes` adds up what it did wrong, `stalls` how often it let orders lie since it delivered last. A
    source that is `resting` is not asked before that time.
    """

    peer: PeerId
    joined: float
    pace: Pace = field(factory=Pace)
    asked: dict[Want, None] = field(factory=dict)
    asked_bytes: int = 0
    heard: float = 0.0
    """When a block or more of a message came from it last, or it was asked after it had been idle."""
    flowing: float = -inf
    """When more came from it last of a message that is not whole yet."""
    since: float = 0.0
    """When it delivered last, or was asked after it had been idle."""
    hints: OrderedDict[Cid, None] = field(factory=OrderedDict)
    excused: OrderedDict[BlockAddress, int] = field(factory=OrderedDict)
    strikes: int = 0
    stalls: int = 0
    resting: float = 0.0
    shunned: bool = False

    @property
    def room(self) -> int:
        """Bytes that it may be asked for on top."""
        return self.pace.window - self.asked_bytes

    def hint(self, subject: Cid) -> None:
        """Remember that it is said, or seen, to have something of that."""
        self.hints[subject] = None
        self.hints.move_to_end(subject)
        if len(self.hints) > _HINTS:
            self.hints.popitem(last=False)

    @property
    def late_bytes(self) -> int:
        """Bytes that may come in one message for orders that were withdrawn."""
        return sum(islice(reversed(self.excused.values()), _LATE))

    def excuse(self, want: Want) -> None:
        """Remember that it had an order which was withdrawn."""
        self.excused[want.address] = want.size
        if len(self.excused) > _EXCUSED:
            self.excused.popitem(last=False)
