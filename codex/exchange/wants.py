"""Our side of the exchange: what we want, who has it, and who is asked for it. Decides, and does nothing.

Each method takes the present time (seconds) where it matters, changes the state without waiting for anything
and never blocks; `plan` returns what is now to be said to whom. The rules:

* A want is on order from one peer at a time. One that does not deliver in its time loses its orders to
  others, and so does one that is slow while others have nothing left to do.
* What a fetch holds (on order, or come and not taken away) is bounded by its window in bytes; what a peer has
  on order is bounded by a window that follows its pace.
* Peers are first asked whether they have the beginning of what is wanted. Those that have some of it, and
  never said that they lack any, are taken to have all of it, and asked only when they keep us waiting; the
  others are asked about all of it.
"""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

from codex.codec import Cid
from codex.data import BLOCK_SIZE, BlockAddress
from codex.exchange.messages import Presence
from codex.exchange.orders import LIE, UNASKED, Action, Orders, Withdraw
from codex.exchange.pending import Pending
from codex.exchange.planning import LONGEST, REFRESH_FIRST, Planner
from codex.exchange.sources import Fetch, Source, Want
from codex.p2p import PeerId

LEAST = 2048
"""Bytes that a block counts for at least while it is held: its proof and all that belongs to it take as much,
and a hostile dataset has blocks of a byte.
"""
FORGIVING = 60.0
"""Seconds for which a peer may send what it was asked for before this service restarted."""

T = TypeVar("T")


