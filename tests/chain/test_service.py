"""The service: what it starts with, what it refuses, and how it shows an outage."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.chain import Connected, Disconnected
from codex.chain.abi import CONFIG, encode
from codex.config import LogConfig, MarketConfig
from codex.errors import ChainUnreachable, ConfigError, DecodeError, ServiceUnavailable
from codex.logs import configured
from codex.market import Address
from codex.testing.chain import ProviderError, SimulatedChain, SimulatedProvider
from codex.testing.chain_service import ALICE_KEY, open_chain


async def test_it_starts_with_the_account_of_the_key(
    autojump_clock: MockClock, provider: SimulatedProvider, config: MarketConfig
) -> None:
    async with open_chain(provider.dial, config) as opened:
        assert str(opened.chain.account) == "0x5d5c99edf529335160ff180fa141dd4967fc00d2"
        assert isinstance(opened.chain.state, Connected)
        assert opened.board.chain == 31337
        assert opened.supervisor.states()[0].condition is None


async def test_an_outage_keeps_nobody_from_starting_and_is_shown(
    autojump_clock: MockClock, provider: SimulatedProvider, config: MarketConfig, contract: Address
) -> None:
    provider.go_down()
    async with open_chain(provider.dial, config) as opened:
        await wait_all_tasks_blocked()
        assert isinstance(opened.chain.state, Disconnected)
        condition = opened.supervisor.states()[0].condition
        assert condition is not None
        assert condition.serves
        assert condition.problem.code == "chain-unreachable"
        assert "connection refused" in condition.problem.message
        with pytest.raises(ChainUnreachable):
            await opened.chain.call(contract, b"")
        provider.up = True
        await opened.chain.connected()
        await wait_all_tasks_blocked()
        assert opened.supervisor.states()[0].condition is None
        assert await opened.chain.call(contract, b"") == b""


async def test_a_key_that_cannot_be_used_keeps_it_from_starting(
    autojump_clock: MockClock, provider: SimulatedProvider, config: MarketConfig
) -> None:
    assert config.private_key_file is not None
    config.private_key_file.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        async with open_chain(provider.dial, config):
            raise AssertionError("it started")


async def test_a_provider_without_the_marketplace_keeps_it_from_starting(
    autojump_clock: MockClock, simulated: SimulatedChain, config: MarketConfig
) -> None:
    async def no_code(method: str, params: list[Any]) -> Any:
        return "0x" if method == "eth_getCode" else await simulated.answer(method, params)

    with pytest.raises(ConfigError, match="there is no contract at 0xc0c0") as caught:
        async with open_chain(SimulatedProvider(no_code).dial, config):
            raise AssertionError("it started")
    assert "--marketplace-address" in caught.value.remedy


_NOTHING = encode((CONFIG,), (((0,) * 4, (0, 0, 0, 0, ""), (0,), 0),))


@pytest.mark.parametrize(
    "answer",
    ["0x", "0x" + "00" * 32, "0x" + _NOTHING.hex(), ProviderError(3, "execution reverted", "0x")],
    ids=["nothing", "a number", "zeros", "a refusal"],
)
async def test_a_contract_that_is_no_marketplace_keeps_it_from_starting(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    answer: str | ProviderError,
) -> None:
    simulated.configuration = answer
    with pytest.raises(
        ConfigError, match=r"the contract at 0xc0c0\w+ on chain 31337 is no marketplace"
    ) as caught:
        async with open_chain(provider.dial, config):
            raise AssertionError("it started")
    assert "--marketplace-address" in caught.value.remedy


async def test_the_token_is_no_marketplace(town: Any) -> None:
    token = town.devnet.token
    with pytest.raises(ConfigError, match=f"the contract at {token} on chain 31337 is no marketplace"):
        async with town.person(1, lambda config: evolve(config, marketplace_address=token)):
            raise AssertionError("it started")


async def test_who_cannot_say_now_whether_it_is_a_marketplace_is_an_outage(
    autojump_clock: MockClock, simulated: SimulatedChain, provider: SimulatedProvider, config: MarketConfig
) -> None:
    right = simulated.configuration
    provider.fail("eth_call", ProviderError(429, "rate limited"))
    simulated.configuration = "sesame"
    async with open_chain(provider.dial, config) as opened:
        assert isinstance(opened.chain.state, Disconnected)
        assert "rate limited" in opened.chain.state.why
        await opened.board.next_state(opened.chain.state)
        assert isinstance(opened.chain.state, Disconnected)
        assert "sesame" in opened.chain.state.why
        simulated.configuration = right
        await opened.chain.connected()


async def test_no_marketplace_later_is_an_outage(
    autojump_clock: MockClock, simulated: SimulatedChain, provider: SimulatedProvider, config: MarketConfig
) -> None:
    async with open_chain(provider.dial, config) as opened:
        right, simulated.configuration = simulated.configuration, "0x"
        provider.drop()
        await trio.sleep(60)
        assert isinstance(opened.chain.state, Disconnected)
        assert "is no marketplace" in opened.chain.state.why
        simulated.configuration = right
        await opened.chain.connected()


async def test_a_chain_without_a_known_marketplace_wants_its_address(
    autojump_clock: MockClock, simulated: SimulatedChain, config: MarketConfig
) -> None:
    async def elsewhere(method: str, params: list[Any]) -> Any:
        return "0x5" if method == "eth_chainId" else await simulated.answer(method, params)

    with pytest.raises(ConfigError, match="no marketplace is known on chain 5"):
        async with open_chain(SimulatedProvider(elsewhere).dial, evolve(config, marketplace_address=None)):
            raise AssertionError("it started")


async def test_another_chain_later_is_an_outage(
    autojump_clock: MockClock, simulated: SimulatedChain, provider: SimulatedProvider, config: MarketConfig
) -> None:
    chain_id = "0x7a69"

    async def answer(method: str, params: list[Any]) -> Any:
        return chain_id if method == "eth_chainId" else await simulated.answer(method, params)

    provider = SimulatedProvider(answer)
    async with open_chain(provider.dial, config) as opened:
        chain_id = "0x1"
        provider.drop()
        await trio.sleep(60)
        state = opened.chain.state
        assert isinstance(state, Disconnected)
        assert state.why == "ws://one: it is on chain 1, and not on 31337"
        chain_id = "0x7a69"
        await opened.chain.connected()


async def test_a_provider_that_is_not_up_to_date_is_of_no_use_yet(
    autojump_clock: MockClock, simulated: SimulatedChain, config: MarketConfig
) -> None:
    syncing: Any = {"currentBlock": "0x1", "highestBlock": "0x100"}

    async def answer(method: str, params: list[Any]) -> Any:
        return syncing if method == "eth_syncing" else await simulated.answer(method, params)

    async with open_chain(SimulatedProvider(answer).dial, config) as opened:
        assert isinstance(opened.chain.state, Disconnected)
        assert "has not all blocks yet" in opened.chain.state.why
        syncing = False
        await opened.chain.connected()


async def test_an_account_that_the_provider_does_not_keep_is_refused(
    autojump_clock: MockClock, provider: SimulatedProvider, config: MarketConfig
) -> None:
    account = "0x" + "12" * 20
    with pytest.raises(ConfigError, match=f"does not keep the account {account}") as caught:
        async with open_chain(provider.dial, evolve(config, private_key_file=None, account=account)):
            raise AssertionError("it started")
    assert "--eth-private-key" in caught.value.remedy


async def test_an_account_that_the_provider_keeps_is_signed_for_there(town: Any) -> None:
    account = town.devnet.accounts[4].address
    async with town.person(4, lambda config: evolve(config, private_key_file=None, account=account)) as carol:
        assert str(carol.chain.account) == account
        token = await carol.marketplace.token()
        receipt = await token.transfer(Address(b"\x55" * 20), 7)
        assert receipt.succeeded
        assert await token.balance_of(Address(b"\x55" * 20)) == 7
        methods = [method for method, _ in carol.provider.asked]
        assert "eth_sendTransaction" in methods
        assert "eth_sendRawTransaction" not in methods


async def test_stopping_waits_for_no_block(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    errors: list[BaseException] = []

    async def send() -> None:
        try:
            await opened.chain.send(contract, b"\x01")
        except ServiceUnavailable as error:
            errors.append(error)

    async with trio.open_nursery() as nursery, open_chain(provider.dial, config) as opened:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert simulated.waiting == [0]
        began = trio.current_time()
        await opened.supervisor.stop()
        assert trio.current_time() - began < 1
    assert len(errors) == 1


async def test_a_new_life_goes_on_with_the_nonces(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
    tmp_path: Path,
) -> None:
    async with trio.open_nursery() as nursery:
        async with open_chain(provider.dial, config) as opened:
            with trio.move_on_after(1):
                await opened.chain.send(contract, b"\x01")
        async with open_chain(provider.dial, config) as opened:

            async def send() -> None:
                receipt = await opened.chain.send(contract, b"\x02")
                assert receipt.succeeded

            nursery.start_soon(send)
            await wait_all_tasks_blocked()
            assert simulated.waiting == [0, 1]
            simulated.mine()
            await wait_all_tasks_blocked()


async def test_foreign_answers_are_checked(
    autojump_clock: MockClock, simulated: SimulatedChain, config: MarketConfig, contract: Address
) -> None:
    wrong: dict[str, Any] = {}

    async def answer(method: str, params: list[Any]) -> Any:
        return wrong[method] if method in wrong else await simulated.answer(method, params)

    async with open_chain(SimulatedProvider(answer).dial, config) as opened:
        chain = opened.chain
        wrong.update(eth_call="sesame", eth_getLogs={}, eth_getBalance=-1)
        with pytest.raises(DecodeError):
            await chain.call(contract, b"")
        with pytest.raises(DecodeError):
            await chain.logs(contract, 0, 1, [])
        with pytest.raises(DecodeError):
            await chain.balance()
        wrong["eth_getBlockByNumber"] = []
        with pytest.raises(DecodeError):
            await chain.header(0)
        wrong["eth_getBlockByNumber"] = await simulated.answer("eth_getBlockByNumber", ["0x0", False])
        assert await chain.header(0) == await chain.header()
        with pytest.raises(DecodeError, match="asked for block 1, the provider gave block 0"):
            await chain.header(1)
        wrong.clear()
        assert await chain.balance() == simulated.balance


async def test_an_error_of_the_provider_is_told_as_what_it_means(
    autojump_clock: MockClock, provider: SimulatedProvider, config: MarketConfig, contract: Address
) -> None:
    async with open_chain(provider.dial, config) as opened:
        provider.fail("eth_call", ProviderError(429, "rate limited"))
        with pytest.raises(Exception, match="rate limited") as caught:
            await opened.chain.call(contract, b"")
        assert getattr(caught.value, "code", None) == "chain-failed"


async def test_nothing_hangs_while_no_provider_has_ever_answered(
    autojump_clock: MockClock, provider: SimulatedProvider, config: MarketConfig, contract: Address
) -> None:
    provider.go_down()
    async with open_chain(provider.dial, config) as opened:
        began = trio.current_time()
        for ask in (
            opened.marketplace.configuration,
            opened.marketplace.my_slots,
            opened.chain.chain_id,
            opened.chain.balance,
            partial(opened.chain.send, contract, b""),
            partial(opened.chain.block_at, 5),
            partial(opened.marketplace.events, 0),
        ):
            with pytest.raises(ChainUnreachable):
                await ask()
        assert trio.current_time() - began < 30


async def test_nothing_hangs_while_providers_are_gone(
    autojump_clock: MockClock, provider: SimulatedProvider, config: MarketConfig, contract: Address
) -> None:
    async with open_chain(provider.dial, config) as opened:
        provider.go_down()
        began = trio.current_time()
        assert await opened.marketplace.address() == contract
        for ask in (opened.marketplace.my_slots, partial(opened.chain.send, contract, b"")):
            with pytest.raises(ChainUnreachable):
                await ask()
        assert trio.current_time() - began < 30
        # The time goes on.
        await opened.chain.clock.until(await opened.chain.clock.now() + 3600)


async def test_no_secret_is_logged(
    autojump_clock: MockClock,
    simulated: SimulatedChain,
    provider: SimulatedProvider,
    config: MarketConfig,
    contract: Address,
) -> None:
    stream = io.StringIO()
    urls = ("ws://alice:hush@one:1/v3/sesame?key=sesame", "ws://two/sesame")
    with configured(LogConfig("trace", "json"), stream=stream):
        async with open_chain(provider.dial, evolve(config, providers=urls)) as opened:
            with trio.move_on_after(1):
                await opened.chain.send(contract, b"\x01")
            provider.go_down()
            with pytest.raises(ChainUnreachable) as caught:
                await opened.chain.call(contract, b"")
            said = f"{caught.value} {caught.value.remedy} {opened.chain.state} {opened.supervisor.states()}"
    logged = stream.getvalue()
    assert "no provider of the chain answers" in logged
    for secret in ("sesame", "hush", "alice", ALICE_KEY):
        assert secret not in logged
        assert secret not in said
