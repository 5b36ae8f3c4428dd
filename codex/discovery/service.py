"""Discovery as a service: opens its port and its file, talks, keeps company, and answers calls.

An outage is a state: a node that nobody answers goes on trying, a disk that refuses is told of once and the
node goes on from memory. Everything learned is written down now and then and at the end, and read at the
start, so that a restart is a short silence and no new beginning.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import trio
from attrs import frozen

from codex.codec import Multiaddr
from codex.config import DiscoveryConfig
from codex.discovery import calls
from codex.discovery.advertising import AdvertiserService
from codex.discovery.answers import Answers
from codex.discovery.archive import Archive, open_archive
from codex.discovery.board import Board, Stats, TableNode
from codex.discovery.datagrams import DatagramSocket
from codex.discovery.distance import content_id
from codex.discovery.events import Asked, Counts
from codex.discovery.finding import Finder
from codex.discovery.lan import LanService
from codex.discovery.messages import Answer
from codex.discovery.messenger import Messenger
from codex.discovery.nodes import Node, reach_of
from codex.discovery.providers import Providers
from codex.discovery.seeds import Seeds
from codex.discovery.table import Table
from codex.discovery.talk import Talk
from codex.discovery.upkeep import Upkeep, Witness
from codex.discovery.votes import Votes
from codex.errors import CodexError, DecodeError
from codex.logs import get_logger
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime import Clock, Entropy, Inbox, Offload, serve

__all__ = ["AdvertiserService", "DiscoveryService", "LanService"]

LIMIT = 256
"""Calls in work at once. Half of them may be searches in vain, each as long as one may be."""
SAVING = 30.0
"""Seconds between two savings of what others have told."""
SWEEP = 10
"""Every so many savings what has expired is dropped, and the seeds are saved too: all 5 minutes."""
TELLING = 60.0
"""Seconds whose dropped datagrams are summed up in one line."""
FILE = "nodes.sqlite"

_log = get_logger("discovery")


class DiscoveryService:
    """The task behind `Discovery`. One object is one life; `board` is the same in all of them.

    `open_socket(port)` opens the UDP port; what it raises, the first boot raises. `directory` is `dht` in the
    data directory. `bootstrap` are the nodes to ask first.
    """

    def __init__(
        self,
        config: DiscoveryConfig,
        identity: Identity,
        *,
        board: Board,
        open_socket: Callable[[int], DatagramSocket],
        directory: Path,
        bootstrap: Sequence[SignedPeerRecord] = (),
        clock: Clock,
        entropy: Entropy,
        offload: Offload,
    ) -> None:
        self._config = config
        self._identity = identity
        self._board = board
        self._open_socket = open_socket
        self._path = directory / FILE
        self._bootstrap = bootstrap
        self._clock = clock
        self._entropy = entropy
        self._offload = offload

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Open everything, answer until `inbox` ends, and write down what was learned."""
        board = self._board
        socket = self._open_socket(self._config.port if board.port is None else board.port)
        try:
            board.port = socket.address[1]
            _use_own_address(board, socket)
            memory = await self._offload.run(_open, self._path, self._clock.now())
            if memory.anew:
                _log.warning(
                    "what discovery had written down was damaged, and is begun anew", file=str(self._path)
                )
            try:
                await self._live(inbox, socket, memory, task_status)
            finally:
                board.clear()
                with trio.CancelScope(shield=True):
                    await self._save(memory, seeds=True)
                    await self._offload.run(memory.archive.close)
        finally:
            socket.close()

    async def _live(
        self,
        inbox: Inbox,
        socket: DatagramSocket,
        memory: "_Memory",
        task_status: trio.TaskStatus[None],
    ) -> None:
        parts = self._assemble(socket, memory)
        self._board.table, self._board.stats = parts.table_nodes, parts.stats
        desk = _Desk(self._board, memory.providers, parts.table, parts.finder, parts.upkeep)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(parts.talk.run)
            nursery.start_soon(parts.upkeep.find_company)
            nursery.start_soon(parts.upkeep.revalidate)
            nursery.start_soon(parts.upkeep.refresh)
            nursery.start_soon(self._keep_saving, memory)
            nursery.start_soon(_keep_telling, parts.messenger)
            await serve(inbox, desk.answer, limit=LIMIT, task_status=task_status)
            nursery.cancel_scope.cancel()
        _tell_of_dropped(parts.messenger)

    def _assemble(self, socket: DatagramSocket, memory: "_Memory") -> "_Parts":
        own, records, clock = self._identity.node_id, self._board.records, self._clock
        table, votes = Table(own), Votes()

        def known(node_id: bytes) -> SignedPeerRecord | None:
            entry = table.get(node_id)
            return None if entry is None else entry.node.record

        witness = Witness(table, memory.seeds, votes, arrivals=self._board.arrivals, clock=clock)
        answers = Answers(table, memory.providers, lambda: records.node)
        messenger = Messenger(self._identity, lambda: records.node, entropy=self._entropy, known=known)

        def answer(asked: Asked) -> Sequence[Answer]:
            witness.asked(asked.contact)
            return answers.to(asked, clock.now())

        talk = Talk(
            socket,
            messenger,
            answer=answer,
            ended=witness.ended,
            verified=witness.verified,
        )
        finder = Finder(own, records, table, memory.providers, talk, clock=clock)
        upkeep = Upkeep(
            list(_nodes_of(self._bootstrap, own)),
            table,
            memory.seeds,
            records,
            talk=talk,
            finder=finder,
            arrivals=self._board.arrivals,
            entropy=self._entropy,
        )
        return _Parts(table, votes, messenger, talk, finder, upkeep, memory)

    async def _keep_saving(self, memory: "_Memory") -> None:
        turn = 0
        while True:
            await trio.sleep(SAVING)
            turn += 1
            await self._save(memory, seeds=turn % SWEEP == 0)

    async def _save(self, memory: "_Memory", *, seeds: bool) -> None:
        """Write down what has changed; with `seeds`, drop what has expired first, and write the seeds too."""
        now = self._clock.now()
        if seeds:
            memory.providers.sweep(now)
        changes = memory.providers.take_changes()
        if not changes and not seeds:
            return
        kept = memory.seeds.to_save(now) if seeds else None
        try:
            await self._offload.run(memory.archive.save, changes, kept, now)
        except CodexError as error:
            memory.providers.put_back(changes)
            _log.warning("what discovery knows cannot be written down", why=error.message)


