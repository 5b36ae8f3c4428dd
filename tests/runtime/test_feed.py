"""Feeds: everything arrives once and in order, whatever sizes and speeds; a slow taker holds no thread."""

import threading
import weakref

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.errors import BlockNotFound
from codex.runtime import Feed, Inline, Threads

pieces = st.lists(st.binary(min_size=1, max_size=9), max_size=30)


async def make(feed: Feed[bytes], offload: Inline | Threads, work: list[bytes]) -> int:
    """Offer all of `work`, a hop at a time; how many hops it took."""

    def some() -> None:
        while work and feed.offer(work.pop(0)):
            pass

    hops = 0
    while work:
        await feed.room()
        await offload.run(some)
        hops += 1
    feed.end()
    return hops


@settings(max_examples=50, deadline=None)
@given(pieces=pieces, capacity=st.integers(1, 30), inline=st.booleans())
async def test_all_pieces_arrive_in_order(pieces: list[bytes], capacity: int, inline: bool) -> None:
    feed: Feed[bytes] = Feed(capacity)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make, feed, Inline() if inline else Threads(1), list(pieces))
        assert [piece async for piece in feed] == pieces


@settings(max_examples=50, deadline=None)
@given(pieces=pieces, capacity=st.integers(1, 30), most=st.integers(0, 40))
async def test_pieces_are_taken_together_up_to_a_length(
    pieces: list[bytes], capacity: int, most: int
) -> None:
    feed: Feed[bytes] = Feed(capacity)
    taken: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(make, feed, Inline(), list(pieces))
        while some := await feed.some(most):
            assert len(some) == 1 or sum(map(len, some)) <= most
            taken += some
    assert taken == pieces


async def test_what_is_offered_together_is_counted_and_taken_piece_by_piece() -> None:
    feed: Feed[bytes] = Feed(4)
    assert feed.offer(b"ab", b"c")
    assert not feed.offer(b"d", b"ef")
    with trio.move_on_after(0):
        await feed.room()
        pytest.fail("six bytes are more than half of four")
    assert await feed.some(4) == [b"ab", b"c", b"d"]
    await feed.room()
    assert await anext(feed) == b"ef"


async def test_an_error_is_raised_behind_what_is_taken_together() -> None:
    feed: Feed[bytes] = Feed(10)
    for piece in (b"a", b"b"):
        feed.offer(piece)
    feed.end(BlockNotFound("gone"))
    assert await feed.some(10) == [b"a", b"b"]
    with pytest.raises(BlockNotFound):
        await feed.some(10)


async def test_the_maker_goes_on_while_pieces_are_taken() -> None:
    feed: Feed[bytes] = Feed(10)
    seen = threading.Semaphore(0)

    def work() -> int:
        made = 0
        while made < 100 and feed.offer(b"1234"):
            made += 1
            assert seen.acquire(timeout=30)  # the loop has taken it, while this thread is still at work
        return made

    async def take() -> None:
        async for _ in feed:
            seen.release()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        made = await Threads(1).run(work)
        feed.end()
    assert made == 100


async def test_a_full_feed_says_so_and_has_room_when_half_of_it_is_taken(
    autojump_clock: trio.testing.MockClock,
) -> None:
    feed: Feed[bytes] = Feed(10)
    assert [feed.offer(b"123") for _ in range(4)] == [True, True, True, False]
    had_room = trio.Event()

    async def wait() -> None:
        await feed.room()
        had_room.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        for left in (9, 6, 3):
            await trio.testing.wait_all_tasks_blocked()
            assert not had_room.is_set()
            await anext(feed)
            assert feed._held == left
        await had_room.wait()


async def test_an_error_comes_behind_the_pieces() -> None:
    feed: Feed[bytes] = Feed(10)
    feed.offer(b"1")
    feed.end(BlockNotFound("gone"))
    feed.end()  # the first end counts
    assert await anext(feed) == b"1"
    for _ in range(2):
        with pytest.raises(BlockNotFound, match="gone"):
            await anext(feed)


async def test_after_the_end_nothing_more_is_wanted() -> None:
    feed: Feed[bytes] = Feed(10)
    feed.end()
    assert not feed.offer(b"1")
    await feed.room()


async def test_a_taker_that_was_cancelled_may_come_again() -> None:
    feed: Feed[bytes] = Feed(10)
    with trio.move_on_after(0):
        await anext(feed)
    feed.offer(b"1")
    assert await anext(feed) == b"1"
    with trio.CancelScope() as scope:
        scope.cancel()
        feed.offer(b"2")
        await anext(feed)
    assert scope.cancelled_caught
    assert await anext(feed) == b"2"


async def test_whoever_waits_is_told_of_the_end() -> None:
    feed: Feed[bytes] = Feed(2)
    feed.offer(b"123")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed.room)
        await trio.testing.wait_all_tasks_blocked()
        feed.end()
    assert [piece async for piece in feed] == [b"123"]


async def test_a_closed_feed_lets_go_of_what_it_has_and_of_what_still_comes() -> None:
    class Piece(bytearray):
        pass

    def offer() -> "weakref.ref[Piece]":
        piece = Piece(b"123")
        assert feed.offer(piece) is not feed._closed
        return weakref.ref(piece)

    feed: Feed[Piece] = Feed(10)
    before = [offer(), offer()]
    assert all(piece() is not None for piece in before)
    feed.close()
    assert [piece() for piece in [*before, offer()]] == [None] * 3
    with pytest.raises(StopAsyncIteration):
        await anext(feed)
    await feed.room()


async def test_an_error_is_not_told_of_when_nobody_wants_more() -> None:
    feed: Feed[bytes] = Feed(10)
    feed.close()
    feed.end(BlockNotFound("gone"))
    assert [piece async for piece in feed] == []


async def test_a_capacity_that_changes_counts_from_then_on(autojump_clock: trio.testing.MockClock) -> None:
    feed: Feed[bytes] = Feed(10)
    assert feed.offer(b"1234")
    await feed.room()
    feed.limit(4)
    with trio.move_on_after(1) as scope:
        await feed.room()
    assert scope.cancelled_caught
    assert not feed.offer(b"5")
    feed.limit(20)
    assert feed.offer(b"6")
    await feed.room()
