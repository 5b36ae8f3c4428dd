"""What peers want of us, read from the store and handed to their sessions: answers first, then blocks."""

from collections.abc import Sequence
from itertools import compress, groupby
from typing import Protocol

import trio

from codex.codec import Cid
from codex.data import Block, BlockAddress, LeafAddress
from codex.errors import CodexError
from codex.exchange.ledger import Batch, Ledger
from codex.exchange.messages import Message, Presence
from codex.exchange.peering import OUTBOX_BYTES, Peering, Session, Signal
from codex.exchange.writing import Proved, encode
from codex.logs import get_logger
from codex.p2p import PeerId
from codex.store import ProvedBlock

READS = 8
"""Batches that are read at once; more gain nothing, and the store has others to serve."""
_ANSWERS_BYTES = OUTBOX_BYTES // 4
"""Bytes that wait to be sent to a peer, from which on its next questions wait for an answer."""

_log = get_logger("exchange")


class Blocks(Protocol):
    """What is needed of the store; see BlockStore for the contracts."""

    async def has_many(self, addresses: Sequence[BlockAddress]) -> list[bool]: ...
    async def find_many(self, addresses: Sequence[BlockAddress]) -> list[Block | None]: ...
    async def find_leaves(self, tree: Cid, indices: Sequence[int]) -> list[ProvedBlock | None]: ...


class Server:
    """Works the ledger off."""

    def __init__(self, store: Blocks, ledger: Ledger, peering: Peering) -> None:
        self._store = store
        self._ledger = ledger
        self._peering = peering
        self._due = Signal()
        self._asking: dict[PeerId, None] = {}
        self._reads = 0

    def wake(self) -> None:
        """There may be batches to read."""
        self._due.set()

    def ask(self, peer: PeerId) -> None:
        """A peer has asked what we have."""
        self._asking[peer] = None
        self._due.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._due.wait()
                for peer in self._asking:
                    session = self._peering.session(peer)
                    if session is not None and not session.answering and self._ledger.asks(peer):
                        session.answering = True
                        nursery.start_soon(self._answer, session)
                self._asking.clear()
                while self._reads < READS and (batch := self._ledger.next_batch()) is not None:
                    self._reads += 1
                    nursery.start_soon(self._bring, batch)
                    # Tasks that begin in the same turn do so in any order, and a peer waits for the first.
                    await trio.lowlevel.checkpoint()

    async def _answer(self, session: Session) -> None:
        """Answer a peer's questions, a message at a time, no faster than it takes the answers."""
        try:
            while queries := self._ledger.take_queries(session.peer):
                try:
                    found = await self._store.has_many([query.address for query in queries])
                except CodexError as error:
                    _log.warning("could not look for what a peer asked about", why=error.message)
                    continue
                presences = tuple(
                    Presence(query.address, have)
                    for query, have in zip(queries, found, strict=True)
                    if have or query.deny
                )
                if presences:
                    session.say(encode(Message(presences=presences)))
                while session.notes_bytes > _ANSWERS_BYTES:
                    await session.room.wait()
        finally:
            session.answering = False

    async def _bring(self, batch: Batch) -> None:
        """Read a batch and hand it to the peer's session."""
        addresses: Sequence[BlockAddress] = batch.addresses
        try:
            read = await self._read(addresses)
            blocks = [found for found in read if found is not None]
            denied: Sequence[BlockAddress] = ()
            if len(blocks) < len(read):
                denied = self._ledger.missed(batch, compress(addresses, [found is None for found in read]))
                addresses = list(compress(addresses, read))
            session = self._peering.session(batch.peer)
            if session is not None and denied:
                self._deny(session, denied)
            if session is None or not session.talking or not blocks:
                self._end(batch)
                return
            self._ledger.resize(batch, sum([len(block.data) for block, _ in blocks]))
            session.deliver(batch, addresses, blocks)
        except trio.Cancelled:
            self._end(batch)
            raise
        finally:
            if self._reads == READS:
                self._due.set()
            self._reads -= 1

    def _deny(self, session: Session, addresses: Sequence[BlockAddress]) -> None:
        """Tell a peer that these are not here; when it takes answers again, if many of them wait for it."""
        if session.notes_bytes > _ANSWERS_BYTES:
            self._ledger.ask(session.peer, addresses)
            self.ask(session.peer)
        else:
            lacking = tuple([Presence(address, False) for address in addresses])
            session.say(encode(Message(presences=lacking)))

    def _end(self, batch: Batch) -> None:
        self._ledger.ended(batch, sent=False)
        self._due.set()

    async def _read(self, addresses: Sequence[BlockAddress]) -> list[Proved | None]:
        """The blocks at these addresses, leaves with their proofs; None for each that is not here, or of a
        tree that cannot be read.
        """
        read: list[Proved | None] = []
        for tree, group in groupby(addresses, _tree_of):
            some = list(group)
            try:
                if tree is None:
                    blocks = await self._store.find_many(some)
                    read += [None if block is None else (block, None) for block in blocks]
                else:
                    indices = [address.index for address in some if isinstance(address, LeafAddress)]
                    read += await self._store.find_leaves(tree, indices)
            except CodexError as error:
                _log.warning("could not read blocks that a peer wants", why=error.message)
                read += [None] * len(some)
        return read


def _tree_of(address: BlockAddress) -> Cid | None:
    return address.tree if isinstance(address, LeafAddress) else None
