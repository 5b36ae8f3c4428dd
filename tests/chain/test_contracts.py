"""The contracts as typed methods, against the development chain's own."""

from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import wait_all_tasks_blocked

from codex.chain import Chain, Follower, Log, Marketplace, Receipt, Reorganised, Told, abi
from codex.errors import (
    ChainRefused,
    DecodeError,
    InsufficientFunds,
    InvalidInput,
    ProofInvalid,
    SlotReservationNotAllowed,
    SlotStateMismatch,
    UnknownRequest,
)
from codex.market import (
    G1,
    G2,
    ZERO_PROOF,
    Address,
    Groth16Proof,
    MarketEvent,
    Period,
    RequestFailed,
    RequestFulfilled,
    RequestId,
    RequestState,
    SlotFilled,
    SlotFreed,
    SlotId,
    SlotReservationsFull,
    SlotState,
    StorageRequest,
    StorageRequested,
    payout,
)
from codex.testing.chain_people import Person

PROOF = Groth16Proof(G1(1, 2), G2((3, 4), (5, 6)), G1(7, 8))


def asked_by(person: Person, request: StorageRequest, **changes: Any) -> StorageRequest:
    return evolve(request, client=person.chain.account, **changes)


async def fill(person: Person, request: StorageRequest, index: int) -> None:
    await person.marketplace.reserve_slot(request.id, index)
    await person.marketplace.fill_slot(request.slot(index), PROOF)


async def balance(person: Person) -> int:
    return await (await person.marketplace.token()).balance_of()


async def test_a_contract_from_the_request_to_the_last_payment(
    town: Any, request_of_alice: StorageRequest
) -> None:
    async with town.person(1) as alice, town.person(2) as bob:
        request = asked_by(alice, request_of_alice)
        market, ask = alice.marketplace, request.ask
        before = await balance(alice), await balance(bob)
        assert await market.get_request(request.id) is None
        assert await market.request_state(request.id) is None

        await market.request_storage(request)
        assert await market.get_request(request.id) == request
        assert await market.request_state(request.id) is RequestState.NEW
        assert await market.my_requests() == (request.id,)
        assert await balance(alice) == before[0] - ask.price
        assert await market.request_expiry(request.id) < await market.request_end(request.id)
        assert await market.slot_state(request.slot(0).id) is SlotState.FREE
        assert await market.get_host(request.slot(0).id) is None
        assert await market.get_active_slot(request.slot(0).id) is None

        for index in range(3):
            await fill(bob, request, index)
        assert await market.request_state(request.id) is RequestState.STARTED
        assert await bob.marketplace.my_slots() == tuple(request.slot(index).id for index in range(3))
        slot = request.slot(0)
        assert await market.get_host(slot.id) == bob.chain.account
        assert await market.get_active_slot(slot.id) == slot
        assert await market.slot_state(slot.id) is SlotState.FILLED
        assert await market.current_collateral(slot.id) == ask.collateral_per_slot
        assert await balance(bob) == before[1] - 3 * ask.collateral_per_slot

        end = await market.request_end(request.id)
        town.pass_time(end - town.devnet.chain.latest.timestamp + 1)
        assert await market.request_state(request.id) is RequestState.FINISHED
        paid = sum([await bob.marketplace.free_slot(request.slot(index).id) for index in range(3)])
        assert await balance(bob) == before[1] - 3 * ask.collateral_per_slot + paid
        await market.withdraw_funds(request.id)
        spent = before[0] - await balance(alice)
        assert spent == await balance(bob) - before[1] > 0
        with pytest.raises(ChainRefused, match="nothing left") as caught:
            await market.withdraw_funds(request.id)
        assert caught.value.reason == "Marketplace_NothingToWithdraw"
        assert await market.my_requests() == ()
        assert await bob.marketplace.my_slots() == ()


