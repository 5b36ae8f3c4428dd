"""Whole hash tables for tests: nodes that run discovery on a network in memory and on virtual time."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import trio
from attrs import define, field

from codex.codec import Multiaddr
from codex.config import DiscoveryConfig
from codex.discovery import Board, Discovery
from codex.discovery.service import DiscoveryService
from codex.p2p import Identity, PeerId, SignedPeerRecord
from codex.runtime import Inline, Mailbox, SeededEntropy, VirtualClock
from codex.testing.network import MemoryNetwork

EPOCH = 1_750_000_000.0
"""Unix time at the start of a run."""
PORT = 8090
TCP_PORT = 8070


@define(eq=False)
class DhtNode:
    """A node that runs discovery and nothing else; name, key, address and directory stay over all lives.

    `discovery` is its door, in its present life. It says that it takes connections, and takes none.
    """

    ip: str
    identity: Identity
    board: Board
    discovery: Discovery
    mailbox: Mailbox
    life: trio.CancelScope = field(factory=trio.CancelScope)
    over: trio.Event = field(factory=trio.Event)

    @property
    def peer_id(self) -> PeerId:
        """The node's name."""
        return self.identity.peer_id

    @property
    def record(self) -> SignedPeerRecord:
        """What others take as a bootstrap node."""
        return self.discovery.record()

    async def leave(self) -> None:
        """Stop in good order: what was learned is written down."""
        self.mailbox.close()
        await self.over.wait()

    async def die(self) -> None:
        """Be cancelled in the middle of whatever it is."""
        self.mailbox.close()
        self.life.cancel()
        await self.over.wait()


class DhtWorld:
    """Nodes on one network. Made by `open_dht`."""

    def __init__(self, nursery: trio.Nursery, network: MemoryNetwork, directory: Path, seed: str) -> None:
        self.network = network
        self.clock = VirtualClock(EPOCH)
        self.nodes: list[DhtNode] = []
        self._nursery = nursery
        self._directory = directory
        self._seed = seed
        self._lives = count()
        self._identities: dict[str, Identity] = {}

    async def join(self, ip: str, bootstrap: Sequence[SignedPeerRecord] = ()) -> DhtNode:
        """Start the node at that address, for the first time or again; ready, but perhaps without company."""
        identity = self._identities.get(ip)
        if identity is None:
            identity = self._identities[ip] = Identity.generate(SeededEntropy(f"{self._seed}/{ip}"))
        board = Board.of(identity, self.clock.now())
        mailbox = Mailbox("discovery")
        service = DiscoveryService(
            DiscoveryConfig(PORT),
            identity,
            board=board,
            open_socket=self.network.host(ip).bind,
            directory=self._directory / ip,
            bootstrap=bootstrap,
            clock=self.clock,
            entropy=SeededEntropy(f"{self._seed}/{ip}/{next(self._lives)}"),
            offload=Inline(),
        )
        node = DhtNode(ip, identity, board, Discovery(mailbox, board), mailbox)
        await self._nursery.start(self._run, node, service)
        tcp = Multiaddr.of(("ip4", ip), ("tcp", str(TCP_PORT)))
        await node.discovery.announce_addresses([tcp], Multiaddr.of(("ip4", ip), ("udp", str(PORT))))
        self.nodes.append(node)
        return node

    async def leave(self, node: DhtNode) -> None:
        """Let a node stop in good order."""
        self.nodes.remove(node)
        await node.leave()

    async def die(self, node: DhtNode) -> None:
        """End a node in the middle of whatever it does."""
        self.nodes.remove(node)
        await node.die()

    async def _run(
        self, node: DhtNode, service: DiscoveryService, task_status: trio.TaskStatus[None]
    ) -> None:
        try:
            with node.life:
                await service.run(node.mailbox.inbox, task_status=task_status)
        finally:
            node.over.set()


@asynccontextmanager
async def open_dht(
    directory: Path, *, seed: int | str = 0, latency: float = 0.01, loss: float = 0.0
) -> AsyncIterator[DhtWorld]:
    """A network without nodes yet. Leaving the block ends them all; what they wrote is in `directory`."""
    async with trio.open_nursery() as nursery:
        network = MemoryNetwork(seed, latency=latency, loss=loss)
        world = DhtWorld(nursery, network, directory, str(seed))
        yield world
        for node in tuple(world.nodes):
            await world.leave(node)
        nursery.cancel_scope.cancel()
