"""Streams between alice and bob: every way they end, what send and receive promise, and cancellation."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from codex.errors import PeerGone
from codex.p2p import Identity
from codex.p2p.framing import MessageReader, write_message
from codex.p2p.limits import Limits
from codex.p2p.mplex import Key, Kind
from codex.p2p.streams import SMALL, Stream
from codex.runtime import SeededEntropy
from codex.testing.cancelling import cancel_at_every_checkpoint

Opener = Callable[..., Any]

ALICE = Identity.generate(SeededEntropy("alice"))
BOB = Identity.generate(SeededEntropy("bob"))
ECHO = "/echo/1.0.0"
HELD = "/held/1.0.0"
MIB = 1 << 20


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


class Held:
    """A handler that gives its stream to the test, and ends when told to."""

    def __init__(self) -> None:
        self._sending, self._receiving = trio.open_memory_channel[Stream](10)
        self.done = trio.Event()

    async def __call__(self, stream: Stream) -> None:
        await self._sending.send(stream)
        await self.done.wait()

    async def stream(self) -> Stream:
        return await self._receiving.receive()


async def received(stream: Stream) -> bytes:
    data = b""
    while piece := await stream.receive_some():
        data += piece
    return data


async def test_there_and_back(open_pair: Opener, autojump_clock: MockClock) -> None:
    async with open_pair({ECHO: echo}) as (alice, _):
        stream = await alice.open_stream(ECHO)
        assert (stream.peer, stream.protocol) == (BOB.peer_id, ECHO)
        async with trio.open_nursery() as nursery:
            content = bytes(range(256)) * 16384
            nursery.start_soon(stream.send_all, content[:100], b"", memoryview(content)[100:])
            back = b""
            while len(back) < len(content):
                back += await stream.receive_some()
            assert back == content
        await stream.send_eof()
        assert await stream.receive_some() == b""
        assert await stream.receive_some() == b""
        assert alice.streams() == ()


async def test_each_side_ends_for_itself(open_pair: Opener, autojump_clock: MockClock) -> None:
    held = Held()
    async with open_pair({HELD: held}) as (alice, bob):
        near = await alice.open_stream(HELD)
        far = await held.stream()
        assert far.peer == ALICE.peer_id
        await near.send_all(b"all I say")
        await near.send_eof()
        await near.send_eof()
        assert await received(far) == b"all I say"
        await far.send_all(b"heard")
        assert await near.receive_some() == b"heard"
        assert len(alice.streams()) == len(bob.streams()) == 1
        await far.send_eof()
        assert await near.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert alice.streams() == bob.streams() == ()
        with pytest.raises(trio.ClosedResourceError):
            await near.send_all(b"more")


@pytest.mark.parametrize("by_us", [True, False])
async def test_a_reset_ends_both_directions_at_once(
    open_pair: Opener, autojump_clock: MockClock, by_us: bool
) -> None:
    held = Held()
    async with open_pair({HELD: held}) as (alice, bob):
        near, far = await alice.open_stream(HELD), await held.stream()
        resetting, other = (near, far) if by_us else (far, near)
        await other.send_all(b"never read")
        resetting.reset("enough")
        resetting.reset("again")
        for call in (resetting.receive_some, lambda: resetting.send_all(b"x")):
            with pytest.raises(PeerGone, match="enough"):
                await call()
        with pytest.raises(PeerGone, match="the peer reset the stream"):
            await other.receive_some()
        with pytest.raises(PeerGone, match="the peer reset the stream"):
            await other.send_all(b"x")
        assert alice.streams() == bob.streams() == ()
        assert alice.unread == bob.unread == 0


async def test_a_reset_wakes_who_waits(open_pair: Opener, autojump_clock: MockClock) -> None:
    held = Held()
    limits = Limits(stream_high=MIB, stream_low=MIB // 2)
    async with open_pair({HELD: held}, limits=limits) as (alice, _):
        near, far = await alice.open_stream(HELD), await held.stream()
        ended: list[str] = []

        async def note(call: Callable[[], Awaitable[object]]) -> None:
            with pytest.raises(PeerGone) as caught:
                await call()
            ended.append(caught.value.message)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(note, near.receive_some)
            nursery.start_soon(note, lambda: near.send_all(bytes(8 * MIB)))
            await trio.testing.wait_all_tasks_blocked()
            near.reset("enough")
        assert ended == ["enough", "enough"]
        with pytest.raises(PeerGone):
            await received(far)


async def test_who_closes_reads_no_more(open_pair: Opener, autojump_clock: MockClock) -> None:
    held = Held()
    async with open_pair({HELD: held}) as (alice, bob):
        near, far = await alice.open_stream(HELD), await held.stream()
        await near.send_all(b"the last words")
        await near.aclose()
        await near.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await near.receive_some()
        assert await received(far) == b"the last words"
        await far.send_all(b"into the void")
        await trio.sleep(1)
        with pytest.raises(PeerGone, match="the peer reset"):
            await far.send_all(b"more")
        assert alice.streams() == bob.streams() == ()


async def test_close_wakes_the_reader(open_pair: Opener, autojump_clock: MockClock) -> None:
    held = Held()
    async with open_pair({HELD: held}) as (alice, _):
        near = await alice.open_stream(HELD)

        async def read() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await near.receive_some()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()


async def test_closing_while_sending_resets(open_pair: Opener, autojump_clock: MockClock) -> None:
    held = Held()
    limits = Limits(stream_high=MIB, stream_low=MIB // 2)
    async with open_pair({HELD: held}, limits=limits) as (alice, _):
        near = await alice.open_stream(HELD)

        async def send() -> None:
            with pytest.raises(PeerGone, match="in the middle of sending"):
                await near.send_all(bytes(16 * MIB))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()


async def test_one_task_each_way(open_pair: Opener, autojump_clock: MockClock) -> None:
    held = Held()
    limits = Limits(stream_high=MIB, stream_low=MIB // 2)
    async with open_pair({HELD: held}, limits=limits) as (alice, _):
        near = await alice.open_stream(HELD)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.receive_some)
            nursery.start_soon(near.send_all, bytes(16 * MIB))
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await near.receive_some()
            with pytest.raises(trio.BusyResourceError):
                await near.send_all(b"x")
            with pytest.raises(trio.BusyResourceError):
                await near.send_eof()
            nursery.cancel_scope.cancel()


async def test_as_much_as_was_asked_for(open_pair: Opener, autojump_clock: MockClock) -> None:
    held = Held()
    async with open_pair({HELD: held}) as (alice, _):
        near, far = await alice.open_stream(HELD), await held.stream()
        content = bytes(range(251)) * 1000
        await near.send_all(content)
        await near.send_eof()
        await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        got = [await far.receive_some(size) for size in (1, 10, 70_000, SMALL)]
        assert [len(piece) for piece in got] == [1, 10, 70_000, SMALL]
        assert b"".join(got) + await received(far) == content
        assert far.unread == 0


async def test_small_pieces_are_kept_together(open_pair: Opener, autojump_clock: MockClock) -> None:
    held = Held()
    async with open_pair({HELD: held}) as (alice, bob):
        near, far = await alice.open_stream(HELD), await held.stream()
        for number in range(1000):
            await near.send_all(bytes([number % 256]) * 3)
        await trio.sleep(1)
        assert bob.unread == far.unread == 3000
        parts = await far.receive_parts()
        assert len(parts) == 1
        assert bytes(parts[0]) == b"".join(bytes([number % 256]) * 3 for number in range(1000))


async def test_what_came_before_the_connection_ended_can_be_read(
    open_pair: Opener, autojump_clock: MockClock
) -> None:
    held = Held()
    async with open_pair({HELD: held}) as (alice, bob):
        near, far = await alice.open_stream(HELD), await held.stream()
        await far.send_all(b"a last message")
        await trio.sleep(1)
        bob.close("enough")
        await alice.closed.wait()
        assert await near.receive_some() == b"a last message"
        with pytest.raises(PeerGone, match="the peer closed the connection"):
            await near.receive_some()
        with pytest.raises(PeerGone):
            await near.send_all(b"x")
        assert alice.unread == 0


async def test_a_send_that_is_cancelled_before_it_began_has_sent_nothing(
    open_pair: Opener, autojump_clock: MockClock
) -> None:
    async with open_pair({ECHO: echo}) as (alice, _):
        stream = await alice.open_stream(ECHO)
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.send_all(b"never")
        await stream.send_all(b"but this")
        assert await stream.receive_some() == b"but this"


async def test_a_send_that_is_cancelled_in_the_middle_resets(
    open_pair: Opener, autojump_clock: MockClock
) -> None:
    held = Held()
    limits = Limits(stream_high=MIB, stream_low=MIB // 2)
    async with open_pair({HELD: held}, limits=limits) as (alice, _):
        near, far = await alice.open_stream(HELD), await held.stream()
        with trio.move_on_after(1):
            await near.send_all(bytes(16 * MIB))
        with pytest.raises(PeerGone, match="gave up in the middle"):
            await near.receive_some()
        with pytest.raises(PeerGone, match="the peer reset"):
            await received(far)


async def test_cancelled_anywhere_a_message_is_whole_or_its_stream_is_reset(
    open_pair: Opener,
    autojump_clock: MockClock,
) -> None:
    messages: list[int] = []
    broken: list[str] = []

    async def serve(stream: Stream) -> None:
        reader = MessageReader(stream, MIB)
        try:
            while (message := await reader.receive()) is not None:
                assert bytes(message) == bytes(len(message))
                messages.append(len(message))
                await write_message(stream, b"thanks")
        except PeerGone as error:
            broken.append(error.message)

    async with open_pair({ECHO: serve}) as (alice, bob):

        async def talk() -> None:
            stream = await alice.open_stream(ECHO)
            try:
                reader = MessageReader(stream, 100)
                for size in (10, 300_000, 0):
                    await write_message(stream, bytes(size))
                    assert await reader.receive() == b"thanks"
                await stream.send_eof()
                assert await reader.receive() is None
            finally:
                with trio.CancelScope(shield=True):
                    await stream.aclose()

        async def check() -> None:
            await trio.sleep(1)
            assert alice.streams() == bob.streams() == ()
            assert alice.unread == bob.unread == 0
            assert not alice.why

        cancelled = await cancel_at_every_checkpoint(talk, check)
    assert cancelled > 20
    assert set(messages) == {10, 300_000, 0}
    assert broken


class Unlinked:
    """A connection that nothing is asked of."""

    def announce(self, kind: Kind, stream: Stream) -> None: ...
    def enter(self, stream: Stream) -> None: ...
    def leave(self, stream: Stream) -> None: ...
    def taken(self, stream: Stream, count: int) -> None: ...


async def test_what_is_unread_keeps_less_than_twice_as_much_in_memory() -> None:
    stream = Stream(Unlinked(), ALICE.peer_id, Key(0, True))
    came = bytearray(3 * SMALL)
    stream.arrive(memoryview(came)[:SMALL])
    stream.arrive(memoryview(came)[SMALL : SMALL + 100])
    came.clear()  # which raises while anything is a part of it
    most = bytes(3 * SMALL)
    stream.arrive(memoryview(most)[: 2 * SMALL])
    *_, last = await stream.receive_parts()
    assert isinstance(last, memoryview)
    assert last.obj is most
