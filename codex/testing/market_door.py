"""The simulated marketplace as one account sees it: the methods of `codex.chain.Marketplace`."""

from collections.abc import Callable
from typing import TypeVar

import trio

from codex.chain import Cursor
from codex.errors import CodexError, TransactionUnsettled
from codex.market import (
    Address,
    Groth16Proof,
    MarketplaceConfig,
    Period,
    RequestId,
    RequestState,
    Slot,
    SlotId,
    SlotState,
    StorageRequest,
    repair_collateral,
)
from codex.testing.market import Happenings, SimulatedMarket

T = TypeVar("T")

ADDRESS = Address(b"\x5a" * 20)
"""Where the simulated marketplace is."""


class SimulatedToken:
    def __init__(self, market: SimulatedMarket, account: Address) -> None:
        self._market = market
        self._account = account

    async def balance_of(self, account: Address | None = None) -> int:
        self._market.check("balance_of")
        await trio.lowlevel.checkpoint()
        return self._market.books.balances[account or self._account]


class MarketDoor:
    """What `account` can ask and do. A call is a checkpoint, a transaction waits for the next block."""

    def __init__(self, market: SimulatedMarket, account: Address) -> None:
        self.market = market
        self._account = account
        self.sent: list[str] = []
        """Names of the transactions that were done, in order."""

    @property
    def account(self) -> Address:
        return self._account

    async def _look(self, name: str) -> None:
        await trio.lowlevel.checkpoint()
        self.market.check(name)

    async def _send(self, name: str, work: Callable[[], T]) -> T:
        await self._look(name)
        await self.market.next_block()
        if not self.market.online:
            raise TransactionUnsettled(f"{name} was sent, and nobody answers")
        self.market.remember()
        try:
            done = work()
        except CodexError:
            await trio.lowlevel.checkpoint()
            raise
        self.sent.append(name)
        if name in self.market.lose:
            self.market.lose.discard(name)
            raise TransactionUnsettled(f"{name} was sent, and its receipt did not come")
        return done

    # -- reading

    async def address(self) -> Address:
        return ADDRESS

    async def configuration(self) -> MarketplaceConfig:
        await self._look("configuration")
        return self.market.config

    async def token(self) -> SimulatedToken:
        await self._look("token")
        return SimulatedToken(self.market, self._account)

    async def get_request(self, id: RequestId) -> StorageRequest | None:
        await self._look("get_request")
        there = self.market.books.requests.get(id)
        return None if there is None else there.request

    async def request_state(self, id: RequestId) -> RequestState | None:
        await self._look("request_state")
        return self.market.request_state(id, self.market.ahead) if id in self.market.books.requests else None

    async def request_expiry(self, id: RequestId) -> int:
        await self._look("request_expiry")
        return self.market.request(id).expires

    async def request_end(self, id: RequestId) -> int:
        await self._look("request_end")
        there = self.market.request(id)
        match self.market.request_state(id):
            case RequestState.NEW | RequestState.STARTED:
                return there.ends
            case RequestState.CANCELLED:
                return there.expires
        return min(there.ends, self.market.time)

    async def my_requests(self) -> tuple[RequestId, ...]:
        await self._look("my_requests")
        return tuple(self.market.books.mine[self._account])

    async def my_slots(self) -> tuple[SlotId, ...]:
        await self._look("my_slots")
        return tuple(self.market.books.hosted[self._account])

    async def get_active_slot(self, id: SlotId) -> Slot | None:
        await self._look("get_active_slot")
        there = self.market.books.slots.get(id)
        if there is None or there.state is SlotState.FREE:
            return None
        return Slot(self.market.request(there.request).request, there.index)

    async def get_host(self, id: SlotId) -> Address | None:
        await self._look("get_host")
        there = self.market.books.slots.get(id)
        return None if there is None else there.host

    async def slot_state(self, id: SlotId) -> SlotState:
        await self._look("slot_state")
        return self.market.slot_state(id, self.market.ahead)

    async def current_collateral(self, id: SlotId) -> int:
        await self._look("current_collateral")
        return self.market.slot(id).collateral

    async def can_reserve_slot(self, request: RequestId, index: int) -> bool:
        await self._look("can_reserve_slot")
        return self.market.can_reserve(request, index, self._account)

    async def collateral_for(self, slot: Slot) -> int:
        if await self.slot_state(slot.id) is SlotState.REPAIR:
            return repair_collateral(slot.request.ask, self.market.config.collateral)
        return slot.request.ask.collateral_per_slot

    async def is_proof_required(self, id: SlotId) -> bool:
        await self._look("is_proof_required")
        return self.market.required(id, self.market.period.number)

    async def will_proof_be_required(self, id: SlotId) -> bool:
        await self._look("will_proof_be_required")
        due, pointer = self.market.due(id, self.market.period.number)
        return due and pointer < self.market.config.proofs.downtime

    async def get_challenge(self, id: SlotId) -> bytes:
        await self._look("get_challenge")
        return self.market.challenge(id, self.market.period.number)

    async def get_pointer(self, id: SlotId) -> int:
        await self._look("get_pointer")
        return self.market.pointer(id, self.market.period.number)

    async def missing_proofs(self, id: SlotId) -> int:
        await self._look("missing_proofs")
        there = self.market.books.slots.get(id)
        return 0 if there is None else there.missed

    async def can_mark_proof_as_missing(self, id: SlotId, period: Period) -> bool:
        await self._look("can_mark_proof_as_missing")
        return not self.market.not_markable(id, period)

    async def events(self, since: Cursor | int) -> Happenings:
        await self._look("events")
        return Happenings(self.market, since if isinstance(since, Cursor) else Cursor(since))

    # -- doing

    async def request_storage(self, request: StorageRequest) -> None:
        await self._send("request_storage", lambda: self.market.ask(self._account, request))

    async def withdraw_funds(self, request: RequestId) -> None:
        await self._send("withdraw_funds", lambda: self.market.withdraw(request, self._account))

    async def reserve_slot(self, request: RequestId, index: int) -> None:
        await self._send("reserve_slot", lambda: self.market.reserve(request, index, self._account))

    async def fill_slot(self, slot: Slot, proof: Groth16Proof) -> None:
        await self._send("fill_slot", lambda: self.market.fill(slot.id, self._account, proof))

    async def free_slot(self, id: SlotId) -> int:
        return await self._send("free_slot", lambda: self.market.give_up(id, self._account))

    async def submit_proof(self, id: SlotId, proof: Groth16Proof) -> None:
        def work() -> None:
            assert self.market.slot(id).host == self._account
            self.market.receive(id, proof)

        await self._send("submit_proof", work)

    async def mark_proof_as_missing(self, id: SlotId, period: Period) -> None:
        await self._send("mark_proof_as_missing", lambda: self.market.mark(id, period, self._account))
