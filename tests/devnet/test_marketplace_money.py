"""Whatever people do, in whatever order: the marketplace pays out what it took in, to whom it belongs, once.

Against it stands a model of the rules in plain Python, which says of every action whether it is refused, with
which error, and what everybody has after it. What a client gets back the contract counts step by step; the
model works it out from who held which slot in the end.
"""

from typing import Any

import pytest
from attrs import define, field
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

CLIENTS = ("alice", "bob")
HOSTS = ("carol", "dave", "erin", "frank")
EVERYBODY = (*CLIENTS, *HOSTS, "grace")
SIZE, COLLATERAL = 100, 1000
PERIOD, TIMEOUT = 90, 30
PROOF = ((1, 2), ((3, 4), (5, 6)), (7, 8))
ZERO = ((0, 0), ((0, 0), (0, 0)), (0, 0))
STATES = ("new", "started", "cancelled", "finished", "failed")
SLOT_STATES = ("free", "filled", "finished", "failed", "paid", "cancelled", "repair")


@define(eq=False)
class Slot:
    id: bytes
    index: int
    state: str = "free"
    host: str | None = None
    since: int = 0
    collateral: int = 0
    missed: int = 0
    reserved: set[str] = field(factory=set)
    proofs: set[int] = field(factory=set)
    marked: set[int] = field(factory=set)
    listed: bool = False


@define(eq=False)
class Request:
    id: bytes
    client: str
    rate: int
    loss: int
    duration: int
    ends: int
    expires: int
    slots: list[Slot]
    state: str = "new"
    returned: bool = False
    listed: bool = True

    @property
    def price(self) -> int:
        return len(self.slots) * self.duration * self.rate

    def state_at(self, time: int) -> str:
        if self.state == "new" and time > self.expires:
            return "cancelled"
        if self.state in ("new", "started") and time > self.ends:
            return "finished"
        return self.state

    def slot_at(self, slot: Slot, time: int) -> str:
        if slot.state in ("free", "paid"):
            return slot.state
        over = self.state_at(time)
        return slot.state if over in ("new", "started") else over

    def pay(self, slot: Slot, until: int) -> int:
        return (until - slot.since) * self.rate


