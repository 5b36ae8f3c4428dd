"""Everything that the node says of its own accord, and the broadcast on which it says it.

Whoever wants the whole picture subscribes first and asks for the present state then, so that nothing falls
in between; and after `Lagged` asks again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
from attrs import frozen

from codex.codec import Cid
from codex.node.job import JobView
from codex.p2p import PeerId
from codex.runtime.broadcast import Broadcast, Subscription


@frozen
class JobStarted:
    """A job has begun."""

    job: JobView


@frozen
class JobProgressed:
    """A job's phase, bytes or rate are others than were told last. At most four of these a second for each
    job.
    """

    job: JobView


@frozen
class JobEnded:
    """A job is done, failed or cancelled; nothing more will be told of it."""

    job: JobView


@frozen
class ManifestStored:
    """A dataset has become part of this node."""

    cid: Cid


@frozen
class ManifestDeleted:
    """A dataset was deleted on request.

    Not told: datasets that expire, and one whose deletion was cancelled between its vanishing and its end.
    """

    cid: Cid


@frozen
class PeerJoined:
    """A peer is connected; `address` is the multiaddress of its end, as text."""

    peer_id: PeerId
    address: str


@frozen
class PeerLeft:
    """A peer is connected no more, for the reason in `why`, which may be empty."""

    peer_id: PeerId
    why: str


NodeEvent = JobStarted | JobProgressed | JobEnded | ManifestStored | ManifestDeleted | PeerJoined | PeerLeft


class Events:
    """The node's broadcast. Publishing never waits; what is dear to make is made only when `heard`."""

    def __init__(self) -> None:
        self._broadcast = Broadcast[NodeEvent]()
        self._listeners = 0
        self._heard = trio.Event()

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return self._listeners > 0

    async def wait_heard(self) -> None:
        """Wait until somebody listens."""
        await self._heard.wait()

    def publish(self, event: NodeEvent) -> None:
        """Say it to all who listen at this moment."""
        self._broadcast.publish(event)

    @asynccontextmanager
    async def subscribe(self, size: int) -> AsyncIterator[Subscription[NodeEvent]]:
        """Listen for the length of the block, holding at most `size` events (1 or more).

        A subscriber that is slower loses the oldest, and gets `Lagged(missed)` in their place. The
        subscription ends by itself when the node has stopped.
        """
        self._listeners += 1
        self._heard.set()
        try:
            async with self._broadcast.subscribe(size) as events:
                yield events
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._heard = trio.Event()

    def close(self) -> None:
        """End every subscription, once its subscriber has taken what it holds."""
        self._broadcast.close()
