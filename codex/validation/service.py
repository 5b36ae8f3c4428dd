"""Validation as a service: after each period a round over the slots that are watched.

All slots are looked at side by side and at once: whether a proof was required is judged by the newest block,
and who comes late may find the moment gone. What a life before this one knew is kept; without that it is read
from what the marketplace has told since the oldest request that may still run. The slots of that time that
are over by now are let go at once, so that they keep no place from one that must be watched.
"""

from functools import partial
from typing import Any

import trio

from codex.chain import Cursor, Reorganised, Told
from codex.errors import CodexError
from codex.logs import get_logger
from codex.market import MarketEvent, MarketplaceConfig, Period, SlotId, SlotState
from codex.runtime import Inbox, serve
from codex.store import MarketBook
from codex.validation.board import ProofMarked, ValidationBoard
from codex.validation.bookmark import Bookmark
from codex.validation.calls import GetValidated, Validated
from codex.validation.ports import Chain, Marketplace
from codex.validation.rounds import Rounds, Share

LIMIT = 8
"""Calls in work at once."""
ABREAST = 16
"""Slots that are looked at at the same time."""
PAUSE = 5.0
"""Seconds after which what could not be done is tried again."""
MARK = 60.0
"""Seconds between two bookmarks: what was told between the last one and the end of a life is read twice."""
LATEST = 2**63
"""Unix seconds beyond which no request lasts, whatever the marketplace lets it."""
STEP = 64
"""Events heard between two checkpoints."""

_OVER = (SlotState.FINISHED, SlotState.PAID, SlotState.FAILED, SlotState.CANCELLED)

_log = get_logger("validation")


class ValidationService:
    """The task behind `Validation`. One object is one life."""

    def __init__(
        self, *, market: Marketplace, chain: Chain, book: MarketBook, share: Share, board: ValidationBoard
    ) -> None:
        self._market = market
        self._chain = chain
        self._board = board
        self._rounds = Rounds(share)
        self._bookmark = Bookmark(book, market, chain, share)
        self._kept = -MARK
        self._marked = 0

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Watch until `inbox` ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            await serve(inbox, self._answer, limit=LIMIT, task_status=task_status)
            nursery.cancel_scope.cancel()

    async def _answer(self, call: Any) -> Any:
        match call:
            case GetValidated():
                return Validated(self._rounds.watched, self._rounds.waiting, self._marked)
        raise TypeError(f"validation has no answer to {type(call).__name__}")

    async def _watch(self) -> None:
        config = await self._configuration()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._follow, config)
            while True:
                period = config.proofs.period_at(int(await self._chain.clock.now()))
                await self._chain.clock.until(period.end + 1)
                await self._past(period, config.proofs.timeout)
                await self._round(period, config)

    async def _past(self, period: Period, timeout: int) -> None:
        """Wait for a block that is past the period, by which contracts judge; but not for long: some chains
        make none unless something is sent.
        """
        most = period.end + timeout // 3
        while await self._chain.clock.now() < most:
            head = self._chain.head
            if head is not None and head.timestamp > period.end:
                return
            await trio.sleep(0.5)

    async def _configuration(self) -> MarketplaceConfig:
        while True:
            try:
                return await self._market.configuration()
            except CodexError as error:
                _log.warning("the marketplace cannot be asked yet", why=error.message, remedy=error.remedy)
            await trio.sleep(PAUSE)

    async def _follow(self, config: MarketplaceConfig) -> None:
        """Hear which slots are filled and freed."""
        since: Cursor | int | None = None
        while True:
            try:
                if since is None:
                    since = await self._begin(config)
                async for told in await self._market.events(since):
                    if isinstance(told, Reorganised):
                        self._rounds.rewind(told.first)
                    else:
                        await self._hear(told, config)
                    since = told.cursor
                    await self._sift()
                    await self._keep(told.cursor.next)
            except CodexError as error:
                _log.warning("validation waits for the chain", why=error.message, remedy=error.remedy)
            await trio.sleep(PAUSE)
            await self._chain.connected()

    async def _begin(self, config: MarketplaceConfig) -> int:
        """The block that following begins at: from where the last life was, or as far back as a request can
        last.
        """
        oldest = max(0, int(await self._chain.clock.now()) - config.duration_limit)
        kept = await self._bookmark.find(oldest)
        block, slots = kept if kept is not None else (await self._chain.block_at(oldest), {})
        self._rounds.begin(block, slots)
        return block

    async def _hear(self, told: Told[MarketEvent], config: MarketplaceConfig) -> None:
        until = min(int(await self._chain.clock.now()) + config.duration_limit, LATEST)
        for count, (event, log) in enumerate(told.events):
            if count % STEP == STEP - 1:
                await trio.lowlevel.checkpoint()
            self._rounds.hear(event, log.block, until)

    async def _keep(self, heard: int) -> None:
        """Note now and then what the next life need not look for."""
        if trio.current_time() - self._kept >= MARK:
            self._kept = trio.current_time()
            await self._bookmark.keep(*self._rounds.settle(heard, int(await self._chain.clock.now())))

    async def _sift(self) -> None:
        """Let go what is over already of the slots that were just heard of, and of those that take its place.

        Only what no event will tell: a slot that is free now was freed later than it was filled, and that is
        heard too, or the provider that was asked is behind.
        """
        limiter = trio.CapacityLimiter(ABREAST)

        async def look(slot: SlotId) -> None:
            async with limiter:
                try:
                    if await self._market.slot_state(slot) in _OVER:
                        self._rounds.drop(slot)
                except CodexError as error:
                    _log.debug("a slot is looked at in the next round", slot=str(slot), why=error.message)

        while fresh := self._rounds.take_fresh():
            async with trio.open_nursery() as nursery:
                for slot in fresh:
                    nursery.start_soon(look, slot)

    async def _round(self, period: Period, config: MarketplaceConfig) -> None:
        """Look at every slot once, those too that take the place of what is over; what failed, and only that,
        again while there is time.
        """
        seen: set[SlotId] = set()
        while left := [slot for slot in self._rounds.watched if slot not in seen]:
            failed: list[SlotId] = []
            limiter = trio.CapacityLimiter(ABREAST)
            async with trio.open_nursery() as nursery:
                for slot in left:
                    nursery.start_soon(partial(self._look, slot, period, failed=failed, limiter=limiter))
            seen.update(left)
            seen.difference_update(failed)
            if failed:
                await trio.sleep(1)
                if await self._chain.clock.now() >= period.end + config.proofs.timeout:
                    _log.warning(
                        "slots could not be looked at in time", slots=len(failed), period=period.number
                    )
                    return

    async def _look(
        self, slot: SlotId, period: Period, *, failed: list[SlotId], limiter: trio.CapacityLimiter
    ) -> None:
        async with limiter:
            try:
                state = await self._market.slot_state(slot)
                if state is not SlotState.FILLED:
                    # One that was filled just now may be free to whoever is behind.
                    if state in _OVER or self._rounds.is_settled(slot):
                        self._rounds.drop(slot)
                elif await self._market.can_mark_proof_as_missing(slot, period):
                    await self._market.mark_proof_as_missing(slot, period)
                    self._marked += 1
                    self._board.events.publish(ProofMarked(slot, period.number))
                    _log.info("a proof was missing", slot=str(slot), period=period.number)
            except CodexError as error:
                failed.append(slot)
                _log.warning("a slot could not be validated", slot=str(slot), why=error.message)
