"""The lane of transactions, over a simulated chain: order, replacement, reorganisations, outages."""

from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.chain import Receipt
from codex.chain.sending import HOPELESS, OBSCURE, STUCK_BLOCKS, STUCK_SECONDS
from codex.config import MarketConfig
from codex.errors import (
    ChainFailed,
    ChainRefused,
    CodexError,
    InsufficientFunds,
    SlotStateMismatch,
    TransactionUnsettled,
)
from codex.market import Address
from codex.market.ids import keccak256
from codex.testing.chain import (
    GAS,
    ProviderError,
    SentTransaction,
    SimulatedChain,
    SimulatedProvider,
    transaction_of,
)
from codex.testing.chain_service import OpenChain, open_chain

GWEI = 10**9


class Sender:
    """Sends in the background, and keeps what came of it."""

    def __init__(self, opened: OpenChain, contract: Address, nursery: trio.Nursery) -> None:
        self.chain = opened.chain
        self.contract = contract
        self.nursery = nursery
        self.done: dict[int, Receipt | CodexError] = {}

    async def send(self, *payloads: int) -> None:
        """Begin to send, one after the other, and wait until all that can happen at once has."""
        for payload in payloads:
            self.nursery.start_soon(self._one, payload)
            await wait_all_tasks_blocked()

    async def _one(self, payload: int) -> None:
        try:
            self.done[payload] = await self.chain.send(self.contract, bytes([payload]))
        except CodexError as error:
            self.done[payload] = error

    def receipt(self, payload: int) -> Receipt:
        found = self.done[payload]
        assert isinstance(found, Receipt), found
        return found


def raws(provider: SimulatedProvider) -> list[SentTransaction]:
    """The transactions that were sent, each once, in order."""
    sent = dict.fromkeys(params[0] for method, params in provider.asked if method == "eth_sendRawTransaction")
    return [transaction_of(raw) for raw in sent]


def nonces(provider: SimulatedProvider) -> list[int]:
    return [fields.nonce for fields in raws(provider)]


async def minutes(chain: SimulatedChain, blocks: int, seconds: float) -> None:
    """Let blocks come, one every so many seconds."""
    for _ in range(blocks):
        await trio.sleep(seconds)
        chain.mine()
        await trio.sleep(0.001)


