"""How long calls wait in a mailbox until they are taken up: counts by length, and those that wait now."""

from bisect import bisect_left

from attrs import frozen

BOUNDS = (0.001, 0.01, 0.1, 1.0, 10.0)
"""Seconds. A call that nothing holds up is far below the first; beyond the last, people have given up."""


@frozen
class Queue:
    """The calls of one mailbox at one moment.

    `waiting` is how many wait, and `oldest` for how many seconds the first of them has. `ended` counts the
    waits that are over, received, withdrawn or refused: those of at most `BOUNDS[i]` seconds and longer than
    the bound before, and last those longer than all bounds. `seconds` is their sum.
    """

    waiting: int = 0
    oldest: float = 0.0
    ended: tuple[int, ...] = (0,) * (len(BOUNDS) + 1)
    seconds: float = 0.0


class Waits:
    """Adds up the waits of one mailbox that are over."""

    __slots__ = ("_ended", "_seconds")

    def __init__(self) -> None:
        self._ended = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """Count one wait of that length."""
        self._ended[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def with_waiting(self, waiting: int, oldest: float) -> Queue:
        """What was added up, together with what waits now."""
        return Queue(waiting, oldest, tuple(self._ended), self._seconds)
