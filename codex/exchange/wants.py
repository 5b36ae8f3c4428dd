"""Our side of the exchange: what we want, who has it, and who is asked for it. Decides, and does nothing.

Each method takes the present time (seconds) where it matters, changes the state without waiting for anything
and never blocks; `plan` returns what is now to be said to whom. The rules:

* A want is on order from one peer at a time. One that does not deliver in its time loses its orders to
  others, and so does one that is slow while others have nothing left to do.
* What a fetch holds (on order, or come and not taken away) is bounded by its window in bytes; what a peer has
  on order is bounded by a window that follows its pace.
* Peers are first asked whether they have the beginning of what is wanted; those that have some of it are
  asked about all of it, and meanwhile taken to have it, until they say otherwise.
"""

from collections import deque
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeAlias

from attrs import field, frozen

from codex.codec import Cid
from codex.data import BLOCK_SIZE, BlockAddress
from codex.exchange.messages import Presence
from codex.exchange.sources import Fetch, Source, Want
from codex.exchange.verdict import Tried
from codex.p2p import PeerId

HAVE_BATCH = 1024
"""Addresses of one message that asks what a peer has."""
PROBE = 32
"""Wants that peers are asked about first, of whom nothing is known."""
FIRST_ORDER = 4
"""Blocks of the first order of a fetch, so that something comes soon."""
ORDER = 32
"""Blocks of one order: neighbours, as far as may be, which are cheap to read and to prove together."""

FETCH_WINDOW = 32 << 20
"""Bytes that one fetch may hold."""
TOTAL_WINDOW = 128 << 20
"""Bytes that all fetches may hold together; each has its share."""
LEAST_WINDOW = 8 * BLOCK_SIZE

PATIENCE = 15.0
"""Seconds without any byte, after which a peer loses its orders."""
LONGEST = 60.0
"""Seconds without a block, after which it does so whatever else it sends. Others wait as long."""
ANSWER_TIME = 5.0
"""Seconds after which a peer that was asked what it has counts as silent."""
REFRESH_FIRST, REFRESH_MOST = 2.0, 36.0
"""Seconds until peers are asked again for what nobody had; doubles each time."""
REST = 2.0
"""Seconds that a peer is left alone after it lost its orders; doubles each time."""
HAND_OVER = 0.25
"""Seconds by which another peer must be faster to get orders of a slow one."""

STRIKES = 8
"""Strikes after which a peer is sent away."""
LIE, STALL, UNASKED = 4, 3, 1
"""What each counts. Stalls are forgotten when it delivers."""
FORGIVING = 60.0
"""Seconds for which a peer may send what it was asked for before this service restarted."""


def _how_many(items: Sequence[object]) -> str:
    return f"<{len(items)}>"


@frozen(slots=True)
class AskHave:
    """Ask a peer whether it has these, `full` when it is the beginning of all that is wanted."""

    peer: PeerId
    addresses: Sequence[BlockAddress] = field(repr=_how_many)
    full: bool


@frozen(slots=True)
class Order:
    """Ask a peer to send these."""

    peer: PeerId
    addresses: Sequence[BlockAddress] = field(repr=_how_many)


@frozen(slots=True)
class Withdraw:
    """Tell a peer that these are no longer wanted from it."""

    peer: PeerId
    addresses: Sequence[BlockAddress] = field(repr=_how_many)


@frozen(slots=True)
class SendAway:
    """Disconnect a peer, which did wrong too often."""

    peer: PeerId
    why: str


Action: TypeAlias = AskHave | Order | Withdraw | SendAway


