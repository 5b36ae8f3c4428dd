"""Blocks of columns, from wherever they are to be had: any K of a column are as good as all of it.

What is here is taken first. Of the rest so much is asked of the network as is needed, from rows that have
given before. Only when nothing has come for a while, or nobody has it, everything else is asked for too: then
whatever arrives first counts, and what is no longer needed is withdrawn. Every block was checked on the way:
one of this disk against its hash, one of the network against the tree; what is wrong counts as lost.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block, BlockAddress, LeafAddress, Manifest
from codex.data.runs import Witness
from codex.erasure import Layout
from codex.errors import BlockNotFound, CorruptData, NotOnNetwork
from codex.runtime.groups import unwrapped
from codex.store import Leaf

STALL = 3.0  # seconds without anything new, after which more is asked for than is needed
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
    false. Rows that did not give what they were asked for are remembered, and asked last from then on.
    """

    def __init__(
        self, store: Here, network: ProvedLeaves | None, manifest: Manifest, *, keep: bool = True
    ) -> None:
        self.layout = Layout.of(manifest)
        self._store = store
        self._network = network
        self._tree = manifest.tree_cid
        self._size = manifest.block_size
        self._keep = keep
        self._shy: set[int] = set()

    def avoid(self, rows: Iterable[int]) -> None:
        """Ask these rows last."""
        self._shy.update(rows)

    async def gather(self, columns: range, wanted: Collection[int]) -> dict[int, Block]:
        """Find what the `wanted` leaves, all in these columns and not here, can be recovered from.

        Of each column that has some of them: they themselves, or K blocks of it, less padding. Takes as much
        memory as K blocks of each column. Raises BlockNotFound (NotOnNetwork when the network was asked),
        which names columns and rows, when a column has fewer; and what the exchange raises.
        """
        sought = _Sought(self.layout, columns, wanted, self._size)
        await self._from_here(sought)
        if sought.columns and self._network is not None:
            await self._from_network(self._network, sought)
        if sought.columns:
            raise self._verdict(sought)
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
        return network.fetch_proved(self._tree, total, indices, keep=self._keep, block_size=size)

    async def _from_here(self, sought: "_Sought") -> None:
        candidates = sought.candidates(range(self.layout.rows))
        indices = [index for row in candidates for index in row]
        here = await self._store.has_many([LeafAddress(self._tree, index) for index in indices])
        there = {index for index, found in zip(indices, here, strict=True) if found}
        rows = [[index for index in row if index in there] for row in candidates]
        # Again where some turn out to be damaged.
        while chosen := sought.choose(rows):
            rows = [[index for index in row if index not in chosen] for row in rows]
            ordered = sorted(chosen)
            for at in range(0, len(ordered), READ):
                part = ordered[at : at + READ]
                blocks = await self._store.find_many([LeafAddress(self._tree, index) for index in part])
                for index, block in zip(part, blocks, strict=True):
                    if block is not None:
                        sought.put(index, block)

    async def _from_network(self, network: ProvedLeaves, sought: "_Sought") -> None:
        candidates = sought.candidates(
            sorted(range(self.layout.rows), key=lambda row: (row in self._shy, row))
        )
        first = sought.choose(candidates)
        rest = {index for row in candidates for index in row} - first
        waves = [first, rest]
        stalled = False
        with unwrapped():
            async with trio.open_nursery() as nursery:
                while sought.columns:
                    if waves and (stalled or not sought.asking):
                        nursery.start_soon(self._ask, network, sought, sorted(waves.pop(0)))
                        sought.asking += 1
                    elif not sought.asking:
                        break
                    sought.news = trio.Event()
                    with trio.move_on_after(STALL) as waited:
                        await sought.news.wait()
                    stalled = waited.cancelled_caught
                nursery.cancel_scope.cancel()
        silent = {self.layout.place(index)[0] for index in first} - sought.gave
        self.avoid(silent)

    async def _ask(self, network: ProvedLeaves, sought: "_Sought", indices: Sequence[int]) -> None:
        try:
            async with self._fetch(network, indices) as arrivals:
                async for batch in arrivals:
                    for leaf, block in batch:
                        sought.gave.add(self.layout.place(leaf.index)[0])
                        sought.put(leaf.index, block)
                    sought.news.set()
        except NotOnNetwork as error:
            sought.failure = error
        finally:
            sought.asking -= 1
            sought.news.set()

    def _verdict(self, sought: "_Sought") -> BlockNotFound:
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
        if sought.failure is not None:
            return NotOnNetwork(f"{text}; {sought.failure.message}", remedy=remedy)
        return BlockNotFound(text, remedy=remedy)


def _witness(leaf: Leaf) -> Witness:
    return leaf.index, leaf.cid.digest, leaf.proof


class _Sought:
    """What a search has found, and what it still needs. Plain state."""

    def __init__(self, layout: Layout, columns: range, wanted: Collection[int], size: int) -> None:
        self._layout = layout
        self._size = size
        self._wanted: dict[int, set[int]] = {}
        for index in wanted:
            if index not in layout.padding:
                self._wanted.setdefault(layout.place(index)[1], set()).add(index)
        self.known: dict[int, Block] = {}
        self.columns: dict[int, int] = {}
        """The columns that are not settled, with how many blocks each needs."""
        for column in columns:
            if column in self._wanted:
                padding = sum(index in layout.padding for index in layout.column(column))
                self.columns[column] = layout.k - padding
        self.asking = 0
        """Fetches that run."""
        self.gave: set[int] = set()
        """Rows of which something came."""
        self.news = trio.Event()
        self.failure: NotOnNetwork | None = None

    def candidates(self, rows: Iterable[int]) -> list[list[int]]:
        """The leaves that may still be of use, by row, in the order of the rows given."""
        layout = self._layout
        found = [[layout.index(row, column) for column in self.columns] for row in rows]
        return [[i for i in row if i not in self.known and i not in layout.padding] for row in found]

    def choose(self, rows: Sequence[Sequence[int]]) -> set[int]:
        """So many of these leaves as are needed, from the first rows on."""
        needed = dict(self.columns)
        chosen: set[int] = set()
        for row in rows:
            for index in row:
                column = self._layout.place(index)[1]
                if needed.get(column, 0) > 0:
                    needed[column] -= 1
                    chosen.add(index)
        return chosen

    def put(self, index: int, block: Block) -> None:
        """A block has come. One of another size than the manifest says is none."""
        column = self._layout.place(index)[1]
        if column not in self.columns or index in self.known or len(block.data) != self._size:
            return
        self.known[index] = block
        self.columns[column] -= 1
        self._wanted[column].discard(index)
        if not self.columns[column] or not self._wanted[column]:
            del self.columns[column]
