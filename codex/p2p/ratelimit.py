"""A bound on bytes a second, as a rule without any waiting: a bucket that fills with time and is drawn from.

Whoever wants to move bytes first waits until the bucket is out of debt, and is then charged for what was
moved, however much that was: over any longer time the rate is kept, and nobody has to know sizes in advance.
"""

BURST = 0.25
"""Seconds of the rate that may be moved at once after a pause."""
LEAST_WAIT = 0.001
"""Seconds. Shorter ones gain nothing, and the shortest would not even move the clock."""
MIN_PIECE = 1024
MAX_PIECE = 65536


class TokenBucket:
    """Bytes that may be moved; `rate` is bytes a second, more than 0. Moments are seconds on one clock."""

    __slots__ = ("_at", "_level", "burst", "piece", "rate")

    def __init__(self, rate: float, now: float) -> None:
        if rate <= 0:
            raise ValueError("a rate is more than 0 bytes a second")
        self.rate = rate
        self.burst = rate * BURST
        self.piece = int(min(MAX_PIECE, max(MIN_PIECE, self.burst)))
        """Bytes to move at once at most: whoever takes turns with others gets one soon."""
        self._level = self.burst
        self._at = now

    def wait(self, now: float) -> float:
        """Seconds until the bucket is out of debt; 0 when it is."""
        self._fill(now)
        return max(LEAST_WAIT, -self._level / self.rate) if self._level < 0 else 0.0

    def charge(self, count: int, now: float) -> None:
        """Note that `count` bytes were moved."""
        self._fill(now)
        self._level -= count

    def _fill(self, now: float) -> None:
        self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
