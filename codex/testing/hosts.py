"""Hosts, clients and validators on a marketplace, mostly a simulated one: the real services over real stores,
on trio's clock.

What the node would do for the sales is simulated: a slot's blocks are made up instead of fetched, and a proof
is what the simulated contract takes.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from codex.chain import Chain, Marketplace
from codex.config import StoreConfig
from codex.data import Block
from codex.market import (
    Address,
    Groth16Proof,
    RequestId,
    Slot,
    SlotId,
    StorageAsk,
    StorageContent,
    StorageRequest,
)
from codex.purchasing import Purchasing, PurchasingBoard
from codex.purchasing.service import PurchasingService
from codex.runtime import (
    Clock,
    Inbox,
    Mailbox,
    Policy,
    SeededEntropy,
    VirtualClock,
    open_supervisor,
    serve,
)
from codex.sales import Duties, OnClear, OnExpiryUpdate, OnLook, OnProve, OnStore, OnTidy, Sales, SalesBoard
from codex.sales.service import SalesService
from codex.store import Availability, BlockStore, MarketBook
from codex.testing.disks import FaultyDisk
from codex.testing.market import EPOCH, SimulatedChain, SimulatedMarket, proof_for
from codex.testing.market_door import MarketDoor
from codex.testing.stores import book_of, open_test_store, payload
from codex.validation import Share, Validation, ValidationBoard
from codex.validation.service import ValidationService

BLOCK = 1024
"""Bytes of the made-up blocks."""
SMALL = StoreConfig(quota=1 << 20)


def account(name: str) -> Address:
    """The account of alice, bob or carol."""
    return Address(SeededEntropy(f"account/{name}").token(20))


def a_request(
    client: str = "alice",
    *,
    nonce: int = 0,
    slots: int = 1,
    slot_size: int = 4 * BLOCK,
    duration: int = 600,
    expiry: int = 240,
    price: int = 1,
    collateral: int = 1,
    probability: int = 1,
    loss: int = 0,
) -> StorageRequest:
    """A request as people make them, small enough for tests. No proof may be left out by chance."""
    return StorageRequest(
        client=account(client),
        ask=StorageAsk(
            proof_probability=probability,
            price_per_byte_per_second=price,
            collateral_per_byte=collateral,
            slots=slots,
            slot_size=slot_size,
            duration=duration,
            max_slot_loss=loss,
        ),
        content=StorageContent(b"a manifest", bytes(32)),
        expiry=expiry,
        nonce=nonce.to_bytes(32, "big"),
    )


@define(eq=False)
class SimulatedDuties:
    """The node's side of the duties. Its fields make it fail, or slow."""

    store: BlockStore
    stored: dict[SlotId, list[Block]] = field(factory=dict)
    """What each slot brought here."""
    until: dict[SlotId, float] = field(factory=dict)
    """Until when each slot is to be kept."""
    store_seconds: float = 0.0
    prove_seconds: float = 0.0
    fail: dict[str, list[Exception]] = field(factory=dict)
    """By the name of a call's class: what the next ones raise."""
    repaired: list[SlotId] = field(factory=list)
    proofs: int = 0
    tidied: list[frozenset[SlotId]] = field(factory=list)
    """What was to stay each time that all other slots were to go."""

    async def run(self, inbox: Inbox) -> None:
        """Answer until cancelled."""
        await serve(inbox, self._answer, limit=16)

    async def _answer(self, call: Any) -> Any:
        planned = self.fail.get(type(call).__name__, [])
        if planned:
            raise planned.pop(0)
        match call:
            case OnLook():
                return await trio.lowlevel.checkpoint()
            case OnStore(slot, expiry, repair, reservation):
                return await self._store(slot, expiry, repair, reservation)
            case OnProve(_, challenge):
                return await self._prove(challenge)
            case OnExpiryUpdate(slot, expiry):
                self.until[slot.id] = expiry
                return await trio.lowlevel.checkpoint()
            case OnClear(slot):
                return await self._clear(slot)
            case OnTidy(kept):
                self.tidied.append(kept)
                return await trio.lowlevel.checkpoint()
        raise TypeError(f"no duty: {call}")

    async def _store(self, slot: Slot, expiry: float, repair: bool, reservation: str | None) -> None:
        if repair:
            self.repaired.append(slot.id)
        await trio.sleep(self.store_seconds)
        for block in blocks_of(slot):
            self.stored.setdefault(slot.id, [])
            await self.store.put_many([block], ttl=0, reservation=reservation)
            if block not in self.stored[slot.id]:
                self.stored[slot.id].append(block)
        self.until[slot.id] = expiry

    async def _prove(self, challenge: bytes) -> Groth16Proof:
        await trio.sleep(self.prove_seconds)
        self.proofs += 1
        return proof_for(challenge)

    async def _clear(self, slot: SlotId) -> None:
        for number in count():  # also those that a life before this one stored
            if not await self.store.delete(_block_of(slot, number).cid):
                break
        self.stored.pop(slot, None)
        self.until.pop(slot, None)


