"""The chain's service as a node runs it, for tests: supervised, over the way to a provider it is given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import frozen

from codex.chain import Chain, ChainBoard, Marketplace
from codex.chain.service import ChainService
from codex.config import MarketConfig
from codex.runtime import Clock, Inline, Policy, Supervisor, VirtualClock, open_supervisor
from codex.runtime.supervisor import ServiceEvent
from codex.testing.chain_provider import Dial

ALICE_KEY = "a1" * 32
"""A secret key that is none: everybody can read it here."""
BOB_KEY = "b0" * 32


@frozen
class OpenChain:
    """A running service: its door, what it shows, and the supervisor that runs it."""

    chain: Chain
    board: ChainBoard
    marketplace: Marketplace
    supervisor: Supervisor


def key_file(directory: Path, key: str = ALICE_KEY) -> Path:
    """A file with a key, as a node wants it."""
    path = directory / f"{key[:4]}.key"
    path.write_text(key + "\n")
    path.chmod(0o600)
    return path


@asynccontextmanager
async def open_chain(
    dial: Dial, config: MarketConfig, *, clock: Clock | None = None, board: ChainBoard | None = None
) -> AsyncIterator[OpenChain]:
    """Run the chain's service for the length of the block. Raises what its first start does."""
    clock = clock or VirtualClock(1_700_000_000)
    board = board or ChainBoard(clock)

    def service() -> ChainService:
        return ChainService(config, dial=dial, board=board, clock=clock, offload=Inline())

    async with open_supervisor(clock=clock, on_event=_quiet) as supervisor:
        mailbox = await supervisor.start("chain", service, Policy())
        chain = Chain(mailbox, board)
        yield OpenChain(chain, board, Marketplace(chain, config), supervisor)


def _quiet(event: ServiceEvent) -> None:
    """What happens to the service is seen at its state."""
