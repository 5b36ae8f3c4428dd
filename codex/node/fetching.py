"""What is missing of a dataset, and getting it from the network.

Nobody asks the store about a whole dataset at once: that would be millions of leaves. It is asked stretch by
stretch, but for the two ends of the scale, a dataset that is here and one of which nothing is.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from math import inf
from typing import Protocol

import trio
from attrs import frozen

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block, BlockAddress, LeafAddress, Manifest
from codex.errors import CodexError, JobCancelled, NotEnabled, NotOnNetwork, QuotaExceeded
from codex.node.job import JobKind, JobState, Json, Progress
from codex.node.jobs import Job, Jobs
from codex.store import Space
from codex.units import MIB, human_size, size_text

STALL = 5.0  # seconds without anything new, after which lost leaves are recovered instead of waited for
FIRST = 15.0  # seconds that the first may take: others have to be found and connected to
SLOW = 4  # times slower than another row has come, a row is put off; or, for the first, as many stalls long
MEASURED = 1.0  # seconds: what came in less may come faster, and nobody knows how much
STRETCH = 4096  # leaves that the store is asked about at once: 256 MiB of content


class Holdings(Protocol):
    """What can be asked about leaves without reading them; see BlockStore for the contracts."""

    async def missing(self, tree: Cid, first: int, count: int) -> int: ...
    async def has_many(self, addresses: Sequence[BlockAddress]) -> list[bool]: ...
    async def space(self) -> Space: ...


class Leaves(Protocol):
    """What is needed of the exchange: leaves from the network, see `codex.exchange.Exchange`."""

    def fetch_leaves(
        self, tree: Cid, leaf_count: int, indices: Iterable[int], *, block_size: int = BLOCK_SIZE
    ) -> AbstractAsyncContextManager[AsyncIterator[list[tuple[int, Block]]]]:
        """Want these leaves for the length of the block; they come verified and kept, in batches."""


class Rows(Protocol):
    """The rows of a protected dataset, see `codex.node.mending.Rows`."""

    def stop(self, index: int) -> int:
        """Where the row ends that a leaf is in."""

    async def mend(self, first: int, stop: int) -> int:
        """Bring back what is not here of these leaves; how many came back, which may be more."""


class Stalled(Exception):
    """Nothing has come from the network for a while, and there is another way."""


class Trickles(Stalled):
    """So little comes, `rate` leaves a second, that something else is better done first."""

    def __init__(self, rate: float) -> None:
        super().__init__(rate)
        self.rate = rate


@frozen
class Stretch:
    """The leaves `first` to `stop - 1` of a tree, and those of them that are not here, in order."""

    first: int
    stop: int
    missing: Sequence[int]


async def check_room(store: Holdings, size: int) -> None:
    """Raise QuotaExceeded, which says what to type, when `size` bytes that are missing would not fit: before
    the first of them is fetched.
    """
    space = await store.space()
    if size > space.available:
        needed = -(-(space.quota_max - space.available + size) // MIB) * MIB
        raise QuotaExceeded(
            f"{human_size(size)} of the dataset are not on this node, and its quota of"
            f" {human_size(space.quota_max)} has room for {human_size(space.available)}",
            remedy="delete datasets (`codex ls` lists them, `codex rm CID` deletes one), or start the node"
            f" with --storage-quota={size_text(needed)} or more",
        )


async def stretches(
    store: Holdings, tree: Cid, first: int, count: int, *, block_size: int = 0, length: int = STRETCH
) -> AsyncGenerator[Stretch, None]:
    """What of these leaves is here, stretch by stretch, each as of the moment when it is asked for.

    Where all are here, or none, it is a single stretch. With a `block_size` (bytes) those that are missing
    are to be kept here, and QuotaExceeded is raised first of all when there is no room for them.
    """
    stop = first + count
    missing = await store.missing(tree, first, count)
    if missing and block_size:
        await check_room(store, missing * block_size)
    if missing in (0, count):
        yield Stretch(first, stop, range(first, stop) if missing else ())
        return
    for start in range(first, stop, length):
        indices = range(start, min(start + length, stop))
        here = await store.has_many([LeafAddress(tree, index) for index in indices])
        lacking = [index for index, found in zip(indices, here, strict=True) if not found]
        yield Stretch(start, indices.stop, lacking)


async def fetch_dataset(
    store: Holdings, network: Leaves, manifest: Manifest, progress: Progress, rows: Rows | None = None
) -> Json:
    """Fetch every block of a dataset that is not here. Result: the number of `blocks` that came.

    With `rows` those of a protected dataset that do not come are recovered. Those that come slowly are put
    off, and recovered where enough others have come meanwhile. `progress` is told the bytes as
    they arrive; the blocks are kept by then. Raises NotOnNetwork, QuotaExceeded.
    """
    progress.phase = "fetching"
    if rows is None:
        lacking = await store.missing(manifest.tree_cid, 0, manifest.block_count)
        await _fetch(store, network, manifest, range(manifest.block_count), progress)
        return {"blocks": lacking}
    tree, count, size = manifest.tree_cid, manifest.block_count, manifest.block_size
    lacking = await store.missing(tree, 0, count)
    at, best = 0, 0.0
    slow: list[tuple[range, float]] = []  # rows that were put off, with the leaves a second of each

    async def mend(row: range) -> None:
        progress.phase = "recovering"
        await rows.mend(row.start, row.stop)
        # Blocks of other rows have come for it, too.
        progress.bytes_done = (lacking - await store.missing(tree, 0, count)) * size
        progress.phase = "fetching"

    while at < count:
        row = range(at, rows.stop(at))
        least = best / SLOW or len(row) / (SLOW * STALL)
        try:
            rate = await _fetch(
                store, network, manifest, row, progress, patience=STALL, first=0 if at else FIRST, least=least
            )
            best = max(best, rate)
        except Trickles as told:
            slow.append((row, told.rate))
        except (NotOnNetwork, Stalled):
            await mend(row)
        at = row.stop
    for row, rate in slow:
        steps = len(row)
        holed = [await store.missing(tree, first, steps) > 0 for first in range(0, count, steps)]
        parity = manifest.protection.ec_m if manifest.protection else 0
        try:
            if rate < best / SLOW and sum(holed) <= parity:
                raise Stalled  # enough others are here by now
            await _fetch(store, network, manifest, row, progress, patience=STALL, first=FIRST)
        except (NotOnNetwork, Stalled):
            await mend(row)
    return {"blocks": lacking}


async def _fetch(
    store: Holdings,
    network: Leaves,
    manifest: Manifest,
    leaves: range,
    progress: Progress,
    *,
    patience: float = inf,
    first: float = 0.0,
    least: float = 0.0,
) -> float:
    """Fetch what is not here of these leaves; how many came in a second, or in all if it took less.

    Raises NotOnNetwork, and Stalled when none came for `patience` seconds; for the very first there are
    `first` if that is more. Raises Trickles when fewer than `least` a second have come for `patience`.
    """
    tree, count, size = manifest.tree_cid, manifest.block_count, manifest.block_size
    came, since = 0, 0.0
    async with aclosing(stretches(store, tree, leaves.start, len(leaves), block_size=size)) as parts:
        async for stretch in parts:
            if not stretch.missing:
                continue
            async with network.fetch_leaves(tree, count, stretch.missing, block_size=size) as arrivals:
                with trio.move_on_after(max(patience, 0.0 if came else first)) as waiting:
                    async for blocks in arrivals:
                        came += len(blocks)
                        progress.bytes_done += len(blocks) * size
                        now = trio.current_time()
                        waiting.deadline = now + patience
                        since = since or now
                        if now - since >= patience and came < least * (now - since):
                            raise Trickles(came / (now - since))
                if waiting.cancelled_caught:
                    raise Stalled
    took = trio.current_time() - since
    return came / max(took, MEASURED)


async def begin(
    jobs: Jobs,
    store: Holdings,
    network: Leaves | None,
    cid: Cid,
    *,
    find: Callable[[], Awaitable[Manifest]],
    whole: Callable[[Manifest], Awaitable[None]],
    rows: Callable[[Manifest], Rows | None] = lambda manifest: None,
) -> Job:
    """Begin to fetch the dataset `cid`, whose manifest `find` brings; the job, once it is known what is
    missing, or that nothing is. `whole` is called when what was missing is here; `rows` gives those of a
    protected dataset.

    Raises what `find` raises, NotEnabled where blocks are missing and there is no network, and QuotaExceeded
    where there is no room for them: then the job has failed. Cancelled before it returns, it cancels the job.
    """
    underway = trio.Event()
    failures: list[CodexError] = []

    async def work(job: Job) -> Json:
        job.phase = "finding"
        try:
            manifest = await find()
            missing = await store.missing(manifest.tree_cid, 0, manifest.block_count)
            job.bytes_total = missing * manifest.block_size
            if missing and network is None:
                raise NotEnabled(
                    f"{missing} blocks of {cid} are not on this node, which was started without a network",
                    remedy="use datasets stored on this node",
                )
            if missing:
                await check_room(store, missing * manifest.block_size)
        except CodexError as error:
            failures.append(error)
            raise
        if network is None or not missing:
            return {"blocks": 0}
        underway.set()
        result = await fetch_dataset(store, network, manifest, job, rows(manifest))
        await whole(manifest)
        return result

    job = jobs.start(JobKind.FETCH, work, subject=str(cid))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_when_ended, job, underway)
            await underway.wait()
            nursery.cancel_scope.cancel()
    except BaseException:  # a nursery's Cancelled comes in a group
        jobs.cancel(job.id)
        raise
    if failures:
        raise failures[0]
    if job.state is JobState.CANCELLED:
        raise JobCancelled(f"the fetch of {cid} was cancelled")
    return job


async def _when_ended(job: Job, event: trio.Event) -> None:
    await job.wait()
    event.set()
