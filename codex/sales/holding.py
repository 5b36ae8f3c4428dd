"""What is done in the states of a sale from the filled slot on: proving it, being paid, letting it go.

The contract has the collateral now. Nothing here gives up; what fails is done again by the agent.
"""

from contextlib import suppress

import trio

from codex.errors import ChainRefused, CodexError, CorruptData, NotFound, ProofInvalid, UnknownRequest
from codex.logs import get_logger
from codex.market import Groth16Proof, Period, Slot, SlotState
from codex.sales.bench import ProofMissed, ProofSent, SlotLost, SlotPaid, SlotSlashed
from codex.sales.deciding import Verdict
from codex.sales.sale import Sale
from codex.sales.states import Event
from codex.store import NEVER, Stage

CLOSE = 0.1
"""Of a period: a proof that has less than this to spare is warned of."""
SURELY_OVER = 30.0
"""Seconds that are waited for a block after the end, before the collateral is asked for."""
PROVED_FROM_NOW_ON = "the slot is filled, and proved from now on"
HELD_TO_THE_END = "the slot was held to the end and is paid"
NOT_FILLED_IN_TIME = "the request was not filled in time"
NEVER_PAID = "the slot was filled in the second of the expiry, and its collateral is never given back"
ALREADY = "Proofs_ProofAlreadySubmitted"
PAID = "Marketplace_AlreadyPaid"
UNPAYABLE = "Marketplace_StartNotBeforeExpiry"

_log = get_logger("sales")


async def settle_in(sale: Sale) -> Event:
    """The slot is ours: note it, and keep the blocks until the sale lets them go: the chain's end of the
    request may be long past by this machine's clock, or never come.
    """
    if sale.stage < Stage.STAKED:
        # What is taken from now on is told of. What was taken while nobody was here is not: it is noted.
        sale.at_stake = (await sale.known()).request.ask.collateral_per_slot
    await sale.advance(Stage.STAKED)
    await sale.bench.history.begin(sale.held(Verdict.FILLED, PROVED_FROM_NOW_ON))
    told = await look(sale)
    if told is not None:
        return told
    try:
        await sale.bench.duties.on_expiry_update(await sale.known(), NEVER)
    except NotFound as error:
        await _mend(sale, error)
    return Event.STORED


async def _mend(sale: Sale, error: CodexError) -> None:
    """What we hold is not (all) here, after a disk was lost, say: get it back before it costs the slot."""
    _log.warning("a slot that is held is fetched again", slot=str(sale.slot), why=error.message)
    room = sale.reservation.room if sale.reservation is not None else None
    await sale.bench.duties.on_store(await sale.known(), NEVER, repair=True, reservation=room)


async def look(sale: Sale) -> Event | None:
    """What the chain says of a slot that we hold; None when we do, and are to prove it."""
    state = await sale.bench.market.slot_state(sale.slot)
    match state:
        case SlotState.FILLED:
            host = await sale.bench.market.get_host(sale.slot)
            if host is not None:
                return None if host == sale.bench.account else Event.LOST
        case SlotState.FINISHED | SlotState.PAID:
            return Event.REQUEST_FINISHED
        case SlotState.FAILED:
            return Event.REQUEST_FAILED
        case SlotState.CANCELLED:
            return Event.REQUEST_CANCELLED
        case SlotState.REPAIR:
            return Event.SLOT_FREED
    # Nobody was ever there: the chain has taken the filling back.
    return Event.LOOK


async def hold(sale: Sale) -> Event:
    """Prove the slot, period by period, until the request is over."""
    bench = sale.bench
    slot = await sale.known()
    end = await bench.market.request_end(sale.request_id)
    while True:
        told = await look(sale)
        if told is not None:
            return told
        period = bench.config.proofs.period_at(int(await bench.time.now()))
        if period.number > sale.proved_period:
            await _reached(sale, period)
            see_stake(sale, await bench.market.current_collateral(sale.slot))
            try:
                await _prove(sale, slot, period)
            except (NotFound, CorruptData) as error:
                await _mend(sale, error)
                continue
        sale.went_well()
        next_look = period.end + 1
        if await bench.time.now() <= end:
            next_look = min(next_look, end + 1)
        await bench.time.until(next_look)
        # Where blocks are rare the state may be behind the clock: at least a second goes by between looks.
        await bench.time.until(await bench.time.now() + 1)


