"""Tokens that contracts are to take: it is seen to that they may, and that there are enough, before anything
is sent.

A contract takes tokens only as far as the token was told to allow it. What is allowed already is used; where
it does not suffice, it is raised. What other transactions on their way are going to take counts as taken.
"""

from collections import Counter
from collections.abc import AsyncIterator
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
        self._turn = trio.Lock()
        self._on_the_way: Counter[tuple[Address, Address]] = Counter()

    @asynccontextmanager
    async def spend(self, spending: Spending) -> AsyncIterator[None]:
        """For the length of the block the tokens may be taken. Raises InsufficientFunds when there are not
        enough of them, and what sending raises.
        """
        pair = (spending.token, spending.spender)
        async with self._turn:
            await self._allow(spending, self._on_the_way[pair])
            self._on_the_way[pair] += spending.amount
        try:
            yield
        finally:
            self._on_the_way[pair] -= spending.amount

    async def _allow(self, spending: Spending, on_the_way: int) -> None:
        token, account, spender = spending.token, str(self._account), str(spending.spender)
        (balance,) = abi.decode(
            _BALANCE.outputs, await self._contracts.call(token, _BALANCE.call(account), "latest")
        )
        if balance < spending.amount:
            raise InsufficientFunds(
                f"{account} has {balance} tokens, and {spending.amount} are needed",
                remedy="Send the missing tokens to that account, or ask for less.",
            )
        (allowed,) = abi.decode(
            _ALLOWANCE.outputs,
            await self._contracts.call(token, _ALLOWANCE.call(account, spender), "latest"),
        )
        if allowed < on_the_way + spending.amount:
            # What is on the way stays allowed.
            payload = _APPROVE.call(spender, allowed + spending.amount)
            await self._contracts.send(token, payload, _MARGIN)
