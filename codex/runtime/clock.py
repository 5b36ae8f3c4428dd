"""Time and chance: the only place that reads the wall clock or draws random bytes.

Everything else is given a `Clock` and an `Entropy`, so that a test can run a year in a second and get the
same run twice. Deadlines and sleeps need no `Clock`: they are trio's, and follow the clock that trio was
run with.
"""

import hashlib
import secrets
import time
from typing import Protocol

import trio


class Clock(Protocol):
    """What time it is."""

    def now(self) -> float:
        """Return the wall clock: unix time in seconds. It may jump when the machine's clock is set."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back. For measuring, not for dates."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class VirtualClock:
    """Time as trio tells it, for runs on trio's mock clock, which starts at 0.

    `epoch` is the unix time, in seconds, of that start. Can be read inside a trio run only.
    """

    def __init__(self, epoch: float) -> None:
        self._epoch = epoch

    def now(self) -> float:
        return self._epoch + trio.current_time()

    def monotonic(self) -> float:
        return trio.current_time()


class Entropy(Protocol):
    """Where random bytes come from."""

    def token(self, n: int) -> bytes:
        """Return `n` random bytes."""
        ...


class SystemEntropy:
    """The operating system's randomness, fit for keys."""

    def token(self, n: int) -> bytes:
        return secrets.token_bytes(n)


class SeededEntropy:
    """A reproducible stream of bytes: SHA-256 over the seed and a counter. Never for keys that matter.

    The same seed gives the same stream on every platform and version; different seeds give unrelated
    streams, so that `f"{seed}/alice"` and `f"{seed}/bob"` are two people of one run.
    """

    def __init__(self, seed: int | str) -> None:
        self._seed = f"{type(seed).__name__}:{seed}".encode()
        self._drawn = 0
        self._rest = b""

    def token(self, n: int) -> bytes:
        while len(self._rest) < n:
            self._rest += hashlib.sha256(self._drawn.to_bytes(8, "big") + self._seed).digest()
            self._drawn += 1
        taken, self._rest = self._rest[:n], self._rest[n:]
        return taken
