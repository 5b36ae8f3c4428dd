"""What each method and each event gives: one attrs class for each form of JSON, with its documentation.

Pure, and a description: the JSON itself is made by `codex.api.objects`, for this interface and for REST
alike. Tests hold the one to the other.
"""

from typing import Annotated, Any

from attrs import frozen


@frozen
class Stored:
    """A dataset that was stored."""

    cid: Annotated[str, "the CID of its manifest"]


@frozen
class Retrieved:
    """A dataset that was sent."""

    bytes: Annotated[int, "how many bytes were sent"]


@frozen
class Manifest:
    """What a dataset is."""

    tree_cid: Annotated[str, "the CID of its Merkle tree"]
    dataset_size: Annotated[int, "bytes"]
    block_size: Annotated[int, "bytes"]
    filename: Annotated[str | None, "as it was stored with"]
    mimetype: Annotated[str | None, "as it was stored with"]
    protected: Annotated[bool, "whether it is erasure coded"]
    verifiable: Annotated[bool, "whether proofs of it can be made; only there when it is protected"] = False


@frozen
class Content:
    """A dataset on this node."""

    cid: Annotated[str, "the CID of its manifest"]
    manifest: Annotated[Manifest, "what it is"]


@frozen
class Contents:
    """A part of the list of datasets, in the order of their CIDs."""

    content: Annotated[tuple[Content, ...], "the datasets"]
    next: Annotated[str | None, "the CID to go on behind; null at the end of the list"]


@frozen
class Existence:
    """Whether something is here."""

    exists: Annotated[bool, "whether this node has it"]


@frozen
class Pinned:
    """Whether a dataset is kept from expiring."""

    pinned: Annotated[bool, "whether it is pinned"]


@frozen
class Pins:
    """A part of the list of datasets that are kept from expiring."""

    cids: Annotated[tuple[str, ...], "the CIDs of their manifests"]
    next: Annotated[str | None, "the CID to go on behind; null at the end of the list"]


@frozen
class Space:
    """How much room there is, and how much of it is taken."""

    total_blocks: Annotated[int, "blocks on this node"]
    quota_max_bytes: Annotated[int, "the quota"]
    quota_used_bytes: Annotated[int, "what is stored"]
    quota_reserved_bytes: Annotated[int, "what is promised"]


@frozen
class Versions:
    """What runs."""

    version: Annotated[str, "of the node"]
    revision: Annotated[str, "of its sources"]
    contracts: Annotated[str, "of the marketplace's contracts"]


@frozen
class TableNode:
    """A node of the network as the discovery knows it."""

    node_id: Annotated[str, "hexadecimal"]
    peer_id: Annotated[str, "its peer id"]
    record: Annotated[str, "its signed record"]
    address: Annotated[str | None, "host and port"]
    seen: Annotated[bool, "whether it answers"]


@frozen
class RoutingTable:
    """Whom the discovery knows."""

    local_node: Annotated[TableNode, "this node"]
    nodes: Annotated[tuple[TableNode, ...], "the others"]


@frozen
class Info:
    """Who the node is and where it listens."""

    id: Annotated[str, "its peer id"]
    addrs: Annotated[tuple[str, ...], "multiaddresses that it listens on"]
    repo: Annotated[str, "its data directory"]
    spr: Annotated[str, "its signed peer record"]
    announce_addresses: Annotated[tuple[str, ...], "multiaddresses that it tells others"]
    table: Annotated[RoutingTable, "whom the discovery knows"]
    codex: Annotated[Versions, "what runs"]


@frozen
class Problem:
    """What went wrong."""

    code: Annotated[str, "a stable word to decide by"]
    message: Annotated[str, "what is wrong"]
    remedy: Annotated[str, "what to do about it; may be empty"]


