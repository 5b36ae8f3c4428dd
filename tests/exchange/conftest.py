"""A small world for the exchange: people with a store and an exchange each, joined by streams in memory.

Streams have latency on trio's clock, a bound on what is unread, and break with their connection. Discovery is
a list that everybody reads. An actor is a peer without an exchange, whose streams a test handles itself.
"""

from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, field, frozen

from codex.codec import Cid, Multiaddr
from codex.config import ExchangeConfig, StoreConfig
from codex.data import Block, Manifest, MerkleTree
from codex.errors import CodexError, PeerGone, PeerUnreachable, ProtocolRefused
from codex.exchange import PROTOCOL, Exchange, ExchangeBoard
from codex.exchange.messages import Message, decode
from codex.exchange.service import ExchangeService
from codex.exchange.writing import encode
from codex.p2p import (
    Identity,
    MessageReader,
    PeerId,
    PeerJoined,
    PeerLeft,
    SignedPeerRecord,
    write_message,
)
from codex.runtime import Broadcast, Inline, Offload, Policy, SeededEntropy, Supervisor, open_supervisor
from codex.runtime.supervisor import ServiceEvent
from codex.store import BlockStore, Leaf
from codex.testing.stores import make_dataset, open_test_store

UNREAD = 2 << 20  # bytes of one stream on their way or unread; then its sender waits


class Pipe:
    """One direction of a stream."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.pieces: deque[tuple[float, bytes | memoryview]] = deque()
        self.unread = 0
        self.ended = False
        self.broken: str | None = None
        self.news = trio.lowlevel.ParkingLot()

    async def send(self, part: bytes | memoryview) -> None:
        while self.unread >= UNREAD and self.broken is None:
            await self.news.park()
        if self.broken is not None:
            raise PeerGone(self.broken)
        self.pieces.append((trio.current_time() + self.world.latency, part))
        self.unread += len(part)
        self.news.unpark_all()

    async def receive(self) -> list[bytes | memoryview]:
        await trio.lowlevel.checkpoint()
        while True:
            if self.broken is not None:
                raise PeerGone(self.broken)
            if self.pieces:
                wait = self.pieces[0][0] - trio.current_time()
                if wait <= 0:
                    break
                with trio.move_on_after(wait):
                    await self.news.park()
            elif self.ended:
                return []
            else:
                await self.news.park()
        now, parts = trio.current_time(), []
        while self.pieces and self.pieces[0][0] <= now:
            parts.append(self.pieces.popleft()[1])
        self.unread -= sum(map(len, parts))
        self.news.unpark_all()
        return parts

    def end(self) -> None:
        self.ended = True
        self.news.unpark_all()

    def break_(self, why: str) -> None:
        self.broken = self.broken or why
        self.news.unpark_all()


class MemoryStream:
    """One end of a stream."""

    def __init__(self, peer: PeerId, out: Pipe, into: Pipe) -> None:
        self.peer = peer
        self.protocol = PROTOCOL
        self.out, self.into = out, into
        self.sent: list[int] = []

    async def send_all(self, *parts: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            for part in parts:
                if len(part):
                    await self.out.send(part)
        except trio.Cancelled:
            self.reset("cut in the middle")
            raise
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def receive_parts(self, max_bytes: int | None = None) -> list[bytes | memoryview]:
        return await self.into.receive()

    async def aclose(self) -> None:
        self.out.end()
        await trio.lowlevel.checkpoint()

    def reset(self, why: str) -> None:
        self.out.break_(why)
        self.into.break_(why)


@define(eq=False)
class Link:
    """A connection between two switches, and the streams on it."""

    ends: tuple["MemorySwitch", "MemorySwitch"]
    streams: list[MemoryStream] = field(factory=list)


@frozen
class Info:
    peer: PeerId


class MemorySwitch:
    """One person's connections."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.identity = Identity.generate(SeededEntropy(name))
        self.peer_id = self.identity.peer_id
        self.links: dict[PeerId, Link] = {}
        self.handlers: dict[str, Callable[[Any], Awaitable[None]]] = {}
        self.news: Broadcast[PeerJoined | PeerLeft] = Broadcast()
        self.up = True
        self.dialled: list[PeerId] = []
        self.dropped: list[tuple[PeerId, str]] = []

    def add(self, name: str, handler: Callable[[Any], Awaitable[None]], *, limit: int) -> None:
        self.handlers[name] = handler

    def record(self, seq: int = 1) -> SignedPeerRecord:
        return SignedPeerRecord.sign(self.identity, seq, [Multiaddr.parse(f"/ip4/10.0.0.{seq}/tcp/8070")])

    def peers(self) -> list[Info]:
        return [Info(peer) for peer in self.links]

    async def connect(self, peer: PeerId, addresses: Sequence[Multiaddr] = ()) -> None:
        self.dialled.append(peer)
        await trio.sleep(2 * self.world.latency)
        other = self.world.switches.get(peer)
        if other is None or not other.up:
            raise PeerUnreachable(f"{peer} cannot be reached: {addresses[0]}: nobody is there")
        self.world.link(self, other)

    async def disconnect(self, peer: PeerId, why: str = "") -> None:
        self.dropped.append((peer, why))
        await trio.lowlevel.checkpoint()
        self.world.cut(self, self.world.switches[peer], why)

    async def open_stream(self, peer: PeerId, *protocols: str) -> MemoryStream:
        await trio.sleep(self.world.latency)
        link = self.links.get(peer)
        if link is None:
            raise PeerGone("there is no connection")
        other = self.world.switches[peer]
        handler = other.handlers.get(protocols[0])
        if handler is None:
            raise ProtocolRefused(f"the peer does not speak {protocols[0]}")
        there, back = Pipe(self.world), Pipe(self.world)
        ours, theirs = MemoryStream(peer, there, back), MemoryStream(self.peer_id, back, there)
        link.streams.append(ours)
        self.world.nursery.start_soon(self.world.handle, handler, theirs)
        return ours

    def events(self, size: int) -> Any:
        return self.news.subscribe(size)


