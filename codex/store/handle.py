"""The door of the store: typed methods over its mailbox.

Whatever returns from here is durable; whatever raises has changed nothing, but for what its own text says.
Any method may raise DiskFull and DiskFailed (the store lives on, and later calls work), CorruptData when
the index itself is damaged, and ServiceUnavailable. Times to live are in seconds; None means the node's
own, 0 means for ever. Points in time are unix seconds, sizes are bytes.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from codex.codec import Cid
from codex.data import Block, BlockAddress, Manifest, MerkleTree
from codex.runtime import Feed, Mailbox
from codex.store import calls
from codex.store.scrub import STEP_BLOCKS
from codex.store.values import Hold, Leaf, Progress, ProvedBlock, Reservation, SlotRoots, Space


class BlockStore:
    """The blocks on this node's disk.

    The empty block is always here and never stored. Blocks that are handed over must have the hash that their
    CID tells: that is the caller's to check. Everything that is read is checked here.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    # -- blocks

    async def put_many(
        self, blocks: Sequence[Block], *, ttl: float | None = None, reservation: str | None = None
    ) -> None:
        """Store blocks that belong to no dataset, to live for `ttl`; those that are here live at least as
        long.

        All or none; but manifests among them are stored first, each as by `put_manifest`. Room for the
        others may be taken out of a reservation. Raises QuotaExceeded, InvalidInput.
        """
        await self._mailbox.ask(calls.PutBlocks(blocks, ttl, reservation))

    async def get_many(self, addresses: Sequence[BlockAddress]) -> list[Block]:
        """The blocks, in order, each verified. Ask for 16 to 64 at once.

        A block's data is a view into a buffer of up to 256 KiB that it shares with its neighbours. Raises
        BlockNotFound and CorruptData for the first that cannot be had.
        """
        return await self._mailbox.ask(calls.GetBlocks(addresses))

    async def find_many(self, addresses: Sequence[BlockAddress]) -> list[Block | None]:
        """As `get_many`, with None for each that is not here or damaged."""
        return await self._mailbox.ask(calls.FindBlocks(addresses))

    async def read_on(
        self,
        tree: Cid,
        first: int,
        stop: int,
        feed: Feed[memoryview],
        *,
        blocks: int,
        block_size: int | None = None,
    ) -> int:
        """Hand the verified bytes of the leaves `first` to `stop - 1`, in order, to `feed` while it has room.

        The first leaf that was not handed over; ask again from there once there is room. Up to `blocks`
        leaves are read at once. Leaves of the empty block add nothing. Raises BlockNotFound and CorruptData
        when the leaf `first` itself cannot be had; with `block_size`, NotADataset when it has another size,
        the empty block included.
        """
        return await self._mailbox.ask(calls.ReadOn(tree, first, stop, blocks, feed, block_size))

    async def has_many(self, addresses: Sequence[BlockAddress]) -> list[bool]:
        """Whether each is here. A block that is known to be damaged is not."""
        return await self._mailbox.ask(calls.HasBlocks(addresses))

    async def missing(self, tree: Cid, first: int, count: int) -> int:
        """How many of these leaves are not here."""
        return await self._mailbox.ask(calls.CountMissing(tree, first, count))

    async def delete(self, cid: Cid) -> bool:
        """Remove a single block; False when it is not here. Raises BlockInUse when a dataset needs it."""
        return await self._mailbox.ask(calls.DeleteBlock(cid))

    # -- leaves of datasets

    async def find_leaves(self, tree: Cid, indices: Sequence[int]) -> list[ProvedBlock | None]:
        """The blocks of these leaves, each verified, with its proof; None for each that is not here, damaged,
        or cannot be proved. Raises CorruptData when there are some and none can be proved.

        As `find_many` and `leaves` in one. The proof is as it is stored, or as it follows from the tree's
        nodes that are: whether it leads to the root is for whoever is given it to see.
        """
        return await self._mailbox.ask(calls.FindLeaves(tree, indices))

    async def leaves(self, tree: Cid, first: int, count: int) -> list[Leaf]:
        """Those of the leaves `first` to `first + count - 1` that are here, with their proofs."""
        return await self._mailbox.ask(calls.GetLeaves(tree, first, count))

    async def put_leaves(
        self,
        tree: Cid,
        leaves: Sequence[Leaf],
        blocks: Sequence[Block] = (),
        *,
        ttl: float | None = None,
        reservation: str | None = None,
        ingest: str | None = None,
        hold: tuple[str, str] | None = None,
    ) -> None:
        """Store leaves whose proofs the caller has verified, and the blocks that came along.

        What is stored at an index first, stays. The tree is then wanted for `ttl`, and longer if a manifest
        or a hold wants it. With a `hold`, by its purpose and key, the leaves are here for the sake of that
        and go with it: the tree is not wanted by itself. Blocks that were staged in `ingest` count as here,
        and are seen from then on. Raises BlockNotFound when a leaf's block is neither here nor in `blocks`
        or there is no such hold, QuotaExceeded.
        """
        await self._mailbox.ask(calls.PutLeavesOf(tree, leaves, blocks, ttl, reservation, ingest, hold))

    # -- one dataset on its way in: nothing of it is seen, or outlives this process, before it is committed

    async def begin(self) -> str:
        """Begin an ingest; its id. Whoever begins one must commit or abort it."""
        return await self._mailbox.ask(calls.BeginIngest())

    async def stage(
        self, ingest: str, first: int, blocks: Sequence[Block | Cid], *, reservation: str | None = None
    ) -> None:
        """Store the leaves `first`, `first + 1`, … of an ingest; durable when it returns, in any order.

        A CID alone stands for a block that is on this node already. Batches of 16 MiB are best. Room may be
        taken out of a reservation, to which it does not return. Raises QuotaExceeded, BlockNotFound, and
        InvalidInput for a leaf that is staged already.
        """
        await self._mailbox.ask(calls.StageBlocks(ingest, first, blocks, reservation))

    async def stage_slot_trees(self, ingest: str, slots: Sequence[SlotRoots]) -> None:
        """Keep what trees of slots are built of with an ingest. One that was given for a slot is replaced.

        Raises InvalidInput as `put_slot_tree`, and when the ingest is not open.
        """
        await self._mailbox.ask(calls.StageSlotTrees(ingest, slots))

    async def commit(
        self, ingest: str, tree: MerkleTree, manifest: Manifest, *, ttl: float | None = None
    ) -> Cid:
        """Make the ingest a dataset, all at once; the CID of its manifest.

        Raises InvalidInput when tree, manifest and what was staged do not belong together, QuotaExceeded.
        """
        return await self._mailbox.ask(calls.CommitIngest(ingest, tree, manifest, ttl))

    async def abort(self, ingest: str) -> None:
        """Give an ingest up: nothing of it counts as used any more. Nothing happens when it is not open."""
        await self._mailbox.ask(calls.AbortIngest(ingest))

    # -- trees of slots

    async def put_slot_tree(self, tree: Cid, slot: int, root: Cid, roots: bytes) -> None:
        """Keep what the tree of a slot is built of, for as long as the dataset's tree is here.

        `tree` is that of the protected dataset, `root` the slot's name as its manifest has it, and `roots`
        are those of its blocks, 32 bytes each (`SlotTree.to_bytes`); that they belong together is the
        caller's to check. One that was given for this slot is replaced. Raises BlockNotFound when nothing
        wants the dataset's tree here, InvalidInput for what is no slot, no slot's name or no roots.
        """
        await self._mailbox.ask(calls.PutSlotTree(tree, SlotRoots(slot, root, roots)))

    async def get_slot_tree(self, root: Cid) -> bytes | None:
        """What the tree of the slot of that name is built of, or None when it is not here.

        It is as it was given: `SlotTree.from_bytes`, off the loop, finds out whether it is sound.
        """
        return await self._mailbox.ask(calls.GetSlotTree(root))

    # -- datasets

    async def put_manifest(self, data: bytes, *, ttl: float | None = None) -> Cid:
        """Store a manifest and so a dataset, whatever of its blocks is here. Raises DecodeError,
        QuotaExceeded.
        """
        return await self._mailbox.ask(calls.PutManifest(data, ttl))

    async def get_manifest(self, cid: Cid, *, use: bool = False) -> Manifest:
        """A dataset's manifest, mended if need be. Raises BlockNotFound, NotAManifest, CorruptData.

        With `use` somebody comes to use the dataset: the manifest, and what holds have brought of it, stay
        from then on when the holds end, as what was fetched does.
        """
        return await self._mailbox.ask(calls.GetManifest(cid, use))

    async def manifests(self, after: Cid | None = None, limit: int = 1000) -> list[tuple[Cid, Manifest]]:
        """Up to `limit` manifests in the order of their CIDs, from behind `after` on; empty behind the
        last.
        """
        return await self._mailbox.ask(calls.ListManifests(after, limit))

    async def delete_dataset(self, manifest: Cid) -> bool:
        """Remove a dataset and every block that nothing else needs; False when it is not here.

        It is gone from sight at once, and its room is free when this returns. What a hold keeps stays, with
        the manifest, which is found and listed as long. Raises NotAManifest for the CID of something else.
        """
        return await self._mailbox.ask(calls.DeleteDataset(manifest))

    # -- how long things live

    async def pin(self, manifest: Cid) -> None:
        """Keep a dataset whatever its expiry. Raises BlockNotFound."""
        await self._mailbox.ask(calls.Pin(manifest, True))

    async def unpin(self, manifest: Cid) -> None:
        """Let a dataset expire again, at the time it would have. Raises BlockNotFound."""
        await self._mailbox.ask(calls.Pin(manifest, False))

    async def is_pinned(self, manifest: Cid) -> bool:
        """Whether a dataset is pinned. Raises BlockNotFound."""
        return await self._mailbox.ask(calls.IsPinned(manifest))

    async def pins(self, after: Cid | None = None, limit: int = 1000) -> list[Cid]:
        """The manifests of pinned datasets in the order of their CIDs, from behind `after` on; fewer than
        `limit` only at the end.
        """
        return await self._mailbox.ask(calls.ListPins(after, limit))

    async def hold(self, hold: Hold, *, manifest: Block | None = None) -> bool:
        """Keep a run of leaves, such as a slot; one of the same purpose and key is replaced.

        The tree need not be here yet, but the manifest, if the hold names one. Where it is not, the one that
        is given comes with the hold, is here for the sake of holds only and wants nothing by itself; whether
        it did. Raises InvalidInput, BlockNotFound, DecodeError, QuotaExceeded.
        """
        return await self._mailbox.ask(calls.PutHold(hold, manifest))

    async def keep_hold(self, purpose: str, key: str, until: float, *, filled: bool = False) -> bool:
        """Keep a hold until then at least; False when there is none. With `filled`, one that was filling is a
        promise from now on; without, it counts as none.
        """
        return await self._mailbox.ask(calls.KeepHold(purpose, key, until, filled))

    async def drop_hold(self, purpose: str, key: str) -> bool:
        """End a hold; False when there is none. What came for its sake, its leaves, the tree of its slot, its
        manifest, has gone when this returns, unless something else keeps it.
        """
        return await self._mailbox.ask(calls.DropHold(purpose, key))

    async def holds(self, purpose: str) -> list[Hold]:
        """All holds of a purpose, by key."""
        return await self._mailbox.ask(calls.ListHolds(purpose))

    async def ensure_expiry(self, cids: Sequence[Cid], until: float) -> None:
        """Keep blocks, datasets (by manifest) and trees at least until then. Raises BlockNotFound,
        InvalidInput.
        """
        await self._mailbox.ask(calls.EnsureExpiry(cids, until))

    async def expiry(self, cid: Cid) -> float:
        """Until when a block, a dataset or a tree is kept for its own sake; NEVER for always. Raises
        BlockNotFound.
        """
        return await self._mailbox.ask(calls.GetExpiry(cid))

    # -- room

    async def space(self) -> Space:
        """How many blocks there are, and how much of the quota is used and reserved."""
        return await self._mailbox.ask(calls.GetSpace())

    async def check_room(self, size: int) -> None:
        """Raise QuotaExceeded if `size` more bytes would not fit now."""
        await self._mailbox.ask(calls.CheckRoom(size))

    async def reserve(self, size: int, purpose: str) -> str:
        """Set room aside; the id of the reservation. Raises QuotaExceeded."""
        return await self._mailbox.ask(calls.Reserve(size, purpose))

    async def release(self, reservation: str, size: int | None = None) -> None:
        """Give back some of a reservation, or end it. Raises InvalidInput."""
        await self._mailbox.ask(calls.Release(reservation, size))

    async def reservations(self, purpose: str) -> list[Reservation]:
        """All reservations of a purpose, oldest first, with what is left of each."""
        return await self._mailbox.ask(calls.ListReservations(purpose))

    # -- care

    async def maintain(self) -> None:
        """Remove all that has expired and give its room back, now instead of at the next interval."""
        await self._mailbox.ask(calls.Maintain())

    async def scrub(self) -> AsyncIterator[Progress]:
        """Read everything and verify it, 16 MiB a step; damaged blocks are marked, damaged manifests mended.

        Yields after each step. Stop whenever you like.
        """
        total = (await self.space()).quota_used
        progress = Progress(0, total)
        cid: Cid | None = None
        while True:
            damage, cid = await self._mailbox.ask(calls.ScrubManifests(cid))
            if cid is None:
                break
            progress = progress.further(
                damage.bytes, corrupt=damage.lost, mended=[record.cid for record in damage.mended]
            )
            yield progress
        row: int | None = 0
        while row is not None:
            step = await self._mailbox.ask(calls.ScrubBlocks(row))
            row = step.next
            progress = progress.further(step.bytes, corrupt=step.corrupt)
            yield progress

    async def verify(self, manifest: Cid) -> AsyncIterator[Progress]:
        """Read a dataset's blocks and verify that they are all here and make up its tree, 16 MiB a step.

        Raises BlockNotFound, NotAManifest, CorruptData when all blocks are sound but make another tree, and
        NotADataset when those of a protected dataset are not of the original that its manifest names.
        """
        dataset = await self.get_manifest(manifest)
        count = dataset.block_count
        progress = Progress(0, count * dataset.block_size)
        for first in range(0, count, STEP_BLOCKS):
            step = await self._mailbox.ask(
                calls.CheckLeaves(dataset.tree_cid, first, min(STEP_BLOCKS, count - first))
            )
            progress = progress.further(step.bytes, corrupt=step.corrupt, missing=step.missing)
            yield progress
        if not progress.corrupt and not progress.missing:
            original = (
                (dataset.original_tree_cid, dataset.original_block_count) if dataset.protected else None
            )
            await self._mailbox.ask(calls.CheckRoot(dataset.tree_cid, original))

    async def check_original(self, manifest: Manifest) -> bool:
        """Whether the first leaves of a protected dataset are those of the original that its manifest names;
        False when not all of them are here, so that nobody knows. Some 2 µs a leaf.

        Raises NotADataset when they are others.
        """
        original, count = manifest.original_tree_cid, manifest.original_block_count
        return await self._mailbox.ask(calls.CheckOriginal(manifest.tree_cid, original, count))

    async def backup(self, target: Path, progress: Callable[[Progress], None] | None = None) -> None:
        """Copy the whole store, as of one moment, into the new directory `target`, while everything goes on.

        The directory opens as a store (put it in place of a data directory's `repo`). It appears when it is
        complete; one that was cut leaves nothing. `progress` is called on the loop after each step; the last
        one says what the disk did not give, which is damaged in the copy too. Raises InvalidInput when there
        is something at `target`, DiskFailed when the disk gives nothing at all.
        """
        await self._mailbox.ask(calls.BackUp(target, progress))
