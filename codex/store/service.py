"""The store as a service: answers calls, reads side by side in threads, writes in one lane.

It is a critical service. After an error that is no answer it closes without recording an orderly stop, so
that the next start counts everything again.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

import trio
from attrs import Attribute, asdict

from codex.codec import CODEX_MANIFEST, Cid, manifest_cid
from codex.config import StoreConfig
from codex.data import Block, Manifest
from codex.errors import BlockInUse, CorruptData, DiskFull, InvalidInput, NotADataset, NotAManifest
from codex.logs import get_logger
from codex.runtime import Clock, Inbox, Offload, serve
from codex.store import calls, slot_trees
from codex.store.care import Caretaker
from codex.store.disk import Disk
from codex.store.lane import Lane
from codex.store.ledger import no_room
from codex.store.manifests import Damage, Record, record_of
from codex.store.opening import open_repo
from codex.store.planning import Put, PutLeaves, Request, Stage
from codex.store.reads import Found, FoundLeaves, blocks_of
from codex.store.repo import Repo
from codex.store.scrub import Checked, Scrubbed
from codex.store.stretches import Stretch
from codex.store.trees import page_count
from codex.store.values import NEVER, Hold, SlotRoots
from codex.store.ward import Ward

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_log = get_logger("store")

LIMIT = 64
"""Calls in work at once. Further ones wait with their askers; threads are bounded by the offload."""

_PAGES = 1024  # rows of tree nodes in one transaction: 8 MiB, the tree of an 8 GiB dataset


class StoreService:
    """The task behind `BlockStore`, on the store in `data_dir/repo`. One object is one life."""

    def __init__(
        self,
        data_dir: Path,
        config: StoreConfig,
        *,
        offload: Offload,
        clock: Clock,
        disk: Disk | None = None,
    ) -> None:
        self._directory = data_dir / "repo"
        self._config = config
        self._offload = offload
        self._clock = clock
        self._disk = disk

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Open the store, answer until `inbox` ends, and close it in good order."""
        repo = await self._offload.run(
            partial(open_repo, self._directory, quota=self._config.quota, disk=self._disk)
        )
        if repo.kept:
            _log.warning(
                "segments hold more than the index knows of, and are kept as they are;"
                " if datasets are missing, put the newest index back, or restore a backup",
                files=list(repo.kept),
            )
        orderly = False
        try:
            lane = Lane(self._offload, repo.take_in)
            care = Caretaker(repo, lane, self._config, offload=self._offload, clock=self._clock)
            desk = _Desk(repo, lane, care, self._config, offload=self._offload, clock=self._clock)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lane.run)
                nursery.start_soon(care.expire_at_intervals)
                nursery.start_soon(care.tidy_when_needed)
                if repo.unclean:
                    nursery.start_soon(care.recount)
                ward = Ward(inbox, desk.answer, self._clock)
                nursery.start_soon(ward.look_for_room, partial(lane.do, repo.restore_ballast))
                await serve(inbox, ward.answer, limit=LIMIT, task_status=task_status)
                nursery.cancel_scope.cancel()
            orderly = True
        finally:
            with trio.CancelScope(shield=True):
                await self._offload.run(repo.close if orderly else repo.abandon)


