"""The orchestrator: joins the services into the flows *store*, *retrieve* and *onStore*, and holds no state
of its own.

`open_node(config)` runs one inside a block; `Node(config)` with `start` and `stop` is the same for a nursery
that somebody else owns. Inside, errors are raised (`CodexError`); the edges above turn them into values.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from codex.codec import Cid
from codex.codec.cid import CODEX_MANIFEST
from codex.config import Config
from codex.data import Block, Manifest
from codex.discovery import Advertising
from codex.errors import BlockNotFound, InvalidInput, NotEnabled, ServiceUnavailable
from codex.exchange import Trade
from codex.logs import get_logger
from codex.node import fetching, retrieving, storing, tasks
from codex.node.events import ManifestDeleted, ManifestStored, NodeEvent
from codex.node.finding import not_here
from codex.node.hosting import Slot
from codex.node.info import NodeInfo, about
from codex.node.job import JobKind, JobState
from codex.node.jobs import Job, Jobs
from codex.node.network import Network, NetworkStats, PeerView
from codex.node.restoring import AT_ONCE
from codex.node.retrieving import Retrieval
from codex.node.rows import has_rows, lost
from codex.node.storing import Source
from codex.node.terms import Terms
from codex.node.wiring import Parts, Seams, open_parts
from codex.p2p import PeerId, SignedPeerRecord
from codex.runtime.broadcast import Subscription
from codex.runtime.groups import unwrapped
from codex.runtime.supervisor import Policy, ServiceState
from codex.slots import SlotTree
from codex.store import NEVER, Space

if TYPE_CHECKING:
    from codex.node.desk import MarketDesk

log = get_logger("node")

LIST_PAGE = 500  # manifests asked of the store at once


class Node:
    """One node of the network on one data directory.

    Every method but `start` may be called from any task while the node runs, and raises ServiceUnavailable
    otherwise. What needs the network or the marketplace raises NotEnabled on a node that has none.
    """

    def __init__(self, config: Config, *, seams: Seams | None = None) -> None:
        self.config = config
        self._seams = seams or Seams()
        self._parts: Parts | None = None
        self._stop = trio.Event()
        self._stopped = trio.Event()

    # -- its life

    async def start(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the node until `stop()`; ready when `task_status` is started (use `nursery.start(node.start)`).

        Raises DataDirLocked, ConfigError, DiskFailed and the like when it cannot start, and whatever brought
        down a part that it cannot live without.
        """
        try:
            async with open_parts(self.config, self._seams) as parts:
                self._parts = parts
                task_status.started()
                await self._stop.wait()
        finally:
            self._parts = None
            self._stopped.set()

    async def stop(self) -> None:
        """Stop every part in order, each within its bound, and return when all have ended."""
        self._stop.set()
        await self._stopped.wait()

    async def supervise(self, name: str, factory: Any, policy: Policy, *, stop_timeout: float = 10.0) -> Any:
        """Run one more service (the API, say) among the node's own; it is stopped before them. Its
        mailbox."""
        return await self._running.supervisor.start(name, factory, policy, stop_timeout=stop_timeout)

    def states(self) -> Sequence[ServiceState]:
        """Every service: its name, its state and since when."""
        return self._running.supervisor.states()

    def publish(self, bind: str, port: int) -> None:
        """Leave a note in the data directory of where the API listens, for the commands that talk to it."""
        self._running.data_dir.publish(bind, port)

    # -- datasets

    async def store(
        self,
        source: Source | bytes,
        *,
        filename: str | None = None,
        mimetype: str | None = None,
        size: int | None = None,
        on_begun: Callable[[str], None] | None = None,
    ) -> Cid:
        """Store a dataset and return its manifest's CID once every byte is durable. `on_begun` is told the id
        of the job before the first piece is asked for.

        `size` is the number of bytes to come, where it is known: then a dataset that cannot fit is refused
        before it is read. It is an upload job; its result is the `cid`. Raises EmptyDataset, QuotaExceeded,
        DiskFull, DiskFailed, JobCancelled, TooManyJobs, and what the source raises; after an error or a
        cancellation nothing of the dataset is left.
        """
        parts = self._running
        if isinstance(source, bytes):
            size = len(source)
            source = storing.pieces(source)
        async with parts.jobs.track(JobKind.UPLOAD, subject=filename, total=size) as job:
            if on_begun is not None:
                on_begun(job.id)
            if size is not None:
                await parts.store.check_room(size)
            cid = await storing.store_dataset(
                parts.store,
                parts.offload,
                source,
                budget=parts.budget,
                filename=filename,
                mimetype=mimetype,
                progress=job,
            )
            job.result = {"cid": str(cid)}
            log.info("dataset stored", cid=str(cid), filename=filename)
            parts.events.publish(ManifestStored(cid))
            if parts.network is not None:
                parts.network.stored(cid)
        return cid

    @asynccontextmanager
    async def retrieve(
        self,
        cid: Cid,
        *,
        offset: int = 0,
        length: int | None = None,
        local: bool = False,
        manifest_only: bool = False,
    ) -> AsyncIterator[Retrieval]:
        """Retrieve a dataset (by its manifest's CID) or a single block, from this node first, then from the
        network.

        `offset` and `length` (bytes) choose a part of a dataset. `local` keeps to this node. With
        `manifest_only` a single block's CID is refused, as the REST interface does. The block of the caller
        is a download job, which counts what is handed out. Raises BlockNotFound, NotAManifest, CorruptData,
        InvalidInput, JobCancelled, TooManyJobs.
        """
        parts = self._running
        dataset = cid.codec == CODEX_MANIFEST or manifest_only
        # Who asks here first and then others is told so: that has not been a download that failed.
        here = await self.fetch_manifest(cid, local=True) if local and dataset else None
        async with parts.jobs.track(JobKind.DOWNLOAD, subject=str(cid)) as job:
            others = None
            if dataset:
                job.phase = "finding"
                manifest = here or await parts.finder.find(cid, local=local, use=not local)
                others = None if local or parts.network is None else parts.network.leaves(AT_ONCE)
                opened = retrieving.open_dataset(
                    parts.store,
                    manifest,
                    offset,
                    length,
                    budget=parts.budget,
                    network=others,
                    rows=parts.mending.rows(manifest, others),
                    progress=job,
                )
            else:
                opened = retrieving.open_block(await self._read_block(cid, local), progress=job)
            async with opened as retrieval:
                retrieval.job_id = job.id
                yield retrieval
            if others is not None and others.used:
                await self._note_fetched(cid, manifest)

    async def _note_fetched(self, cid: Cid, manifest: Manifest) -> None:
        """Keep a dataset, of which there is more here now, as long as if it were new, and have it announced
        if it has become whole.
        """
        parts = self._running
        ttl = self.config.store.block_ttl
        with suppress(BlockNotFound):  # it may have been deleted meanwhile
            await parts.store.ensure_expiry([cid], self._seams.clock.now() + ttl if ttl else NEVER)
        missing = await parts.store.missing(manifest.tree_cid, 0, manifest.block_count)
        if parts.network is not None and not missing:
            parts.network.stored(cid)

    async def _read_block(self, cid: Cid, local: bool) -> bytes | memoryview:
        parts = self._running
        try:
            [block] = await parts.store.get_many([cid])
        except BlockNotFound:
            if local or parts.network is None:
                raise not_here(local) from None
            block = await parts.network.fetch_block(cid)
        return block.data

    async def fetch_manifest(self, cid: Cid, *, local: bool = False) -> Manifest:
        """The manifest with that CID, from this node first, then from the network.

        Raises BlockNotFound (NotOnNetwork when others were asked), and NotAManifest when the CID names
        something else.
        """
        return await self._running.finder.find(cid, local=local)

    async def iterate_manifests(
        self, *, after: Cid | None = None
    ) -> AsyncGenerator[tuple[Cid, Manifest], None]:
        """Every manifest on this node with its CID, in the order of their CIDs; only those behind `after`,
        where that is given. Whoever stops early closes it (`contextlib.aclosing`).
        """
        while page := await self._running.store.manifests(after, LIST_PAGE):
            for item in page:
                yield item
            after = page[-1][0]

    async def delete(self, cid: Cid) -> None:
        """Delete a dataset (by its manifest's CID) or a single block; nothing to do when it is not here.

        What another dataset shares stays. A job that fetches the dataset is cancelled; whoever reads it goes
        on. Raises BlockInUse for a block that a dataset needs.
        """
        parts = self._running
        if cid.codec == CODEX_MANIFEST:
            gone = await parts.store.delete_dataset(cid)
            if gone:
                parts.events.publish(ManifestDeleted(cid))
                for job in parts.jobs.list(JobKind.FETCH, JobState.RUNNING):
                    if job.subject == str(cid):
                        log.info("what was being fetched was deleted", job=job.id, cid=str(cid))
                        parts.jobs.cancel(job.id)
        else:
            gone = await parts.store.delete(cid)
        if gone:
            log.info("deleted", cid=str(cid))

    async def has(self, cid: Cid) -> bool:
        """Whether a manifest or a block is on this node."""
        [found] = await self._running.store.has_many([cid])
        return found

    async def pin(self, cid: Cid) -> None:
        """Keep a dataset from expiring. Raises BlockNotFound."""
        await self._running.store.pin(cid)

    async def unpin(self, cid: Cid) -> None:
        """Let a pinned dataset expire again. Raises BlockNotFound."""
        await self._running.store.unpin(cid)

    async def is_pinned(self, cid: Cid) -> bool:
        """Whether a dataset is kept from expiring. Raises BlockNotFound."""
        return await self._running.store.is_pinned(cid)

    async def pins(self, *, after: Cid | None = None) -> AsyncGenerator[Cid, None]:
        """Every dataset that is kept from expiring, in the order of their CIDs; only those behind `after`,
        where that is given. Whoever stops early closes it.
        """
        while page := await self._running.store.pins(after, LIST_PAGE):
            for cid in page:
                yield cid
            after = page[-1]

    async def check_whole(self, manifest: Manifest, offset: int, length: int, *, local: bool = True) -> None:
        """Raise BlockNotFound, which says how many, when blocks with these bytes of a dataset are not here
        and cannot be recovered; unless `local` is false and there are others to ask for them.

        Known damage counts; blocks are not read for it.
        """
        if not local and self._running.network is not None:
            return
        first = offset // manifest.block_size
        count = -(-(offset + length) // manifest.block_size) - first
        missing = await self._running.store.missing(manifest.tree_cid, first, count)
        if missing and has_rows(manifest):
            missing = await lost(self._running.store, manifest, offset, length)
        if missing:
            raise BlockNotFound(
                f"The requested CID could not be retrieved ({missing} of the {count} blocks asked for are "
                "missing or damaged on this node).",
                remedy="store the same content again, which mends the dataset",
            )

    async def space(self) -> Space:
        """How much of the quota is used and reserved, in bytes."""
        return await self._running.store.space()

    # -- long work, as jobs

    @property
    def jobs(self) -> Jobs:
        """The jobs that run, and those that ended lately: look at them, cancel them, begin others."""
        return self._running.jobs

    def events(self, size: int) -> AbstractAsyncContextManager[Subscription[NodeEvent]]:
        """Hear of everything that happens on the node for the length of a block: an asynchronous iterator of
        events, and of `Lagged` where more than `size` were not taken in time.
        """
        return self._running.events.subscribe(size)

    async def fetch_dataset_async_task(self, cid: Cid) -> Job:
        """Fetch every block of a dataset in the background; the job of it, once the manifest is here.

        A dataset that is complete on this node needs nothing, and its job is done when this returns. While
        one is being fetched there is no second job for it. Raises what `fetch_manifest` raises, and
        NotEnabled when blocks would have to come from a network that there is not; the job has failed then.
        """
        parts = self._running
        await trio.lowlevel.checkpoint()
        for job in parts.jobs.list(JobKind.FETCH, JobState.RUNNING):
            if job.subject == str(cid) and job.bytes_total is not None:
                return job
        network = parts.network
        leaves = None if network is None else network.leaves(AT_ONCE)
        return await fetching.begin(
            parts.jobs,
            parts.store,
            leaves,
            cid,
            find=lambda: parts.finder.find(cid, use=True),
            whole=lambda manifest: self._note_fetched(cid, manifest),
            rows=lambda manifest: parts.mending.rows(manifest, leaves),
        )

    async def protect(self, cid: Cid, k: int, m: int) -> Job:
        """Make a dataset durable in the background: K rows of data and M of parity, of which any K are
        enough. The job of it, once the manifest is here and it is known that there is room; its result is
        that of `Protected.as_json`.

        What is missing is fetched first. While it runs there is no second job for the same. Raises what
        `fetch_manifest` raises, InvalidInput when the dataset cannot be laid out so, QuotaExceeded,
        TooManyJobs.
        """
        parts = self._running
        manifest = await self.fetch_manifest(cid)
        layout = await parts.protector.plan(manifest, k, m)
        return parts.protector.begin(parts.jobs, cid, manifest, layout)

    async def verify(self, cid: Cid, *, repair: bool = False) -> Job:
        """Read a dataset in the background and check that it is whole: see `tasks.verify` for the result.

        Damage that is found is a result, not a failure. With `repair` rows of a protected dataset that are
        damaged or missing are brought back, from the others here or in the network. Raises BlockNotFound,
        NotAManifest, TooManyJobs, and InvalidInput when there is nothing to repair it from.
        """
        parts = self._running
        manifest = await parts.finder.find(cid, local=True, use=repair)
        network = None if parts.network is None else parts.network.leaves(AT_ONCE)
        rows = parts.mending.rows(manifest, network) if repair else None
        if repair and rows is None:
            raise InvalidInput(
                f"{cid} is not protected: it has no rows from which others could be brought back",
                remedy="fetch it again from whoever has it, or store the same content again",
            )
        work = partial(tasks.verify, parts.store, cid, manifest, rows)
        return parts.jobs.start(JobKind.VERIFY, work, subject=str(cid))

    async def scrub(self) -> Job:
        """Read everything on this node in the background and check it: see `tasks.scrub` for the result.

        While a scrub runs there is no second one: its job is returned. Raises TooManyJobs.
        """
        parts = self._running
        await trio.lowlevel.checkpoint()
        running = parts.jobs.list(JobKind.SCRUB, JobState.RUNNING)
        return running[0] if running else parts.jobs.start(JobKind.SCRUB, partial(tasks.scrub, parts.store))

    async def backup(self, path: Path) -> Job:
        """Copy the store, as of one moment, into a new directory in the background, while everything goes on.

        The subject is the directory's full path, the result its `path` and `bytes`. It appears when it is
        complete; after an error or a cancellation nothing of it is left. Raises InvalidInput when it cannot
        be made there (see `tasks.backup_target`), TooManyJobs.
        """
        parts = self._running
        target = await parts.offload.run(tasks.backup_target, path, self.config.data_dir)
        tasks.refuse_second(parts.jobs, target)
        work = partial(tasks.back_up, parts.store, target)
        return parts.jobs.start(JobKind.BACKUP, work, subject=str(target))

    # -- the network and the marketplace

    def info(self) -> NodeInfo:
        """Who the node is and where it listens."""
        return about(self._running, self.config.data_dir)

    def peers(self) -> list[PeerView]:
        """Everybody that the node is connected to; nobody when it has no network."""
        network = self._running.network
        return [] if network is None else network.peers()

    async def advertising(self) -> Advertising | None:
        """How far this node is with telling others what it has; None when it has no network.

        Raises ServiceUnavailable.
        """
        network = self._running.network
        return None if network is None else await network.advertiser.stats()

    def network_stats(self) -> NetworkStats | None:
        """What its connections and its discovery have come to; None when it has no network."""
        network = self._running.network
        return None if network is None else network.stats()

    def trades(self) -> list[Trade] | None:
        """What each peer and this node have had of each other; None when it has no network."""
        network = self._running.network
        return None if network is None else list(network.exchange.ledger().values())

    async def find_peer(self, peer_id: PeerId) -> SignedPeerRecord:
        """A peer's own record of where it listens. Raises NotFound, NotEnabled."""
        return await self._network(f"{peer_id} cannot be looked up").find_peer(peer_id)

    async def connect(self, peer_id: PeerId, addresses: Sequence[str] = ()) -> None:
        """Connect to a peer; see `Network.connect`. Raises NotFound, PeerUnreachable, InvalidInput,
        NotEnabled.
        """
        await self._network(f"{peer_id} cannot be dialled").connect(peer_id, addresses)

    async def disconnect(self, peer_id: PeerId) -> None:
        """End the connection to a peer; nothing to do when there is none. Raises NotEnabled."""
        await self._network(f"{peer_id} is not connected").disconnect(peer_id)

    def _network(self, what: str) -> Network:
        network = self._running.network
        if network is None:
            raise NotEnabled(
                f"{what}: this node was started without a network", remedy="use datasets stored on this node"
            )
        return network

    @property
    def market(self) -> "MarketDesk":
        """Buying and selling storage. Raises NotEnabled on a node that was started without a marketplace."""
        market = self._running.market
        if market is None:
            raise NotEnabled(
                "Persistence is not enabled",
                remedy="start the node as `codex persistence --eth-private-key=FILE`",
            )
        return market

    async def request_storage(self, cid: Cid, terms: Terms) -> Job:
        """Buy storage for a dataset in the background; see `MarketDesk.request_storage`."""
        return await self.market.request_storage(cid, terms)

    # -- slots

    async def on_store(
        self,
        cid: Cid,
        slot_index: int,
        expiry: float,
        *,
        slot_id: str | None = None,
        repair: bool = False,
        reservation: str | None = None,
        on_blocks: Callable[[Sequence[Block]], None] | None = None,
    ) -> SlotTree:
        """Host a slot of the dataset whose verifiable manifest is `cid`, until `expiry` (unix seconds).

        `slot_id` names it among several of the same index. See `Hosting.fill` for the rest, and for what it
        raises.
        """
        parts = self._running
        network = parts.network
        tree = await parts.hosting.fill(
            Slot.of(cid, slot_index, slot_id),
            expiry,
            find=lambda: parts.finder.look(cid),
            network=None if network is None else network.leaves(),
            repair=repair,
            reservation=reservation,
            told=on_blocks,
        )
        if network is not None:
            network.stored(cid)
        return tree

    async def on_expiry_update(
        self, cid: Cid, slot_index: int, expiry: float, *, slot_id: str | None = None
    ) -> None:
        """Keep a slot until `expiry` at least. Raises BlockNotFound when it is not hosted here."""
        await self._running.hosting.extend(Slot.of(cid, slot_index, slot_id), expiry)

    async def on_clear(self, cid: Cid, slot_index: int, *, slot_id: str | None = None) -> bool:
        """Stop hosting a slot; False when it was not hosted. See `Hosting.clear`."""
        return await self._running.hosting.clear(Slot.of(cid, slot_index, slot_id).id)

    @property
    def _running(self) -> Parts:
        if self._parts is None:
            raise ServiceUnavailable("the node is not running", remedy="open it with open_node(config)")
        return self._parts


@asynccontextmanager
async def open_node(config: Config, *, seams: Seams | None = None) -> AsyncIterator[Node]:
    """Run a node for the length of a block; every part has ended when the block is left. Raises as
    `Node.start`."""
    node = Node(config, seams=seams)
    with unwrapped():
        async with trio.open_nursery() as nursery:
            await nursery.start(node.start)
            try:
                yield node
            finally:
                with trio.CancelScope(shield=True):
                    await node.stop()
