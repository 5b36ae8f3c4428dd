"""The door of the exchange: typed methods over its mailbox.

Whatever comes from here was verified, and, unless it was asked not to be kept, is in the store by then.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice

import trio

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block
from codex.errors import CodexError, InvalidInput
from codex.exchange import calls
from codex.exchange.board import ExchangeBoard
from codex.exchange.ledger import Trade
from codex.p2p import PeerId
from codex.runtime import Mailbox, unwrapped
from codex.store import Leaf

_PIECE = 256  # indices handed over at once

Batch = list[tuple[int, Block]]
Proved = list[tuple[Leaf, Block]]


class Exchange:
    """Blocks from other nodes, and to them. Serving goes on by itself while the service runs."""

    def __init__(self, mailbox: Mailbox, board: ExchangeBoard) -> None:
        self._mailbox = mailbox
        self._board = board

    async def fetch_block(self, cid: Cid, *, keep: bool = True, ttl: float | None = None) -> Block:
        """Get a manifest or a single block from the network, and keep it in the store for `ttl` seconds;
        unless `keep`, nothing is stored.

        Raises NotOnNetwork, whose message tells what was tried, and what the store raises: QuotaExceeded,
        DiskFull, DecodeError for a manifest that is none.
        """
        return await self._mailbox.ask(calls.FetchBlock(cid, keep, ttl, trio.current_time()))

    @asynccontextmanager
    async def fetch_leaves(
        self,
        tree: Cid,
        leaf_count: int,
        indices: Iterable[int],
        *,
        ttl: float | None = None,
        block_size: int = BLOCK_SIZE,
    ) -> AsyncIterator["Arrivals"]:
        """Want these leaves of a dataset for the length of the block, and get them in batches as they come.

        `indices` ascend; they are drawn as they are needed, some thousand ahead. Leaves come in any order
        within a sliding span of 64 MiB, of which 32 MiB at most are on order or have not been taken, and are
        kept in the store for `ttl` seconds. Whoever does not take what came is waited for, and so are the
        peers. Leaving the block withdraws all that is still wanted.

        Iterating raises NotOnNetwork when nothing more is to be had: nothing came for as long as
        `ExchangeConfig.timeout` says (up to a minute more, while messages come that are not whole yet), or,
        sooner, nobody can be found who has any of what is left. It raises what the store raises, too
        (QuotaExceeded, DiskFull), InvalidInput for an index beyond the tree, and NotADataset when a leaf has
        not `block_size` bytes and is not the empty block either.
        """
        async with self.fetch_proved(tree, leaf_count, indices, ttl=ttl, block_size=block_size) as proved:
            yield Arrivals(proved)

    @asynccontextmanager
    async def fetch_proved(
        self,
        tree: Cid,
        leaf_count: int,
        indices: Iterable[int],
        *,
        keep: bool = True,
        ttl: float | None = None,
        block_size: int = BLOCK_SIZE,
    ) -> AsyncIterator["ProvedArrivals"]:
        """As `fetch_leaves`, with the proof of each leaf; and unless `keep`, nothing is stored."""
        index_send, index_receive = trio.open_memory_channel[Sequence[int]](0)
        send, receive = trio.open_memory_channel[Proved](0)
        now = trio.current_time()
        call = calls.FetchLeaves(tree, leaf_count, block_size, keep, ttl, now, index_receive, send)
        arrivals = ProvedArrivals(receive)
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_feed, indices, leaf_count, index_send, arrivals)
                nursery.start_soon(self._fetch, call, arrivals)
                yield arrivals
                nursery.cancel_scope.cancel()

    async def _fetch(self, call: calls.FetchLeaves, arrivals: "ProvedArrivals") -> None:
        try:
            await self._mailbox.ask(call)
        except CodexError as error:
            arrivals.fail(error)
        finally:
            call.arrivals.close()
            call.indices.close()

    def ledger(self) -> Mapping[PeerId, Trade]:
        """What each peer and this node have had of each other since the service started, and what is open
        between them. Includes peers that have left, some thousand of them.
        """
        return self._board.ledger()


class Arrivals:
    """Batches of leaves with their index, as they come: an asynchronous iterator, for one task."""

    def __init__(self, proved: "ProvedArrivals") -> None:
        self._proved = proved

    def __aiter__(self) -> "Arrivals":
        return self

    async def __anext__(self) -> Batch:
        return [(leaf.index, block) for leaf, block in await anext(self._proved)]


class ProvedArrivals:
    """Batches of leaves with their proofs, as they come: an asynchronous iterator, for one task."""

    def __init__(self, batches: trio.MemoryReceiveChannel[Proved]) -> None:
        self._batches = batches
        self._error: CodexError | None = None

    def __aiter__(self) -> "ProvedArrivals":
        return self

    async def __anext__(self) -> Proved:
        try:
            return await self._batches.receive()
        except trio.EndOfChannel:
            if self._error is not None:
                raise self._error from None
            raise StopAsyncIteration from None

    def fail(self, error: CodexError) -> None:
        """What is raised behind the last batch; the first error counts."""
        if self._error is None:
            self._error = error


async def _feed(
    indices: Iterable[int],
    leaf_count: int,
    out: trio.MemorySendChannel[Sequence[int]],
    arrivals: ProvedArrivals,
) -> None:
    """Draw indices as the exchange takes them. What the caller's own iterable raises, is raised there."""
    async with out:
        try:
            for piece in _pieces(iter(indices), leaf_count):
                await out.send(piece)
        except trio.BrokenResourceError:
            return  # the fetch has ended, and says why
        except InvalidInput as error:
            arrivals.fail(error)


def _pieces(indices: Iterator[int], leaf_count: int) -> Iterator[Sequence[int]]:
    while piece := tuple(islice(indices, _PIECE)):
        beyond = next((index for index in piece if not 0 <= index < leaf_count), None)
        if beyond is not None:
            raise InvalidInput(f"the dataset has {leaf_count} blocks and none at {beyond}")
        yield piece
