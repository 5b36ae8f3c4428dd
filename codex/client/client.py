"""The client: the node's methods as methods, datasets as asynchronous iterators, events as they happen."""

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from codex.client.link import FRAME, Call, Link
from codex.client.market import MarketCalls
from codex.client.values import Dataset, Event, Health, Info, Job, Manifest, Peer, PeerRecord, Space, value
from codex.codec import Cid
from codex.runtime.broadcast import Broadcast, Subscription

WINDOW = 4 << 20  # bytes that a download may be ahead of its reader
QUEUE = 256  # events that are kept for a slow reader, here and at the node


class Download:
    """A dataset on its way: an asynchronous iterator of its bytes, for one reader.

    `size` bytes come, from `offset` on; `manifest` is None for a single block; `job` is the id of the node's
    job. Raises what the node tells when it fails on the way, and Disconnected.
    """

    def __init__(self, link: Link, call: Call, opened: Mapping[str, Any]) -> None:
        manifest = opened["manifest"]
        self.manifest = None if manifest is None else value(Manifest, manifest)
        self.offset: int = opened["offset"]
        self.size: int = opened["size"]
        self.job: str | None = opened["job"]
        self._link = link
        self._call = call
        self._taken = 0

    def __aiter__(self) -> "Download":
        return self

    async def __anext__(self) -> bytes:
        piece = await self._call.piece()
        if piece is None:
            raise StopAsyncIteration
        self._taken += len(piece)
        if self._taken >= WINDOW // 2:
            self._link.tell("credit", {"stream": self._call.stream, "bytes": self._taken})
            self._taken = 0
        return piece

    async def read(self) -> bytes:
        """Everything that is left, in one piece; for what is known to be small."""
        return b"".join([piece async for piece in self])


class Events:
    """What happens on the node: an asynchronous iterator of events, and of `Lagged` in the place of those
    that were not taken in time. Raises Disconnected when the connection ends.
    """

    def __init__(self, link: Link, heard: Subscription[Event]) -> None:
        self._link = link
        self._heard = heard

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        try:
            return await anext(self._heard)
        except StopAsyncIteration:
            self._link.check()
            raise