async def test_a_time_that_is_beyond_all_there_will_be_is_not_believed(
    town: Any, request_of_alice: StorageRequest
) -> None:
    async with town.person(1) as alice:
        market, far = alice.marketplace, 2**64 - 1
        id = request_of_alice.id
        original = alice.provider._answer

        async def lie(method: str, params: list[Any]) -> Any:
            return f"0x{far:064x}" if method == "eth_call" else await original(method, params)

        alice.provider._answer = lie
        for ask in (market.request_end, market.request_expiry):
            with pytest.raises(DecodeError, match=str(far)):
                await ask(id)
        far = 2**40 - 1
        assert await market.request_end(id) == await market.request_expiry(id) == far


async def test_what_the_marketplace_refuses_is_told_apart(
    town: Any, request_of_alice: StorageRequest
) -> None:
    async with town.person(1) as alice, town.person(2) as bob, town.person(3) as carol:
        # At the beginning of a period, so that the next one is far.
        town.pass_time(90 - town.devnet.chain.latest.timestamp % 90)
        request = asked_by(alice, request_of_alice)
        slot = request.slot(0)
        unknown = RequestId(b"\x09" * 32)
        with pytest.raises(InvalidInput, match="Expiry"):
            await alice.marketplace.request_storage(evolve(request, expiry=0))
        await alice.marketplace.request_storage(request)
        with pytest.raises(ChainRefused, match="exactly these values"):
            await alice.marketplace.request_storage(request)
        with pytest.raises(ChainRefused, match="another account's name"):
            await bob.marketplace.request_storage(evolve(request, nonce=b"\x01" * 32))
        with pytest.raises(UnknownRequest):
            await alice.marketplace.request_end(unknown)
        with pytest.raises(ChainRefused, match="can be filled only by who reserved it"):
            await bob.marketplace.fill_slot(slot, PROOF)

        assert await bob.marketplace.can_reserve_slot(request.id, 0)
        await bob.marketplace.reserve_slot(request.id, 0)
        assert not await bob.marketplace.can_reserve_slot(request.id, 0)
        with pytest.raises(SlotReservationNotAllowed):
            await bob.marketplace.reserve_slot(request.id, 0)
        await carol.marketplace.reserve_slot(request.id, 0)
        with pytest.raises(ProofInvalid):
            await bob.marketplace.fill_slot(slot, ZERO_PROOF)
        await carol.marketplace.fill_slot(slot, PROOF)
        with pytest.raises(SlotStateMismatch):
            await bob.marketplace.fill_slot(slot, PROOF)
        with pytest.raises(ChainRefused, match="another host's"):
            await bob.marketplace.free_slot(slot.id)
        with pytest.raises(ChainRefused, match="proof for this period already"):
            await carol.marketplace.submit_proof(slot.id, PROOF)
        with pytest.raises(SlotStateMismatch):
            await bob.marketplace.free_slot(SlotId(b"\x09" * 32))


async def test_a_missed_proof_is_marked_and_a_lost_slot_is_repaired_for_less(
    town: Any, request_of_alice: StorageRequest
) -> None:
    async with town.person(1) as alice, town.person(2) as bob, town.person(3) as carol:
        # Long enough for many periods of 90 s.
        request = asked_by(alice, request_of_alice, ask=evolve(request_of_alice.ask, duration=7200))
        slot, ask = request.slot(0), request.ask
        await alice.marketplace.request_storage(request)
        for index in range(3):
            await fill(bob, request, index)
        config = await carol.marketplace.configuration()
        assert (config.proofs.period, config.max_reservations) == (90, 3)
        # At the beginning of a period, so that the next one is far.
        town.pass_time(90 - town.devnet.chain.latest.timestamp % 90)
        before = await balance(carol)
        marked = 0
        while await carol.marketplace.slot_state(slot.id) is SlotState.FILLED:
            period = config.proofs.period_at(town.devnet.chain.latest.timestamp)
            assert not await carol.marketplace.can_mark_proof_as_missing(slot.id, period)
            town.pass_time(period.end + 1 - town.devnet.chain.latest.timestamp)
            if await carol.marketplace.can_mark_proof_as_missing(slot.id, period):
                await carol.marketplace.mark_proof_as_missing(slot.id, period)
                marked += 1
                if marked == 1:
                    assert await carol.marketplace.missing_proofs(slot.id) == 1
                    assert await carol.marketplace.current_collateral(slot.id) == 2000 - 400
        assert marked == config.collateral.max_slashes
        assert await balance(carol) == before + 2 * 80
        assert await carol.marketplace.slot_state(slot.id) is SlotState.REPAIR
        assert await carol.marketplace.collateral_for(slot) == 1800
        await fill(carol, request, 0)
        assert await balance(carol) == before + 2 * 80 - 1800
        assert await carol.marketplace.current_collateral(slot.id) == ask.collateral_per_slot


