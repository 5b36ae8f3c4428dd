"""The writer's lane: order, groups, and what becomes of those who are cancelled."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import trio

from codex.errors import InvalidInput, QuotaExceeded, ServiceUnavailable
from codex.runtime import Inline, Threads
from codex.store import lane as lane_module
from codex.store.lane import Lane
from codex.store.planning import Put, Request
from codex.store.values import Verdict
from codex.testing.stores import make_blocks

BLOCKS = make_blocks(range(8), 1000)


class Desk:
    """Takes requests in, and keeps them in the groups in which they came."""

    def __init__(self) -> None:
        self.groups: list[Sequence[Request]] = []
        self.verdict: Callable[[Request], Verdict] = lambda request: None

    def take_in(self, requests: Sequence[Request]) -> list[Verdict]:
        self.groups.append(requests)
        return [self.verdict(request) for request in requests]


class Gate(Inline):
    """Does work in place, but only while it is open."""

    def __init__(self) -> None:
        self.open = trio.Event()
        self.waiting = trio.Event()

    async def run(self, fn, *args):  # type: ignore[no-untyped-def]
        self.waiting.set()
        with trio.CancelScope(shield=True):
            await self.open.wait()
        return await super().run(fn, *args)


@asynccontextmanager
async def running(offload: Inline | Threads, desk: Desk) -> AsyncIterator[Lane]:
    lane = Lane(offload, desk.take_in)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        yield lane
        nursery.cancel_scope.cancel()


async def test_requests_that_wait_are_done_together_and_work_alone_in_order() -> None:
    desk, gate, done = Desk(), Gate(), []
    requests = [Put([block], 5.0) for block in BLOCKS]
    async with running(gate, desk) as lane, trio.open_nursery() as nursery:
        nursery.start_soon(lane.do, lambda: done.append(len(desk.groups)))
        await gate.waiting.wait()
        for request in requests[:3]:
            nursery.start_soon(lane.bring, request)
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(lane.do, lambda: done.append(len(desk.groups)))
        await trio.testing.wait_all_tasks_blocked()
        for request in requests[3:5]:
            nursery.start_soon(lane.bring, request)
            await trio.testing.wait_all_tasks_blocked()
        gate.open.set()
    assert desk.groups == [requests[:3], requests[3:5]]
    assert done == [0, 1]


async def test_a_group_has_a_bound_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane_module, "GROUP_BYTES", 2500)
    desk, gate = Desk(), Gate()
    async with running(gate, desk) as lane, trio.open_nursery() as nursery:
        nursery.start_soon(lane.do, lambda: None)
        await gate.waiting.wait()
        for blocks in (BLOCKS[:1], BLOCKS[1:2], BLOCKS[2:3], BLOCKS[3:7], BLOCKS[7:]):
            nursery.start_soon(lane.bring, Put(blocks, 5.0))
            await trio.testing.wait_all_tasks_blocked()
        gate.open.set()
    assert [[len(request.blocks) for request in group] for group in desk.groups] == [[1, 1], [1], [4], [1]]


async def test_everybody_gets_an_answer_of_his_own() -> None:
    desk = Desk()
    desk.verdict = lambda request: QuotaExceeded("no") if request.blocks[0] == BLOCKS[0] else None

    def refuse() -> None:
        raise InvalidInput("never")

    async with running(Inline(), desk) as lane:
        await lane.bring(Put(BLOCKS[1:], 5.0))
        with pytest.raises(QuotaExceeded):
            await lane.bring(Put(BLOCKS[:1], 5.0))
        assert await lane.do(lambda: 7) == 7
        with pytest.raises(InvalidInput):
            await lane.do(refuse)
        assert await lane.do(lambda: 8) == 8


async def test_who_is_cancelled_in_the_queue_is_never_done() -> None:
    desk, gate, done = Desk(), Gate(), []
    async with running(gate, desk) as lane, trio.open_nursery() as nursery:
        nursery.start_soon(lane.do, lambda: done.append("first"))
        await gate.waiting.wait()
        with trio.CancelScope() as scope:
            nursery.start_soon(_cancel_when_blocked, scope)
            await lane.bring(Put(BLOCKS, 5.0))
        assert scope.cancelled_caught
        gate.open.set()
    assert (desk.groups, done) == ([], ["first"])


async def test_who_is_cancelled_while_it_is_done_waits_for_the_end() -> None:
    """The caller's buffers are being written: it must not go on and use them for something else."""
    desk, gate = Desk(), Gate()
    async with running(gate, desk) as lane, trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(_cancel_when_blocked, scope, gate)
            await lane.bring(Put(BLOCKS, 5.0))
            assert len(desk.groups) == 1
            assert gate.open.is_set()
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught


async def _cancel_when_blocked(scope: trio.CancelScope, gate: Gate | None = None) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
    if gate is not None:
        await trio.testing.wait_all_tasks_blocked()
        gate.open.set()


async def test_a_mistake_ends_the_lane_and_all_who_wait() -> None:
    desk, gate = Desk(), Gate()
    answers: list[str] = []

    async def ask(lane: Lane) -> None:
        with pytest.raises(ServiceUnavailable) as caught:
            await lane.do(lambda: 1 // 0)
        answers.append(str(caught.value))

    lane = Lane(gate, desk.take_in)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(ask, lane)
        nursery.start_soon(_open_when_blocked, gate)
        with pytest.raises(ZeroDivisionError):
            await lane.run()
    assert len(answers) == 3


async def _open_when_blocked(gate: Gate) -> None:
    await trio.testing.wait_all_tasks_blocked()
    gate.open.set()


async def test_many_writers_in_threads_share_few_flushes() -> None:
    desk = Desk()
    async with running(Threads(2), desk) as lane, trio.open_nursery() as nursery:
        for n in range(100):
            nursery.start_soon(lane.bring, Put([BLOCKS[n % 8]], 5.0))
    assert sum(map(len, desk.groups)) == 100
    assert len(desk.groups) < 50
