"""How fast a peer delivers, and how much it is therefore asked for at once.

The window is what the peer delivers in half a second and four round trips, so that a far peer is never out of
work, and a slow one has not more on order than it can deliver soon. While it is the window that holds a peer
up, each measurement makes the next window larger, up to what the peer can do.
"""

from codex.data import BLOCK_SIZE

FIRST_WINDOW = 16 * BLOCK_SIZE
"""Bytes ordered of a peer that nothing is known about."""
MIN_WINDOW = 4 * BLOCK_SIZE
MAX_WINDOW = 512 * BLOCK_SIZE
_AHEAD = 0.5  # seconds
_ROUND_TRIPS = 4
_SPAN = 0.05  # seconds over which deliveries are added up before they count as a measurement
_NEW = 0.4  # the weight of a new measurement


class Pace:
    """One peer's rate (bytes per second, None until measured) and latency (seconds); times are given."""

    __slots__ = ("_bytes", "_idle_since_ask", "_since", "latency", "rate", "window")

    def __init__(self) -> None:
        self.rate: float | None = None
        self.latency: float | None = None
        self.window = FIRST_WINDOW
        self._bytes = 0
        self._since: float | None = None  # since when bytes are added up; None while nothing is on order
        self._idle_since_ask: float | None = None  # when an idle peer was asked, until it delivers

    def asked(self, now: float) -> None:
        """The peer was asked for something, and had nothing on order before."""
        self._since, self._bytes = now, 0
        self._idle_since_ask = now

    def delivered(self, size: int, now: float, *, last: bool) -> None:
        """`size` bytes came; `last` when nothing more is on order."""
        if self._idle_since_ask is not None:
            waited = now - self._idle_since_ask
            self.latency = waited if self.latency is None else min(waited, self.latency)
            self._idle_since_ask = None
        if self._since is not None:
            self._bytes += size
            span = now - self._since
            if span >= _SPAN or (last and span > 0):
                sample = self._bytes / span
                self.rate = sample if self.rate is None else _NEW * sample + (1 - _NEW) * self.rate
                self._since, self._bytes = now, 0
                ahead = self.rate * (_AHEAD + _ROUND_TRIPS * (self.latency or 0.0))
                self.window = min(max(int(ahead), MIN_WINDOW), MAX_WINDOW)
        if last:
            self._since = None

    def stalled(self) -> None:
        """What was on order did not come."""
        self.window = MIN_WINDOW
        self._since = self._idle_since_ask = None

    def expected(self, on_order: int) -> float:
        """Seconds until so many bytes will have come; a guess while nothing is measured."""
        if self.rate is None:
            return on_order / FIRST_WINDOW
        return on_order / self.rate
