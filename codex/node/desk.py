"""The node's desk for the marketplace: buying, selling, and what both came to, in one place.

Joins the chain, purchasing, sales and validation into what the node offers. Holds no state of its own.
"""

from collections.abc import Awaitable, Callable

from attrs import field, frozen

from codex.chain import Chain, ChainState, Connected, Marketplace
from codex.codec import Cid
from codex.data import Manifest
from codex.erasure import Layout
from codex.market import Address, MarketplaceConfig, RequestId, Slot, SlotId
from codex.node.finding import Finder
from codex.node.jobs import Job
from codex.node.requesting import Requesting
from codex.node.terms import Terms
from codex.proofs import Prover
from codex.purchasing import Purchase, Purchasing
from codex.sales import Decision, Held, Sales, SaleView
from codex.store import Availability, SlotReservation
from codex.validation import Validated, Validation


@frozen
class Balances:
    """What this node's account has. `wei` pays for transactions, `tokens` for storage; `allowance` is what of
    them the marketplace may take now.
    """

    account: Address
    marketplace: Address
    token: Address
    wei: int
    tokens: int
    allowance: int


@frozen
class MarketParts:
    """The services of a node that takes part in the marketplace."""

    chain: Chain
    marketplace: Marketplace
    purchasing: Purchasing
    sales: Sales
    validation: Validation | None
    """None on a node that does not validate."""


@frozen
class MarketDesk:
    """Buying and selling storage in the name of this node's account.

    Amounts are in the token's smallest unit, sizes in bytes, durations and moments in seconds. What only
    looks at this disk works while no provider of the chain answers; everything else raises ChainUnreachable
    then.
    """

    parts: MarketParts = field(repr=False)
    finder: Finder = field(repr=False)
    requesting: Requesting = field(repr=False)
    prover: Callable[[], Awaitable[Prover]] = field(repr=False)
    """Who proves here; raises NotEnabled where nobody can."""

    @property
    def account(self) -> Address:
        """The account that buys and sells."""
        return self.parts.chain.account

    @property
    def chain_state(self) -> ChainState:
        """Whether a provider of the chain answers, since when, and if not, why."""
        return self.parts.chain.state

    async def configuration(self) -> MarketplaceConfig:
        """The numbers that the marketplace was set up with."""
        return await self.parts.marketplace.configuration()

    async def balances(self) -> Balances:
        """What the account has now."""
        parts = self.parts
        token, address = await parts.marketplace.token(), await parts.marketplace.address()
        return Balances(
            account=self.account,
            marketplace=address,
            token=token.address,
            wei=await parts.chain.balance(),
            tokens=await token.balance_of(),
            allowance=await token.allowance(address),
        )

    # -- buying

    async def request_storage(self, cid: Cid, terms: Terms) -> Job:
        """Buy storage for a dataset in the background; the job of it, once it is known that the terms, the
        room and the funds are right. Its result has the `purchaseId`, 0x and 64 digits.

        A dataset that is protected already is protected anew, from the data alone. Raises InvalidInput in
        the network's words, BlockNotFound, NotAManifest, QuotaExceeded, InsufficientFunds, TooManyJobs.
        """
        return self.requesting.begin(cid, *await self._planned(cid, terms))

    async def buy_storage(self, cid: Cid, terms: Terms) -> RequestId:
        """As `request_storage`, in the caller's own task: returns the purchase's id when it is on its way to
        the chain. Raises also what `Protector.protect` raises, and JobCancelled.
        """
        return await self.requesting.run(cid, *await self._planned(cid, terms))

    async def _planned(self, cid: Cid, terms: Terms) -> tuple[Manifest, Layout, Terms]:
        terms.check(await self.configuration())
        original = (await self.finder.find(cid)).as_original()
        return original, await self.requesting.plan(original, terms), terms

    async def purchases(self, limit: int = 1000) -> list[Purchase]:
        """The newest purchases, those of former lives too, the newest first."""
        return await self.parts.purchasing.purchases(limit)

    async def purchase_ids(self) -> list[RequestId]:
        """The ids of all purchases that are remembered, the newest first."""
        return await self.parts.purchasing.ids()

    async def purchase(self, id: RequestId) -> Purchase | None:
        """One purchase; None when there is none of this id."""
        return await self.parts.purchasing.purchase(id)

    # -- selling

    async def availabilities(self) -> list[Availability]:
        """The room that is for sale, the oldest first."""
        return await self.parts.sales.availabilities()

    async def add_availability(
        self,
        *,
        total: int,
        duration: int,
        price: int,
        collateral: int,
        enabled: bool = True,
        until: int = 0,
    ) -> Availability:
        """Offer room. Raises InvalidInput, QuotaExceeded, and NotEnabled where nobody could prove a slot."""
        if isinstance(self.chain_state, Connected):  # else nobody can tell; a slot is not taken then, either
            await self.prover()
        return await self.parts.sales.add(
            total=total, duration=duration, price=price, collateral=collateral, enabled=enabled, until=until
        )

    async def change_availability(
        self,
        id: bytes,
        *,
        total: int | None = None,
        duration: int | None = None,
        price: int | None = None,
        collateral: int | None = None,
        enabled: bool | None = None,
        until: int | None = None,
    ) -> Availability:
        """Change what is given. Raises AvailabilityNotFound, QuotaExceeded, InvalidInput."""
        return await self.parts.sales.change(
            id,
            total=total,
            duration=duration,
            price=price,
            collateral=collateral,
            enabled=enabled,
            until=until,
        )

    async def delete_availability(self, id: bytes) -> None:
        """Offer it no more. Raises AvailabilityNotFound, and InvalidInput while slots are in it."""
        await self.parts.sales.delete(id)

    async def reservations(self, availability: bytes) -> list[SlotReservation]:
        """What slots have taken of an availability. Raises AvailabilityNotFound."""
        return await self.parts.sales.reservations(availability)

    async def slots(self) -> list[Slot]:
        """The slots that the marketplace says are this host's."""
        return await self.parts.sales.slots()

    async def sales(self) -> list[SaleView]:
        """Every slot that is being worked on or held."""
        return await self.parts.sales.sales()

    async def sale(self, slot: SlotId) -> SaleView | None:
        """The one of a slot; None when nobody works on it (any more)."""
        return await self.parts.sales.sale(slot)

    async def decisions(self, slot: SlotId | None = None, *, limit: int = 100) -> list[Decision]:
        """What was decided about slots, and why, the newest first."""
        return await self.parts.sales.decisions(slot, limit=limit)

    async def sale_history(self, *, limit: int = 100) -> list[Held]:
        """The slots that this host has held, and what each has brought and cost, the last filled first."""
        return await self.parts.sales.history(limit=limit)

    # -- validating

    async def validated(self) -> Validated | None:
        """What this node watches as a validator; None when it does not."""
        validation = self.parts.validation
        return None if validation is None else await validation.validated()
