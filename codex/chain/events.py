"""Following what a contract tells, block by block, so that nothing is missed: not over an outage, a restart
of this node, or a reorganisation of the chain.

The contract with whoever follows:

* `Told` brings events in the order of the chain, and the cursor behind them. Who keeps the cursor, and gives
  it again later, goes on there. Events without a cursor kept after them are told again.
* `Reorganised(first)` says that everything told of block `first` and later counts for nothing any more; what
  is still so is told again after it. An event may therefore be told twice, and never too seldom.
* A reorganisation deeper than the cursor remembers, which is some sixty blocks or more, comes as one of the
  oldest block that it remembers; one that goes back before where following began, as one from there.

New blocks are only a reason to look; what is told comes from scans alone. A provider may be many machines,
of which some have fewer blocks than others and say nothing of it: a range of blocks counts as scanned once
its last block is seen to be there afterwards, and the newest blocks are scanned one by one, by their hashes,
which nobody can answer for who does not have them.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Generic, Protocol, TypeVar

import cbor2
import trio
from attrs import field, frozen

from codex.chain.values import Header, Log
from codex.errors import ChainFailed, DecodeError
from codex.logs import get_logger
from codex.market import Address

E_co = TypeVar("E_co", covariant=True)

REMEMBERED = 64
"""Blocks whose hashes a cursor has; it is as deep a reorganisation as is followed exactly."""
RANGE = 2048
"""Blocks of one scan at most. Providers allow some thousand, or so many results, and are asked for less when
they refuse."""
NEAR = 8
"""Blocks at the end of the chain that are scanned one by one: so far may a provider's machines be apart."""
AGAIN = 2.0
"""Seconds until a block that was told of and is not there is asked for again, where no other comes."""
_STEP = 64  # events read between two checkpoints
_BEGINNING = b""  # in the place of a hash: whatever block is there, following began behind it

_log = get_logger("chain")


def _marks(marks: tuple[tuple[int, bytes], ...]) -> str:
    return f"<{len(marks)} blocks>"


@frozen
class Cursor:
    """How far was followed: `next` is the first block that was not. `marks` has numbers and hashes of blocks
    before it that were scanned, the oldest first; where following began has a mark without a hash.
    """

    next: int
    marks: tuple[tuple[int, bytes], ...] = field(default=(), repr=_marks)

    def to_bytes(self) -> bytes:
        """For keeping it: some kilobytes."""
        return cbor2.dumps([self.next, [list(mark) for mark in self.marks]])

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Cursor":
        """The reverse of `to_bytes`. Raises DecodeError."""
        try:
            match cbor2.loads(raw):
                case [int(next), [*marks]]:
                    return cls(next, tuple([(int(number), bytes(hash)) for number, hash in marks]))
        except (cbor2.CBORDecodeError, ValueError, TypeError) as error:
            raise DecodeError("this is no cursor of a chain") from error
        raise DecodeError("this is no cursor of a chain")

    def advanced(self, to: Header) -> "Cursor":
        """Behind block `to`, which is remembered."""
        marks = self.marks or ((self.next - 1, _BEGINNING),)
        return Cursor(to.number + 1, (*marks, (to.number, to.hash))[-REMEMBERED:])

    def cut(self, first: int) -> "Cursor":
        """Back before block `first`."""
        return Cursor(first, tuple([mark for mark in self.marks if mark[0] < first]))


@frozen
class Told(Generic[E_co]):
    """Events, each with the log it came in, and the cursor behind them. There may be none."""

    events: tuple[tuple[E_co, Log], ...]
    cursor: Cursor


@frozen
class Reorganised:
    """What was told of block `first` and later counts for nothing any more. `cursor` stands before it."""

    first: int
    cursor: Cursor


class Blocks(Protocol):
    """What following needs of the chain."""

    async def header(self, number: int) -> Header | None: ...
    async def logs(
        self, address: Address, first: int, last: int, topics: Sequence[bytes]
    ) -> tuple[Log, ...]: ...
    async def logs_of(self, address: Address, block: Header, topics: Sequence[bytes]) -> tuple[Log, ...]: ...
    async def next_head(self, after: Header | None) -> Header: ...


class _Behind(Exception):
    """Whoever answers does not have a block that was told of, or another one in its place."""