class Client(MarketCalls):
    """A connection to a node, from `open_client`. May be used by any number of tasks at once.

    Every method raises what the node answers (a CodexError, see `errors`), and Disconnected when the
    connection ends. One that is cancelled is cancelled at the node as well, unless it was done already.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def call(self, method: str, **params: Any) -> Any:
        """Any method, with its JSON as it is."""
        return await self._link.ask(method, params)

    # -- datasets

    async def store(
        self,
        source: bytes | AsyncIterable[bytes],
        *,
        filename: str | None = None,
        mimetype: str | None = None,
        size: int | None = None,
    ) -> Cid:
        """Store a dataset, and return its manifest's CID once every byte is durable.

        The source is read no faster than the node takes it; `size` is how many bytes it has, where that is
        known. When it raises, or this is cancelled, nothing is left at the node.
        """
        size = len(source) if isinstance(source, bytes) else size
        with self._link.call("store", {"filename": filename, "mimetype": mimetype, "size": size}) as call:
            await call.opened()
            if isinstance(source, bytes):
                await _send(call, source)
            else:
                try:
                    async for piece in source:
                        await _send(call, piece)
                finally:
                    if isinstance(source, AsyncGenerator):
                        await source.aclose()  # often nobody else has it, and it may hold a file open
            call.send(memoryview(b""))
            return Cid.parse((await call.result())["cid"])

    @asynccontextmanager
    async def retrieve(
        self, cid: Cid | str, *, offset: int = 0, length: int | None = None, local: bool = False
    ) -> AsyncIterator[Download]:
        """A dataset (by its manifest's CID) or a block, or a part of it, for the length of the block.

        `local` keeps to what the node itself has.
        """
        params = {"cid": str(cid), "offset": offset, "length": length, "local": local, "window": WINDOW}
        with self._link.call("retrieve", params) as call:
            yield Download(self._link, call, await call.opened())

    async def fetch_manifest(self, cid: Cid | str) -> Dataset:
        """What a dataset is."""
        return value(Dataset, await self.call("fetchManifest", cid=str(cid)))

    async def iterate_manifests(self) -> AsyncGenerator[Dataset, None]:
        """Every dataset on the node, in the order of their CIDs. Whoever stops early closes it."""
        after = None
        while True:
            page = await self.call("iterateManifests", after=after)
            for one in page["content"]:
                yield value(Dataset, one)
            after = page["next"]
            if after is None:
                return

    async def delete(self, cid: Cid | str) -> None:
        """Delete a dataset or a single block; nothing to do when it is not there."""
        await self.call("delete", cid=str(cid))

    async def exists(self, cid: Cid | str) -> bool:
        """Whether a manifest or a block is on the node."""
        return bool((await self.call("exists", cid=str(cid)))["exists"])

    async def pin(self, cid: Cid | str) -> None:
        """Keep a dataset from expiring."""
        await self.call("pin", cid=str(cid))

    async def unpin(self, cid: Cid | str) -> None:
        """Let a pinned dataset expire again."""
        await self.call("unpin", cid=str(cid))

    async def pinned(self, cid: Cid | str) -> bool:
        """Whether a dataset is kept from expiring."""
        return bool((await self.call("pinned", cid=str(cid)))["pinned"])

    async def pins(self) -> AsyncGenerator[Cid, None]:
        """Every dataset on the node that is kept from expiring, in the order of their CIDs. Whoever stops
        early closes it.
        """
        after = None
        while True:
            page = await self.call("pins", after=after)
            for cid in page["cids"]:
                yield Cid.parse(cid)
            after = page["next"]
            if after is None:
                return

    async def space(self) -> Space:
        """How much room there is, and how much of it is taken."""
        return value(Space, await self.call("space"))

    # -- long work

    async def fetch_dataset_async_task(self, cid: Cid | str) -> Job:
        """Fetch every block of a dataset in the background; the job of it."""
        return value(Job, await self.call("fetchDatasetAsyncTask", cid=str(cid)))

    async def protect(self, cid: Cid | str, *, data: int, parity: int) -> Job:
        """Make a dataset durable in the background, with so many rows of each; the job of it."""
        return value(Job, await self.call("protect", cid=str(cid), data=data, parity=parity))

    async def verify(self, cid: Cid | str, *, repair: bool = False) -> Job:
        """Check in the background that a dataset is whole, and bring lost rows of it back if that is asked;
        the job of it.
        """
        return value(Job, await self.call("verify", cid=str(cid), repair=repair))

    async def scrub(self) -> Job:
        """Check everything on the node in the background; the job of it."""
        return value(Job, await self.call("scrub"))

    async def backup(self, path: Path | str) -> Job:
        """Copy the store into a new directory of the node's machine, in the background; the job of it."""
        return value(Job, await self.call("backup", path=str(path)))

    async def jobs(self, *, kind: str | None = None, state: str | None = None) -> list[Job]:
        """The jobs that run and those that ended lately, of that kind and in that state; the newest first."""
        found: list[Job] = []
        after = None
        while True:
            page = await self.call("jobs", kind=kind, state=state, after=after)
            found += [value(Job, one) for one in page["jobs"]]
            after = page["next"]
            if after is None:
                return found

    async def job(self, id: str) -> Job:
        """One job. Raises NotFound."""
        return value(Job, await self.call("job", id=id))

    async def cancel_job(self, id: str) -> bool:
        """Cancel a job; False when it has ended already. Raises NotFound."""
        return bool((await self.call("cancelJob", id=id))["cancelled"])

    # -- the node and the network

    async def info(self) -> Info:
        """Who the node is and where it listens."""
        told = await self.call("info")
        return value(Info, {**told, "more": told})

    async def health(self) -> Health:
        """How the node and its parts are."""
        return value(Health, await self.call("health"))

    async def set_log_level(self, level: str) -> None:
        """Say what the node logs: a level, or levels by topic."""
        await self.call("setLogLevel", level=level)

    async def peers(self) -> list[Peer]:
        """Whom the node is connected to, in the order in which they came."""
        return [value(Peer, one) for one in (await self.call("peers"))["peers"]]

    async def find_peer(self, peer_id: str) -> PeerRecord:
        """Find a node's addresses. Raises NotFound."""
        return value(PeerRecord, await self.call("findPeer", peerId=peer_id))

    async def connect(self, peer_id: str, *addresses: str) -> None:
        """Connect to a node, at one of the addresses or wherever the network finds it. Raises NotFound."""
        await self.call("connect", peerId=peer_id, addrs=list(addresses))

    # -- events

    @asynccontextmanager
    async def subscribe(self, *topics: str, size: int = QUEUE) -> AsyncIterator[Events]:
        """Hear of what happens on the node, from now on and for the length of the block. The topics are
        "jobs", "manifests", "peers", "purchases" and "slots"; `size` is how many events are kept for whoever
        takes them too slowly.
        """
        events = Broadcast[Event]()
        numbers: list[int] = []

        def listen(result: Mapping[str, Any]) -> None:
            numbers.append(result["subscription"])
            self._link.listen(numbers[0], events)

        def forget(result: Mapping[str, Any]) -> None:
            self._link.tell("unsubscribe", {"subscription": result["subscription"]})

        async with events.subscribe(size) as heard:
            try:
                params = {"topics": topics, "size": size}
                with self._link.call("subscribe", params, then=listen, late=forget) as call:
                    await call.result()
                yield Events(self._link, heard)
            finally:
                for number in numbers:
                    self._link.unlisten(number)
                    self._link.tell("unsubscribe", {"subscription": number})


async def _send(call: Call, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        part = rest[: min(await call.room(), FRAME)]
        call.send(part)
        rest = rest[len(part) :]
