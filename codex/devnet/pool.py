"""Transactions that wait for a block, in the order in which they came."""

from collections.abc import Callable, Iterator

from codex.devnet.errors import REFUSED, Refused
from codex.devnet.values import Transaction

RAISE = 10
"""Per cent by which both fees of a transaction that takes another's place are higher at least."""
ROOM = 4096
"""Transactions that wait at most."""


class Pool:
    """What was sent and is in no block yet: one transaction for each sender and nonce."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[bytes, int], Transaction] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Transaction]:
        return iter(list(self._waiting.values()))

    def add(self, transaction: Transaction) -> None:
        """Take it in, in place of one with the same nonce and lower fees. Raises Refused."""
        place = (transaction.sender, transaction.nonce)
        other = self._waiting.get(place)
        if other is not None:
            if other.hash == transaction.hash:
                raise Refused(REFUSED, "already known")
            if any(
                new * 100 < old * (100 + RAISE)
                for new, old in (
                    (transaction.max_fee, other.max_fee),
                    (transaction.max_tip, other.max_tip),
                )
            ):
                raise Refused(REFUSED, "replacement transaction underpriced")
        elif len(self._waiting) >= ROOM:
            raise Refused(REFUSED, "txpool is full")
        self._waiting[place] = transaction

    def put_back(self, transaction: Transaction) -> None:
        """Take in what was in a block that is gone. Its place may have been taken since."""
        self._waiting.setdefault((transaction.sender, transaction.nonce), transaction)

    def drop(self, transaction: Transaction) -> None:
        """Forget it; that it is not here is as good."""
        self._waiting.pop((transaction.sender, transaction.nonce), None)

    def find(self, hash: bytes) -> Transaction | None:
        """The transaction of that hash."""
        return next((waiting for waiting in self._waiting.values() if waiting.hash == hash), None)

    def next_nonce(self, sender: bytes, confirmed: int) -> int:
        """The first nonce from `confirmed` on that no transaction of `sender` has."""
        while (sender, confirmed) in self._waiting:
            confirmed += 1
        return confirmed

    def ready(self, nonce: Callable[[bytes], int], base_fee: int) -> Iterator[Transaction]:
        """Yield what can be in a block of `base_fee`, first come first, each before what hangs on it.

        `nonce` tells what is expected of a sender; whoever takes a transaction makes it grow, or drops it.
        """
        found = True
        while found:
            found = False
            for transaction in self:
                here = self._waiting.get((transaction.sender, transaction.nonce)) is transaction
                if (
                    here
                    and transaction.nonce == nonce(transaction.sender)
                    and transaction.max_fee >= base_fee
                ):
                    found = True
                    yield transaction
