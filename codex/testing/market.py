"""A marketplace in memory: a simulation of the contract's rules, on trio's clock, for tests of who uses it.

It is no chain. There is a block every so many seconds, and what is sent is done in the next one, in the order
of sending; accounts are trusted to be whose they say. States, amounts and events are those of the contract
(requests, reservations, fillings, proofs, slashing, repairs, payouts), and so are its reasons for refusing.
A proof is right when it was made by `proof_for` for the present challenge.

Things can be made to go wrong: `online` is False for an outage, `refuse` lets the next call of a method fail,
`lose` has the next transaction done and its answer lost, and `reorganise` takes blocks back.
"""

import copy
import hashlib
from collections import defaultdict

import trio
from attrs import define, evolve, field

from codex.chain import Cursor, Header, Log, Reorganised, Told
from codex.errors import (
    ChainRefused,
    ChainUnreachable,
    InsufficientFunds,
    ProofInvalid,
    SlotReservationNotAllowed,
    SlotStateMismatch,
    UnknownRequest,
)
from codex.market import (
    G1,
    G2,
    Address,
    CollateralConfig,
    Groth16Proof,
    MarketEvent,
    MarketplaceConfig,
    Period,
    ProofConfig,
    ProofSubmitted,
    RequestCancelled,
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
    challenge_of,
    check_request,
    in_downtime,
    is_proof_due,
    payout,
    pointer_of,
    repair_collateral,
    slashing,
    validator_reward,
)

EPOCH = 1_750_000_000
"""Unix seconds when trio's clock shows 0."""

CONFIG = MarketplaceConfig(
    collateral=CollateralConfig(repair_reward=10, max_slashes=2, slash=20, validator_reward=20),
    proofs=ProofConfig(period=60, timeout=30, downtime=32, downtime_product=97, zkey_hash=""),
    max_reservations=3,
    duration_limit=30 * 86400,
)


def proof_for(challenge: bytes) -> Groth16Proof:
    """The proof that the simulation takes for a challenge."""
    number = int.from_bytes(challenge[:31], "big")
    return Groth16Proof(G1(number, 1), G2((number, 2), (number, 3)), G1(number, 4))


def block_hash(number: int) -> bytes:
    return hashlib.sha256(number.to_bytes(8, "big")).digest()


@define
class _Slot:
    request: RequestId
    index: int
    state: SlotState = SlotState.FREE
    host: Address | None = None
    filled_at: int = 0
    collateral: int = 0
    missed: int = 0
    received: set[int] = field(factory=set)
    marked: set[int] = field(factory=set)
    reservations: set[Address] = field(factory=set)


@define
class _Request:
    request: StorageRequest
    expires: int
    ends: int
    state: RequestState = RequestState.NEW
    filled: int = 0
    to_return: int = 0


@define
class _Books:
    """Everything that the contracts store."""

    requests: dict[RequestId, _Request] = field(factory=dict)
    slots: dict[SlotId, _Slot] = field(factory=dict)
    balances: dict[Address, int] = field(factory=lambda: defaultdict(int))
    held: int = 0
    """Tokens that the contract has."""
    mine: dict[Address, list[RequestId]] = field(factory=lambda: defaultdict(list))
    hosted: dict[Address, list[SlotId]] = field(factory=lambda: defaultdict(list))
    logs: list[tuple[int, MarketEvent]] = field(factory=list)
    """Events with their blocks."""


