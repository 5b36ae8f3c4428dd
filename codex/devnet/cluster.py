"""A cluster: whole nodes in this process, each with a directory, an identity, an account, TCP and an API of
its own on the loopback interface, all on one development chain whose time may run faster than the clock.

Nothing is replaced but the chain's time: the nodes reach each other over sockets, and the chain over
JSON-RPC on a WebSocket, as they would in processes of their own.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen

from codex.api import Address as ApiAddress
from codex.api import start_api
from codex.config import ApiConfig, Config, DiscoveryConfig, MarketConfig, P2pConfig
from codex.devnet.opening import HOST, Devnet, Funded, open_devnet
from codex.market import Address, MarketplaceConfig
from codex.node import Node, open_node
from codex.runtime import SystemClock, unwrapped

LISTEN = f"/ip4/{HOST}/tcp/0"


class HurriedClock:
    """A clock that starts with the machine's, and from then on runs `pace` times as fast."""

    def __init__(self, pace: float) -> None:
        self._pace = pace
        self._epoch = SystemClock().now()
        self._start = trio.current_time()

    def now(self) -> float:
        """Unix seconds, of a time that is ahead."""
        return self._epoch + self.monotonic()

    def monotonic(self) -> float:
        """Seconds since it was made, as it counts them."""
        return (trio.current_time() - self._start) * self._pace


@frozen(eq=False)
class Member:
    """A node of the cluster, and what it is known by."""

    name: str
    node: Node
    account: Address
    directory: Path
    api: ApiAddress
    life: trio.CancelScope = field(repr=False)
    gone: trio.Event = field(repr=False)

    async def kill(self) -> None:
        """End the node at once, in no order: nothing is given back, and nobody is told."""
        self.life.cancel()
        await self.gone.wait()


@define(eq=False)
class Cluster:
    """The chain, and the nodes by name; of those that were killed, too. Made by `open_cluster`."""

    devnet: Devnet
    directory: Path
    nursery: trio.Nursery = field(repr=False)
    members: dict[str, Member] = field(factory=dict)

    def __getitem__(self, name: str) -> Member:
        return self.members[name]

    def addresses(self) -> dict[str, str]:
        """Where the APIs are of the nodes that run, by name."""
        return {name: member.api.url for name, member in self.members.items() if not member.gone.is_set()}

    async def add(self, name: str, *, validator: bool = False) -> Member:
        """Start a node with the next of the chain's accounts; the first node is the others' bootstrap node.

        Raises what `open_node` and `start_api` raise.
        """
        funded = self.devnet.accounts[len(self.members) + 1]  # the first one has made the contracts
        directory = self.directory / name
        known = next(iter(self.members.values()), None)
        config = Config(
            directory,
            api=ApiConfig(bind=HOST, port=0, port_explicit=True),
            p2p=P2pConfig(
                listen_addrs=(LISTEN,),
                nat="none",
                bootstrap_nodes=(known.node.info().spr,) if known is not None else (),
            ),
            discovery=DiscoveryConfig(port=0, port_explicit=True, lan=False),
            market=MarketConfig(
                providers=(self.devnet.url,),
                private_key_file=_key_file(directory, funded),
                marketplace_address=self.devnet.marketplace,
                validator=validator,
            ),
        )
        start = partial(_live, name, config, Address.parse(funded.address))
        member: Member = await self.nursery.start(start)
        self.members[name] = member
        return member


@asynccontextmanager
async def open_cluster(
    directory: Path, *, config: MarketplaceConfig, block_time: float, pace: float = 1.0
) -> AsyncIterator[Cluster]:
    """Run a chain without nodes for the length of the block; they are added, and end with it.

    There is a block every `block_time` seconds, and the chain's time runs `pace` times as fast as the clock.
    Raises what `open_devnet` raises.
    """
    clock = HurriedClock(pace)
    with unwrapped():
        async with (
            open_devnet(config=config, block_time=block_time, clock=clock) as devnet,
            trio.open_nursery() as nursery,
        ):
            yield Cluster(devnet, directory, nursery)
            nursery.cancel_scope.cancel()


async def _live(
    name: str,
    config: Config,
    account: Address,
    *,
    task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED,
) -> None:
    """One node's life, with its API, until it is cancelled."""
    gone = trio.Event()
    try:
        with trio.CancelScope() as life:
            async with open_node(config) as node:
                bound: list[ApiAddress] = []
                await start_api(node, config.api, bound.append)
                task_status.started(Member(name, node, account, config.data_dir, bound[0], life, gone))
                await trio.sleep_forever()
    finally:
        gone.set()


def _key_file(directory: Path, funded: Funded) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "eth.key"
    path.touch(mode=0o600)
    path.write_text(funded.key + "\n")
    return path
