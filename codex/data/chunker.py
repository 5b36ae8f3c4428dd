"""Cuts a stream into the blocks of a dataset, in batches.

Pieces of any size come in, as the network delivers them; batches of many blocks go out. Feeding only files
the pieces away: the costly part (copying them into one buffer, filling up the last block) is `Batch.blocks`,
which belongs off the event loop together with the hashing.
"""

from attrs import field, frozen

from codex.data.block import BLOCK_SIZE

BATCH_BYTES = 16 * 1024 * 1024
"""Bytes of a batch when not told otherwise: enough that crossing to a thread and to the disk costs next to
nothing, and small beside the memory of a node."""

SMALL = 4096
"""Bytes below which a piece is joined to its neighbours: it would cost more for being a piece than for its
bytes."""

GATHERED = 65_536
"""Bytes of small pieces that make a piece."""


@frozen(slots=True)
class Batch:
    """Some consecutive blocks of a dataset, as the pieces in which they came.

    `first` is the index of the first block. `size` is in real bytes; only the last batch of a dataset may be
    other than a multiple of `block_size`.
    """

    first: int
    size: int
    block_size: int
    pieces: tuple[bytes, ...] = field(repr=lambda pieces: f"<{len(pieces)} pieces>")

    @property
    def block_count(self) -> int:
        """How many blocks the batch makes."""
        return -(-self.size // self.block_size)

    def blocks(self) -> list[memoryview]:
        """Join the pieces and return the blocks, the last one filled up with zeros.

        The blocks are read-only views of one buffer, which lives as long as any of them.
        """
        missing = -self.size % self.block_size
        whole = memoryview(b"".join((*self.pieces, bytes(missing))))
        return [whole[at : at + self.block_size] for at in range(0, len(whole), self.block_size)]


class Batcher:
    """Cuts one stream. Keeps less than a batch, besides what it was fed last, and little more memory than it
    keeps bytes, whatever the pieces are.

    Pieces of bytes are kept as they are, but for small ones, which are joined, and those that a border of
    batches cuts; views are copied.
    """

    def __init__(self, block_size: int = BLOCK_SIZE, batch_bytes: int = BATCH_BYTES) -> None:
        """Cut into blocks of `block_size` bytes and batches of at most `batch_bytes`, but of one block at
        least.

        Raises ValueError when `block_size` is not positive.
        """
        if block_size < 1:
            raise ValueError("a block has at least one byte")
        self._block_size = block_size
        self._batch_bytes = max(1, batch_bytes // block_size) * block_size
        self._pieces: list[bytes] = []
        self._small = bytearray()  # what comes behind the pieces
        self._held = 0
        self._first = 0
        self._size = 0

    @property
    def size(self) -> int:
        """Real bytes that were fed."""
        return self._size

    @property
    def held(self) -> int:
        """Bytes that are kept, and no part of a batch yet."""
        return self._held

    def feed(self, piece: bytes | memoryview) -> list[Batch]:
        """Take the next piece of the stream; return the batches that it completes, most often none."""
        self._size += len(piece)
        if self._held + len(piece) < self._batch_bytes:
            self._keep(piece)
            return []
        done: list[Batch] = []
        rest = memoryview(piece)
        while self._held + len(rest) >= self._batch_bytes:
            cut = self._batch_bytes - self._held
            self._keep(rest[:cut])
            done.append(self._take())
            rest = rest[cut:]
        self._keep(rest)
        return done

    def cut(self) -> Batch | None:
        """Return the whole blocks of what is kept, as a batch before its time; None when there are none."""
        rest = self._held % self._block_size
        if rest == self._held:
            return None
        self._join()
        kept: list[bytes] = []
        missing = rest
        while missing:
            piece = self._pieces.pop()
            if len(piece) > missing:
                self._pieces.append(piece[:-missing])
                piece = piece[-missing:]
            kept.append(piece)
            missing -= len(piece)
        self._held -= rest
        batch = self._take()
        self._pieces, self._held = kept[::-1], rest
        return batch

    def finish(self) -> Batch | None:
        """Return what is left: the blocks behind the last batch, or None when there are none."""
        return self._take() if self._held else None

    def clear(self) -> None:
        """Drop what is kept: there will be no more."""
        self._pieces, self._small, self._held = [], bytearray(), 0

    def _keep(self, part: bytes | memoryview) -> None:
        self._held += len(part)
        if len(part) < SMALL:
            self._small += part
            if len(self._small) >= GATHERED:
                self._join()
            return
        self._join()
        # Joining lets go of the interpreter's lock for bytes only, and the loop must not wait for it.
        self._pieces.append(bytes(part))

    def _join(self) -> None:
        if self._small:
            self._pieces.append(bytes(self._small))
            self._small = bytearray()

    def _take(self) -> Batch:
        self._join()
        batch = Batch(self._first, self._held, self._block_size, tuple(self._pieces))
        self._first += batch.block_count
        self._pieces, self._held = [], 0
        return batch
