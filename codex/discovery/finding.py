"""Finding nodes and providers, and telling others what we have: lookups, driven over the network.

Every way to end is bounded: a lookup asks at most 64 nodes, waits half a second for each and asks on, and a
search as a whole gives its verdict within ten seconds, with what there is by then.
"""

from collections.abc import Callable, Sequence
from math import inf

import trio

from codex.discovery.lookup import Lookup
from codex.discovery.messages import AddProvider, Answer, FindNode, GetProviders, Nodes
from codex.discovery.messages import Providers as ProvidersAnswer
from codex.discovery.nodes import MAX_RECORD, Node
from codex.discovery.providers import Providers
from codex.discovery.records import OwnRecords
from codex.discovery.regions import Regions
from codex.discovery.table import K, Table
from codex.discovery.talk import Talk
from codex.errors import DecodeError
from codex.p2p import PeerId, SignedPeerRecord
from codex.runtime import Clock

VERDICT = 10.0
"""Seconds that a search may take."""
ENOUGH = 3
"""Nodes that have named providers, after which a search for them ends: one alone may lie."""
STRAGGLERS = 0.5
"""Seconds that are left to those who have not answered, once the lookup is over and somebody is found."""
MAX_PROVIDERS = 200
"""Providers that a search ends with at most."""


