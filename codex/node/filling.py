"""Filling a slot: getting a row of a protected dataset, checking it, and making it part of the store.

What of the row is here is read, what others have is fetched, and what is lost, or comes so slowly that other
rows are sooner here, is rebuilt, column by column, from any K of those; of them nothing is kept, and no other
row is made, but for its digests where the proof takes them. Meanwhile the roots of the slot's blocks are
computed, on several cores. Only when the slot's root is the one that the manifest names, and every block is
proved to be the leaf that it is said to be, the row becomes part of the store, with what the slot's tree is
built of. Until that moment its blocks are hidden, and whatever ends it takes them away.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing

import trio

from codex.codec import Cid
from codex.codec.cid import EMPTY_BLOCK
from codex.data import Block, LeafAddress, Manifest, Strategy
from codex.data.runs import Witness
from codex.errors import InvalidInput, NotADataset, NotOnNetwork
from codex.node.gathering import READ, ProvedLeaves
from codex.node.mending import Mender
from codex.node.pacing import Pace, sooner
from codex.node.restoring import Restoration, open_restoration
from codex.runtime.groups import unwrapped
from codex.runtime.threads import Offload
from codex.slots import SlotBuilder, SlotShape, SlotTree, block_root, dataset_tree
from codex.store import BlockStore

PIECE = 4  # blocks of one hop to a thread for their roots: some 30 ms, so that others have their turn

Told = Callable[[Sequence[Block]], None]
Piece = list[tuple[int, Block]]
"""Blocks whose roots are wanted, each with its place in the slot."""


def row_of(manifest: Manifest, slot: int) -> range:
    """The leaves of a slot.

    Raises InvalidInput when there is none of that number, or the dataset has no slots that are rows.
    """
    if manifest.protection is None:
        raise InvalidInput("the dataset is not protected: it has no slots")
    verification = manifest.protection.verification
    if verification is None:
        raise InvalidInput(
            "the dataset is not verifiable: it has no slots", remedy="name the manifest that has slot roots"
        )
    if verification.strategy is not Strategy.LINEAR:
        raise InvalidInput(f"slots are laid out as {verification.strategy.name}; only LINEAR ones are hosted")
    return SlotShape.of(manifest).indices(slot)


def root_of(manifest: Manifest, slot: int) -> Cid:
    """The name of a slot, as its manifest has it. The slot is one of those that `row_of` knows."""
    assert manifest.protection is not None
    assert manifest.protection.verification is not None
    return manifest.protection.verification.slot_roots[slot]


class Filling:
    """One slot that is being filled; `run` once.

    `cores` is how many hops to threads compute roots at once. Room comes out of the `reservation` first.
    `told` hears of each batch of blocks that is durable. The row is here for the sake of the `hold`, by its
    purpose and key, which is there before; without one it is here as what is fetched is. Raises InvalidInput
    as `row_of`.
    """

    def __init__(
        self,
        store: BlockStore,
        offload: Offload,
        mender: Mender,
        slot: int,
        *,
        cores: int = 1,
        reservation: str | None = None,
        told: Told | None = None,
        hold: tuple[str, str] | None = None,
    ) -> None:
        self._store = store
        self._offload = offload
        self._mender = mender
        self._manifest = manifest = mender.manifest
        self._tree = manifest.tree_cid
        self._slot = slot
        self._row = row_of(manifest, slot)
        self._root = root_of(manifest, slot)
        self._builder = SlotBuilder(SlotShape.of(manifest))
        self._cores = cores
        self._reservation = reservation
        self._told = told
        self._hold = hold
        self._lacking: set[int] = set()
        """Leaves of the row that have not come."""
        self._missing: list[int] = []
        """Those that were not here before."""
        self._ends: dict[int, Witness] = {}
        """The first and the last leaf of the row, where they came with proofs."""

    async def run(self, network: ProvedLeaves | None, *, repair: bool) -> SlotTree:
        """Get the row, from the `network` too unless that is None, and make it the slot; its tree.

        With `repair` the row itself is not asked for before others. Raises as `Hosting.fill`; some of the row
        may have come for the sake of the hold then.
        """
        await self._offload.run(dataset_tree, self._manifest)  # raises when its roots do not go together
        total = self._mender.layout.total
        async with open_restoration(
            self._store, self._offload, self._tree, total, self._row, reservation=self._reservation
        ) as made:
            await self._get(network, made, repair)
            slot = await self._offload.run(self._builder.finish)
            if slot.cid != self._root:
                raise NotADataset(
                    f"slot {self._slot} of the dataset {self._tree} has the root {slot.cid}, and the manifest"
                    f" says {self._root}",
                    remedy="ask whoever made the manifest for another one: nobody can host this one",
                )
            proven = await made.prove(self._ends.values())
            await made.adopt(proven, self._missing, hold=self._hold)
            await self._store.put_slot_tree(self._tree, self._slot, self._root, slot.to_bytes())
        return slot

    async def _get(self, network: ProvedLeaves | None, made: Restoration, repair: bool) -> None:
        """Get all blocks of the row, and their roots."""
        send, receive = trio.open_memory_channel[Piece](0)
        with unwrapped():
            async with trio.open_nursery() as nursery:
                for _ in range(self._cores):
                    nursery.start_soon(self._hash, receive.clone())
                receive.close()
                async with send:
                    await self._from_here(made, send)
                    if network is not None and not repair:
                        await self._from_network(network, made, send)
                    await self._find_ends()
                    if self._lacking or not await self._provable(made):
                        await self._rebuild(made, send)

    async def _hash(self, pieces: trio.MemoryReceiveChannel[Piece]) -> None:
        shape = self._builder.shape
        async with pieces:
            async for piece in pieces:
                data = [block.data for _, block in piece]
                roots = await self._offload.run(_roots, data, shape.block_size, shape.cell_size)
                for (position, _), root in zip(piece, roots, strict=True):
                    self._builder.put(position, root)

    async def _take(self, blocks: Mapping[int, Block], send: trio.MemorySendChannel[Piece]) -> None:
        """Blocks of the row are durable: have their roots computed."""
        if self._told is not None:
            self._told(list(blocks.values()))
        piece: Piece = []
        for index, block in blocks.items():
            self._lacking.discard(index)
            piece.append((index - self._row.start, block))
            if len(piece) == PIECE:
                await send.send(piece)
                piece = []
        if piece:
            await send.send(piece)

    # -- where blocks come from

    async def _from_here(self, made: Restoration, send: trio.MemorySendChannel[Piece]) -> None:
        padding = self._mender.layout.padding
        for at in range(self._row.start, self._row.stop, READ):
            part = range(at, min(at + READ, self._row.stop))
            found = await self._store.find_many([LeafAddress(self._tree, index) for index in part])
            here = {index: block for index, block in zip(part, found, strict=True) if block is not None}
            for index, block in here.items():
                size, expected = len(block.data), self._manifest.block_size
                if size not in (expected, 0):
                    raise NotADataset.of_size(self._tree, index, size, expected)
                made.note(index, block.cid)
            blank = {i: Block(EMPTY_BLOCK, b"") for i in part if i in padding and i not in here}
            missing = [index for index in part if index not in here]
            self._missing += missing
            self._lacking.update(missing)
            await self._take(here, send)
            await made.add(blank)
            await self._take(blank, send)

    async def _from_network(
        self, network: ProvedLeaves, made: Restoration, send: trio.MemorySendChannel[Piece]
    ) -> None:
        """Fetch what is lacking, as far as it comes, and as long as other rows are no faster."""
        if not self._lacking:
            return
        total, size = self._mender.layout.total, self._manifest.block_size
        try:
            async with network.fetch_proved(
                self._tree, total, sorted(self._lacking), keep=False, block_size=size
            ) as arrivals:
                pace = Pace()
                while self._lacking:
                    began = trio.current_time()
                    with trio.move_on_after(pace.patience) as waiting:
                        batch = await anext(arrivals)
                    if waiting.cancelled_caught:
                        return
                    pace.note(len(batch), trio.current_time() - began)
                    for leaf, _ in batch:
                        if leaf.index in (self._row.start, self._row.stop - 1):
                            self._ends[leaf.index] = (leaf.index, leaf.cid.digest, leaf.proof)
                    blocks = {leaf.index: block for leaf, block in batch}
                    await made.add(blocks)
                    await self._take(blocks, send)
                    left = len(self._lacking)
                    rate = pace.doubtful(left)
                    if rate and await sooner(self._mender, self._lacking, pace, rate, left):
                        return
        except NotOnNetwork:
            return  # what is lacking is rebuilt

    async def _find_ends(self) -> None:
        """Find the proofs of the first and the last leaf, where they are here."""
        for index in {self._row.start, self._row.stop - 1} - self._ends.keys():
            if index not in self._lacking:
                for leaf in await self._store.leaves(self._tree, index, 1):
                    self._ends[index] = (index, leaf.cid.digest, leaf.proof)

    async def _provable(self, made: Restoration) -> bool:
        """Whether the row, which is complete, can be proved by itself. One that ends in padding may not be:
        nobody brings a proof of that.
        """
        if self._ends.keys() == {self._row.start, self._row.stop - 1}:
            return True
        try:
            await made.prove(self._ends.values())
        except InvalidInput:
            return False
        except NotADataset:
            return True  # it is told when its root was looked at
        return True

    async def _rebuild(self, made: Restoration, send: trio.MemorySendChannel[Piece]) -> None:
        """Compute what is lacking; and where the proof takes it, digests of other rows."""
        run = self._row
        self._mender.gatherer.avoid([self._slot])
        if len(self._ends) < len({run.start, run.stop - 1}):
            run, witnesses = await self._mender.provable(run)
            self._ends.update({witness[0]: witness for witness in witnesses})
            made.widen(run)
        known = set(self._row) - self._lacking
        async with aclosing(self._mender.rebuild(run, without=known)) as parts:
            async for blocks in parts:
                own = {index: block for index, block in blocks.items() if index in self._row}
                await made.add(own)
                for index, block in blocks.items():
                    if index not in own:
                        made.note(index, block.cid)
                await self._take(own, send)


def _roots(blocks: Sequence[bytes | memoryview], size: int, cell_size: int) -> list[bytes]:
    return [block_root(block, size, cell_size) for block in blocks]
