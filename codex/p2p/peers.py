"""The table of who is connected, who is being dialled and who knocks: every decision, and no I/O.

Each method decides at once and says what is to be done; whoever asked does it. A *link* is the number of a
connection, a *ticket* that of a handshake that a stranger has begun. Moments are seconds on one clock.

What it sees to:

* at most `max_peers` peers, of which an eighth is kept for those that this node dials, and of those that come
  by themselves at most an eighth from one source, since names cost nothing and addresses something;
* at most one link to a peer in each direction. Of two in both directions that came about at the same time,
  the one dialled by the smaller peer id counts, and that node ends the other. When one is much older, its
  other end has forgotten it, and the newer counts;
* one dial to a peer at a time; an address that failed rests, the longer the more often it did;
* at most `HALF_OPEN` handshakes with strangers, and few of one source, so that nobody keeps others out.
"""

from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable
from itertools import count

from attrs import define, frozen

from codex.codec import Multiaddr
from codex.p2p.addresses import MAX_DIALLED
from codex.p2p.identity import PeerId
from codex.p2p.record import SignedPeerRecord

HALF_OPEN = 64
HALF_OPEN_PER_SOURCE = 8
REMEMBERED = 4096
"""Failed addresses that are remembered; the oldest are forgotten."""
KNOWN = 1024
"""Peers whose addresses are remembered after they left."""
FIRST_REST = 2.0
"""Seconds that an address rests after its first failure; doubled with each further one."""
LONGEST_REST = 120.0
SETTLE = 30.0
"""Seconds between two links to one peer, from which on they do not count as made at the same time."""
LEAST_SHARE = 4
"""Peers that may come from one source however few there may be in all: a household has as many."""
NEWCOMER = 30.0
"""Seconds after it joined in which a peer is not thrown out to make room."""


@frozen(kw_only=True)
class PeerInfo:
    """A peer that has joined, at one moment. `since` is unix seconds, `latency` seconds there and back."""

    peer: PeerId
    address: Multiaddr
    dialled: bool
    agent: str
    protocols: tuple[str, ...]
    since: float
    bytes_in: int
    bytes_out: int
    latency: float | None
    streams: int
    record: SignedPeerRecord | None = None
    """What the peer has signed about where it listens."""
    listening: tuple[Multiaddr, ...] = ()
    """Where the peer says, unsigned, that it listens."""
    observed: Multiaddr | None = None
    """Where the peer sees this node."""


@frozen
class Failure:
    """What became of dialling one address; `until` is when it may be dialled again."""

    address: Multiaddr
    why: str
    until: float = 0.0
    times: int = 1


@frozen
class Connected:
    """Nothing to dial: the peer is here."""


@frozen
class UnderWay:
    """Somebody dials that peer already."""


@frozen
class Go:
    """Dial these; `resting` are those that are not to be dialled yet."""

    addresses: tuple[Multiaddr, ...]
    resting: tuple[Failure, ...] = ()


@frozen
class Hopeless:
    """Do not dial, for this reason, and because of these failures."""

    why: str
    failures: tuple[Failure, ...] = ()


@frozen
class Knock:
    """Whether a stranger may begin a handshake, and whose handshake ends for it."""

    ticket: int | None
    evicted: int | None = None


@frozen
class Verdict:
    """What becomes of a new connection.

    `link` is None when it is refused, for the reason `why`. `first` tells that the peer was not here before.
    `close` are links to end now, each with a reason, and `retire` is one to end when its work is done.
    """

    link: int | None
    why: str = ""
    first: bool = False
    close: tuple[tuple[int, str], ...] = ()
    retire: int | None = None


@define(eq=False)
class _Link:
    number: int
    peer: PeerId
    dialled: bool
    since: float
    source: str
    leaving: bool = False  # to be ended, and no longer counted on


