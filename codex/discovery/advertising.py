"""Telling the network what this node has: manifests and their trees, when they are stored and ever again.

What the store holds is listed at the start and every ten minutes, which also finds what was deleted; who
stores a dataset may say so at once. When each content was announced is written down, so that a restart goes
on where it was, unless the node is reached elsewhere now than others were told: then all is said again, in
no more haste. While nobody is there to be told, everything waits, and the first node that comes ends that.
When somebody is there and the announcements fall behind all the same, the service says that it is not well.
"""

from functools import partial
from pathlib import Path
from typing import Any, Protocol

import trio

from codex.codec import Cid
from codex.data import Manifest
from codex.discovery.archive import Archive, open_archive
from codex.discovery.board import Advertising
from codex.discovery.calls import Announce, GetAdvertising, Withdraw
from codex.discovery.handle import Discovery
from codex.discovery.schedule import INTERVAL, SHORTEST_PAUSE, Schedule
from codex.errors import CodexError, Problem
from codex.logs import get_logger
from codex.p2p import SignedPeerRecord
from codex.runtime import Clock, Inbox, Offload, serve
from codex.runtime.condition import Condition

AT_ONCE = 10
"""Announcements under way."""
LISTING = 600.0
"""Seconds between two lists of what is in the store."""
PAGE = 500
"""Manifests listed with one call."""
SAVING = 30.0
"""Seconds between two savings. What a crash takes away is announced once too often."""
MOVED = 5.0
"""Seconds between two looks at where the node is reached, and at the clock."""
LOOK = 60.0
"""Seconds between two looks at how far the announcements are behind."""
FIRST_REST = 1.0
"""Seconds of rest when nobody could be told; doubles each time."""
LONGEST_REST = 60.0
FILE = "announced.sqlite"
LIMIT = 16

_log = get_logger("advertiser")


class Source(Protocol):
    """Where the datasets of this node are listed; the store's handle is one."""

    async def manifests(self, after: Cid | None = None, limit: int = 1000) -> list[tuple[Cid, Manifest]]:
        """Up to `limit` manifests in the order of their CIDs, from behind `after` on."""
        ...


