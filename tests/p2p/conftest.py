"""Connections between alice and bob over a network in memory, and a puppet that speaks as no node would.

Each fixture of the session is a function that opens one for the length of a block.
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from attrs import frozen

from codex.codec import Multiaddr
from codex.p2p.connection import Connection, open_connection
from codex.p2p.identity import Identity
from codex.p2p.limits import Budget, Limits
from codex.p2p.negotiating import Handler
from codex.p2p.noise import KEY_SIZE, MAX_PLAIN, Keys
from codex.p2p.upgrade import Sealed, upgrade
from codex.runtime import SeededEntropy, VirtualClock
from codex.testing.network import MemoryNetwork, MemoryStream

EPOCH = 1_750_000_000.0  # unix seconds when trio's clock shows 0

ALICE = Identity.generate(SeededEntropy("alice"))
BOB = Identity.generate(SeededEntropy("bob"))

Opener = Callable[..., Any]

_ADDRESS = Multiaddr.parse("/ip4/192.0.2.2/tcp/8070")


@frozen
class Served:
    """Protocols from a mapping of names to handlers."""

    handlers: Mapping[str, Handler]

    def names(self) -> Collection[str]:
        return self.handlers.keys()

    def handler(self, name: str) -> Handler | None:
        return self.handlers.get(name)


async def _stream_pair(network: MemoryNetwork | None = None) -> tuple[MemoryStream, MemoryStream]:
    """The two ends of a stream, bounded as TCP is: who dialled, and who was dialled."""
    network = network or MemoryNetwork()
    listener = await network.host("192.0.2.2").transport.listen(_ADDRESS)
    dialled = await network.host("192.0.2.1").transport.dial(_ADDRESS)
    accepted, _ = await listener.accept()
    await listener.aclose()
    return dialled, accepted


@asynccontextmanager
async def _open_pair(
    handlers: Mapping[str, Handler],
    *,
    limits: Limits | None = None,
    network: MemoryNetwork | None = None,
    budget: Budget | None = None,
) -> AsyncIterator[tuple[Connection, Connection]]:
    """The connection of alice, who dialled, and that of bob, who serves `handlers` and has the `limits` and
    the `budget`.
    """
    near, far = await _stream_pair(network)
    opened: list[Connection] = []
    async with trio.open_nursery() as nursery:
        accepted = trio.Event()

        async def bob() -> None:
            async with _open_end(
                far, BOB, dialer=False, handlers=handlers, limits=limits, budget=budget
            ) as end:
                opened.append(end)
                accepted.set()
                await end.closed.wait()

        nursery.start_soon(bob)
        async with _open_end(near, ALICE, dialer=True, handlers={}) as end:
            await accepted.wait()
            yield end, opened[0]
        await opened[0].closed.wait()


@asynccontextmanager
async def _open_end(
    stream: trio.abc.Stream,
    identity: Identity,
    *,
    dialer: bool,
    handlers: Mapping[str, Handler],
    limits: Limits | None = None,
    budget: Budget | None = None,
) -> AsyncIterator[Connection]:
    """One side of a connection, whoever the other is."""
    async with open_connection(
        stream,
        identity=identity,
        dialer=dialer,
        expect=None,
        protocols=Served(handlers),
        limits=limits or Limits(),
        entropy=SeededEntropy(str(identity.peer_id)),
        clock=VirtualClock(EPOCH),
        budget=budget,
    ) as connection:
        yield connection


class Puppet:
    """A peer that has proved who it is, and then sends whatever it is told to."""

    def __init__(self, stream: trio.abc.Stream, sealed: Sealed) -> None:
        self.stream = stream
        self.sealed = sealed

    async def send(self, *frames: bytes) -> None:
        """Seal bytes, and send them. Raises what the stream raises, once the other side has closed it."""
        data = b"".join(frames)
        batch = [[data[at : at + MAX_PLAIN]] for at in range(0, len(data), MAX_PLAIN)]
        await self.stream.send_all(self.sealed.seal(batch))

    async def receive(self) -> bytes:
        """What comes next, opened; nothing at the end."""
        while True:
            data = await self.stream.receive_some(65536)
            opened = b"".join(self.sealed.open(bytes(data)))
            if opened or not data:
                return opened

    async def drain(self) -> None:
        """Read and drop everything, until the other side closes."""
        try:
            while await self.stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            return


@asynccontextmanager
async def _open_puppet(
    handlers: Mapping[str, Handler],
    *,
    limits: Limits | None = None,
    budget: Budget | None = None,
) -> AsyncIterator[tuple[Puppet, Connection]]:
    """A puppet that has dialled bob, and bob's side of the connection."""
    near, far = await _stream_pair()
    async with trio.open_nursery() as nursery:
        got: list[Puppet] = []
        dialled = trio.Event()

        async def dial() -> None:
            entropy = SeededEntropy("puppet")
            keys = Keys(entropy.token(KEY_SIZE), entropy.token(KEY_SIZE))
            upgraded = await upgrade(near, ALICE, keys, dialer=True, expect=None)
            got.append(Puppet(near, upgraded.sealed))
            dialled.set()

        nursery.start_soon(dial)
        async with _open_end(
            far, BOB, dialer=False, handlers=handlers, limits=limits, budget=budget
        ) as connection:
            await dialled.wait()
            yield got[0], connection
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="session")
def stream_pair() -> Opener:
    """`await stream_pair(network=None)` gives the two ends of a stream."""
    return _stream_pair


@pytest.fixture(scope="session")
def open_pair() -> Opener:
    """`async with open_pair(handlers, …) as (alice, bob)`: both ends of a connection."""
    return _open_pair


@pytest.fixture(scope="session")
def open_end() -> Opener:
    """`async with open_end(stream, identity, …) as connection`: one end, whoever the other is."""
    return _open_end


@pytest.fixture(scope="session")
def open_puppet() -> Opener:
    """`async with open_puppet(handlers, …) as (puppet, bob)`."""
    return _open_puppet
