"""What a client is given: the node's JSON as values.

Pure. Sizes are in bytes, points in time in unix seconds. What a newer node tells beyond this is passed over.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
import cattrs
from attrs import field, frozen
from cattrs.gen import make_dict_structure_fn, override

from codex.codec import Cid
from codex.errors import Problem
from codex.runtime.broadcast import Lagged

T = TypeVar("T")


@frozen
class Manifest:
    """What a dataset is. `verifiable` only where it is `protected` by erasure coding."""

    tree_cid: Cid
    dataset_size: int
    block_size: int
    filename: str | None = None
    mimetype: str | None = None
    protected: bool = False
    verifiable: bool = False


@frozen
class Dataset:
    """A dataset: the CID of its manifest, and what it is."""

    cid: Cid
    manifest: Manifest


@frozen
class Space:
    """How much room there is, and how much of it is taken. Blocks are counted, the rest is in bytes."""

    total_blocks: int
    quota_max_bytes: int
    quota_used_bytes: int
    quota_reserved_bytes: int


@frozen
class Job:
    """A job at one moment, as the node's own `JobView` has it. `result` is JSON."""

    id: str
    kind: str
    state: str
    phase: str
    subject: str | None
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: float
    eta_seconds: float | None
    started: float
    ended: float | None
    result: Any
    error: Problem | None

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.state == "running"


@frozen
class Condition:
    """What ails a part that runs, since when (unix seconds), and whether it serves all the same."""

    code: str
    message: str
    remedy: str
    since: float
    serves: bool


@frozen
class Service:
    """How one part of the node is, and since when."""

    name: str
    state: str
    since: float
    restarts: int = 0
    last_error: str | None = None
    condition: Condition | None = None


@frozen
class Health:
    """How the node is: `state` is "ok" when every part runs and nothing ails it, else "degraded"."""

    state: str
    services: tuple[Service, ...]
    version: str


@frozen
class Info:
    """Who the node is and where it listens; `more` is all of it, as the node told it."""

    id: str
    addrs: tuple[str, ...]
    repo: str
    spr: str
    announce_addresses: tuple[str, ...]
    more: Mapping[str, Any] = field(factory=dict, repr=False)


@frozen
class Peer:
    """A node that the node is connected to. Bytes are those of the connection, and `block_bytes` those of
    blocks on it; `latency` is seconds there and back, None until it was measured. `wants` is how many blocks
    it wants, `wanted` how many are wanted of it.
    """

    peer_id: str
    address: str
    dialled: bool
    agent: str
    protocols: tuple[str, ...]
    since: float
    bytes_in: int
    bytes_out: int
    latency: float | None
    streams: int
    wants: int = 0
    wanted: int = 0
    block_bytes_in: int = 0
    block_bytes_out: int = 0


@frozen
class PeerRecord:
    """Where a node listens, in its own words; of two records the one with the higher number is the later."""

    peer_id: str
    seq_no: int
    addresses: tuple[str, ...]


# -- events


@frozen
class JobStarted:
    """A job has begun."""

    job: Job


@frozen
class JobProgressed:
    """A job is further than was told last."""

    job: Job


@frozen
class JobEnded:
    """A job is done, failed or cancelled."""

    job: Job


@frozen
class ManifestStored:
    """A dataset has become part of the node."""

    cid: Cid


@frozen
class ManifestDeleted:
    """A dataset was deleted on request."""

    cid: Cid


@frozen
class PeerJoined:
    """A node is connected; `address` is that of its end."""

    peer_id: str
    address: str


@frozen
class PeerLeft:
    """A node is connected no more."""

    peer_id: str
    why: str


@frozen
class OtherEvent:
    """Something that this version does not know, as the node told it."""

    name: str
    params: Mapping[str, Any]


Event = (
    JobStarted
    | JobProgressed
    | JobEnded
    | ManifestStored
    | ManifestDeleted
    | PeerJoined
    | PeerLeft
    | OtherEvent
    | Lagged
)

_EVENTS: Mapping[str, type[Any]] = {
    "jobStarted": JobStarted,
    "jobProgressed": JobProgressed,
    "jobEnded": JobEnded,
    "manifestStored": ManifestStored,
    "manifestDeleted": ManifestDeleted,
    "peerJoined": PeerJoined,
    "peerLeft": PeerLeft,
    "lagged": Lagged,
}


def event(name: str, params: Mapping[str, Any]) -> Event:
    """A notification as a value."""
    kind = _EVENTS.get(name)
    return OtherEvent(name, params) if kind is None else value(kind, params)


def value(kind: type[T], told: object) -> T:
    """What the node told, as a `kind`. Raises ValueError when it is nothing of the sort."""
    try:
        return _converter.structure(told, kind)
    except cattrs.BaseValidationError as error:
        raise ValueError(f"the node told something else than a {kind.__name__}") from error


def camel(name: str) -> str:
    """A field's name as JSON has it."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


_converter = cattrs.Converter()


def _object(kind: type[Any]) -> Any:
    names: Any = {one.name: override(rename=camel(one.name)) for one in attrs.fields(kind)}
    return make_dict_structure_fn(kind, _converter, **names)


_converter.register_structure_hook_factory(lambda kind: attrs.has(kind) and kind is not Cid, _object)
_converter.register_structure_hook(Cid, lambda text, _: Cid.parse(text))
