"""Where other nodes see us: each has one vote, which it casts with every pong, and which counts for a while.

The outcome is shown and nothing else: whoever has many nodes could make us believe any address.
"""

from collections import Counter, OrderedDict

from codex.discovery.sessions import Address

LIFETIME = 900.0
"""Seconds that a vote counts."""
THRESHOLD = 10
"""Votes that it takes for a majority to be told."""
CAPACITY = 1024


class Votes:
    """The votes that count at a time; `now` is seconds of one clock, any that does not go back."""

    def __init__(self) -> None:
        self._votes: OrderedDict[bytes, tuple[Address, float]] = OrderedDict()

    def cast(self, voter: bytes, address: Address, now: float) -> None:
        """Take the vote of a node, instead of its last one."""
        self._votes[voter] = (address, now + LIFETIME)
        self._votes.move_to_end(voter)
        if len(self._votes) > CAPACITY:
            self._votes.popitem(last=False)

    def outcome(self, now: float) -> Address | None:
        """The address that most nodes see us at, when at least ten do; else None."""
        while self._votes and next(iter(self._votes.values()))[1] <= now:
            self._votes.popitem(last=False)
        counted = Counter(vote for vote, _ in self._votes.values()).most_common(1)
        return next((address for address, count in counted if count >= THRESHOLD), None)
