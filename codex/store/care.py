"""Taking care of the store while it runs: what has expired goes, what is left over is removed, segments are
compacted, counters are checked after a crash, and backups are made.

All work is done in short steps through the writer's lane, between which other writers have their turn. A
disk that refuses is no reason to stop: it is logged, and tried again at the next interval.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import trio

from codex.config import StoreConfig
from codex.errors import CodexError
from codex.logs import get_logger
from codex.runtime import Clock, Offload
from codex.store.backup import Backup
from codex.store.lane import Lane
from codex.store.repo import Repo
from codex.store.values import Progress

_log = get_logger("store")

_LEAST_INTERVAL = 1.0  # seconds; an interval of 0 must not keep the loop busy


class Caretaker:
    """What the store does of itself. Its tasks run until they are cancelled."""

    def __init__(
        self, repo: Repo, lane: Lane, config: StoreConfig, *, offload: Offload, clock: Clock
    ) -> None:
        self._repo = repo
        self._lane = lane
        self._interval = max(config.maintenance_interval, _LEAST_INTERVAL)
        self._step = max(config.maintenance_blocks, 1)
        self._offload = offload
        self._clock = clock
        self._untidy = trio.Event()
        self._untidy.set()  # the last run may have left something

    def wake(self) -> None:
        """Something has to be removed, or has become worth compacting."""
        self._untidy.set()

    async def expire_at_intervals(self) -> None:
        """Let go of what has expired, and take the ballast on again when there is room: a task."""
        while True:
            await trio.sleep(self._interval)
            try:
                await self.expire()
                if not await self._lane.do(self._repo.restore_ballast):
                    _log.warning("the disk is nearly full: no room for the reserve that deleting may need")
            except CodexError as error:
                _log.warning("expired data could not be removed", error=str(error))
            self.wake()

    async def expire(self) -> None:
        """Let go of everything that has expired by now."""
        while await self._lane.do(partial(self._repo.expire, self._clock.now(), self._step)):
            self.wake()

    async def tidy_when_needed(self) -> None:
        """Remove what is left over, then compact, whenever there may be something: a task."""
        while True:
            await self._untidy.wait()
            self._untidy = trio.Event()
            try:
                await self.tidy()
            except CodexError as error:
                _log.warning("what was deleted could not be cleared away yet", error=str(error))

    async def tidy(self) -> None:
        """Remove all leaves that nothing keeps, and empty all segments that are mostly dead."""
        await self.sweep_all()
        while await self._lane.do(self._repo.compact):
            pass

    async def sweep_all(self) -> None:
        """Remove all leaves that nothing keeps."""
        while (tree := await self._lane.do(self._repo.next_tree)) is not None:
            await self.sweep(tree)

    async def sweep(self, tree: int) -> None:
        """Remove the leaves of a tree that nothing keeps."""
        while await self._lane.do(partial(self._repo.sweep, tree, self._clock.now(), self._step)):
            pass

    async def recount(self) -> None:
        """Check the counters against the rows, as after a crash, and put them right."""
        try:
            found = await self._offload.run(self._repo.catalogue.recount)
            if not found.right:
                _log.error("the counters of the store were wrong and have been corrected", found=str(found))
                await self._lane.do(partial(self._repo.correct, found))
        except CodexError as error:
            _log.warning("the counters of the store could not be checked", error=str(error))

    async def back_up(self, target: Path, progress: Callable[[Progress], None] | None) -> None:
        """Make a backup in `target`. Raises InvalidInput, DiskFull, DiskFailed, CorruptData."""
        backup = await self._offload.run(self._repo.backup, target)
        await self._lane.do(self._repo.keep)
        try:
            await self._offload.run(backup.begin)
            more = True
            while more:
                more = await self._offload.run(backup.step)
                if progress is not None:
                    progress(_progress(backup))
            await self._offload.run(backup.finish)
            if backup.unreadable_bytes:
                _log.error("the backup lacks what the disk did not give", blocks=len(backup.unreadable))
        except BaseException:
            with trio.CancelScope(shield=True):
                await self._offload.run(backup.cancel)
            raise
        finally:
            with trio.CancelScope(shield=True):
                await self._lane.do(self._repo.let_go)
            self.wake()


def _progress(backup: Backup) -> Progress:
    return Progress(
        backup.bytes_done,
        backup.bytes_total,
        unreadable=backup.unreadable,
        unreadable_bytes=backup.unreadable_bytes,
    )