def see_stake(sale: Sale, left: int) -> None:
    """Tell it when less of the collateral is left than there was. Nothing is left of what is not ours now,
    of which others tell.
    """
    before = sale.at_stake
    if before is not None and 0 < left < before:
        _log.warning("collateral was slashed", slot=str(sale.slot), by=before - left, left=left)
        sale.bench.events.publish(SlotSlashed(sale.slot, before - left, left))
    sale.at_stake = left


async def _reached(sale: Sale, period: Period) -> None:
    """Wait for a block of the period: the contract judges by blocks. But not for long, for some chains make
    none unless something is sent.
    """
    chain = sale.bench.chain
    left = period.start + period.seconds // 4 - await chain.clock.now()
    with trio.move_on_after(max(0.0, left)):
        head = chain.head
        while head is not None and head.timestamp < period.start:
            head = await chain.next_head(head)


async def _prove(sale: Sale, slot: Slot, period: Period) -> None:
    """Bring the proof of a period, if one is asked for. What is too late is told and let go."""
    bench = sale.bench
    market = bench.market
    if not (await market.is_proof_required(sale.slot) or await market.will_proof_be_required(sale.slot)):
        sale.proved_period = period.number
        return
    if _leave_out(sale):
        sale.proved_period = period.number
        _miss(sale, period, "left out, as --simulate-proof-failures says")
        return
    while True:
        challenge = await market.get_challenge(sale.slot)
        # What is late helps nobody: it is given up, and the next one begins in time.
        left = period.end + 1 - await bench.time.now()
        with trio.move_on_after(max(0.0, left)) as limit:
            proof = await make_proof(sale, slot, challenge)
        # Proving takes long, and what was asked may have been overtaken.
        now = bench.config.proofs.period_at(int(await bench.time.now()))
        if limit.cancelled_caught or now != period:
            _miss(sale, period, f"the proof took more than the {left:.0f} s that its period had left")
            return
        if await market.get_challenge(sale.slot) != challenge:
            continue
        try:
            await market.submit_proof(sale.slot, proof)
        except ProofInvalid as error:
            if bench.config.proofs.period_at(int(await bench.time.now())) != period:
                _miss(sale, period, "it came when the period was over")
                return
            if await market.get_challenge(sale.slot) == challenge:
                raise ChainRefused(f"the proof is refused: {error.message}", reason=error.reason) from error
            continue
        except ChainRefused as error:
            if error.reason != ALREADY:
                raise
        break
    sale.proved_period = period.number
    spare = int(period.end - await bench.time.now())
    bench.events.publish(ProofSent(sale.slot, period.number, spare))
    if spare < CLOSE * period.seconds:
        _log.warning("a proof came late in its period", slot=str(sale.slot), spare=spare, of=period.seconds)


def _leave_out(sale: Sale) -> bool:
    if not sale.bench.leave_out:
        return False
    sale.left_out += 1
    return sale.left_out % sale.bench.leave_out == 0


def _miss(sale: Sale, period: Period, why: str) -> None:
    _log.warning("a proof was missed", slot=str(sale.slot), period=period.number, why=why)
    sale.bench.events.publish(ProofMissed(sale.slot, period.number, why))


async def make_proof(sale: Sale, slot: Slot, challenge: bytes) -> Groth16Proof:
    """A proof from the node, and a note of how long it takes here."""
    bench = sale.bench
    async with bench.proving:
        began = bench.clock.monotonic()
        try:
            return await bench.duties.on_prove(slot, challenge)
        finally:
            bench.pace.note(bench.clock.monotonic() - began)


# -- the end


async def pay_out(sale: Sale) -> Event:
    """Take the payment and the collateral."""
    market, time = sale.bench.market, sale.bench.time
    if not await sale.is_mine():
        return Event.LOOK
    while (state := await market.slot_state(sale.slot)) is SlotState.FILLED:
        # The newest block is not as late as the clock says.
        await time.until(await time.now() + 1)
    if state is SlotState.FINISHED:
        if not await _release(sale, await market.request_end(sale.request_id)):
            return Event.LOOK
    elif state is not SlotState.PAID:
        return Event.LOOK
    _tell_paid(sale)
    return Event.PAID


def _returned(sale: Sale) -> int:
    """What of the collateral came back."""
    there = sale.reservation
    if there is None:
        return sale.at_stake or 0
    # Where nothing was noted, another program of this account was quicker to ask for it.
    return there.collateral if there.returned is None else there.returned


def _tell_paid(sale: Sale) -> None:
    sale.bench.events.publish(SlotPaid(sale.slot, sale.reward, _returned(sale)))


