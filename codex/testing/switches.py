"""Switches for tests: each on a host of a network in memory or on another transport, with a key by name."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from attrs import evolve, frozen

from codex.codec import Multiaddr
from codex.config import P2pConfig
from codex.p2p import Handlers, Identity, Limits, SignedPeerRecord, Switch, Switchboard, Transport
from codex.p2p.service import SwitchService
from codex.runtime import Policy, SeededEntropy, Supervisor, VirtualClock, open_supervisor

EPOCH = 1_750_000_000.0  # unix seconds when trio's clock shows 0
LISTEN = ("/ip4/0.0.0.0/tcp/8070",)


@frozen
class OpenSwitch:
    """A switch that runs, and what it was made of."""

    switch: Switch
    identity: Identity
    handlers: Handlers
    supervisor: Supervisor

    @property
    def addresses(self) -> tuple[Multiaddr, ...]:
        """Where the others find it."""
        return self.switch.announced()


def identity_of(name: str) -> Identity:
    """The identity of that name, the same in each run."""
    return Identity.generate(SeededEntropy(f"{name}/key"))


@asynccontextmanager
async def open_switch(
    transport: Transport,
    name: str = "alice",
    *,
    config: P2pConfig | None = None,
    handlers: Handlers | None = None,
    limits: Limits | None = None,
    policy: Policy | None = None,
    record: Callable[[], SignedPeerRecord | None] = lambda: None,
) -> AsyncIterator[OpenSwitch]:
    """Run a switch for the length of the block; by default it listens on port 8070 of its host."""
    identity = identity_of(name)
    handlers = handlers or Handlers()
    board = Switchboard(identity.peer_id)
    lives = 0

    def life() -> SwitchService:
        nonlocal lives
        lives += 1
        return SwitchService(
            config or evolve(P2pConfig(), listen_addrs=LISTEN),
            identity,
            board=board,
            transport=transport,
            clock=VirtualClock(EPOCH),
            entropy=SeededEntropy(f"{name}/{lives}"),
            handlers=handlers,
            limits=limits,
            record=record,
        )

    async with open_supervisor(clock=VirtualClock(EPOCH)) as supervisor:
        mailbox = await supervisor.start("p2p", life, policy or Policy())
        yield OpenSwitch(Switch(mailbox, board), identity, handlers, supervisor)