class Market(RuleBasedStateMachine):
    """People at the marketplace. Every rule is one transaction, in a block of its own."""

    world: Any
    tools: Any

    slots = Bundle("slots")

    def __init__(self) -> None:
        super().__init__()
        self.snapshot = self.world.chain.snapshot()
        self.requests: list[Request] = []
        self.has = {name: self.world.balance(name) for name in EVERYBODY}
        self.all = sum(self.has.values())
        # Collateral that was slashed and belongs to nobody.
        self.lost = 0
        self.looked = 0

    def do(self, error: str | None, name: str, *arguments: Any, by: str) -> None:
        """Do it, and see that it is refused with `error`, or not at all."""
        if error is None:
            self.world.market.do(name, *arguments, by=by)
        else:
            assert self.world.market.refused(name, *arguments, by=by) == error

    def expel(self, request: Request, slot: Slot, time: int) -> None:
        self.lost += slot.collateral
        slot.state, slot.host, slot.collateral, slot.missed = "repair", None, 0, 0
        slot.reserved.clear()
        slot.listed = False
        lost = sum(other.state != "filled" for other in request.slots)
        if request.state == "started" and lost > request.loss:
            request.state, request.ends = "failed", time - 1

    # Actions.

    @initialize(target=slots, loss=st.integers(0, 2))
    def begin(self, loss: int) -> Any:
        return self.contract("alice", 2, loss, 1000, 0)

    @rule(
        target=slots,
        client=st.sampled_from(CLIENTS),
        count=st.integers(1, 3),
        loss=st.integers(0, 1),
        duration=st.integers(200, 2000),
        free=st.integers(0, 1),
    )
    def contract(self, client: str, count: int, loss: int, duration: int, free: int) -> Any:
        """A request of which all slots are filled, but for `free` of them: chance seldom gets so far."""
        made = len(self.requests)
        places = self.request(client, count, loss, duration, 99)
        request = self.requests[made]
        for slot, host in zip(request.slots[free:], HOSTS, strict=False):
            self.reserve_and_fill((request, slot), host)
        return places

    @rule(
        target=slots,
        client=st.sampled_from(CLIENTS),
        count=st.integers(1, 3),
        loss=st.integers(0, 3),
        duration=st.integers(100, 500),
        expiry=st.integers(10, 99),
    )
    def request(self, client: str, count: int, loss: int, duration: int, expiry: int) -> Any:
        expiry = duration * expiry // 100
        terms = {
            "slots": count,
            "loss": min(loss, count),
            "duration": duration,
            "expiry": expiry,
            "price": 3,
        }
        request = self.world.request(client, size=SIZE, collateral=COLLATERAL // SIZE, **terms)
        time = self.world.time
        self.do(None, "requestStorage", request, by=client)
        id = self.tools.request_id(request)
        slots = [Slot(self.tools.slot_id(id, index), index) for index in range(count)]
        made = Request(
            id, client, 3 * SIZE, min(loss, count), duration, time + duration, time + expiry, slots
        )
        self.requests.append(made)
        self.has[client] -= made.price
        return multiple(*((made, slot) for slot in slots))

    @rule(place=slots, host=st.sampled_from(HOSTS))
    def reserve(self, place: tuple[Request, Slot], host: str) -> None:
        request, slot = place
        free = request.slot_at(slot, self.world.time) in ("free", "repair")
        error = None
        if not free or len(slot.reserved) == 3 or host in slot.reserved:
            error = "SlotReservations_ReservationNotAllowed"
        self.do(error, "reserveSlot", request.id, slot.index, by=host)
        if error is None:
            slot.reserved.add(host)

    @rule(place=slots, host=st.sampled_from(HOSTS), good=st.sampled_from([True, True, True, False]))
    def fill(self, place: tuple[Request, Slot], host: str, good: bool) -> None:
        request, slot = place
        time = self.world.time
        error = None
        if host not in slot.reserved:
            error = "Marketplace_ReservationRequired"
        elif slot.state not in ("free", "repair") or request.state_at(time) not in ("new", "started"):
            error = "Marketplace_SlotNotFree"
        elif time // PERIOD in slot.proofs:
            error = "Proofs_ProofAlreadySubmitted"
        elif not good:
            error = "Proofs_InvalidProof"
        elif time >= request.ends:
            error = "Marketplace_StartNotBeforeExpiry"
        self.do(error, "fillSlot", request.id, slot.index, PROOF if good else ZERO, by=host)
        if error is None:
            due = COLLATERAL
            if slot.state == "repair":
                due -= COLLATERAL // 10
                self.lost -= COLLATERAL // 10
            self.has[host] -= due
            slot.state, slot.host, slot.since, slot.collateral = "filled", host, time, COLLATERAL
            slot.proofs.add(time // PERIOD)
            slot.listed = True
            if request.state == "new" and all(other.state == "filled" for other in request.slots):
                request.state = "started"

    @rule(place=slots, host=st.sampled_from(HOSTS))
    def reserve_and_fill(self, place: tuple[Request, Slot], host: str) -> None:
        """Alone they seldom come one after the other."""
        self.reserve(place, host)
        self.fill(place, host, True)

    @rule(place=slots)
    def abandon(self, place: tuple[Request, Slot]) -> None:
        """A host gives up, maybe one too many, and the client takes what it can get."""
        self.free(place)
        self.withdraw(place)

    @rule(place=slots, host=st.sampled_from(HOSTS), after=st.integers(1, PERIOD), missed=st.booleans())
    def replace(self, place: tuple[Request, Slot], host: str, after: int, missed: bool) -> None:
        """A host gives up and another repairs, maybe in the period in which the first one proved."""
        if missed:
            self.miss(place)
        self.free(place)
        self.wait(after)
        self.reserve_and_fill(place, host)

    @rule(place=slots, other=st.one_of(st.none(), st.sampled_from(EVERYBODY)), good=st.booleans())
    def prove(self, place: tuple[Request, Slot], other: str | None, good: bool) -> None:
        slot = place[1]
        who = other or slot.host or "carol"
        period = self.world.period
        error = None
        if slot.state == "free":
            error = "Marketplace_UnknownRequest"
        elif who != slot.host:
            error = "Marketplace_ProofNotSubmittedByHost"
        elif period in slot.proofs:
            error = "Proofs_ProofAlreadySubmitted"
        elif not good:
            error = "Proofs_InvalidProof"
        self.do(error, "submitProof", slot.id, PROOF if good else ZERO, by=who)
        if error is None:
            slot.proofs.add(period)

    @rule(place=slots, back=st.integers(-1, 3))
    def mark(self, place: tuple[Request, Slot], back: int) -> None:
        request, slot = place
        time, period = self.world.time, self.world.period - back
        error = None
        if request.slot_at(slot, time) != "filled":
            error = "Marketplace_SlotNotAcceptingProofs"
        elif (period + 1) * PERIOD >= time:
            error = "Proofs_PeriodNotEnded"
        elif time >= (period + 1) * PERIOD + TIMEOUT:
            error = "Proofs_ValidationTimedOut"
        elif period in slot.proofs:
            error = "Proofs_ProofNotMissing"
        elif period <= slot.since // PERIOD:
            error = "Proofs_ProofNotRequired"
        elif period in slot.marked:
            error = "Proofs_ProofAlreadyMarkedMissing"
        self.do(error, "markProofAsMissing", slot.id, period, by="grace")
        if error is None:
            slot.marked.add(period)
            slot.missed += 1
            slot.collateral -= 200
            self.lost += 160
            self.has["grace"] += 40
            if slot.missed == 2:
                self.expel(request, slot, time)

    @rule(place=slots)
    def miss(self, place: tuple[Request, Slot]) -> None:
        """A whole period without a proof, and the mark."""
        period = self.world.period + 1
        self.world.to_period(period + 1)
        self.mark(place, 1)

    @rule(place=slots, other=st.one_of(st.none(), st.sampled_from(EVERYBODY)), named=st.booleans())
    def free(self, place: tuple[Request, Slot], other: str | None = None, named: bool = False) -> None:
        request, slot = place
        who = other or slot.host or "carol"
        time = self.world.time
        state = request.slot_at(slot, time)
        until = request.expires if state == "cancelled" else request.ends
        error = None
        if slot.state == "free":
            error = "Marketplace_SlotIsFree"
        elif who != slot.host:
            error = "Marketplace_InvalidSlotHost"
        elif state == "paid":
            error = "Marketplace_AlreadyPaid"
        elif state in ("finished", "cancelled") and slot.since >= until:
            error = "Marketplace_StartNotBeforeExpiry"
        recipients = (self.world.people["bob"], self.world.people["grace"]) if named else ()
        self.do(error, "freeSlot", slot.id, *recipients, by=who)
        if error is None:
            slot.listed = False
            if state in ("finished", "cancelled"):
                self.has["bob" if named else who] += request.pay(slot, until)
                self.has["grace" if named else who] += slot.collateral
                slot.state = "paid"
                if state == "finished":
                    request.state, request.listed = "finished", False
            elif state == "filled":
                self.expel(request, slot, time)

    @rule(place=slots)
    def finish(self, place: tuple[Request, Slot]) -> None:
        """The end, and the exits."""
        self.wait_for(place, "ends", 1)
        self.free(place)
        self.withdraw(place)

    @rule(place=slots, other=st.one_of(st.none(), st.sampled_from(EVERYBODY)))
    def withdraw(self, place: tuple[Request, Slot], other: str | None = None) -> None:
        request = place[0]
        who = other or request.client
        state = request.state_at(self.world.time)
        error = None
        if who != request.client:
            error = "Marketplace_InvalidClientAddress"
        elif state in ("new", "started"):
            error = "Marketplace_InvalidState"
        elif request.returned:
            error = "Marketplace_NothingToWithdraw"
        self.do(error, "withdrawFunds", request.id, by=who)
        if error is None:
            until = request.expires if state == "cancelled" else request.ends
            kept = ("filled", "paid") if state != "failed" else ()
            served = sum(request.pay(slot, until) for slot in request.slots if slot.state in kept)
            self.has[who] += request.price - served
            request.state, request.returned, request.listed = state, True, False

    @rule(seconds=st.integers(1, 60))
    def wait(self, seconds: int) -> None:
        self.world.at(self.world.time + seconds)

    @rule(place=slots, which=st.sampled_from(["expires", "ends"]), late=st.integers(0, 1))
    def wait_for(self, place: tuple[Request, Slot], which: str, late: int) -> None:
        """The moments at which a second makes the difference."""
        self.world.at(max(getattr(place[0], which) + late, self.world.time))

    # What holds at all times.

    @invariant()
    def money_in_is_money_out_and_what_is_held(self) -> None:
        balances = {name: self.world.balance(name) for name in EVERYBODY}
        assert balances == self.has
        assert self.world.held() == self.all - sum(self.has.values())

    @invariant()
    def states_are_those_of_the_rules(self) -> None:
        """One request is looked at after the other, and all in the end: looking takes most of the time."""
        self.looked += 1
        if self.requests:
            self.states_of(self.requests[self.looked % len(self.requests)])
        self.lists_of(CLIENTS[self.looked % len(CLIENTS)], HOSTS[self.looked % len(HOSTS)])

    def states_of(self, *requests: Request) -> None:
        ask, time = self.world.market.ask, self.world.time
        for request in requests:
            assert STATES[ask("requestState", request.id)] == request.state_at(time)
            for slot in request.slots:
                assert SLOT_STATES[ask("slotState", slot.id)] == request.slot_at(slot, time)
                assert ask("currentCollateral", slot.id) == slot.collateral
                assert ask("missingProofs", slot.id) == slot.missed

    def lists_of(self, client: str, host: str) -> None:
        listed = {request.id for request in self.requests if request.client == client and request.listed}
        assert set(self.world.market.ask("myRequests", by=client)) == listed
        slots = [slot for request in self.requests for slot in request.slots if slot.listed]
        listed = {slot.id for slot in slots if slot.host == host}
        assert set(self.world.market.ask("mySlots", by=host)) == listed

    # What holds in the end.

    def teardown(self) -> None:
        try:
            self.everybody_gets_out()
        finally:
            assert self.world.chain.revert(self.snapshot)

    def everybody_gets_out(self) -> None:
        """Every state has an exit: when all is over everybody takes what is his, and nothing of it stays."""
        last = max((request.ends for request in self.requests), default=0)
        self.world.at(max(last + 1, self.world.time))
        kept = 0
        for request in self.requests:
            for slot in request.slots:
                place = (request, slot)
                self.free(place)
                if request.slot_at(slot, self.world.time) != "paid":
                    # Failed, or filled in the very second of expiry.
                    kept += slot.collateral
                    if request.state_at(self.world.time) == "cancelled" and slot.host is not None:
                        assert slot.since == request.expires
            if not request.returned:
                self.withdraw((request, request.slots[0]))
            # Nobody is paid twice.
            self.withdraw((request, request.slots[0]))
            for slot in request.slots:
                self.free((request, slot))
        self.money_in_is_money_out_and_what_is_held()
        assert self.world.held() == self.lost + kept
        self.states_of(*self.requests)
        for host in HOSTS:
            self.lists_of(CLIENTS[0], host)
        self.lists_of(CLIENTS[1], HOSTS[0])


def run(world: Any, tools: Any, examples: int, steps: int, *, other_each_time: bool = False) -> None:
    machine = type("MarketHere", (Market,), {"world": world, "tools": tools})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=not other_each_time,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def test_money_goes_where_it_belongs(world: Any, tools: Any) -> None:
    run(world, tools, 40, 40)


@pytest.mark.soak
def test_money_goes_where_it_belongs_in_many_ways(world: Any, tools: Any) -> None:
    run(world, tools, 120, 60, other_each_time=True)
