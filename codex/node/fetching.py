"""What is missing of a dataset, and getting it from the network.

Nobody asks the store about a whole dataset at once: that would be millions of leaves. It is asked stretch by
stretch, but for the two ends of the scale, a dataset that is here and one of which nothing is.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Protocol

from attrs import frozen

from codex.codec import Cid
from codex.data import Block, BlockAddress, LeafAddress, Manifest
from codex.node.job import Json, Progress

STRETCH = 4096  # leaves that the store is asked about at once: 256 MiB of content


class Holdings(Protocol):
    """What can be asked about leaves without reading them; see BlockStore for the contracts."""

    async def missing(self, tree: Cid, first: int, count: int) -> int: ...
    async def has_many(self, addresses: Sequence[BlockAddress]) -> list[bool]: ...


class Leaves(Protocol):
    """What is needed of the exchange: leaves from the network, see `codex.exchange.Exchange`."""

    def fetch_leaves(
        self, tree: Cid, leaf_count: int, indices: Iterable[int]
    ) -> AbstractAsyncContextManager[AsyncIterator[list[tuple[int, Block]]]]:
        """Want these leaves for the length of the block; they come verified and kept, in batches."""


@frozen
class Stretch:
    """The leaves `first` to `stop - 1` of a tree, and those of them that are not here, in order."""

    first: int
    stop: int
    missing: Sequence[int]


async def stretches(
    store: Holdings, tree: Cid, first: int, count: int, *, length: int = STRETCH
) -> AsyncGenerator[Stretch, None]:
    """What of these leaves is here, stretch by stretch, each as of the moment when it is asked for.

    Where all are here, or none, it is a single stretch.
    """
    stop = first + count
    missing = await store.missing(tree, first, count)
    if missing in (0, count):
        yield Stretch(first, stop, range(first, stop) if missing else ())
        return
    for start in range(first, stop, length):
        indices = range(start, min(start + length, stop))
        here = await store.has_many([LeafAddress(tree, index) for index in indices])
        lacking = [index for index, found in zip(indices, here, strict=True) if not found]
        yield Stretch(start, indices.stop, lacking)


async def fetch_dataset(store: Holdings, network: Leaves, manifest: Manifest, progress: Progress) -> Json:
    """Fetch every block of a dataset that is not here. Result: the number of `blocks` that came.

    `progress` is told the bytes as they arrive; the blocks are kept by then. Raises NotOnNetwork.
    """
    tree, count = manifest.tree_cid, manifest.block_count
    progress.phase = "fetching"
    came = 0
    async with aclosing(stretches(store, tree, 0, count)) as parts:
        async for stretch in parts:
            if not stretch.missing:
                continue
            async with network.fetch_leaves(tree, count, stretch.missing) as arrivals:
                async for blocks in arrivals:
                    came += len(blocks)
                    progress.bytes_done += len(blocks) * manifest.block_size
    return {"blocks": came}