async def test_transactions_go_out_in_order_and_come_back_with_receipts(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(1, 2, 3)
        assert simulated.waiting == [0, 1, 2]
        assert sender.done == {}
        simulated.mine()
        await wait_all_tasks_blocked()
        assert [sender.receipt(payload).block for payload in (1, 2, 3)] == [1, 1, 1]
        sent = raws(provider)
        assert [fields.nonce for fields in sent] == [0, 1, 2]
        assert [fields.data for fields in sent] == ["0x01", "0x02", "0x03"]
        assert {fields.gas for fields in sent} == {int(GAS * 1.1)}
        assert {fields.tip for fields in sent} == {GWEI}
        assert {fields.most for fields in sent} == {3 * GWEI}
        # The count of transactions is asked for once.
        counts = [params[1] for method, params in provider.asked if method == "eth_getTransactionCount"]
        assert counts.count("pending") == 1


async def test_the_account_must_have_all_that_is_offered(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    needed = int(GAS * 1.1) * 3 * GWEI
    simulated.balance = needed - 1
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(1)
        refused = sender.done[1]
        assert isinstance(refused, InsufficientFunds)
        assert f"may take {needed}" in refused.message
        simulated.balance = needed
        await sender.send(2)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(2).succeeded


async def test_a_call_that_would_fail_is_not_sent(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    def refuse(to: str, data: str) -> str:
        raise ProviderError(3, "execution reverted", "0xff556acf")

    simulated.contract = refuse
    async with open_chain(provider.dial, config) as opened:
        with pytest.raises(SlotStateMismatch):
            await opened.chain.send(contract, b"\x01")
        simulated.contract = lambda to, data: "0x"
        simulated.balance = GAS
        with pytest.raises(InsufficientFunds, match=f"has {GAS} wei") as caught:
            await opened.chain.send(contract, b"\x01")
        assert caught.value.remedy
    assert nonces(provider) == []


async def test_a_transaction_that_fails_in_its_block_says_why(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    simulated.failing = {"0x01", "0x02"}
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(1)

        def refuse(to: str, data: str) -> str:
            raise ProviderError(3, "execution reverted", "0xff556acf")

        simulated.contract = refuse
        simulated.mine()
        await wait_all_tasks_blocked()
        assert isinstance(sender.done[1], SlotStateMismatch)
        at_block = [params[1] for method, params in provider.asked if method == "eth_call"][-1]
        assert at_block == "0x1"
        simulated.contract = lambda to, data: "0x"
        await sender.send(2)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert isinstance(sender.done[2], ChainRefused)
        assert "failed in block 2" in sender.done[2].message


async def test_a_stuck_transaction_is_replaced_for_more(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        simulated.least_price = GWEI * 3 // 2
        await sender.send(1, 2)
        await minutes(simulated, STUCK_BLOCKS, 1)
        assert nonces(provider) == [0, 1], "not before its time"
        simulated.least_price = GWEI * 3 // 2
        for _ in range(30):
            await minutes(simulated, 1, STUCK_SECONDS / 2)
            if len(sender.done) == 2:
                break
        assert sender.receipt(1).succeeded
        assert sender.receipt(2).succeeded
        offered = [fields.tip for fields in raws(provider) if fields.nonce == 0]
        assert offered[0] == GWEI
        assert offered[-1] >= simulated.least_price
        for before, after in pairwise(offered):
            assert after * 8 >= before * 9
        assert simulated.waiting == []


async def test_a_replacement_offers_what_the_chain_asks_for_by_then(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        simulated.least_price = GWEI * 9 // 8
        await sender.send(1)
        simulated.base_fee = 50 * GWEI
        await minutes(simulated, STUCK_BLOCKS + 1, STUCK_SECONDS)
        assert sender.receipt(1).succeeded
        first, second = raws(provider)
        assert (first.most, second.most) == (3 * GWEI, 101 * GWEI)
        assert second.tip == GWEI * 9 // 8


async def test_what_was_replaced_may_be_what_is_done(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    original = provider._answer
    taken: list[str] = []

    async def deaf(method: str, params: list[Any]) -> Any:
        # Whoever makes the blocks has the first one, and never sees those that replace it.
        if method == "eth_sendRawTransaction":
            taken.append(params[0])
            if len(taken) > 1:
                return "0x" + keccak256(bytes.fromhex(params[0][2:])).hex()
        return await original(method, params)

    provider._answer = deaf
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        simulated.least_price = 10**18
        await sender.send(1)
        await minutes(simulated, 3 * STUCK_BLOCKS, STUCK_SECONDS)
        assert len(set(taken)) > 2
        simulated.least_price = 0
        await minutes(simulated, 1, 1)
        assert sender.receipt(1).transaction == keccak256(bytes.fromhex(taken[0][2:]))
        await minutes(simulated, 10, 1)


async def test_who_waits_for_a_hopeless_one_is_told_so(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        simulated.least_price = 10**18
        await sender.send(1)
        await minutes(simulated, HOPELESS, 1)
        assert isinstance(sender.done[1], TransactionUnsettled)
        assert "nonce 0" in sender.done[1].message
        # It is kept in sight all the same, and the next one comes after it.
        await sender.send(2)
        simulated.least_price = 0
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(2).succeeded


async def test_what_a_reorganisation_undoes_is_sent_again(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        simulated.mine(count=3)
        await sender.send(1, 2)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(2).block == 4
        simulated.mine(count=2)
        await wait_all_tasks_blocked()
        simulated.reorganise(3, lose=True)
        await wait_all_tasks_blocked()
        assert simulated.waiting == [0, 1]
        simulated.mine()
        await wait_all_tasks_blocked()
        assert simulated.waiting == []
        assert nonces(provider) == [0, 1], "as they were, not for more"
        await sender.send(3)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(3).succeeded
        assert nonces(provider) == [0, 1, 2]


@pytest.mark.parametrize("lose", [True, False])
async def test_what_failed_is_not_done_after_a_reorganisation(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
    lose: bool,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        simulated.failing = {"0x01"}
        await sender.send(1, 2)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert isinstance(sender.done[1], ChainRefused)
        assert sender.receipt(2).succeeded
        simulated.mine(count=2)
        await wait_all_tasks_blocked()
        simulated.failing = set()  # it would be done now, and whoever sent it was told that it is not
        simulated.reorganise(3, lose=lose)
        await wait_all_tasks_blocked()
        assert simulated.waiting == [0, 1]
        simulated.mine()
        await wait_all_tasks_blocked()
        assert simulated.waiting == []
        done = simulated.latest_sent()
        assert [(sent.nonce, sent.to, sent.data) for sent in done] == [
            (0, str(opened.chain.account).lower(), "0x"),
            (1, str(contract).lower(), "0x02"),
        ]
        # Taken back once more, it is as any other, and is sent as it was.
        simulated.mine()
        await wait_all_tasks_blocked()
        sent_before = raws(provider)
        simulated.reorganise(2, lose=True)
        await wait_all_tasks_blocked()
        assert simulated.waiting == [0, 1]
        assert raws(provider) == sent_before


async def test_a_provider_that_has_forgotten_is_told_again(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(1)
        simulated.forget()
        provider.go_down()
        await trio.sleep(3600)
        provider.up = True
        await trio.sleep(60)
        simulated.mine()
        await trio.sleep(1)
        simulated.mine()
        await trio.sleep(1)
        assert sender.receipt(1).succeeded
        assert nonces(provider) == [0]


async def test_a_connection_lost_while_sending_loses_nothing(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(1)
        original = provider._answer

        async def cut(method: str, params: list[Any]) -> Any:
            answer = await original(method, params)
            if method == "eth_sendRawTransaction":
                # Taken, and the answer never comes.
                provider._answer = original
                provider.go_down()
            return answer

        provider._answer = cut
        await sender.send(2)
        await trio.sleep(3600)
        assert sender.done == {}
        provider.up = True
        await trio.sleep(60)
        simulated.mine()
        await trio.sleep(20)
        simulated.mine()
        await trio.sleep(20)
        assert (sender.receipt(1).block, sender.receipt(2).block) == (1, 1)
        assert nonces(provider) == [0, 1]


async def test_who_gives_up_waiting_leaves_no_gap(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await opened.chain.send(contract, b"\x01")
        sender = Sender(opened, contract, nursery)
        await sender.send(2)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(2).succeeded
        assert nonces(provider) == [0, 1]


async def test_cancelled_anywhere_it_leaves_no_gap(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        for steps in range(40):
            with trio.CancelScope() as scope, suppress(CodexError):

                async def cancel_later(scope: trio.CancelScope = scope, steps: int = steps) -> None:
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()

                nursery.start_soon(cancel_later)
                await opened.chain.send(contract, b"\x09")
            await wait_all_tasks_blocked()
        await sender.send(1)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(1).succeeded
        assert simulated.waiting == []
        assert len(set(nonces(provider))) > 1


async def test_cancelled_while_the_provider_signs_it_leaves_no_gap(
    autojump_clock: MockClock, simulated: SimulatedChain, contract: Address
) -> None:
    account = "0x" + "a1" * 20
    asked: list[str] = []

    async def keeping(method: str, params: list[Any]) -> Any:
        if method == "eth_accounts":
            return [account]
        if method == "eth_sendTransaction":
            asked.append(params[0]["nonce"])
            provider.silent = len(asked) == 1
            return "0x" + "77" * 32
        return await simulated.answer(method, params)

    provider = SimulatedProvider(keeping)
    config = MarketConfig(providers=("ws://one",), account=account, marketplace_address=str(contract))
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        with trio.move_on_after(1):
            await opened.chain.send(contract, b"\x01")
        provider.silent = False
        await Sender(opened, contract, nursery).send(2)
        assert asked == ["0x0", "0x0"]
        nursery.cancel_scope.cancel()


async def test_what_the_provider_has_forgotten_keeps_its_turn(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(1)
        simulated.forget()
        # What is refused makes it ask for the count anew, and that is 0.
        provider.fail("eth_sendRawTransaction", ProviderError(-32000, "the pool is full"))
        await sender.send(2)
        await sender.send(3)
        assert isinstance(sender.done[2], ChainFailed)
        assert [(fields.nonce, fields.data) for fields in raws(provider)] == [
            *((0, "0x01"), (1, "0x02"), (1, "0x03"))
        ]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "message",
    [
        "nonce too low: next nonce 5, tx nonce 0",
        "Nonce too high. Expected nonce to be 2",
        "invalid nonce: used",
    ],
)
async def test_a_nonce_that_is_refused_is_asked_for_anew(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
    message: str,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        provider.fail("eth_sendRawTransaction", ProviderError(-32000, message))
        await sender.send(1)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(1).succeeded
        counts = [params[1] for method, params in provider.asked if method == "eth_getTransactionCount"]
        assert counts.count("pending") == 2


async def test_a_price_that_is_refused_is_raised(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        low = ProviderError(-32000, "transaction underpriced")
        provider.fail("eth_sendRawTransaction", low, low)
        await sender.send(1)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(1).succeeded
        prices = [fields.tip for fields in raws(provider)]
        assert prices == [GWEI, GWEI * 9 // 8, GWEI * 81 // 64]


async def test_a_transaction_that_is_refused_for_good_leaves_no_gap(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        provider.fail("eth_sendRawTransaction", ProviderError(-32000, "the pool is full"))
        await sender.send(1)
        assert isinstance(sender.done[1], ChainFailed)
        never = [ProviderError(-32000, "nonce too low")] * 10
        provider.fail("eth_sendRawTransaction", *never)
        await sender.send(2)
        assert isinstance(sender.done[2], ChainFailed)
        assert "another program" in sender.done[2].remedy
        provider._troubles.clear()
        await sender.send(3)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(3).succeeded
        assert simulated.waiting == []


async def test_another_program_with_the_same_key_is_noticed(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(1)
        simulated.take_over(0)
        await minutes(simulated, 6, 1)
        assert isinstance(sender.done[1], TransactionUnsettled)
        assert "another one of this account" in sender.done[1].message
        await sender.send(2)
        simulated.mine()
        await wait_all_tasks_blocked()
        assert sender.receipt(2).succeeded


async def test_a_provider_may_count_a_transaction_before_it_has_its_receipt(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    original, late = provider._answer, 3

    async def lagging(method: str, params: list[Any]) -> Any:
        nonlocal late
        answer = await original(method, params)
        if method == "eth_getTransactionReceipt" and answer is not None and late:
            late -= 1
            return None
        return answer

    provider._answer = lagging
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(1)
        await minutes(simulated, 3, 1)
        assert sender.done == {}
        await minutes(simulated, 1, 1)
        assert sender.receipt(1).block == 1


async def test_a_chain_that_is_polled_is_looked_at_again_once_it_has_moved(
    autojump_clock: MockClock, simulated: SimulatedChain, config: MarketConfig, contract: Address
) -> None:
    async def at_once(method: str, params: list[Any]) -> Any:
        answer = await simulated.answer(method, params)
        if method == "eth_sendRawTransaction":
            simulated.mine()
        return answer

    provider = SimulatedProvider(at_once, pushes=False)
    async with open_chain(provider.dial, config) as opened:
        began = trio.current_time()
        receipt = await opened.chain.send(contract, b"\x01")
        await wait_all_tasks_blocked()
        assert opened.chain.head is not None
        assert opened.chain.head.number == receipt.block == 1
        assert trio.current_time() == began


async def test_a_chain_that_has_told_of_a_block_is_asked_for_it_once(
    autojump_clock: MockClock, simulated: SimulatedChain, config: MarketConfig, contract: Address
) -> None:
    async def at_once(method: str, params: list[Any]) -> Any:
        answer = await simulated.answer(method, params)
        if method == "eth_sendRawTransaction":
            simulated.mine()
        return answer

    provider = SimulatedProvider(at_once)
    simulated.providers.append(provider)
    async with open_chain(provider.dial, config) as opened:
        await wait_all_tasks_blocked()
        provider.asked.clear()
        receipt = await opened.chain.send(contract, b"\x01")
        await wait_all_tasks_blocked()
        assert opened.chain.head is not None
        assert opened.chain.head.number == receipt.block == 1
        assert [method for method, _ in provider.asked].count("eth_getBlockByNumber") == 1


async def test_the_gas_is_what_it_takes_and_a_margin(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:

        async def send() -> None:
            await opened.chain.send(contract, b"\x01", margin=3.0)

        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert [fields.gas for fields in raws(provider)] == [3 * GAS]
        simulated.mine()


# -- what a former life has sent


@pytest.mark.parametrize("shows", ["txpool_contentFrom", "eth_getTransactionBySenderAndNonce"])
async def test_what_a_former_life_has_sent_is_sent_again_for_more(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
    shows: str,
) -> None:
    simulated.shows = shows
    simulated.least_price = GWEI * 3 // 2
    async with open_chain(provider.dial, config) as opened:
        with trio.move_on_after(1):
            await opened.chain.send(contract, b"\x01")
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        assert await opened.chain.waiting() == 1
        await sender.send(2)
        assert await opened.chain.waiting() == 2
        await minutes(simulated, STUCK_BLOCKS, 1)
        assert nonces(provider) == [0, 1], "not before its time"
        for _ in range(40):
            await minutes(simulated, 1, STUCK_SECONDS / 2)
            if sender.done:
                break
        assert sender.receipt(2).succeeded
        again = [fields for fields in raws(provider) if fields.nonce == 0]
        assert len(again) > 1
        assert {(fields.to, fields.data) for fields in again} == {(str(contract), "0x01")}
        for before, after in pairwise(again):
            assert after.tip * 8 >= before.tip * 9
            assert after.most > before.most
        assert await opened.chain.waiting() == 0


@pytest.mark.parametrize("shown", [None, {"to": "0x" + "66" * 20}, {"nonce": "0x1", "s": "0x1"}])
async def test_the_turn_is_taken_of_what_nobody_shows(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
    shown: dict[str, str] | None,
) -> None:
    original = provider._answer

    async def forging(method: str, params: list[Any]) -> Any:
        answer = await original(method, params)
        if method == "eth_getTransactionBySenderAndNonce" and shown is not None:
            answer |= shown
        return answer

    provider._answer = forging
    simulated.shows = "eth_getTransactionBySenderAndNonce" if shown else ""
    simulated.least_price = 10 * GWEI
    async with open_chain(provider.dial, config) as opened:
        with trio.move_on_after(1):
            await opened.chain.send(contract, b"\x01")
    async with open_chain(provider.dial, config) as opened, trio.open_nursery() as nursery:
        sender = Sender(opened, contract, nursery)
        await sender.send(2)
        await minutes(simulated, OBSCURE - 1, STUCK_SECONDS)
        assert nonces(provider) == [0, 1]
        simulated.least_price = GWEI * 9 // 8
        await minutes(simulated, 12, STUCK_SECONDS)
        assert sender.receipt(2).succeeded
        first, taken, *_ = [fields for fields in raws(provider) if fields.nonce == 0]
        assert (first.data, first.to) == ("0x01", str(contract))
        assert (taken.data, taken.to) == ("0x", str(opened.chain.account))
        assert {fields.to for fields in raws(provider)} == {str(contract), str(opened.chain.account)}


async def test_who_has_nothing_to_send_lets_a_former_one_be(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    simulated.least_price = 10 * GWEI
    async with open_chain(provider.dial, config) as opened:
        with trio.move_on_after(1):
            await opened.chain.send(contract, b"\x01")
    async with open_chain(provider.dial, config):
        await minutes(simulated, 3 * OBSCURE, STUCK_SECONDS)
    assert nonces(provider) == [0]