class _Desk:
    """Answers each call."""

    def __init__(
        self, repo: Repo, lane: Lane, care: Caretaker, config: StoreConfig, *, offload: Offload, clock: Clock
    ) -> None:
        self._repo = repo
        self._lane = lane
        self._care = care
        self._config = config
        self._offload = offload
        self._clock = clock

    async def answer(self, call: Any) -> Any:
        """Whatever the call's class says. Calls are sorted into those on bulk, on datasets, and the rest."""
        match call:
            case calls.GetBlocks(addresses):
                return blocks_of(await self._read(self._repo.reader.find, addresses), addresses)
            case calls.FindBlocks(addresses):
                found = await self._read(self._repo.reader.find, addresses)
                return [answer if isinstance(answer, Block) else None for answer in found.answers]
            case calls.FindLeaves(tree, indices):
                proved = await self._read(self._repo.reader.find_leaves, tree, indices)
                if proved.unproved is not None:
                    _log.error("some leaves on this disk cannot be proved", why=proved.unproved.message)
                return proved.answers
            case calls.ReadOn():
                return await self._read_on(call)
            case calls.HasBlocks(addresses):
                return await self._offload.run(self._repo.reader.has, addresses)
            case calls.CountMissing(tree, first, count):
                return await self._offload.run(self._repo.reader.missing, tree, first, count)
            case calls.PutBlocks():
                return await self._put(call)
            case calls.StageBlocks(ingest, first, blocks, reservation):
                return await self._bring(Stage(_number(ingest), first, blocks, _number_or_none(reservation)))
            case calls.PutLeavesOf(tree, leaves, blocks, ttl, reservation, ingest, hold):
                room, own = _number_or_none(reservation), _number_or_none(ingest)
                request = PutLeaves(tree, leaves, blocks, self._expiry(ttl), room, own, hold)
                return await self._bring(request)
            case calls.DeleteBlock(cid):
                return await self._delete_block(cid)
        return await self._answer_on_datasets(call)

    async def _answer_on_datasets(self, call: Any) -> Any:
        do, repo = self._lane.do, self._repo
        match call:
            case calls.BeginIngest():
                return str(await do(repo.begin))
            case calls.StageSlotTrees(ingest, slots):
                return await self._keep_slot_trees(_number(ingest), slots)
            case calls.PutSlotTree(tree, slot):
                return await self._keep_slot_trees(tree, [slot])
            case calls.CommitIngest():
                return await self._commit(call)
            case calls.AbortIngest(ingest):
                await do(partial(repo.abort, _number(ingest)))
                return self._care.wake()
            case calls.PutManifest(data, ttl):
                return await self._put_manifest(Block(manifest_cid(data), data), self._expiry(ttl))
            case calls.DeleteDataset(manifest):
                return await self._delete_dataset(manifest)
            case calls.Pin(manifest, pinned):
                return await do(partial(repo.pin, manifest, pinned))
            case calls.PutHold(hold, manifest):
                return await self._hold(hold, manifest)
            case calls.KeepHold(purpose, key, until, filled):
                return await do(partial(repo.keep_hold, purpose, key, until, filled))
            case calls.DropHold(purpose, key):
                return await self._sweep_after(await do(partial(repo.drop_hold, purpose, key)))
            case calls.EnsureExpiry(cids, until):
                return await do(partial(repo.extend, cids, until))
            case calls.Reserve(size, purpose):
                return str(await do(partial(repo.reserve, size, purpose)))
            case calls.Release(reservation, size):
                return await do(partial(repo.release, _number(reservation), size))
            case calls.CheckRoom(size):
                return await self._check_room(size)
        return await self._answer_the_rest(call)

    async def _answer_the_rest(self, call: Any) -> Any:
        run, catalogue, scrubber = self._offload.run, self._repo.catalogue, self._repo.scrubber
        match call:
            case calls.GetManifest(cid, use):
                return await (self._use(cid) if use else run(catalogue.manifest, cid))
            case calls.ListManifests(after, limit):
                return await run(catalogue.manifests, after, limit)
            case calls.GetLeaves(tree, first, count):
                return await run(catalogue.leaves, tree, first, count)
            case calls.GetSlotTree(root):
                return await run(catalogue.slot_tree, root)
            case calls.IsPinned(manifest):
                return await run(catalogue.is_pinned, manifest)
            case calls.ListPins(after, limit):
                return await run(catalogue.pins, after, limit)
            case calls.ListHolds(purpose):
                return await run(catalogue.holds, purpose)
            case calls.GetExpiry(cid):
                return await run(catalogue.expiry, cid)
            case calls.ListReservations(purpose):
                return await run(catalogue.reservations, purpose)
            case calls.GetSpace():
                return await run(catalogue.space)
            case calls.Maintain():
                await self._care.expire()
                return await self._care.tidy()
            case calls.ScrubBlocks(after):
                return await self._read(scrubber.blocks, after)
            case calls.ScrubManifests(after):
                return await self._scrub_manifests(after)
            case calls.CheckLeaves(tree, first, count):
                return await self._read(scrubber.leaves, tree, first, count)
            case calls.CheckRoot(tree, original):
                return await self._check_root(tree, original)
            case calls.CheckOriginal(tree, named, count):
                return await self._check_original(tree, named, count)
            case calls.BackUp(target, progress):
                return await self._care.back_up(target, progress)
        return await self._answer_the_market(call)

    async def _answer_the_market(self, call: Any) -> Any:
        do, run, stall = self._lane.do, self._offload.run, self._repo.stall
        match call:
            case calls.ListAvailabilities():
                return await run(stall.availabilities)
            case calls.PutAvailability(availability):
                return await do(partial(stall.put, availability))
            case calls.AlterAvailability():
                return await do(partial(stall.alter, call.id, **asdict(call, filter=_not_the_id)))
            case calls.DeleteAvailability(id):
                return await do(partial(stall.delete, id))
            case calls.TakeSlot():
                taken = asdict(call)
                return await do(partial(stall.take, taken.pop("availability"), **taken))
            case calls.AdvanceSlot(id, stage, returned):
                return await do(partial(stall.advance, id, stage, returned))
            case calls.GiveBack(id, collateral):
                return await do(partial(stall.give_back, id, collateral))
            case calls.ListSlotReservations(availability):
                return await run(stall.slots, availability)
            case calls.PutRecords(kind, entries, keep):
                return await do(partial(stall.put_records, kind, entries, keep))
            case calls.DropRecord(kind, key):
                return await do(partial(stall.drop_record, kind, key))
            case calls.ListRecords(kind, prefix, before, limit):
                return await run(stall.records, kind, prefix, before, limit)
        raise TypeError(f"the store has no answer to {type(call).__name__}")

    # -- reading

    async def _read(self, read: Callable[[*Ts], "_Looked"], *args: *Ts) -> Any:
        """Read in a thread; blocks that turn out to be damaged are marked before anybody hears of them."""
        found = await self._offload.run(read, *args)
        await self._mark(found.rotten)
        return found

    async def _read_on(self, call: calls.ReadOn) -> int:
        stretch = Stretch(
            self._repo.reader, call.tree, call.first, call.stop, call.blocks, call.feed.offer, call.block_size
        )
        await self._offload.relay(stretch.begin, stretch.read, stretch.hand_on, threads=stretch.threads)
        fed = stretch.fed
        await self._mark(fed.rotten)
        if fed.error is not None and fed.next == call.first:
            raise fed.error
        return fed.next

    async def _mark(self, rotten: Sequence[int]) -> None:
        if rotten:
            _log.error("blocks on this disk are damaged", blocks=len(rotten))
            await self._lane.do(partial(self._repo.mark_bad, rotten))

    async def _scrub_manifests(self, after: Cid | None) -> tuple[Damage, Cid | None]:
        damage, last = await self._offload.run(self._repo.scrubber.manifests, after)
        if damage.mended:
            _log.warning("manifests were damaged and have been mended", manifests=len(damage.mended))
            await self._lane.do(partial(self._repo.mend_manifests, damage.mended))
        return damage, last

    async def _check_root(self, tree: Cid, original: tuple[Cid, int] | None) -> None:
        if await self._offload.run(self._repo.scrubber.root, tree) != tree:
            raise CorruptData(
                f"the blocks here do not make up the tree {tree}",
                remedy="store the dataset again, or restore the data directory from a backup",
            )
        if original is None:
            return
        await self._check_original(tree, *original)

    async def _check_original(self, tree: Cid, named: Cid, count: int) -> bool:
        found = await self._offload.run(self._repo.scrubber.original, tree, count)
        if found not in (None, named):
            raise NotADataset(
                f"the first {count} blocks of the dataset {tree} are not the original {named} that its"
                " manifest names",
                remedy="ask whoever made the manifest for another one",
            )
        return found is not None

    # -- writing

    async def _bring(self, request: Request) -> None:
        """Bring payload. When the disk is too full for it, what is dead gives its room back for next time."""
        try:
            await self._lane.bring(request)
        except DiskFull:
            self._care.wake()
            raise

    async def _put(self, call: calls.PutBlocks) -> None:
        expiry = self._expiry(call.ttl)
        reservation = _number_or_none(call.reservation)
        named = [block for block in call.blocks if block.cid.codec == CODEX_MANIFEST]
        blocks = call.blocks
        if named:
            blocks = [block for block in call.blocks if block.cid.codec != CODEX_MANIFEST]
        for block in named:
            await self._put_manifest(block, expiry)
        if blocks:
            await self._bring(Put(blocks, expiry, reservation))

    async def _put_manifest(self, block: Block, expiry: float) -> Cid:
        record = await self._offload.run(record_of, block)
        await self._lane.do(partial(self._repo.put_manifest, record, expiry))
        return record.cid

    async def _use(self, cid: Cid) -> Manifest:
        manifest, lasting = await self._offload.run(self._repo.catalogue.for_use, cid)
        if not lasting:
            await self._lane.do(partial(self._repo.extend, [manifest.tree_cid, cid], self._expiry(None)))
        return manifest

    async def _hold(self, hold: Hold, manifest: Block | None) -> bool:
        record = None if manifest is None else await self._offload.run(record_of, manifest)
        came = await self._lane.do(partial(self._repo.hold, hold, record))
        self._care.wake()
        return came

    async def _commit(self, call: calls.CommitIngest) -> Cid:
        ingest, tree = _number(call.ingest), call.tree
        record = await self._offload.run(_record, call.manifest)
        await self._offload.run(self._repo.catalogue.check_staged, ingest, tree)
        # All but the last pages go ahead, a few at a time: the lane is not held up by a large tree.
        ahead = max(0, page_count(tree) - 1) // _PAGES * _PAGES
        for first in range(0, ahead, _PAGES):
            await self._lane.do(partial(self._repo.add_nodes, ingest, tree, first, _PAGES))
        expiry = self._expiry(call.ttl)
        await self._lane.do(partial(self._repo.commit, ingest, tree, record, expiry, ahead))
        self._care.wake()  # an older tree of the same name has leaves to remove
        return record.cid

    async def _keep_slot_trees(self, owner: Cid | int, slots: Sequence[SlotRoots]) -> None:
        await self._offload.run(slot_trees.check, slots)
        # A few pages at a time; what they belong to is named with the last of them.
        pages = slot_trees.pages(slots)
        while len(part := list(islice(pages, slot_trees.STEP_PAGES))) == slot_trees.STEP_PAGES:
            await self._lane.do(partial(self._repo.keep_slot_roots, owner, part, ()))
        await self._lane.do(partial(self._repo.keep_slot_roots, owner, part, slots))

    async def _delete_dataset(self, manifest: Cid) -> bool:
        if manifest.codec != CODEX_MANIFEST:
            raise NotAManifest(f"{manifest} names no dataset")
        return await self._sweep_after(await self._lane.do(partial(self._repo.drop_dataset, manifest)))

    async def _sweep_after(self, tree: int | None) -> bool:
        """Remove what of the tree nobody wants any more; False when there is none."""
        if tree is None:
            return False
        # Whatever cuts the removal short, the caretaker ends it; and there may be something to compact.
        self._care.wake()
        await self._care.sweep(tree)
        self._care.wake()
        return True

    async def _delete_block(self, cid: Cid) -> bool:
        try:
            gone = await self._lane.do(partial(self._repo.delete_block, cid))
        except BlockInUse:
            # Perhaps only by what is left of datasets and ingests that are gone.
            await self._care.sweep_all()
            gone = await self._lane.do(partial(self._repo.delete_block, cid))
        self._care.wake()
        return gone

    async def _check_room(self, size: int) -> None:
        available = (await self._offload.run(self._repo.catalogue.space)).available
        if size > available:
            raise no_room(self._config.quota, available, size)

    def _expiry(self, ttl: float | None) -> float:
        """The point in time that is `ttl` seconds away, by default the node's own; 0 never comes."""
        seconds = self._config.block_ttl if ttl is None else ttl
        if seconds < 0:
            raise InvalidInput(f"nothing can live for {seconds} seconds")
        return self._clock.now() + seconds if seconds > 0 else NEVER


_Looked = Found | FoundLeaves | Scrubbed | Checked


def _not_the_id(attribute: "Attribute[Any]", _: object) -> bool:
    return attribute.name != "id"


def _record(manifest: Manifest) -> Record:
    data = manifest.to_bytes()
    return record_of(Block(manifest_cid(data), data))


def _number(text: str) -> int:
    """The number in an id that was given out. Raises InvalidInput."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise InvalidInput(f"{text!r} is no id of the store")
    return int(text)


def _number_or_none(text: str | None) -> int | None:
    return None if text is None else _number(text)
