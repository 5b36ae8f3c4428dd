"""An agent: one task that looks after one purchase until its money is settled, by the table in states.py."""

from collections.abc import Awaitable, Callable

import trio
from attrs import evolve, frozen

from codex.errors import ChainRefused, ChainUnreachable, CodexError, InsufficientFunds, InvalidInput
from codex.logs import get_logger
from codex.market import RequestState
from codex.purchasing.ports import Chain, Marketplace
from codex.purchasing.record import Purchase
from codex.purchasing.states import LOOKED_AFTER, PURCHASE, Event, State
from codex.runtime import Clock, Machine

NOTHING_LEFT = "Marketplace_NothingToWithdraw"
THERE_ALREADY = "Marketplace_RequestAlreadyExists"
TIMED_OUT = "Purchase cancelled due to timeout"
FAILED = "Purchase failed"
"""The words that the network's tools know."""
FORGOTTEN = 600.0
"""Seconds after which a request that the chain does not know counts as lost: after a reorganisation it may
take a while until it is in a block again."""
PAUSES = (1.0, 60.0)
"""Seconds before the first of further tries, and at most before any."""
NEXT_LOOK = 5.0
"""Seconds between two looks for a request that may still be on its way."""
LOOKS = 60
"""How often is looked before a request is asked for again while something of this account waits for a block:
it may be anything, and a transaction that is stuck makes way only for one that comes after it.
"""

_log = get_logger("purchasing")

_SEEN = {
    RequestState.NEW: Event.SENT,
    RequestState.STARTED: Event.FULFILLED,
    RequestState.CANCELLED: Event.EXPIRED,
    RequestState.FINISHED: Event.ENDED,
    RequestState.FAILED: Event.REQUEST_FAILED,
}
_UNSTARTED = (RequestState.NEW, RequestState.CANCELLED)
"""How a request stands whose start was taken back."""


@frozen
class Desk:
    """What every agent works with. `keep` makes a purchase durable and tells of it."""

    market: Marketplace
    chain: Chain
    clock: Clock
    keep: Callable[[Purchase], Awaitable[None]]


