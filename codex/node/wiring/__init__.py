"""Where implementations are chosen and services are started, in order; nothing else decides either.

The only place outside a service that knows its task. Tests give other `Seams` (virtual time, work done in
place, seeded randomness) and get the same node.
"""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from codex.codec import Multiaddr
from codex.config import Config
from codex.config.values import is_loopback
from codex.discovery import Advertiser, Board, DatagramSocket, Discovery, MulticastSocket
from codex.discovery.service import AdvertiserService, DiscoveryService, LanService
from codex.errors import CodexError, PortTaken
from codex.exchange import Exchange, ExchangeBoard
from codex.exchange.service import ExchangeService
from codex.lock import DataDir, open_data_dir
from codex.logs import get_logger
from codex.node.events import Events
from codex.node.finding import Finder
from codex.node.herald import Herald
from codex.node.hosting import Hosting
from codex.node.jobs import Jobs
from codex.node.mending import Mending
from codex.node.network import Network
from codex.node.protecting import Protector
from codex.node.wiring.seams import Seams, Wires
from codex.p2p import (
    Handlers,
    Identity,
    PeerId,
    SignedPeerRecord,
    Switch,
    Switchboard,
    load_or_create,
)
from codex.p2p.service import SwitchService
from codex.runtime.budget import Budget
from codex.runtime.memory import give_back
from codex.runtime.supervisor import (
    CRITICAL,
    Policy,
    ServiceEvent,
    Supervisor,
    log_event,
    open_supervisor,
)
from codex.runtime.threads import Offload, Threads
from codex.store import BlockStore, MarketBook
from codex.store.service import StoreService

if TYPE_CHECKING:
    from codex.node.desk import MarketDesk

__all__ = ["MEMORY", "NEIGHBOURS", "Parts", "Seams", "Wires", "open_parts"]

THREADS = 4  # at least so many hops at once: hashing, reading and the writer each have one, with one to spare

# Seconds that a service may take to finish. A flush in progress is not cut: it is the one thing that must end
# well; and uploads that are cut may wait for it before they give back what they staged.
STOP = 30.0

MEMORY = (
    256 << 20
)  # bytes that all uploads and downloads hold together, besides the little that is each's own

DHT = "dht"  # the directory of what the network taught us, in the data directory

NEIGHBOURS = 32  # peers up to which nodes nearby are connected to as they are found; more are known of

log = get_logger("node")


@frozen
class Parts:
    """A running node's parts."""

    supervisor: Supervisor
    store: BlockStore
    jobs: Jobs
    events: Events
    offload: Offload
    data_dir: DataDir
    identity: Identity
    started: int
    """Unix seconds."""
    network: Network | None
    """None when the node is by itself."""
    budget: Budget
    """What uploads and downloads hold, whichever door they come through."""
    protector: Protector
    mending: Mending
    hosting: Hosting
    finder: Finder
    market: "MarketDesk | None"
    """None when the node was started without a marketplace."""


@asynccontextmanager
async def open_parts(config: Config, seams: Seams) -> AsyncIterator[Parts]:
    """Lock the data directory, read the identity, and run the services for the length of a block.

    Start: store, chain, p2p, discovery, exchange, advertiser, herald, lan, jobs, duties, purchasing, sales,
    validation. Stop: the reverse, each service within its bound; then the events end. Raises DataDirLocked,
    ConfigError, PortTaken, DiskFailed, and what a critical service crashed with.
    """
    offload = seams.offload or Threads(config.num_threads or max(THREADS, min(os.cpu_count() or 1, 16)))
    with open_data_dir(config.data_dir) as data_dir:
        identity = load_or_create(config.key_path, seams.entropy)
        with closing(Events()) as events:
            async with open_supervisor(clock=seams.clock, on_event=_tell) as supervisor:
                mailbox = await supervisor.start(
                    "store",
                    lambda: StoreService(
                        config.data_dir, config.store, offload=offload, clock=seams.clock, disk=seams.disk
                    ),
                    CRITICAL,
                    stop_timeout=STOP,
                )
                store = BlockStore(mailbox)
                trading = None
                if config.market is not None:
                    # Of use to few, and a quarter of a second to load.
                    from codex.node.wiring.trading import Trading

                    trading = Trading(config, config.market, seams, supervisor, offload, events)
                    await trading.connect()
                network = None
                if seams.wires is not None:
                    joining = _Joining(config, seams, seams.wires, supervisor, identity, offload)
                    network = await joining.join(store, events)
                jobs = Jobs(clock=seams.clock, entropy=seams.entropy, events=events)
                await supervisor.start("jobs", lambda: jobs, Policy(), stop_timeout=STOP)
                started = int(seams.clock.now())
                budget = Budget(MEMORY, partial(offload.run, give_back))
                cores = config.num_threads or os.cpu_count() or 1
                protector = Protector(
                    store, offload, budget=budget, events=events, network=network, cores=cores
                )
                mending = Mending(store, offload, budget)
                hosting = Hosting(store, offload, mending, events, cores)
                finder = Finder(store, network, events)
                market = None
                if trading is not None:
                    market = await trading.open(MarketBook(mailbox), finder, hosting, protector, jobs)
                yield Parts(
                    supervisor,
                    store,
                    jobs,
                    events,
                    offload,
                    data_dir,
                    identity,
                    started,
                    network,
                    budget,
                    protector,
                    mending,
                    hosting,
                    finder,
                    market,
                )