class Wants:
    """Everything that is wanted, and all connected peers as sources of it."""

    def __init__(self, *, retries: int = 3000) -> None:
        """`retries` is how often one block is asked for at most."""
        self._pending = Pending()
        self._orders = Orders()
        self._planner = Planner(self._orders, retries)

    # -- what is there

    @property
    def fetches(self) -> Iterable[Fetch]:
        """Those that are open."""
        return self._orders.fetches

    @property
    def alone(self) -> bool:
        """Whether no peer is connected."""
        return not self._orders.sources

    def source(self, peer: PeerId) -> Source | None:
        """What is known of a connected peer."""
        return self._orders.sources.get(peer)

    def wanted(self, peer: PeerId, addresses: Sequence[BlockAddress]) -> list[Want | None]:
        """The wants of those of these blocks that this peer owes; None when it was never asked for one, or it
        came.
        """
        source, wants = self._orders.sources.get(peer), self._pending.find(addresses)
        return [
            want
            if want is not None and (want.asked is source is not None or peer in want.asked_before)
            else None
            for want in wants
        ]

    def due_bytes(self, peer: PeerId) -> int:
        """Bytes that a peer may send in one message for what it has on order, or had lately."""
        source = self._orders.sources.get(peer)
        return 2 * source.asked_bytes + source.late_bytes if source is not None else 0

    def on_order(self) -> dict[PeerId, int]:
        """Blocks on order, by peer."""
        return {peer: len(source.asked) for peer, source in self._orders.sources.items()}

    def plan(self, now: float) -> list[Action]:
        """What is now to be said to whom, in this order; counts as said."""
        return self._planner.plan(now)

    def is_stuck(self, fetch: Fetch, now: float) -> bool:
        """Whether nobody who is connected has any of what is left, as far as they have said."""
        return self._planner.is_stuck(fetch, now)

    # -- fetches

    def open(self, subject: Cid, now: float) -> Fetch:
        """Begin a fetch about a dataset (by its tree) or a single block. Whoever opens one closes it."""
        fetch = Fetch(subject, now, now + REFRESH_FIRST)
        self._orders.fetches[fetch] = None
        for source in self._orders.sources.values():
            if subject in source.hints and not source.shunned:
                self._presume(fetch, source)
        return fetch

    def add(self, fetch: Fetch, addresses: Sequence[BlockAddress], size: int = BLOCK_SIZE) -> Sequence[Want]:
        """Want more, in this order; each is expected to have `size` bytes. The wants of what this fetch did
        not want before.
        """
        holders = frozenset(fetch.presumed)
        added, new = [], []
        for address in addresses:
            want = self._pending.get(address)
            if want is None:
                fetch.places += 1
                want = Want(address, size, fetch.places, fetch, holders)
                self._pending.add(want)
                new.append(want)
            elif want in fetch.wants:
                continue
            else:
                want.followers += (fetch,)
            fetch.wants[want] = None
            added.append(want)
        fetch.offer_new(new)
        return added

    def taken(self, fetch: Fetch, size: int) -> None:
        """The caller took bytes away that had come: of each block as many as count, see `LEAST`."""
        fetch.held -= size

    def close(self, fetch: Fetch) -> None:
        """End a fetch, whatever it still wants; what others want too passes to them."""
        if self._orders.fetches.pop(fetch, self) is self:
            return
        withdrawn: dict[PeerId, list[BlockAddress]] = {}
        for want in list(fetch.wants):
            if want.fetch is not fetch:
                want.followers = tuple([other for other in want.followers if other is not fetch])
            elif want.followers:
                self._pass_on(want)
            else:
                want.over = True
                self._pending.remove(want)
                if want.asked is not None:
                    withdrawn.setdefault(want.asked.peer, []).append(want.address)
                    self._orders.take_back(want)
        fetch.wants.clear()
        fetch.ready.clear()
        self._orders.actions += [Withdraw(peer, tuple(some)) for peer, some in withdrawn.items()]

    def _pass_on(self, want: Want) -> None:
        """Give a want to the next fetch that has it; an order goes along."""
        heir, *others = want.followers
        want.followers = tuple(others)
        heir.places += 1
        want.fetch, want.place = heir, heir.places
        # It stands behind the heir's own wants now, which keeps them in the order of their places.
        del heir.wants[want]
        heir.wants[want] = None
        want.holders |= heir.presumed - want.lackers
        if want.asked is not None:
            heir.held += want.size
            heir.on_order += 1
        for peer in want.holders:
            if peer in self._orders.sources:
                heir.ready.setdefault(peer, deque())
        if want.asked is None:
            heir.offer(want)

    # -- peers

    def joined(self, peer: PeerId, now: float, *, shunned: bool = False) -> None:
        """A peer is connected, and there was nothing on order from it. One that is shunned is never asked."""
        if peer not in self._orders.sources:
            self._orders.sources[peer] = Source(peer, now, shunned=shunned)

    def left(self, peer: PeerId) -> None:
        """A peer is gone, and with it all that it was asked."""
        source = self._orders.sources.pop(peer, None)
        if source is None:
            return
        self._orders.take_back_all(source)
        for fetch in self._orders.fetches:
            fetch.forget(peer)
            if peer in fetch.tried.peers:
                fetch.tried.of(peer).left = True

    def interrupted(self, peer: PeerId) -> None:
        """What was said to a peer may be lost; it is still connected, and is told everything anew."""
        source = self._orders.sources.get(peer)
        if source is None:
            return
        self._orders.take_back_all(source)
        for fetch in self._orders.fetches:
            fetch.told.pop(peer, None)
            fetch.unheard.pop(peer, None)

    def hint(self, peer: PeerId, subject: Cid) -> None:
        """A peer is said to have a dataset or block. It is asked without asking first whether it has."""
        source = self._orders.sources.get(peer)
        if source is None or source.shunned:
            return
        source.hint(subject)
        for fetch in self._orders.fetches:
            if fetch.subject == subject and peer not in fetch.presumed:
                self._presume(fetch, source)

    def _presume(self, fetch: Fetch, source: Source) -> None:
        fetch.presume(source.peer)
        fetch.tried.of(source.peer)

    # -- what peers say

    def heard(self, peer: PeerId, presences: Iterable[Presence]) -> None:
        """A peer said what it has and has not. What was not asked is no news."""
        source = self._orders.sources.get(peer)
        if source is None or source.shunned:
            return
        denied: list[BlockAddress] = []
        for presence in presences:
            want = self._pending.get(presence.address)
            if want is None:
                continue
            for fetch in (want.fetch, *want.followers):
                fetch.unheard.pop(peer, None)
                story = fetch.tried.of(peer)
                story.has = story.has or presence.have
                story.lacks = story.lacks or not presence.have
            if presence.have:
                self._has(source, want)
            elif self._lacks(source, want):
                denied.append(want.address)
        if denied:
            self._orders.actions.append(Withdraw(peer, tuple(denied)))

    def _has(self, source: Source, want: Want) -> None:
        peer, fetch = source.peer, want.fetch
        want.lackers -= {peer}
        if peer not in fetch.ready:
            fetch.ready[peer] = deque()
            # Nothing is known of it but that it has some: the rest is asked, and hoped for.
            if not any(peer in other.lackers for other in fetch.wants):
                source.hint(fetch.subject)
                fetch.presume(peer)
        if peer not in want.holders:
            want.holders |= {peer}
            fetch.ready[peer].append(want)

    def _lacks(self, source: Source, want: Want) -> bool:
        """Note that a peer has not what was hoped for; whether it was on order from it."""
        peer = source.peer
        want.holders -= {peer}
        want.lackers |= {peer}
        want.fetch.presumed.discard(peer)
        source.hints.pop(want.fetch.subject, None)
        if want.asked is not source:
            return False
        self._orders.take_back(want)
        want.fetch.offer(want, first=True)
        return True

    def delivered(
        self, peer: PeerId, came: Iterable[tuple[Want, int, T]], now: float
    ) -> Mapping[Fetch, Sequence[T]]:
        """A peer sent blocks that it owed: of each its want, its size, and what goes to the fetches that
        wanted it. What each of them gets, which counts as held by it until `taken`.

        What has come already is given to nobody.
        """
        source = self._orders.sources.get(peer)
        owed: defaultdict[Fetch, list[T]] = defaultdict(list)
        for want, size, what in came:
            if want.over:
                continue
            asked = want.asked
            if asked is not None:
                if asked is not source:
                    self._orders.actions.append(Withdraw(asked.peer, (want.address,)))
                self._orders.take_back(want, come=asked is source, now=now)
            want.over = True
            self._pending.remove(want)
            for fetch in (want.fetch, *want.followers):
                del fetch.wants[want]
                fetch.held += size if size > LEAST else LEAST
                owed[fetch].append(what)
        for fetch, some in owed.items():
            fetch.delivered += len(some)
            fetch.progress = now
            fetch.tried.of(peer).gave += len(some)
            if source is not None:
                source.stalls = 0
                source.hint(fetch.subject)
        return owed

    def arriving(self, peer: PeerId, addresses: Sequence[BlockAddress], now: float) -> list[Want | None]:
        """Blocks have come from a peer, and are about to be looked at; what is `wanted` of them. Its pace is
        measured in what was ordered: a short block is as much of an answer as a full one.
        """
        wants, source = self.wanted(peer, addresses), self._orders.sources.get(peer)
        if source is None:
            return wants
        size = sum([want.size for want in wants if want is not None and want.asked is source])
        if size:
            source.heard = source.since = now
            source.pace.delivered(size, now, last=False)
        elif any(address in source.excused for address in addresses):
            # It is busy with what was withdrawn while it was under way, and what is on order comes behind.
            source.heard = source.flowing = now
        return wants

    def alive(self, peer: PeerId, now: float) -> None:
        """More of a message came from a peer, which says nothing yet. A slow link takes long for one block:
        that is on its way all the while.
        """
        source = self._orders.sources.get(peer)
        if source is not None:
            source.heard = source.flowing = now

    def is_given_up(self, fetch: Fetch, timeout: float, now: float) -> bool:
        """Whether for `timeout` seconds neither a block nor more of a message has come for a fetch. A message
        that comes little by little prolongs that by `LONGEST` seconds in all, whoever sends it.
        """
        silent = now - fetch.progress
        if silent < timeout:
            return False
        return silent >= timeout + LONGEST or now - self._flowing(fetch) >= timeout

    def _flowing(self, fetch: Fetch) -> float:
        """When more of a message came last from anybody who was asked for what is left of a fetch."""
        peers = {peer for want in fetch.wants for peer in want.asked_before}
        asked = {want.asked.peer for want in fetch.wants if want.asked is not None}
        sources = self._orders.sources
        return max(
            (sources[peer].flowing for peer in peers | asked if peer in sources), default=fetch.progress
        )

    def unasked(self, peer: PeerId, address: BlockAddress, now: float) -> None:
        """A peer sent what it was not asked for, or again. That is a strike, unless it may just be late."""
        source = self._orders.sources.get(peer)
        # An earlier life of this service may have asked for it.
        if source is None or now - source.joined < FORGIVING:
            return
        if source.excused.pop(address, self) is self:
            self._orders.strike(source, UNASKED, "sent blocks that it was not asked for")

    def lied(self, peer: PeerId, address: BlockAddress) -> None:
        """A peer sent for `address` what does not belong there. Others get all the orders that it had."""
        want = self._pending.get(address)
        if want is not None:
            want.holders -= {peer}
            want.lackers |= {peer}
            for fetch in (want.fetch, *want.followers):
                fetch.tried.of(peer).lied += 1
        self.misbehaved(peer, "sent blocks that are not in the dataset")

    def unfit(self, peer: PeerId, address: BlockAddress) -> None:
        """A peer sent what belongs to another dataset of the same root: no fault of its, and no use."""
        want, source = self._pending.get(address), self._orders.sources.get(peer)
        if want is not None and source is not None and self._lacks(source, want):
            want.fetch.tried.of(peer).lacks = True

    def misbehaved(self, peer: PeerId, why: str) -> None:
        """A peer broke the protocol. Others are asked for all that it was asked for."""
        source = self._orders.sources.get(peer)
        if source is not None:
            self._orders.take_back_all(source, withdraw=True)
            self._orders.strike(source, LIE, why)
