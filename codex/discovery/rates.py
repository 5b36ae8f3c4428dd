"""How often something may be done: token buckets, one for all and one for each who asks for it.

The caller brings the time, in seconds on a clock that never goes back.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Hashable

from attrs import define, frozen

MAX_KEYS = 1024


@frozen
class Rate:
    """So many a second in the long run, and so many at once."""

    per_second: float
    burst: int


@define
class Bucket:
    """What is left of one rate."""

    rate: Rate
    _left: float
    _at: float

    @classmethod
    def full(cls, rate: Rate, now: float) -> "Bucket":
        """A bucket that nothing was taken from."""
        return cls(rate, rate.burst, now)

    def has(self, now: float) -> bool:
        """Whether there is one to take."""
        self._left = min(self.rate.burst, self._left + (now - self._at) * self.rate.per_second)
        self._at = now
        return self._left >= 1

    def take(self) -> None:
        """Take one that there is."""
        self._left -= 1


class Limiter:
    """Allows a rate to each key, and another to all keys together.

    Knows the keys that were allowed something last, `max_keys` of them. Others begin anew with a full bucket;
    then only the rate of all holds, which is why there is one.
    """

    def __init__(self, each: Rate, total: Rate, *, max_keys: int = MAX_KEYS) -> None:
        self._each = each
        self._total_rate = total
        self._total: Bucket | None = None
        self._max_keys = max_keys
        self._buckets: OrderedDict[Hashable, Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def allows(self, key: Hashable, now: float) -> bool:
        """Whether `key` may do it once more now; if so, it counts as done."""
        if self._total is None:
            self._total = Bucket.full(self._total_rate, now)
        # First of all the total, so that a flood from many keys does not even get buckets of their own.
        if not self._total.has(now):
            return False
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = Bucket.full(self._each, now)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
        if not bucket.has(now):
            return False
        self._buckets.move_to_end(key)
        bucket.take()
        self._total.take()
        return True


def site_of(ip: str) -> str:
    """What counts as one machine: an IPv4 address, or the network of 64 bits that an IPv6 address is in."""
    address = ipaddress.ip_address(ip)
    if address.version == 4:
        return ip
    return str(ipaddress.IPv6Address(int(address) >> 64 << 64))
