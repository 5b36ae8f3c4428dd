"""Purchases on a simulated marketplace: to each end, through restarts, outages and forgetful chains."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.errors import ChainRefused, InsufficientFunds, InvalidInput, TransactionUnsettled
from codex.market import RequestId, RequestState, Slot, StorageRequest
from codex.purchasing import Purchase, State
from codex.purchasing.agent import FORGOTTEN
from codex.purchasing.service import ADOPT, GAS, KEEP, KIND
from codex.testing.disks import FaultyDisk
from codex.testing.hosts import Client, a_request, account, open_client, post
from codex.testing.market import SimulatedMarket, proof_for
from codex.testing.market_door import MarketDoor
from codex.testing.stores import book_of, open_test_store

RICH = 10**9


@pytest.fixture
def market() -> SimulatedMarket:
    market = SimulatedMarket()
    for name in ("alice", "bob"):
        market.fund(account(name), RICH)
    return market


async def fill(market: SimulatedMarket, purchase: Purchase) -> None:
    """Have bob fill all slots."""
    assert purchase.request is not None
    door = MarketDoor(market, account("bob"))
    for index in range(purchase.request.ask.slots):
        slot = Slot(purchase.request, index)
        await door.reserve_slot(purchase.id, index)
        await door.fill_slot(slot, proof_for(await door.get_challenge(slot.id)))


async def until(client: Client, id: RequestId, reached: Callable[[Purchase], bool]) -> Purchase:
    with trio.fail_after(50_000):
        while True:
            purchase = await client.purchasing.purchase(id)
            if purchase is not None and reached(purchase):
                return purchase
            await trio.sleep(1)


def stands(state: State) -> Callable[[Purchase], bool]:
    return lambda purchase: purchase.state is state


async def test_a_purchase_runs_to_its_end(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_client(market, tmp_path) as alice, alice.purchasing.events(100) as events:
        # The account is this node's, and what is left out is filled in.
        purchase = await alice.purchasing.buy(a_request("carol", slots=2, probability=0))
        assert purchase.request is not None
        assert purchase.request.client == account("alice")
        assert purchase.request.ask.proof_probability == 100
        assert any(purchase.request.nonce)
        assert purchase.state is State.PENDING
        await until(alice, purchase.id, stands(State.SUBMITTED))
        await fill(market, purchase)
        await until(alice, purchase.id, stands(State.STARTED))
        paid = sum(market.request(purchase.id).ends - s.filled_at for s in market.books.slots.values())
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, ended.error, ended.withdrawn) == (State.FINISHED, None, True)
        assert market.books.balances[account("alice")] == RICH - paid * 4096
        said = []
        async for event in events:
            said.append(event.purchase.state.value)  # type: ignore[union-attr]
            if event.purchase.over:  # type: ignore[union-attr]
                break
        assert said == ["pending", "submitted", "started", "finished", "finished"]


async def test_what_is_not_filled_in_time_costs_nothing(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, ended.error) == (State.CANCELLED, "Purchase cancelled due to timeout")
        assert market.books.balances[account("alice")] == RICH


async def test_a_request_that_fails_is_paid_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        await until(alice, purchase.id, stands(State.SUBMITTED))
        await fill(market, purchase)
        await until(alice, purchase.id, stands(State.STARTED))
        (slot,) = market.books.slots
        market.free(slot)
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, ended.error) == (State.ERRORED, "Purchase failed")
        assert market.books.balances[account("alice")] == RICH


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"expiry": 600}, InvalidInput, "Expiry"),
        ({"duration": 10**9}, InvalidInput, "Duration exceeds"),
        ({"price": 10**6}, InsufficientFunds, "has 1000000000"),
        ({"collateral": 0}, InvalidInput, "Collateral"),
    ],
)
async def test_what_cannot_be_bought_is_said_before_anything_is_paid(
    market: SimulatedMarket,
    tmp_path: Path,
    autojump_clock: MockClock,
    wrong: dict[str, int],
    error: type[Exception],
    says: str,
) -> None:
    async with open_client(market, tmp_path) as alice:
        for ask in (alice.purchasing.check, alice.purchasing.buy):
            with pytest.raises(error, match=says):
                await ask(a_request(**wrong))  # type: ignore[arg-type]
        assert await alice.purchasing.purchases() == []
        await alice.purchasing.check(a_request())
        assert alice.door.sent == []


async def test_who_has_no_coin_for_gas_is_told_before_anything_is_done(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.wei, market.gas_price = GAS * 7 - 1, 7
    async with open_client(market, tmp_path) as alice:
        for ask in (alice.purchasing.check, alice.purchasing.buy):
            with pytest.raises(InsufficientFunds, match=f"{GAS * 7} wei.* has {GAS * 7 - 1}") as caught:
                await ask(a_request())
            assert "coin" in caught.value.remedy
        assert await alice.purchasing.purchases() == []
        market.wei += 1
        await alice.purchasing.check(a_request())


async def test_what_the_chain_refuses_is_an_error_that_is_remembered(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.refuse["request_storage"] = [ChainRefused("no", remedy="Do otherwise", reason="Whatever")]
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, ended.error) == (State.ERRORED, "no. Do otherwise")
    async with open_client(market, tmp_path) as alice:
        assert await alice.purchasing.purchases() == [ended]


@pytest.mark.parametrize("at", [State.PENDING, State.SUBMITTED, State.STARTED, State.FAILED, State.FINISHED])
async def test_a_client_that_restarts_in_any_state_goes_on(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, at: State
) -> None:
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        if at is not State.PENDING:
            await until(alice, purchase.id, stands(State.SUBMITTED))
        if at in (State.STARTED, State.FAILED, State.FINISHED):
            await fill(market, purchase)
            await until(alice, purchase.id, stands(State.STARTED))
        if at is State.FAILED:
            market.free(next(iter(market.books.slots)))
            market.refuse["withdraw_funds"] = [ValueError("a mistake")] * 3
            await until(alice, purchase.id, stands(at))
        if at is State.FINISHED:
            market.refuse["withdraw_funds"] = [ValueError("a mistake")] * 3
            await until(alice, purchase.id, stands(at))
    market.refuse.clear()
    async with open_client(market, tmp_path) as alice:
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert ended.request == purchase.request
        if at is State.FAILED:
            assert ended.error == "Purchase failed"
        else:
            filled = at in (State.STARTED, State.FINISHED)
            assert ended.state is (State.FINISHED if filled else State.CANCELLED)
    # The chain has forgotten it, and this node has not.
    async with open_client(market, tmp_path) as alice:
        assert await alice.door.my_requests() == ()
        assert await alice.purchasing.purchases() == [ended]
        assert await alice.purchasing.purchase(ended.id) == ended


async def test_a_restart_after_the_request_was_sent_and_not_answered(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.lose.add("request_storage")
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        await market.next_block()
        await market.next_block()
    async with open_client(market, tmp_path) as alice:
        await until(alice, purchase.id, stands(State.SUBMITTED))
        assert len(market.books.requests) == 1


async def test_a_request_that_was_not_sent_in_time_is_given_up(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request(expiry=240))
    await trio.sleep(241)
    market.waiting = 1
    async with open_client(market, tmp_path) as alice:
        await trio.sleep(60)
        there = await alice.purchasing.purchase(purchase.id)
        assert there is not None
        assert not there.over, "it may be what waits for a block"
        market.waiting = 0
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, market.books.balances[account("alice")]) == (State.ERRORED, RICH)
        assert "nothing was paid" in (ended.error or "")
        assert alice.door.sent == []
        # What nobody could see on its way is on the chain after all.
        market.ask(account("alice"), ended.request or a_request())
        assert market.books.balances[account("alice")] < RICH
        ended = await until(alice, purchase.id, lambda there: there.over and there.state is not State.ERRORED)
        assert (ended.state, ended.made) == (State.CANCELLED, purchase.made)
        assert market.books.balances[account("alice")] == RICH


@pytest.mark.parametrize("tokens", [RICH, 600 * 4096])
@pytest.mark.parametrize("alone", [True, False])
async def test_a_request_whose_answer_is_lost_is_done_while_it_is_asked_for_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, tokens: int, alone: bool
) -> None:
    market.books.balances[account("alice")] = tokens
    async with open_client(market, tmp_path) as alice, trio.open_nursery() as nursery:
        send = alice.door.request_storage
        tried = 0

        async def late(request: StorageRequest) -> None:
            await trio.sleep(2.5)
            await send(request)
            market.waiting = 0 if alone else 7

        async def lossy(request: StorageRequest) -> None:
            nonlocal tried
            tried += 1
            if tried == 1:
                nursery.start_soon(late, request)
                raise TransactionUnsettled("the provider was lost")
            await trio.sleep(3)  # what is looked at before anything is sent
            await send(request)

        alice.door.request_storage = lossy  # type: ignore[method-assign]
        purchase = await alice.purchasing.buy(a_request())
        await until(alice, purchase.id, stands(State.SUBMITTED))
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, ended.error) == (State.CANCELLED, "Purchase cancelled due to timeout")
        assert market.books.balances[account("alice")] == tokens
        assert tried == 2


async def test_what_may_still_wait_for_a_block_is_not_sent_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_client(market, tmp_path) as alice:
        market.refuse["request_storage"] = [TransactionUnsettled("is in none of 50 blocks")]
        market.waiting = 1
        request = evolve(a_request(), nonce=bytes(range(32)))
        await alice.purchasing.buy(request)
        await trio.sleep(100)
        assert alice.door.sent == []
        there = await alice.purchasing.purchase(request.id)
        assert there is not None
        assert there.state is State.PENDING
        market.ask(account("alice"), request)
        ended = await until(alice, request.id, lambda there: there.over)
        assert ended.state is State.CANCELLED
        assert "request_storage" not in alice.door.sent
        assert market.books.balances[account("alice")] == RICH


async def test_what_waits_for_a_block_for_ever_is_asked_for_again(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_client(market, tmp_path) as alice:
        market.refuse["request_storage"] = [TransactionUnsettled("is in none of 50 blocks")]
        market.waiting = 1  # something else, and always
        purchase = await alice.purchasing.buy(a_request())
        with trio.fail_after(600):
            await until(alice, purchase.id, stands(State.SUBMITTED))


async def test_what_the_block_in_the_making_has_already_is_waited_for(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    there = ChainRefused("there already", reason="Marketplace_RequestAlreadyExists")
    market.refuse["request_storage"] = [there] * 200
    async with open_client(market, tmp_path) as alice:
        request = evolve(a_request(), nonce=bytes(range(32)))
        await alice.purchasing.buy(request)
        await trio.sleep(10)
        market.forks.append(market.block)  # agents are woken, once
        await trio.sleep(690)
        assert alice.door.sent == []
        market.ask(account("alice"), request)
        ended = await until(alice, request.id, lambda there: there.over)
        assert ended.state is State.CANCELLED
        assert market.books.balances[account("alice")] == RICH


async def test_requests_of_this_account_from_elsewhere_are_looked_after(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    request, later = a_request(nonce=4), a_request(nonce=5, duration=6000, expiry=3000)
    await post(market, request)
    async with open_client(market, tmp_path) as alice:
        found = await until(alice, request.id, stands(State.SUBMITTED))
        assert found.request == request
        assert (await until(alice, request.id, lambda there: there.over)).state is State.CANCELLED
        await post(market, later)
        with trio.fail_after(ADOPT + 10):
            await until(alice, later.id, stands(State.SUBMITTED))


async def test_the_chain_is_gone_while_a_request_starts_and_ends(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        await until(alice, purchase.id, stands(State.SUBMITTED))
        await fill(market, purchase)
        market.go_offline()
        await trio.sleep(3600)
        assert market.request_state(purchase.id) is RequestState.FINISHED
        there = await alice.purchasing.purchase(purchase.id)
        assert there is not None
        assert not there.over
        market.go_online()
        assert (await until(alice, purchase.id, lambda there: there.over)).state is State.FINISHED


async def test_a_request_that_the_chain_takes_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.remembers = True
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        await until(alice, purchase.id, stands(State.SUBMITTED))
        market.reorganise(3)
        await trio.sleep(FORGOTTEN - 10)
        there = await alice.purchasing.purchase(purchase.id)
        assert there is not None
        assert there.state is State.UNKNOWN, "it may come into a block again"
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert ended.state is State.ERRORED
        assert "does not know" in (ended.error or "")
        assert market.books.balances[account("alice")] == RICH


async def test_a_request_that_comes_into_another_block(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.remembers = True
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        await until(alice, purchase.id, stands(State.SUBMITTED))
        market.reorganise(3)
        await until(alice, purchase.id, stands(State.UNKNOWN))
        assert purchase.request is not None
        market.ask(account("alice"), purchase.request)
        await until(alice, purchase.id, stands(State.SUBMITTED))
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, market.books.balances[account("alice")]) == (State.CANCELLED, RICH)


@pytest.mark.parametrize("told", [True, False])
async def test_a_start_that_the_chain_takes_back(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock, told: bool
) -> None:
    market.remembers = True
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        await until(alice, purchase.id, stands(State.SUBMITTED))
        await trio.sleep(30)
        await fill(market, purchase)
        await until(alice, purchase.id, stands(State.STARTED))
        market.reorganise(4)
        if told:
            with trio.fail_after(10):
                await until(alice, purchase.id, stands(State.SUBMITTED))
        else:
            market.forks.clear()
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, market.books.balances[account("alice")]) == (State.CANCELLED, RICH)


async def test_what_is_over_stays_so_when_a_provider_lags(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        ended = await until(alice, purchase.id, lambda there: there.over)
        market.books.mine[account("alice")].append(purchase.id)
        await trio.sleep(2 * ADOPT)
        assert await alice.purchasing.purchase(purchase.id) == ended


async def test_a_request_that_is_in_a_block_again_after_a_while_is_not_lost(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.remembers = True
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        await until(alice, purchase.id, stands(State.SUBMITTED))
        market.reorganise(3)
        await trio.sleep(FORGOTTEN / 2)
        there = await alice.purchasing.purchase(purchase.id)
        assert there is not None
        assert (there.state, there.error) == (State.UNKNOWN, None)
        assert purchase.request is not None
        market.ask(account("alice"), purchase.request)
        with trio.fail_after(FORGOTTEN / 2):
            await until(alice, purchase.id, stands(State.SUBMITTED))
        assert alice.door.sent == ["request_storage"], "and is not sent, and paid, a second time"
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, market.books.balances[account("alice")]) == (State.CANCELLED, RICH)


async def test_the_chain_is_asked_when_it_can_have_something_to_tell(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """At the very second of the expiry a request can be filled yet."""
    market = SimulatedMarket(block_time=1)
    market.fund(account("alice"), RICH)
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        await until(alice, purchase.id, stands(State.SUBMITTED))
        await trio.sleep(20)
        looks: list[int] = []
        look = alice.door.request_state

        async def noted(id: RequestId) -> RequestState | None:
            looks.append(market.time)
            return await look(id)

        alice.door.request_state = noted  # type: ignore[method-assign]
        await until(alice, purchase.id, stands(State.CANCELLED))
        assert looks == [market.request(purchase.id).expires + 1]


async def test_everything_that_is_kept_is_listed(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    old = [
        Purchase(
            id=RequestId(number.to_bytes(32, "big")),
            request=a_request(nonce=number),
            state=State.ERRORED,
            made=number,
            changed=number,
        )
        for number in range(1, 2301)
    ]
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        await book_of(store).put_records(KIND, [(one.id.raw, one.to_bytes()) for one in old], keep=KEEP)
    async with open_client(market, tmp_path) as alice:
        ids = await alice.purchasing.ids()
        assert ids == [one.id for one in reversed(old)]
        assert await alice.purchasing.purchases() == old[:-1001:-1]
        assert await alice.purchasing.purchases(1050) == old[:-1051:-1]
        assert await alice.purchasing.purchases(9999) == old[::-1]


async def test_what_was_withdrawn_without_an_answer_is_withdrawn(
    market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock
) -> None:
    market.lose.add("withdraw_funds")
    async with open_client(market, tmp_path) as alice:
        purchase = await alice.purchasing.buy(a_request())
        ended = await until(alice, purchase.id, lambda there: there.over)
        assert (ended.state, ended.withdrawn) == (State.CANCELLED, True)
        assert market.books.balances[account("alice")] == RICH
        assert alice.door.sent.count("withdraw_funds") == 1


async def test_many_at_a_time(market: SimulatedMarket, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_client(market, tmp_path) as alice:
        bought = [await alice.purchasing.buy(a_request()) for _ in range(20)]
        assert len({purchase.id for purchase in bought}) == 20
        for purchase in bought:
            await until(alice, purchase.id, lambda there: there.over)
        listed = await alice.purchasing.purchases()
        assert [there.id for there in listed] == [there.id for there in reversed(bought)]
        assert market.total() == 2 * RICH
