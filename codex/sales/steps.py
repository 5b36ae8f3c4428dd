"""What is done in each state of a sale, up to the slot being filled; the rest stands in holding.py.

A step returns the event that ends its state, and may raise any CodexError: the agent decides what to make of
it. Each step looks before it acts, and can therefore be done again after it was cut anywhere.
"""

from collections.abc import Awaitable, Callable, Mapping
from math import ceil

from codex.errors import (
    ChainRefused,
    InvalidInput,
    NotADataset,
    NotAManifest,
    ProofInvalid,
    QuotaExceeded,
    SlotReservationNotAllowed,
    SlotStateMismatch,
    UnknownRequest,
)
from codex.market import (
    RequestState,
    Slot,
    SlotState,
    check_request,
)
from codex.sales import holding
from codex.sales.bench import Bench
from codex.sales.deciding import judge
from codex.sales.sale import Sale
from codex.sales.states import Event, State
from codex.store import NEVER, Stage

ATTEMPTS = 5
"""Proofs made for one filling, each for a challenge that was over when it was ready."""

BEFORE_EXPIRY = 15.0
"""Seconds before the expiry from which on no slot is filled any more, and longer where two blocks take more:
of one that is filled in the very second of the expiry the contract never gives the collateral back, unless it
was the last. But never more than half of the time that there is for filling.
"""
GAPS = 3
"""Of so many blocks the two that came the closest tell how long a block takes: some chains make none unless
something is sent.
"""

UNHOSTABLE = (InvalidInput, NotADataset, NotAManifest)
"""What the node raises over a slot that nobody can host, now or later."""

Step = Callable[[Sale], Awaitable[Event]]


async def prepare(sale: Sale) -> Event:
    """Look whether the slot can still be filled, and which availability takes it; set its share aside.

    What is to be stored is looked at, too, before the chain is told anything: that costs.
    """
    bench = sale.bench
    market = bench.market
    try:
        slot = await sale.known()
    except UnknownRequest as error:
        sale.reason = error.message
        return Event.CLOSED
    request = slot.request
    running = await market.request_state(sale.request_id)
    state = await market.slot_state(sale.slot)
    if running is None:
        return Event.CLOSED
    if running.over or not state.fillable:
        sale.reason = f"the request is {running.name.lower()} and the slot {state.name.lower()}"
        return Event.CLOSED
    try:
        # Whoever speaks to the contract through another program may have it hold anything.
        check_request(request, bench.config)
    except InvalidInput as error:
        sale.reason = error.message
        return Event.CLOSED
    if sale.index >= request.ask.slots:
        sale.reason = f"the request has {request.ask.slots} slots, and none of index {sale.index}"
        return Event.CLOSED
    end = await market.request_end(sale.request_id)
    deadline = end if running is RequestState.STARTED else await market.request_expiry(sale.request_id)
    now = await bench.time.now()
    if now >= deadline:
        sale.reason = f"it could be filled until {deadline}"
        return Event.CLOSED
    if running is RequestState.NEW and await _is_too_late(sale, slot):
        return Event.CLOSED
    judgement = judge(request.ask, collateral=0, end=end, availabilities=await bench.book.availabilities())
    if judgement.availability is None:
        sale.checks, sale.reason = judgement.checks, judgement.reason
        return Event.UNWANTED
    try:
        await bench.duties.on_look(slot)
    except UNHOSTABLE as error:
        sale.reason = error.message
        return Event.CLOSED
    # One at a time, or several count on the same tokens.
    async with bench.taking:
        return await _take(sale, slot, end)


async def _take(sale: Sale, slot: Slot, end: int) -> Event:
    """Set aside what a slot takes, if there is so much."""
    bench, ask = sale.bench, slot.request.ask
    judgement = judge(
        ask,
        collateral=await bench.market.collateral_for(slot),
        end=end,
        availabilities=await bench.book.availabilities(),
        balance=await (await bench.market.token()).balance_of(),
        promised=sum(there.collateral for there in await bench.book.slots() if there.stage < Stage.STAKED),
    )
    sale.checks, sale.reason = judgement.checks, judgement.reason
    if judgement.availability is None:
        return Event.UNWANTED
    sale.availability = judgement.availability.id
    sale.reservation_id = bench.entropy.token(32)
    try:
        sale.reservation = await bench.book.take(
            judgement.availability.id,
            id=sale.reservation_id,
            request=sale.request_id.raw,
            slot=sale.index,
            size=ask.slot_size,
            collateral=ask.collateral_per_slot,
            until=end,
        )
    except (InvalidInput, QuotaExceeded) as error:
        # Another slot was quicker, or blocks beside the market have eaten the room.
        sale.reason = error.message
        return Event.UNWANTED
    return Event.MATCHED


async def reserve(sale: Sale) -> Event:
    """Have the chain note that this host wants to fill the slot."""
    market, reserved = sale.bench.market, sale.bench.reserved
    # One may stand from before a restart, or from before the chain took another host's filling back.
    ours = sale.stage is not Stage.TAKEN or sale.slot in reserved
    if await market.can_reserve_slot(sale.request_id, sale.index):
        # Noted before it is sent: only so a later look knows that the reservation may be ours.
        await sale.advance(Stage.RESERVING)
        try:
            await market.reserve_slot(sale.request_id, sale.index)
        except SlotReservationNotAllowed as error:
            if not ours:
                sale.reason = error.message
                return Event.REFUSED
        else:
            await reserved.note(sale.slot)
    elif not ours:
        return Event.REFUSED
    # One that was sent before may be among those that there are. If it is not, filling will tell.
    return Event.RESERVED


