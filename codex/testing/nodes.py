"""Nodes for tests and examples: one on a directory of its own, by itself or with its API on a free port.

By default nothing in them is left to chance: the clock is trio's, which may be virtual, keys and ids come
from a seed, and the work that otherwise goes to threads is done in place. With `threads=True` these are the
real things. None of these nodes has a network; those that have one are in `neighbourhood`.
"""

from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import trio
from attrs import frozen

from codex.api import Address, start_api
from codex.codec import Cid
from codex.config import ApiConfig, Config, StoreConfig
from codex.node import Node, Seams, Wires, open_node
from codex.runtime.clock import SeededEntropy, VirtualClock
from codex.runtime.threads import Inline
from codex.store import BlockStore, Disk, Space
from codex.testing.http import Client

EPOCH = 1_750_000_000.0  # unix seconds when trio's clock shows 0
BASE = "/api/codex/v1"
ALONE = ("--listen-addrs=/ip4/127.0.0.1/tcp/0", "--disc-port=0")
"""Options of a node in a process of its own that nobody finds by chance, on this machine or another."""


@frozen
class ServedNode:
    """A node, the address of its API, and a client for its calls."""

    node: Node
    address: Address
    client: Client


def simulated(seed: str = "alice", disk: Disk | None = None, wires: Wires | None = None) -> Seams:
    """Seams without threads, the machine's clock and chance; the same seed gives the same run."""
    return Seams(
        clock=VirtualClock(EPOCH), entropy=SeededEntropy(seed), offload=Inline(), disk=disk, wires=wires
    )


@asynccontextmanager
async def open_test_node(
    data_dir: Path | None = None,
    *,
    store: StoreConfig | None = None,
    seed: str = "alice",
    disk: Disk | None = None,
    threads: bool = False,
) -> AsyncIterator[Node]:
    """Run a node for the length of the block, on `data_dir` or a directory that goes away with it.

    Raises as `codex.open_node`.
    """
    with ExitStack() as stack:
        path = data_dir or Path(stack.enter_context(TemporaryDirectory(prefix="codex-")))
        config = Config(path, store=store or StoreConfig())
        seams = Seams(disk=disk, wires=None) if threads else simulated(seed, disk)
        async with open_node(config, seams=seams) as node:
            yield node


@asynccontextmanager
async def open_served_node(
    data_dir: Path | None = None,
    *,
    store: StoreConfig | None = None,
    cors_origin: str | None = None,
    seed: str = "alice",
    disk: Disk | None = None,
    threads: bool = False,
) -> AsyncIterator[ServedNode]:
    """Run a node as `open_test_node` does, and its API on a free port of the loopback interface."""
    async with open_test_node(data_dir, store=store, seed=seed, disk=disk, threads=threads) as node:
        yield await serve(node, cors_origin=cors_origin)


async def serve(node: Node, *, cors_origin: str | None = None) -> ServedNode:
    """Serve the API of a node that runs, until it stops."""
    config = ApiConfig(port=0, port_explicit=True, cors_origin=cors_origin)
    send, receive = trio.open_memory_channel[Address](1)
    await start_api(node, config, send.send_nowait)
    address = receive.receive_nowait()
    return ServedNode(node, address, Client(address.host, address.port, BASE))


async def holdings(node: Node) -> tuple[Space, tuple[Cid, ...]]:
    """What a node holds: its room, and the CIDs of its manifests; equal again after what left no trace."""
    return await node.space(), tuple([cid async for cid, _ in node.iterate_manifests()])


def store_of(node: Node) -> BlockStore:
    """The store of a node that runs, for states that no call of the node leads to."""
    return node._running.store
