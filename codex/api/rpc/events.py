"""What the node says of its own accord to a connection that has subscribed.

Each kind of event is a notification of its own, with the number of the subscription in it. Only what was
asked for is kept, at most as many events as the subscription's size; when a connection takes them more
slowly than they come, the oldest are dropped, and in their place comes `lagged` with how many there were.
Then, and at the beginning, the present state is a matter of asking (`jobs`, `iterateManifests`, `peers`, and
for the marketplace `purchases` and `sales`).
"""

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field, frozen

from codex.api.objects import Object, job_json
from codex.api.rpc import dispatch
from codex.api.rpc.params import Topic
from codex.api.rpc.results import (
    JobEvent,
    LaggedEvent,
    ManifestEvent,
    PeerJoinedEvent,
    PeerLeftEvent,
    ProofMarkedEvent,
    ProofMissedEvent,
    ProofSentEvent,
    PurchaseMovedEvent,
    SlotEvent,
    SlotMovedEvent,
    SlotPaidEvent,
    SlotSlashedEvent,
)
from codex.node import (
    JobEnded,
    JobProgressed,
    JobStarted,
    ManifestDeleted,
    ManifestStored,
    NodeEvent,
    PeerJoined,
    PeerLeft,
    ProofMarked,
    ProofMissed,
    ProofSent,
    PurchaseMoved,
    SlotLost,
    SlotMoved,
    SlotPaid,
    SlotSlashed,
)
from codex.runtime.broadcast import Lagged


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


def _purchase(event: PurchaseMoved) -> Object:
    return {"purchase": event.purchase, "state": event.state, "error": event.error}


def _slot(event: SlotMoved) -> Object:
    return {"slot": event.slot, "state": event.state}


def _sent(event: ProofSent) -> Object:
    return {"slot": event.slot, "period": event.period, "spare": event.spare}


def _missed(event: ProofMissed) -> Object:
    return {"slot": event.slot, "period": event.period, "why": event.why}


def _slashed(event: SlotSlashed) -> Object:
    return {"slot": event.slot, "amount": str(event.amount), "left": str(event.left)}


def _paid(event: SlotPaid) -> Object:
    reward = None if event.reward is None else str(event.reward)
    return {"slot": event.slot, "reward": reward, "collateral": str(event.collateral)}


def _lost(event: SlotLost) -> Object:
    return {"slot": event.slot}


def _marked(event: ProofMarked) -> Object:
    return {"slot": event.slot, "period": event.period}


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
    PurchaseMoved: Event(
        "purchaseMoved",
        PurchaseMovedEvent,
        Topic.PURCHASES,
        _purchase,
        "A purchase has come to another state, or its money has come back.",
    ),
    SlotMoved: Event(
        "slotMoved", SlotMovedEvent, Topic.SLOTS, _slot, "The sale of a slot has come to another state."
    ),
    ProofSent: Event(
        "proofSent", ProofSentEvent, Topic.SLOTS, _sent, "The marketplace has taken a proof of a slot."
    ),
    ProofMissed: Event(
        "proofMissed",
        ProofMissedEvent,
        Topic.SLOTS,
        _missed,
        "A period has ended without a proof of a slot that was asked for.",
    ),
    SlotSlashed: Event(
        "slotSlashed",
        SlotSlashedEvent,
        Topic.SLOTS,
        _slashed,
        "The marketplace has taken collateral of a slot of this host, for a proof that is missing.",
    ),
    SlotPaid: Event("slotPaid", SlotPaidEvent, Topic.SLOTS, _paid, "A slot is over, and paid."),
    SlotLost: Event(
        "slotLost",
        SlotEvent,
        Topic.SLOTS,
        _lost,
        "The marketplace has taken a slot from this host, and its collateral.",
    ),
    ProofMarked: Event(
        "proofMarked",
        ProofMarkedEvent,
        Topic.SLOTS,
        _marked,
        "This node, as a validator, has marked a proof as missing; the slot's host is slashed.",
    ),
    Lagged: Event(
        "lagged",
        LaggedEvent,
        None,
        lambda lagged: {"missed": lagged.missed},
        "Events were dropped here, because the connection did not take them in time.",
    ),
}
"""Every event, by what the node says."""


@define(eq=False)
class Telling:
    """An event on its way to subscriptions; its JSON is made when the first of them sends it, and kept."""

    event: NodeEvent | Lagged
    _rest: str = field(default="", init=False)

    def to(self, subscription: int) -> str:
        """The text of the notification for the subscription with that number."""
        kind = EVENTS[type(self.event)]
        if not self._rest:
            self._rest = dispatch.as_text(kind.show(self.event))[1:]
        head = f'{{"jsonrpc":"2.0","method":"{kind.name}","params":{{"subscription":{subscription}'
        return f"{head},{self._rest}}}"
