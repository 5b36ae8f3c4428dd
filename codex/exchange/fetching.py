"""The flow of one fetch: what is wanted goes in, what arrives goes into the store and on to the caller, and
somebody looks at the time.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import trio
from attrs import define, field

from codex.codec import CODEX_MANIFEST, Cid, is_empty
from codex.data import BLOCK_SIZE, Block, BlockAddress, LeafAddress, Manifest
from codex.errors import NotADataset, NotOnNetwork
from codex.exchange.calls import FetchBlock, FetchLeaves
from codex.exchange.messages import Delivery
from codex.exchange.peering import Signal
from codex.exchange.proving import ProvenTree
from codex.exchange.searching import Search, Searcher
from codex.exchange.sources import Fetch, Want
from codex.exchange.wants import LEAST, Wants
from codex.p2p import PeerId
from codex.runtime import unwrapped
from codex.store import Leaf

SPAN = 1024
"""Leaves that are wanted from the first on that is missing, unless blocks are large."""
SPAN_BYTES = SPAN * BLOCK_SIZE
REFILL = 256
"""Leaves that are added to what is wanted at once, but for the first time."""
WRITE_BYTES = 4 << 20
"""Bytes that are stored at once; less at first, so that something comes soon."""
GATHER = 0.02
"""Seconds for which what has come waits for more, while more is on order: a batch costs the store as much as
some blocks do.
"""
WRITES = 4
"""Batches that are being stored at once: those that wait for the disk together share one flush."""
TICK = 0.25
"""Seconds between two looks at the time."""
GRACE = 3.0
"""Seconds for which nobody must have anything of what is left before a fetch ends without it."""
SEARCHES = 2
"""Searches that must have found nobody else by then, the last one since it is so."""


class Blocks(Protocol):
    """What is needed of the store; see BlockStore for the contracts."""

    async def put_many(self, blocks: Sequence[Block], *, ttl: float | None = None) -> None: ...
    async def put_leaves(
        self, tree: Cid, leaves: Sequence[Leaf], blocks: Sequence[Block] = (), *, ttl: float | None = None
    ) -> None: ...


@define(eq=False)
class Run:
    """A fetch under way, and what has come for it, is sound, and has not been stored yet."""

    fetch: Fetch
    search: Search = field(factory=Search)
    arrived: deque[Delivery] = field(factory=deque)
    giver: PeerId | None = None
    """Who sent what came last."""
    arrived_bytes: int = 0
    came: Signal = field(factory=Signal)
    enough: Signal = field(factory=Signal)
    """Set when what has come need not wait for more."""
    supply: Signal = field(factory=Signal)
    window: deque[Want] = field(factory=deque)
    """What was wanted lately, in order, from the first on that is missing."""
    complete: bool = False
    """Whether everything is wanted that ever will be."""

    @property
    def done(self) -> bool:
        """Whether nothing more will come."""
        return self.complete and not self.fetch.wants and not self.arrived

    @property
    def has_enough(self) -> bool:
        """Whether what has come makes a batch, or nothing more is under way, or it is the first."""
        fetch = self.fetch
        first = fetch.delivered == len(self.arrived)
        return self.arrived_bytes >= WRITE_BYTES or first or not fetch.on_order

    def batch(self) -> list[Delivery]:
        """Take away what is to be stored at once."""
        some: list[Delivery] = []
        size = 0
        while self.arrived and size < WRITE_BYTES:
            delivery = self.arrived.popleft()
            some.append(delivery)
            size += len(delivery.block.data)
        self.arrived_bytes -= size
        return some

    def span(self) -> int:
        """How many blocks were wanted since the first that is missing, itself included."""
        while self.window and self.window[0].over:
            self.window.popleft()
        return len(self.window)


class Fetcher:
    """Runs fetches. `step` is called whenever there may be something new to be said to peers; `stored` with
    what has come to this node.
    """

    def __init__(
        self,
        wants: Wants,
        searcher: Searcher,
        store: Blocks,
        *,
        timeout: float,
        step: Callable[[], None],
        stored: Callable[[Sequence[BlockAddress]], None],
    ) -> None:
        self._wants = wants
        self._searcher = searcher
        self._store = store
        self._timeout = timeout
        self._step = step
        self._stored = stored
        self._runs: dict[Fetch, Run] = {}
        self._ticked = -TICK
        self.trees: dict[Cid, dict[int, tuple[ProvenTree, int]]] = {}
        """By root and number of leaves: the trees that leaves are fetched of, and for how many fetches."""

    def arrived(self, fetch: Fetch, peer: PeerId, deliveries: Sequence[Delivery]) -> None:
        """Sound blocks have come for a fetch, of leaves with their proofs."""
        run = self._runs[fetch]
        run.arrived.extend(deliveries)
        run.arrived_bytes += sum([len(delivery.block.data) for delivery in deliveries])
        run.giver = peer
        run.came.set()
        if run.has_enough:
            run.enough.set()

    @contextmanager
    def _running(self, subject: Cid, since: float) -> Iterator[Run]:
        """A fetch for the length of a block; what it still wants then is withdrawn."""
        fetch = self._wants.open(subject, trio.current_time())
        fetch.progress = since
        run = self._runs[fetch] = Run(fetch)
        try:
            yield run
        finally:
            self._wants.close(fetch)
            del self._runs[fetch]
            self._step()

    @contextmanager
    def _proving(self, tree: Cid, leaf_count: int) -> Iterator[None]:
        """Check leaves of this tree for the length of a block."""
        sizes = self.trees.setdefault(tree, {})
        proven, users = sizes.get(leaf_count) or (ProvenTree(tree, leaf_count), 0)
        sizes[leaf_count] = (proven, users + 1)
        try:
            yield
        finally:
            proven, users = sizes[leaf_count]
            sizes[leaf_count] = (proven, users - 1)
            if users == 1:
                del sizes[leaf_count]
                if not sizes:
                    del self.trees[tree]

    # -- a single block

    async def fetch_block(self, call: FetchBlock) -> Block:
        """See `Exchange.fetch_block`."""
        cid = call.cid
        if is_empty(cid):
            return Block(cid, b"")
        with unwrapped(), self._running(cid, call.since) as run:
            self._wants.add(run.fetch, [cid])
            run.complete = True
            self._step()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._searcher.pursue, run.fetch, run.search)
                what = "manifest" if cid.codec == CODEX_MANIFEST else "block"
                nursery.start_soon(self._watch, run, f"the {what} {cid}")
                await run.came.wait()
                nursery.cancel_scope.cancel()
            # The view would hold on to all that came with it.
            block = Block(cid, bytes(run.arrived.popleft().block.data))
            if cid.codec == CODEX_MANIFEST and run.giver is not None:
                # Whoever has the manifest has, as a rule, the dataset.
                self._wants.hint(run.giver, Manifest.from_bytes(bytes(block.data)).tree_cid)
            if call.keep:
                await self._store.put_many([block], ttl=call.ttl)
                self._stored([cid])
            return block

    # -- leaves of a dataset

    async def fetch_leaves(self, call: FetchLeaves) -> None:
        """See `Exchange.fetch_leaves`."""
        proving = self._proving(call.tree, call.leaf_count)
        with unwrapped(), proving, self._running(call.tree, call.since) as run:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._supply, run, call)
                nursery.start_soon(self._searcher.pursue, run.fetch, run.search)
                nursery.start_soon(self._watch, run, f"the dataset {call.tree}")
                await self._keep(run, call)
                nursery.cancel_scope.cancel()

    async def _supply(self, run: Run, call: FetchLeaves) -> None:
        """Want what the caller wants, no further ahead of what is missing than the span."""
        span = max(1, min(SPAN, SPAN_BYTES // call.block_size))
        async with call.indices:
            async for indices in call.indices:
                for at in range(0, len(indices), REFILL):
                    piece = indices[at : at + REFILL]
                    # Waits until the window has slid so far that all of the piece fits.
                    while (wanted := run.span()) and wanted + len(piece) > span:
                        await run.supply.wait()
                    addresses = [LeafAddress(call.tree, index) for index in piece]
                    run.window.extend(self._wants.add(run.fetch, addresses, call.block_size))
                    self._step()
        run.complete = True
        run.came.set()

    async def _keep(self, run: Run, call: FetchLeaves) -> None:
        """Store what comes, batch by batch, and hand it on."""
        writes = trio.Semaphore(WRITES)
        handing = trio.Lock()
        async with trio.open_nursery() as nursery:
            while not run.done:
                await run.came.wait()
                while run.arrived:
                    with trio.move_on_after(GATHER):
                        while not run.has_enough:
                            await run.enough.wait()
                    await writes.acquire()
                    nursery.start_soon(self._store_and_hand_on, run, call, run.batch(), writes, handing)
        call.arrivals.close()

    async def _store_and_hand_on(
        self, run: Run, call: FetchLeaves, batch: list[Delivery], writes: trio.Semaphore, handing: trio.Lock
    ) -> None:
        leaves, blocks, total = [], [], 0
        for delivery in batch:
            block, proof = delivery.block, delivery.proof
            assert proof is not None
            size = len(block.data)
            # The empty block stands for padding. Any other is what the tree has there, whoever is asked.
            if size and size != call.block_size:
                raise NotADataset.of_size(call.tree, proof.index, size, call.block_size)
            leaves.append(Leaf(proof.index, block.cid, proof))
            blocks.append(block)
            total += size if size > LEAST else LEAST
        try:
            if call.keep:
                await self._store.put_leaves(call.tree, leaves, blocks, ttl=call.ttl)
                self._stored([delivery.address for delivery in batch])
        finally:
            writes.release()
        async with handing:
            await call.arrivals.send(list(zip(leaves, blocks, strict=True)))
        self._wants.taken(run.fetch, total)
        run.fetch.progress = trio.current_time()
        run.supply.set()
        self._step()

    # -- time

    async def _watch(self, run: Run, what: str) -> None:
        """Look at the time; raise NotOnNetwork when there is nothing more to hope for."""
        fetch = run.fetch
        stuck_since: float | None = None
        rounds = 0
        while True:
            await trio.sleep(TICK)
            now = trio.current_time()
            if now - self._ticked >= TICK:
                # One step looks at all fetches: with many of them, one of them has it done.
                self._ticked = now
                self._step()
            if fetch.exhausted is not None:
                raise self._not_to_be_had(run, what, "every peer was asked for it as often as it may be")
            if not fetch.wants or fetch.held > _on_order_bytes(fetch):
                # It is the caller who is waited for, or the store.
                fetch.progress = now
            if self._wants.is_given_up(fetch, self._timeout, now):
                raise self._not_to_be_had(run, what, f"nothing came for {self._timeout:g} s")
            if not self._wants.is_stuck(fetch, now):
                stuck_since = None
            elif stuck_since is None:
                stuck_since, rounds = now, run.search.rounds
            searched = run.search.rounds > rounds and run.search.rounds >= SEARCHES and not run.search.busy
            if stuck_since is not None and now - stuck_since >= GRACE and searched:
                raise self._not_to_be_had(run, what, "")

    def _not_to_be_had(self, run: Run, what: str, why: str) -> NotOnNetwork:
        text = run.fetch.tried.sentence(what)
        return NotOnNetwork(
            f"{text}; {why}" if why else text,
            remedy="check that a node that has it is running and can be reached, and try again",
        )


def _on_order_bytes(fetch: Fetch) -> int:
    return sum(want.size for want in fetch.wants if want.asked is not None and want.fetch is fetch)
