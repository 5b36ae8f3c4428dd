"""The flow *onStore*: this node becomes the host of one slot (see `filling`), keeps it, and clears it.

A slot is a row of a protected dataset. That it is kept is a *hold* in the store, a promise to keep the row
and the dataset's manifest until then. It is there before the first block comes, and is a promise once the
row is complete; what was begun and not ended is undone, at the next start if not before. The manifest comes
with the hold, in one transaction: one that is only looked at is never here. What came for the sake of the
slot goes with it: not what was here before, nor what somebody else on this node came to use (another slot of
the same row; whoever fetches or reads the dataset, from the moment when the manifest is found; whoever pinned
it). A dataset that is deleted while slots of it are hosted leaves these, and its manifest, by which
they are proved; it is listed as long.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager

import trio
from attrs import field, frozen

from codex.codec import Cid
from codex.data import Block, Manifest
from codex.errors import BlockNotFound, CodexError
from codex.logs import get_logger
from codex.node.events import Events, ManifestStored
from codex.node.filling import Filling, Told, root_of, row_of
from codex.node.gathering import ProvedLeaves
from codex.node.mending import Mending
from codex.runtime.threads import Offload
from codex.slots import SlotShape, SlotTree, dataset_tree
from codex.store import NEVER, BlockStore, Hold

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


Find = Callable[[], Awaitable[tuple[Manifest, Block]]]
"""Brings a manifest and its bytes; what comes from others is not kept."""


class Turns:
    """One after the other for the same thing, by name; things that differ do not wait for each other."""

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}

    @asynccontextmanager
    async def turn(self, name: str) -> AsyncIterator[None]:
        """Wait for one's turn, and have it for the length of the block."""
        lock = self._locks.setdefault(name, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            statistics = lock.statistics()
            if not statistics.locked and not statistics.tasks_waiting:
                self._locks.pop(name, None)


@frozen
class Hosting:
    """Fills, keeps and clears the slots of a node. `cores` is how many compute the roots of one slot."""

    store: BlockStore
    offload: Offload
    mending: Mending
    events: Events
    cores: int
    turns: Turns = field(factory=Turns, init=False, repr=False, eq=False)

    async def look(self, slot: Slot, find: Find) -> None:
        """See whether the slot is one that can be hosted; `find` brings the manifest.

        Raises InvalidInput when the manifest is not verifiable, has no such slot, or its roots do not go
        together, and what `find` raises.
        """
        manifest, _ = await find()
        row_of(manifest, slot.index)
        await self.offload.run(dataset_tree, manifest)

    async def fill(
        self,
        slot: Slot,
        expiry: float,
        *,
        find: Find,
        network: ProvedLeaves | None,
        repair: bool = False,
        reservation: str | None = None,
        told: Told | None = None,
    ) -> SlotTree:
        """Have the slot here until `expiry` (unix seconds) at least, and return its tree; `find` brings the
        manifest, which is here then.

        Its blocks are asked for first, and rebuilt where they do not come; with `repair` they are rebuilt at
        once. Room comes out of the `reservation` first, to which it does not return. `told` hears of each
        batch of blocks that is durable. A slot that is here already needs nothing but its expiry; of one that
        the disk is known to have lost some of, that is brought. It is not read for it: damage that nobody has
        seen yet is found by reading, proving or scrubbing.

        Raises InvalidInput when the manifest is not verifiable or has no such slot, BlockNotFound
        (NotOnNetwork) when too few rows are to be had, or the slot was cleared meanwhile, NotADataset when
        the row does not have the root that the manifest says, what `find` raises and what the store raises.
        Then, and when it is cancelled, nothing is left of it but of a slot that was hosted before.
        """
        async with self.turns.turn(slot.id):
            held = any(hold.key == slot.id and not hold.filling for hold in await self.store.holds(PURPOSE))
            try:
                manifest = await self._begin(slot, expiry, find, held=held)
                tree = await self._known(slot, manifest) if held else None
                if tree is None:
                    tree = await self._fill(slot, manifest, network, repair, reservation, told)
                if not await self.store.keep_hold(PURPOSE, slot.id, expiry, filled=True):
                    raise _not_hosted(slot)
            except BaseException:
                if not held:
                    await self._undo(slot)
                raise
        return tree

    async def extend(self, slot: Slot, expiry: float) -> None:
        """Keep the slot until `expiry` at least. Raises BlockNotFound when it is not hosted here."""
        if not await self.store.keep_hold(PURPOSE, slot.id, expiry):
            raise _not_hosted(slot)

    async def clear(self, id: str) -> bool:
        """Stop keeping the slot of that id; False when it was not hosted. What came for its sake has gone
        when this returns; cut off, it goes all the same.
        """
        dropped = await self.store.drop_hold(PURPOSE, id)
        if dropped:
            log.info("slot cleared", slot=id)
        return dropped

    async def tidy(self, kept: Collection[str]) -> None:
        """Of the slots that no time ends, clear all but those of these ids."""
        for hold in await self.store.holds(PURPOSE):
            if hold.expiry == NEVER and hold.key not in kept:
                log.warning("a slot is kept that nobody looks after", slot=hold.key)
                await self.clear(hold.key)

    async def _begin(self, slot: Slot, expiry: float, find: Find, *, held: bool) -> Manifest:
        """The manifest, which is here; and, unless the slot is held, its hold, which is filling."""
        manifest, block = await find()
        if not held:
            row = row_of(manifest, slot.index)
            hold = Hold(
                *(PURPOSE, slot.id, manifest.tree_cid, row.start, len(row), expiry),
                manifest=slot.cid,
                slot=slot.index,
                filling=True,
            )
            if await self.store.hold(hold, manifest=block):
                self.events.publish(ManifestStored(slot.cid))
        return manifest

    async def _fill(
        self,
        slot: Slot,
        manifest: Manifest,
        network: ProvedLeaves | None,
        repair: bool,
        reservation: str | None,
        told: Told | None,
    ) -> SlotTree:
        filling = Filling(
            self.store,
            self.offload,
            self.mending.mender(manifest, network, keep=False),
            slot.index,
            cores=self.cores,
            reservation=reservation,
            told=told,
            hold=(PURPOSE, slot.id),
        )
        tree = await filling.run(network, repair=repair)
        log.info("slot filled", cid=str(slot.cid), slot=slot.index, blocks=tree.shape.block_count)
        return tree

    async def _undo(self, slot: Slot) -> None:
        with trio.move_on_after(CLEAR_WITHIN, shield=True):
            try:
                await self.store.drop_hold(PURPOSE, slot.id)
            except CodexError as error:
                # What went wrong before is what the caller has to hear of.
                log.warning(
                    "what came of a slot goes at the next start",
                    slot=slot.index,
                    cid=str(slot.cid),
                    error=str(error),
                )

    async def _known(self, slot: Slot, manifest: Manifest) -> SlotTree | None:
        """The tree of a slot that is whole here; None when it is not."""
        row, root = row_of(manifest, slot.index), root_of(manifest, slot.index)
        data = await self.store.get_slot_tree(root)
        if data is None or await self.store.missing(manifest.tree_cid, row.start, len(row)):
            return None
        return await self.offload.run(SlotTree.from_bytes, SlotShape.of(manifest), data, root.digest)


def _not_hosted(slot: Slot) -> BlockNotFound:
    return BlockNotFound(f"slot {slot.index} of {slot.cid} is not hosted on this node")
