"""One pass over a dataset that makes all there is to a protected one: parity, and the roots of its slots.

Four stages run side by side, joined by channels without buffers: columns of blocks are read (each block
verified), parity is made of them, the store makes both durable under the leaves of the new tree, and as many
tasks as there are cores compute the block roots, which takes most of the time. A batch of columns has some 16
MiB, or is a single one that has more; at most three are in memory: one that is read, one that is shared out,
and one that is stored. Nothing is seen of it all before the ingest is committed.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio
from attrs import frozen

from codex.codec.cid import DIGEST_SIZE, EMPTY_BLOCK, Cid
from codex.data import Block, LeafAddress, Manifest, MerkleTree, TreeBuilder
from codex.erasure import Layout, encode, protected_manifest
from codex.errors import BlockNotFound, CodexError, CorruptData, NotADataset
from codex.node.fetching import Leaves
from codex.node.job import Progress
from codex.runtime.threads import Offload
from codex.slots import DatasetBuilder, SlotBuilder, SlotShape, block_root, verifiable
from codex.store import BlockStore, SlotRoots

READ = 64  # blocks that the store is asked for at once: 4 MiB
PIECE = 4  # blocks of one hop to a thread for their roots: some 30 ms, so that others have their turn
BATCHES = 3  # in memory at once

_PADDING = Block(EMPTY_BLOCK, b"")


@frozen
class Columns:
    """Some consecutive columns, by row; K rows as they are read, and K + M later."""

    numbers: range
    rows: list[list[Block]]


Piece = list[tuple[int, int, Block]]
"""Blocks whose roots are wanted, each with its slot and where it stands there."""


@frozen
class Slots:
    """What an encoding comes to: the tree over all leaves, the verifiable manifest, and the slots' roots."""

    tree: MerkleTree
    manifest: Manifest
    roots: Sequence[SlotRoots]


