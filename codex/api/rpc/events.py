"""What the node says of its own accord to a connection that has subscribed.

Each kind of event is a notification of its own, with the number of the subscription in it. Only what was
asked for is kept, at most as many events as the subscription's size; when a connection takes them more
slowly than they come, the oldest are dropped, and in their place comes `lagged` with how many there were.
Then, and at the beginning, the present state is a matter of asking (`jobs`, `iterateManifests`, `peers`).
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio
from attrs import frozen

from codex.api.objects import Object, job_json
from codex.api.rpc.limits import MAX_QUEUE
from codex.api.rpc.params import Topic
from codex.api.rpc.results import (
    JobEvent,
    LaggedEvent,
    ManifestEvent,
    PeerJoinedEvent,
    PeerLeftEvent,
)
from codex.node import (
    JobEnded,
    JobProgressed,
    JobStarted,
    ManifestDeleted,
    ManifestStored,
    Node,
    NodeEvent,
    PeerJoined,
    PeerLeft,
)
from codex.runtime.broadcast import Broadcast, Lagged, Subscription


@frozen
class Event:
    """A kind of event: the notification's name, what it carries, and the topic that it belongs to."""

    name: str
    carries: type
    topic: Topic | None
    show: Callable[[Any], Object]
    doc: str


def _job(event: JobStarted | JobProgressed | JobEnded) -> Object:
    return {"job": job_json(event.job)}


def _manifest(event: ManifestStored | ManifestDeleted) -> Object:
    return {"cid": str(event.cid)}


def _joined(event: PeerJoined) -> Object:
    return {"peerId": str(event.peer_id), "address": event.address}


def _left(event: PeerLeft) -> Object:
    return {"peerId": str(event.peer_id), "why": event.why}


EVENTS: Mapping[type, Event] = {
    JobStarted: Event("jobStarted", JobEvent, Topic.JOBS, _job, "A job has begun."),
    JobProgressed: Event(
        "jobProgressed",
        JobEvent,
        Topic.JOBS,
        _job,
        "A job is further than was told last. At most four of these a second for each job.",
    ),
    JobEnded: Event(
        "jobEnded",
        JobEvent,
        Topic.JOBS,
        _job,
        "A job is done, failed or cancelled; nothing more will be told.",
    ),
    ManifestStored: Event(
        "manifestStored", ManifestEvent, Topic.MANIFESTS, _manifest, "A dataset has become part of the node."
    ),
    ManifestDeleted: Event(
        "manifestDeleted", ManifestEvent, Topic.MANIFESTS, _manifest, "A dataset was deleted on request."
    ),
    PeerJoined: Event("peerJoined", PeerJoinedEvent, Topic.PEERS, _joined, "A node is connected."),
    PeerLeft: Event("peerLeft", PeerLeftEvent, Topic.PEERS, _left, "A node is connected no more."),
    Lagged: Event(
        "lagged",
        LaggedEvent,
        None,
        lambda lagged: {"missed": lagged.missed},
        "Events were dropped here, because the connection did not take them in time.",
    ),
}
"""Every event, by what the node says."""


def shown(event: NodeEvent | Lagged) -> tuple[str, Object]:
    """An event as a notification: its name, and its parameters but for the subscription's number."""
    kind = EVENTS[type(event)]
    return kind.name, kind.show(event)


@asynccontextmanager
async def subscribed(
    node: Node, topics: frozenset[Topic], size: int
) -> AsyncIterator[Subscription[NodeEvent | Lagged]]:
    """Hear what belongs to the topics, for the length of the block or until the node has stopped."""
    # What was not asked for must push nothing out. So what the node says is taken at once, all of it, and
    # kept in a queue of the subscription's own.
    kept = Broadcast[NodeEvent | Lagged]()
    async with kept.subscribe(size) as events, trio.open_nursery() as nursery:
        await nursery.start(partial(_sift, node, topics, kept))
        yield events
        nursery.cancel_scope.cancel()


async def _sift(
    node: Node,
    topics: frozenset[Topic],
    kept: Broadcast[NodeEvent | Lagged],
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    async with node.events(MAX_QUEUE) as events:
        task_status.started()
        async for event in events:
            if isinstance(event, Lagged) or EVENTS[type(event)].topic in topics:
                kept.publish(event)
    kept.close()
