"""One pass over a dataset that makes all there is to a protected one: parity, and the roots of its slots.

Four stages run side by side, joined by channels without buffers: columns of blocks are read (each block
verified), parity is made of them, the store makes both durable under the leaves of the new tree, and as many
tasks as there are cores compute the block roots, which takes most of the time. A batch of columns has 16 MiB
at most, and up to three are in memory; a column that has more is a batch of its own, and the only one.
Nothing is seen of it all before the ingest is committed.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence

import trio
from attrs import define, frozen

from codex.codec.cid import DIGEST_SIZE, EMPTY_BLOCK
from codex.data import Block, LeafAddress, Manifest, MerkleTree, TreeBuilder
from codex.erasure import MAX_BATCH, Layout, encode, protected_manifest
from codex.errors import BlockNotFound, CodexError, CorruptData, NotADataset
from codex.node.fetching import Leaves
from codex.node.job import Progress
from codex.runtime.memory import give_back
from codex.runtime.threads import Offload
from codex.slots import DatasetBuilder, SlotBuilder, SlotShape, block_root, verifiable
from codex.store import BlockStore, SlotRoots

READ = 64  # blocks that the store is asked for at once: 4 MiB
STAGED = 64  # rows that the store is given at once: as many calls as it works at
PIECE = 4  # blocks of one hop to a thread for their roots: some 30 ms, so that others have their turn
UNDER_WAY = 3  # batches: one is read while another is shared out and a third is hashed
ALONE = MAX_BATCH  # bytes of a batch above which it is the only one: it is a single column then
PASSING = 2  # batches that memory is taken for besides: what the kernel and the disk are given; measured

_PADDING = Block(EMPTY_BLOCK, b"")


@define(eq=False)
class Flight:
    """A batch under way: how much is `left` to be done for it."""

    left: int = 0


@frozen
class Columns:
    """Some consecutive columns, by row; K rows as they are read, and K + M later."""

    numbers: range
    rows: list[list[Block]]
    flight: Flight


@frozen
class Piece:
    """Blocks whose roots are wanted, each with its slot and where it stands there."""

    blocks: Sequence[tuple[int, int, Block]]
    flight: Flight


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
        self._alone = batch_bytes(original, layout, columns) > ALONE
        self._room = trio.Semaphore(1 if self._alone else UNDER_WAY)
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
            await self._room.acquire()
            if self._alone:
                # What was freed is with the threads that had it, and others may read this time.
                await self._offload.run(give_back)
            rows = [layout.row(row, numbers) for row in range(layout.k)]
            indices = [index for row in rows for index in row if index < layout.blocks]
            blocks: dict[int, Block] = {}
            for at in range(0, len(indices), READ):
                part = indices[at : at + READ]
                blocks.update(zip(part, await self._blocks(part), strict=True))
            found = [[blocks.get(index, _PADDING) for index in row] for row in rows]
            await send.send(Columns(numbers, found, Flight()))
            del blocks, found  # not to be kept while there is no room for the next columns

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
            whole = Columns(part.numbers, part.rows + parity, part.flight)
            width = len(whole.numbers)
            count = self._layout.rows * width
            whole.flight.left = 1 + -(-count // PIECE)
            await made.send(whole)
            for first in range(0, count, PIECE):
                places = [divmod(at, width) for at in range(first, min(first + PIECE, count))]
                some = [(row, whole.numbers[at], whole.rows[row][at]) for row, at in places]
                await pieces.send(Piece(some, whole.flight))
            del part, data, parity, whole, some  # not to be kept while the next columns are on their way

    async def _stage(self, made: trio.MemoryReceiveChannel[Columns]) -> None:
        async for columns in made:
            rows = iter(enumerate(columns.rows))
            # The store writes what waits next to each other in one go.
            async with trio.open_nursery() as nursery:
                for _ in range(min(STAGED, len(columns.rows))):
                    nursery.start_soon(
                        self._carry_out, self._staging(columns.numbers, rows), nursery.cancel_scope
                    )
            if self._errors:
                raise self._errors[0]
            self._one_less(columns.flight)
            del columns, rows

    def _staging(
        self, numbers: range, rows: Iterator[tuple[int, list[Block]]]
    ) -> Callable[[], Awaitable[None]]:
        async def stage() -> None:
            for row, blocks in rows:
                first = self._layout.index(row, numbers.start)
                names = [block.cid for block in blocks]
                digests = b"".join([name.digest for name in names])
                self._digests[first * DIGEST_SIZE : (first + len(blocks)) * DIGEST_SIZE] = digests
                await self._store.stage(self._ingest, first, names if row < self._layout.k else blocks)

        return stage

    async def _hash(self, pieces: trio.MemoryReceiveChannel[Piece]) -> None:
        async for piece in pieces:
            blocks = [block.data for _, _, block in piece.blocks]
            roots = await self._offload.run(_roots, blocks, self._size)
            for (slot, position, _), root in zip(piece.blocks, roots, strict=True):
                self._slots[slot].put(position, root)
            self._progress.bytes_done += sum(map(len, blocks))
            self._one_less(piece.flight)
            del piece, blocks

    def _one_less(self, flight: Flight) -> None:
        """Something is done for a batch; when all is, there is room for another."""
        flight.left -= 1
        if not flight.left:
            self._room.release()

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


def batch_bytes(original: Manifest, layout: Layout, columns: int) -> int:
    """Bytes of that many columns, parity included."""
    return columns * layout.rows * original.block_size


def memory_of(batch: int) -> int:
    """Bytes that encoding takes with batches of so many."""
    return batch * (PASSING + (UNDER_WAY if batch <= ALONE else 1))


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