class Finder:
    """Searches that begin with the nodes of `table`, on behalf of the node with the id `own`."""

    def __init__(
        self, own: bytes, records: OwnRecords, table: Table, providers: Providers, talk: Talk, *, clock: Clock
    ) -> None:
        self.last_lookup = -inf
        """When a lookup ended last, on trio's clock."""
        self.lookups = 0
        self.hops = 0
        """Hops of all lookups together."""
        self._own = own
        self._records = records
        self._table = table
        self._providers = providers
        self._talk = talk
        self._clock = clock
        self._regions = Regions()

    async def lookup(self, target: bytes) -> list[Node]:
        """The nodes closest to `target` (32 bytes) that have answered, closest first, at most 16."""
        async with trio.open_nursery() as nursery:
            lookup = self._begin(target)
            with trio.move_on_after(VERDICT):
                await self._drive(lookup, nursery)
            nursery.cancel_scope.cancel()
        return lookup.closest()

    async def find_providers(self, content: bytes) -> list[SignedPeerRecord]:
        """Those who have `content` (32 bytes), ourselves left out.

        Each node that the lookup hears from is asked as well. It ends when three of them have named somebody,
        or everybody was asked.
        """
        harvest = _Harvest(self._records.node.record.peer_id)
        harvest.add(self._providers.get(content, self._clock.now()))
        lookup = self._begin(content)
        with trio.move_on_after(VERDICT):
            async with trio.open_nursery() as nursery:

                async def ask(node: Node) -> None:
                    await self._ask_for_providers(node, content, harvest)
                    if harvest.tellers >= ENOUGH:
                        nursery.cancel_scope.cancel()

                async with trio.open_nursery() as asking:
                    async with trio.open_nursery() as looking:
                        await self._drive(lookup, looking, lambda node: asking.start_soon(ask, node))
                        looking.cancel_scope.cancel()
                    if harvest.found:
                        asking.cancel_scope.deadline = trio.current_time() + STRAGGLERS
        return harvest.records()

    async def provide(self, content: bytes, *, again: bool = False) -> int:
        """Tell the nodes closest to `content` that we have it, and keep it here when we are one of them; the
        number of nodes that were told.

        `again`: what was found a few minutes ago for a content nearby is good enough.
        """
        now = trio.current_time()
        if again and (known := self._regions.near(content, now)):
            told = await self._tell(known, content)
            if told > len(known) // 2:
                return told
        nodes = await self.lookup(content)
        if len(nodes) >= min(K, self._table.verified):
            self._regions.learn(content, nodes, now)
        return await self._tell(nodes, content)

    async def find_peer(self, peer: PeerId) -> SignedPeerRecord | None:
        """The newest record of a node that can be had; None when nobody knows it.

        One that it gave out as a provider counts too: where it takes connections stands in both.
        """
        if peer == self._records.node.record.peer_id:
            return self._records.node
        target = peer.node_id
        found = [record for record in [self._providers.record_of(peer)] if record is not None]
        known = self._table.get(target)
        if known is not None:
            found.append(known.node.record)
            fresh = await self.ask_record(known.node)
            if fresh is not None:
                return max([*found, fresh], key=_seq)
        found += [node.record for node in await self.lookup(target) if node.node_id == target]
        # One that has moved was asked where it was; others may have told meanwhile where it is.
        known = self._table.get(target)
        if known is not None:
            found.append(known.node.record)
        return max(found, key=_seq, default=None)

    async def ask_record(self, node: Node) -> SignedPeerRecord | None:
        """A node's own record as it is now, taken into the table; None when it does not answer."""
        answer = await self._talk.ask(node, FindNode((0,)))
        for record in _records(answer):
            if record.record.peer_id == node.peer_id:
                self._learn(record)
                return record
        return None

    # -- inside

    def _begin(self, target: bytes) -> Lookup:
        return Lookup(target, self._own, self._table.neighbours(target))

    async def _drive(
        self, lookup: Lookup, nursery: trio.Nursery, met: Callable[[Node], None] = lambda node: None
    ) -> None:
        """Ask whom the lookup wants to ask until it is over; `met` is told of every node that answers."""
        news = trio.lowlevel.ParkingLot()

        async def question(node: Node) -> None:
            answer = await self._talk.ask(node, FindNode(tuple(lookup.distances_for(node))))
            if answer is None:
                lookup.unheard(node)
            else:
                for other in lookup.heard(node, _records(answer)):
                    self._table.add(other)
                met(node)
            news.unpark_all()

        while not lookup.is_over(now := trio.current_time()):
            for node in lookup.due(now):
                nursery.start_soon(question, node)
            with trio.move_on_at(inf if (at := lookup.wake_at(now)) is None else at):
                await news.park()
        self.lookups += 1
        self.hops += lookup.hops
        self.last_lookup = trio.current_time()

    async def _tell(self, nodes: Sequence[Node], content: bytes) -> int:
        """Tell these nodes, the closest to `content` that there are, that we have it."""
        if len(nodes) < K or _distance(self._own, content) < _distance(nodes[-1].node_id, content):
            self._providers.add(content, self._records.provider, self._clock.now())
        told = 0

        async def tell(node: Node) -> None:
            nonlocal told
            if await self._talk.ask(node, AddProvider(content, self._records.provider)) is not None:
                told += 1

        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(tell, node)
        return told

    async def _ask_for_providers(self, node: Node, content: bytes, harvest: "_Harvest") -> None:
        answer = await self._talk.ask(node, GetProviders(content))
        records = [r for one in answer or () if isinstance(one, ProvidersAnswer) for r in one.records]
        harvest.tellers += harvest.add(records)

    def _learn(self, record: SignedPeerRecord) -> None:
        try:
            self._table.add(Node.of(record))
        except DecodeError:
            return  # it cannot be asked any more; the table drops it when it is silent


class _Harvest:
    """The providers found by one search; of each the newest record."""

    def __init__(self, own: PeerId) -> None:
        self.tellers = 0
        self.found: dict[PeerId, SignedPeerRecord] = {}
        self._own = own

    def add(self, records: Sequence[SignedPeerRecord]) -> bool:
        """Take in what one node said; whether there was a provider in it that is not ourselves."""
        others = [record for record in records if record.record.peer_id != self._own]
        for record in others:
            known = self.found.get(record.record.peer_id)
            small = len(record.to_bytes()) <= MAX_RECORD and (known or len(self.found) < MAX_PROVIDERS)
            if small and (known is None or _seq(record) > _seq(known)):
                self.found[record.record.peer_id] = record
        return bool(others)

    def records(self) -> list[SignedPeerRecord]:
        return list(self.found.values())


def _records(answer: Sequence[Answer] | None) -> list[SignedPeerRecord]:
    return [record for one in answer or () if isinstance(one, Nodes) for record in one.records]


def _seq(record: SignedPeerRecord) -> int:
    return record.record.seq


def _distance(a: bytes, b: bytes) -> int:
    return int.from_bytes(a) ^ int.from_bytes(b)