async def test_proofs_are_asked_for_and_taken(town: Any, request_of_alice: StorageRequest) -> None:
    async with town.person(1) as alice, town.person(2) as bob:
        # Not cancelled while this goes on, though two slots stay free.
        ask = evolve(request_of_alice.ask, duration=7200)
        request = asked_by(alice, request_of_alice, ask=ask, expiry=7000)
        slot, market = request.slot(0), bob.marketplace
        await alice.marketplace.request_storage(request)
        proofs = (await market.configuration()).proofs
        # At the beginning of a period, so that the next one is far.
        town.pass_time(proofs.period - town.devnet.chain.latest.timestamp % proofs.period)
        await fill(bob, request, 0)
        assert not await market.is_proof_required(slot.id)
        seen = set()
        for _ in range(40):
            town.pass_time(proofs.period)
            period = proofs.period_at(town.devnet.chain.next_timestamp())
            pointer = await market.get_pointer(slot.id)
            required = await market.is_proof_required(slot.id)
            later = await market.will_proof_be_required(slot.id)
            assert len(await market.get_challenge(slot.id)) == 32
            if proofs.period_at(town.devnet.chain.next_timestamp()) != period:
                continue  # time went on while it was asked
            assert required == (pointer >= proofs.downtime)
            assert later == (not required)
            seen.add(required)
            if len(seen) == 2:
                break
        assert seen == {True, False}
        await market.submit_proof(slot.id, PROOF)


async def test_a_cancelled_request_pays_for_what_was_stored(
    town: Any, request_of_alice: StorageRequest
) -> None:
    recipient = Address(b"\xab" * 20)
    async with (
        town.person(1) as alice,
        town.person(2, lambda config: evolve(config, reward_recipient="0x" + "aB" * 20)) as bob,
    ):
        request = asked_by(alice, request_of_alice)
        before = await balance(alice), await balance(bob)
        await alice.marketplace.request_storage(request)
        await fill(bob, request, 1)
        filled_at = town.devnet.chain.latest.timestamp
        expiry = await alice.marketplace.request_expiry(request.id)
        town.pass_time(expiry - filled_at + 1)
        assert await alice.marketplace.request_state(request.id) is RequestState.CANCELLED
        await alice.marketplace.withdraw_funds(request.id)
        paid = await bob.marketplace.free_slot(request.slot(1).id)
        earned = payout(request.ask, filled_at, expiry)
        assert paid == earned + request.ask.collateral_per_slot
        assert await balance(alice) == before[0] - earned
        # What was earned goes where it is to; the collateral comes back.
        assert await balance(bob) == before[1]
        assert await (await bob.marketplace.token()).balance_of(recipient) == earned


