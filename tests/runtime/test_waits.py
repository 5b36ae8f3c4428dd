"""How long calls wait is counted once for each, however its wait ends."""

import pytest
import trio
import trio.testing
from attrs import frozen

from codex.errors import ServiceUnavailable
from codex.runtime.mailbox import Call, Mailbox, serve
from codex.runtime.waits import BOUNDS, Queue, Waits


@frozen
class Nap(Call[None]):
    seconds: float


async def nap(call: Nap) -> None:
    await trio.sleep(call.seconds)


def test_a_wait_is_counted_under_the_first_bound_that_it_does_not_exceed() -> None:
    waits = Waits()
    for seconds in (0.0, 0.001, 0.002, 0.1, 3.0, 10.0, 10.5, 1e6):
        waits.add(seconds)
    queue = waits.with_waiting(2, 0.5)
    assert queue.ended == (2, 1, 1, 0, 2, 2)
    assert len(queue.ended) == len(BOUNDS) + 1
    assert queue.seconds == pytest.approx(1_000_023.603)
    assert (queue.waiting, queue.oldest) == (2, 0.5)


def test_a_queue_that_has_seen_nothing_is_the_default() -> None:
    assert Waits().with_waiting(0, 0.0) == Queue()


async def test_the_wait_ends_when_the_call_is_taken_up_not_when_it_is_answered(
    autojump_clock: object,
) -> None:
    mailbox = Mailbox("store")
    async with trio.open_nursery() as serving:
        serving.start_soon(lambda: serve(mailbox.inbox, nap, limit=1))
        async with trio.open_nursery() as asking:
            asking.start_soon(mailbox.ask, Nap(5))
            await trio.testing.wait_all_tasks_blocked()
            asking.start_soon(mailbox.ask, Nap(0))
            await trio.sleep(2)
            asking.start_soon(mailbox.ask, Nap(0))
            await trio.sleep(1)
            assert mailbox.queue() == Queue(2, 3.0, (1, 0, 0, 0, 0, 0), 0.0)
        serving.cancel_scope.cancel()
    # Both were taken up after five seconds: the one asked at 0 and the one asked at 2.
    assert mailbox.queue() == Queue(0, 0.0, (1, 0, 0, 0, 2, 0), 8.0)


async def test_a_call_that_is_withdrawn_has_waited_too(autojump_clock: object) -> None:
    mailbox = Mailbox("store")
    with trio.move_on_after(20):
        await mailbox.ask(Nap(0))
    assert mailbox.queue() == Queue(0, 0.0, (0, 0, 0, 0, 0, 1), 20.0)


async def test_a_call_that_is_refused_has_waited_too(autojump_clock: object) -> None:
    mailbox = Mailbox("store")

    async def ask() -> None:
        with pytest.raises(ServiceUnavailable):
            await mailbox.ask(Nap(0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.5)
        mailbox.close()
    assert mailbox.queue() == Queue(0, 0.0, (0, 0, 0, 1, 0, 0), 0.5)
