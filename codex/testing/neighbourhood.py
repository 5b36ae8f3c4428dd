"""Nodes that know each other, for tests and examples: alice, bob, carol and whoever else is asked for, on one
network in memory.

Nothing is left to chance or to this machine: see `nodes` and `network`. Each node has a host of its own, the
first one is everybody's bootstrap node, and nobody looks for nodes nearby.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import trio
from attrs import define, evolve, field

from codex.config import Config, DiscoveryConfig, ExchangeConfig, MarketConfig, P2pConfig, StoreConfig
from codex.discovery import DatagramSocket
from codex.node import Node, Wires
from codex.runtime.groups import unwrapped
from codex.testing.network import Host, MemoryNetwork
from codex.testing.nodes import ServedNode, serve, simulated

if TYPE_CHECKING:
    from codex.testing.chain_provider import Dial

PEOPLE = ("alice", "bob", "carol")
LISTEN = "/ip4/0.0.0.0/tcp/8070"


@define(eq=False)
class Neighbourhood:
    """The nodes that run, by name, and the network between them. Made by `open_test_network`."""

    network: MemoryNetwork
    directory: Path
    store: StoreConfig
    exchange: ExchangeConfig
    nursery: trio.Nursery
    nodes: dict[str, Node] = field(factory=dict)
    hosts: dict[str, str] = field(factory=dict)
    """The IP address of each, of those that left too."""

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    async def add(
        self,
        name: str,
        *,
        bootstrap: Sequence[str] | None = None,
        upload_limit: int = 0,
        market: MarketConfig | None = None,
        dial: "Dial | None" = None,
    ) -> Node:
        """Start a node and wait until it knows another one, if there is one; the very same as before when it
        was stopped. `bootstrap` are the names of those it asks first, and else is whoever runs longest.
        `upload_limit` is in bytes per second; 0 is none. With `market` it takes part in a marketplace, to
        whose chain `dial` is the way.
        """
        ip = self.hosts.setdefault(name, f"10.0.0.{len(self.hosts) + 1}")
        known = list(self.nodes)[:1] if bootstrap is None else bootstrap
        config = Config(
            self.directory / name,
            store=self.store,
            exchange=self.exchange,
            p2p=P2pConfig(
                listen_addrs=(LISTEN,),
                nat="none",
                upload_limit=upload_limit,
                bootstrap_nodes=tuple(self.nodes[other].info().spr for other in known),
            ),
            discovery=DiscoveryConfig(port_explicit=True, lan=False),
            market=market,
        )
        # A life that comes after another must not draw the same names again.
        life = f"{name}/{trio.current_time()}" if market else name
        seams = evolve(simulated(life, wires=wires(self.network.host(ip))), dial=dial)
        node = Node(config, seams=seams)
        await self.nursery.start(node.start)
        self.nodes[name] = node
        if known:
            network = node._running.network
            assert network is not None
            await network.discovery.wait_for_peers()
        return node

    async def stop(self, name: str) -> None:
        """Stop a node in good order."""
        await self.nodes.pop(name).stop()

    async def crash(self, name: str) -> None:
        """Let a node's machine lose power: nobody is told anything. Its host starts up with `add`."""
        self.network.crash(self.ip(name), silent=True)
        await self.stop(name)

    async def serve(self, name: str) -> ServedNode:
        """Serve a node's API on a free port of this machine, until the node stops."""
        return await serve(self.nodes[name])

    def ip(self, name: str) -> str:
        """The IP address of a node's host."""
        return self.hosts[name]


def wires(host: Host) -> Wires:
    """What joins a node to a network in memory."""

    def open_socket(port: int, ip: str) -> DatagramSocket:
        return host.bind(port)

    return Wires(transport=host.transport, open_socket=open_socket, open_multicast=None)


@asynccontextmanager
async def open_test_network(
    *names: str,
    directory: Path | None = None,
    network: MemoryNetwork | None = None,
    store: StoreConfig | None = None,
    exchange: ExchangeConfig | None = None,
) -> AsyncIterator[Neighbourhood]:
    """Run nodes that know each other for the length of the block: alice, bob and carol, unless others are
    named.

    They keep their data below `directory`, or in a directory that goes away. Raises as `codex.open_node`.
    """
    async with AsyncExitStack() as stack:
        path = directory or Path(stack.enter_context(TemporaryDirectory(prefix="codex-")))
        stack.enter_context(unwrapped())
        nursery = await stack.enter_async_context(trio.open_nursery())
        found = Neighbourhood(
            network or MemoryNetwork(),
            path,
            store or StoreConfig(),
            exchange or ExchangeConfig(),
            nursery,
        )
        try:
            for name in names or PEOPLE:
                await found.add(name)
            yield found
        finally:
            with trio.CancelScope(shield=True):
                # Who came last goes first, so that the bootstrap node is there to the end.
                for name in reversed(list(found.nodes)):
                    await found.stop(name)
