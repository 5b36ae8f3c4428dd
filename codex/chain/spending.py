"""Tokens that contracts are to take: it is seen to that they may, and that there are enough, before anything
is sent.

A contract takes tokens only as far as the token was told to allow it. What is allowed already is used; where
it does not suffice, exactly so much is allowed as is going to be taken from then on, so that nothing stays
allowed in the end. Transactions are done in the order of their turns: what has had its turn takes its tokens
before an approval that has it later.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import trio
from attrs import define

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
    async def send(
        self, to: Address, payload: bytes, margin: float, in_turn: Callable[[], bytes] | None = None
    ) -> Receipt: ...


@define(eq=False)
class _Taking:
    """Tokens that a transaction takes."""

    amount: int
    turned: bool = False
    """Whether it has had its turn."""


class Purse:
    """The tokens of one account."""

    def __init__(self, account: Address, contracts: Contracts) -> None:
        self._account = account
        self._contracts = contracts
        self._approving = trio.Lock()
        # By token and spender, those that are on their way, in the order in which they came.
        self._on_the_way: defaultdict[tuple[Address, Address], list[_Taking]] = defaultdict(list)

    @asynccontextmanager
    async def spend(self, spending: Spending, payload: bytes) -> AsyncIterator[Callable[[], bytes]]:
        """For the length of the block the tokens may be taken, by a transaction that is to call what this
        gives when it has its turn, and gets `payload`.

        Raises InsufficientFunds when there are not enough of them, and what sending raises.
        """
        await self._check(spending)
        takings, mine = self._on_the_way[spending.token, spending.spender], _Taking(spending.amount)

        def in_turn() -> bytes:
            mine.turned = True
            return payload

        def approval() -> bytes:
            due = sum([taking.amount for taking in takings if not taking.turned])
            return _APPROVE.call(str(spending.spender), due)

        takings.append(mine)
        try:
            if not await self._is_allowed(spending, takings, mine):
                # One at a time, each seeing what the one before has approved.
                async with self._approving:
                    if not await self._is_allowed(spending, takings, mine):
                        await self._contracts.send(spending.token, approval(), _MARGIN, approval)
            yield in_turn
        finally:
            takings.remove(mine)

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

    async def _is_allowed(self, spending: Spending, takings: list[_Taking], mine: _Taking) -> bool:
        """Whether enough is allowed for this one and those that came before."""
        # Counted before the look: what is taken meanwhile counts as still to be taken, and not the reverse.
        needed = sum([taking.amount for taking in takings[: takings.index(mine) + 1]])
        payload = _ALLOWANCE.call(str(self._account), str(spending.spender))
        (allowed,) = abi.decode(
            _ALLOWANCE.outputs, await self._contracts.call(spending.token, payload, "latest")
        )
        return bool(allowed >= needed)