@frozen
class Job:
    """A piece of long work at one moment."""

    id: Annotated[str, "its id"]
    kind: Annotated[str, "upload, download, fetch, verify, scrub, backup, protect or request"]
    state: Annotated[str, "running, done, failed or cancelled"]
    phase: Annotated[str, "a word for what is being done"]
    subject: Annotated[str | None, "what it is about: a CID, a file's name or a path"]
    bytes_done: Annotated[int, "how far it is"]
    bytes_total: Annotated[int | None, "how far it has to go; null when unknown"]
    bytes_per_second: Annotated[int, "of the last five seconds; of the whole run once it has ended"]
    eta_seconds: Annotated[float | None, "how long it will still take; null when that cannot be told"]
    started: Annotated[float, "unix seconds"]
    ended: Annotated[float | None, "unix seconds; null while it runs"]
    result: Annotated[Any, "what it has come to; null until it is done"]
    error: Annotated[Problem | None, "why it failed; null otherwise"]


@frozen
class Jobs:
    """A part of the list of jobs, the newest first."""

    jobs: Annotated[tuple[Job, ...], "the jobs"]
    next: Annotated[str | None, "the id to go on behind; null at the end of the list"]


@frozen
class Cancelled:
    """Whether there was anything to cancel."""

    cancelled: Annotated[bool, "false when it had ended already"]


@frozen
class Peer:
    """A node that this one is connected to."""

    peer_id: Annotated[str, "its peer id"]
    address: Annotated[str, "the multiaddress of its end of the connection"]
    dialled: Annotated[bool, "whether this node dialled it"]
    agent: Annotated[str, "what it calls itself"]
    protocols: Annotated[tuple[str, ...], "what it speaks"]
    since: Annotated[float, "unix seconds"]
    bytes_in: Annotated[int, "bytes that came over the connection"]
    bytes_out: Annotated[int, "bytes that went over it"]
    latency: Annotated[float | None, "seconds there and back; null until it was measured"]
    streams: Annotated[int, "streams that are open on the connection"]
    wants: Annotated[int, "blocks that it wants of this node"]
    wanted: Annotated[int, "blocks that this node wants of it"]
    block_bytes_in: Annotated[int, "bytes of blocks that came from it"]
    block_bytes_out: Annotated[int, "bytes of blocks that it was sent"]


@frozen
class TrafficLimits:
    """The bounds on what passes to and from all nodes together."""

    upload: Annotated[int | None, "bytes a second; null is no bound"]
    download: Annotated[int | None, "bytes a second; null is no bound"]


@frozen
class Peers:
    """Whom this node is connected to."""

    peers: Annotated[tuple[Peer, ...], "the nodes, in the order in which they were connected"]
    limits: Annotated[TrafficLimits, "the bounds on the traffic with them"]


@frozen
class PeerRecord:
    """What a node says of itself."""

    peer_id: Annotated[str, "its peer id"]
    seq_no: Annotated[int, "the number of its record; the higher one of two is the later"]
    addresses: Annotated[tuple[str, ...], "multiaddresses that it listens on"]


@frozen
class Condition:
    """What ails a part that runs."""

    code: Annotated[str, "a stable word to decide by"]
    message: Annotated[str, "what is wrong"]
    remedy: Annotated[str, "what to do about it; may be empty"]
    since: Annotated[float, "unix seconds"]
    serves: Annotated[bool, "whether it can serve all the same"]


@frozen
class Service:
    """How one part of the node is."""

    name: Annotated[str, "which"]
    state: Annotated[str, "starting, running, restarting, stopping, stopped or failed"]
    since: Annotated[float, "unix seconds"]
    restarts: Annotated[int, "how often it was restarted"]
    last_error: Annotated[str | None, "what it crashed with last; null when all was well"]
    condition: Annotated[Condition | None, "what ails it while it runs; null when it is well"]


@frozen
class Health:
    """How the node is."""

    state: Annotated[str, "ok, or degraded when a part does not run or is not well"]
    services: Annotated[tuple[Service, ...], "its parts"]
    version: Annotated[str, "of the node"]


@frozen
class Subscribed:
    """A subscription."""

    subscription: Annotated[int, "its number, which each of its events has"]