class Follower(Generic[E_co]):
    """An asynchronous iterator of `Told` and `Reorganised`, for one task. Never ends; raises ChainUnreachable
    and ChainFailed, after any of which it can be asked again and goes on where it was.
    """

    def __init__(
        self,
        blocks: Blocks,
        address: Address,
        topics: Sequence[bytes],
        read: Callable[[Log], E_co | None],
        cursor: Cursor,
    ) -> None:
        self._blocks = blocks
        self._address = address
        self._topics = tuple(topics)
        self._read = read
        self._cursor = cursor
        self._range = RANGE
        self._head: Header | None = None
        self._done = True
        """Whether there is no more to be had up to `_head`, or from it."""

    @property
    def cursor(self) -> Cursor:
        """Behind what was told last."""
        return self._cursor

    def __aiter__(self) -> AsyncIterator[Told[E_co] | Reorganised]:
        return self

    async def __anext__(self) -> Told[E_co] | Reorganised:
        """What comes next. Nothing is lost when this is cancelled."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._head is None or self._done:
                self._head, self._done = await self._blocks.next_head(self._head), False
            try:
                step = await self._step(self._head)
            except _Behind:
                with trio.move_on_after(AGAIN):
                    self._head = await self._blocks.next_head(self._head)
                continue
            if step is not None:
                self._cursor = step.cursor
                return step

    async def _step(self, head: Header) -> Told[E_co] | Reorganised | None:
        """One scan, or the news of a reorganisation; None when there is nothing, or it must be done again, in
        smaller steps. Raises _Behind.
        """
        cursor = self._cursor
        reach = min(cursor.next + self._range - 1, head.number - NEAR)
        last = min(head.number, max(cursor.next, reach))
        # Read before the logs: should the chain change in between, what is remembered no longer stands, and
        # what is told of it now is taken back.
        top = head if last == head.number else await self._header(last)
        # Of blocks that a provider does not have, or not yet, nothing can be said.
        mark = next((mark for mark in reversed(cursor.marks) if mark[0] <= head.number), None)
        if mark is not None and not await self._stands(mark, top):
            return await self._fork(cursor, mark)
        if last < cursor.next:
            self._done = True
            return None
        try:
            logs = await self._logs(cursor.next, top)
        except ChainFailed:
            # Most likely there is too much in it; a single block that fails is the provider's failure.
            if last == cursor.next:
                raise
            self._range = max(1, (last - cursor.next + 1) // 2)
            return None
        self._done = top == head
        self._range = min(RANGE, self._range * 2)
        return Told(await self._events(logs), cursor.advanced(top))

    async def _header(self, number: int) -> Header:
        """A block that was told of, or one before it. Raises _Behind."""
        header = await self._blocks.header(number)
        if header is None:
            raise _Behind
        return header

    async def _logs(self, first: int, last: Header) -> tuple[Log, ...]:
        """What was said in the blocks from `first` to `last`, by who has them all. Raises _Behind."""
        if first < last.number:
            logs = await self._blocks.logs(self._address, first, last.number, self._topics)
            if (await self._header(last.number)).hash != last.hash:
                raise _Behind
            return logs
        try:
            return await self._blocks.logs_of(self._address, last, self._topics)
        except ChainFailed:
            if (await self._header(last.number)).hash != last.hash:
                raise _Behind from None
            raise

    async def _stands(self, mark: tuple[int, bytes], top: Header | None) -> bool:
        """Whether a block that was scanned is still part of the chain. Raises _Behind."""
        number, hash = mark
        if hash == _BEGINNING:
            return True
        follows = top is not None and top.number == number + 1
        if top is not None and follows and top.parent == hash:
            return True
        stands = (await self._header(number)).hash == hash
        if stands and follows:
            # The block that was told of is not of the chain that answers now: nothing was taken back, as yet.
            raise _Behind
        return stands

    async def _fork(self, cursor: Cursor, gone: tuple[int, bytes]) -> Reorganised:
        """Find where the chain that was followed, of which block `gone` is no part any more, parts from the
        one of now. Raises _Behind.
        """
        first = cursor.marks[0][0]
        for mark in reversed(cursor.marks):
            if mark[0] < gone[0] and await self._stands(mark, None):
                first = mark[0] + 1
                break
        else:
            _log.warning("the chain was reorganised deeper than is remembered", first=first)
        return Reorganised(first, cursor.cut(first))

    async def _events(self, logs: Sequence[Log]) -> tuple[tuple[E_co, Log], ...]:
        events = []
        for count, log in enumerate(logs):
            if count % _STEP == _STEP - 1:
                await trio.lowlevel.checkpoint()
            try:
                event = self._read(log)
            except DecodeError as error:
                # One that cannot be read must not stop all that follow.
                _log.error("a contract tells what cannot be read", block=log.block, why=error.message)
                continue
            if event is not None:
                events.append((event, log))
        return tuple(events)
