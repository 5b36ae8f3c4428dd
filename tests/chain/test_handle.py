"""The door: what can be seen and asked without a contract."""

from typing import Any

import pytest
from trio.testing import MockClock

from codex.chain import Chain, ChainBoard, Header
from codex.config import MarketConfig
from codex.errors import ChainFailed, ServiceUnavailable
from codex.market import Address
from codex.runtime import Mailbox, VirtualClock
from codex.testing.chain import SimulatedChain, SimulatedLog, SimulatedProvider
from codex.testing.chain_service import open_chain

GWEI = 10**9


async def test_before_the_service_has_started_there_is_no_account() -> None:
    chain = Chain(Mailbox("chain"), ChainBoard(VirtualClock(0)))
    assert chain.head is None
    with pytest.raises(ServiceUnavailable):
        _ = chain.account


async def test_blocks_are_found_by_number_and_by_time(
    autojump_clock: MockClock, simulated: SimulatedChain, provider: SimulatedProvider, config: MarketConfig
) -> None:
    simulated.mine(count=50)
    simulated.mine(timestamp=1_700_001_000)
    async with open_chain(provider.dial, config) as opened:
        chain = opened.chain
        genesis = await chain.header(0)
        assert isinstance(genesis, Header)
        assert genesis.timestamp == 1_700_000_000
        assert await chain.header(1000) is None
        assert await chain.block_at(1_600_000_000) == 0
        assert await chain.block_at(1_700_000_007) == 7
        assert await chain.block_at(1_700_000_051) == 51
        assert await chain.block_at(1_700_001_000) == 51
        assert await chain.block_at(1_700_001_001) == 52


async def test_balances_are_of_this_account_unless_another_is_named(
    autojump_clock: MockClock, simulated: SimulatedChain, provider: SimulatedProvider, config: MarketConfig
) -> None:
    async with open_chain(provider.dial, config) as opened:
        assert await opened.chain.balance() == simulated.balance
        await opened.chain.balance(Address(b"\x0b" * 20))
        asked = [params[0] for method, params in provider.asked if method == "eth_getBalance"]
        assert asked == [str(opened.chain.account), "0x" + "0b" * 20]


@pytest.mark.parametrize(("base_fee", "price"), [(5 * GWEI, 11 * GWEI), (None, 3 * GWEI)])
async def test_the_price_of_gas_is_what_a_transaction_would_offer(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    base_fee: int | None,
    price: int,
) -> None:
    simulated.base_fee, simulated.gas_price = base_fee, 3 * GWEI
    simulated.mine()
    async with open_chain(provider.dial, config) as opened:
        assert await opened.chain.gas_price() == price


async def test_calls_are_in_this_accounts_name(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    simulated.contract = lambda to, data: data
    async with open_chain(provider.dial, config) as opened:
        assert await opened.chain.call(contract, b"\x07", "pending") == b"\x07"
        await opened.chain.call(contract, b"\x07", 5)
        calls = [params for method, params in provider.asked if method == "eth_call"]
        assert [params[1] for params in calls[-2:]] == ["pending", "0x5"]
        assert {params[0]["from"] for params in calls} == {str(opened.chain.account)}


async def test_logs_are_of_the_contract_and_the_blocks_that_were_asked_for(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    topic, other = b"\x01" * 32, b"\x02" * 32
    for where, what in ((contract, topic), (contract, other), (Address(b"\x0b" * 20), topic)):
        simulated.mine(SimulatedLog(str(where), ("0x" + what.hex(),)))
    simulated.mine(SimulatedLog(str(contract), ("0x" + topic.hex(),)))
    async with open_chain(provider.dial, config) as opened:
        found = await opened.chain.logs(contract, 0, 4, [topic])
        assert [log.block for log in found] == [1, 4]
        assert [log.block for log in await opened.chain.logs(contract, 0, 3, [topic, other])] == [1, 2]
        # A provider that gives more than it was asked for is not believed.
        original = provider._answer

        async def more(method: str, params: list[Any]) -> Any:
            if method == "eth_getLogs":
                params = [{**params[0], "fromBlock": "0x0", "toBlock": "0x4"}]
            return await original(method, params)

        provider._answer = more
        assert [log.block for log in await opened.chain.logs(contract, 2, 3, [topic])] == []


async def test_what_another_contract_says_is_not_taken_for_what_this_one_says(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    topic, stranger = b"\x01" * 32, Address(b"\x0b" * 20)
    for who in (contract, stranger):
        simulated.mine(SimulatedLog(str(who), ("0x" + topic.hex(),)))
    async with open_chain(provider.dial, config) as opened:
        chain = opened.chain
        block = await chain.header(2)
        assert block is not None
        original = provider._answer

        async def both(method: str, params: list[Any]) -> Any:
            found = await original(method, params)
            if method == "eth_getLogs":
                found += await original(method, [{**params[0], "address": str(stranger)}])
            return found

        provider._answer = both
        assert [log.address for log in await chain.logs(contract, 0, 2, [topic])] == [contract]
        assert await chain.logs_of(contract, block, [topic]) == ()
        assert len(await chain.logs_of(stranger, block, [topic])) == 2


async def test_logs_are_of_the_very_block_that_was_asked_for(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    topic, other = b"\x01" * 32, b"\x02" * 32
    for what in (topic, topic, other):
        simulated.mine(SimulatedLog(str(contract), ("0x" + what.hex(),)))
    async with open_chain(provider.dial, config) as opened:
        chain = opened.chain
        block, none = await chain.header(2), await chain.header(3)
        assert block is not None
        assert none is not None
        assert [log.block_hash for log in await chain.logs_of(contract, block, [topic])] == [block.hash]
        assert await chain.logs_of(contract, none, [topic]) == ()
        original = provider._answer

        async def more(method: str, params: list[Any]) -> Any:
            if method == "eth_getLogs":
                params = [{**params[0], "fromBlock": "0x0", "toBlock": "0x3"}]
                del params[0]["blockHash"]
            return await original(method, params)

        provider._answer = more
        assert [log.block for log in await chain.logs_of(contract, block, [topic])] == [2]
        provider._answer = original
        # Another block in its place is not the one that was asked for.
        simulated.reorganise(2, SimulatedLog(str(contract), ("0x" + topic.hex(),)))
        with pytest.raises(ChainFailed, match="unknown block"):
            await chain.logs_of(contract, block, [topic])


async def test_many_logs_are_read_too(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    topic = b"\x01" * 32
    simulated.mine(*[SimulatedLog(str(contract), ("0x" + topic.hex(),), f"0x{n:064x}") for n in range(3000)])
    async with open_chain(provider.dial, config) as opened:
        found = await opened.chain.logs(contract, 0, 1, [topic])
        assert [int.from_bytes(log.data, "big") for log in found] == list(range(3000))