async def download(sale: Sale) -> Event:
    """Have the slot here, rebuilt if need be."""
    bench = sale.bench
    state = await bench.market.slot_state(sale.slot)
    if not state.fillable:
        sale.reason = f"the slot is {state.name.lower()}"
        return Event.CLOSED
    slot, repair = await sale.known(), state is SlotState.REPAIR
    room = sale.reservation.room if sale.reservation is not None else None
    try:
        # No clock ends it, for this machine's is not the chain's: the sale does, in whatever state it ends.
        await bench.duties.on_store(slot, NEVER, repair=repair, reservation=room)
    except UNHOSTABLE as error:
        sale.reason = error.message
        return Event.CLOSED
    await sale.advance(Stage.STORED)
    return Event.STORED


async def prove_first(sale: Sale) -> Event:
    """Make the proof that the slot is filled with, for a challenge that is still asked when it is ready.

    A challenge stands for a period, but for a moment in which the pointer begins anew. So that the filling
    comes in the same period as the proof, what is too late in one is begun in the next.
    """
    bench = sale.bench
    proofs = bench.config.proofs
    slot = await sale.known()
    for _ in range(ATTEMPTS):
        period = proofs.period_at(int(await bench.time.now()))
        needed = 2 * ceil(bench.pace.seconds) + period.seconds // 4
        if period.end - await bench.time.now() < needed <= period.seconds:
            await bench.time.until(period.end + 1)
        challenge = await bench.market.get_challenge(sale.slot)
        proof = await holding.make_proof(sale, slot, challenge)
        if await bench.market.get_challenge(sale.slot) == challenge:
            sale.proof = proof
            return Event.PROVED
    sale.reason = (
        f"a proof takes {bench.pace.seconds:.0f} s here, and no challenge stood for so long in a period of"
        f" {proofs.period} s"
    )
    return Event.FAULT


async def fill(sale: Sale) -> Event:
    """Give the collateral and the proof for the slot."""
    market = sale.bench.market
    if await sale.is_mine():
        return Event.FILLED  # what was sent before has arrived
    state = await market.slot_state(sale.slot)
    if not state.fillable:
        return Event.OUTDONE
    slot = await sale.known()
    if sale.proof is None:
        return Event.STALE
    if await market.request_state(sale.request_id) is RequestState.NEW and await _is_too_late(sale, slot):
        return Event.FAULT
    await sale.advance(Stage.FILLING)
    try:
        await market.fill_slot(slot, sale.proof)
    except SlotStateMismatch as error:
        sale.reason = error.message
        return Event.FILLED if await sale.is_mine() else Event.OUTDONE
    except ProofInvalid:
        sale.proof = None
        return Event.STALE
    except ChainRefused as error:
        if error.reason != "Marketplace_ReservationRequired":
            raise
        await sale.bench.reserved.forget(sale.slot)
        sale.reason = error.message
        return Event.REFUSED
    return Event.FILLED


async def _is_too_late(sale: Sale, slot: Slot) -> bool:
    """Whether what is sent now may come into a block of the very second of the expiry; says so."""
    bench = sale.bench
    left = await bench.market.request_expiry(sale.request_id) - await bench.time.now()
    most = slot.request.expiry / 2
    if left >= most or left >= max(BEFORE_EXPIRY, 2 * await _block_time(bench) + 3):
        return False
    sale.reason = f"its request expires in {max(0, left):.0f} s, in which the slot may not be filled in time"
    return True


async def _block_time(bench: Bench) -> int:
    """Seconds between two of the newest blocks, the two that came the closest; 0 where there are no two."""
    later, gaps = await bench.chain.header(), list[int]()
    while later is not None and later.number > 0 and len(gaps) < GAPS:
        before = await bench.chain.header(later.number - 1)
        if before is not None:
            gaps.append(later.timestamp - before.timestamp)
        later = before
    return min(gaps, default=0)


async def find_out(sale: Sale) -> Event:
    """See how a sale stands that was begun before a restart, or before the chain took something back."""
    market = sale.bench.market
    try:
        await sale.known()
        state = await market.slot_state(sale.slot)
    except UnknownRequest as error:
        sale.reason = error.message
        return Event.CLOSED
    staked = sale.stage >= Stage.STAKED
    if state.fillable:
        if sale.reservation is None or (state is SlotState.REPAIR and staked):
            return Event.LOST
        if staked:
            # The chain has forgotten the filling, and so the collateral never left.
            await sale.advance(Stage.STORED)
        return Event.RESERVE if sale.stage <= Stage.RESERVING else Event.STORE
    if state is SlotState.FAILED:
        return Event.REQUEST_FAILED
    if state is SlotState.CANCELLED:
        return Event.REQUEST_CANCELLED
    if not await sale.is_mine():
        return Event.LOST if staked else Event.CLOSED
    if state is SlotState.FILLED:
        return Event.FILLED
    return Event.PAID if state is SlotState.PAID else Event.REQUEST_FINISHED


STEPS: Mapping[State, Step] = {
    State.PREPARING: prepare,
    State.SLOT_RESERVING: reserve,
    State.DOWNLOADING: download,
    State.INITIAL_PROVING: prove_first,
    State.FILLING: fill,
    State.FILLED: holding.settle_in,
    State.PROVING: holding.hold,
    State.PAYOUT: holding.pay_out,
    State.FINISHED: holding.finish,
    State.FAILED: holding.fail,
    State.CANCELLED: holding.cancel,
    State.ERRORED: holding.clean_up_after_error,
    State.IGNORED: holding.clean_up,
    State.UNKNOWN: find_out,
}
"""One for each state that is not the last."""
