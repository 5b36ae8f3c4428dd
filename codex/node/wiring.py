"""Where implementations are chosen and services are started, in order; nothing else decides either.

The only place outside a service that knows its task. Tests give other `Seams` (virtual time, work done in
place, seeded randomness) and get the same node.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing

from attrs import field, frozen

from codex.config import Config
from codex.errors import CodexError
from codex.lock import DataDir, open_data_dir
from codex.logs import get_logger
from codex.node.events import Events
from codex.node.jobs import Jobs
from codex.node.network import Network
from codex.p2p import Identity, load_or_create
from codex.runtime.clock import Clock, Entropy, SystemClock, SystemEntropy
from codex.runtime.supervisor import (
    CRITICAL,
    Policy,
    ServiceEvent,
    Supervisor,
    log_event,
    open_supervisor,
)
from codex.runtime.threads import Offload, Threads
from codex.store import BlockStore, Disk
from codex.store.service import StoreService

THREADS = 4  # at least so many hops at once: hashing, reading and the writer each have one, with one to spare

# Seconds that a service may take to finish. A flush in progress is not cut: it is the one thing that must end
# well; and uploads that are cut may wait for it before they give back what they staged.
STOP = 30.0

log = get_logger("node")


@frozen
class Seams:
    """What a node takes from the world, and a test may replace. The defaults are the real things."""

    clock: Clock = field(factory=SystemClock)
    entropy: Entropy = field(factory=SystemEntropy)
    offload: Offload | None = None
    disk: Disk | None = None


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


@asynccontextmanager
async def open_parts(config: Config, seams: Seams) -> AsyncIterator[Parts]:
    """Lock the data directory, read the identity, and run the services for the length of a block.

    Start: store, jobs. Stop: the reverse, each service within its bound; then the events end. Raises
    DataDirLocked, ConfigError, DiskFailed, and what a critical service crashed with.
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
                jobs = Jobs(clock=seams.clock, entropy=seams.entropy, events=events)
                await supervisor.start("jobs", lambda: jobs, Policy(), stop_timeout=STOP)
                store = BlockStore(mailbox)
                started = int(seams.clock.now())
                yield Parts(supervisor, store, jobs, events, offload, data_dir, identity, started, None)


def _tell(event: ServiceEvent) -> None:
    """Log what happens to a service. What it says in a sentence needs no traceback: that is for bugs."""
    if isinstance(event.error, CodexError):
        why, remedy = event.error.message, event.error.remedy
        log.error("service failed", service=event.service, state=event.state.value, why=why, remedy=remedy)
    else:
        log_event(event)