@frozen
class Opened:
    """A stream has a number, and bytes may flow."""

    request: Annotated[int | str, "the id of the request that it belongs to"]
    stream: Annotated[int, "its number"]
    window: Annotated[int, "the credit that it begins with, in bytes"]
    job: Annotated[str | None, "the id of the job"] = None
    offset: Annotated[int | None, "`retrieve`: the first byte that will come"] = None
    size: Annotated[int | None, "`retrieve`: how many bytes will come"] = None
    manifest: Annotated[Manifest | None, "`retrieve`: of the dataset; null for a single block"] = None


@frozen
class JobEvent:
    """Something about a job."""

    subscription: Annotated[int, "which subscription this is for"]
    job: Annotated[Job, "the job"]


@frozen
class ManifestEvent:
    """Something about a dataset."""

    subscription: Annotated[int, "which subscription this is for"]
    cid: Annotated[str, "the CID of its manifest"]


@frozen
class PeerJoinedEvent:
    """A node is connected."""

    subscription: Annotated[int, "which subscription this is for"]
    peer_id: Annotated[str, "its peer id"]
    address: Annotated[str, "the multiaddress of its end of the connection"]


@frozen
class PeerLeftEvent:
    """A node is connected no more."""

    subscription: Annotated[int, "which subscription this is for"]
    peer_id: Annotated[str, "its peer id"]
    why: Annotated[str, "why the connection ended; may be empty"]


@frozen
class PurchaseMovedEvent:
    """A purchase has come to another state."""

    subscription: Annotated[int, "which subscription this is for"]
    purchase: Annotated[str, "its id, which is the request's: 0x and 64 digits"]
    state: Annotated[str, "pending, submitted, started, finished, cancelled, failed, errored or unknown"]
    error: Annotated[str | None, "what went wrong; null when nothing did"]


@frozen
class SlotMovedEvent:
    """The sale of a slot has come to another state."""

    subscription: Annotated[int, "which subscription this is for"]
    slot: Annotated[str, "its id: 0x and 64 digits"]
    state: Annotated[str, "SalePreparing, SaleProving and so on"]


@frozen
class ProofSentEvent:
    """A proof was taken."""

    subscription: Annotated[int, "which subscription this is for"]
    slot: Annotated[str, "its id: 0x and 64 digits"]
    period: Annotated[int, "the number of the period, counted from the unix epoch"]
    spare: Annotated[int, "seconds that were left of the period"]


@frozen
class ProofMissedEvent:
    """A proof was not brought in time."""

    subscription: Annotated[int, "which subscription this is for"]
    slot: Annotated[str, "its id: 0x and 64 digits"]
    period: Annotated[int, "the number of the period, counted from the unix epoch"]
    why: Annotated[str, "in words"]


@frozen
class SlotSlashedEvent:
    """Collateral was taken."""

    subscription: Annotated[int, "which subscription this is for"]
    slot: Annotated[str, "its id: 0x and 64 digits"]
    amount: Annotated[str, "what was taken since it was told last, a decimal text"]
    left: Annotated[str, "what is still at stake, a decimal text"]


@frozen
class SlotPaidEvent:
    """A slot is paid."""

    subscription: Annotated[int, "which subscription this is for"]
    slot: Annotated[str, "its id: 0x and 64 digits"]
    reward: Annotated[
        str | None, "what was earned, a decimal text; null where the node did not see the payment's receipt"
    ]
    collateral: Annotated[str, "what came back of it, a decimal text"]


@frozen
class SlotEvent:
    """Something about a slot."""

    subscription: Annotated[int, "which subscription this is for"]
    slot: Annotated[str, "its id: 0x and 64 digits"]


@frozen
class ProofMarkedEvent:
    """A missing proof was marked."""

    subscription: Annotated[int, "which subscription this is for"]
    slot: Annotated[str, "its id: 0x and 64 digits"]
    period: Annotated[int, "the number of the period, counted from the unix epoch"]


@frozen
class LaggedEvent:
    """Something is missing."""

    subscription: Annotated[int, "which subscription this is for"]
    missed: Annotated[int, "how many events were dropped"]
