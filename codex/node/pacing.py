"""How fast leaves of a row come for which somebody waits, and when it is time to try another way.

A row that comes slowly is not therefore worse than the others, for which K times as much has to be fetched:
whoever waits tries a few columns of them, from time to time, and compares.
"""

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Protocol

import trio
from attrs import define, field

from codex.data import Block
from codex.erasure import Layout
from codex.errors import BlockNotFound, NotADataset, QuotaExceeded
from codex.node.fetching import FIRST, SLOW, STALL
from codex.node.gathering import Gatherer

LONG = SLOW * STALL  # seconds: what is here sooner is waited for
TRIED = 8 << 20
"""Bytes that are fetched of other rows to see how fast those are, or one column; …"""
TRIED_PART = 16  # … and for one of so many of the leaves that are waited for
TRIAL_LEAST = 0.25  # seconds: what comes in less is as much the way there and back
SOONER = 2  # times as fast have others to be, for K times as much has to come


@define
class Pace:
    """The leaves of one row that came, and the seconds that were waited for them alone. For the `first` of
    them it takes some seconds more: others have to be found and connected to.
    """

    first: float = FIRST
    came: int = field(default=0, init=False)
    waited: float = field(default=0.0, init=False)
    _batches: int = field(default=0, init=False)
    _came: int = field(default=0, init=False)
    """What had come when it was looked at last, …"""
    _waited: float = field(default=0.0, init=False)
    """… the seconds that had been waited then, …"""
    _span: float = field(default=STALL, init=False)
    """… and how many there are from one look to the next."""

    def note(self, count: int, seconds: float) -> None:
        """So many have come, after that many seconds."""
        self.came += count
        self.waited += seconds
        self._batches += count > 0

    @property
    def patience(self) -> float:
        """Seconds without anything, after which no more is expected; more where what comes is far apart."""
        return max(STALL, SLOW * self.waited / self._batches) if self._batches else self.first

    @property
    def is_due(self) -> bool:
        """Whether it is time to look at what is left."""
        return self.waited - self._waited >= self._span

    def doubtful(self, left: int) -> float | None:
        """The leaves that have come in a second since the last look, when it is time to see whether the
        `left` ones would come sooner by other rows; None when it is not. That is seen after twice as long
        each time. Where none has come, one is taken to be on its way.
        """
        if not self.is_due:
            return None
        rate = max(1, self.came - self._came) / (self.waited - self._waited)
        self._came, self._waited = self.came, self.waited
        if left <= rate * LONG:
            return None
        self._span *= 2
        return rate


class Computes(Protocol):
    """What computes leaves of a dataset; see `codex.node.mending.Mender` for the contracts."""

    layout: Layout
    gatherer: Gatherer
    block_size: int

    def rebuild(self, run: range) -> AsyncGenerator[dict[int, Block], None]: ...


async def sooner(mender: Computes, leaves: Collection[int], pace: Pace, rate: float, made: int) -> bool:
    """Whether some leaves of a row, none of which is here, would be computed SOONER times as soon as they
    come from the network, `rate` a second, though `made` leaves have to be computed for it.

    It is tried with the last of them. For that TRIED bytes of other rows come at most, or one column, and
    only for as long as would be soon enough. What was waited for it counts for the `pace`.
    """
    layout = mender.layout
    last, soon = max(leaves), 1 / (SOONER * rate)  # seconds for each leaf
    count = max(1, min(len(leaves) // TRIED_PART, TRIED // (layout.k * mender.block_size)))
    if count * soon < TRIAL_LEAST:
        return False
    mender.gatherer.avoid([layout.place(last)[0]])
    began = trio.current_time()
    with trio.move_on_after(count * soon) as trial:
        try:
            async with aclosing(mender.rebuild(range(last + 1 - count, last + 1))) as parts:
                async for _ in parts:
                    pass
        except (BlockNotFound, NotADataset, QuotaExceeded):
            return False  # the row itself comes all the same
    took = trio.current_time() - began
    pace.note(0, took)
    return not trial.cancelled_caught and made * took <= count * len(leaves) * soon