async def test_tokens_are_allowed_only_as_needed(town: Any, request_of_alice: StorageRequest) -> None:
    async with town.person(1) as alice, town.person(2) as bob:
        token = await alice.marketplace.token()
        market = await alice.marketplace.address()
        request = asked_by(alice, request_of_alice)
        sent = town.devnet.chain.pending_nonce
        await token.approve(market, request.ask.price + 5)
        first = sent(alice.chain.account.raw)
        await alice.marketplace.request_storage(request)
        assert sent(alice.chain.account.raw) == first + 1, "what was allowed suffices"
        assert await token.allowance(market) == 5
        await alice.marketplace.request_storage(evolve(request, nonce=b"\x01" * 32))
        assert sent(alice.chain.account.raw) == first + 3
        assert await token.allowance(market) == 0, "only as much as is needed"
        poor = evolve(request, ask=evolve(request.ask, price_per_byte_per_second=10**24))
        with pytest.raises(InsufficientFunds, match="tokens, and"):
            await alice.marketplace.request_storage(poor)
        assert sent(alice.chain.account.raw) == first + 3, "nothing is sent that cannot be paid"
        await token.transfer(bob.chain.account, 7)
        assert await token.symbol()
        assert await token.decimals() == 18


@pytest.mark.parametrize("count", [2, 5])
async def test_who_sends_several_at_a_time_leaves_nothing_allowed(
    town: Any, request_of_alice: StorageRequest, count: int
) -> None:
    chain = town.devnet.chain
    async with town.person(1) as alice:
        token = await alice.marketplace.token()
        market, before = await alice.marketplace.address(), await token.balance_of()
        requests = [asked_by(alice, request_of_alice, nonce=bytes([number]) * 32) for number in range(count)]
        chain.automine = False

        async def blocks() -> None:
            while True:
                await trio.sleep(2)
                chain.mine()

        async def ask(number: int) -> None:
            # Some at once, others while these are on their way.
            await trio.sleep(number * 0.7)
            await alice.marketplace.request_storage(requests[number])

        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(blocks)
                async with trio.open_nursery() as several:
                    for number in range(count):
                        several.start_soon(ask, number)
                nursery.cancel_scope.cancel()
        chain.automine = True
        assert await token.balance_of() == before - count * request_of_alice.ask.price
        assert await token.allowance(market) == 0


async def test_what_happened_is_told_in_order_and_taken_back(
    town: Any, request_of_alice: StorageRequest
) -> None:
    async with town.person(1) as alice, town.person(2) as bob, town.person(3) as carol:
        request = asked_by(alice, request_of_alice)
        start = town.devnet.chain.latest.number + 1
        await alice.marketplace.request_storage(request)
        events = await carol.marketplace.events(start)
        for index in range(3):
            await fill(bob, request, index)
        for person in (alice, carol):
            await person.marketplace.reserve_slot(RequestId(b"\x01" * 32), 4)
        await bob.marketplace.reserve_slot(RequestId(b"\x01" * 32), 4)
        assert carol.chain.head is not None
        seen: list[object] = []
        while events.cursor.next <= town.devnet.chain.latest.number:
            item = await events.__anext__()
            assert isinstance(item, Told)
            seen += [event for event, _ in item.events if type(event).__name__ != "ProofSubmitted"]
        assert seen == [
            StorageRequested(request.id, request.ask, await alice.marketplace.request_expiry(request.id)),
            *[SlotFilled(request.id, index) for index in range(3)],
            RequestFulfilled(request.id),
            SlotReservationsFull(RequestId(b"\x01" * 32), 4),
        ]
        for index in range(2):
            await bob.marketplace.free_slot(request.slot(index).id)
        item = await events.__anext__()
        while isinstance(item, Told) and len(seen) < 9:
            seen += [event for event, _ in item.events]
            item = await events.__anext__() if len(seen) < 9 else item
        assert seen[-3:] == [
            SlotFreed(request.id, 0),
            SlotFreed(request.id, 1),
            RequestFailed(request.id),
        ]
        town.devnet.reorganise(2)
        town.devnet.chain.mine(2)
        item = await events.__anext__()
        assert isinstance(item, Reorganised)
        again: list[object] = []
        while events.cursor.next <= town.devnet.chain.latest.number:
            item = await events.__anext__()
            assert isinstance(item, Told)
            again += [event for event, _ in item.events]
        assert again[-3:] == seen[-3:]


