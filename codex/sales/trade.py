"""The trade of one life: what the marketplace tells becomes slots in the queue, and these become agents.

At most so many agents work at getting a slot at the same time; those that hold one do not count. An agent
that breaks is logged, and its slot is taken up anew after a pause; no other agent notices.
"""

from collections.abc import Awaitable, Callable, Sequence

import trio
from attrs import evolve

from codex.chain import Reorganised
from codex.errors import CodexError
from codex.logs import get_logger
from codex.market import (
    Address,
    MarketEvent,
    RequestCancelled,
    RequestFailed,
    RequestFulfilled,
    RequestId,
    Slot,
    SlotFilled,
    SlotFreed,
    SlotId,
    SlotReservationsFull,
    repair_collateral,
)
from codex.sales.agent import Agent
from codex.sales.bench import Bench
from codex.sales.bookmark import Bookmark
from codex.sales.deciding import Check, Decision, Judgement, Verdict, judge
from codex.sales.holding import NEVER_PAID
from codex.sales.openings import MOST, Opening, Openings
from codex.sales.queue import Item, Rank, SlotQueue
from codex.sales.standing import Standing
from codex.sales.states import Event
from codex.sales.views import SaleView
from codex.store import SlotReservation

WORKERS = 3
"""Agents that work at getting a slot at the same time."""
QUEUE = 1024
"""Slots in the queue: some 500 bytes each."""
RECONSIDER = 600.0
"""Seconds after which slots that were not wanted are judged anew at the latest, or a period if longer."""
PAUSE = 5.0
"""Seconds after which what could not be done is tried again."""
SETTLE = 1.0
"""Seconds between what was taken back and hearing anew."""
MARK = 60.0
"""Seconds between two bookmarks: what was told between the last one and the end of a life is read twice."""
_BETTER = f"{QUEUE} other slots are worth more"

_log = get_logger("sales")


