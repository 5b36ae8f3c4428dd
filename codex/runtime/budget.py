"""A budget of bytes that transfers share, so that however many there are, they hold no more than so much.

The rule. Every transfer has a share for as long as it lasts. Of a share, `floor` bytes are its own: they are
always granted, and not counted. What it holds beyond them comes out of the pot, which has `total` bytes for
all shares together, and no share takes more of it than its equal part, the pot divided by the shares there
are. What does not fit is refused, at once: whoever is refused goes on with less. At any time, therefore, at
most `total` bytes are held and one floor for each share.

Why nothing can wait for ever: nobody waits for another share. The only wait is for bytes of one's own to be
given back (`shrunk`), and is called for only while one's own work that will give them back is under way; by
then at least the floor is there.

What has been given back is free, but not yet the system's. When much less is held than has been, that is put
right behind a transfer that ends (`lend`).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

MUCH = 64 << 20  # bytes: those that a few transfers hold are soon needed again, and cost time to get


class Share:
    """What one transfer may hold: see the rule above. Made by `Budget.share`, and used on the loop only."""

    def __init__(self, budget: "Budget", floor: int) -> None:
        self._budget = budget
        self._floor = floor
        self._held = 0
        self._shrunk = trio.Event()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    @property
    def most(self) -> int:
        """Bytes that could be held now, if nothing else changed: the floor at least."""
        return self._floor + max(0, min(self._budget.part, self._budget.free + self._beyond(self._held)))

    def hold(self, size: int) -> bool:
        """Hold `size` bytes from now on instead of those that are held; False, and no change, when that is
        more than before and more than `most`.
        """
        if size > self._held and size > self.most:
            return False
        self._budget.move(self._beyond(size) - self._beyond(self._held), size - self._held)
        if size < self._held:
            self._shrunk.set()
        self._held = size
        return True

    async def shrunk(self) -> None:
        """Wait until some of what is held is given back. For one task at a time."""
        self._shrunk = trio.Event()
        await self._shrunk.wait()

    def _beyond(self, size: int) -> int:
        return max(0, size - self._floor)


class Budget:
    """A pot of `total` bytes, and those that share it.

    `tidy` is what gives memory that was freed back to the system; None where nobody need.
    """

    def __init__(self, total: int, tidy: Callable[[], Awaitable[None]] | None = None) -> None:
        self._total = total
        self._lent = 0
        self._shares = 0
        self._tidy = tidy
        self._held = 0  # the floors' part too
        self._peak = 0  # the most of it since memory was given back
        self._spread = False  # much was held since nothing was

    @asynccontextmanager
    async def lend(self, floor: int) -> AsyncIterator[Share]:
        """A share for the length of the block, behind which memory is given back where it is time for it."""
        try:
            with self.share(floor) as share:
                yield share
        finally:
            if self._tidy is not None and self._is_due():
                with trio.CancelScope(shield=True):  # tens of milliseconds, and most for those that break off
                    await self._tidy()

    @contextmanager
    def share(self, floor: int) -> Iterator[Share]:
        """A share for the length of the block; what it holds then goes back."""
        share = Share(self, floor)
        self._shares += 1
        try:
            yield share
        finally:
            share.hold(0)
            self._shares -= 1

    def _is_due(self) -> bool:
        """Whether memory is to be given back: when most of much has gone, and once more when all has."""
        if self._shares:
            due = self._peak >= MUCH and self._held <= self._peak // 4
        else:
            due, self._spread = self._spread, False
        if due:
            self._peak = self._held
        return due

    @property
    def free(self) -> int:
        """Bytes of the pot that nobody holds."""
        return self._total - self._lent

    @property
    def part(self) -> int:
        """Bytes of the pot that a share may have: fewer, the more shares there are."""
        return self._total // max(1, self._shares)

    def move(self, lent: int, held: int) -> None:
        """For shares: so many bytes more are lent of the pot, and held altogether; or fewer."""
        self._lent += lent
        self._held += held
        self._peak = max(self._peak, self._held)
        self._spread = self._spread or self._held >= MUCH