@frozen
class _Joining:
    """Starts the services that make a node one of many."""

    config: Config
    seams: Seams
    wires: Wires
    supervisor: Supervisor
    identity: Identity
    offload: Offload

    async def join(self, store: BlockStore, events: Events) -> Network:
        """Start them, in order. Raises PortTaken, ConfigError."""
        handlers = Handlers()
        board = Board.of(self.identity, self.seams.clock.now())
        switch = await self._switch(handlers, board)
        discovery = await self._discovery(board)
        exchange = await self._exchange(handlers, switch, discovery, store)
        advertiser = await self._advertiser(discovery, store)
        herald = Herald(
            store=store,
            switch=switch,
            discovery=discovery,
            advertiser=advertiser,
            events=events,
            udp_port=lambda: board.port,
        )
        await self.supervisor.start("herald", lambda: herald, Policy())
        if self.config.lan_discovery and self.wires.open_multicast is not None:
            await self._lan(self.wires.open_multicast, switch, discovery)
        return Network(switch, discovery, exchange, advertiser, herald.stored)

    async def _switch(self, handlers: Handlers, discovery: Board) -> Switch:
        board = Switchboard(self.identity.peer_id)
        mailbox = await self.supervisor.start(
            "p2p",
            lambda: SwitchService(
                self.config.p2p,
                self.identity,
                board=board,
                transport=self.wires.transport,
                clock=self.seams.clock,
                entropy=self.seams.entropy,
                handlers=handlers,
                # So that who connects finds us in discovery, too.
                record=lambda: discovery.records.node if discovery.records.announced else None,
            ),
            Policy(),
        )
        return Switch(mailbox, board)

    async def _discovery(self, board: Board) -> Discovery:
        bootstrap = [SignedPeerRecord.parse(text) for text in self.config.p2p.bootstrap_nodes]
        mailbox = await self.supervisor.start(
            "discovery",
            lambda: DiscoveryService(
                self.config.discovery,
                self.identity,
                board=board,
                open_socket=self._open_socket,
                directory=self.config.data_dir / DHT,
                bootstrap=bootstrap,
                clock=self.seams.clock,
                entropy=self.seams.entropy,
                offload=self.offload,
            ),
            Policy(),
        )
        return Discovery(mailbox, board)

    def _open_socket(self, port: int) -> DatagramSocket:
        """The UDP port of discovery; where only this machine can connect, it is not open to others either.
        The default one, when taken, gives way to a free one.
        """
        local = all(map(is_loopback, self.config.p2p.listen_addrs))
        open_at = partial(self.wires.open_socket, port)
        host = "127.0.0.1" if local else "0.0.0.0"
        try:
            return open_at(host)
        except PortTaken:
            config = self.config.discovery
            if config.port_explicit or port != config.port:
                raise
            log.info("the default port of discovery is taken, a free one is used", taken=port)
            return self.wires.open_socket(0, host)

    async def _exchange(
        self, handlers: Handlers, switch: Switch, discovery: Discovery, store: BlockStore
    ) -> Exchange:
        board = ExchangeBoard(handlers)
        mailbox = await self.supervisor.start(
            "exchange",
            lambda: ExchangeService(
                self.config.exchange,
                switch=switch,
                discovery=discovery,
                store=store,
                board=board,
                offload=self.offload,
            ),
            Policy(),
        )
        return Exchange(mailbox, board)

    async def _advertiser(self, discovery: Discovery, store: BlockStore) -> Advertiser:
        mailbox = await self.supervisor.start(
            "advertiser",
            lambda: AdvertiserService(
                discovery=discovery,
                source=store,
                directory=self.config.data_dir / DHT,
                clock=self.seams.clock,
                offload=self.offload,
            ),
            Policy(),
        )
        return Advertiser(mailbox)

    async def _lan(
        self, open_socket: Callable[[], MulticastSocket], switch: Switch, discovery: Discovery
    ) -> None:
        async def found(
            peer: PeerId, addresses: Sequence[Multiaddr], record: SignedPeerRecord | None
        ) -> None:
            if record is not None:
                await discovery.add_node(record)
            if addresses and not switch.is_connected(peer) and len(switch.peers()) < NEIGHBOURS:
                await switch.connect(peer, addresses)

        await self.supervisor.start(
            "lan",
            lambda: LanService(
                self.identity.peer_id,
                open_socket=open_socket,
                addresses=partial(_told_nearby, switch),
                record=discovery.record,
                found=found,
                entropy=self.seams.entropy,
            ),
            Policy(),
        )


def _told_nearby(switch: Switch) -> list[Multiaddr]:
    """Where neighbours are told that this node is; what all IPv6 addresses stand for is what is announced."""
    announced = [address for address in switch.announced() if address.parts[0][0] == "ip6"]
    return [*switch.listening(), *announced]


def _tell(event: ServiceEvent) -> None:
    """Log what happens to a service. What it says in a sentence needs no traceback: that is for bugs."""
    if isinstance(event.error, CodexError):
        why, remedy = event.error.message, event.error.remedy
        log.error("service failed", service=event.service, state=event.state.value, why=why, remedy=remedy)
    else:
        log_event(event)
