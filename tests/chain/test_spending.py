"""What contracts may take of this account's tokens: raised where it must be, also by several at once."""

from collections.abc import Callable
from functools import partial

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.chain import BlockTag, Receipt, Spending, abi
from codex.chain.spending import Purse
from codex.errors import ChainFailed, InsufficientFunds
from codex.market import Address

ALICE, TOKEN, MARKET = Address(b"\xa1" * 20), Address(b"\x70" * 20), Address(b"\xc0" * 20)


class Contracts:
    """A token that keeps books, and takes a second over everything that is sent to it."""

    def __init__(self, balance: int, allowed: int = 0) -> None:
        self.balance = balance
        self.allowed = allowed
        self.approved: list[int] = []
        self.failing = False
        self.preparing = 0.0
        """Seconds until something that is sent has its turn."""

    async def call(self, to: Address, payload: bytes, block: BlockTag) -> bytes:
        assert to == TOKEN
        await trio.lowlevel.checkpoint()
        asked = abi.TOKEN["balanceOf"].selector == payload[:4]
        return (self.balance if asked else self.allowed).to_bytes(32, "big")

    async def send(
        self, to: Address, payload: bytes, margin: float, in_turn: Callable[[], bytes] | None = None
    ) -> Receipt:
        assert to == TOKEN
        await trio.sleep(self.preparing)
        assert in_turn is not None
        payload = in_turn()
        assert payload[:4] == abi.TOKEN["approve"].selector
        assert payload[16:36] == MARKET.raw
        await trio.sleep(1)
        if self.failing:
            raise ChainFailed("no")
        self.allowed = int.from_bytes(payload[36:], "big")
        self.approved.append(self.allowed)
        return Receipt(bytes(32), 1, bytes(32), True, 1, ())

    def take(self, amount: int) -> None:
        """What the marketplace does."""
        assert amount <= self.allowed
        assert amount <= self.balance
        self.allowed -= amount
        self.balance -= amount


PAYLOAD = b"\x01"
"""Of whatever takes the tokens."""


def spending(amount: int) -> Spending:
    return Spending(token=TOKEN, spender=MARKET, amount=amount)


async def test_what_is_allowed_already_is_used(autojump_clock: MockClock) -> None:
    contracts = Contracts(100, allowed=60)
    purse = Purse(ALICE, contracts)
    async with purse.spend(spending(60), PAYLOAD):
        contracts.take(60)
    assert contracts.approved == []
    async with purse.spend(spending(1), PAYLOAD):
        contracts.take(1)
    assert contracts.approved == [1]


async def test_several_at_once_may_all_take_theirs(autojump_clock: MockClock) -> None:
    contracts = Contracts(100)
    purse = Purse(ALICE, contracts)

    async def spend(amount: int) -> None:
        async with purse.spend(spending(amount), PAYLOAD):
            await trio.sleep(5)
            contracts.take(amount)

    async with trio.open_nursery() as nursery:
        for amount in (10, 20, 30):
            nursery.start_soon(spend, amount)
            await wait_all_tasks_blocked()
    assert contracts.balance == 40
    assert contracts.allowed == 0
    assert contracts.approved == [10, 60]


async def test_more_than_there_is_is_refused_and_nothing_sent(autojump_clock: MockClock) -> None:
    contracts = Contracts(100)
    purse = Purse(ALICE, contracts)
    with pytest.raises(InsufficientFunds, match="has 100 tokens, and 101 are needed"):
        async with purse.spend(spending(101), PAYLOAD):
            raise AssertionError("was let in")
    assert contracts.approved == []


async def test_what_was_not_taken_stays_allowed_for_the_next(autojump_clock: MockClock) -> None:
    contracts = Contracts(100)
    purse = Purse(ALICE, contracts)
    with pytest.raises(ChainFailed):
        async with purse.spend(spending(50), PAYLOAD):
            raise ChainFailed("refused")
    async with purse.spend(spending(50), PAYLOAD):
        contracts.take(50)
    assert contracts.approved == [50]


async def test_an_approval_that_fails_is_not_counted_on(autojump_clock: MockClock) -> None:
    contracts = Contracts(100)
    purse = Purse(ALICE, contracts)
    contracts.failing = True
    with pytest.raises(ChainFailed):
        async with purse.spend(spending(50), PAYLOAD):
            raise AssertionError("was let in")
    contracts.failing = False
    async with purse.spend(spending(20), PAYLOAD):
        contracts.take(20)
    assert contracts.approved == [20]


async def test_who_has_enough_waits_for_nobody_else(autojump_clock: MockClock) -> None:
    class Far(Contracts):
        """A second away."""

        async def call(self, to: Address, payload: bytes, block: BlockTag) -> bytes:
            await trio.sleep(1)
            return await super().call(to, payload, block)

    contracts = Far(100, allowed=100)
    purse = Purse(ALICE, contracts)
    let_in: list[float] = []
    began = trio.current_time()

    async def spend(amount: int) -> None:
        async with purse.spend(spending(amount), PAYLOAD):
            let_in.append(trio.current_time() - began)
            await trio.sleep(100)
            contracts.take(amount)

    async with trio.open_nursery() as nursery:
        for amount in (20, 30, 10, 40):
            nursery.start_soon(spend, amount)
            await wait_all_tasks_blocked()
    assert let_in == [2, 2, 2, 2]
    assert contracts.approved == []
    assert (contracts.balance, contracts.allowed) == (0, 0)


async def test_what_was_taken_meanwhile_is_not_approved_again(autojump_clock: MockClock) -> None:
    contracts = Contracts(100, allowed=30)
    purse = Purse(ALICE, contracts)
    async with purse.spend(spending(30), PAYLOAD):
        contracts.take(30)
    async with purse.spend(spending(40), PAYLOAD), purse.spend(spending(20), PAYLOAD):
        contracts.take(60)
    assert contracts.approved == [40, 60]
    assert contracts.allowed == 0


@pytest.mark.parametrize("first", [True, False])
async def test_what_is_taken_before_an_approval_is_not_approved_once_more(
    autojump_clock: MockClock, first: bool
) -> None:
    contracts = Contracts(100)
    purse = Purse(ALICE, contracts)

    async def alice(*, turn: float, done: float) -> None:
        async with purse.spend(spending(10), PAYLOAD) as in_turn:  # approved after 1 s
            await trio.sleep_until(began + turn)
            assert in_turn() == PAYLOAD
            await trio.sleep_until(began + done)
            contracts.take(10)

    async def bob(*, done: float) -> None:
        await trio.sleep_until(began + 2)
        async with purse.spend(spending(20), PAYLOAD) as in_turn:
            in_turn()
            await trio.sleep_until(began + done)
            contracts.take(20)

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        # The approval has its turn at 5 s, and is done at 6 s.
        nursery.start_soon(partial(alice, turn=4.0 if first else 5.2, done=5.5 if first else 7.0))
        await trio.sleep_until(began + 1.5)
        contracts.preparing = 3.0
        nursery.start_soon(partial(bob, done=8.0))
    assert contracts.approved == [10, 20 if first else 30]
    assert (contracts.balance, contracts.allowed) == (70, 0)