class Trade:
    """The queue and the agents. `run` never ends by itself."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._queue = SlotQueue(QUEUE, paused=True)
        self._openings = Openings()
        self._standing = Standing(bench.config.duration_limit)
        self._heard: int | None = None
        """The first block that was not heard; None when there was none yet in this life."""
        self._bookmark = Bookmark(bench.book, bench.market, bench.chain)
        self._marked = -MARK
        self._agents: dict[SlotId, Agent] = {}
        self._later: dict[SlotId, Item] = {}
        """Slots told to be open while an agent is at them, which may be about to give them up."""
        self._nursery: trio.Nursery | None = None
        self._following = trio.CancelScope()
        self._offered = trio.Event()

    # -- seen from outside

    def views(self) -> list[SaleView]:
        """Every sale, the oldest first."""
        return [SaleView.of(agent) for agent in self._agents.values()]

    def view(self, slot: SlotId) -> SaleView | None:
        agent = self._agents.get(slot)
        return None if agent is None else SaleView.of(agent)

    def look_again(self) -> None:
        """Something else is offered: have all slots judged anew, those too that were dropped."""
        self._offered.set()

    # -- the tasks

    async def run(self) -> None:
        """Take up what was begun, then follow the marketplace."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await self._insist(self._bench.reserved.load)
            await self._insist(self._resume)
            await self._insist(self._tidy)
            nursery.start_soon(self._tend)
            nursery.start_soon(self._reconsider)
            while True:
                with trio.CancelScope() as self._following:
                    await self._insist(self._follow)
                await trio.sleep(SETTLE)  # a provider may take something back all the time

    async def _insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do something that may fail while the chain or the disk is away, until it has been done."""
        while True:
            try:
                return await work()
            except CodexError as error:
                _log.warning("trading waits", why=error.message, remedy=error.remedy)
            await trio.sleep(PAUSE)
            await self._bench.chain.connected()

    async def _resume(self) -> None:
        """An agent for each slot that has something reserved, or is ours by what the chain says."""
        reservations = await self._bench.book.slots()
        for reservation in reservations:
            slot = _slot_of(reservation)
            if slot not in self._agents:
                self._begin(slot, reservation=reservation)
        await self._adopt()

    async def _tidy(self) -> None:
        """Have the node let go of what no sale holds any more: a slot that was taken over with nothing
        reserved for it, and lost while nobody was here. No clock ever lets go of it.
        """
        reserved = {_slot_of(reservation) for reservation in await self._bench.book.slots()}
        await self._bench.duties.on_tidy(reserved | self._agents.keys())

    async def _adopt(self) -> None:
        """Take slots over that are ours and that no agent knows of."""
        for slot in await self._bench.market.my_slots():
            if slot in self._agents:
                continue
            known = await self._bench.market.get_active_slot(slot)
            if await self._bench.history.was_lost(slot, NEVER_PAID):
                continue  # the marketplace counts it as ours for ever
            if known is not None and slot not in self._agents:
                _log.warning("a slot is held for which nothing is reserved", slot=str(slot))
                self._begin(slot, known=known)

    async def _tend(self) -> None:
        """Once a period: slots that nobody looks after are taken over, and slots past filling forgotten."""
        while True:
            await trio.sleep(max(PAUSE, self._bench.config.proofs.period))
            await self._insist(self._adopt)
            for item in self._queue.expire(int(await self._bench.time.now())):
                self._close(item, "it was not filled in time")

    async def _reconsider(self) -> None:
        """Judge the slots that were not wanted whenever something has changed, and now and then: balances
        and disks change, too, and nobody says so.
        """
        while True:
            with trio.move_on_after(max(RECONSIDER, self._bench.config.proofs.period)):
                await self._offered.wait()
            self._offered = trio.Event()
            if self._queue.overflowed and len(self._queue) < QUEUE // 2:
                self._following.cancel()
            await self._insist(self._reconsider_once)

    async def _reconsider_once(self) -> None:
        offered = await self._bench.book.availabilities()

        def wanted(item: Item) -> bool:
            there = judge(item.ask, collateral=0, end=item.deadline, availabilities=offered)
            return there.availability is not None

        if self._queue.reconsider(wanted):
            self._dispatch()

    # -- what the marketplace tells

    async def _follow(self) -> None:
        """Hear everything that was told since the oldest request or lost slot that is still open. Ends when
        the chain has taken something back: from there on it is to be heard anew.
        """
        bench = self._bench
        begin = await self._begin_at()
        self._queue.overflowed = False
        self._openings = Openings()
        async for told in await bench.market.events(begin):
            if isinstance(told, Reorganised):
                self._heard = told.first if self._heard is None else min(self._heard, told.first)
                for agent in tuple(self._agents.values()):
                    agent.interrupt(Event.LOOK)
                return
            now = int(await bench.time.now())
            for event, log in told.events:
                if isinstance(event, SlotReservationsFull) and self._is_reserved(event):
                    continue  # this host is one of those who have reserved it
                self._openings.hear(event)
                self._standing.hear(event, log.block, now)
                await self._hear(event)
            self._heard = told.cursor.next
            head = bench.chain.head
            if head is None or told.cursor.next > head.number:
                await self._open()
                self._queue.paused = False
                self._dispatch()
                await self._mark()

    async def _begin_at(self) -> int:
        """The block that following begins at: from where the last life left off, or as far back as a request
        can last.
        """
        now = int(await self._bench.time.now())
        if self._heard is not None:
            return self._standing.since(self._heard, now)
        oldest = max(0, now - self._bench.config.duration_limit)
        kept = await self._bookmark.find(oldest)
        return kept if kept is not None else await self._bench.chain.block_at(oldest)

    async def _mark(self) -> None:
        """Note now and then where the next life is to begin."""
        if self._heard is not None and trio.current_time() - self._marked >= MARK:
            self._marked = trio.current_time()
            await self._bookmark.keep(self._standing.since(self._heard, int(await self._bench.time.now())))

    async def _hear(self, event: MarketEvent) -> None:
        """What an event means for the queue, and for agents that are at work."""
        match event:
            case SlotFilled(request, index):
                self._forget(request, index)
                agent = self._agents.get(SlotId.of(request, index)) if self._agents else None
                if agent is not None and await self._host(agent) not in (None, self._bench.account):
                    agent.interrupt(Event.OUTDONE)
            case SlotFreed(request, index):
                if self._bench.reserved:
                    await self._bench.reserved.forget(SlotId.of(request, index))
                agent = self._agents.get(SlotId.of(request, index)) if self._agents else None
                if agent is not None and await self._host(agent) != self._bench.account:
                    agent.interrupt(Event.SLOT_FREED)
            case SlotReservationsFull(request, index):
                self._forget(request, index)
            case RequestFulfilled(request):
                self._forget_request(request)
            case RequestFailed(request) | RequestCancelled(request):
                self._forget_request(request)
                over = Event.REQUEST_FAILED if isinstance(event, RequestFailed) else Event.REQUEST_CANCELLED
                for agent in tuple(self._agents.values()):
                    if agent.sale.request_id == request:
                        agent.interrupt(over)

    def _is_reserved(self, event: SlotReservationsFull) -> bool:
        reserved = self._bench.reserved
        return bool(reserved) and SlotId.of(event.request, event.index) in reserved

    def _forget(self, request: RequestId, index: int) -> None:
        """A slot is not open any more."""
        self._queue.delete(request, index)
        if self._later:
            self._later.pop(SlotId.of(request, index), None)

    def _forget_request(self, request: RequestId) -> None:
        self._queue.delete_request(request)
        self._later = {slot: item for slot, item in self._later.items() if item.request != request}

    async def _host(self, agent: Agent) -> Address | None:
        """Whose a slot is now: an event may be old by the time it is heard, or taken back."""
        return await self._bench.market.get_host(agent.sale.slot)

    async def _open(self) -> None:
        """Judge what has opened, and put it into the queue, what is worth most first: a host that was away
        may find more than any queue holds, and looks at no slot of what would only be dropped.
        """
        requests, freed = self._openings.take(int(await self._bench.time.now()))
        if not requests and not freed:
            return
        availabilities = await self._bench.book.availabilities()
        token = self._bench.entropy.token
        ranked: list[tuple[Rank, bytes, Opening, Judgement]] = []
        for opening in requests:
            told = opening.told
            judgement = judge(told.ask, collateral=0, end=told.expiry, availabilities=availabilities)
            rank = opening.rank(seen=judgement.availability is None)
            ranked.append((rank, token(8), opening, judgement))
            await trio.lowlevel.checkpoint()
        ranked.sort(key=lambda there: there[:2])
        at_work = {agent.sale.request_id for agent in self._agents.values()}
        passed = 0
        for rank, _, opening, judgement in ranked:
            if opening.told.request in at_work or not self._queue.is_above(rank):
                self._enqueue(opening.items(token), judgement)
            else:
                passed += self._pass_over(opening, QUEUE - passed)
            await trio.lowlevel.checkpoint()
        if passed > QUEUE:
            _log.info("slots are passed over", slots=passed, why=_BETTER)
        for request, index in freed:
            item, end = await self._freed(request, index)
            if item is not None:
                judgement = judge(item.ask, collateral=0, end=end, availabilities=availabilities)
                self._enqueue([item], judgement)
            elif SlotId.of(request, index) not in self._agents:
                self._standing.past_filling(request, index, self._heard or 0)

    async def _freed(self, request: RequestId, index: int) -> tuple[Item | None, int]:
        """A slot that another host has lost, and when its request ends; None when it is no use any more."""
        market = self._bench.market
        state = await market.request_state(request)
        known = await market.get_request(request)
        if state is None or known is None or state.over:
            return None, 0
        slot = Slot(known, index)
        if slot.id in self._agents or not (await market.slot_state(slot.id)).fillable:
            return None, 0
        end = await market.request_end(request)
        item = Item(
            request,
            index,
            known.ask,
            deadline=end,
            collateral=repair_collateral(known.ask, self._bench.config.collateral),
            repair=True,
            lot=self._bench.entropy.token(8),
        )
        return item, end

    def _pass_over(self, opening: Opening, noted: int) -> int:
        """The queue has no room for the slots of a request; how many they are. So many at most are noted."""
        self._queue.overflowed = True
        if noted <= 0:
            return min(opening.told.ask.slots, MOST)
        items = opening.items(self._bench.entropy.token)
        for item in items[:noted]:
            self._note(item, Verdict.DROPPED, _BETTER)
        return len(items)

    def _enqueue(self, items: Sequence[Item], judgement: Judgement) -> None:
        """Put slots of one request into the queue. What no availability takes is marked as seen at once:
        nobody need ask the chain about it.
        """
        for item in items:
            if self._agents and item.slot in self._agents:
                self._later[item.slot] = item
                continue
            if judgement.availability is None:
                item = evolve(item, seen=True)
                self._note(item, Verdict.UNWANTED, judgement.reason, judgement.checks)
            dropped = self._queue.push(item)
            if dropped is not None:
                self._note(dropped, Verdict.DROPPED, _BETTER)

    def _close(self, item: Item, why: str) -> None:
        self._note(item, Verdict.CLOSED, why)

    def _note(self, item: Item, verdict: Verdict, reason: str, checks: tuple[Check, ...] = ()) -> None:
        now = int(self._bench.clock.now())
        self._bench.journal.note(Decision(item.slot, item.request, item.index, now, verdict, reason, checks))

    # -- agents

    def _dispatch(self) -> None:
        """Give the best slots to agents, as many as may be at it."""
        busy = sum(not agent.settled for agent in self._agents.values())
        while busy < WORKERS and (item := self._queue.pop()) is not None:
            if item.slot not in self._agents:
                self._begin(item.slot, item=item)
                busy += 1

    def _begin(
        self,
        slot: SlotId,
        *,
        item: Item | None = None,
        reservation: SlotReservation | None = None,
        known: Slot | None = None,
    ) -> None:
        assert self._nursery is not None
        agent = Agent(self._bench, slot, item, reservation, known, moved=self._dispatch)
        self._agents[slot] = agent
        self._nursery.start_soon(self._run_agent, agent, name=f"sale {slot}")

    async def _run_agent(self, agent: Agent) -> None:
        slot = agent.sale.slot
        try:
            await agent.run()
        except Exception:
            _log.exception("an agent broke; its slot is taken up anew", slot=str(slot))
            await trio.sleep(PAUSE)
            del self._agents[slot]
            await self._insist(self._resume)
        else:
            del self._agents[slot]
        again = self._later.pop(slot, None)
        if agent.requeue is not None:
            self._queue.push(evolve(agent.requeue, seen=True))
        elif again is not None:
            self._queue.push(again)
        if agent.sale.reservation is not None:
            # What it had reserved is free again, and may be what another slot was missing.
            self.look_again()
        self._dispatch()


def _slot_of(reservation: SlotReservation) -> SlotId:
    return SlotId.of(RequestId(reservation.request), reservation.slot)
