"""Purchasing as a service: an agent for each purchase that is not settled.

Restart is boot: what is on this disk and what the chain has of this account are taken up again together.
"""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import trio
from attrs import evolve

from codex.chain import Reorganised
from codex.errors import CodexError, InsufficientFunds
from codex.logs import get_logger
from codex.market import (
    RequestCancelled,
    RequestFailed,
    RequestFulfilled,
    RequestId,
    StorageRequest,
    check_request,
)
from codex.purchasing import calls
from codex.purchasing.agent import Agent, Desk
from codex.purchasing.board import PurchaseChanged, PurchasingBoard
from codex.purchasing.ports import Chain, Marketplace
from codex.purchasing.record import Purchase
from codex.purchasing.states import State
from codex.runtime import Clock, Entropy, Inbox, serve
from codex.store import MarketBook, Record

LIMIT = 32
"""Calls in work at once."""
KIND = "purchase"
KEEP = 10_000
"""Purchases remembered: half a kilobyte each."""
PAGE = 100
"""Purchases read in one step of the loop: one takes some hundredths of a millisecond."""
PROBABILITY = 100
"""The proof probability of a request that names none."""
GAS = 400_000
"""What asking for storage takes at least: the network's contract takes 388,000, of which a tenth more must be
there.
"""
PAUSE = 5.0
"""Seconds after which what could not be done is tried again."""
ADOPT = 600.0
"""Seconds between two looks for requests of this account that nobody looks after."""

_log = get_logger("purchasing")


