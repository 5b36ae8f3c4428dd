"""What each method takes: one attrs class a method, its fields with their documentation.

Pure. Sizes are in bytes. Token amounts are decimal texts, because they do not fit JSON's numbers.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from attrs import frozen

from codex.api.rpc.limits import MAX_PAGE, MAX_QUEUE, MAX_WINDOW, PAGE, QUEUE, WINDOW
from codex.api.rpc.shapes import Amount, Bounds
from codex.codec import Cid
from codex.node import JobKind, JobState
from codex.p2p import PeerId


class Topic(StrEnum):
    """What one can subscribe to."""

    JOBS = "jobs"
    MANIFESTS = "manifests"
    PEERS = "peers"
    PURCHASES = "purchases"
    SLOTS = "slots"


@frozen
class Nothing:
    """No parameters."""


@frozen
class Dataset:
    """One dataset."""

    cid: Annotated[Cid, "the CID of its manifest"]


@frozen
class Anything:
    """A dataset or a block."""

    cid: Annotated[Cid, "the CID of a manifest or of a block"]


@frozen
class Store:
    """A dataset that is about to come."""

    filename: Annotated[str | None, "the file's name, kept in the manifest"] = None
    mimetype: Annotated[str | None, "its media type, kept in the manifest"] = None
    size: Annotated[
        int | None,
        "how many bytes will come, where that is known: then what cannot fit is refused at once, and what "
        "ends early or late is not stored",
        Bounds(),
    ] = None


@frozen
class Retrieve:
    """A dataset that is asked for, or a part of it."""

    cid: Annotated[Cid, "the CID of a manifest or of a block"]
    offset: Annotated[int, "the first byte", Bounds()] = 0
    length: Annotated[int | None, "how many bytes; all that follow when left out", Bounds()] = None
    local: Annotated[bool, "only what this node holds"] = False
    window: Annotated[
        int,
        "the credit that the stream begins with, in bytes; zero to begin with `credit`",
        Bounds(0, MAX_WINDOW),
    ] = WINDOW


@frozen
class Page:
    """A part of the list of datasets."""

    after: Annotated[Cid | None, "the CID to begin behind; from the beginning when left out"] = None
    limit: Annotated[int, "how many at most", Bounds(1, MAX_PAGE)] = PAGE


@frozen
class JobPage:
    """A part of the list of jobs."""

    kind: Annotated[JobKind | None, "only jobs of this kind"] = None
    state: Annotated[JobState | None, "only jobs in this state"] = None
    after: Annotated[str | None, "the id of the job to go on behind"] = None
    limit: Annotated[int, "how many at most", Bounds(1, MAX_PAGE)] = PAGE


@frozen
class OneJob:
    """One job."""

    id: Annotated[str, "the job's id"]


@frozen
class Protect:
    """A dataset, and how it is made durable."""

    cid: Annotated[Cid, "the CID of its manifest"]
    data: Annotated[int, "K, how many rows the data are cut into", Bounds(1)]
    parity: Annotated[int, "M, how many rows are added, and so how many may be lost", Bounds(1)]


@frozen
class Verify:
    """A dataset that is checked."""

    cid: Annotated[Cid, "the CID of its manifest"]
    repair: Annotated[bool, "whether lost rows of a protected dataset are brought back, too"] = False


@frozen
class Backup:
    """Where a backup is made."""

    path: Annotated[Path, "the absolute path of a directory on the node's machine that does not exist yet"]


@frozen
class Peer:
    """One node of the network."""

    peer_id: Annotated[PeerId, "its peer id"]


@frozen
class Dial:
    """A node to connect to."""

    peer_id: Annotated[PeerId, "its peer id"]
    addrs: Annotated[tuple[str, ...], "multiaddresses to try; those that are known when left out"] = ()


@frozen
class StorageRequest:
    """The terms on which storage is wanted."""

    cid: Annotated[Cid, "the CID of the dataset's manifest"]
    duration: Annotated[int, "seconds that it is to be kept", Bounds(1)]
    proof_probability: Annotated[Amount, "how often it is to be proven: once in so many periods"]
    price_per_byte_per_second: Annotated[Amount, "what is paid"]
    collateral_per_byte: Annotated[Amount, "what hosts put at stake"]
    expiry: Annotated[int, "seconds until the request ends when nobody takes it", Bounds(1)]
    nodes: Annotated[int, "over how many hosts it is spread", Bounds(1)] = 3
    tolerance: Annotated[int, "how many of them may be lost", Bounds(1)] = 1


@frozen
class Offer:
    """Room for sale."""

    total_size: Annotated[int, "bytes", Bounds(1)]
    duration: Annotated[int, "the longest request that is taken, in seconds", Bounds(1)]
    min_price_per_byte_per_second: Annotated[Amount, "the least that is taken"]
    total_collateral: Annotated[Amount, "the most that may be at stake at a time"]
    enabled: Annotated[bool, "whether slots are taken into it"] = True
    until: Annotated[int, "the unix second that no slot may outlast; 0 for any", Bounds()] = 0


@frozen
class AvailabilityChange:
    """What is to be otherwise."""

    id: Annotated[str, "the availability's id"]
    total_size: Annotated[int | None, "bytes", Bounds(1)] = None
    duration: Annotated[int | None, "the longest request that is taken, in seconds", Bounds(1)] = None
    min_price_per_byte_per_second: Annotated[Amount | None, "the least that is taken"] = None
    total_collateral: Annotated[Amount | None, "the most that may be at stake at a time"] = None
    enabled: Annotated[bool | None, "whether slots are taken into it"] = None
    until: Annotated[int | None, "the unix second that no slot may outlast; 0 for any", Bounds()] = None


@frozen
class OneAvailability:
    """One availability."""

    id: Annotated[str, "its id"]


@frozen
class Decided:
    """Which decisions."""

    slot: Annotated[str | None, "only those about the slot of this id"] = None
    limit: Annotated[int, "how many at most", Bounds(1, MAX_PAGE)] = PAGE


@frozen
class Latest:
    """The newest ones of something."""

    limit: Annotated[int, "how many at most", Bounds(1, MAX_PAGE)] = PAGE


@frozen
class Level:
    """What is logged."""

    level: Annotated[str, 'a level, or levels by topic: "info; debug: store, api"']


@frozen
class Subscribe:
    """What is listened to."""

    topics: Annotated[tuple[Topic, ...], "what to hear of"]
    size: Annotated[
        int, "how many events are kept for a connection that is slower than they come", Bounds(1, MAX_QUEUE)
    ] = QUEUE


@frozen
class Unsubscribe:
    """A subscription to end."""

    subscription: Annotated[int, "its number, as `subscribe` returned it", Bounds()]


@frozen
class Cancel:
    """A request to give up."""

    id: Annotated[int | str, "the id of a request of this connection that has no reply yet"]


@frozen
class Credit:
    """Room for more bytes of a stream."""

    stream: Annotated[int, "the stream's number", Bounds()]
    bytes: Annotated[int, "how many bytes more may come", Bounds(1, MAX_WINDOW)]
