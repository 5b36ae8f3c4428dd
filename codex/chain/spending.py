"""Tokens that contracts are to take: it is seen to that they may, and that there are enough, before anything
is sent.

A contract takes tokens only as far as the token was told to allow it. What is allowed already is used; where
it does not suffice, it is raised. What other transactions on their way are going to take counts as taken.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import trio

from codex.chain import abi
from codex.chain.values import BlockTag, Receipt, Spending
from codex.errors import InsufficientFunds
from codex.market import Address

_BALANCE, _ALLOWANCE, _APPROVE = abi.TOKEN["balanceOf"], abi.TOKEN["allowance"], abi.TOKEN["approve"]
# Of gas: where the contract takes in the same block all that was allowed, this one costs 20,000 more, for it
# writes where there was nothing.
_MARGIN = 2.0


class Contracts(Protocol):
    """What is needed of the chain."""

    async def call(self, to: Address, payload: bytes, block: BlockTag) -> bytes: ...
    async def send(self, to: Address, payload: bytes, margin: float) -> Receipt: ...


class Purse:
    """The tokens of one account."""

    def __init__(self, account: Address, contracts: Contracts) -> None:
        self._account = account
        self._contracts = contracts
        self._approving = trio.Lock()
        # By token and spender, those that are on their way, in the order in which they came.
        self._on_the_way: defaultdict[tuple[Address, Address], dict[object, int]] = defaultdict(dict)

    @asynccontextmanager
    async def spend(self, spending: Spending) -> AsyncIterator[None]:
        """For the length of the block the tokens may be taken. Raises InsufficientFunds when there are not
        enough of them, and what sending raises.
        """
        await self._check(spending)
        others, mine = self._on_the_way[spending.token, spending.spender], object()
        others[mine] = spending.amount
        try:
            if await self._missing(spending, others, mine) is not None:
                # One at a time, each seeing what the one before has approved.
                async with self._approving:
                    allowed = await self._missing(spending, others, mine)
                    if allowed is not None:
                        # What is on the way stays allowed.
                        payload = _APPROVE.call(str(spending.spender), allowed + spending.amount)
                        await self._contracts.send(spending.token, payload, _MARGIN)
            yield
        finally:
            del others[mine]

    async def _check(self, spending: Spending) -> None:
        account = str(self._account)
        (balance,) = abi.decode(
            _BALANCE.outputs, await self._contracts.call(spending.token, _BALANCE.call(account), "latest")
        )
        if balance < spending.amount:
            raise InsufficientFunds(
                f"{account} has {balance} tokens, and {spending.amount} are needed",
                remedy="Send the missing tokens to that account, or ask for less.",
            )

    async def _missing(self, spending: Spending, others: Mapping[object, int], mine: object) -> int | None:
        """What is allowed, when that is too little for this one and those that came before; else None."""
        # Counted before the look: what is taken meanwhile counts as still to be taken, and not the reverse.
        needed = 0
        for one, amount in others.items():
            needed += amount
            if one is mine:
                break
        payload = _ALLOWANCE.call(str(self._account), str(spending.spender))
        (allowed,) = abi.decode(
            _ALLOWANCE.outputs, await self._contracts.call(spending.token, payload, "latest")
        )
        return int(allowed) if allowed < needed else None
