"""The door of purchasing: typed methods over its mailbox."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from codex.market import RequestId, StorageRequest
from codex.purchasing import calls
from codex.purchasing.board import PurchaseChanged, PurchasingBoard
from codex.purchasing.record import Purchase
from codex.runtime import Lagged, Mailbox


class Purchasing:
    """The requests for storage of this node, those of former lives too. Any method may raise what the store
    raises.
    """

    def __init__(self, mailbox: Mailbox, board: PurchasingBoard) -> None:
        self._mailbox = mailbox
        self._board = board

    async def check(self, request: StorageRequest) -> None:
        """Raise InvalidInput or InsufficientFunds when such a request would be refused: to be asked before
        the dataset is encoded for it. The content need not be known yet. Raises ChainUnreachable.
        """
        await self._mailbox.ask(calls.CheckRequest(request))

    async def buy(self, request: StorageRequest) -> Purchase:
        """Ask for storage; the purchase, durable and on its way to the chain.

        The client becomes this node's account, a nonce of zeros becomes random, and a proof probability of 0
        becomes 100. Raises as `check`; then nothing was kept or paid.
        """
        return await self._mailbox.ask(calls.Buy(request))

    async def purchase(self, id: RequestId) -> Purchase | None:
        """One purchase; None when there is none of this id."""
        return await self._mailbox.ask(calls.GetPurchase(id))

    async def purchases(self, limit: int = 1000) -> list[Purchase]:
        """The newest purchases, the newest first."""
        return await self._mailbox.ask(calls.ListPurchases(limit))

    async def ids(self) -> list[RequestId]:
        """The ids of all purchases that are remembered, the newest first."""
        return await self._mailbox.ask(calls.ListIds())

    def events(self, size: int) -> AbstractAsyncContextManager[AsyncIterator[PurchaseChanged | Lagged]]:
        """News of purchases, for the length of the block; at most `size` wait to be taken."""
        return self._board.events.subscribe(size)
