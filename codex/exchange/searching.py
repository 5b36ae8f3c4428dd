"""Finding peers that have something, and connecting to them; beside whatever else goes on."""

from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import trio
from attrs import define, field

from codex.codec import Cid
from codex.errors import CodexError
from codex.exchange.peering import Signal
from codex.exchange.ports import Discovery, Switch
from codex.exchange.sources import Fetch
from codex.exchange.verdict import Story
from codex.exchange.wants import Wants
from codex.logs import get_logger
from codex.p2p import PeerId, SignedPeerRecord

ENOUGH = 3
"""Sources with which a fetch needs no further search."""
SOON, LONGEST_INTERVAL = 0.25, 30.0
"""Seconds between two searches of one fetch; doubles each time. What was stored just now is announced within
some tenths of a second, and whoever is told of it asks at once."""
INTERVAL = 3.0
"""Seconds after the last search for the same thing, by whatever fetch, before which one that has somebody to
ask does not search, and behind which one that has nobody does."""
SEARCHES = 16
"""Searches at once, of all fetches …"""
PACE = 0.1
"""… and seconds until one more begins, though none of those has ended: what nobody has takes the longest …"""
MOST = 128
"""… up to so many."""
HEAD_START = 0.1
"""Seconds that those who are connected have to come up with it, before anybody else is looked for."""
STARVED = 1.0
"""Seconds without anything, after which others are looked for however many say that they have it."""
DIALS = 8
"""Peers of one search that are dialled at once."""
DIAL_TIME = 20.0
"""Seconds after which a dial counts as failed."""
MAX_PROVIDERS = 64
"""Peers of one search that are dialled at all."""
_LOOK = 0.5
"""Seconds between two looks at whether a search is due."""
_REMEMBERED = 1024

_log = get_logger("exchange")


@define(eq=False)
class _Newest:
    """The newest record of a peer, as it was looked up last."""

    lock: trio.Lock = field(factory=trio.Lock)
    since: float = -INTERVAL
    record: SignedPeerRecord | None = None


@define(eq=False)
class Search:
    """How far the search for one fetch has come. `rounds` are ended, all dials included."""

    rounds: int = 0
    busy: bool = False


class Turns:
    """Whose search is next. By turns, if there is any: the newest first search for something, the oldest one,
    and the oldest of those that search again. So a flood of searches holds up no other for long, and none
    waits for ever.
    """

    def __init__(self) -> None:
        self.running = 0
        """Searches that have their turn now."""
        self._first: deque[trio.Event] = deque()
        self._again: deque[trio.Event] = deque()
        self._next = 0
        self._changed = Signal()

    async def run(self) -> None:
        """Give turns until cancelled."""
        while True:
            while not self._first and not self._again:
                await self._changed.wait()
            with trio.move_on_after(PACE):
                while self.running >= SEARCHES:
                    await self._changed.wait()
            if self.running < MOST and (self._first or self._again):
                self._choose().set()
                self.running += 1

    @asynccontextmanager
    async def one(self, *, again: bool) -> AsyncIterator[None]:
        """Wait for one's turn, and have it for the length of a block."""
        turn, waiting = trio.Event(), self._again if again else self._first
        waiting.append(turn)
        self._changed.set()
        try:
            await turn.wait()
            yield
        finally:
            if turn.is_set():
                self.running -= 1
            else:
                waiting.remove(turn)
            self._changed.set()

    def _choose(self) -> trio.Event:
        self._next += 1
        if self._again and (self._next % 3 == 0 or not self._first):
            return self._again.popleft()
        return self._first.pop() if self._next % 3 == 1 else self._first.popleft()


