"""Blocks of columns, from wherever they are to be had: any K of a column are as good as all of it.

What is here is taken first. Of the rest so much is asked of the network as is needed, from rows that have
given before. Where one is far slower than the others, or nobody has it, or nothing comes for a while, other
rows are asked for too (see `sought`): then whatever arrives first counts, and what is no longer needed is
withdrawn. Every block was checked on the way: one of this disk against its hash, one of the network against
the tree; what is wrong counts as lost.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block, BlockAddress, LeafAddress, Manifest
from codex.data.runs import Witness
from codex.erasure import Layout
from codex.errors import BlockNotFound, CodexError, CorruptData, NotOnNetwork
from codex.node.fetching import SLOW
from codex.node.sought import VAIN, Known, Race, Share, Sought
from codex.runtime.groups import unwrapped
from codex.store import Leaf

LOOK = 0.25  # seconds between two looks at who is slow
PATIENCE = 10.0  # seconds that are waited for a single leaf of which only the proof is wanted
READ = 64  # blocks that the store is asked for at once: 4 MiB
NAMED = 8  # rows that a verdict names


class Here(Protocol):
    """What is needed of the store; see BlockStore for the contracts."""

    async def has_many(self, addresses: Sequence[BlockAddress]) -> list[bool]: ...
    async def find_many(self, addresses: Sequence[BlockAddress]) -> list[Block | None]: ...
    async def leaves(self, tree: Cid, first: int, count: int) -> list[Leaf]: ...


class ProvedLeaves(Protocol):
    """What is needed of the exchange: leaves with their proofs, see `codex.exchange.Exchange`."""

    def fetch_proved(
        self,
        tree: Cid,
        leaf_count: int,
        indices: Iterable[int],
        *,
        keep: bool = True,
        block_size: int = BLOCK_SIZE,
    ) -> AbstractAsyncContextManager[AsyncIterator[list[tuple[Leaf, Block]]]]:
        """Want these leaves for the length of the block; they come verified, in batches."""


class Gatherer:
    """Finds blocks of one protected dataset; for one task at a time.

    `network` is None where only this node counts. What comes from it is kept in the store, unless `keep` is
    false, which may change from one search to the next. Rows that did not give what they were asked for, or
    were slow, are remembered, and asked last from then on; how fast each is, in `known`, which several may
    share.
    """

    def __init__(
        self,
        store: Here,
        network: ProvedLeaves | None,
        manifest: Manifest,
        *,
        keep: bool = True,
        known: dict[int, Known] | None = None,
    ) -> None:
        self.layout = Layout.of(manifest)
        self._store = store
        self._network = network
        self._tree = manifest.tree_cid
        self._size = manifest.block_size
        self.keep = keep
        self._shy: set[int] = set()
        self._known = {} if known is None else known

    def avoid(self, rows: Iterable[int]) -> None:
        """Ask these rows last."""
        self._shy.update(rows)

    async def gather(self, columns: range, wanted: Collection[int]) -> dict[int, Block]:
        """Find what the `wanted` leaves, all in these columns and not here, can be recovered from.

        Of each column that has some of them: they themselves, or K blocks of it, less padding. Takes as much
        memory as K blocks of each column. Raises BlockNotFound (NotOnNetwork when the network was asked),
        which names columns and rows, when a column has fewer; and what the exchange raises.
        """
        sought = Sought(self.layout, columns, wanted, self._size)
        await self._from_here(sought)
        failure = None
        if sought.columns and self._network is not None:
            failure = await self._from_network(self._network, sought)
        if sought.columns:
            raise self._verdict(sought, failure)
        return sought.known

    async def witnesses(self, indices: Sequence[int]) -> dict[int, Witness]:
        """Those of a few leaves that are here, or come from the network soon, with their proofs.

        A leaf whose block is damaged here has its proof still.
        """
        found: dict[int, Witness] = {}
        for index in indices:
            try:
                leaves = await self._store.leaves(self._tree, index, 1)
            except CorruptData:
                continue  # its proof is damaged, as a block may be
            found.update({leaf.index: _witness(leaf) for leaf in leaves})
        rest = [index for index in indices if index not in found]
        if rest and self._network is not None:
            with trio.move_on_after(PATIENCE):
                try:
                    async with self._fetch(self._network, rest) as arrivals:
                        async for batch in arrivals:
                            found.update({leaf.index: _witness(leaf) for leaf, _ in batch})
                except NotOnNetwork:
                    pass  # whoever asked sees what is not there, and does without
        return found

    def _fetch(
        self, network: ProvedLeaves, indices: Iterable[int]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[tuple[Leaf, Block]]]]:
        total, size = self.layout.total, self._size
        return network.fetch_proved(self._tree, total, indices, keep=self.keep, block_size=size)

    async def _from_here(self, sought: Sought) -> None:
        candidates = sought.candidates(range(self.layout.rows))
        indices = [index for row in candidates for index in row]
        here = await self._store.has_many([LeafAddress(self._tree, index) for index in indices])
        there = {index for index, found in zip(indices, here, strict=True) if found}
        rows = [[index for index in row if index in there] for row in candidates]
        # Again where some turn out to be damaged.
        while chosen := {index for row in sought.choose(rows) for index in row}:
            rows = [[index for index in row if index not in chosen] for row in rows]
            ordered = sorted(chosen)
            for at in range(0, len(ordered), READ):
                part = ordered[at : at + READ]
                blocks = await self._store.find_many([LeafAddress(self._tree, index) for index in part])
                for index, block in zip(part, blocks, strict=True):
                    if block is not None:
                        sought.put(index, block)

    async def _from_network(self, network: ProvedLeaves, sought: Sought) -> NotOnNetwork | None:
        """Ask others until all is settled, or nobody has any more; what the last of them said then."""
        race = Race(sought, self._ranked(), self._known)
        try:
            with unwrapped():
                async with trio.open_nursery() as nursery:
                    await self._see_to_it(network, race, nursery)
                    nursery.cancel_scope.cancel()
        finally:
            self.avoid(race.silent)
        if race.refusal is not None and sought.columns:
            raise race.refused()
        return race.failure

    async def _see_to_it(self, network: ProvedLeaves, race: Race, nursery: trio.Nursery) -> None:
        """Ask whoever is to be asked, until there is no need to, or nobody is left."""
        try:
            while race.sought.columns and race.refusal is None:
                for share in race.ask(trio.current_time()):
                    nursery.start_soon(self._ask, network, race, share)
                for share in race.turned():
                    share.asking.cancel()
                if not race.running:
                    break
                race.news = trio.Event()
                with trio.move_on_after(LOOK):
                    await race.news.wait()
                for share in race.useless():
                    share.scope.cancel()
        finally:
            # As of now: who is cancelled after this had not its time.
            self._known.update(race.learned(trio.current_time()))

    def _ranked(self) -> list[int]:
        """All rows, the best first; slow ones behind those of which nothing is known, which may be fast."""

        def rank(row: int) -> tuple[bool, float, int]:
            pace = self._known.get(row, Known()).pace
            return row in self._shy, -pace if pace * SLOW < 1 else -1.0, row

        return sorted(range(self.layout.rows), key=rank)

    async def _ask(self, network: ProvedLeaves, race: Race, share: Share) -> None:
        try:
            with share.scope:
                while order := [index for index in share.order() if race.sought.is_of_use(index)]:
                    if share.turn:
                        # Nobody keeps to the order of what is wanted together: only the first half of it is.
                        order = order[: max(VAIN, len(order) // 2)]
                    with trio.CancelScope() as share.asking:
                        await self._take(network, race, share, order)
                    if share.asking.cancelled_caught:
                        await trio.sleep(LOOK)  # until it is withdrawn
        except NotOnNetwork as error:
            race.failure = error
        except CodexError as error:
            race.refusal = race.refusal or error  # what several are refused, whoever waits is told once
        finally:
            race.ended(share, trio.current_time())

    async def _take(self, network: ProvedLeaves, race: Race, share: Share, order: Sequence[int]) -> None:
        """Have some of what is left of a share come."""
        async with self._fetch(network, order) as arrivals:
            async for batch in arrivals:
                for leaf, block in batch:
                    race.arrived(share, leaf.index, block, trio.current_time())
                if not race.sought.columns:
                    race.news.set()

    def _verdict(self, sought: Sought, failure: NotOnNetwork | None) -> BlockNotFound:
        column, needed = next(iter(sought.columns.items()))
        layout = self.layout
        at_hand = [
            index for index in layout.column(column) if index in sought.known or index in layout.padding
        ]
        rows = [layout.place(index)[0] for index in layout.column(column) if index not in at_hand]
        which = ", ".join(map(str, rows[:NAMED])) + (" and others" if len(rows) > NAMED else "")
        text = (
            f"the dataset {self._tree} cannot be recovered: column {column} takes K = {layout.k} of its"
            f" {layout.rows} blocks and has {layout.k - needed}, for rows {which} are lost"
        )
        remedy = "bring back a node that has one of these rows, and try again"
        if failure is not None:
            return NotOnNetwork(f"{text}; {failure.message}", remedy=remedy)
        return BlockNotFound(text, remedy=remedy)


def _witness(leaf: Leaf) -> Witness:
    return leaf.index, leaf.cid.digest, leaf.proof