class Agent:
    """One purchase. `run` ends when nothing more is to be done for it."""

    def __init__(self, desk: Desk, purchase: Purchase, *, known: bool) -> None:
        """`known`: it is there for longer than this life, and the chain is asked how it stands."""
        self.purchase = purchase
        self._desk = desk
        self._machine = Machine(PURCHASE, State.UNKNOWN if known else State.PENDING)
        self._news = trio.Event()
        self._failures = 0
        self._tried = known
        """Whether the request may have been sent already."""
        self._looks = 0

    @property
    def state(self) -> State:
        return self._machine.state

    def poke(self) -> None:
        """The marketplace has told something of this request."""
        self._news.set()

    async def run(self) -> None:
        """Look after the purchase until it is over and what was left of its price has come back."""
        while not self._machine.ended:
            event = await self._try(self._step)
            before, after = self.state, self._machine.fire(event)
            if after is not before or event is not Event.AGAIN:
                await self._try(self._keep)
        while not self.purchase.over:
            await self._try(self._settle)

    async def _try(self, work: Callable[[], Awaitable[Event]]) -> Event:
        """Do something; when it fails, try again after a pause, or say AGAIN where a look must come first."""
        while True:
            try:
                event = await work()
            except ChainUnreachable:
                await self._desk.chain.connected()
            except CodexError as error:
                self._note(error)
            except Exception:
                _log.exception("looking after a purchase failed", purchase=str(self.purchase.id))
            else:
                self._failures = 0
                return event
            self._failures += 1
            first, most = PAUSES
            await trio.sleep(min(most, first * 2.0 ** min(self._failures - 1, 10)))

    def _note(self, error: CodexError) -> None:
        _log.warning(
            "a purchase waits",
            purchase=str(self.purchase.id),
            state=self.state.value,
            why=error.message,
            remedy=error.remedy,
        )

    async def _keep(self) -> Event:
        error = self.purchase.error
        if self.state is State.CANCELLED and self.purchase.withdrawn:
            error = TIMED_OUT
        self.purchase = evolve(
            self.purchase, state=self.state, error=error, changed=int(self._desk.clock.now())
        )
        _log.info("purchase", purchase=str(self.purchase.id), state=self.state.value)
        await self._desk.keep(self.purchase)
        return Event.AGAIN

    async def _step(self) -> Event:
        if self.state is State.PENDING:
            return await self._send()
        if self.state is State.FAILED:
            await self._withdraw()
            self.purchase = evolve(self.purchase, error=FAILED, withdrawn=True)
            return Event.REFUSED
        if self.state in LOOKED_AFTER:
            return await self._wait()
        return await self._find_out()

    async def _send(self) -> Event:
        """Ask for the storage, and pay for it."""
        request = self.purchase.request
        assert request is not None
        tried, self._tried = self._tried, True
        event = await self._sent(tried)
        if event is not None:
            return event
        try:
            await self._desk.market.request_storage(request)
        except (InvalidInput, InsufficientFunds, ChainRefused) as error:
            # What was sent before may be why: the request is there already, or is paid for.
            there = isinstance(error, ChainRefused) and error.reason == THERE_ALREADY
            event = await self._sent(tried, surely=there)
            if event is not None:
                return event
            why = f"{error.message}. {error.remedy}" if error.remedy else error.message
            self.purchase = evolve(self.purchase, error=why)
            return Event.REFUSED
        return Event.SENT

    async def _sent(self, tried: bool, *, surely: bool = False) -> Event | None:
        """What became of a request that was sent before: SENT when it is in a block, AGAIN, a while later,
        when it may be on its way to one, and None when it has to be sent.

        `tried`: it may have been sent; `surely`: it was.
        """
        self._news = trio.Event()
        # Asked first: what waits for a block now may be in one by the next line.
        waiting = await self._desk.chain.waiting() if tried else 0
        if await self._desk.market.request_state(self.purchase.id) is not None:
            return Event.SENT
        if not surely and (not waiting or self._looks >= LOOKS):
            return None
        self._looks += 1
        await self._until(await self._desk.chain.clock.now() + NEXT_LOOK)
        return Event.AGAIN

    async def _wait(self) -> Event:
        """Wait until the chain says something else of the request."""
        market, id = self._desk.market, self.purchase.id
        while True:
            self._news = trio.Event()
            state = await market.request_state(id)
            if state is None:
                return Event.LOOK
            event = _SEEN[state]
            if self._machine.interrupted_by(event):
                return event
            if self.state is State.STARTED and state in _UNSTARTED:
                return Event.LOOK
            limit = market.request_expiry if state is RequestState.NEW else market.request_end
            moment = await limit(id) + 1
            # When the clock is ahead of the newest block, that one comes in a moment.
            await self._until(max(moment, await self._desk.chain.clock.now() + 1))

    async def _until(self, moment: float) -> None:
        """Wait for a moment of the chain's time, or for news."""

        async def wait() -> None:
            await self._news.wait()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await self._desk.chain.clock.until(moment)
            nursery.cancel_scope.cancel()

    async def _find_out(self) -> Event:
        """How it stands, after a restart or when the chain has taken something back."""
        self._news = trio.Event()
        state = await self._desk.market.request_state(self.purchase.id)
        if state is not None:
            if self.purchase.request is None:
                request = await self._desk.market.get_request(self.purchase.id)
                self.purchase = evolve(self.purchase, request=request)
            return _SEEN[state]
        if self.purchase.state is State.PENDING:
            return await self._take_up()
        if self._desk.clock.now() < self.purchase.changed + FORGOTTEN:
            await self._until(await self._desk.chain.clock.now() + PAUSES[1])
            return Event.AGAIN
        self.purchase = evolve(self.purchase, error="the chain does not know this request (any more)")
        return Event.LOST

    async def _take_up(self) -> Event:
        """Go on with what the node stopped at: a request that no block has yet."""
        request = self.purchase.request
        assert request is not None
        if self._desk.clock.now() <= self.purchase.made + request.expiry:
            return Event.UNSENT
        # Its client did not want to wait so long for hosts.
        event = await self._sent(tried=True)
        if event is None:
            why = "the node stopped before the request was sent, and now it is too late; nothing was paid"
            self.purchase = evolve(self.purchase, error=why)
            return Event.LOST
        return event

    async def _settle(self) -> Event:
        """Take back what is left of the price."""
        await self._withdraw()
        self.purchase = evolve(self.purchase, withdrawn=True)
        return await self._keep()

    async def _withdraw(self) -> None:
        try:
            await self._desk.market.withdraw_funds(self.purchase.id)
        except ChainRefused as error:
            if error.reason != NOTHING_LEFT:
                raise