async def test_requests_are_asked_once(town: Any, request_of_alice: StorageRequest) -> None:
    async with town.person(1, lambda config: evolve(config, request_cache_size=2)) as alice:
        requests = [asked_by(alice, request_of_alice, nonce=bytes([number]) * 32) for number in range(3)]
        for request in requests:
            await alice.marketplace.request_storage(request)
            assert await alice.marketplace.get_request(request.id) == request
        alice.provider.asked.clear()
        assert await alice.marketplace.get_request(requests[2].id) == requests[2]
        assert await alice.marketplace.get_request(requests[1].id) == requests[1]
        assert alice.provider.asked == []
        assert await alice.marketplace.get_request(requests[0].id) == requests[0]
        assert len(alice.provider.asked) == 1


async def test_the_wrong_contract_is_told_from_a_marketplace(town: Any) -> None:
    async with town.person(1) as alice:
        wrong = Marketplace(alice.chain, evolve(alice.config, marketplace_address=town.devnet.token))
        with pytest.raises((ChainRefused, DecodeError)) as caught:
            await wrong.configuration()
        assert "--marketplace-address" in caught.value.remedy


async def test_what_changes_is_asked_of_the_block_in_the_making(
    town: Any, request_of_alice: StorageRequest
) -> None:
    async with town.person(1) as alice:
        request = asked_by(alice, request_of_alice)
        await alice.marketplace.request_storage(request)
        expiry = await alice.marketplace.request_expiry(request.id)
        assert await alice.marketplace.request_state(request.id) is RequestState.NEW
        town.devnet.chain.set_next_timestamp(expiry + 1)
        assert await alice.marketplace.request_state(request.id) is RequestState.CANCELLED


async def test_more_gas_is_allowed_where_others_make_it_dearer(
    town: Any, request_of_alice: StorageRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    margins: dict[str, float] = {}
    original = Chain.send

    async def send(chain: Chain, to: Address, payload: bytes, **how: Any) -> Receipt:
        names = {function.selector: name for name, function in abi.MARKETPLACE.items()}
        margins[names.get(payload[:4], "")] = how["margin"]
        return await original(chain, to, payload, **how)

    monkeypatch.setattr(Chain, "send", send)
    async with town.person(1) as alice, town.person(2) as bob:
        request = asked_by(alice, request_of_alice)
        await alice.marketplace.request_storage(request)
        await fill(bob, request, 0)
        await bob.marketplace.free_slot(request.slot(0).id)
        with pytest.raises(ChainRefused):
            await bob.marketplace.mark_proof_as_missing(request.slot(0).id, Period(1, 90))
    assert margins == {
        "requestStorage": 1.1,
        "reserveSlot": 1.25,
        "fillSlot": 1.5,
        "freeSlot": 3.0,
        "markProofAsMissing": 1.5,
    }


async def test_a_reorganisation_of_three_blocks_is_outlived(
    town: Any, request_of_alice: StorageRequest
) -> None:
    async with town.person(1) as alice, town.person(2) as bob:
        chain = town.devnet.chain
        request = asked_by(alice, request_of_alice)
        events = await bob.marketplace.events(chain.latest.number + 1)
        await alice.marketplace.request_storage(request)
        reserved = await bob.marketplace.reserve_slot(request.id, 0)
        seen = [type(event) for event, _ in (await following(events))]
        assert seen == [StorageRequested]
        # The reservation is lost with its block, and known to nobody any more but to bob.
        town.devnet.reorganise(3, without=("0x" + reserved.transaction.hex(),))
        chain.mine(2)
        await wait_all_tasks_blocked()
        assert chain.transaction(reserved.transaction) is not None
        item = await events.__anext__()
        assert isinstance(item, Reorganised)
        again = await following(events)
        assert [type(event) for event, _ in again] == [StorageRequested]
        await bob.marketplace.fill_slot(request.slot(0), PROOF)
        assert await bob.marketplace.my_slots() == (request.slot(0).id,)


async def following(events: Follower[MarketEvent]) -> list[tuple[MarketEvent, Log]]:
    """What is told until there is something."""
    while True:
        item = await events.__anext__()
        assert isinstance(item, Told)
        if item.events:
            return list(item.events)