class SimulatedMarket:
    """The contract and its chain. `door` gives the view of one account."""

    def __init__(self, config: MarketplaceConfig = CONFIG, *, block_time: int = 2) -> None:
        self.config = config
        self.block_time = block_time
        self.online = True
        self.refuse: dict[str, list[Exception]] = defaultdict(list)
        """By the name of a method: what its next calls raise before anything is done."""
        self.lose: set[str] = set()
        """Methods whose next transaction is done without an answer."""
        self.waiting = 0
        """Transactions that are shown as waiting for a block."""
        self.wei = 10**18
        """What every account has for gas. Nothing is taken of it."""
        self.gas_price = 10**9
        self.books = _Books()
        self.ahead = 0
        """Seconds by which providers' clocks are ahead: so late is the block in the making to them."""
        self.remembers = False
        """Whether the books are kept block by block, for `reorganise`; it takes time."""
        self.forks: list[int] = []
        """First blocks of reorganisations, in order."""
        self._before: list[tuple[int, _Books]] = []
        self._back_online = trio.Event()

    # -- time

    @property
    def block(self) -> int:
        """The number of the newest block."""
        return int(EPOCH + trio.current_time()) // self.block_time

    @property
    def time(self) -> int:
        """Its timestamp."""
        return self.block * self.block_time

    @property
    def head(self) -> int:
        """The newest block that is told of: half a second after it was made, when all of it is in it."""
        return int(EPOCH + trio.current_time() - 0.5) // self.block_time

    async def next_head(self) -> None:
        await trio.sleep((self.head + 1) * self.block_time + 0.5 - EPOCH - trio.current_time())

    async def next_block(self) -> None:
        now = EPOCH + trio.current_time()
        await trio.sleep((int(now) // self.block_time + 1) * self.block_time - now)

    # -- misfortune

    def go_offline(self) -> None:
        """Let no provider answer."""
        self.online, self._back_online = False, trio.Event()

    def go_online(self) -> None:
        self.online = True
        self._back_online.set()

    async def wait_online(self) -> None:
        while not self.online:
            await self._back_online.wait()

    def reorganise(self, depth: int) -> None:
        """Take the last `depth` blocks back, with all that was done in them; they must be remembered."""
        assert self.remembers
        first = self.block - depth + 1
        while self._before and self._before[-1][0] >= first:
            self.books = self._before.pop()[1]
        self.forks.append(first)

    def check(self, name: str) -> None:
        if not self.online:
            raise ChainUnreachable("no provider of the chain answers")
        if self.refuse[name]:
            raise self.refuse[name].pop(0)

    # -- people

    def fund(self, account: Address, amount: int) -> None:
        """Mint tokens."""
        self.books.balances[account] += amount

    def total(self) -> int:
        """All tokens that there are."""
        return sum(self.books.balances.values()) + self.books.held

    def remember(self) -> None:
        """Keep the books as they are before the block in the making; for `reorganise`."""
        if self.remembers:
            self._before = [*self._before[-40:], (self.block, copy.deepcopy(self.books))]

    def tell(self, event: MarketEvent) -> None:
        self.books.logs.append((self.block, event))

    def pay(self, account: Address, amount: int) -> None:
        assert 0 <= amount <= self.books.held
        self.books.held -= amount
        self.books.balances[account] += amount

    def take(self, account: Address, amount: int) -> None:
        if self.books.balances[account] < amount:
            raise InsufficientFunds(
                f"{account} has {self.books.balances[account]} tokens, and needs {amount}"
            )
        self.books.balances[account] -= amount
        self.books.held += amount

    # -- states, as the contract works them out

    def request(self, id: RequestId) -> _Request:
        if id not in self.books.requests:
            raise UnknownRequest(f"no request {id}", reason="Marketplace_UnknownRequest")
        return self.books.requests[id]

    def slot(self, id: SlotId) -> _Slot:
        slot = self.books.slots.get(id)
        if slot is None:
            raise SlotStateMismatch("the slot is free", reason="Marketplace_SlotIsFree")
        return slot

    def request_state(self, id: RequestId, later: int = 0) -> RequestState:
        """As of the newest block, or so many seconds later."""
        there, time = self.request(id), self.time + later
        if there.state is RequestState.NEW and time > there.expires:
            return RequestState.CANCELLED
        if there.state in (RequestState.NEW, RequestState.STARTED) and time > there.ends:
            return RequestState.FINISHED
        return there.state

    def slot_state(self, id: SlotId, later: int = 0) -> SlotState:
        slot = self.books.slots.get(id)
        if slot is None or slot.request not in self.books.requests:
            return SlotState.FREE
        if slot.state is SlotState.PAID:
            return SlotState.PAID
        over = {
            RequestState.CANCELLED: SlotState.CANCELLED,
            RequestState.FINISHED: SlotState.FINISHED,
            RequestState.FAILED: SlotState.FAILED,
        }
        return over.get(self.request_state(slot.request, later), slot.state)

    # -- proofs

    @property
    def period(self) -> Period:
        return self.config.proofs.period_at(self.time)

    def pointer(self, id: SlotId, period: int) -> int:
        return pointer_of(id, period, self.block, self.config.proofs.downtime_product)

    def challenge(self, id: SlotId, period: int) -> bytes:
        return challenge_of(block_hash(self.block - 1 - self.pointer(id, period)))

    def due(self, id: SlotId, period: int) -> tuple[bool, int]:
        """Whether a proof is due but for downtime, and the pointer."""
        slot = self.books.slots.get(id)
        if slot is None or self.slot_state(id) is not SlotState.FILLED:
            return False, 0
        ask = self.request(slot.request).request.ask
        begun = self.config.proofs.period_at(slot.filled_at).number
        challenge = self.challenge(id, period)
        asked = is_proof_due(challenge, ask.proof_probability, self.config.proofs.downtime)
        return period > begun and asked, self.pointer(id, period)

    def required(self, id: SlotId, period: int) -> bool:
        due, pointer = self.due(id, period)
        return due and not in_downtime(pointer, self.config.proofs.downtime)

    def receive(self, id: SlotId, proof: Groth16Proof) -> None:
        slot = self.slot(id)
        period = self.period.number
        if period in slot.received:
            raise ChainRefused("proved already", reason="Proofs_ProofAlreadySubmitted")
        if proof != proof_for(self.challenge(id, period)):
            raise ProofInvalid("not the proof of this challenge", reason="Proofs_InvalidProof")
        slot.received.add(period)
        self.tell(ProofSubmitted(id))

    def mark(self, id: SlotId, period: Period, validator: Address) -> None:
        """Mark a proof as missing, with all that follows."""
        why = self.not_markable(id, period)
        if why:
            raise ChainRefused(why, reason=why)
        slot = self.slot(id)
        ask = self.request(slot.request).request.ask
        slot.marked.add(period.number)
        slot.missed += 1
        slot.collateral -= slashing(ask, self.config.collateral)
        self.pay(validator, validator_reward(ask, self.config.collateral))
        if slot.missed >= self.config.collateral.max_slashes:
            self.free(id)

    def not_markable(self, id: SlotId, period: Period) -> str:
        """Why not, by the contract's name for it; nothing when it is."""
        slot = self.books.slots.get(id)
        if slot is None or self.slot_state(id) is not SlotState.FILLED:
            return "Marketplace_SlotNotAcceptingProofs"
        if self.time <= period.end:
            return "Proofs_PeriodNotEnded"
        if not period.markable(self.time, self.config.proofs.timeout):
            return "Proofs_ValidationTimedOut"
        if period.number in slot.received:
            return "Proofs_ProofNotMissing"
        if not self.required(id, period.number):
            return "Proofs_ProofNotRequired"
        return "Proofs_ProofAlreadyMarkedMissing" if period.number in slot.marked else ""

    def free(self, id: SlotId) -> None:
        """Take a slot from its host by force."""
        slot = self.slot(id)
        request = self.request(slot.request)
        assert slot.host is not None
        request.to_return += payout(request.request.ask, slot.filled_at, request.ends)
        self.books.hosted[slot.host].remove(id)
        slot.state, slot.host, slot.collateral, slot.filled_at = SlotState.REPAIR, None, 0, 0
        slot.missed = 0
        slot.reservations.clear()
        request.filled -= 1
        self.tell(SlotFreed(slot.request, slot.index))
        ask = request.request.ask
        if request.state is RequestState.STARTED and ask.slots - request.filled > ask.max_slot_loss:
            request.state, request.ends = RequestState.FAILED, self.time - 1
            self.tell(RequestFailed(slot.request))

    # -- what accounts do

    def ask(self, client: Address, request: StorageRequest) -> None:
        check_request(request, self.config)
        id = request.id
        if id in self.books.requests:
            raise ChainRefused("there already", reason="Marketplace_RequestAlreadyExists")
        self.take(client, request.ask.price)
        there = _Request(request, self.time + request.expiry, self.time + request.ask.duration)
        there.to_return = request.ask.price
        self.books.requests[id] = there
        self.books.mine[client].append(id)
        self.tell(StorageRequested(id, request.ask, there.expires))

    def can_reserve(self, id: RequestId, index: int, host: Address) -> bool:
        slot_id = SlotId.of(id, index)
        taken = self.books.slots[slot_id].reservations if slot_id in self.books.slots else set()
        return (
            self.slot_state(slot_id).fillable
            and host not in taken
            and len(taken) < self.config.max_reservations
        )

    def reserve(self, id: RequestId, index: int, host: Address) -> None:
        if not self.can_reserve(id, index, host):
            raise SlotReservationNotAllowed("not allowed", reason="SlotReservations_ReservationNotAllowed")
        slot = self.books.slots.setdefault(SlotId.of(id, index), _Slot(id, index))
        slot.reservations.add(host)
        if len(slot.reservations) == self.config.max_reservations:
            self.tell(SlotReservationsFull(id, index))

    def fill(self, id: SlotId, host: Address, proof: Groth16Proof) -> None:
        slot = self.slot(id)
        request = self.request(slot.request)
        if host not in slot.reservations:
            raise ChainRefused("not reserved", reason="Marketplace_ReservationRequired")
        if not self.slot_state(id).fillable:
            raise SlotStateMismatch("the slot is not free", reason="Marketplace_SlotNotFree")
        ask = request.request.ask
        cost = ask.collateral_per_slot
        if slot.state is SlotState.REPAIR:
            cost = repair_collateral(ask, self.config.collateral)
        before = self.books.balances[host]
        if before < cost:
            raise InsufficientFunds(f"{host} has {before} tokens, and needs {cost}")
        self.receive(id, proof)
        self.take(host, cost)
        slot.state, slot.host, slot.filled_at = SlotState.FILLED, host, self.time
        slot.collateral = ask.collateral_per_slot
        request.filled += 1
        request.to_return -= payout(ask, self.time, request.ends)
        self.books.hosted[host].append(id)
        self.tell(SlotFilled(slot.request, slot.index))
        if request.filled == ask.slots and request.state is RequestState.NEW:
            request.state = RequestState.STARTED
            self.tell(RequestFulfilled(slot.request))

    def give_up(self, id: SlotId, host: Address) -> int:
        """freeSlot of the contract: what is paid for the slot."""
        slot = self.slot(id)
        state = self.slot_state(id)
        if slot.host != host:
            raise ChainRefused("another host's", reason="Marketplace_InvalidSlotHost")
        if state is SlotState.PAID:
            raise ChainRefused("paid already", reason="Marketplace_AlreadyPaid")
        if state is SlotState.FILLED:
            self.free(id)
            return 0
        if state is SlotState.FAILED:
            self.books.hosted[host].remove(id)
            return 0
        request = self.request(slot.request)
        end = request.ends if state is SlotState.FINISHED else request.expires
        if slot.filled_at >= end:
            raise ChainRefused("no time to pay for", reason="Marketplace_StartNotBeforeExpiry")
        self.books.hosted[host].remove(id)
        paid = payout(request.request.ask, slot.filled_at, end) + slot.collateral
        self.pay(host, paid)
        slot.state, slot.collateral = SlotState.PAID, 0
        if state is SlotState.FINISHED:
            request.state = RequestState.FINISHED
            self._forget(slot.request, request.request.client)
        return paid

    def withdraw(self, id: RequestId, client: Address) -> None:
        request = self.request(id)
        state = self.request_state(id)
        if not state.over:
            raise ChainRefused("not over", reason="Marketplace_InvalidState")
        amount = request.to_return
        if state is RequestState.CANCELLED:
            ask = request.request.ask
            amount += request.filled * (request.ends - request.expires) * ask.price_per_slot_per_second
            self.tell(RequestCancelled(id))
        elif state is RequestState.FAILED and amount:
            amount = request.request.ask.price
        self._forget(id, client)
        if not request.to_return:
            raise ChainRefused("nothing", reason="Marketplace_NothingToWithdraw")
        request.to_return = 0
        request.state = state
        self.pay(client, amount)

    def _forget(self, id: RequestId, client: Address) -> None:
        if id in self.books.mine[client]:
            self.books.mine[client].remove(id)


class Happenings:
    """What the simulated contract tells, from a block on: as `codex.chain.Follower`."""

    def __init__(self, market: SimulatedMarket, cursor: Cursor) -> None:
        self._market = market
        self.cursor = cursor
        self._forks = len(market.forks)
        self._told = False

    def __aiter__(self) -> "Happenings":
        return self

    async def __anext__(self) -> Told[MarketEvent] | Reorganised:
        market = self._market
        await trio.lowlevel.checkpoint()
        while True:
            market.check("events")
            if self._forks < len(market.forks):
                first = min(market.forks[self._forks :])
                self._forks = len(market.forks)
                self.cursor = Cursor(min(first, self.cursor.next))
                return Reorganised(first, self.cursor)
            last = market.head
            if self.cursor.next <= last:
                found = [
                    (event, evolve(_LOG, block=block))
                    for block, event in market.books.logs
                    if self.cursor.next <= block <= last
                ]
                self.cursor = Cursor(last + 1)
                if found or not self._told:
                    self._told = True
                    return Told(tuple(found), self.cursor)
            await market.next_head()


_LOG = Log(Address(bytes(20)), (), b"", 0, bytes(32), bytes(32), 0)


class SimulatedClock:
    """The time of the simulated chain, as `codex.chain.ChainClock`."""

    async def now(self) -> float:
        await trio.lowlevel.checkpoint()
        return EPOCH + trio.current_time()

    async def until(self, moment: float) -> None:
        await trio.sleep(max(0.0, moment - EPOCH - trio.current_time()))


class SimulatedChain:
    """As `codex.chain.Chain`, as far as the market's services need it."""

    def __init__(self, market: SimulatedMarket) -> None:
        self._market = market
        self.clock = SimulatedClock()

    @property
    def head(self) -> Header:
        return self._header(self._market.head)

    def _header(self, number: int) -> Header:
        return Header(number, block_hash(number), block_hash(number - 1), number * self._market.block_time)

    async def next_head(self, after: Header | None) -> Header:
        await trio.lowlevel.checkpoint()
        while self.head == after:
            await self._market.next_head()
        return self.head

    async def header(self, number: int | None = None) -> Header | None:
        self._market.check("header")
        await trio.lowlevel.checkpoint()
        return self._header(self.head.number if number is None else number)

    async def waiting(self) -> int:
        self._market.check("waiting")
        await trio.lowlevel.checkpoint()
        return self._market.waiting

    async def balance(self) -> int:
        self._market.check("balance")
        await trio.lowlevel.checkpoint()
        return self._market.wei

    async def gas_price(self) -> int:
        self._market.check("gas_price")
        await trio.lowlevel.checkpoint()
        return self._market.gas_price

    async def connected(self) -> object:
        await trio.lowlevel.checkpoint()
        await self._market.wait_online()
        return None

    async def block_at(self, moment: int) -> int:
        self._market.check("block_at")
        await trio.lowlevel.checkpoint()
        return min(-(-moment // self._market.block_time), self._market.head + 1)


__all__ = [
    "CONFIG",
    "EPOCH",
    "Happenings",
    "SimulatedChain",
    "SimulatedMarket",
    "proof_for",
]
