"""What was dropped of the traffic that others sent, summed up: a flood costs a line and not a million.

Pure. Whoever drops something adds it; whoever keeps the log takes the sum now and then.
"""

from collections import Counter

from attrs import frozen

PERIOD = 60.0
"""Seconds that are summed up in one line."""
SOURCES = 32
"""Sources told apart in one sum; what comes from others is counted without them."""


@frozen
class Sum:
    """What was dropped in one period: `count` in all, by reason; and the source of most, as far as known."""

    count: int
    reasons: tuple[tuple[str, int], ...]
    sources: int
    """Sources that were told apart; at `SOURCES` there may be more."""
    most: str
    """The source that most came from."""
    most_count: int

    def fields(self) -> dict[str, str | int]:
        """What a line of the log says about it."""
        return {
            "number": self.count,
            "why": ", ".join(f"{reason} ({count})" for reason, count in self.reasons),
            "sources": self.sources,
            "most_from": self.most,
            "of_these": self.most_count,
        }


class Tally:
    """The sum of the period that runs."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()
        self._sources: Counter[str] = Counter()

    def add(self, source: str, reason: str) -> bool:
        """Count one, dropped for one of a few reasons. Whether it is the first of a source that is told
        apart, which may well have a line of its own.
        """
        self._reasons[reason] += 1
        first = source not in self._sources
        if first and len(self._sources) >= SOURCES:
            return False
        self._sources[source] += 1
        return first

    def take(self) -> Sum | None:
        """The sum, and begin anew; None when nothing was dropped."""
        reasons, sources = self._reasons, self._sources
        self._reasons, self._sources = Counter(), Counter()
        if not reasons:
            return None
        most, most_count = sources.most_common(1)[0]
        return Sum(reasons.total(), tuple(reasons.most_common()), len(sources), most, most_count)