def blocks_of(slot: Slot) -> list[Block]:
    """The made-up blocks of a slot, which no other slot has."""
    return [_block_of(slot.id, number) for number in range(-(-slot.request.ask.slot_size // BLOCK))]


def _block_of(slot: SlotId, number: int) -> Block:
    return Block.of(payload(int.from_bytes(slot.raw[:6], "big") + number, BLOCK))


@define(eq=False)
class Host:
    """A host that runs."""

    name: str
    door: Any
    """Its account's view of the marketplace."""
    store: BlockStore
    book: MarketBook
    sales: Sales
    duties: SimulatedDuties

    async def offer(self, total: int = 8 * BLOCK, collateral: int = 10**6, **terms: int) -> Availability:
        """Offer room on terms that take any request of `a_request`."""
        return await self.sales.add(
            total=total,
            collateral=collateral,
            duration=terms.get("duration", 10**7),
            price=terms.get("price", 1),
            until=terms.get("until", 0),
        )

    async def untouched(self) -> bool:
        """Whether everything that was set aside has come back, but for what is marked as lost."""
        space = await self.store.space()
        offered = await self.sales.availabilities()
        return (
            not await self.book.slots()
            and space.quota_used == 0
            and space.quota_reserved == sum(there.total for there in offered)
            and all(there.free == there.total and not there.held for there in offered)
        )


@asynccontextmanager
async def open_host(
    market: SimulatedMarket,
    data_dir: Path,
    name: str = "bob",
    *,
    store: StoreConfig = SMALL,
    leave_out: int = 0,
) -> AsyncIterator[Host]:
    """Run a host's store, sales and (simulated) node for the length of the block."""
    door, chain = MarketDoor(market, account(name)), SimulatedChain(market)
    async with open_host_at(door, chain, data_dir, name, config=store, leave_out=leave_out) as host:
        yield host


@asynccontextmanager
async def open_host_at(
    door: Marketplace | MarketDoor,
    chain: Chain | SimulatedChain,
    data_dir: Path,
    name: str,
    *,
    config: StoreConfig = SMALL,
    leave_out: int = 0,
    clock: Clock | None = None,
) -> AsyncIterator[Host]:
    """As `open_host`, on any marketplace."""
    clock = clock or VirtualClock(EPOCH)
    async with open_test_store(data_dir, config, disk=FaultyDisk()) as store:
        duties = SimulatedDuties(store)
        mailbox = Mailbox("duties")
        book, board = book_of(store), SalesBoard()
        # A life that comes after another must not draw the same names again.
        entropy = SeededEntropy(f"{name}/{trio.current_time()}")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(duties.run, mailbox.inbox)
            async with open_supervisor(clock=clock) as supervisor:
                sales = await supervisor.start(
                    "sales",
                    lambda: SalesService(
                        market=door,
                        chain=chain,
                        book=book,
                        duties=Duties(mailbox),
                        board=board,
                        clock=clock,
                        entropy=entropy,
                        leave_out=leave_out,
                    ),
                    Policy(),
                )
                yield Host(name, door, store, book, Sales(sales, board), duties)
            nursery.cancel_scope.cancel()


@define(eq=False)
class Client:
    """A client that runs."""

    door: MarketDoor
    purchasing: Purchasing


@asynccontextmanager
async def open_client(market: SimulatedMarket, data_dir: Path, name: str = "alice") -> AsyncIterator[Client]:
    """Run a client's store and purchasing for the length of the block."""
    door = MarketDoor(market, account(name))
    async with open_client_at(door, SimulatedChain(market), data_dir, name) as purchasing:
        yield Client(door, purchasing)


@asynccontextmanager
async def open_client_at(
    door: Marketplace | MarketDoor,
    chain: Chain | SimulatedChain,
    data_dir: Path,
    name: str,
    *,
    clock: Clock | None = None,
) -> AsyncIterator[Purchasing]:
    """As `open_client`, on any marketplace."""
    clock = clock or VirtualClock(EPOCH)
    async with open_test_store(data_dir, disk=FaultyDisk()) as store:
        board = PurchasingBoard()
        entropy = SeededEntropy(f"{name}/{trio.current_time()}")
        async with open_supervisor(clock=clock) as supervisor:
            mailbox = await supervisor.start(
                "purchasing",
                lambda: PurchasingService(
                    market=door,
                    chain=chain,
                    book=book_of(store),
                    board=board,
                    clock=clock,
                    entropy=entropy,
                ),
                Policy(),
            )
            yield Purchasing(mailbox, board)


@asynccontextmanager
async def open_validator_at(
    door: Marketplace | MarketDoor, chain: Chain | SimulatedChain, data_dir: Path, share: Share
) -> AsyncIterator[Validation]:
    """Run a validator's store and validation for the length of the block."""
    board = ValidationBoard()
    async with open_test_store(data_dir, disk=FaultyDisk()) as store, open_supervisor() as supervisor:
        mailbox = await supervisor.start(
            "validation",
            lambda: ValidationService(
                market=door, chain=chain, book=book_of(store), share=share, board=board
            ),
            Policy(),
        )
        yield Validation(mailbox, board)


async def post(market: SimulatedMarket, request: StorageRequest) -> RequestId:
    """Make a request in its client's name, who gets the tokens for it."""
    market.fund(request.client, request.ask.price)
    await MarketDoor(market, request.client).request_storage(request)
    return request.id
