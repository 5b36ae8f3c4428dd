"""What each method does: from its parameters to its result, on one node, for one connection.

The text under each is its documentation. Whatever needs time runs as a task of its own and may be cancelled
at any point; the few that only touch the connection itself (`AT_ONCE` in the table) are done where they are
read, so that they work when nothing else may be begun.
"""

import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Protocol

import trio
from attrs import frozen

from codex import logs
from codex.api.objects import (
    Object,
    content_json,
    health_json,
    info_json,
    job_json,
    manifest_json,
    peers_json,
    record_json,
    space_json,
)
from codex.api.rpc.limits import MAX_LIST, WINDOW
from codex.api.rpc.params import (
    Anything,
    Backup,
    Cancel,
    Credit,
    Dataset,
    Dial,
    JobPage,
    Level,
    Nothing,
    OneJob,
    Page,
    Peer,
    Protect,
    Retrieve,
    Store,
    Subscribe,
    Topic,
    Unsubscribe,
    Verify,
)
from codex.api.rpc.streams import Streams, Upload
from codex.api.uploads import BadFilename, is_valid_filename, media_type
from codex.errors import InvalidInput, NotFound
from codex.node import Job, Node, Retrieval
from codex.version import VERSION

Id = int | str | None
Notify = Callable[[str, Object], Awaitable[None]]


class Connection(Protocol):
    """What methods need of the connection that they are called on."""

    node: Node
    streams: Streams

    async def notify(self, name: str, params: Object) -> None:
        """Send a notification."""

    def cancel(self, id: Id) -> bool:
        """Cancel a request; False when there is none of that id without a reply."""

    async def subscribe(self, topics: frozenset[Topic], size: int, told: trio.Event) -> int:
        """Listen from now on, and pass events on once `told`; the subscription's number."""

    def unsubscribe(self, number: int) -> None:
        """End a subscription; nothing to do when there is none."""


@frozen
class Call:
    """One request: the connection it came on, its id (None when it is a notification), and what is set when
    its reply is on the way.
    """

    connection: Connection
    id: Id
    told: trio.Event

    @property
    def node(self) -> Node:
        """The node that is asked."""
        return self.connection.node


# -- datasets


async def store(call: Call, params: Store) -> Object:
    """Store a dataset, whose bytes come in a stream of this request's. The reply comes when every byte is
    durable; after an error or a cancellation nothing is left.
    """
    if params.filename is not None and not is_valid_filename(params.filename):
        raise BadFilename(
            "The filename is not valid.",
            remedy='use at most 259 bytes, without \\ : * ? " < > | ^ and without .. as a part',
        )
    mimetype = media_type(params.mimetype)
    _needs_id(call)
    with call.connection.streams.upload(params.size) as stream:
        opened = _Opened(call, stream)
        cid = await call.node.store(
            opened,
            filename=params.filename,
            mimetype=mimetype,
            size=params.size,
            on_begun=opened.begun,
        )
    return {"cid": str(cid)}


class _Opened:
    """The stream of an upload as the node reads it: that it is open is said when the first byte is wanted."""

    def __init__(self, call: Call, stream: Upload) -> None:
        self._call = call
        self._stream = stream
        self._job: str | None = None
        self._said = False

    def begun(self, job: str) -> None:
        """The upload has its job."""
        self._job = job

    def __aiter__(self) -> "_Opened":
        return self

    async def __anext__(self) -> bytes:
        if not self._said:
            self._said = True
            said: Object = {"request": self._call.id, "stream": self._stream.number, "window": WINDOW}
            await self._call.connection.notify("opened", {**said, "job": self._job})
        return await anext(self._stream)


async def retrieve(call: Call, params: Retrieve) -> Object:
    """Send a dataset, a part of it, or a block, in a stream of this request's. The reply comes behind the
    last byte. A request that fails or is cancelled on the way has no end of its stream.
    """
    _needs_id(call)
    with call.connection.streams.download(params.window) as stream:
        async with call.node.retrieve(
            params.cid, offset=params.offset, length=params.length, local=params.local
        ) as retrieval:
            opened: Object = {"request": call.id, "stream": stream.number, "window": params.window}
            await call.connection.notify("opened", {**opened, **_about(retrieval)})
            while parts := await retrieval.some():
                await stream.send(parts[0] if len(parts) == 1 else b"".join(parts))
            await stream.end()
    return {"bytes": retrieval.size}


def _about(retrieval: Retrieval) -> Object:
    manifest = retrieval.manifest
    return {
        "job": retrieval.job_id,
        "offset": retrieval.offset,
        "size": retrieval.size,
        "manifest": None if manifest is None else manifest_json(manifest),
    }


def _needs_id(call: Call) -> None:
    if call.id is None:
        raise InvalidInput("a request with a stream needs an id", remedy="give it one: a text or a number")


async def fetch_manifest(call: Call, params: Dataset) -> Object:
    """What a dataset is."""
    return content_json(params.cid, await call.node.fetch_manifest(params.cid))


async def delete(call: Call, params: Anything) -> None:
    """Delete a dataset or a single block; nothing to do when it is not here. What another dataset shares
    stays.
    """
    await call.node.delete(params.cid)


async def iterate_manifests(call: Call, params: Page) -> Object:
    """The datasets on this node, in the order of their CIDs."""
    found: list[Object] = []
    room, more = MAX_LIST, False
    async with aclosing(call.node.iterate_manifests(after=params.after)) as manifests:
        async for cid, manifest in manifests:
            if len(found) == params.limit or room <= 0:
                more = True
                break
            found.append(content_json(cid, manifest))
            room -= _length(found[-1])
    return {"content": found, "next": found[-1]["cid"] if more else None}


