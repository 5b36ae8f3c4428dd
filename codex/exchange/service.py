"""The exchange as a service: sessions with peers, fetches, and serving, in one life."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import trio

from codex.config import ExchangeConfig
from codex.data import BlockAddress
from codex.exchange import calls, fetching, serving
from codex.exchange.board import ExchangeBoard
from codex.exchange.examining import Finding, Heard, examine
from codex.exchange.fetching import Fetcher
from codex.exchange.ledger import Batch, Ledger, Trade
from codex.exchange.messages import Delivery, Entry, Message
from codex.exchange.orders import Action, AskHave, Order, SendAway
from codex.exchange.peering import OUTBOX_BYTES, Peering
from codex.exchange.ports import Discovery, Stream, Switch
from codex.exchange.searching import Searcher
from codex.exchange.serving import Server
from codex.exchange.sources import Want
from codex.exchange.unpacking import Piece
from codex.exchange.wants import Wants
from codex.exchange.writing import encode_wants
from codex.logs import get_logger
from codex.p2p import PeerId
from codex.runtime import Inbox, Offload, serve

LIMIT = 1024
"""Fetches at once, most of which may be of things that nobody has. Further ones wait with their askers."""
SHUNNED = 600.0
"""Seconds for which a peer that was sent away is not asked for anything."""
_MOST_SHUNNED = 1024

_log = get_logger("exchange")


class Store(fetching.Blocks, serving.Blocks, Protocol):
    """What the exchange needs of the store."""


class ExchangeService:
    """The task behind `Exchange`. One object is one life."""

    def __init__(
        self,
        config: ExchangeConfig,
        *,
        switch: Switch,
        discovery: Discovery,
        store: Store,
        board: ExchangeBoard,
        offload: Offload,
    ) -> None:
        self._switch = switch
        self._offload = offload
        self._board = board
        self._wants = Wants(retries=config.block_retries)
        self._ledger = Ledger()
        self._peering = Peering(switch, self)
        self._server = Server(store, self._ledger, self._peering)
        self._searcher = searcher = Searcher(switch, discovery, self._wants, self._is_shunned)
        self._fetcher = Fetcher(
            self._wants, searcher, store, timeout=config.timeout, step=self.step, stored=self._stored
        )
        self._shunned: dict[PeerId, float] = {}
        self._nursery: trio.Nursery | None = None

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Exchange until `inbox` ends."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self._server.run)
                self._nursery.start_soon(self._searcher.turns.run)
                await self._nursery.start(self._peering.run)
                self._board.present = self
                with trio.CancelScope() as scope:
                    # A fetch may take for ever: who stops does not wait for it.
                    self._nursery.start_soon(_cut, inbox.stopping, scope)
                    await serve(inbox, self._answer, limit=LIMIT, task_status=task_status)
                self._nursery.cancel_scope.cancel()
        finally:
            self._board.present = None

    async def attend(self, stream: Stream) -> None:
        """Listen to a stream that a peer has opened, until it ends."""
        await self._peering.attend(stream)

    def ledger(self) -> Mapping[PeerId, Trade]:
        """The accounts, by peer."""
        return self._ledger.trades(self._wants.on_order())

    async def _answer(self, call: Any) -> Any:
        match call:
            case calls.FetchBlock():
                return await self._fetcher.fetch_block(call)
            case calls.FetchLeaves():
                return await self._fetcher.fetch_leaves(call)
        raise TypeError(f"the exchange has no answer to {type(call).__name__}")

    # -- what the sessions tell

    def joined(self, peer: PeerId) -> None:
        """A peer can be talked to."""
        self._wants.joined(peer, trio.current_time(), shunned=self._is_shunned(peer))
        self._ledger.joined(peer)
        self.step()

    def left(self, peer: PeerId) -> None:
        """A peer cannot be talked to any more."""
        self._wants.left(peer)
        self._ledger.left(peer)
        self.step()

    def interrupted(self, peer: PeerId) -> None:
        """What was said to a peer may be lost."""
        self._wants.interrupted(peer)
        self.step()

    def alive(self, peer: PeerId) -> int:
        """More of a message came from a peer; what is on order from it, and the trimmings, may still come."""
        self._wants.alive(peer, trio.current_time())
        return self._wants.due_bytes(peer)

    def broken(self, peer: PeerId, why: str) -> None:
        """A peer sent what is no message."""
        _log.info("a peer sent what cannot be read", peer=str(peer), why=why)
        self._wants.misbehaved(peer, why)
        self.step()

    def ended(self, batch: Batch, *, sent: bool, took: float) -> None:
        """A batch of deliveries has left, or never will."""
        self._ledger.ended(batch, sent=sent, took=took)
        self._server.wake()

    async def examine(self, piece: Piece) -> Heard:
        """More of a message came, and is to be read."""
        return await examine(piece, self._fetcher.trees, self._offload)

    def received(self, peer: PeerId, heard: Heard) -> None:
        """A peer has said that."""
        message = heard.message or Message()
        if message.entries:
            self._note(peer, message.entries)
        if message.presences:
            self._wants.heard(peer, message.presences)
        if heard.deliveries:
            self._take(peer, heard.deliveries, heard.findings)
        if message.presences or heard.deliveries:
            self.step()

    def _note(self, peer: PeerId, entries: Sequence[Entry]) -> None:
        if not self._ledger.note(peer, entries):
            self._send_away(peer, "floods this node with wants")
        self._server.ask(peer)

    def _take(self, peer: PeerId, deliveries: Sequence[Delivery], findings: Sequence[Finding]) -> None:
        """Sort what a peer has sent: to whom it is owed, or what is wrong with it."""
        now = trio.current_time()
        wants = self._wants.arriving(peer, [delivery.address for delivery in deliveries], now)
        true = [
            want for want, finding in zip(wants, findings, strict=True) if finding is Finding.TRUE and want
        ]
        if len(deliveries) == len(set(true)):
            self._hand_in(peer, true, deliveries, now)
            return
        for delivery, finding, want in zip(deliveries, findings, wants, strict=True):
            if want is None or want.over:
                self._wants.unasked(peer, delivery.address, now)
            elif finding is Finding.FALSE:
                self._wants.lied(peer, delivery.address)
            elif finding is Finding.UNFIT:
                self._wants.unfit(peer, delivery.address)
            else:
                self._hand_in(peer, [want], [delivery], now)

    def _hand_in(
        self, peer: PeerId, wants: Sequence[Want], deliveries: Sequence[Delivery], now: float
    ) -> None:
        """Give what was wanted to the fetches that it is for."""
        sizes = [len(delivery.block.data) for delivery in deliveries]
        owed = self._wants.delivered(peer, zip(wants, sizes, deliveries, strict=True), now)
        for fetch, some in owed.items():
            self._fetcher.arrived(fetch, peer, some)
        self._ledger.received(peer, len(sizes), sum(sizes))

    # -- acting

    def step(self) -> None:
        """Decide anew, and have said what is to be said."""
        for action in self._wants.plan(trio.current_time()):
            self._act(action)

    def _act(self, action: Action) -> None:
        session = self._peering.session(action.peer)
        if isinstance(action, SendAway):
            self._send_away(action.peer, action.why)
        elif session is None or not session.talking:
            return
        elif isinstance(action, AskHave):
            # A peer that reads nothing is not told more and more; what it has is asked again some time.
            if session.notes_bytes < OUTBOX_BYTES:
                session.say(encode_wants(action.addresses, have=True, send_dont_have=True, full=action.full))
        elif isinstance(action, Order):
            session.say(encode_wants(action.addresses, send_dont_have=True))
        else:
            session.say(encode_wants(action.addresses, have=True, cancel=True))

    def _send_away(self, peer: PeerId, why: str) -> None:
        if peer in self._shunned or self._nursery is None:
            return
        _log.warning("a peer is sent away", peer=str(peer), why=why)
        if len(self._shunned) < _MOST_SHUNNED:
            self._shunned[peer] = trio.current_time() + SHUNNED
        self._nursery.start_soon(partial(self._switch.disconnect, peer, why))

    def _is_shunned(self, peer: PeerId) -> bool:
        """Whether a peer was sent away lately."""
        now = trio.current_time()
        self._shunned = {other: until for other, until in self._shunned.items() if until > now}
        return peer in self._shunned

    def _stored(self, addresses: Sequence[BlockAddress]) -> None:
        """Blocks have come to this node, and may be wanted by others."""
        if self._ledger.arrived(addresses):
            self._server.wake()


async def _cut(stopping: trio.Event, scope: trio.CancelScope) -> None:
    await stopping.wait()
    scope.cancel()