async def finish(sale: Sale) -> Event:
    """It is paid: remember what it has brought, and let it go."""
    await sale.bench.history.end(
        sale.held(Verdict.FINISHED, HELD_TO_THE_END, returned=_returned(sale)),
    )
    return await clean_up(sale)


async def cancel(sale: Sale) -> Event:
    """The request was not filled in time: take what was earned until then, and the collateral."""
    market = sale.bench.market
    if await sale.is_mine():
        state = await market.slot_state(sale.slot)
        if state is SlotState.CANCELLED:
            try:
                if not await _release(sale, await market.request_expiry(sale.request_id)):
                    return Event.LOOK
            except ChainRefused as error:
                if error.reason != UNPAYABLE:
                    raise
                # The contract finds no second to pay for, and refuses it all: now and for ever.
                await sale.advance(Stage.STAKED)
                sale.reason = NEVER_PAID
                return Event.LOST
        elif state is not SlotState.PAID:
            return Event.LOOK
        _tell_paid(sale)
        await sale.bench.history.end(
            sale.held(Verdict.CANCELLED, NOT_FILLED_IN_TIME, returned=_returned(sale))
        )
    elif sale.is_staked and await market.get_active_slot(sale.slot) is not None:
        # Taken away before; and not one that the chain has forgotten to be filled, of which the collateral
        # never left.
        return Event.LOST
    return await clean_up(sale)


async def fail(sale: Sale) -> Event:
    """The request failed: the contract keeps the collateral of those who held its slots."""
    if await sale.is_mine() and sale.slot in await sale.bench.market.my_slots():
        with suppress(UnknownRequest):
            await sale.bench.market.free_slot(sale.slot)
    sale.reason = "the request failed: too many of its slots were lost"
    return Event.LOST


async def _release(sale: Sale, over: int) -> bool:
    """Have the contract pay, and give back what it has, after a note of how much that is. `over` is the last
    second of the request. Whether it has paid: where it counts the slot as held it takes it, and all of the
    collateral.
    """
    await _past(sale, over)
    collateral = await sale.bench.market.current_collateral(sale.slot)
    see_stake(sale, collateral)
    await sale.advance(Stage.RELEASING, collateral)
    try:
        paid = await sale.bench.market.free_slot(sale.slot)
    except ChainRefused as error:
        if error.reason != PAID:
            raise
        return True
    if paid < collateral:
        return False
    sale.reward = paid - collateral
    return True


async def _past(sale: Sale, moment: int) -> None:
    """Wait for a block after a moment. What is said of the one in the making goes by the provider's clock,
    which may be ahead. But not for long, for some chains make none unless something is sent.
    """
    chain = sale.bench.chain
    with trio.move_on_after(SURELY_OVER):
        head = chain.head
        while head is None or head.timestamp <= moment:
            head = await chain.next_head(head)


async def clean_up(sale: Sale) -> Event:
    """Let the blocks go, then give back bytes and collateral, in this order: a crash between them is mended
    by the next start, and no byte is counted as free that is still taken.
    """
    reservation = sale.reservation
    if reservation is not None and sale.stage in (Stage.STORED, Stage.FILLING, Stage.STAKED):
        # It was held for a moment at most, and then the chain took the filling back.
        await sale.bench.history.drop(sale.held(Verdict.CLOSED, ""))
    stray = reservation is None and sale.item is None
    if stray or (reservation is not None and reservation.stage > Stage.TAKEN):
        await sale.bench.duties.on_clear(sale.slot)
    back = 0
    if reservation is not None:
        back = reservation.collateral if reservation.returned is None else reservation.returned
    elif sale.item is not None and sale.request is not None:
        back = sale.request.ask.collateral_per_slot  # perhaps set aside, though nobody was told
    if sale.reservation_id:
        await sale.bench.book.give_back(sale.reservation_id, back)
    return Event.CLEAN


async def clean_up_after_error(sale: Sale) -> Event:
    """As `clean_up`, where the collateral may be gone. A slot that turns out to be ours is not given up."""
    if sale.stage is Stage.FILLING or sale.is_staked:
        state = await sale.bench.market.slot_state(sale.slot)
        mine = await sale.is_mine()
        reserved = sale.reservation is not None and sale.is_staked
        if (reserved and state is SlotState.FREE) or (
            mine and state in (SlotState.FILLED, SlotState.FINISHED)
        ):
            return Event.LOOK
        if mine or sale.is_staked:
            sale.bench.events.publish(SlotLost(sale.slot))
            await sale.bench.history.end(sale.held(Verdict.LOST, sale.reason, returned=0))
            await sale.advance(Stage.RELEASING, 0)
    return await clean_up(sale)
