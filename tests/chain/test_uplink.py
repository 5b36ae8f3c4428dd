"""The connection with a provider: which one, what happens when it is lost, and what calls meet meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.chain import ChainBoard, ChainState, Connected, Disconnected, LinkLost, Wire
from codex.chain.jsonrpc import RpcError, number
from codex.chain.link import SENDING, Link
from codex.chain.uplink import PATIENCE, PAUSE_MAX, PAUSE_MIN, POLL, QUIET, STEADY, Uplink, shown_url
from codex.errors import ChainFailed, ChainUnreachable, ConfigError
from codex.runtime import Inline, VirtualClock
from codex.testing.chain import ProviderError, SimulatedChain, SimulatedProvider

EPOCH = 1_700_000_000


async def check(link: Link) -> int:
    return number(await link.call("eth_chainId"), "x")


class World:
    """An uplink over some providers, by URL."""

    def __init__(self, **providers: SimulatedProvider) -> None:
        self.providers = providers
        self.dialled: list[str] = []
        self.shown: list[ChainState] = []
        """What the board showed when each was dialled."""
        self.board = ChainBoard(VirtualClock(EPOCH))
        self.uplink = Uplink(
            [f"ws://{name}" for name in providers],
            self.dial,
            board=self.board,
            clock=VirtualClock(EPOCH),
            offload=Inline(),
            check=check,
        )

    @asynccontextmanager
    async def dial(self, url: str) -> AsyncIterator[Wire]:
        self.dialled.append(url)
        self.shown.append(self.board.state)
        async with self.providers[url.removeprefix("ws://")].dial(url) as wire:
            yield wire


@asynccontextmanager
async def running(**providers: SimulatedProvider) -> AsyncIterator[World]:
    world = World(**providers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.uplink.run)
        await world.uplink.tried.wait()
        yield world
        nursery.cancel_scope.cancel()


async def test_the_first_provider_that_answers_is_used(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    one, two = chain.provider(), chain.provider()
    one.go_down()
    async with running(one=one, two=two) as world:
        assert world.board.state == Connected("ws://two", EPOCH, 31337)
        assert world.board.head is not None
        assert world.dialled == ["ws://one", "ws://two"]
        assert await world.uplink.call("eth_chainId") == "0x7a69"


async def test_no_provider_is_a_state_with_ever_longer_pauses(autojump_clock: MockClock) -> None:
    provider = SimulatedChain().provider()
    provider.go_down()
    async with running(one=provider) as world:
        state = world.board.state
        assert state == Disconnected(EPOCH, "ws://one: connection refused", EPOCH + 0.5)
        await trio.sleep(3600)
        later = world.board.state
        assert isinstance(later, Disconnected)
        assert later.since == EPOCH
        assert EPOCH + 3600 < later.next_try <= EPOCH + 3600 + PAUSE_MAX
        assert 120 < len(world.dialled) < 130
        provider.up = True
        await trio.sleep(PAUSE_MAX)
        assert isinstance(world.board.state, Connected)


async def test_calls_wait_a_little_and_then_say_what_is_wrong(autojump_clock: MockClock) -> None:
    provider = SimulatedChain().provider()
    async with running(one=provider) as world:
        provider.go_down()
        began = trio.current_time()
        with pytest.raises(ChainUnreachable, match="ws://one: connection refused") as caught:
            await world.uplink.call("eth_chainId")
        assert trio.current_time() - began == PATIENCE
        assert "--eth-provider" in caught.value.remedy
        # Later ones do not wait again.
        began = trio.current_time()
        with pytest.raises(ChainUnreachable):
            await world.uplink.call("eth_chainId")
        assert trio.current_time() == began


async def test_a_call_that_meets_the_end_of_a_connection_is_asked_again(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    one, two = chain.provider(), chain.provider()
    async with running(one=one, two=two) as world, trio.open_nursery() as nursery:
        one.silent = True
        results = []

        async def call() -> None:
            results.append(await world.uplink.call("eth_chainId"))

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        one.go_down()
        await trio.sleep(5)
        assert results == ["0x7a69"]
        assert isinstance(world.board.state, Connected)
        assert world.board.state.url == "ws://two"
        assert world.uplink.connections == 2


async def test_what_must_not_be_asked_twice_is_not(autojump_clock: MockClock) -> None:
    provider = SimulatedChain().provider()
    async with running(one=provider) as world, trio.open_nursery() as nursery:
        provider.silent = True
        errors = []

        async def call() -> None:
            with pytest.raises(LinkLost) as caught:
                await world.uplink.call_once("eth_sendTransaction", {})
            errors.append(caught.value)

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        provider.drop()
        provider.silent = False
        await trio.sleep(5)
        assert len(errors) == 1
        assert [method for method, _ in provider.asked].count("eth_sendTransaction") == 1


async def test_an_answer_that_is_an_error_is_raised(autojump_clock: MockClock) -> None:
    provider = SimulatedChain().provider()
    async with running(one=provider) as world:
        provider.fail("eth_chainId", ProviderError(3, "reverted", "0x01"))
        with pytest.raises(RpcError, match="reverted"):
            await world.uplink.call("eth_chainId")
        assert isinstance(world.board.state, Connected)


async def test_new_blocks_are_seen_when_they_are_told_of(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    async with running(one=chain.provider()) as world:
        await wait_all_tasks_blocked()
        began = trio.current_time()
        chain.mine()
        await world.board.next_head(world.board.head)
        assert world.board.head is not None
        assert world.board.head.number == 1
        assert trio.current_time() == began


@pytest.mark.parametrize(("pushes", "seconds"), [(True, QUIET), (False, POLL)])
async def test_new_blocks_are_looked_for_also_when_nobody_tells(
    autojump_clock: MockClock, pushes: bool, seconds: float
) -> None:
    chain = SimulatedChain()
    provider = chain.provider(pushes=pushes)
    chain.providers.clear()  # nobody is told
    async with running(one=provider) as world:
        await wait_all_tasks_blocked()
        began = trio.current_time()
        chain.mine()
        await world.board.next_head(world.board.head)
        assert trio.current_time() - began == pytest.approx(seconds)


async def test_a_reason_to_look_is_taken_up_at_once(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    provider = chain.provider(pushes=False)
    async with running(one=provider) as world:
        await trio.sleep(POLL / 4)
        chain.mine()
        began = trio.current_time()
        world.uplink.look()
        await world.board.next_head(world.board.head)
        assert trio.current_time() == began


async def test_a_provider_without_subscriptions_is_asked(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    provider = chain.provider()
    provider.fail("eth_subscribe", ProviderError(-32601, "no such method"))
    async with running(one=provider) as world:
        await wait_all_tasks_blocked()
        chain.mine()
        began = trio.current_time()
        await world.board.next_head(world.board.head)
        assert trio.current_time() - began == pytest.approx(POLL)


@pytest.mark.parametrize("error", [ProviderError(1, "busy"), None])
async def test_a_provider_that_cannot_be_checked_is_left(
    autojump_clock: MockClock, error: ProviderError | None
) -> None:
    chain = SimulatedChain()

    async def nonsense(method: str, params: list[Any]) -> Any:
        return "sesame"

    one = SimulatedProvider(nonsense)
    if error is not None:
        one.fail("eth_chainId", *[error] * 100)
    two = chain.provider()
    async with running(one=one, two=two) as world:
        assert isinstance(world.board.state, Connected)
        assert world.board.state.url == "ws://two"


async def test_a_provider_whose_time_is_far_ahead_is_left(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    ahead = True

    async def answer(method: str, params: list[Any]) -> Any:
        found = await chain.answer(method, params)
        return {**found, "timestamp": hex(2**200)} if ahead and "timestamp" in found else found

    one, two = SimulatedProvider(answer), chain.provider()
    async with running(one=one, two=two) as world:
        assert isinstance(world.board.state, Connected)
        assert world.board.state.url == "ws://two"
        ahead = False
        two.go_down()
        await world.board.next_state(world.board.state)
        assert (await world.board.connected()).url == "ws://one"
        # Later, too.
        ahead, two.up = True, True
        await trio.sleep(QUIET)
        assert (await world.board.connected()).url == "ws://two"
        assert world.board.head is not None
        assert world.board.head.timestamp < 2**40
        assert len(one.asked) < 20


async def test_the_wrong_provider_is_remembered_as_such(autojump_clock: MockClock) -> None:
    provider = SimulatedChain().provider()
    world = World(one=provider)
    wrong = ConfigError("another chain", remedy="none")

    async def refuse(link: Link) -> int:
        raise wrong

    world.uplink = Uplink(
        ["ws://one"],
        world.dial,
        board=world.board,
        clock=VirtualClock(EPOCH),
        offload=Inline(),
        check=refuse,
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.uplink.run)
        await world.uplink.tried.wait()
        assert world.uplink.misfit is wrong
        assert isinstance(world.board.state, Disconnected)
        assert world.board.state.why == "ws://one: another chain"
        nursery.cancel_scope.cancel()


async def test_connections_that_never_last_are_not_made_in_a_hurry(autojump_clock: MockClock) -> None:
    provider = SimulatedChain().provider()
    async with running(one=provider) as world, trio.open_nursery() as nursery:

        async def drop() -> None:
            while True:
                await trio.sleep(0.2)
                provider.drop()

        nursery.start_soon(drop)
        await trio.sleep(600)
        assert len(world.dialled) < 40
        nursery.cancel_scope.cancel()


async def test_pauses_are_short_again_after_a_connection_that_has_lasted(autojump_clock: MockClock) -> None:
    provider = SimulatedChain().provider()
    async with running(one=provider) as world:
        provider.go_down()
        await trio.sleep(600)
        provider.up = True
        await trio.sleep(PAUSE_MAX)
        assert isinstance(world.board.state, Connected)
        await trio.sleep(STEADY)
        provider.drop()
        await trio.sleep(2 * PAUSE_MIN)
        assert isinstance(world.board.state, Connected)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("wss://alice:secret@rpc.example.org:8443/v3/secret?key=secret", "wss://rpc.example.org:8443"),
        ("http://[::1]:8545/", "http://[::1]:8545"),
        ("https://rpc.example.org", "https://rpc.example.org"),
    ],
)
def test_what_may_be_secret_in_a_url_is_not_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown


async def test_a_call_that_providers_are_lost_over_is_given_up(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()

    async def poison(method: str, params: list[Any]) -> Any:
        if method == "eth_getLogs":
            provider.drop()
        return await chain.answer(method, params)

    provider = SimulatedProvider(poison)
    async with running(one=provider) as world:
        with pytest.raises(ChainFailed, match="lost 4 times in a row over eth_getLogs"):
            await world.uplink.call("eth_getLogs", {"fromBlock": "0x0", "toBlock": "0x0", "topics": [[]]})
        assert await world.uplink.call("eth_chainId") == "0x7a69"


async def test_a_call_that_the_first_provider_is_lost_over_is_answered_by_the_next(
    autojump_clock: MockClock,
) -> None:
    chain = SimulatedChain()

    async def poison(method: str, params: list[Any]) -> Any:
        if method == "eth_getLogs":
            one.drop()
        return await chain.answer(method, params)

    one, two = SimulatedProvider(poison), chain.provider()
    async with running(one=one, two=two) as world:
        await trio.sleep(steady := STEADY + 1)
        logs = {"fromBlock": "0x0", "toBlock": "0x0", "topics": [[]]}
        assert await world.uplink.call("eth_getLogs", logs) == []
        assert world.dialled == ["ws://one", "ws://one", "ws://two"]
        assert all(isinstance(state, Disconnected) for state in world.shown)
        # The one that answers is kept, and when it is lost the first one has its turn again.
        await trio.sleep(steady)
        assert isinstance(world.board.state, Connected)
        assert world.board.state.url == "ws://two"
        two.drop()
        await trio.sleep(steady)
        assert world.dialled[3:] == ["ws://one"]
        assert isinstance(world.board.state, Connected)


async def test_a_provider_that_never_lasts_keeps_nobody_from_the_next(autojump_clock: MockClock) -> None:
    chain = SimulatedChain()
    one, two = chain.provider(), chain.provider()
    async with running(one=one, two=two) as world, trio.open_nursery() as nursery:

        async def drop() -> None:
            while True:
                await trio.sleep(1)
                one.drop()

        nursery.start_soon(drop)
        two.go_down()
        await trio.sleep(1.1)
        assert isinstance(world.board.state, Disconnected)
        assert world.board.state.why.startswith("ws://one: the connection was reset; ws://two: ")
        two.up = True
        await trio.sleep(60)
        assert world.dialled[:3] == ["ws://one", "ws://two", "ws://one"]
        assert world.dialled[3:] == ["ws://two"]
        assert isinstance(world.board.state, Connected)
        assert world.board.state.url == "ws://two"
        nursery.cancel_scope.cancel()


async def test_a_connection_that_one_call_has_found_dead_is_made_anew_at_once(
    autojump_clock: MockClock,
) -> None:
    chain = SimulatedChain()

    async def stuck(method: str, params: list[Any]) -> Any:
        if method == "eth_call":
            await trio.sleep_forever()
        return await chain.answer(method, params)

    async with running(one=SimulatedProvider(stuck)) as world, trio.open_nursery() as nursery:
        await wait_all_tasks_blocked()
        nursery.start_soon(world.uplink.call, "eth_call")
        await trio.sleep(SENDING + 1)
        assert world.uplink.connections == 2
        nursery.cancel_scope.cancel()
