"""Bringing back leaves of a protected dataset that are lost here and, where it is asked, in the network.

A lost block is computed from any K others of its column (see `gathering`). What is computed is trusted only
when it is proved, and the tree of the dataset can prove it: the unit is a *gap*, a run of consecutive leaves
of a row of which none is here. The leaf before it and the leaf behind it have proofs, in which everything
stands that is beside the gap; together with the digests of all leaves in it they must lead to the root. A
single lost block is a gap by itself, and known at once by the proof of its neighbour. A lost row is one gap:
none of it is handed to anybody before the whole row was computed, for until then nobody could tell whether it
is what the dataset had. Where a neighbour cannot be had either, the gap grows by it, at most to the whole
dataset, whose root is its name.

What was recovered is kept, with proofs, so that it can be served like any other leaf; so is what came of
other rows for it, where there is room. Memory is bounded by a batch of columns, or a single one that has
more.
"""

from collections.abc import AsyncGenerator, Collection, Container, Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Protocol

import trio
from attrs import field, frozen

from codex.codec import Cid
from codex.data import Block, LeafAddress, Manifest
from codex.data.runs import ProvenRun, Witness
from codex.erasure import Layout, columns_at_once, recover
from codex.errors import BlockNotFound, InvalidInput
from codex.kernels.leopard_spec import CHUNK
from codex.logs import get_logger
from codex.node import original
from codex.node.fetching import Holdings, check_room, stretches
from codex.node.gathering import Gatherer, Here, ProvedLeaves
from codex.node.pacing import Pace, sooner
from codex.node.restoring import Restoration, Staging, open_restoration, prove
from codex.node.rows import has_rows, join, runs
from codex.node.sought import Known
from codex.runtime import Budget
from codex.runtime.threads import Offload

COLUMN_MOST = 256 << 20
"""Bytes of data of the largest column that is decoded: K = 4096 rows of blocks of 64 KiB. Whoever claims more
would have this node hold them all at once."""

NEAR = 1024
"""Leaves from the first to the last of several gaps that are closed together: one by one, a thousand holes of
a block each would take as many rounds through the store."""

log = get_logger("node")


class Store(Here, Holdings, Staging, Protocol):
    """What is needed of the store; see BlockStore for the contracts."""

    async def check_original(self, manifest: Manifest) -> bool: ...