class Wants:
    """Everything that is wanted, and all connected peers as sources of it."""

    def __init__(self, *, retries: int = 3000) -> None:
        """`retries` is how often one block is asked for at most."""
        self._retries = max(1, retries)
        self._pending: dict[BlockAddress, Want] = {}
        self._fetches: dict[Fetch, None] = {}
        self._sources: dict[PeerId, Source] = {}
        self._actions: list[Action] = []

    # -- what is there

    @property
    def fetches(self) -> Iterable[Fetch]:
        """Those that are open."""
        return self._fetches

    def source(self, peer: PeerId) -> Source | None:
        """What is known of a connected peer."""
        return self._sources.get(peer)

    def is_wanted(self, peer: PeerId, address: BlockAddress) -> Fetch | None:
        """The fetch that is owed this block by this peer; None when it was never asked for it, or it came."""
        want = self._pending.get(address)
        return want.fetch if want is not None and peer in want.asked_before else None

    def asked_bytes(self, peer: PeerId) -> int:
        """Bytes that are on order from a peer."""
        source = self._sources.get(peer)
        return source.asked_bytes if source is not None else 0

    def on_order(self) -> dict[PeerId, int]:
        """Blocks on order, by peer."""
        return {peer: len(source.asked) for peer, source in self._sources.items()}

    def window_of(self, fetch: Fetch) -> int:
        """Bytes that a fetch may hold now."""
        return min(max(TOTAL_WINDOW // max(1, len(self._fetches)), LEAST_WINDOW), FETCH_WINDOW)

    # -- fetches

    def open(self, subject: Cid, now: float, key: Hashable = None, tried: Tried | None = None) -> Fetch:
        """Begin a fetch about a dataset (by its tree) or a single block. Whoever opens one closes it."""
        fetch = Fetch(subject, key, now, tried or Tried(), refresh_at=now + REFRESH_FIRST)
        self._fetches[fetch] = None
        for source in self._sources.values():
            if subject in source.hints and not source.shunned:
                self._presume(fetch, source)
        return fetch

    def add(self, fetch: Fetch, addresses: Iterable[BlockAddress], size: int = BLOCK_SIZE) -> None:
        """Want more, in this order; each is expected to have `size` bytes."""
        for address in addresses:
            if address in fetch.wants:
                continue
            other = self._pending.get(address)
            if other is not None:
                other.followers.append(fetch)
                fetch.wants[address] = other
                continue
            fetch.places += 1
            want = Want(address, size, fetch.places, fetch)
            self._pending[address] = fetch.wants[address] = want
            if fetch.presumed:
                want.holders.update(fetch.presumed)
                fetch.offer(want)

    def taken(self, fetch: Fetch, size: int) -> None:
        """The caller took bytes away that had come."""
        fetch.held -= size

    def close(self, fetch: Fetch) -> None:
        """End a fetch, whatever it still wants; what others want too passes to them."""
        if self._fetches.pop(fetch, self) is self:
            return
        withdrawn: dict[PeerId, list[BlockAddress]] = {}
        for address, want in list(fetch.wants.items()):
            if want.fetch is not fetch:
                want.followers.remove(fetch)
            elif want.followers:
                self._pass_on(want)
            else:
                want.over = True
                del self._pending[address]
                if want.asked is not None:
                    withdrawn.setdefault(want.asked, []).append(address)
                    self._take_back(want)
        fetch.wants.clear()
        fetch.ready.clear()
        self._actions += [Withdraw(peer, tuple(some)) for peer, some in withdrawn.items()]

    def _pass_on(self, want: Want) -> None:
        """Give a want to the next fetch that has it; an order goes along."""
        heir = want.followers.pop(0)
        heir.places += 1
        want.fetch, want.place = heir, heir.places
        # It stands behind the heir's own wants now, which keeps them in the order of their places.
        del heir.wants[want.address]
        heir.wants[want.address] = want
        want.holders.update(heir.presumed - want.lackers)
        if want.asked is not None:
            heir.held += want.size
            heir.on_order += 1
        for peer in want.holders:
            if peer in self._sources:
                heir.ready.setdefault(peer, deque())
        if want.asked is None:
            heir.offer(want)

    # -- peers

    def joined(self, peer: PeerId, now: float, *, shunned: bool = False) -> None:
        """A peer is connected, and there was nothing on order from it. One that is shunned is never asked."""
        if peer not in self._sources:
            self._sources[peer] = Source(peer, now, shunned=shunned)

    def left(self, peer: PeerId) -> None:
        """A peer is gone, and with it all that it was asked."""
        source = self._sources.pop(peer, None)
        if source is None:
            return
        self._take_back_all(source)
        for fetch in self._fetches:
            self._forget(fetch, peer)
            if peer in fetch.tried.peers:
                fetch.tried.of(peer).left = True

    def interrupted(self, peer: PeerId) -> None:
        """What was said to a peer may be lost; it is still connected, and is told everything anew."""
        source = self._sources.get(peer)
        if source is None:
            return
        self._take_back_all(source)
        for fetch in self._fetches:
            fetch.told.pop(peer, None)
            fetch.unheard.pop(peer, None)

    def hint(self, peer: PeerId, subject: Cid) -> None:
        """A peer is said to have a dataset or block. It is asked without asking first whether it has."""
        source = self._sources.get(peer)
        if source is None or source.shunned:
            return
        source.hint(subject)
        for fetch in self._fetches:
            if fetch.subject == subject and peer not in fetch.presumed:
                self._presume(fetch, source)

    def _presume(self, fetch: Fetch, source: Source) -> None:
        fetch.presume(source.peer)
        fetch.tried.of(source.peer)

    def _forget(self, fetch: Fetch, peer: PeerId) -> None:
        for want in fetch.wants.values():
            want.holders.discard(peer)
            want.lackers.discard(peer)
        fetch.ready.pop(peer, None)
        fetch.presumed.discard(peer)
        fetch.told.pop(peer, None)
        fetch.unheard.pop(peer, None)

    # -- what peers say

    def heard(self, peer: PeerId, presences: Iterable[Presence]) -> None:
        """A peer said what it has and has not. What was not asked is no news."""
        source = self._sources.get(peer)
        if source is None or source.shunned:
            return
        denied: list[BlockAddress] = []
        for presence in presences:
            want = self._pending.get(presence.address)
            if want is None:
                continue
            for fetch in (want.fetch, *want.followers):
                fetch.unheard.pop(peer, None)
                fetch.tried.of(peer).answered = True
            if presence.have:
                self._has(source, want)
            elif self._lacks(source, want):
                denied.append(want.address)
        if denied:
            self._actions.append(Withdraw(peer, tuple(denied)))

    def _has(self, source: Source, want: Want) -> None:
        peer, fetch = source.peer, want.fetch
        want.lackers.discard(peer)
        if peer not in fetch.ready:
            fetch.ready[peer] = deque()
            # Nothing is known of it but that it has some: the rest is asked, and hoped for.
            if not any(peer in other.lackers for other in fetch.wants.values()):
                source.hint(fetch.subject)
                fetch.presume(peer)
        if peer not in want.holders:
            want.holders.add(peer)
            fetch.ready[peer].append(want)

    def _lacks(self, source: Source, want: Want) -> bool:
        """Note that a peer has not what was hoped for; whether it was on order from it."""
        peer = source.peer
        want.holders.discard(peer)
        want.lackers.add(peer)
        want.fetch.presumed.discard(peer)
        source.hints.pop(want.fetch.subject, None)
        if want.asked != peer:
            return False
        self._take_back(want)
        want.fetch.offer(want, first=True)
        return True

    def delivered(self, peer: PeerId, address: BlockAddress, size: int, now: float) -> list[Fetch]:
        """A peer sent the block that belongs at `address`; the fetches that wanted it, none if too late.

        What each of them is given counts as held by it, `size` bytes, until `taken`.
        """
        want = self._pending.get(address)
        if want is None or peer not in want.asked_before:
            return []
        source = self._sources.get(peer)
        if want.asked is not None and want.asked != peer:
            self._actions.append(Withdraw(want.asked, (address,)))
        if want.asked is not None:
            self._take_back(want, come=want.asked == peer, now=now)
        if source is not None:
            source.stalls = 0
            source.hint(want.fetch.subject)
        want.over = True
        del self._pending[address]
        owed = [want.fetch, *want.followers]
        for fetch in owed:
            del fetch.wants[address]
            fetch.held += size
            fetch.delivered += 1
            fetch.progress = now
            fetch.tried.of(peer).gave += 1
        return owed

    def arriving(self, peer: PeerId, addresses: Iterable[BlockAddress], now: float) -> None:
        """Blocks have come from a peer, and are about to be looked at. Its pace is measured in what was
        ordered: a short block is as much of an answer as a full one.
        """
        source = self._sources.get(peer)
        if source is None:
            return
        size = sum(want.size for address in addresses if (want := source.asked.get(address)) is not None)
        if size:
            source.heard = source.since = now
            source.pace.delivered(size, now, last=False)

    def alive(self, peer: PeerId, now: float) -> None:
        """Some bytes came from a peer, of which nothing more is known yet."""
        source = self._sources.get(peer)
        if source is not None:
            source.heard = now

    def unasked(self, peer: PeerId, address: BlockAddress, now: float) -> None:
        """A peer sent what it was not asked for, or again. That is a strike, unless it may just be late."""
        source = self._sources.get(peer)
        # An earlier life of this service may have asked for it.
        if source is None or now - source.joined < FORGIVING:
            return
        if source.excused.pop(address, self) is self:
            self._strike(source, UNASKED, "sent blocks that it was not asked for")

    def lied(self, peer: PeerId, address: BlockAddress) -> None:
        """A peer sent for `address` what does not belong there. Others get all the orders that it had."""
        want = self._pending.get(address)
        if want is not None:
            want.holders.discard(peer)
            want.lackers.add(peer)
            for fetch in (want.fetch, *want.followers):
                fetch.tried.of(peer).lied += 1
        self.misbehaved(peer, "sent blocks that are not in the dataset")

    def unfit(self, peer: PeerId, address: BlockAddress) -> None:
        """A peer sent what belongs to another dataset of the same root: no fault of its, and no use."""
        want, source = self._pending.get(address), self._sources.get(peer)
        if want is not None and source is not None and self._lacks(source, want):
            want.fetch.tried.of(peer).answered = True

    def misbehaved(self, peer: PeerId, why: str) -> None:
        """A peer broke the protocol. Others are asked for all that it was asked for."""
        source = self._sources.get(peer)
        if source is not None:
            self._take_back_all(source, withdraw=True)
            self._strike(source, LIE, why)

    def _strike(self, source: Source, weight: int, why: str) -> None:
        before, source.strikes = source.strikes, source.strikes + weight
        if before < STRIKES <= source.strikes:
            source.shunned = True
            self._take_back_all(source)
            for fetch in self._fetches:
                self._forget(fetch, source.peer)
            self._actions.append(SendAway(source.peer, why))

    # -- orders

    def _order(self, source: Source, want: Want, now: float) -> None:
        if not source.asked:
            source.heard = source.since = now
            source.pace.asked(now)
        want.asked = source.peer
        want.asked_before.add(source.peer)
        want.tries += 1
        source.asked[want.address] = want
        source.asked_bytes += want.size
        want.fetch.held += want.size
        want.fetch.on_order += 1

    def _take_back(self, want: Want, *, come: bool = False, now: float = 0.0) -> None:
        """End the order of a want, which is on order."""
        assert want.asked is not None
        source = self._sources.get(want.asked)
        want.asked = None
        want.fetch.held -= want.size
        want.fetch.on_order -= 1
        if source is not None and source.asked.pop(want.address, None) is not None:
            source.asked_bytes -= want.size
            if come:
                if not source.asked:
                    source.pace.delivered(0, now, last=True)
            else:
                source.excuse(want.address)

    def _take_back_all(self, source: Source, *, withdraw: bool = False) -> None:
        wants = list(source.asked.values())
        for want in wants:
            self._take_back(want)
        for want in reversed(wants):
            want.fetch.offer(want, first=True)
        if withdraw and wants:
            self._actions.append(Withdraw(source.peer, tuple(want.address for want in wants)))
        source.pace.stalled()

    # -- deciding

    def plan(self, now: float) -> list[Action]:
        """What is now to be said to whom, in this order; counts as said."""
        for source in list(self._sources.values()):
            if source.asked and (now - source.heard > PATIENCE or now - source.since > LONGEST):
                self._stall(source, now)
        # The fetch that was served first is served last the next time.
        if len(self._fetches) > 1:
            first = next(iter(self._fetches))
            self._fetches[first] = self._fetches.pop(first)
        for fetch in list(self._fetches):
            self._enquire(fetch, now)
            self._give_orders(fetch, now)
        self._hand_over(now)
        actions, self._actions = self._actions, []
        return actions

    def _stall(self, source: Source, now: float) -> None:
        """A peer did not deliver in its time."""
        source.stalls += 1
        source.resting = now + REST * 2 ** min(source.stalls, 5)
        self._take_back_all(source, withdraw=True)
        if source.strikes + STALL * source.stalls >= STRIKES:
            self._strike(source, STRIKES, "did not send what it was asked for")

    def _enquire(self, fetch: Fetch, now: float) -> None:
        """Ask peers what they have of what is new, and sometimes of what nobody had."""
        again = now >= fetch.refresh_at
        if again:
            fetch.refreshes += 1
            fetch.refresh_at = now + min(REFRESH_FIRST * 2**fetch.refreshes, REFRESH_MOST)
        for peer, source in self._sources.items():
            if source.shunned:
                continue
            told = fetch.told.get(peer)
            new: list[Want] = []
            if told is None and peer not in fetch.ready:
                new = _not_ordered(fetch, PROBE)
            elif peer in fetch.ready and (told or 0) < fetch.places:
                new = _since(fetch, told or 0)
            elif again:
                new = _not_ordered(fetch, HAVE_BATCH, held=False)
            if not new:
                continue
            fetch.told[peer] = max(told or 0, max(want.place for want in new))
            fetch.unheard.setdefault(peer, now)
            fetch.tried.of(peer).asked = True
            for at in range(0, len(new), HAVE_BATCH):
                addresses = tuple([want.address for want in new[at : at + HAVE_BATCH]])
                self._actions.append(AskHave(peer, addresses, told is None and at == 0))

    def _give_orders(self, fetch: Fetch, now: float) -> None:
        """Order what may be ordered, of the peer that will be done with its orders first, and so on."""
        able = {peer: self._sources[peer] for peer in fetch.ready if peer in self._sources}
        able = {peer: source for peer, source in able.items() if source.resting <= now and _has_room(source)}
        window = self.window_of(fetch)
        while able:
            # One block may always be on order, also when a single one is larger than the window.
            if fetch.held and fetch.held + BLOCK_SIZE > window:
                return
            peer = min(able, key=lambda peer: able[peer].pace.expected(able[peer].asked_bytes))
            source = able[peer]
            addresses = self._fill_order(fetch, source, window, now)
            if addresses:
                fetch.tried.of(peer).asked = True
                self._actions.append(Order(peer, tuple(addresses)))
            if not addresses or source.room < BLOCK_SIZE:
                del able[peer]

    def _fill_order(self, fetch: Fetch, source: Source, window: int, now: float) -> list[BlockAddress]:
        count = ORDER if fetch.delivered or fetch.on_order else FIRST_ORDER
        addresses: list[BlockAddress] = []
        while len(addresses) < count and fetch.has_ready(source.peer):
            want = fetch.ready[source.peer][0]
            if (fetch.held and fetch.held + want.size > window) or (source.asked and source.room < want.size):
                break
            fetch.ready[source.peer].popleft()
            if want.tries >= self._retries:
                fetch.exhausted = want
                continue
            self._order(source, want, now)
            addresses.append(want.address)
        return addresses

    def _hand_over(self, now: float) -> None:
        """Give orders of slow peers to those that have nothing left to do."""
        busy = [source for source in self._sources.values() if source.asked]
        if not busy:
            return
        for peer in dict.fromkeys(peer for fetch in self._fetches for peer in fetch.ready):
            source = self._sources.get(peer)
            if source is None or source.resting > now or source.asked_bytes > source.pace.window // 4:
                continue
            slowest = max(
                (other for other in busy if other is not source), key=lambda s: _due(s, now), default=None
            )
            if slowest is not None and slowest.asked:
                self._relieve(slowest, source, now)

    def _relieve(self, slow: Source, idle: Source, now: float) -> None:
        """Move the latest orders of a slow peer to an idle one, until both should be done together."""
        due, size = _due(slow, now), 0
        moved: list[Want] = []
        latency = idle.pace.latency or 0.0
        for want in reversed(list(slow.asked.values())):
            soon = latency + idle.pace.expected(idle.asked_bytes + size + want.size)
            if due <= 2 * soon + HAND_OVER or len(moved) == ORDER or want.tries >= self._retries:
                break
            # Nobody gets back what was taken away from it: two slow ones would pass it to and fro.
            if idle.peer in want.holders and idle.peer not in want.asked_before:
                moved.append(want)
                size += want.size
                due *= 1 - want.size / max(slow.asked_bytes, 1)
        if not moved:
            return
        moved.reverse()
        for want in moved:
            self._take_back(want)
            self._order(idle, want, now)
            want.fetch.tried.of(idle.peer).asked = True
        addresses = tuple(want.address for want in moved)
        self._actions += [Withdraw(slow.peer, addresses), Order(idle.peer, addresses)]

    # -- what is to be expected

    def is_stuck(self, fetch: Fetch, now: float) -> bool:
        """Whether nobody who is connected has any of what is left, as far as they have said.

        Who has not answered in its time counts as not having it; who is resting may still.
        """
        if not fetch.wants or fetch.on_order:
            return False
        for want in fetch.wants.values():
            if want.fetch is not fetch or any(peer in self._sources for peer in want.holders):
                return False
        return all(now - since >= ANSWER_TIME for since in fetch.unheard.values())


def _due(source: Source, now: float) -> float:
    """Seconds until a peer should be done: by its pace, and by how long it has been silent."""
    silent = now - source.since
    if source.pace.rate is None:
        return 4 * silent
    return max(source.pace.expected(source.asked_bytes), 2 * silent)


def _has_room(source: Source) -> bool:
    """Whether an order is worth a message: a quarter of the window is free, or half a usual order."""
    least = min(source.pace.window // 4, ORDER // 2 * BLOCK_SIZE)
    return not source.asked or source.room >= least


def _not_ordered(fetch: Fetch, count: int, *, held: bool = True) -> list[Want]:
    """The first wants of a fetch that are not on order; unless `held`, of those that nobody has."""
    some: list[Want] = []
    for want in fetch.wants.values():
        if want.fetch is fetch and want.asked is None and (held or not want.holders):
            some.append(want)
            if len(some) == count:
                break
    return some


def _since(fetch: Fetch, place: int) -> list[Want]:
    """The wants of a fetch behind a place, in order."""
    new: list[Want] = []
    for want in reversed(fetch.wants.values()):
        if want.fetch is not fetch:
            continue
        if want.place <= place:
            break
        new.append(want)
    new.reverse()
    return new