class Encoding:
    """The pass over one dataset, into one ingest. `run` once, and `finish` after that.

    `columns` is how many make a batch, `cores` how many threads compute at once. `network` is where blocks
    come from that turn out to be missing or damaged; None where nobody is asked.
    """

    def __init__(
        self,
        store: BlockStore,
        offload: Offload,
        ingest: str,
        original: Manifest,
        layout: Layout,
        *,
        columns: int,
        cores: int,
        network: Leaves | None,
        progress: Progress,
    ) -> None:
        self._store = store
        self._offload = offload
        self._ingest = ingest
        self._original = original
        self._layout = layout
        self._size = original.block_size
        self._columns = columns
        self._cores = cores
        self._network = network
        self._progress = progress
        self._digests = bytearray(layout.total * DIGEST_SIZE)
        self._slots = DatasetBuilder(slot_shape(original, layout)).slots
        self._errors: list[CodexError] = []

    async def run(self) -> None:
        """Read, encode and store everything, and compute the block roots.

        Raises BlockNotFound and CorruptData for blocks that cannot be had, NotADataset when one has another
        size than the manifest says, QuotaExceeded, DiskFull, DiskFailed; the first where there are several.
        """
        read_in, read_out = trio.open_memory_channel[Columns](0)
        made_in, made_out = trio.open_memory_channel[Columns](0)
        piece_in, piece_out = trio.open_memory_channel[Piece](0)

        async def read() -> None:
            async with read_in:
                await self._read(read_in)

        async def code() -> None:
            async with made_in, piece_in:
                await self._encode(read_out, made_in, piece_in)

        stages: list[Callable[[], Awaitable[None]]] = [read, code, lambda: self._stage(made_out)]
        stages += [lambda: self._hash(piece_out)] * self._cores
        async with trio.open_nursery() as nursery:
            for stage in stages:
                nursery.start_soon(self._carry_out, stage, nursery.cancel_scope)
        if self._errors:
            raise self._errors[0]

    async def _carry_out(self, stage: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:
        """One stage; the first answer that is an error ends all of them."""
        try:
            await stage()
        except CodexError as error:
            self._errors.append(error)
            scope.cancel()

    # -- the stages

    async def _read(self, send: trio.MemorySendChannel[Columns]) -> None:
        layout = self._layout
        for numbers in layout.batches(self._columns):
            rows = [layout.row(row, numbers) for row in range(layout.k)]
            indices = [index for row in rows for index in row if index < layout.blocks]
            blocks: dict[int, Block] = {}
            for at in range(0, len(indices), READ):
                part = indices[at : at + READ]
                blocks.update(zip(part, await self._blocks(part), strict=True))
            await send.send(
                Columns(numbers, [[blocks.get(index, _PADDING) for index in row] for row in rows])
            )

    async def _blocks(self, indices: Sequence[int]) -> list[Block]:
        """The blocks at these leaves of the original."""
        tree = self._original.tree_cid
        addresses = [LeafAddress(tree, index) for index in indices]
        try:
            blocks = await self._store.get_many(addresses)
        except (BlockNotFound, CorruptData):
            if self._network is None:
                raise
            here = await self._store.has_many(addresses)
            lacking = [index for index, found in zip(indices, here, strict=True) if not found]
            count = self._original.block_count
            async with self._network.fetch_leaves(tree, count, lacking, block_size=self._size) as arrivals:
                async for _ in arrivals:
                    pass
            blocks = await self._store.get_many(addresses)
        for index, block in zip(indices, blocks, strict=True):
            if len(block.data) not in (self._size, 0):  # the empty block stands for zeros
                raise NotADataset(
                    f"block {index} of the dataset {tree} has {len(block.data)} bytes, and {self._size} by"
                    " its manifest",
                    remedy="ask whoever made the manifest for another one: this one describes no dataset",
                )
        return blocks

    async def _encode(
        self,
        columns: trio.MemoryReceiveChannel[Columns],
        made: trio.MemorySendChannel[Columns],
        pieces: trio.MemorySendChannel[Piece],
    ) -> None:
        async for part in columns:
            data = [[block.data for block in row] for row in part.rows]
            parity = await self._offload.run(encode, self._layout, self._size, data)
            whole = Columns(part.numbers, part.rows + parity)
            del part, data, parity
            await made.send(whole)
            piece: Piece = []
            for row, blocks in enumerate(whole.rows):
                for column, block in zip(whole.numbers, blocks, strict=True):
                    piece.append((row, column, block))
                    if len(piece) == PIECE:
                        await pieces.send(piece)
                        piece = []
            if piece:
                await pieces.send(piece)
            del whole, blocks, block, piece  # not to be kept while the next columns are on their way

    async def _stage(self, made: trio.MemoryReceiveChannel[Columns]) -> None:
        layout = self._layout
        async for columns in made:
            # The store writes what waits next to each other in one go.
            async with trio.open_nursery() as nursery:
                for number, blocks in enumerate(columns.rows):
                    first = layout.index(number, columns.numbers.start)
                    names = [block.cid for block in blocks]
                    digests = b"".join([name.digest for name in names])
                    self._digests[first * DIGEST_SIZE : (first + len(blocks)) * DIGEST_SIZE] = digests
                    leaves = names if number < layout.k else blocks
                    nursery.start_soon(self._carry_out, self._staging(first, leaves), nursery.cancel_scope)
            if self._errors:
                raise self._errors[0]

    def _staging(self, first: int, leaves: Sequence[Block | Cid]) -> Callable[[], Awaitable[None]]:
        return lambda: self._store.stage(self._ingest, first, leaves)

    async def _hash(self, pieces: trio.MemoryReceiveChannel[Piece]) -> None:
        async for piece in pieces:
            blocks = [block.data for _, _, block in piece]
            roots = await self._offload.run(_roots, blocks, self._size)
            for (slot, position, _), root in zip(piece, roots, strict=True):
                self._slots[slot].put(position, root)
            self._progress.bytes_done += sum(map(len, blocks))

    # -- what it comes to

    async def finish(self) -> Slots:
        """Build the slots' trees, on all cores, and what follows from their roots.

        Raises CorruptData when the blocks that were read are not those of the original's tree.
        """
        slots: dict[int, SlotRoots] = {}
        left = iter(enumerate(self._slots))

        async def build() -> None:
            for number, builder in left:
                slots[number] = await self._offload.run(_slot, number, builder)

        async with trio.open_nursery() as nursery:
            for _ in range(self._cores):
                nursery.start_soon(build)
        return await self._offload.run(self._slots_of, [slots[number] for number in range(len(slots))])

    def _slots_of(self, roots: list[SlotRoots]) -> Slots:
        original, layout = self._original, self._layout
        if _tree(self._digests[: layout.blocks * DIGEST_SIZE]).root_cid != original.tree_cid:
            raise CorruptData(
                f"the blocks here do not make up the tree {original.tree_cid}",
                remedy="store the dataset again, or restore the data directory from a backup",
            )
        tree = _tree(self._digests)
        protected = protected_manifest(original, layout, tree.root_cid)
        return Slots(tree, verifiable(protected, [slot.root.digest for slot in roots]), roots)


def slot_shape(original: Manifest, layout: Layout) -> SlotShape:
    """The shape of the slots that a layout makes of an original. Raises InvalidInput when its blocks have no
    cells.
    """
    return SlotShape(slot_count=layout.rows, block_count=layout.steps, block_size=original.block_size)


def _roots(blocks: Sequence[bytes | memoryview], size: int) -> list[bytes]:
    return [block_root(block, size) for block in blocks]


def _slot(number: int, builder: SlotBuilder) -> SlotRoots:
    tree = builder.finish()
    return SlotRoots(number, tree.cid, tree.to_bytes())


def _tree(digests: bytearray) -> MerkleTree:
    builder = TreeBuilder()
    builder.add_joined(bytes(digests))
    return builder.finish()
