"""The node: a thin orchestrator over the services, the flows *store* and *retrieve*, jobs and events."""

from codex.node.events import (
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
from codex.node.info import NodeInfo
from codex.node.job import JobKind, JobState, JobView
from codex.node.jobs import Job, Jobs
from codex.node.network import NetworkStats, PeerView
from codex.node.node import Node, open_node
from codex.node.protecting import Protected
from codex.node.retrieving import Retrieval
from codex.node.storing import Source
from codex.node.terms import Terms
from codex.node.wiring import Seams, Wires

__all__ = [
    "Job",
    "JobEnded",
    "JobKind",
    "JobProgressed",
    "JobStarted",
    "JobState",
    "JobView",
    "Jobs",
    "ManifestDeleted",
    "ManifestStored",
    "NetworkStats",
    "Node",
    "NodeEvent",
    "NodeInfo",
    "PeerJoined",
    "PeerLeft",
    "PeerView",
    "ProofMarked",
    "ProofMissed",
    "ProofSent",
    "Protected",
    "PurchaseMoved",
    "Retrieval",
    "Seams",
    "SlotLost",
    "SlotMoved",
    "SlotPaid",
    "SlotSlashed",
    "Source",
    "Terms",
    "Wires",
    "open_node",
]
