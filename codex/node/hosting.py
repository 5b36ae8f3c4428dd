"""The flow *onStore*: this node becomes the host of one slot (see `filling`), keeps it, and clears it.

A slot is a row of a protected dataset. That it is kept is a *hold*, a promise to keep the row until then. A
slot that is cleared is gone, unless somebody else on this node owns its blocks: another slot, another
dataset, or whoever has more of this one than slots. The manifest, without which nothing could be proved, is
kept as long as any slot, and goes with the last in the same way.
"""

from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import trio
from attrs import field, frozen

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import BlockNotFound, InvalidInput, NotAManifest
from codex.logs import get_logger
from codex.node.filling import Filling, Told, root_of, row_of
from codex.node.gathering import ProvedLeaves
from codex.node.mending import Mending
from codex.runtime.threads import Offload
from codex.slots import SlotShape, SlotTree
from codex.store import BlockStore, Hold

PURPOSE = "slot"
"""The purpose of the holds of slots."""

CLEAR_WITHIN = 60.0  # seconds to undo what was begun: a flush that is in progress comes first

log = get_logger("node")


@frozen
class Slot:
    """One slot: the manifest of its dataset, and which of the rows it is.

    `id` names it among all that this node hosts: two contracts about the same row are two slots.
    """

    cid: Cid
    index: int
    id: str

    @classmethod
    def of(cls, cid: Cid, index: int, id: str | None = None) -> "Slot":
        """The slot with that id, or one that is named by its dataset and index."""
        return cls(cid, index, id or f"{cid}/{index}")


@frozen
class Hosting:
    """Fills, keeps and clears the slots of a node. `cores` is how many compute the roots of one slot."""

    store: BlockStore
    offload: Offload
    mending: Mending
    cores: int
    _turn: trio.Lock = field(factory=trio.Lock, init=False, repr=False)
    """Whoever lets go of a slot has it: two at the same time would each leave something for the other."""

    async def fill(
        self,
        slot: Slot,
        expiry: float,
        *,
        find: Callable[[], Awaitable[Manifest]],
        network: ProvedLeaves | None,
        repair: bool = False,
        reservation: str | None = None,
        told: Told | None = None,
    ) -> SlotTree:
        """Have the slot here until `expiry` (unix seconds), and return its tree; `find` brings the manifest.

        Its blocks are asked for first, and rebuilt where they do not come; with `repair` they are rebuilt at
        once. Room comes out of the `reservation` first, to which it does not return. `told` hears of each
        batch of blocks that is durable. A slot that is here already needs nothing but its expiry.

        Raises InvalidInput when the manifest is not verifiable or has no such slot, BlockNotFound
        (NotOnNetwork) when too few rows are to be had, NotADataset when the row does not have the root that
        the manifest says, what `find` raises and what the store raises. Then, and when it is cancelled,
        nothing is left of it.
        """
        [had] = await self.store.has_many([slot.cid])
        held = any(hold.key == slot.id for hold in await self.store.holds(PURPOSE))
        try:
            manifest = await find()
            tree = await self._known(slot, manifest) if held else None
            if tree is None:
                mender = self.mending.mender(manifest, network, keep=False)
                filling = Filling(
                    self.store,
                    self.offload,
                    mender,
                    slot.index,
                    cores=self.cores,
                    reservation=reservation,
                    told=told,
                )
                tree = await filling.run(network, lambda: self._keep(slot, manifest, expiry), repair=repair)
                log.info("slot filled", cid=str(slot.cid), slot=slot.index, blocks=tree.shape.block_count)
            else:
                await self._keep(slot, manifest, expiry)
        except BaseException:
            if not held:
                with trio.move_on_after(CLEAR_WITHIN, shield=True):
                    async with self._turn:
                        await self.store.drop_hold(PURPOSE, slot.id)
                        await self._let_go(slot, keep=had)
            raise
        return tree

    async def extend(self, slot: Slot, expiry: float) -> None:
        """Keep the slot until `expiry` at least. Raises BlockNotFound when it is not hosted here."""
        for hold in await self.store.holds(PURPOSE):
            if hold.key == slot.id:
                manifest = await self.store.get_manifest(slot.cid)
                await self._keep(slot, manifest, max(expiry, hold.expiry))
                return
        raise BlockNotFound(f"slot {slot.index} of {slot.cid} is not hosted on this node")

    async def clear(self, slot: Slot) -> bool:
        """Stop keeping the slot; False when it was not hosted. Its room is free when this returns, unless
        somebody else on this node owns its blocks.
        """
        async with self._turn:
            dropped = await self.store.drop_hold(PURPOSE, slot.id)
            if dropped:
                await self._let_go(slot, keep=False)
        if dropped:
            log.info("slot cleared", cid=str(slot.cid), slot=slot.index)
        return dropped

    async def _keep(self, slot: Slot, manifest: Manifest, expiry: float) -> None:
        row = row_of(manifest, slot.index)
        await self.store.hold(Hold(PURPOSE, slot.id, manifest.tree_cid, row.start, len(row), expiry))
        await self.store.ensure_expiry([slot.cid], expiry)

    async def _known(self, slot: Slot, manifest: Manifest) -> SlotTree | None:
        """The tree of a slot that is whole here; None when it is not."""
        row, root = row_of(manifest, slot.index), root_of(manifest, slot.index)
        data = await self.store.get_slot_tree(root)
        if data is None or await self.store.missing(manifest.tree_cid, row.start, len(row)):
            return None
        return await self.offload.run(SlotTree.from_bytes, SlotShape.of(manifest), data, root.digest)

    async def _let_go(self, slot: Slot, *, keep: bool) -> None:
        """Delete what is here of the slot's dataset, but for other slots; nothing where somebody has more of
        it than slots, or has pinned it. The manifest stays if there are other slots, or if it is to be kept.
        """
        try:
            manifest = await self.store.get_manifest(slot.cid)
        except (BlockNotFound, NotAManifest):
            return
        tree = manifest.tree_cid
        held = [hold for hold in await self.store.holds(PURPOSE) if hold.tree == tree]
        rows = {range(hold.first, hold.first + hold.count) for hold in held}
        with suppress(InvalidInput):  # there is no such slot: then nothing is here of it
            rows.add(row_of(manifest, slot.index))
        if await self.store.is_pinned(slot.cid):
            return
        if await self._present(tree, [range(manifest.block_count)]) > await self._present(tree, rows):
            return
        expiry = max(hold.expiry for hold in held) if held else await self.store.expiry(slot.cid)
        # In between the dataset is not here. One that was interrupted would leave the slots without it.
        with trio.CancelScope(shield=True):
            await self.store.delete_dataset(slot.cid)
            if held or keep:
                await self.store.put_manifest(manifest.to_bytes())
                await self.store.ensure_expiry([slot.cid], expiry)

    async def _present(self, tree: Cid, parts: Iterable[range]) -> int:
        return sum([len(part) - await self.store.missing(tree, part.start, len(part)) for part in parts])
