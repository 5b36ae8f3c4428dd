"""A stretch of consecutive leaves on its way to whoever reads them: looked up, read, and handed on in order.

What needs a thread of its own is apart from what is to be done in order, so that several threads may share
the work.
"""

from collections.abc import Callable, Iterable

from attrs import evolve, frozen

from codex.codec import Cid
from codex.errors import BlockNotFound, CorruptData, NotADataset
from codex.store.index import Row
from codex.store.reads import Reader, Run

FIRST_BLOCKS = 4
"""Blocks that a long stretch begins with, so that its first byte leaves early."""

LOOKED_UP = 512
"""Leaves whose places are looked up at once where a long stretch is read: each row is a step of SQLite, in
which another thread may take the interpreter and keep it for a while."""

HOP_BYTES = 64 << 20
"""Bytes after which a long stretch gives up its thread, so that others have their turn."""


@frozen(slots=True)
class Fed:
    """How far a stretch was read: `next` is the first leaf that was not handed over; `error` tells why it
    cannot be.
    """

    next: int
    rotten: tuple[int, ...] = ()
    error: BlockNotFound | CorruptData | NotADataset | None = None


class Stretch:
    """Consecutive leaves that are being read; for `Offload.relay`, which `begin`, `read` and `hand_on` are
    made for.

    A few leaves are read at once at first, so that there soon is something, then twice as many each time and
    at last as many as may be. Ends by itself after `HOP_BYTES`. `threads` is how many are of use: hashing a
    run takes longer than to send it, so that two make what one reader takes.
    """

    def __init__(
        self,
        reader: Reader,
        tree: Cid,
        first: int,
        stop: int,
        blocks: int,
        take: Callable[[memoryview], bool],
        block_size: int | None = None,
    ) -> None:
        """The leaves `first` to `stop - 1`, to be handed to `take` until that says False.

        With `block_size`, a leaf of another size is one that cannot be had. Up to `blocks` leaves are being
        read at once, and half as many wait for those before them.
        """
        self._reader = reader
        self._tree = tree
        self._stop = stop
        self.threads = 2 if blocks >= 2 * FIRST_BLOCKS else 1
        self._most = blocks // self.threads
        self._take = take
        self._block_size = block_size
        self._size = min(FIRST_BLOCKS, self._most)
        self._left = HOP_BYTES
        self._places: list[Row] = []  # looked up and not begun
        self._known = first  # where the first lies that was not looked up
        self._end: BlockNotFound | CorruptData | NotADataset | None = None  # why that one cannot be had
        self._fed = Fed(first)

    @property
    def fed(self) -> Fed:
        """How far it was read, when no more is done."""
        fed = self._fed
        return evolve(fed, error=self._end) if fed.error is None and fed.next == self._known else fed

    def begin(self) -> list[Row] | None:
        """What is to be read next."""
        if not self._places and self._end is None and self._known < self._stop:
            count = min(self._stop - self._known, LOOKED_UP)
            self._places, self._end = self._reader.places(self._tree, self._known, count, self._block_size)
            self._known += len(self._places)
        rows, self._places = self._places[: self._size], self._places[self._size :]
        if not rows or self._left <= 0:
            return None
        self._size = min(2 * self._size, self._most)
        self._left -= sum(row[4] or 0 for row in rows)  # none of the empty block
        return rows

    def read(self, rows: list[Row]) -> tuple[list[Row], Run]:
        """Their bytes."""
        return rows, self._reader.gather(rows)

    def hand_on(self, made: tuple[list[Row], Run]) -> bool:
        """Let them be taken; whether more are wanted."""
        rows, run = made
        if self._fed.error is not None:
            return False  # they are behind one that cannot be had
        room = True
        for buffer in run.buffers:  # all, whatever `take` says: what was read is not read twice
            room = self._take(buffer)
        leaves = len(rows) if run.error is None else _leaves_in(run.buffers, rows)
        self._fed = Fed(self._fed.next + leaves, run.rotten, run.error)
        return room and run.error is None


def _leaves_in(buffers: Iterable[memoryview], rows: Iterable[Row]) -> int:
    """How many of the rows' leaves, from the first on, these buffers hold."""
    left, leaves = sum(map(len, buffers)), 0
    for row in rows:
        left -= row[4] or 0  # none of the empty block
        if left < 0:
            break
        leaves += 1
    return leaves