async def exists(call: Call, params: Anything) -> Object:
    """Whether a manifest or a block is on this node."""
    return {"exists": await call.node.has(params.cid)}


async def pin(call: Call, params: Dataset) -> None:
    """Keep a dataset from expiring."""
    await call.node.pin(params.cid)


async def unpin(call: Call, params: Dataset) -> None:
    """Let a pinned dataset expire again."""
    await call.node.unpin(params.cid)


async def pinned(call: Call, params: Dataset) -> Object:
    """Whether a dataset is kept from expiring."""
    return {"pinned": await call.node.is_pinned(params.cid)}


async def pins(call: Call, params: Page) -> Object:
    """The datasets that are kept from expiring, in the order of their CIDs."""
    found: list[str] = []
    async with aclosing(call.node.pins(after=params.after)) as pinned:
        async for cid in pinned:
            if len(found) == params.limit:
                return {"cids": found, "next": found[-1]}
            found.append(str(cid))
    return {"cids": found, "next": None}


async def space(call: Call, params: Nothing) -> Object:
    """How much room there is, and how much of it is taken."""
    return space_json(await call.node.space())


# -- long work


async def fetch_dataset_async_task(call: Call, params: Dataset) -> Object:
    """Fetch every block of a dataset in the background; the job of it, once the manifest is here. While it is
    being fetched there is no second job for it.
    """
    return _seen(await call.node.fetch_dataset_async_task(params.cid))


async def protect(call: Call, params: Protect) -> Object:
    """Make a dataset durable in the background: of its K + M rows any K bring it back. The job of it, once
    the manifest is here and it is known that there is room; its result has the `verifiableCid`. While it runs
    there is no second job for the same.
    """
    return _seen(await call.node.protect(params.cid, params.data, params.parity))


async def verify(call: Call, params: Verify) -> Object:
    """Read a dataset in the background and check that it is whole; the job of it. Damage is a result, not a
    failure. Of a protected dataset the result has the `rows`, too, and `repair` brings lost ones back.
    """
    return _seen(await call.node.verify(params.cid, repair=params.repair))


async def scrub(call: Call, params: Nothing) -> Object:
    """Read everything on this node in the background and check it; the job of it. While one runs there is no
    second one.
    """
    return _seen(await call.node.scrub())


async def backup(call: Call, params: Backup) -> Object:
    """Copy the store into a new directory in the background; the job of it."""
    return _seen(await call.node.backup(params.path))


async def jobs(call: Call, params: JobPage) -> Object:
    """The jobs that run, and those that ended in the last hour, the newest first."""
    wanted = call.node.jobs.list(params.kind, params.state)[::-1]
    if params.after is not None:
        # It may have left those that are wanted meanwhile; its place among all of them is still its place.
        every = [job.id for job in call.node.jobs.list()][::-1]
        if params.after not in every:
            raise NotFound(
                f"the job {params.after!r} to go on behind is not known any more",
                remedy="ask for the list from its beginning",
            )
        behind = set(every[every.index(params.after) + 1 :])
        wanted = tuple(job for job in wanted if job.id in behind)
    found: list[Object] = []
    room = MAX_LIST
    for job in wanted:
        if len(found) == params.limit or room <= 0:
            return {"jobs": found, "next": found[-1]["id"]}
        found.append(_seen(job))
        room -= _length(found[-1])
    return {"jobs": found, "next": None}


async def job(call: Call, params: OneJob) -> Object:
    """One job."""
    return _seen(call.node.jobs.get(params.id))


async def cancel_job(call: Call, params: OneJob) -> Object:
    """Cancel a job, whoever began it. Does not wait for it to end."""
    return {"cancelled": call.node.jobs.cancel(params.id)}


# -- the network


async def info(call: Call, params: Nothing) -> Object:
    """Who the node is and where it listens."""
    return info_json(call.node.info())


async def peers(call: Call, params: Nothing) -> Object:
    """Whom this node is connected to."""
    return peers_json(call.node.peers(), call.node.config.p2p)


async def find_peer(call: Call, params: Peer) -> Object:
    """Find a node's addresses, in its own words."""
    return record_json(await call.node.find_peer(params.peer_id))


async def connect(call: Call, params: Dial) -> None:
    """Connect to a node; nothing to do when it is connected."""
    await call.node.connect(params.peer_id, params.addrs)


# -- the node itself


async def health(call: Call, params: Nothing) -> Object:
    """How the node and its parts are."""
    return health_json(call.node.states(), VERSION)


async def set_log_level(call: Call, params: Level) -> None:
    """Say what is logged from now on."""
    logs.set_levels(params.level)


# -- the connection


async def subscribe(call: Call, params: Subscribe) -> Object:
    """Hear of what happens on the node, from now on, as notifications. Ask for the present state afterwards,
    so that nothing falls in between.
    """
    if not params.topics:
        raise InvalidInput("there is no topic", remedy="name one: " + ", ".join(Topic))
    topics = frozenset(params.topics)
    return {"subscription": await call.connection.subscribe(topics, params.size, call.told)}


async def unsubscribe(call: Call, params: Unsubscribe) -> None:
    """End a subscription. Events that were under way may still come."""
    call.connection.unsubscribe(params.subscription)


async def cancel(call: Call, params: Cancel) -> Object:
    """Cancel a request of this connection. It ends with an error of its own, or with its reply when it was
    done already.
    """
    return {"cancelled": call.connection.cancel(params.id)}


async def credit(call: Call, params: Credit) -> None:
    """Give credit for more bytes of a stream that the node sends. A notification, as a rule."""
    call.connection.streams.allow(params.stream, params.bytes)


# -- forms


def _seen(job: Job) -> Object:
    return job_json(job.snapshot())


def _length(item: Object) -> int:
    return len(json.dumps(item))