class PeerTable:
    """Everybody this node has to do with now. `own` is the node itself."""

    def __init__(self, own: PeerId, max_peers: int) -> None:
        self._own = own
        self._max_peers = max_peers
        self._max_inbound = max_peers - max_peers // 8
        self._share = max(LEAST_SHARE, self._max_inbound // 8)
        self._wide_share = max(LEAST_SHARE, self._max_inbound // 2)
        self._numbers = count(1)
        self._links: dict[int, _Link] = {}
        self._peers: dict[PeerId, list[_Link]] = {}
        self._dials: set[PeerId] = set()
        self._failures: OrderedDict[tuple[PeerId, Multiaddr], Failure] = OrderedDict()
        self._half_open: dict[int, str] = {}
        self._known: OrderedDict[PeerId, tuple[Multiaddr, ...]] = OrderedDict()

    # -- strangers

    def knock(self, source: str, *, counted: bool = True) -> Knock:
        """A stranger wants to begin a handshake. `source` is where from; `counted` whether it may stand for
        one of many, as this machine itself does not.
        """
        held = Counter(self._half_open.values())
        if counted and held[source] >= HALF_OPEN_PER_SOURCE:
            return Knock(None)
        evicted = None
        if len(self._half_open) >= HALF_OPEN:
            crowd, most = held.most_common(1)[0]
            if most <= held[source] + 1:
                return Knock(None)
            evicted = next(ticket for ticket, whose in self._half_open.items() if whose == crowd)
            del self._half_open[evicted]
        ticket = next(self._numbers)
        self._half_open[ticket] = source
        return Knock(ticket, evicted)

    def answered(self, ticket: int) -> None:
        """The handshake is over, whatever came of it."""
        self._half_open.pop(ticket, None)

    @property
    def half_open(self) -> int:
        """How many strangers are at their handshakes."""
        return len(self._half_open)

    # -- dials

    def want(
        self, peer: PeerId, addresses: Iterable[Multiaddr], now: float, busy: Collection[int] = ()
    ) -> Connected | UnderWay | Go | Hopeless:
        """A connection to `peer` is wanted, who may be at `addresses`. `busy` are links with work on them.

        After Go the caller must say `dialled` in the end, and `failed` for each address that failed.
        """
        if peer == self._own:
            return Hopeless("this is the node itself")
        if self.pick(peer) is not None:
            return Connected()
        if peer in self._dials:
            return UnderWay()
        given = tuple(dict.fromkeys(addresses))
        if not given:
            return Hopeless("no address that it could be dialled at is known")
        past = [self._failures.get((peer, address)) for address in given]
        resting = tuple(failure for failure in past if failure is not None and failure.until > now)
        if len(resting) == len(given):
            return Hopeless("its addresses failed a moment ago", resting)
        if self._full and self._victim(True, now, busy) is None:
            return Hopeless(f"all {self._max_peers} connections of this node are in use")
        self._dials.add(peer)
        rest = {failure.address for failure in resting}
        return Go(tuple(address for address in given if address not in rest), resting)

    def failed(self, peer: PeerId, address: Multiaddr, why: str, now: float) -> Failure:
        """Dialling an address came to nothing."""
        before = self._failures.pop((peer, address), None)
        times = before.times + 1 if before is not None else 1
        rest = min(LONGEST_REST, FIRST_REST * 2.0 ** min(times - 1, 16))
        failure = Failure(address, why, now + rest, times)
        self._failures[peer, address] = failure
        if len(self._failures) > REMEMBERED:
            self._failures.popitem(last=False)
        return failure

    def remember(self, peer: PeerId, addresses: Iterable[Multiaddr]) -> None:
        """A peer that joined can be found there another time."""
        self._known.pop(peer, None)
        self._known[peer] = tuple(dict.fromkeys(addresses))[:MAX_DIALLED]
        if len(self._known) > KNOWN:
            self._known.popitem(last=False)

    def known(self, peer: PeerId) -> tuple[Multiaddr, ...]:
        """Where a peer that joined once may be found."""
        return self._known.get(peer, ())

    def dialled(self, peer: PeerId) -> None:
        """The dial is over, whatever came of it."""
        self._dials.discard(peer)

    # -- links

    def join(
        self,
        peer: PeerId,
        *,
        dialled: bool,
        now: float,
        address: Multiaddr | None = None,
        source: str = "",
        shared: bool = False,
        busy: Collection[int] = (),
    ) -> Verdict:
        """A connection is ready, and its other end is `peer`. Whoever gets a link must say `left` in the
        end.

        `source` is where from it came by itself. A `shared` one, as this machine itself or a router in the
        same house, may stand for many, and has half of the room instead of an eighth.
        """
        if peer == self._own:
            return Verdict(None, "this is the node itself")
        close: list[tuple[int, str]] = []
        present = [link for link in self._peers.get(peer, ()) if not link.leaving]
        for link in present:
            if link.dialled == dialled:
                link.leaving = True
                close.append((link.number, "the same peer connected anew"))
        if not present:
            share = self._wide_share if shared else self._share
            crowded = not dialled and source != "" and self._from(source) >= share
            inbound_full = not dialled and self._inbound >= self._max_inbound
            if self._full or inbound_full or crowded:
                victim = self._victim(dialled, now, busy, source if crowded else None)
                if victim is None and crowded:
                    return Verdict(None, f"all {share} connections that {source} may have are in use")
                if victim is None:
                    return Verdict(None, f"all {self._max_peers} connections of this node are in use")
                for link in self._peers[victim]:
                    if not link.leaving:
                        link.leaving = True
                        close.append((link.number, "made room for another peer"))
        new = _Link(next(self._numbers), peer, dialled, now, source)
        first = peer not in self._peers
        self._links[new.number] = new
        self._peers.setdefault(peer, []).append(new)
        if address is not None:
            self._failures.pop((peer, address), None)
        return Verdict(new.number, first=first, close=tuple(close), retire=self._retired(peer))

    def part(self, link: int) -> None:
        """The link is going to be ended: nothing new is begun on it."""
        if link in self._links:
            self._links[link].leaving = True

    def left(self, link: int) -> bool:
        """The link has ended. Returns whether it was the last one to its peer."""
        gone = self._links.pop(link)
        links = self._peers[gone.peer]
        links.remove(gone)
        if links:
            return False
        del self._peers[gone.peer]
        return True

    def pick(self, peer: PeerId) -> int | None:
        """The link to begin something on; None when the peer is not here."""
        link = self._best(peer)
        return None if link is None else link.number

    def links_to(self, peer: PeerId) -> tuple[int, ...]:
        """Every link to a peer, also those that are being ended."""
        return tuple(link.number for link in self._peers.get(peer, ()))

    def peers(self) -> tuple[PeerId, ...]:
        """Who is here, in the order in which they came."""
        return tuple(peer for peer in self._peers if self._best(peer) is not None)

    def _best(self, peer: PeerId) -> _Link | None:
        present = [link for link in self._peers.get(peer, ()) if not link.leaving]
        if len(present) < 2:
            return present[0] if present else None
        older, newer = present
        if newer.since - older.since > SETTLE:
            return newer
        ours_counts = self._own.raw < peer.raw
        return older if older.dialled == ours_counts else newer

    def _retired(self, peer: PeerId) -> int | None:
        """Which of two links this node is to end. Only one side does, so that never both are ended."""
        present = [link for link in self._peers[peer] if not link.leaving]
        if len(present) < 2 or self._own.raw > peer.raw:
            return None
        best = self._best(peer)
        return next(link.number for link in present if link is not best)

    @property
    def _full(self) -> bool:
        return len(self.peers()) >= self._max_peers

    @property
    def _inbound(self) -> int:
        return sum(best is not None and not best.dialled for best in map(self._best, self._peers))

    def _from(self, source: str) -> int:
        """How many came by themselves from there."""
        present = map(self._best, self._peers)
        return sum(best is not None and not best.dialled and best.source == source for best in present)

    def _victim(
        self, dialled: bool, now: float, busy: Collection[int], source: str | None = None
    ) -> PeerId | None:
        """Who goes when there is no room: never one with work on its links, nor one that has just come; of
        the rest the one that came last, since those that stay long stay longer. For one that we dial, one
        that came by itself goes first; for one that comes by itself, only another such. With `source`, only
        one that came from there.
        """
        found: list[tuple[bool, float, PeerId]] = []
        for peer, links in self._peers.items():
            best = self._best(peer)
            if best is None or any(link.number in busy for link in links):
                continue
            if now - best.since < NEWCOMER or (best.dialled and not dialled):
                continue
            if source is not None and best.source != source:
                continue
            found.append((not best.dialled, best.since, peer))
        return max(found, key=lambda one: one[:2])[2] if found else None
