"""The services of the marketplace: chosen and started, in order, on a node that takes part in it.

Loaded by such nodes only.
"""

from codex.chain import Chain, ChainBoard, Marketplace, dial
from codex.chain.service import ChainService
from codex.config import Config, MarketConfig
from codex.errors import NotEnabled
from codex.node.desk import MarketDesk, MarketParts
from codex.node.duties import DutiesService
from codex.node.events import Events
from codex.node.finding import Finder
from codex.node.hosting import Hosting
from codex.node.jobs import Jobs
from codex.node.news import News
from codex.node.protecting import Protector
from codex.node.requesting import Requesting
from codex.node.wiring.seams import Seams
from codex.proofs import PlaceholderProver, Prover
from codex.purchasing import Purchasing, PurchasingBoard
from codex.purchasing.service import PurchasingService
from codex.runtime import Mailbox, Offload, Policy, Supervisor
from codex.sales import Duties, Sales, SalesBoard
from codex.sales.service import SalesService
from codex.store import MarketBook
from codex.validation import Share, Validation, ValidationBoard
from codex.validation.service import ValidationService

STOP = 30.0
"""Seconds that a service may take to finish: a slot that is being filled gives back what it has staged."""


class Trading:
    """Starts the services. `connect` comes early, before the network; `open` when all else is there."""

    def __init__(
        self,
        config: Config,
        market: MarketConfig,
        seams: Seams,
        supervisor: Supervisor,
        offload: Offload,
        events: Events,
    ) -> None:
        self._config = config
        self._options = market
        self._seams = seams
        self._supervisor = supervisor
        self._offload = offload
        self._events = events
        self._marketplace: Marketplace | None = None

    async def connect(self) -> None:
        """Start the chain's service. Raises ConfigError for a key that cannot be used, and a provider that
        answers and is not of use.
        """
        seams = self._seams
        board = ChainBoard(seams.clock)
        mailbox = await self._supervisor.start(
            "chain",
            lambda: ChainService(
                self._options,
                dial=seams.dial or dial,
                board=board,
                clock=seams.clock,
                offload=self._offload,
            ),
            Policy(),
        )
        self._marketplace = Marketplace(Chain(mailbox, board), self._options)

    async def open(
        self, book: MarketBook, finder: Finder, hosting: Hosting, protector: Protector, jobs: Jobs
    ) -> MarketDesk:
        """Start the others, after `connect`; what the node does with them."""
        market = self._marketplace
        assert market is not None
        duties = await self._supervisor.start(
            "duties", lambda: DutiesService(finder, hosting, self._prover), Policy(), stop_timeout=STOP
        )
        purchases, sales, marks = PurchasingBoard(), SalesBoard(), ValidationBoard()
        news = News(self._events, purchases.events, sales.events, marks.events)
        await self._supervisor.start("news", lambda: news, Policy())
        purchasing = Purchasing(await self._purchasing(market, book, purchases), purchases)
        selling = Sales(await self._sales(market, book, Duties(duties), sales), sales)
        validation = await self._validation(market, book, marks) if self._options.validator else None
        parts = MarketParts(market.chain, market, purchasing, selling, validation)
        return MarketDesk(parts, finder, Requesting(protector, purchasing, jobs), self._prover)

    async def _purchasing(self, market: Marketplace, book: MarketBook, board: PurchasingBoard) -> Mailbox:
        seams = self._seams
        return await self._supervisor.start(
            "purchasing",
            lambda: PurchasingService(
                market=market,
                chain=market.chain,
                book=book,
                board=board,
                clock=seams.clock,
                entropy=seams.entropy,
            ),
            Policy(),
        )

    async def _sales(
        self, market: Marketplace, book: MarketBook, duties: Duties, board: SalesBoard
    ) -> Mailbox:
        seams = self._seams
        return await self._supervisor.start(
            "sales",
            lambda: SalesService(
                market=market,
                chain=market.chain,
                book=book,
                duties=duties,
                board=board,
                clock=seams.clock,
                entropy=seams.entropy,
                leave_out=self._options.simulate_proof_failures,
            ),
            Policy(),
            stop_timeout=STOP,
        )

    async def _validation(self, market: Marketplace, book: MarketBook, board: ValidationBoard) -> Validation:
        options = self._options
        share = Share(options.validator_max_slots, options.validator_groups, options.validator_group_index)
        mailbox = await self._supervisor.start(
            "validation",
            lambda: ValidationService(market=market, chain=market.chain, book=book, share=share, board=board),
            Policy(),
        )
        return Validation(mailbox, board)

    async def _prover(self) -> Prover:
        """Who proves for this marketplace. Raises NotEnabled where nobody here can, and ChainUnreachable."""
        assert self._marketplace is not None
        proofs = (await self._marketplace.configuration()).proofs
        if proofs.zkey_hash:
            raise NotEnabled(
                "storage cannot be sold on this marketplace: it wants proofs that are made with the proving"
                f" key {proofs.zkey_hash[:80]}, and this version has no prover for it",
                remedy="buy and validate here, and sell on a chain of `codex devnet`",
            )
        return PlaceholderProver(self._offload)
