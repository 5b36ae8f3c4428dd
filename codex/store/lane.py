"""The writer's lane: everything that changes the store passes through it, one after the other, in the order
asked.

Requests that bring payload and wait next to each other are done together, so that many writers share one
flush to the disk; everything else is done alone. Asking returns when the change is durable.

Who is cancelled while waiting is taken out of the lane. Once the work has begun it is waited for, for the
disk may be writing out of the caller's buffers; what was done then counts, and its result is returned.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import outcome
import trio
from attrs import define, field

from codex.errors import CodexError, ServiceUnavailable
from codex.runtime import Offload
from codex.store.planning import Request, payload_bytes
from codex.store.values import Verdict

T = TypeVar("T")

GROUP_BYTES = 64 << 20
"""Payload that is written in one go, at most; a request that is larger by itself goes alone."""


@define(eq=False)
class _Job(Generic[T]):
    """Something to be done: a request for payload, or a function."""

    request: Request | None
    work: Callable[[], T] | None
    done: trio.Event = field(factory=trio.Event)
    result: outcome.Outcome[T] | None = None

    def finish(self, result: outcome.Outcome[T]) -> None:
        self.result = result
        self.done.set()


class Lane:
    """The queue, and `run`, the task that works it off. `take_in` does a group of requests, with a verdict
    on each.
    """

    def __init__(self, offload: Offload, take_in: Callable[[Sequence[Request]], list[Verdict]]) -> None:
        self._offload = offload
        self._take_in = take_in
        self._queue: deque[_Job[Any]] = deque()
        self._arrivals = trio.lowlevel.ParkingLot()

    async def bring(self, request: Request) -> None:
        """Have a request done. Raises what its verdict says."""
        await self._ask(_Job[None](request, None))

    async def do(self, work: Callable[[], T]) -> T:
        """Have `work` called in a thread, alone; its result."""
        return await self._ask(_Job(None, work))

    async def _ask(self, job: _Job[T]) -> T:
        await trio.lowlevel.checkpoint_if_cancelled()
        self._queue.append(job)
        self._arrivals.unpark()
        try:
            await job.done.wait()
        except trio.Cancelled:
            if job in self._queue:
                self._queue.remove(job)
                raise
            with trio.CancelScope(shield=True):
                await job.done.wait()
        assert job.result is not None
        return job.result.unwrap()

    async def run(self) -> None:
        """Work the queue off, until cancelled. An error that is no answer ends it, and all waiting."""
        group: list[_Job[Any]] = []
        try:
            while True:
                while not self._queue:
                    await self._arrivals.park()
                group = self._next_group()
                if group[0].request is None:
                    await self._do(group[0])
                else:
                    await self._bring(group)
                group = []  # what is done may be large, and the next job long in coming
        finally:
            lost = ServiceUnavailable("the store stopped before this was done")
            for job in (*group, *self._queue):
                if not job.done.is_set():
                    job.finish(outcome.Error(lost))

    def _next_group(self) -> list[_Job[Any]]:
        group = [self._queue.popleft()]
        first = group[0].request
        if first is not None:
            size = payload_bytes(first)
            while self._queue and (request := self._queue[0].request) is not None:
                size += payload_bytes(request)
                if size > GROUP_BYTES:
                    break
                group.append(self._queue.popleft())
        return group

    async def _do(self, job: _Job[Any]) -> None:
        assert job.work is not None
        try:
            job.finish(outcome.Value(await self._offload.run(job.work)))
        except CodexError as error:
            job.finish(outcome.Error(error))

    async def _bring(self, group: list[_Job[Any]]) -> None:
        requests = [job.request for job in group if job.request is not None]
        verdicts = await self._offload.run(self._take_in, requests)
        for job, verdict in zip(group, verdicts, strict=True):
            job.finish(outcome.Value(None) if verdict is None else outcome.Error(verdict))
