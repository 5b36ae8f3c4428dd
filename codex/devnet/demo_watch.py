"""What the demo shows of a request while it runs: each slot as the chain tells it, read over one node's way
to the chain.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping

import trio
from attrs import define, field, frozen

from codex.chain import Marketplace, Reorganised
from codex.devnet.demo_ledger import Course, DemoFailed, Fill
from codex.errors import CodexError
from codex.market import (
    Address,
    MarketEvent,
    ProofSubmitted,
    SlotFilled,
    SlotFreed,
    SlotId,
    SlotState,
    StorageRequest,
)
from codex.node import Node

LOOK = 0.5
"""Seconds between two looks at what the chain tells by no event."""


@frozen
class SlotRow:
    """One slot as it stands. `host` is a name, "" while there is none; `collateral` is what is left of it."""

    index: int
    state: SlotState
    host: str
    proofs: int
    """Proofs that the marketplace has taken, that of filling it included."""
    missed: int
    """Proofs marked as missing since it was filled last."""
    collateral: int


@define(eq=False)
class Watch:
    """One request, followed from its first block on. `rows` and what else it knows change while `run` runs.

    Raises DemoFailed when the chain takes back what it told, which a chain of one node never does.
    """

    marketplace: Marketplace
    request: StorageRequest
    names: Mapping[Address, str]
    shown: Callable[[tuple[SlotRow, ...]], None]
    """Told the rows whenever one is another than before."""
    rows: tuple[SlotRow, ...] = ()
    held: dict[int, Fill] = field(factory=dict)
    """By index, the filling that stands."""
    lost: list[Fill] = field(factory=list)
    _proofs: dict[SlotId, int] = field(factory=dict)
    _news: trio.Event = field(factory=trio.Event)

    async def run(self, since: int) -> None:
        """Follow the request from the block of that number on, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, since)
            while True:
                await self._look()
                await trio.sleep(LOOK)

    async def until(
        self,
        what: str,
        reached: Callable[[], bool],
        patience: float,
        why: Callable[[], Awaitable[str]] | None = None,
    ) -> None:
        """Wait for something. Raises DemoFailed when it is not so after `patience` seconds, with what `why`
        tells of it then.
        """
        with trio.move_on_after(patience):
            while not reached():
                await self._news.wait()
            return
        now = ", ".join(f"{row.index} {row.state.name.lower()} {row.host}".strip() for row in self.rows)
        told = f"after {patience:.0f} seconds not {what}; slots: {now or 'none seen'}"
        raise DemoFailed(told if why is None else f"{told}; {await why()}")

    def proofs(self, index: int) -> int:
        """How many proofs of a slot were taken."""
        return self._proofs.get(self.request.slot(index).id, 0)

    async def course(self) -> Course:
        """What happened, once the request is over."""
        market = self.marketplace
        missed = {index: await market.missing_proofs(self.request.slot(index).id) for index in self.held}
        end = await market.request_end(self.request.id)
        return Course(dict(self.held), missed, tuple(self.lost), end)

    async def _follow(self, since: int) -> None:
        async for told in await self.marketplace.events(since):
            if isinstance(told, Reorganised):
                raise DemoFailed(f"the chain has taken back its blocks from {told.first} on")
            for event, log in told.events:
                await self._hear(event, log.block)
            if told.events:
                await self._look()

    async def _hear(self, event: MarketEvent, block: int) -> None:
        match event:
            case SlotFilled(request, index) if request == self.request.id:
                header = await self.marketplace.chain.header(block)
                host = await self.marketplace.get_host(self.request.slot(index).id)
                if header is None or host is None:
                    raise DemoFailed(f"slot {index} was filled in block {block}, and the chain knows no host")
                repair = any(fill.index == index for fill in self.lost)
                self.held[index] = Fill(index, host, header.timestamp, repair)
            case SlotFreed(request, index) if request == self.request.id:
                self.lost.append(self.held.pop(index))
            case ProofSubmitted(slot):
                self._proofs[slot] = self._proofs.get(slot, 0) + 1

    async def _look(self) -> None:
        """Read every slot, and show what is new."""
        rows = tuple([await self._row(index) for index in range(self.request.ask.slots)])
        if rows != self.rows:
            self.rows = rows
            self.shown(rows)
        self._news.set()
        self._news = trio.Event()

    async def _row(self, index: int) -> SlotRow:
        market, id = self.marketplace, self.request.slot(index).id
        state = await market.slot_state(id)
        host = await market.get_host(id)
        taken = host is not None
        return SlotRow(
            index=index,
            state=state,
            host="" if host is None else self.names.get(host, str(host)),
            proofs=self._proofs.get(id, 0),
            missed=await market.missing_proofs(id) if taken else 0,
            collateral=await market.current_collateral(id) if taken else 0,
        )


async def decided(hosts: Mapping[str, Node], request: StorageRequest, slots: Iterable[int]) -> str:
    """What each host has decided last about those slots of a request, in words."""
    words = []
    for name, node in hosts.items():
        try:
            found = [
                decision
                for index in slots
                for decision in await node.market.decisions(request.slot(index).id, limit=1)
            ]
        except CodexError as error:
            words.append(f"{name} does not tell: {error.message}")
            continue
        last = max(found, key=lambda decision: decision.at, default=None)
        words.append(
            f"{name} has seen none of them"
            if last is None
            else f"{name} about slot {last.index}: {last.verdict.value}, {last.reason}"
        )
    return "; ".join(words)
