"""The broadcast: in order, bounded, and a slow listener is told what it missed."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from codex.runtime.broadcast import Broadcast, Lagged, Subscription
from codex.testing.cancelling import cancel_at_every_checkpoint


async def heard(subscription: Subscription[int], count: int) -> list[int | Lagged]:
    """Take `count` items."""
    return [await anext(subscription) for _ in range(count)]


async def test_every_subscriber_hears_everything_in_order() -> None:
    broadcast = Broadcast[int]()
    async with broadcast.subscribe(8) as alice, broadcast.subscribe(8) as bob:
        for number in range(5):
            broadcast.publish(number)
        assert await heard(alice, 5) == await heard(bob, 5) == [0, 1, 2, 3, 4]


async def test_a_subscriber_hears_from_now_on_and_while_it_stays() -> None:
    broadcast = Broadcast[int]()
    broadcast.publish(1)
    async with broadcast.subscribe(8) as items:
        broadcast.publish(2)
        assert await heard(items, 1) == [2]
    broadcast.publish(3)
    with trio.move_on_after(0) as scope:
        await anext(items)
    assert scope.cancelled_caught


async def test_a_waiting_subscriber_is_woken() -> None:
    broadcast = Broadcast[int]()
    async with broadcast.subscribe(1) as items, trio.open_nursery() as nursery:

        async def listen() -> None:
            assert await heard(items, 2) == [1, 2]

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        broadcast.publish(1)
        await trio.testing.wait_all_tasks_blocked()
        broadcast.publish(2)


async def test_a_slow_subscriber_loses_the_oldest_and_is_told_before_the_next() -> None:
    broadcast = Broadcast[int]()
    async with broadcast.subscribe(2) as slow, broadcast.subscribe(8) as quick:
        for number in range(5):
            broadcast.publish(number)
        assert await heard(slow, 3) == [Lagged(3), 3, 4]
        assert await heard(quick, 5) == [0, 1, 2, 3, 4]
        broadcast.publish(5)
        assert await heard(slow, 1) == [5]


async def test_closing_ends_subscriptions_after_what_they_hold() -> None:
    broadcast = Broadcast[int]()
    async with (
        broadcast.subscribe(2) as held,
        broadcast.subscribe(2) as waiting,
        trio.open_nursery() as nursery,
    ):
        for number in range(3):
            broadcast.publish(number)
        await heard(waiting, 3)

        async def listen() -> None:
            assert [item async for item in waiting] == []

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        broadcast.close()
        broadcast.publish(3)
        assert [item async for item in held] == [Lagged(1), 1, 2]
    async with broadcast.subscribe(2) as late:
        broadcast.publish(4)
        assert [item async for item in late] == []


async def test_a_cancelled_wait_loses_nothing() -> None:
    broadcast = Broadcast[int]()
    published = 0
    taken: list[int | Lagged] = []
    async with broadcast.subscribe(100) as items:

        async def take() -> None:
            taken.append(await anext(items))

        async def publish_and_take() -> None:
            nonlocal published
            async with trio.open_nursery() as nursery:
                nursery.start_soon(take)
                await trio.lowlevel.checkpoint()
                broadcast.publish(published)
                published += 1

        async def check() -> None:
            while len(taken) < published:
                await take()
            assert taken == list(range(published))

        assert await cancel_at_every_checkpoint(publish_and_take, check) > 2


@pytest.mark.parametrize("size", [0, -1])
async def test_a_subscriber_must_hold_something(size: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        async with Broadcast[int]().subscribe(size):
            pass


@given(size=st.integers(1, 5), bursts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), max_size=8))
def test_what_is_heard_and_what_is_missed_add_up(size: int, bursts: list[tuple[int, int]]) -> None:
    async def main() -> None:
        broadcast = Broadcast[int]()
        published = position = 0
        async with broadcast.subscribe(size) as items:

            def take(item: int | Lagged) -> None:
                nonlocal position
                if isinstance(item, Lagged):
                    assert item.missed > 0
                    position += item.missed
                else:
                    assert item == position
                    position += 1

            for count, reads in bursts:
                for _ in range(count):
                    broadcast.publish(published)
                    published += 1
                for _ in range(reads):
                    with trio.move_on_after(0):
                        take(await anext(items))
            broadcast.close()
            async for item in items:
                take(item)
        assert position == published

    trio.run(main)