class Mender:
    """Brings back leaves of one protected dataset. Made by `Mending.mender`; for one task at a time.

    Raises InvalidInput when the manifest tells of rows or columns that cannot be.
    """

    def __init__(
        self,
        store: Store,
        offload: Offload,
        budget: Budget,
        manifest: Manifest,
        network: ProvedLeaves | None,
        *,
        keep: bool = True,
        known: dict[int, Known] | None = None,
    ) -> None:
        self.manifest = manifest
        self.layout = Layout.of(manifest)
        self.gatherer = Gatherer(store, network, manifest, keep=keep, known=known)
        self._keep = keep and network is not None
        self._store = store
        self._offload = offload
        self._budget = budget
        self._tree = manifest.tree_cid
        self.block_size = manifest.block_size
        _ = self.layout.shape  # raises when such rows cannot be coded
        if self.block_size % CHUNK:
            raise InvalidInput(
                f"blocks of {self.block_size} bytes cannot be coded: it takes a multiple of {CHUNK}"
            )
        column = self.layout.k * self.block_size
        if column > COLUMN_MOST:
            raise InvalidInput(
                f"a column of K = {self.layout.k} blocks of {self.block_size} bytes has {column} bytes,"
                f" more than the {COLUMN_MOST} that this node decodes"
            )

    async def gaps(self, row: int, within: range | None = None) -> list[range]:
        """The runs of leaves of a row that are not here; only those that have leaves `within`."""
        leaves = self.layout.row(row)
        found: list[range] = []
        async with aclosing(stretches(self._store, self._tree, leaves.start, len(leaves))) as parts:
            async for part in parts:
                for run in runs(part.missing):
                    join(found, run)
        if within is None:
            return found
        return [gap for gap in found if gap.start < within.stop and within.start < gap.stop]

    async def mend(self, first: int, stop: int) -> int:
        """Bring back those of the leaves `first` to `stop - 1` that are not here; how many leaves came back,
        which may be more: all of a gap comes at once.

        Raises BlockNotFound (NotOnNetwork when the network was asked) when a column has fewer than K blocks,
        after all gaps were closed that can be; NotADataset when what they give is not what the tree has, and
        QuotaExceeded, for want of room for the gap: where there is none for what comes of other rows besides,
        that is not kept.
        """
        came = 0
        failures: list[BlockNotFound] = []
        steps = max(1, self.layout.steps)
        for row in range(first // steps, -(-stop // steps)):
            for gaps in near(await self.gaps(row, range(first, stop))):
                came += await self._close_all(gaps, failures)
        if came:
            log.info("leaves were recovered", tree=str(self._tree), leaves=came)
        if failures:
            raise failures.pop(0)
        return came

    async def _close_all(self, gaps: Sequence[range], failures: list[BlockNotFound]) -> int:
        """Close gaps of a row that are near each other together, or else one by one; how many leaves came."""
        span = range(gaps[0].start, gaps[-1].stop)
        if not await self._store.missing(self._tree, span.start, len(span)):
            return 0  # they were closed together with others
        try:
            return await self._close(span)
        except BlockNotFound as error:
            if len(gaps) == 1:
                failures.append(error)
                return 0
        return sum([await self._close_all([gap], failures) for gap in gaps])

    async def _close(self, span: range) -> int:
        """Bring back what is not here of these leaves, all of it or none; how many leaves came."""
        self.gatherer.avoid([self.layout.place(span.start)[0]])
        run, witnesses = await self.provable(span)
        total = self.layout.total
        async with open_restoration(self._store, self._offload, self._tree, total, run) as made:
            known = await self._between(span, made)
            lost = [index for index in run if index not in known] if known else run
            self.gatherer.keep = await self._room(run, len(lost))
            async with aclosing(self.rebuild(run, without=known)) as parts:
                async for blocks in parts:
                    await made.add(blocks)
            await made.adopt(await made.prove(witnesses), lost)
        return len(lost)

    async def _room(self, run: range, lost: int) -> bool:
        """Whether what comes of other rows for a run is to be kept, for which there is room then. Raises
        QuotaExceeded where there is none for what is `lost` of the run itself, before anything comes.
        """
        size, layout = self.block_size, self.layout
        await check_room(self._store, lost * size)
        steps = range(layout.steps)
        if run.start // layout.steps == (run.stop - 1) // layout.steps:
            steps = range(run.start % layout.steps, (run.stop - 1) % layout.steps + 1)
        left = (await self._store.space()).available - lost * size
        if not self._keep or left >= layout.k * len(steps) * size:
            return self._keep
        coming = layout.k  # rows, less those that are here
        for row in range(layout.rows):
            leaves = layout.row(row, steps)
            coming -= not await self._store.missing(self._tree, leaves.start, len(leaves))
        return left >= coming * len(steps) * size

    async def _between(self, span: range, made: Restoration) -> set[int]:
        """Note the leaves of a span that are here; which those are."""
        if await self._store.missing(self._tree, span.start, len(span)) == len(span):
            return set()
        here = await self._store.has_many([LeafAddress(self._tree, index) for index in span])
        leaves = await self._store.leaves(self._tree, span.start, len(span))
        sound = [leaf for leaf in leaves if here[leaf.index - span.start]]
        for leaf in sound:
            made.note(leaf.index, leaf.cid)
        return {leaf.index for leaf in sound}

    async def provable(self, run: range) -> tuple[range, list[Witness]]:
        """The least run around this one that can be proved by leaves beside it, and those leaves."""
        first, stop, total, steps = run.start, run.stop, self.layout.total, self.layout.steps
        found: dict[int, Witness] = {}
        asked: set[int] = set()
        reach = 0  # rows beyond the ends of which the ends are asked for, too: more each time
        while True:
            while first - 1 in asked - found.keys():
                first = (await self.around(first - 1)).start
            while stop in asked - found.keys():
                stop = (await self.around(stop)).stop
            ends = {index for index in (first - 1, stop) if 0 <= index < total}
            if ends <= found.keys():
                return range(first, stop), list(found.values())
            below, above = (first - 1) // steps * steps, -(-(stop + 1) // steps) * steps
            for row in range(reach):
                ends |= {below - row * steps - 1, above + row * steps}
            ask = sorted(index for index in ends - asked if 0 <= index < total)
            found |= await self.gatherer.witnesses(ask)
            asked |= set(ask)
            reach = 2 * reach + 1

    async def around(self, index: int) -> range:
        """The run of lost leaves that a leaf is in, which is not to be had."""
        if index in self.layout.padding:
            return self.layout.padding
        row = self.layout.place(index)[0]
        self.gatherer.avoid([row])
        around = await self.gaps(row, range(index, index + 1))
        return around[0] if around else range(index, index + 1)

    async def prove(self, run: range, digests: bytes, witnesses: Sequence[Witness]) -> ProvenRun:
        """Prove what was computed of a run that `provable` gave. Raises NotADataset."""
        return await prove(self._offload, self._tree, self.layout.total, run, digests, witnesses)

    async def rebuild(
        self, run: range, *, without: Container[int] = ()
    ) -> AsyncGenerator[dict[int, Block], None]:
        """The leaves of a run, computed or, where they turn up, found: by index, a batch of columns at once.
        Those `without` which it is to be done are known already.

        They are named by what they contain; whether that is what the tree has there is to be proved.
        """
        rows = range(run.start // self.layout.steps, -(-run.stop // self.layout.steps))
        column = (self.layout.k + len(rows)) * self.block_size
        async with self._budget.lend(column) as share:
            most = max(1, min(columns_at_once(self.layout, self.block_size), share.most // column))
            share.hold(most * column)
            for columns in self.layout.batches(most):
                leaves = [
                    i for row in rows for i in self.layout.row(row, columns) if i in run and i not in without
                ]
                if leaves:
                    yield await self._rebuild(columns, leaves)

    async def _rebuild(self, columns: range, leaves: Sequence[int]) -> dict[int, Block]:
        known = await self.gatherer.gather(columns, leaves)
        wanted = [index for index in leaves if index not in known]
        data = {index: block.data for index, block in known.items()}
        made = await self._offload.run(recover, self.layout, self.block_size, data, wanted)
        found = dict(zip(wanted, made, strict=True))
        return {index: found.get(index) or known[index] for index in leaves}


def near(gaps: Sequence[range]) -> Iterator[Sequence[range]]:
    """Gaps that ascend, in groups of which each has few enough leaves from its first to its last."""
    group: list[range] = []
    for gap in gaps:
        if group and gap.stop - group[0].start > NEAR:
            yield group
            group = []
        group.append(gap)
    if group:
        yield group


class Mending:
    """The mending of a node: whoever needs the same dataset mended, waits for who does it already."""

    def __init__(self, store: Store, offload: Offload, budget: Budget) -> None:
        self._store = store
        self._offload = offload
        self._budget = budget
        self._turns: dict[Cid, tuple[trio.Lock, int]] = {}

    def mender(
        self,
        manifest: Manifest,
        network: ProvedLeaves | None,
        *,
        keep: bool = True,
        known: dict[int, Known] | None = None,
    ) -> Mender:
        """Somebody to bring back leaves of this dataset; `network` is None where only this node counts, and
        what comes from it is kept unless `keep` is false. How fast rows are is added to `known`. Raises
        InvalidInput as `Mender`.
        """
        return Mender(self._store, self._offload, self._budget, manifest, network, keep=keep, known=known)

    def rows(self, manifest: Manifest, network: ProvedLeaves | None) -> "Rows | None":
        """The rows of a dataset as a flow sees them that reads it; None when it has no parity."""
        if manifest.protection is None or not has_rows(manifest) or not manifest.protection.ec_m:
            return None
        return Rows(self, manifest, network)

    async def mend(
        self,
        manifest: Manifest,
        network: ProvedLeaves | None,
        first: int,
        stop: int,
        known: dict[int, Known] | None = None,
    ) -> int:
        """Bring back leaves of this dataset, see `Mender.mend`, one flow after the other."""
        with self._turn(manifest.tree_cid) as turn:
            async with turn:
                return await self.mender(manifest, network, known=known).mend(first, stop)

    async def check(self, manifest: Manifest, first: int, stop: int) -> None:
        """Compare the content with the original; see `original.check`."""
        await original.check(self._store, manifest, first, stop)

    async def missing(self, manifest: Manifest, first: int, count: int) -> int:
        """How many of these leaves are not here."""
        return await self._store.missing(manifest.tree_cid, first, count)

    async def has_room(self, manifest: Manifest, columns: int) -> bool:
        """Whether there is room for K blocks of so many columns."""
        layout = Layout.of(manifest)
        return (await self._store.space()).available >= columns * layout.k * manifest.block_size

    @contextmanager
    def _turn(self, tree: Cid) -> Iterator[trio.Lock]:
        lock, users = self._turns.get(tree) or (trio.Lock(), 0)
        self._turns[tree] = (lock, users + 1)
        try:
            yield lock
        finally:
            lock, users = self._turns.pop(tree)
            if users > 1:
                self._turns[tree] = (lock, users - 1)


@frozen
class Rows:
    """The rows of one protected dataset, for a flow that goes through them and comes upon a gap."""

    _mending: Mending
    _manifest: Manifest
    _network: ProvedLeaves | None
    _known: dict[int, Known] = field(factory=dict, init=False)

    def stop(self, index: int) -> int:
        """Where the row ends that a leaf is in."""
        return (index // self._manifest.steps + 1) * self._manifest.steps

    async def mend(self, first: int, stop: int) -> int:
        """Bring back what is not here of these leaves; see `Mender.mend`."""
        return await self._mending.mend(self._manifest, self._network, first, stop, self._known)

    async def sooner(self, leaves: Collection[int], pace: Pace) -> bool:
        """Whether leaves of a row would be computed much sooner than they come, see `sooner`, and there is
        room for what comes of other rows for it.
        """
        rate = pace.doubtful(len(leaves))
        if rate is None:
            return False
        first = self.stop(min(leaves)) - self._manifest.steps
        made = await self._mending.missing(self._manifest, first, self._manifest.steps)
        if not await self._mending.has_room(self._manifest, made):
            return False
        mender = self._mending.mender(self._manifest, self._network, known=self._known)
        return await sooner(mender, leaves, pace, rate, made)

    async def check(self, first: int, stop: int) -> None:
        """Compare leaves of the content with the original; see `original.check`."""
        await self._mending.check(self._manifest, first, stop)

    def alone(self) -> Mender:
        """Somebody to compute leaves from what is here, to be read and not kept; see `decode`."""
        return self._mending.mender(self._manifest, None, keep=False)
