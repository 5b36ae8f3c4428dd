"""What ails the store, noted from its own answers: that the index is damaged, or that the disk refuses.

* Damage of the index ails it until the next life: nothing becomes sound by itself.
* A full disk does until something is stored, or there is room again, which is looked for now and then.
* A failing disk does until something is stored.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import trio

from codex.errors import CodexError, DiskFailed, DiskFull, IndexDamaged
from codex.logs import get_logger
from codex.runtime import Clock, Condition, Inbox, leaves
from codex.store import calls

RECHECK: Final = 30.0  # seconds between two looks for room on a disk that is full

_BRINGING = (calls.PutBlocks, calls.StageBlocks, calls.PutLeavesOf, calls.PutManifest, calls.CommitIngest)

_log = get_logger("store")


class Ward:
    """Passes calls on to `answer`, and says on `inbox` what ails the store by what comes back."""

    def __init__(self, inbox: Inbox, answer: Callable[[Any], Awaitable[Any]], clock: Clock) -> None:
        self._inbox = inbox
        self._answer = answer
        self._clock = clock
        self._full = trio.Event()

    async def answer(self, call: Any) -> Any:
        """What `answer` returns or raises."""
        if isinstance(call, calls.BackUp):
            return await self._back_up(call)
        try:
            value = await self._answer(call)
        except Exception as error:
            for leaf in leaves(error):
                self._note(leaf)
            raise
        if isinstance(call, _BRINGING):
            self._over(DiskFull, DiskFailed)
        return value

    async def _back_up(self, call: calls.BackUp) -> Any:
        """A disk that is full then is the one that the backup goes to, and ails nobody here."""
        try:
            return await self._answer(call)
        except DiskFull as error:
            raise DiskFull(
                f"{error.message}, where the backup is made",
                remedy=f"free space on the file system of {call.target.parent}, or name a directory on "
                "another; nothing is left of this backup",
            ) from error

    async def look_for_room(self, is_room: Callable[[], Awaitable[bool]]) -> None:
        """Ask `is_room` now and then while the disk is full: a task."""
        while True:
            await self._full.wait()
            await trio.sleep(RECHECK)
            try:
                if await is_room():
                    self._over(DiskFull)
            except CodexError as error:
                self._note(error)

    def _note(self, error: BaseException) -> None:
        if not isinstance(error, IndexDamaged | DiskFull | DiskFailed):
            return
        present = self._inbox.condition
        if present is not None and (not present.serves or present.problem.code == error.code):
            return
        self._inbox.condition = Condition(
            error.as_problem(), self._clock.now(), serves=not isinstance(error, IndexDamaged)
        )
        if isinstance(error, DiskFull):
            self._full.set()
        elif self._full.is_set():
            self._full = trio.Event()
        _log.error("the store is not well", why=error.message, remedy=error.remedy)

    def _over(self, *kinds: type[CodexError]) -> None:
        present = self._inbox.condition
        if present is not None and present.problem.code in {kind.code for kind in kinds}:
            self._inbox.condition = None
            self._full = trio.Event()
            _log.info("the store is well again", after=present.problem.code)
