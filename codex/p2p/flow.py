"""Whether something is under way on a connection, told by the bytes that moved on it of late. Pure.

A level rises with each byte and falls with time, so that neither an open stream nor a sign of life now and
then counts as work, and a transfer between two pauses does.
"""

from attrs import define

BLOCK = 64 * 1024
"""Bytes beyond the trickle from which on there is work: one block of the network."""
TRICKLE = 1024.0
"""Bytes a second that count for nothing: signs of life, lists of what is wanted."""
FULL = 2 * BLOCK
"""Bytes at which the level stops rising: whatever moved, a minute after it there is no work any more."""


@define
class Flow:
    """The bytes of one direction; `at` is seconds on a clock that never goes back."""

    _at: float
    _level: float = 0.0

    def moved(self, count: int, now: float) -> None:
        """So many bytes have moved."""
        self._level = min(FULL, self._level_at(now) + count)
        self._at = now

    def runs(self, now: float) -> bool:
        """Whether there is work."""
        return self._level_at(now) >= BLOCK

    def _level_at(self, now: float) -> float:
        return max(0.0, self._level - (now - self._at) * TRICKLE)
