"""Which of many equal lines are let through: pure, with time as an argument."""

from math import inf
from typing import Generic, TypeVar

from attrs import mutable

Key = TypeVar("Key")

REPEATS = 100
"""Lines of one key that are let through in a window; ten a second is more than anybody reads."""
WINDOW = 10.0
"""Seconds from the first line of a window to its end."""
LOOK = 1.0
"""Seconds between two looks for windows that are over."""
KEYS = 512
"""Keys remembered. With more, the one first seen is forgotten together with its count; a key is a fixed
sentence of the code, so that there are never so many unless something makes them up."""


@mutable
class _Window:
    start: float
    passed: int = 0
    withheld: int = 0


class Repeats(Generic[Key]):
    """Counts lines by key. In each window the first `REPEATS` pass; what is withheld is told with the next
    that passes, or as `due` when no more come.
    """

    def __init__(self) -> None:
        self._windows: dict[Key, _Window] = {}
        self._looked = -inf

    def admit(self, key: Key, now: float) -> int | None:
        """None when the line is to be withheld; else how many were withheld before it. `now` in seconds,
        never falling.
        """
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= KEYS:
                del self._windows[next(iter(self._windows))]
            window = self._windows[key] = _Window(now)
        withheld = 0
        if now - window.start >= WINDOW:
            withheld = window.withheld
            window.start, window.passed, window.withheld = now, 0, 0
        if window.passed == REPEATS:
            window.withheld += 1
            return None
        window.passed += 1
        return withheld

    def due(self, now: float) -> list[tuple[Key, int]]:
        """Every key whose window is over by `now` and of which lines are withheld and not yet told, with how
        many. Looks once a second at most.
        """
        if now - self._looked < LOOK:
            return []
        self._looked = now
        over = []
        for key, window in self._windows.items():
            if window.withheld and now - window.start >= WINDOW:
                over.append((key, window.withheld))
                window.start, window.passed, window.withheld = now, 0, 0
        return over

    def drain(self) -> list[tuple[Key, int]]:
        """Every key of which lines are withheld and not yet told, with their number; all are forgotten."""
        left = [(key, window.withheld) for key, window in self._windows.items() if window.withheld]
        self._windows.clear()
        return left
