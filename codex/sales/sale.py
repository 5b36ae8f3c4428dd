"""What is known of one sale, for the steps that bring it on."""

from codex.errors import UnknownRequest
from codex.market import Groth16Proof, RequestId, Slot, SlotId, StorageRequest
from codex.sales.bench import Bench
from codex.sales.deciding import Check, Verdict
from codex.sales.history import Held
from codex.sales.queue import Item
from codex.store import SlotReservation, Stage


class Sale:
    """One slot, what is set aside for it, and what came of the last step. Changed by its own agent only."""

    def __init__(
        self,
        bench: Bench,
        slot: SlotId,
        item: Item | None,
        reservation: SlotReservation | None,
        known: Slot | None,
    ) -> None:
        self.bench = bench
        self.slot = slot
        self.item = item
        self.reservation = reservation
        self.request: StorageRequest | None = known.request if known is not None else None
        if item is not None:
            self.request_id, self.index = item.request, item.index
        elif reservation is not None:
            self.request_id, self.index = RequestId(reservation.request), reservation.slot
        else:
            assert known is not None
            self.request_id, self.index = known.request.id, known.index
        self.reservation_id = reservation.id if reservation is not None else b""
        """Set before the reservation is asked for: it may be there though the answer never came."""
        self.proof: Groth16Proof | None = None
        self.proved_period = -1
        """The newest period that a proof was taken in."""
        self.left_out = 0
        self.at_stake: int | None = None
        """What was left of the collateral when it was last looked at in this life."""
        self.reward: int | None = None
        """What was paid beside the collateral; None until it is known, which it never is where the payment's
        receipt did not come.
        """
        self.reason = ""
        """What the last step said of its outcome."""
        self.trouble = ""
        """What went wrong last in the present step; empty again when it goes well."""
        self.failures = 0
        """How often that happened in a row."""
        self.checks: tuple[Check, ...] = ()
        self.availability: bytes | None = reservation.availability if reservation is not None else None

    @property
    def stage(self) -> Stage:
        """How far it has come. One that was found on the chain, with nothing reserved for it, is filled."""
        if self.reservation is not None:
            return self.reservation.stage
        return Stage.STAKED if self.item is None else Stage.TAKEN

    @property
    def is_staked(self) -> bool:
        """Whether the contract has the collateral, for all that is known: it may have been asked for it."""
        there = self.reservation
        asked_for = there is not None and self.stage is Stage.RELEASING and bool(there.returned)
        return self.stage is Stage.STAKED or asked_for

    def went_well(self) -> None:
        """The present step has done something of what it is to do."""
        self.trouble, self.failures = "", 0

    def held(self, verdict: Verdict, reason: str, *, returned: int | None = None) -> Held:
        """The record of it as a slot that is, or was, held."""
        if self.reservation is not None:
            collateral = self.reservation.collateral
        else:
            collateral = self.request.ask.collateral_per_slot if self.request is not None else 0
        now = int(self.bench.clock.now())
        return Held(
            slot=self.slot,
            name=self.reservation_id or bytes(32),
            request=self.request_id,
            index=self.index,
            availability=self.availability,
            filled=now,
            at=now,
            verdict=verdict,
            reason=reason,
            collateral=collateral,
            returned=returned,
            reward=0 if verdict is Verdict.LOST else self.reward,
        )

    async def known(self) -> Slot:
        """The slot with its request. Raises UnknownRequest, and as the marketplace."""
        if self.request is None:
            self.request = await self.bench.market.get_request(self.request_id)
            if self.request is None:
                raise UnknownRequest(f"the marketplace knows no request {self.request_id}")
        return self.request.slot(self.index)

    async def advance(self, stage: Stage, returned: int | None = None) -> None:
        """Write down how far it has come."""
        if self.reservation is not None:
            self.reservation = await self.bench.book.advance(self.reservation.id, stage, returned)

    async def is_mine(self) -> bool:
        """Whether the marketplace has this node's account as the slot's host."""
        return await self.bench.market.get_host(self.slot) == self.bench.account
