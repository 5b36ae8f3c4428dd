"""What every agent of the sales works with, and what they have learnt together."""

import trio
from attrs import Factory, define, field, frozen

from codex.market import Address, MarketplaceConfig, SlotId
from codex.runtime import Broadcast, Clock, Entropy
from codex.sales.duties import Duties
from codex.sales.history import History
from codex.sales.journal import Journal
from codex.sales.ports import Chain, ChainTime, Marketplace
from codex.sales.reserved import Reserved
from codex.sales.states import State
from codex.store import MarketBook


@frozen
class SaleMoved:
    """A sale has come to another state."""

    slot: SlotId
    state: State


@frozen
class ProofSent:
    """The marketplace has taken a proof. `spare` is how many seconds of its period were left."""

    slot: SlotId
    period: int
    spare: int


@frozen
class ProofMissed:
    """A period ended without a proof that was asked for, and why."""

    slot: SlotId
    period: int
    why: str


@frozen
class SlotSlashed:
    """The marketplace has taken `amount` of a slot's collateral for missed proofs; `left` is at stake yet."""

    slot: SlotId
    amount: int
    left: int


@frozen
class SlotPaid:
    """A slot was held to the end, or to the expiry of a cancelled request: `reward` was earned, and
    `collateral` came back. The reward is None where a restart or an outage has kept its receipt from here.
    """

    slot: SlotId
    reward: int | None
    collateral: int


@frozen
class SlotLost:
    """The marketplace has taken a slot from this host, and its collateral."""

    slot: SlotId


SaleEvent = SaleMoved | ProofSent | ProofMissed | SlotSlashed | SlotPaid | SlotLost


@define
class Pace:
    """How long a proof takes on this machine, in seconds: the longest of late, forgotten slowly."""

    seconds: float = 0.0

    def note(self, seconds: float) -> None:
        """One more proof was made."""
        self.seconds = max(seconds, 0.8 * self.seconds)


@frozen(kw_only=True)
class Bench:
    """Shared by all agents of one life of the sales."""

    market: Marketplace
    chain: Chain
    config: MarketplaceConfig
    book: MarketBook
    duties: Duties
    journal: Journal
    history: History
    clock: Clock
    entropy: Entropy
    events: Broadcast[SaleEvent]
    leave_out: int = 0
    """Of so many proofs one is left out, for test networks; 0 leaves out none."""
    pace: Pace = field(factory=Pace)
    reserved: Reserved = field(default=Factory(lambda bench: Reserved(bench.book), takes_self=True))
    taking: trio.Lock = field(factory=trio.Lock)
    """Whoever sets something aside for a slot has it: what there is of tokens is counted once."""
    proving: trio.CapacityLimiter = field(factory=lambda: trio.CapacityLimiter(2))
    """Proofs made at the same time: more of them would only all be late."""

    @property
    def time(self) -> ChainTime:
        """Time as the chain has it."""
        return self.chain.clock

    @property
    def account(self) -> Address:
        return self.market.account
