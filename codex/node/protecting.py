"""The flow *protect*: from a dataset to a verifiable one, of which any K of its K + M rows are enough.

What is not here is fetched, then the dataset is read once: see encoding.py. The new blocks, the tree over all
of them, what the trees of the slots are built of, and the verifiable manifest become part of this node in one
transaction; whatever ends it before leaves nothing behind. The data's blocks are shared with the original,
which may be deleted afterwards.
"""

import trio
from attrs import evolve, frozen

from codex.codec import Cid
from codex.codec.cid import DIGEST_SIZE, proving_root_cid, slot_root_cid
from codex.data import Manifest, Verification
from codex.erasure import MAX_BATCH, Layout, columns_at_once, protected_manifest
from codex.errors import BlockNotFound, InvalidInput
from codex.logs import get_logger
from codex.node.encoding import Encoding, batch_bytes, memory_of, slot_shape
from codex.node.events import Events, ManifestStored
from codex.node.fetching import Leaves, fetch_dataset
from codex.node.job import JobKind, JobState, Json, Progress
from codex.node.jobs import Job, Jobs
from codex.node.mending import COLUMN_MOST
from codex.node.network import Network
from codex.runtime import Budget
from codex.runtime.threads import Offload
from codex.store import BlockStore

ABORT_WITHIN = 60.0  # seconds to give up what was staged: a flush that is in progress comes first

log = get_logger("node")


@frozen
class Protected:
    """A dataset that was protected: its verifiable manifest, which is stored under `cid`."""

    cid: Cid
    manifest: Manifest

    @property
    def protected_cid(self) -> Cid:
        """What the manifest would be called without its verification. That one is not stored."""
        protection = self.manifest.protection
        assert protection is not None
        return evolve(self.manifest, protection=evolve(protection, verification=None)).cid

    @property
    def tree_cid(self) -> Cid:
        """The tree over all rows, those of parity too."""
        return self.manifest.tree_cid

    @property
    def verify_root(self) -> Cid:
        """The root over the slot roots: what a contract commits to."""
        return self._verification.verify_root

    @property
    def slot_roots(self) -> tuple[Cid, ...]:
        """The root of each slot, in the order of the rows."""
        return self._verification.slot_roots

    @property
    def _verification(self) -> Verification:
        protection = self.manifest.protection
        assert protection is not None
        assert protection.verification is not None
        return protection.verification

    def as_json(self) -> Json:
        """The same as the result of a job, in the API's spelling."""
        return {
            "verifiableCid": str(self.cid),
            "protectedCid": str(self.protected_cid),
            "treeCid": str(self.tree_cid),
            "verifyRoot": str(self.verify_root),
            "slotRoots": [str(root) for root in self.slot_roots],
        }


