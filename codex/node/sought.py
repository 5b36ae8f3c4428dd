"""What is sought of some columns, who was asked for it, and who keeps the others waiting.

Plain state; time is given. So much is asked for as is needed, a row at a time. A row that is SLOW times
slower than the fastest, or of which nothing comes for a while, or nobody has any more, is no longer counted
on: others are asked for what it owes, and whichever comes first counts. Rows that are known to be no faster
are not asked instead of a slow one, so that what comes in vain has a bound: of each row that was replaced
what it brings meanwhile, a SLOW-th of what the others do; and once, of each row that nothing was known of,
what it was asked for. Where too few are fast, several slow ones owe the same: they are asked for it in
different orders, from both ends first, so that what one brings the others need not. Only where those who were
asked instead give nothing either, everybody is asked.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import trio
from attrs import define, field, frozen

from codex.data import Block
from codex.erasure import Layout
from codex.errors import CodexError, NotOnNetwork
from codex.node.fetching import MEASURED, SLOW

STALL = 3.0  # seconds without anything of a row, after which it is not counted on
SHARES = 16  # fetches that rows are asked for by at once: of more rows several make one, for each costs some
VAIN = 16  # leaves of a slow row that are not of use any more, from which on it is asked for the others alone


class Sought:
    """What a search has found, and what it still needs."""

    def __init__(self, layout: Layout, columns: range, wanted: Collection[int], size: int) -> None:
        self.layout = layout
        self._size = size
        self._wanted: dict[int, set[int]] = {}
        for index in wanted:
            if index not in layout.padding:
                self._wanted.setdefault(layout.place(index)[1], set()).add(index)
        self.known: dict[int, Block] = {}
        self.columns: dict[int, int] = {}
        """The columns that are not settled, with how many blocks each needs."""
        for column in columns:
            if column in self._wanted:
                padding = sum(index in layout.padding for index in layout.column(column))
                self.columns[column] = layout.k - padding

    def candidates(self, rows: Iterable[int]) -> list[list[int]]:
        """The leaves that may still be of use, by row, in the order of the rows given."""
        layout = self.layout
        found = [[layout.index(row, column) for column in self.columns] for row in rows]
        return [[i for i in row if i not in self.known and i not in layout.padding] for row in found]

    def choose(
        self, rows: Sequence[Sequence[int]], needed: Mapping[int, int] | None = None
    ) -> list[list[int]]:
        """So many of these leaves as are needed, from the first rows on, by row; or as many of each column as
        `needed` says.
        """
        left = dict(self.columns if needed is None else needed)
        chosen: list[list[int]] = []
        for row in rows:
            some: list[int] = []
            for index in row:
                column = self.layout.place(index)[1]
                if left.get(column, 0) > 0:
                    left[column] -= 1
                    some.append(index)
            chosen.append(some)
        return chosen

    def put(self, index: int, block: Block) -> None:
        """A block has come. One of another size than the manifest says is none."""
        column = self.layout.place(index)[1]
        if column not in self.columns or index in self.known or len(block.data) != self._size:
            return
        self.known[index] = block
        self.columns[column] -= 1
        self._wanted[column].discard(index)
        if not self.columns[column] or not self._wanted[column]:
            del self.columns[column]

    def is_of_use(self, index: int) -> bool:
        """Whether a leaf may still be of use."""
        return self.layout.place(index)[1] in self.columns


@define(eq=False)
class Share:
    """Leaves of a row, or of a few, that are asked for together; `left` have not come."""

    rows: frozenset[int]
    left: set[int]
    since: float
    """When it was asked for."""
    heard: float
    """When something came of it last, or it was asked for."""
    first: float | None = None
    """When something came of it first."""
    until: float | None = None
    """When the last of it came, or there was no more to be had."""
    came: int = 0
    longest: float = 0.0
    """Seconds from one arrival to the next at most, the first one included."""
    running: bool = True
    worth: float | None = None
    """Which part of the fastest one's pace it had at most when it was not counted on any more; None while it
    is.
    """
    turn: int | None = None
    """How many brought what they owe slowly before it did; None while it is not seen to do that."""
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    asking: trio.CancelScope = field(factory=trio.CancelScope)
    """To be cancelled when what is left is to come in another order."""

    def order(self) -> list[int]:
        """What is left, in the order in which it is to come. Of two that are slow, and owe the same, one goes
        on from the end; of more, each pair from where nobody has begun: the middle, the quarters and so on.
        """
        left, pair, start, part = sorted(self.left), (self.turn or 0) // 2, 0.0, 0.5
        while pair:
            pair, odd = divmod(pair, 2)
            start, part = start + odd * part, part / 2
        at = int(len(left) * start)
        left = left[at:] + left[:at]
        return left[::-1] if (self.turn or 0) % 2 else left

    def took(self, now: float) -> float:
        """Seconds since it was asked for, until it was complete."""
        return (now if self.until is None else self.until) - self.since

    def pace(self, now: float) -> float:
        """Leaves of a row that have come in a second; no more than there are, however soon they came."""
        return self.came / len(self.rows) / max(self.took(now), MEASURED)


@frozen
class Known:
    """What is known of a row: which part of the fastest one's `pace` it had, and how many seconds it took at
    most (`longest`) from one block to the next.
    """

    pace: float = 1.0
    longest: float = 0.0


class Race:
    """Who was asked for what is sought. `rows` are those that may be asked, the best first; of some of them
    something is `known`.
    """

    def __init__(self, sought: Sought, rows: Sequence[int], known: Mapping[int, Known]) -> None:
        self.sought = sought
        self.shares: list[Share] = []
        self.news = trio.Event()
        self.failure: NotOnNetwork | None = None
        self.refusal: CodexError | None = None  # the first that is nobody's answer, after which none counts
        self._rows = rows
        self._known = known
        self._asked: set[int] = set()
        self._turns = 0
        self._turned: list[Share] = []
        self._replaced = False  # whether others were asked instead of some that gave nothing

    @property
    def running(self) -> bool:
        """Whether anything may still come."""
        return any(share.running for share in self.shares)

    def refused(self) -> CodexError:
        """Take the refusal, to be raised. Frames that it will have know the race, which keeps it no more."""
        refusal, self.refusal = self.refusal, None
        assert refusal is not None
        return refusal

    def arrived(self, share: Share, index: int, block: Block, now: float) -> None:
        """A block has come."""
        self.sought.put(index, block)
        share.left.discard(index)
        share.came += 1
        share.longest = max(share.longest, now - share.heard)
        share.heard = now
        share.first = now if share.first is None else share.first
        if not share.left:
            share.until = now

    def ended(self, share: Share, now: float) -> None:
        """No more comes of a share."""
        share.running = False
        if share.until is None:
            share.until = now
        self.news.set()

    def ask(self, now: float) -> list[Share]:
        """Who is to be asked now for what nobody who was asked can be counted on to bring."""
        self._look(now)
        needed = dict(self.sought.columns)
        least = 1.0  # the part of the fastest one's pace that the slowest had of those who are to be replaced
        for share in self.shares:
            if share.running and share.worth is None:
                for index in share.left:
                    column = self.sought.layout.place(index)[1]
                    needed[column] = needed.get(column, 0) - 1
            elif any(self.sought.is_of_use(index) for index in share.left):
                # Nothing more comes of one that has ended, whatever it was worth before.
                least = min(least, (share.worth or 0.0) if share.running else 0.0)
        if not any(count > 0 for count in needed.values()):
            return []
        if not least:
            if self._replaced:  # it is not one that is gone: whoever has it may answer
                needed = {column: self.sought.layout.rows for column, n in needed.items() if n > 0}
            self._replaced = True
        rows = [
            row
            for row in self._rows
            if not (self.shares and least) or row not in self._known or self._known[row].pace > least
        ]
        open_to = [[i for i in row if i not in self._asked] for row in self.sought.candidates(rows)]
        chosen = [
            (row, some) for row, some in zip(rows, self.sought.choose(open_to, needed), strict=True) if some
        ]
        size = -(-len(chosen) // SHARES) or 1
        begun = [_share(chosen[at : at + size], now) for at in range(0, len(chosen), size)]
        self.shares += begun
        self._asked.update(index for share in begun for index in share.left)
        return begun

    def _look(self, now: float) -> None:
        """See who is not to be counted on any more."""
        fastest = max(self.shares, key=lambda share: share.pace(now), default=None)
        if fastest is None:
            return
        best, least = fastest.pace(now), max(MEASURED, SLOW * fastest.longest)
        for share in self.shares:
            if not share.running or not share.left or share.worth == 0.0:
                continue
            longest = [self._known[row].longest for row in share.rows if row in self._known]
            took = share.took(now)
            soon = share.came / len(share.rows) + 1  # what has come, if the next one came now
            if now - share.heard >= max(STALL, SLOW * max([share.longest, *longest])):
                share.worth = 0.0
            elif took >= least and soon * SLOW < best * took:
                # At most: one that is known to be as slow as this is not to be asked instead.
                share.worth = soon / took / best
        for share in self.shares:
            if not share.running or not share.left or share.worth is None or share.turn is not None:
                continue
            if share.first is not None and now - share.first >= MEASURED:
                share.turn = self._turns
                self._turns += 1
                if share.turn:
                    self._turned.append(share)

    def turned(self) -> list[Share]:
        """Take the shares that are now to be asked for what is left of them in another order; or for less, as
        most of it is not of use any more.
        """
        turned, self._turned = self._turned, []
        for share in self.shares:
            if share.running and share.turn is not None and share not in turned:
                of_use = {index for index in share.left if self.sought.is_of_use(index)}
                if of_use and len(share.left) - len(of_use) >= max(VAIN, len(of_use)):
                    share.left = of_use
                    turned.append(share)
        return turned

    def useless(self) -> list[Share]:
        """The shares that run though nothing of what is left of them is of use any more."""
        sought = self.sought
        return [
            share
            for share in self.shares
            if share.running and not any(sought.is_of_use(index) for index in share.left)
        ]

    def learned(self, now: float) -> dict[int, Known]:
        """What is known of rows by now. Of one that was not asked for long enough nothing is."""
        best = max((share.pace(now) for share in self.shares), default=0.0)
        found: dict[int, Known] = {}
        for share in self.shares:
            quick = share.took(now) < MEASURED
            if not quick or not share.left:
                pace = 1.0 if quick or not best else share.pace(now) / best
                silent = now - share.heard if share.running else 0.0
                owing = {self.sought.layout.place(index)[0] for index in share.left}
                for row in share.rows:
                    # Of several that were asked for together, those that owe nothing are not to be blamed.
                    fair = pace if row in owing or len(share.rows) == 1 else 1.0
                    found[row] = Known(fair, max(share.longest, silent))
        return found

    @property
    def silent(self) -> set[int]:
        """The rows that gave nothing of what they were asked for, though they had their time."""
        return {row for s in self.shares if s.worth is not None and not s.came for row in s.rows}


def _share(chosen: Sequence[tuple[int, list[int]]], now: float) -> Share:
    rows = frozenset(row for row, _ in chosen)
    return Share(rows, {index for _, some in chosen for index in some}, now, now)