class Searcher:
    """Searches for fetches; keeps in mind when something was searched for last. `shunned` tells of a peer
    whether it is not to be dialled, for it was sent away.
    """

    def __init__(
        self, switch: Switch, discovery: Discovery, wants: Wants, shunned: Callable[[PeerId], bool]
    ) -> None:
        self._shunned = shunned
        self._switch = switch
        self._discovery = discovery
        self._wants = wants
        self.turns = Turns()
        self._last: OrderedDict[Cid, float] = OrderedDict()
        self._newest: OrderedDict[PeerId, _Newest] = OrderedDict()

    async def pursue(self, fetch: Fetch, search: Search) -> None:
        """Search as long as too few sources are known, none has what is left, or nothing comes of those who
        say that they have it; until cancelled.
        """
        interval, due = SOON, trio.current_time()
        if not self._wants.alone:
            due += HEAD_START
        # Has somebody else just searched for the same, whoever was found then is connected by now.
        if fetch.ready:
            due = max(due, self._last.get(fetch.subject, -INTERVAL) + INTERVAL)
        while True:
            now = trio.current_time()
            stuck = self._wants.is_stuck(fetch, now)
            if stuck:
                due = min(due, self._last.get(fetch.subject, -INTERVAL) + INTERVAL)
            starved = now >= fetch.progress + STARVED
            if now >= due and (stuck or starved or len(fetch.ready) < ENOUGH):
                await self._search(fetch, search)
                due = trio.current_time() + interval
                interval = min(2 * interval, LONGEST_INTERVAL)
            await trio.sleep(min(_LOOK, due - now) if due > now else _LOOK)

    async def _search(self, fetch: Fetch, search: Search) -> None:
        records = await self._ask(fetch, search)
        # Who is called in vain takes long to be given up: others search meanwhile.
        dials = trio.Semaphore(DIALS)
        async with trio.open_nursery() as nursery:
            for record in {record.record.peer_id: record for record in records[:MAX_PROVIDERS]}.values():
                nursery.start_soon(self._dial, record, fetch, dials)
        search.busy = False
        search.rounds += 1

    async def _ask(self, fetch: Fetch, search: Search) -> Sequence[SignedPeerRecord]:
        """Ask discovery when it is our turn."""
        async with self.turns.one(again=search.rounds > 0):
            self._last[fetch.subject] = trio.current_time()
            self._last.move_to_end(fetch.subject)
            if len(self._last) > _REMEMBERED:
                self._last.popitem(last=False)
            search.busy = True
            try:
                records = await self._discovery.find_providers(fetch.subject)
            except CodexError as error:
                fetch.tried.failed_search = error.message
                return []
            fetch.tried.searches += 1
            return records

    async def _dial(self, record: SignedPeerRecord, fetch: Fetch, dials: trio.Semaphore) -> None:
        """Connect to a provider, if need be, and count on it."""
        peer = record.record.peer_id
        fetch.tried.of(peer).found = True
        if self._shunned(peer):
            return
        if self._wants.source(peer) is None:
            async with dials:
                await self._reach(record, fetch.tried.of(peer))
        self._wants.hint(peer, fetch.subject)

    async def _reach(self, record: SignedPeerRecord, story: Story) -> None:
        """Connect to a provider. What it said of itself together with what it has may be old: it is looked up
        by its name when it is not where that was.
        """
        peer, story.elsewhere = record.record.peer_id, ""
        story.refused = await self._connect(peer, record)
        if not story.refused:
            return
        await self._discovery.forget_provider(peer)
        newer = await self._look_up(peer)
        if newer is not None and newer.record.seq > record.record.seq:
            story.elsewhere = await self._connect(peer, newer)
            if not story.elsewhere:
                story.refused = ""

    async def _connect(self, peer: PeerId, record: SignedPeerRecord) -> str:
        """Connect to a peer where that record says; why it did not come about, or nothing."""
        why = f"no connection within {DIAL_TIME:g} s"
        with trio.move_on_after(DIAL_TIME):
            try:
                await self._switch.connect(peer, record.record.addresses)
                return ""
            except CodexError as error:
                why = error.message
        _log.debug("a provider cannot be reached", peer=str(peer), why=why)
        return why

    async def _look_up(self, peer: PeerId) -> SignedPeerRecord | None:
        """The newest record of a peer; who asks meanwhile, or soon behind, is given the same."""
        newest = self._newest.setdefault(peer, _Newest())
        self._newest.move_to_end(peer)
        if len(self._newest) > _REMEMBERED:
            self._newest.popitem(last=False)
        async with newest.lock:
            if trio.current_time() >= newest.since + INTERVAL:
                try:
                    newest.record = await self._discovery.find_peer(peer)
                except CodexError as error:
                    _log.debug("a provider cannot be looked up", peer=str(peer), why=error.message)
                newest.since = trio.current_time()
            return newest.record
