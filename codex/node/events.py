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


@frozen
class PurchaseMoved:
    """A purchase has come to another state; `error` says what went wrong, None when nothing did."""

    purchase: str
    state: str
    error: str | None


@frozen
class SlotMoved:
    """The sale of a slot has come to another state."""

    slot: str
    state: str


@frozen
class ProofSent:
    """The marketplace has taken a proof of a slot; `spare` seconds of its period were left."""

    slot: str
    period: int
    spare: int


@frozen
class ProofMissed:
    """A period has ended without a proof of a slot that was asked for, and why."""

    slot: str
    period: int
    why: str


@frozen
class SlotSlashed:
    """The marketplace has taken `amount` of a slot's collateral for missed proofs; `left` is still at stake.
    Both are in the token's smallest unit.
    """

    slot: str
    amount: int
    left: int


@frozen
class SlotPaid:
    """A slot is paid: so much was earned, and so much collateral came back, in the token's smallest unit. The
    reward is None where the node did not see the payment's receipt.
    """

    slot: str
    reward: int | None
    collateral: int


@frozen
class SlotLost:
    """The marketplace has taken a slot from this host, and its collateral."""

    slot: str


@frozen
class ProofMarked:
    """This node, as a validator, has marked another host's proof as missing; that host is slashed."""

    slot: str
    period: int


MarketNews = (
    PurchaseMoved | SlotMoved | ProofSent | ProofMissed | SlotSlashed | SlotPaid | SlotLost | ProofMarked
)
"""What a node tells that takes part in the marketplace. Purchases and slots are named by 0x and 64 digits."""

NodeEvent = (
    JobStarted
    | JobProgressed
    | JobEnded
    | ManifestStored
    | ManifestDeleted
    | PeerJoined
    | PeerLeft
    | MarketNews
)


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
