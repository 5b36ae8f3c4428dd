"""A client of a node that runs: its calls, datasets both ways and events, over one WebSocket.

    async with open_client("http://127.0.0.1:8080") as client:
        cid = await client.store(b"some file contents")
        async with client.retrieve(cid) as dataset:
            print(await dataset.read())
        async with client.subscribe("jobs") as events:
            async for event in events:
                print(event)

On trio. `codex/api/rpc/protocol.md` describes what passes over the wire.
"""

from codex.client.client import Client, Download, Events
from codex.client.errors import Disconnected, Failed, NotLetIn, Unreachable
from codex.client.opening import open_client
from codex.client.values import (
    Condition,
    Dataset,
    Event,
    Health,
    Info,
    Job,
    JobEnded,
    JobProgressed,
    JobStarted,
    Manifest,
    ManifestDeleted,
    ManifestStored,
    OtherEvent,
    Peer,
    PeerJoined,
    PeerLeft,
    PeerRecord,
    Service,
    Space,
)
from codex.runtime.broadcast import Lagged

__all__ = [
    "Client",
    "Condition",
    "Dataset",
    "Disconnected",
    "Download",
    "Event",
    "Events",
    "Failed",
    "Health",
    "Info",
    "Job",
    "JobEnded",
    "JobProgressed",
    "JobStarted",
    "Lagged",
    "Manifest",
    "ManifestDeleted",
    "ManifestStored",
    "NotLetIn",
    "OtherEvent",
    "Peer",
    "PeerJoined",
    "PeerLeft",
    "PeerRecord",
    "Service",
    "Space",
    "Unreachable",
    "open_client",
]
