"""How fast leaves of a row come for which somebody waits, and when it is time to try another way.

A row that comes slowly is not therefore worse than the others, for which K times as much has to be fetched:
whoever waits is to try a few columns of them, from time to time, and to compare. Plain state.
"""

from attrs import define, field

from codex.node.fetching import FIRST, SLOW, STALL

LONG = SLOW * STALL  # seconds: what is here sooner is waited for


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
        each time.
        """
        if not self.is_due:
            return None
        rate = (self.came - self._came + 1) / (self.waited - self._waited)
        self._came, self._waited = self.came, self.waited
        if left <= rate * LONG:
            return None
        self._span *= 2
        return rate