@frozen
class _Memory:
    """What outlives a restart, and the file that it does it in."""

    archive: Archive
    providers: Providers
    seeds: Seeds
    anew: bool


@frozen
class _Parts:
    """What one life is made of."""

    table: Table
    votes: Votes
    messenger: Messenger
    talk: Talk
    finder: Finder
    upkeep: Upkeep
    memory: _Memory

    def table_nodes(self) -> list[TableNode]:
        return [
            TableNode(
                entry.node.node_id,
                entry.node.peer_id,
                str(entry.node.record),
                "{}:{}".format(*entry.node.address),
                entry.seen > 0,
            )
            for entry in self.table
        ]

    def stats(self) -> Stats:
        seen_at = self.votes.outcome(trio.current_time())
        return Stats(
            peers=self.table.verified,
            nodes=len(self.table),
            waiting=self.table.waiting,
            buckets=self.table.buckets,
            seeds=len(self.memory.seeds),
            searching=self.upkeep.searching,
            seen_at="{}:{}".format(*seen_at) if seen_at else None,
            lookups=self.finder.lookups,
            hops=self.finder.hops,
            contents=self.memory.providers.contents,
            providers=self.memory.providers.providers,
            said=len(self.memory.providers),
            sessions=self.messenger.sessions,
            requests=self.messenger.requests,
            packets=Counts(**{name: getattr(self.messenger.counts, name) for name in _COUNTS}),
        )


_COUNTS = tuple(Counts.__annotations__)


class _Desk:
    """Answers each call."""

    def __init__(
        self, board: Board, providers: Providers, table: Table, finder: Finder, upkeep: Upkeep
    ) -> None:
        self._board = board
        self._providers = providers
        self._table = table
        self._finder = finder
        self._upkeep = upkeep

    async def answer(self, call: Any) -> Any:
        match call:
            case calls.FindProviders(cid):
                return await self._finder.find_providers(content_id(cid))
            case calls.Provide(cid, again):
                return await self._finder.provide(content_id(cid), again=again)
            case calls.FindPeer(peer):
                return await self._finder.find_peer(peer)
            case calls.AnnounceAddresses(tcp, udp):
                if self._board.records.announce(tcp, udp):
                    self._providers.renew(self._board.records.provider)
                return None
            case calls.ForgetProvider(peer):
                return self._providers.forget(peer)
            case calls.AddNode(record):
                return await self._add(record)
        raise TypeError(f"discovery does not know the call {call!r}")

    async def _add(self, record: SignedPeerRecord) -> bool:
        for node in _nodes_of([record], self._table.own):
            self._table.add(node)
            return await self._upkeep.ping(node)
        return False


async def _keep_telling(messenger: Messenger) -> None:
    """Sum up what is dropped, in a line a minute when there is anything."""
    while True:
        await trio.sleep(TELLING)
        _tell_of_dropped(messenger)


def _tell_of_dropped(messenger: Messenger) -> None:
    found = messenger.dropped.take()
    if found is not None:
        _log.info("datagrams dropped", **found.fields())


def _open(path: Path, now: float) -> _Memory:
    """Open the file and bring what is in it to mind; may block."""
    archive, remembered, anew = open_archive(path, partial(Archive.remembered, now=now))
    providers, seeds = Providers(), Seeds()
    providers.restore(remembered.said, remembered.records, now)
    seeds.restore(remembered.seeds, now)
    return _Memory(archive, providers, seeds, anew)


def _use_own_address(board: Board, socket: DatagramSocket) -> None:
    """Name the address that the socket is bound to, when it is one and no other was announced."""
    ip, port = socket.address
    if not board.records.announced and reach_of(ip) is not None:
        board.records.announce((), Multiaddr.of(("ip4", ip), ("udp", str(port))))


def _nodes_of(records: Sequence[SignedPeerRecord], own: bytes) -> "list[Node]":
    """The nodes of records that somebody gave us; what cannot be asked is told of in the log."""
    found = []
    for record in records:
        try:
            node = Node.of(record)
        except DecodeError as error:
            _log.warning("a node cannot be asked", peer=str(record.record.peer_id), why=error.message)
        else:
            if node.node_id != own:
                found.append(node)
    return found
