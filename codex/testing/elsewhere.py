"""A dataset that somebody else holds, and a store in memory that has some of it: for flows above the
exchange, without a network.
"""

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice

import trio
from attrs import evolve

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block, BlockAddress, LeafAddress, Manifest, MerkleTree
from codex.errors import BlockNotFound, CodexError, CorruptData, NotADataset
from codex.runtime import Feed
from codex.runtime.groups import unwrapped
from codex.store import Space


class Dataset:
    """Content cut into blocks, with its tree and its manifest."""

    def __init__(self, content: bytes, block_size: int = BLOCK_SIZE) -> None:
        self.content = content
        padded = content + bytes(-len(content) % block_size)
        self.blocks = [
            Block.of(padded[start : start + block_size]) for start in range(0, len(padded), block_size)
        ]
        tree = MerkleTree.of([block.cid.digest for block in self.blocks])
        self.manifest = evolve(Manifest.of_upload(tree.root_cid, len(content)), block_size=block_size)


class Shelf:
    """A store that holds some leaves of one dataset; which were read is in `read`."""

    def __init__(self, dataset: Dataset, indices: Iterable[int] = ()) -> None:
        self.dataset = dataset
        self.here = {index: dataset.blocks[index] for index in indices}
        self.damaged: set[int] = set()
        self.quota = 1 << 40
        """Bytes that the leaves may have together; nobody looks at it but who asks for the space."""
        self.read: list[int] = []

    async def missing(self, tree: Cid, first: int, count: int) -> int:
        """How many of these leaves are not here."""
        await trio.lowlevel.checkpoint()
        return sum(index not in self.here for index in range(first, first + count))

    async def space(self) -> Space:
        """How much of the quota the leaves take."""
        await trio.lowlevel.checkpoint()
        return Space(len(self.here), self.quota, sum(len(block.data) for block in self.here.values()), 0)

    async def has_many(self, addresses: Sequence[BlockAddress]) -> list[bool]:
        """Whether each of these leaves is here."""
        await trio.lowlevel.checkpoint()
        return [isinstance(address, LeafAddress) and address.index in self.here for address in addresses]

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
        """Hand these leaves to the feed, a few at once; damage is found here, and known from then on."""
        await trio.lowlevel.checkpoint()
        at = first
        while at < stop:
            if at in self.damaged:
                self.damaged.discard(at)
                del self.here[at]
                error: CodexError = CorruptData(f"leaf {at} is damaged")
            elif at not in self.here:
                error = BlockNotFound(f"leaf {at} is not here")
            elif block_size is not None and len(self.here[at].data) != block_size:
                error = NotADataset(f"leaf {at} has not {block_size} bytes")
            else:
                self.read.append(at)
                at += 1
                if not feed.offer(memoryview(self.here[at - 1].data)):
                    break
                continue
            if at == first:
                raise error
            break
        return at


class Elsewhere:
    """The exchange's door, with everybody else behind it: leaves come after `delay` seconds, `batch` at once,
    the last of a batch first, and are kept on the shelf. What was wanted is in `wanted`.

    Of more than `window` leaves that nobody took none is brought. `lost` leaves nobody has.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        batch: int = 3,
        window: int = 64,
        delay: float = 0.01,
        lost: Collection[int] = (),
        verdict: CodexError | None = None,
    ) -> None:
        self._shelf = shelf
        self._batch = batch
        self._window = window
        self._delay = delay
        self._lost = lost
        self._verdict = verdict or BlockNotFound("nobody has it")
        self.wanted: list[int] = []
        self.open = 0

    @asynccontextmanager
    async def fetch_leaves(
        self, tree: Cid, leaf_count: int, indices: Iterable[int], *, block_size: int = BLOCK_SIZE
    ) -> AsyncIterator[AsyncIterator[list[tuple[int, Block]]]]:
        """Want these leaves for the length of the block."""
        dataset = self._shelf.dataset
        assert (tree, leaf_count) == (dataset.manifest.tree_cid, len(dataset.blocks))
        send, receive = trio.open_memory_channel[list[tuple[int, Block]]](self._window // self._batch)
        self.open += 1
        try:
            with unwrapped():
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._bring, indices, send)
                    yield _Arrivals(receive, self._verdict)
                    nursery.cancel_scope.cancel()
        finally:
            self.open -= 1

    async def _bring(
        self, indices: Iterable[int], send: trio.MemorySendChannel[list[tuple[int, Block]]]
    ) -> None:
        left = iter(indices)
        async with send:
            while batch := list(islice(left, self._batch)):
                self.wanted += batch
                await trio.sleep(self._delay)
                if any(index in self._lost for index in batch):
                    await send.send([])
                    return
                found = [(index, self._shelf.dataset.blocks[index]) for index in reversed(batch)]
                self._shelf.here.update(found)
                await send.send(found)


class _Arrivals:
    """What has come; nothing at all is the verdict."""

    def __init__(
        self, receive: trio.MemoryReceiveChannel[list[tuple[int, Block]]], verdict: CodexError
    ) -> None:
        self._receive = receive
        self._verdict = verdict

    def __aiter__(self) -> "_Arrivals":
        return self

    async def __anext__(self) -> list[tuple[int, Block]]:
        try:
            blocks = await self._receive.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        if not blocks:
            raise self._verdict
        return blocks