class MemoryDiscovery:
    """What everybody has announced; every search takes `delay` seconds."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.searched: list[tuple[float, Cid]] = []
        self.forgotten: list[PeerId] = []
        self.looked_up: list[PeerId] = []
        self.error: CodexError | None = None

    async def find_providers(self, cid: Cid) -> list[SignedPeerRecord]:
        self.searched.append((trio.current_time(), cid))
        await trio.sleep(self.world.search_delay)
        if self.error is not None:
            raise self.error
        return list(self.world.providers[cid])

    async def find_peer(self, peer: PeerId) -> SignedPeerRecord | None:
        self.looked_up.append(peer)
        await trio.sleep(self.world.search_delay)
        return self.world.newest.get(peer)

    async def forget_provider(self, peer: PeerId) -> None:
        self.forgotten.append(peer)
        await trio.lowlevel.checkpoint()


@define(eq=False)
class Person:
    """A node, as far as the exchange goes."""

    switch: MemorySwitch
    discovery: MemoryDiscovery
    store: BlockStore
    exchange: Exchange
    service: ExchangeService
    supervisor: Supervisor

    @property
    def peer_id(self) -> PeerId:
        return self.switch.peer_id

    async def keep(self, dataset: "Dataset", indices: Sequence[int] | None = None) -> None:
        """Store a dataset, or those leaves of it."""
        if indices is None:
            ingest = await self.store.begin()
            await self.store.stage(ingest, 0, dataset.blocks)
            await self.store.commit(ingest, dataset.tree, dataset.manifest)
        else:
            leaves = [Leaf(i, dataset.blocks[i].cid, dataset.tree.proof(i)) for i in indices]
            await self.store.put_leaves(dataset.cid, leaves, [dataset.blocks[i] for i in indices])

    async def fetch(self, dataset: "Dataset", indices: Sequence[int] | None = None) -> dict[int, Block]:
        """Fetch these leaves, or all."""
        got: dict[int, Block] = {}
        wanted = range(len(dataset.blocks)) if indices is None else indices
        count, size = len(dataset.blocks), dataset.manifest.block_size
        async with self.exchange.fetch_leaves(dataset.cid, count, wanted, block_size=size) as arrivals:
            async for batch in arrivals:
                got.update(batch)
        return got

    def idle(self) -> bool:
        """Whether nothing is wanted of others, and nothing is left of fetches."""
        wants = self.service._wants
        return (
            not wants._pending
            and not wants._orders.fetches
            and not self.service._fetcher._runs
            and not self.service._fetcher.trees
            and not any(source.asked or source.asked_bytes for source in wants._orders.sources.values())
        )


@frozen
class Dataset:
    """Blocks, their tree and manifest."""

    blocks: list[Block]
    tree: MerkleTree
    manifest: Manifest

    @property
    def cid(self) -> Cid:
        return self.tree.root_cid


class Actor:
    """A peer whose side a test plays: it hears messages and says others, on its own stream."""

    def __init__(self, world: "World", switch: MemorySwitch, play: Callable[["Actor", Message], Any]) -> None:
        self.world = world
        self.switch = switch
        self.heard: list[Message] = []
        self._play = play
        self._streams: dict[PeerId, MemoryStream] = {}
        switch.add(PROTOCOL, self._listen, limit=4)

    @property
    def peer_id(self) -> PeerId:
        return self.switch.peer_id

    async def _listen(self, stream: MemoryStream) -> None:
        reader = MessageReader(stream, 100 << 20)
        while (data := await reader.receive()) is not None:
            message = decode(data)
            self.heard.append(message)
            answer = self._play(self, message)
            if answer is not None:
                await self.say(stream.peer, answer)

    async def say(self, peer: PeerId, answer: Message | bytes) -> None:
        if peer not in self._streams or self._streams[peer].out.broken is not None:
            self._streams[peer] = await self.switch.open_stream(peer, PROTOCOL)
        parts = [answer] if isinstance(answer, bytes) else encode(answer)
        await write_message(self._streams[peer], *parts)

    def wants(self) -> set[Any]:
        """What it was asked to send and never told to forget."""
        wanted: set[Any] = set()
        for message in self.heard:
            for entry in message.entries:
                if entry.cancel:
                    wanted.discard(entry.address)
                elif not entry.have:
                    wanted.add(entry.address)
        return wanted


class World:
    """Everybody there is."""

    def __init__(self, directory: Path, nursery: trio.Nursery) -> None:
        self.directory = directory
        self.nursery = nursery
        self.latency = 0.01
        self.search_delay = 0.5
        self.switches: dict[PeerId, MemorySwitch] = {}
        self.providers: defaultdict[Cid, list[SignedPeerRecord]] = defaultdict(list)
        self.newest: dict[PeerId, SignedPeerRecord] = {}
        """By peer: what a look-up by its name finds."""
        self.offload: Offload = Inline()
        self.crashes: list[BaseException] = []

    def dataset(self, count: int, size: int = 1024, *, seed: int = 0) -> Dataset:
        blocks = [Block.of((seed * 1_000_003 + i).to_bytes(8, "big") * (size // 8)) for i in range(count)]
        tree, manifest = make_dataset(blocks, block_size=size)
        return Dataset(blocks, tree, manifest)

    async def person(
        self, name: str, *, config: ExchangeConfig | None = None, store: StoreConfig | None = None
    ) -> Person:
        """Somebody new, who lives until the test ends."""
        person: Person = await self.nursery.start(self._live, name, config or ExchangeConfig(), store)
        return person

    def _note(self, event: ServiceEvent) -> None:
        if event.error is not None:
            self.crashes.append(event.error)

    async def _live(
        self, name: str, config: ExchangeConfig, store: StoreConfig | None, *, task_status: Any
    ) -> None:
        switch = self._switch(name)
        board, discovery = ExchangeBoard(switch), MemoryDiscovery(self)
        made: list[ExchangeService] = []
        opened = open_test_store(self.directory / name, store, offload=self.offload)
        async with opened as blocks, open_supervisor(on_event=self._note) as supervisor:

            def make() -> ExchangeService:
                parts = {"switch": switch, "discovery": discovery, "store": blocks, "board": board}
                made.append(ExchangeService(config, offload=self.offload, **parts))
                return made[-1]

            mailbox = await supervisor.start("exchange", make, Policy())
            task_status.started(
                Person(switch, discovery, blocks, Exchange(mailbox, board), made[-1], supervisor)
            )
            await trio.sleep_forever()

    def actor(self, name: str, play: Callable[[Actor, Message], Any]) -> Actor:
        """A peer that says what `play(actor, message)` returns to each message it hears."""
        return Actor(self, self._switch(name), play)

    def nobody(self, name: str) -> MemorySwitch:
        """A peer that is never reached."""
        switch = self._switch(name)
        switch.up = False
        return switch

    def _switch(self, name: str) -> MemorySwitch:
        switch = MemorySwitch(self, name)
        self.switches[switch.peer_id] = switch
        return switch

    def announce(self, cid: Cid, *whom: Any) -> None:
        """Have discovery name these as providers."""
        for somebody in whom:
            switch = somebody if isinstance(somebody, MemorySwitch) else somebody.switch
            self.providers[cid].append(switch.record())

    def join(self, *everybody: Any) -> None:
        """Connect all of these with each other."""
        for i, one in enumerate(everybody):
            for other in everybody[i + 1 :]:
                self.link(one.switch, other.switch)

    def link(self, one: MemorySwitch, other: MemorySwitch) -> None:
        if other.peer_id in one.links:
            return
        link = Link((one, other))
        one.links[other.peer_id] = other.links[one.peer_id] = link
        address = Multiaddr.parse("/ip4/10.0.0.1/tcp/8070")
        one.news.publish(PeerJoined(other.peer_id, address))
        other.news.publish(PeerJoined(one.peer_id, address))

    def cut(self, one: Any, other: Any, why: str = "cut") -> None:
        """End the connection between two."""
        one = one if isinstance(one, MemorySwitch) else one.switch
        other = other if isinstance(other, MemorySwitch) else other.switch
        link = one.links.pop(other.peer_id, None)
        if link is None:
            return
        del other.links[one.peer_id]
        for stream in link.streams:
            stream.reset("the connection is gone")
        one.news.publish(PeerLeft(other.peer_id, why))
        other.news.publish(PeerLeft(one.peer_id, why))

    async def handle(self, handler: Callable[[Any], Awaitable[None]], stream: MemoryStream) -> None:
        try:
            await handler(stream)
            stream.reset("its handler is done with it")
        except CodexError as error:
            stream.reset(error.message)


@asynccontextmanager
async def open_world(directory: Path) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        world = World(directory, nursery)
        yield world
        nursery.cancel_scope.cancel()
    if world.crashes:
        raise world.crashes[0]


@pytest.fixture
async def world(tmp_path: Path, autojump_clock: Any) -> AsyncIterator[World]:
    """A world without anybody in it, on virtual time."""
    async with open_world(tmp_path) as world:
        yield world