class Protector:
    """Protects datasets of a node, one after the other: one keeps all cores busy.

    `cores` is how many threads compute at once, `batch` how many bytes of rows are read and coded at once.
    `network` is None on a node that has none.
    """

    def __init__(
        self,
        store: BlockStore,
        offload: Offload,
        *,
        budget: Budget,
        events: Events,
        network: Network | None,
        cores: int,
        batch: int = MAX_BATCH,
    ) -> None:
        self._store = store
        self._offload = offload
        self._budget = budget
        self._events = events
        self._network = network
        self._cores = cores
        self._batch = batch
        self._turn = trio.Lock()
        self._begun: dict[tuple[Cid, Layout], Job] = {}

    async def plan(self, original: Manifest, k: int, m: int) -> Layout:
        """Lay the dataset out in K rows of data and M of parity, and see whether there is room for those.

        Raises InvalidInput, with the number and its limit, when it cannot be laid out so (see `Layout.plan`),
        or could not be decoded, or its manifest would be too large, or its blocks have no cells; and
        QuotaExceeded.
        """
        layout = Layout.plan(original, k, m)
        slot_shape(original, layout)
        _check_column(original, layout)
        _check_manifest(original, layout)
        missing = await self._store.missing(original.tree_cid, 0, original.block_count)
        await self._store.check_room((missing + len(layout.parity)) * original.block_size)
        return layout

    def begin(self, jobs: Jobs, cid: Cid, original: Manifest, layout: Layout) -> Job:
        """Begin to protect the dataset `cid` in the background; the job of it, with the result of
        `Protected.as_json`. While it runs, and is not being cancelled, there is no second one of the same
        layout. Raises TooManyJobs.
        """
        running = self._begun.get((cid, layout))
        if running is not None and running.state is JobState.RUNNING and not running.cancelling:
            return running

        async def work(job: Job) -> Json:
            try:
                made = await self.protect(cid, original, layout, job)
                return await self._offload.run(made.as_json)  # thousands of roots take their time
            finally:
                if self._begun.get((cid, layout)) is job:  # and not one that came after it was cancelled
                    del self._begun[cid, layout]

        job = self._begun[cid, layout] = jobs.start(JobKind.PROTECT, work, subject=str(cid))
        return job

    async def protect(self, cid: Cid, original: Manifest, layout: Layout, progress: Progress) -> Protected:
        """Protect the dataset `cid`, as planned; it is stored, told of and announced when this returns.

        `progress` is told the phase (fetching, waiting, encoding, slots, saving), and the bytes that were
        fetched and of which the roots are known. Raises BlockNotFound (NotOnNetwork when others were asked),
        CorruptData, NotADataset, QuotaExceeded, DiskFull, DiskFailed; after an error or a cancellation
        nothing is left but blocks of the original that were fetched.
        """
        network = None if self._network is None else self._network.leaves()
        coded = layout.blocks + len(layout.parity)
        missing = await self._store.missing(original.tree_cid, 0, original.block_count)
        progress.bytes_total = (missing + coded) * original.block_size
        if missing:
            await self._fetch(cid, original, missing, network, progress)
        progress.phase = "waiting"
        async with self._turn:
            made = await self._encode(original, layout, network, progress)
        log.info("dataset protected", cid=str(cid), verifiable=str(made.cid), data=layout.k, parity=layout.m)
        self._tell(made.cid)
        return made

    async def _fetch(
        self, cid: Cid, original: Manifest, missing: int, network: Leaves | None, progress: Progress
    ) -> None:
        if network is None or self._network is None:
            raise BlockNotFound(
                f"{missing} of the {original.block_count} blocks of {cid} are not on this node, which was"
                " started without a network",
                remedy="store the same content again, which mends the dataset",
            )
        await fetch_dataset(self._store, network, original, progress)
        self._network.stored(cid)

    def _tell(self, cid: Cid) -> None:
        self._events.publish(ManifestStored(cid))
        if self._network is not None:
            self._network.stored(cid)

    async def _encode(
        self, original: Manifest, layout: Layout, network: Leaves | None, progress: Progress
    ) -> Protected:
        store = self._store
        columns = columns_at_once(layout, original.block_size, self._batch)
        held = memory_of(batch_bytes(original, layout, columns))
        ingest = await store.begin()
        try:
            progress.phase = "encoding"
            async with self._budget.lend(held) as share:
                share.hold(held)
                encoding = Encoding(
                    store,
                    self._offload,
                    ingest,
                    original,
                    layout,
                    columns=columns,
                    cores=self._cores,
                    network=network,
                    progress=progress,
                )
                await encoding.run()
            progress.phase = "slots"
            made = await encoding.finish()
            progress.phase = "saving"
            await store.stage_slot_trees(ingest, made.roots)
            return Protected(await store.commit(ingest, made.tree, made.manifest), made.manifest)
        except BaseException:
            # Bounded, for a stopping node waits for this; what is not given up now is given up at the next
            # start.
            with trio.move_on_after(ABORT_WITHIN, shield=True):
                await store.abort(ingest)
            raise


def _check_column(original: Manifest, layout: Layout) -> None:
    """Raise InvalidInput for columns that this node would not decode."""
    column = layout.k * original.block_size
    if column > COLUMN_MOST:
        raise InvalidInput(
            f"K = {layout.k} rows make columns of {column} bytes of data,"
            f" more than the {COLUMN_MOST} that are decoded",
            remedy=f"Take fewer rows: K is at most {COLUMN_MOST // original.block_size}.",
        )


def _check_manifest(original: Manifest, layout: Layout) -> None:
    """Raise InvalidInput when the verifiable manifest would be too large, whatever is in its roots."""
    bare = protected_manifest(original, layout, original.tree_cid)
    protection = bare.protection
    assert protection is not None
    zero = bytes(DIGEST_SIZE)
    verification = Verification(proving_root_cid(zero), (slot_root_cid(zero),) * layout.rows)
    try:
        evolve(bare, protection=evolve(protection, verification=verification)).to_bytes()
    except InvalidInput as error:
        raise InvalidInput(
            f"K + M = {layout.rows} rows are too many: {error.message}",
            remedy="Take fewer rows: a manifest has room for the roots of some 6500.",
        ) from error