class AdvertiserService:
    """The task behind `Advertiser`. One object is one life. `directory` is `dht` in the data directory."""

    def __init__(
        self,
        *,
        discovery: Discovery,
        source: Source,
        directory: Path,
        clock: Clock,
        offload: Offload,
        interval: float = INTERVAL,
    ) -> None:
        self._discovery = discovery
        self._source = source
        self._path = directory / FILE
        self._clock = clock
        self._offload = offload
        self._interval = interval
        self._schedule = Schedule(interval)
        self._news = trio.lowlevel.ParkingLot()
        self._free = trio.Semaphore(AT_ONCE)
        self._rest = 0.0
        self._announced = 0
        self._last_error = ""
        self._addresses = ""
        self._since = 0.0
        self._moved = False  # and it is not written down yet
        self._record: SignedPeerRecord | None = None
        self._stale = False  # something may have been announced with addresses of before

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Read what was written down, announce until `inbox` ends, and write down how far it came."""
        archive, written, anew = await self._offload.run(partial(open_archive, self._path, Archive.announced))
        if anew:
            _log.warning("the times of announcements were damaged, and are begun anew", file=str(self._path))
        self._addresses, self._since = written.addresses, written.since
        self._schedule.restore(written.times, written.since)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._list_at_intervals)
                nursery.start_soon(self._keep_true)
                nursery.start_soon(self._announce_all)
                nursery.start_soon(self._save_at_intervals, archive)
                nursery.start_soon(self._watch, inbox)
                await serve(inbox, self._answer, limit=LIMIT, task_status=task_status)
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await self._save(archive)
                await self._offload.run(archive.close)

    async def _answer(self, call: Any) -> Any:
        match call:
            case Announce(cids):
                self._schedule.add(cids, self._clock.now(), urgent=True)
                return self._news.unpark_all()
            case Withdraw(cids):
                return self._schedule.drop(cids)
            case GetAdvertising():
                lag = self._schedule.lag(self._clock.now())
                return Advertising(lag.contents, lag.due, lag.oldest, self._announced, self._last_error)
        raise TypeError(f"the advertiser does not know the call {call!r}")

    # -- what there is

    async def _list_at_intervals(self) -> None:
        while True:
            try:
                await self._list()
            except CodexError as error:
                self._failed(error.message)
            self._news.unpark_all()
            await trio.sleep(LISTING)

    async def _list(self) -> None:
        """Take in all that is in the store, page by page, and drop what is not."""
        began = self._clock.now()
        found: set[Cid] = set()
        after: Cid | None = None
        while page := await self._source.manifests(after, PAGE):
            cids = [cid for manifest, content in page for cid in (manifest, content.tree_cid)]
            self._schedule.add(cids, began)
            found.update(cids)
            after = page[-1][0]
            self._news.unpark_all()
        for strays in self._schedule.strays(found, began):
            self._schedule.drop(strays)
            await trio.lowlevel.checkpoint()
        self._schedule.settle()

    # -- telling

    async def _keep_true(self) -> None:
        """Say everything again when others were told of addresses that are no longer those of this node, and
        when the clock was set back.
        """
        then = 0.0
        while True:
            now = self._clock.now()
            self._look(now)
            if self._stale or now < then:
                self._stale = False
                for _ in self._schedule.renew(self._since, now):
                    await trio.lowlevel.checkpoint()
                self._news.unpark_all()
            then = now
            await trio.sleep(MOVED)

    def _look(self, now: float) -> SignedPeerRecord:
        """The node's record. Where connections reach it elsewhere than others were told, what is announced
        from now on tells them, and nothing before counts.
        """
        record = self._discovery.record()
        if record is not self._record:
            self._record = record
            told = [one for one in record.record.addresses if one.protocols[1:2] != ("udp",)]
            addresses = " ".join(sorted(map(str, told)))
            if addresses and addresses != self._addresses:
                self._addresses, self._since, self._moved, self._stale = addresses, now, True, True
        return record

    async def _announce_all(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                await self._free.acquire()
                cid, new = await self._next()
                nursery.start_soon(self._announce, cid, new)
                await trio.sleep(SHORTEST_PAUSE if self._schedule.urgent else self._schedule.pause)

    async def _next(self) -> tuple[Cid, bool]:
        """Wait for the next content that is due, and for somebody to tell."""
        while True:
            await self._wait_for_company()
            taken = self._schedule.take(self._clock.now())
            if taken is not None:
                return taken
            at = self._schedule.next_at()
            with trio.move_on_after(LISTING if at is None else max(0.0, at - self._clock.now())):
                await self._news.park()

    async def _wait_for_company(self) -> None:
        """Rest when nobody could be told; when nobody was there, until somebody comes."""
        if not self._rest:
            return
        with trio.move_on_after(self._rest):
            if self._discovery.stats().peers:
                await trio.sleep_forever()
            await self._discovery.wait_for_peers()

    async def _announce(self, cid: Cid, new: bool) -> None:
        record = self._look(self._clock.now())
        try:
            told = await self._discovery.provide(cid, again=not new)
        except CodexError as error:
            told = 0
            self._failed(error.message)
        else:
            if not told:
                self._failed("no other node answers")
        finally:
            self._free.release()
        if told:
            self._announced += 1
            self._rest = 0.0
            # What was told while the node came to be reached elsewhere is told again.
            if record is self._discovery.record():
                self._schedule.done(cid, self._clock.now())
                return
        else:
            self._rest = min(LONGEST_REST, max(FIRST_REST, 2 * self._rest))
        self._schedule.failed(cid)
        self._news.unpark_all()

    def _failed(self, why: str) -> None:
        if why != self._last_error:
            _log.warning("announcements do not get out", why=why)
        self._last_error = why

    async def _watch(self, inbox: Inbox) -> None:
        """Say that the service is not well while a content is late by more than a whole interval, although
        there is somebody to tell. To have no company is no fault of this service.
        """
        while True:
            await trio.sleep(LOOK)
            now = self._clock.now()
            lag = self._schedule.lag(now)
            if lag.oldest <= self._interval or not self._discovery.stats().peers:
                inbox.condition = None
                continue
            since = now if inbox.condition is None else inbox.condition.since
            why = f"; the last one failed: {self._last_error}" if self._rest else ""
            inbox.condition = Condition(
                Problem(
                    "announcements-late",
                    f"{lag.due} of {lag.contents} announcements are due, "
                    f"the oldest for {lag.oldest:.0f} s{why}",
                    "see that UDP packets get out and in; others find what is here only as long as it is "
                    "announced",
                ),
                since,
                serves=True,
            )

    # -- what is written down

    async def _save_at_intervals(self, archive: Archive) -> None:
        while True:
            await trio.sleep(SAVING)
            await self._save(archive)

    async def _save(self, archive: Archive) -> None:
        times, dropped = self._schedule.take_changes()
        moved, self._moved = self._moved, False
        if not times and not dropped and not moved:
            return
        try:
            await self._offload.run(archive.save_announced, times, dropped, self._addresses, self._since)
        except CodexError as error:
            self._schedule.put_back(times, dropped)
            self._moved = True
            _log.warning("the times of announcements cannot be written down", why=error.message)