class PurchasingService:
    """The task behind `Purchasing`. One object is one life."""

    def __init__(
        self,
        *,
        market: Marketplace,
        chain: Chain,
        book: MarketBook,
        board: PurchasingBoard,
        clock: Clock,
        entropy: Entropy,
    ) -> None:
        self._market = market
        self._chain = chain
        self._book = book
        self._board = board
        self._clock = clock
        self._entropy = entropy
        self._agents: dict[RequestId, Agent] = {}
        self._nursery: trio.Nursery | None = None
        self._desk = Desk(market, chain, clock, self._keep)

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer, and look after purchases, until `inbox` ends. They stay as they are for the next life."""
        kept = await self._kept(KEEP)
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for purchase in reversed(kept):
                if not purchase.over:
                    self._begin(purchase, known=True)
            nursery.start_soon(self._follow)
            nursery.start_soon(self._take_over)
            await serve(inbox, self._answer, limit=LIMIT, task_status=task_status)
            nursery.cancel_scope.cancel()

    async def _answer(self, call: Any) -> Any:
        match call:
            case calls.CheckRequest(request):
                return await self._check(self._completed(request))
            case calls.Buy(request):
                return await self._buy(self._completed(request))
            case calls.GetPurchase(id):
                return self._agents[id].purchase if id in self._agents else await self._remembered(id)
            case calls.ListPurchases(limit):
                return await self._kept(limit)
            case calls.ListIds():
                return [RequestId(record.key) async for page in self._pages(KEEP) for record in page]
        raise TypeError(f"purchasing has no answer to {type(call).__name__}")

    def _completed(self, request: StorageRequest) -> StorageRequest:
        ask = request.ask
        return evolve(
            request,
            client=self._market.account,
            nonce=request.nonce if any(request.nonce) else self._entropy.token(32),
            ask=evolve(ask, proof_probability=ask.proof_probability or PROBABILITY),
        )

    async def _check(self, request: StorageRequest) -> None:
        """Raise what the chain would say, before it costs anything."""
        content = evolve(request.content, cid=request.content.cid or b"not known yet")
        check_request(evolve(request, content=content), await self._market.configuration())
        balance = await (await self._market.token()).balance_of()
        if balance < request.ask.price:
            raise InsufficientFunds(
                f"the request costs up to {request.ask.price} tokens, and the account {request.client} has"
                f" {balance}",
                remedy="send tokens to the account, or ask for less: fewer slots, a shorter duration, a"
                " lower price",
            )
        wei, needed = await self._chain.balance(), GAS * await self._chain.gas_price()
        if wei < needed:
            raise InsufficientFunds(
                f"asking for storage takes at least {needed} wei for gas, and the account {request.client}"
                f" has {wei}",
                remedy="send the account some of the coin that this chain is paid with",
            )

    async def _buy(self, request: StorageRequest) -> Purchase:
        await self._check(request)
        check_request(request, await self._market.configuration())
        now = int(self._clock.now())
        purchase = Purchase(id=request.id, request=request, state=State.PENDING, made=now, changed=now)
        if purchase.id not in self._agents:
            # Kept before it is sent: what is paid for is never forgotten.
            await self._keep(purchase)
            self._begin(purchase, known=False)
        return self._agents[purchase.id].purchase

    async def _kept(self, limit: int) -> list[Purchase]:
        return [Purchase.from_bytes(record.value) async for page in self._pages(limit) for record in page]

    async def _pages(self, limit: int) -> AsyncIterator[list[Record]]:
        """Up to `limit` of what is kept, the newest first, some at a time."""
        before: int | None = None
        while limit > 0:
            page = await self._book.records(KIND, before=before, limit=min(PAGE, limit))
            yield page
            if len(page) < PAGE:
                return
            limit, before = limit - len(page), page[-1].number

    async def _remembered(self, id: RequestId) -> Purchase | None:
        records = await self._book.records(KIND, prefix=id.raw, limit=1)
        return Purchase.from_bytes(records[0].value) if records else None

    async def _keep(self, purchase: Purchase) -> None:
        await self._book.put_records(KIND, [(purchase.id.raw, purchase.to_bytes())], keep=KEEP)
        self._board.events.publish(PurchaseChanged(purchase))

    def _begin(self, purchase: Purchase, *, known: bool) -> None:
        if purchase.id in self._agents:
            return
        assert self._nursery is not None
        agent = Agent(self._desk, purchase, known=known)
        self._agents[purchase.id] = agent
        self._nursery.start_soon(self._run_agent, agent, name=f"purchase {purchase.id}")

    async def _run_agent(self, agent: Agent) -> None:
        try:
            await agent.run()
        except Exception:
            _log.exception("an agent broke; its purchase is taken up anew", purchase=str(agent.purchase.id))
            await trio.sleep(PAUSE)
            del self._agents[agent.purchase.id]
            self._begin(agent.purchase, known=True)
        else:
            del self._agents[agent.purchase.id]

    async def _follow(self) -> None:
        """Wake agents of whose request the chain tells."""
        while True:
            try:
                begin = max(0, int(await self._chain.clock.now()))
                async for told in await self._market.events(await self._chain.block_at(begin)):
                    if isinstance(told, Reorganised):
                        self._poke(self._agents)  # anything may be otherwise
                        continue
                    self._poke(
                        event.request
                        for event, _ in told.events
                        if isinstance(event, RequestFulfilled | RequestFailed | RequestCancelled)
                    )
            except CodexError as error:
                _log.warning("purchases wait for the chain", why=error.message, remedy=error.remedy)
            await trio.sleep(PAUSE)
            await self._chain.connected()
            self._poke(self._agents)

    def _poke(self, requests: Iterable[RequestId]) -> None:
        for id in requests:
            if id in self._agents:
                self._agents[id].poke()

    async def _take_over(self) -> None:
        """Now and then, take over what the chain has of this account."""
        while True:
            try:
                await self._adopt()
            except CodexError as error:
                _log.warning("requests wait for the chain", why=error.message, remedy=error.remedy)
                await trio.sleep(PAUSE)
                await self._chain.connected()
            else:
                await trio.sleep(ADOPT)

    async def _adopt(self) -> None:
        """Look after requests of this account that nobody looks after: its disk was another's, or is new, or
        what was given up here was on its way all the same.
        """
        for id in await self._market.my_requests():
            if id in self._agents:
                continue
            kept = await self._remembered(id)
            if kept is not None and kept.state is not State.ERRORED:
                continue
            request = await self._market.get_request(id)
            now = int(self._clock.now())
            made = kept.made if kept is not None else now
            purchase = Purchase(id=id, request=request, state=State.UNKNOWN, made=made, changed=now)
            await self._keep(purchase)
            self._begin(purchase, known=True)
