"""Connections: who is let in, how streams share one, and how every bad peer ends without harm to others."""

import hashlib
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from io import StringIO
from itertools import repeat
from random import Random
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from codex.config import LogConfig
from codex.errors import CodexError, HandshakeFailed, PeerGone, ProtocolRefused
from codex.logs import configured
from codex.p2p import Identity
from codex.p2p.connection import Connection, open_connection
from codex.p2p.framing import MessageReader, write_message
from codex.p2p.handlers import Handlers
from codex.p2p.limits import Budget, Limits
from codex.p2p.mplex import MAX_PAYLOAD, Key, Kind, Parser, header
from codex.p2p.multistream import line
from codex.p2p.streams import Stream
from codex.runtime import SeededEntropy, VirtualClock
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.network import MemoryNetwork
from codex.testing.steps import watched_steps

Opener = Callable[..., Any]
Attempt = Callable[[Callable[[trio.abc.Stream], Awaitable[None]]], Awaitable[str]]

ALICE = Identity.generate(SeededEntropy("alice"))
BOB = Identity.generate(SeededEntropy("bob"))
EPOCH = 1_750_000_000.0  # unix seconds
ECHO = "/echo/1.0.0"
DEAF = "/deaf/1.0.0"
KIB, MIB = 1 << 10, 1 << 20


def frame_of(kind: Kind, number: int, data: bytes = b"", *, ours: bool = True) -> bytes:
    """A frame about stream `number`, which its sender has opened unless it is not `ours`."""
    return header(kind, Key(number, ours), len(data)) + data


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def deaf(stream: Stream) -> None:
    await trio.sleep_forever()


@contextmanager
def logged(level: str = "info") -> Iterator[StringIO]:
    lines = StringIO()
    with configured(LogConfig(level=level, format="json", file=None), stream=lines):
        yield lines


async def echoes(connection: Connection) -> float:
    """Send a small message there and back; seconds that it took."""
    began = trio.current_time()
    stream = await connection.open_stream(ECHO)
    await stream.send_all(b"hello")
    assert await stream.receive_some() == b"hello"
    await stream.aclose()
    return trio.current_time() - began


async def flood(puppet: Any, frames: Iterable[bytes]) -> None:
    """Send frames until the other side has closed the connection."""
    with suppress(trio.BrokenResourceError):
        for frame in frames:
            await puppet.send(frame)
        pytest.fail("the connection was not closed")


# Who is let in.


async def test_both_know_each_other(open_pair: Opener, autojump_clock: MockClock) -> None:
    async with open_pair({ECHO: echo}) as (alice, bob):
        assert (alice.peer, bob.peer) == (BOB.peer_id, ALICE.peer_id)
        assert (alice.remote_key, bob.remote_key) == (BOB.public_key, ALICE.public_key)
        assert (alice.dialer, bob.dialer) == (True, False)
        assert alice.since >= EPOCH
        await echoes(alice)
        await trio.sleep(1)
        assert alice.bytes_out == bob.bytes_in > 0
        assert alice.bytes_in == bob.bytes_out > 0
        assert not alice.closed.is_set()
    assert (alice.why, bob.why) == ("closed on this side", "the peer closed the connection")
    assert alice.closed.is_set()
    with pytest.raises(PeerGone, match="closed on this side"):
        await alice.open_stream(ECHO)


async def test_somebody_else_than_expected(
    stream_pair: Opener, open_end: Opener, autojump_clock: MockClock
) -> None:
    near, far = await stream_pair()

    async def bob() -> None:
        with pytest.raises(HandshakeFailed, match=r"ended the connection|broke"):
            async with open_end(far, BOB, dialer=False, handlers={}):
                pytest.fail("bob took it")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(bob)
        with pytest.raises(HandshakeFailed, match=f"the peer is {BOB.peer_id}, and not {ALICE.peer_id}"):
            async with open_connection(
                near,
                identity=ALICE,
                dialer=True,
                expect=ALICE.peer_id,
                protocols=Handlers(),
                limits=Limits(),
                entropy=SeededEntropy(1),
                clock=VirtualClock(EPOCH),
            ):
                pytest.fail("alice took it")


@pytest.fixture
def attempt(stream_pair: Opener, open_end: Opener) -> Attempt:
    """What the listener says about somebody who sends that for a handshake."""

    async def attempted(send: Callable[[trio.abc.Stream], Awaitable[None]]) -> str:
        near, far = await stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, near)
            with pytest.raises(HandshakeFailed) as caught:
                async with open_end(far, BOB, dialer=False, handlers={}):
                    pytest.fail("it was taken for a handshake")
            nursery.cancel_scope.cancel()
        with pytest.raises(trio.ClosedResourceError):
            await far.receive_some()
        return caught.value.message

    return attempted


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: codex.example.org:8070\r\n\r\n" * 3, "does not end with"),
        (bytes.fromhex("16030102000100 01fc0303") + bytes(506), "does not end with a newline"),
        (line("/noise"), "does not begin with"),
        (b"\xff" * 100_000, "1 to 1024"),
        (line("/multistream/1.0.0") + line("/tls/1.0.0") * 100, "more than 64"),
        (line("/multistream/1.0.0") + line("/noise") + b"\xff\xff", "more than 4096"),
        (line("/multistream/1.0.0") + line("/noise") + b"\x00\x05hello", "too short"),
        (line("/multistream/1.0.0") + line("/noise") + b"\x00\x20" + bytes(32), "gives away"),
    ],
)
async def test_garbage_for_a_handshake(
    attempt: Attempt, autojump_clock: MockClock, data: bytes, why: str
) -> None:
    async def send(stream: trio.abc.Stream) -> None:
        await stream.send_all(data)
        await trio.sleep_forever()

    assert why in await attempt(send)


async def test_a_handshake_has_its_time(attempt: Attempt, autojump_clock: MockClock) -> None:
    async def drip(stream: trio.abc.Stream) -> None:
        for letter in line("/multistream/1.0.0") + line("/tls/1.0.0") * 10:
            await stream.send_all(bytes([letter]))
            await trio.sleep(1)

    began = trio.current_time()
    assert "within 30 s" in await attempt(drip)
    assert trio.current_time() - began == pytest.approx(30, abs=1)


async def test_a_handshake_that_is_left(attempt: Attempt, autojump_clock: MockClock) -> None:
    async def leave(stream: trio.abc.Stream) -> None:
        await stream.aclose()

    assert "ended the connection during the handshake" in await attempt(leave)


async def test_cancelled_anywhere_the_stream_is_closed(
    stream_pair: Opener, open_end: Opener, autojump_clock: MockClock
) -> None:
    ends: list[trio.abc.Stream] = []

    async def talk() -> None:
        near, far = await stream_pair()
        ends[:] = [near, far]

        async def bob() -> None:
            async with open_end(far, BOB, dialer=False, handlers={ECHO: echo}) as connection:
                await connection.closed.wait()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(bob)
            async with open_end(near, ALICE, dialer=True, handlers={}) as connection:
                await echoes(connection)

    async def check() -> None:
        for end in ends:
            with pytest.raises(trio.ClosedResourceError):
                await end.receive_some()
        ends.clear()

    assert await cancel_at_every_checkpoint(talk, check) > 40


# Streams.


async def test_the_peer_speaks_none_of_them(open_pair: Opener, autojump_clock: MockClock) -> None:
    async with open_pair({ECHO: echo}) as (alice, bob):
        with pytest.raises(ProtocolRefused, match="/a or /b"):
            await alice.open_stream("/a", "/b")
        stream = await alice.open_stream("/a", ECHO, "/b")
        assert stream.protocol == ECHO
        await stream.aclose()
        await trio.sleep(1)
        assert alice.streams() == bob.streams() == ()


async def test_a_peer_that_does_not_answer(open_puppet: Opener, autojump_clock: MockClock) -> None:
    async with open_puppet({}) as (puppet, bob), trio.open_nursery() as nursery:
        nursery.start_soon(puppet.drain)
        with pytest.raises(PeerGone, match="within 10 s"):
            await bob.open_stream(ECHO)
        assert bob.streams() == ()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (frame_of(Kind.DATA, 0, b"\x00", ours=False), "1 to 1024"),
        (frame_of(Kind.CLOSE, 0, ours=False), "ended the stream instead"),
        (frame_of(Kind.RESET, 0, ours=False), "reset"),
    ],
)
async def test_a_peer_that_answers_wrongly(
    open_puppet: Opener, autojump_clock: MockClock, answer: bytes, why: str
) -> None:
    async with open_puppet({}) as (puppet, bob), trio.open_nursery() as nursery:

        async def reply() -> None:
            await puppet.receive()
            await puppet.send(answer)
            await puppet.drain()

        nursery.start_soon(reply)
        with pytest.raises(PeerGone, match=why):
            await bob.open_stream(ECHO)
        assert bob.streams() == ()
        assert not bob.why
        nursery.cancel_scope.cancel()


async def test_a_handler_that_gives_up_resets_its_stream(
    open_pair: Opener, autojump_clock: MockClock
) -> None:
    async def refuse(stream: Stream) -> None:
        await stream.receive_some()
        raise CodexError("no time")

    async with open_pair({"/no": refuse, ECHO: echo}) as (alice, _):
        stream = await alice.open_stream("/no")
        await stream.send_all(b"a word")
        with pytest.raises(PeerGone, match="the peer reset the stream"):
            await stream.receive_some()
        await echoes(alice)


async def test_a_bug_in_a_handler_comes_out(
    stream_pair: Opener, open_end: Opener, autojump_clock: MockClock
) -> None:
    async def fail(stream: Stream) -> None:
        await stream.receive_some()
        raise ZeroDivisionError

    near, far = await stream_pair()
    async with trio.open_nursery() as nursery:

        async def bob() -> None:
            with pytest.raises(ZeroDivisionError):
                async with open_end(far, BOB, dialer=False, handlers={"/no": fail}):
                    await trio.sleep_forever()

        nursery.start_soon(bob)
        async with open_end(near, ALICE, dialer=True, handlers={}) as alice:
            stream = await alice.open_stream("/no")
            await stream.send_all(b"a word")
            with pytest.raises(PeerGone):
                await stream.receive_some()


async def test_what_was_handed_over_is_sent_before_the_end(
    open_pair: Opener, autojump_clock: MockClock
) -> None:
    came: list[bytes] = []

    async def keep(stream: Stream) -> None:
        with suppress(PeerGone):
            while True:
                came.append(bytes(await stream.receive_some()))

    async with open_pair({"/keep": keep}, network=MemoryNetwork(bandwidth=4 * MIB)) as (alice, _):
        stream = await alice.open_stream("/keep")
        await stream.send_all(bytes(2 * MIB))
    assert sum(map(len, came)) == 2 * MIB


async def test_a_small_message_is_not_held_up_by_a_huge_one(
    open_pair: Opener, autojump_clock: MockClock
) -> None:
    async def drop(stream: Stream) -> None:
        while await stream.receive_parts():
            pass

    # One megabyte a second: the huge message takes twenty.
    async with open_pair({ECHO: echo, "/drop": drop}, network=MemoryNetwork(bandwidth=1e6)) as (alice, _):
        huge = await alice.open_stream("/drop")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(huge.send_all, bytes(20_000_000))
            await trio.sleep(5)
            # What waits is what the window of the stream below holds, and a batch.
            assert await echoes(alice) < 3.5
            nursery.cancel_scope.cancel()


async def test_streams_share_the_way(open_pair: Opener, autojump_clock: MockClock) -> None:
    ended: list[int] = []

    async def tally(stream: Stream) -> None:
        size = 0
        while parts := await stream.receive_parts():
            size += sum(map(len, parts))
        ended.append(size)

    sizes = [8_000_000, 4_000_000, 2_000_000]
    async with open_pair({"/count": tally}, network=MemoryNetwork(bandwidth=4e6)) as (alice, _):

        async def send(size: int) -> None:
            stream = await alice.open_stream("/count")
            await stream.send_all(bytes(size))
            await stream.send_eof()

        async with trio.open_nursery() as nursery:
            for size in sizes:
                nursery.start_soon(send, size)
        await trio.sleep(2)
    assert ended == sizes[::-1]


async def test_an_idle_connection_holds_no_memory(open_pair: Opener, autojump_clock: MockClock) -> None:
    async with open_pair({ECHO: echo}) as (alice, _):
        stream = await alice.open_stream(ECHO)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for _ in range(20):
                await stream.send_all(bytes(MIB))
                left = MIB
                while left:
                    left -= len(await stream.receive_some())
            await trio.sleep(10)
            assert tracemalloc.get_traced_memory()[0] - before < 200 * KIB
        finally:
            tracemalloc.stop()
        await stream.send_all(b"and on")
        assert await stream.receive_some() == b"and on"


# Back-pressure.


async def test_a_stream_that_nobody_reads_is_reset_and_the_others_go_on(
    open_pair: Opener, autojump_clock: MockClock
) -> None:
    budget = Budget(64 * MIB)
    with logged() as lines:
        async with open_pair({DEAF: deaf, ECHO: echo}, budget=budget) as (alice, bob):
            stalled = await alice.open_stream(DEAF)
            began = trio.current_time()

            async def fill() -> None:
                with pytest.raises(PeerGone, match="the peer reset the stream"):
                    await stalled.send_all(bytes(32 * MIB))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(fill)
                await trio.sleep(2)
                assert budget.used == bob.unread
                assert Limits().stream_high < bob.unread < Limits().stream_high + 2 * Limits().read
                assert await echoes(alice) < 5
            assert 5 <= trio.current_time() - began < 6
            assert await echoes(alice) < 1
            assert (bob.unread, budget.used) == (0, 0)
    assert lines.getvalue().count("stream reset, for nobody read it") == 1
    assert DEAF in lines.getvalue()


async def test_a_slow_reader_that_drains_is_waited_for(open_pair: Opener, autojump_clock: MockClock) -> None:
    size = 20 * MIB
    came: list[int] = []

    async def slow(stream: Stream) -> None:
        while parts := await stream.receive_parts():
            came.append(sum(map(len, parts)))
            await trio.sleep(4)

    async with open_pair({"/slow": slow}) as (alice, bob):
        stream = await alice.open_stream("/slow")
        await stream.send_all(bytes(size))
        await stream.send_eof()
        assert await stream.receive_some() == b""
        assert bob.unread == 0
    assert sum(came) == size


async def test_a_connection_has_a_budget_of_its_own(open_pair: Opener, autojump_clock: MockClock) -> None:
    limits = Limits(connection_high=3 * MIB, read=64 * KIB)
    async with open_pair({DEAF: deaf, ECHO: echo}, limits=limits) as (alice, bob):
        ended: list[int] = []

        async def fill(size: int) -> None:
            stream = await alice.open_stream(DEAF)
            try:
                await stream.send_all(bytes(size))
                await stream.receive_some()
            except PeerGone:
                ended.append(size)

        async with trio.open_nursery() as nursery:
            for size in [900_000] * 4:
                nursery.start_soon(fill, size)
            await trio.sleep(3)
            assert bob.unread <= 3 * MIB + 2 * limits.read
            await trio.sleep(30)
            # One had to go so that the others found room.
            assert ended == [900_000]
            assert await echoes(alice) < 1
            nursery.cancel_scope.cancel()


async def test_all_connections_have_a_budget_together(open_pair: Opener, autojump_clock: MockClock) -> None:
    budget = Budget(1 * MIB)
    async with (
        open_pair({DEAF: deaf, ECHO: echo}, budget=budget) as (greedy, one),
        open_pair({DEAF: deaf, ECHO: echo}, budget=budget) as (modest, other),
    ):
        stalled = await greedy.open_stream(DEAF)

        async def fill() -> None:
            with pytest.raises(PeerGone):
                await stalled.send_all(bytes(32 * MIB))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fill)
            await trio.sleep(3)
            assert budget.exceeded
            assert one.unread == budget.used < MIB + 2 * Limits().read
            # Who holds less than its share is not held back.
            assert await echoes(modest) < 1
            assert other.unread == 0
        assert budget.used == 0


async def test_no_more_than_a_share_is_taken_at_once_where_all_hold_too_much(
    open_puppet: Opener, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget, limits, asked = Budget(MIB), Limits(), list[int]()
    async with open_puppet({ECHO: deaf}, budget=budget) as (puppet, bob):
        receive = bob._stream.receive_some

        async def receive_some(most: int) -> Any:
            asked.append(most)
            return await receive(most)

        monkeypatch.setattr(bob._stream, "receive_some", receive_some)
        await puppet.send(AGREED)
        for others in (0, 2 * MIB, 0):
            budget.used += others
            for _ in range(2):
                await puppet.send(frame_of(Kind.DATA, 0, b"more"))
                await trio.sleep(1)
            budget.used -= others
    assert list(dict.fromkeys(asked)) == [limits.read, limits.share]
    assert asked[-1] == limits.read


async def test_the_budget_is_given_back_at_the_end(open_pair: Opener, autojump_clock: MockClock) -> None:
    budget = Budget(64 * MIB)
    async with open_pair({DEAF: deaf}, budget=budget) as (alice, bob):
        stream = await alice.open_stream(DEAF)
        await stream.send_all(bytes(MIB))
        await trio.sleep(1)
        assert budget.used == bob.unread == MIB
        bob.close("enough")
        await bob.closed.wait()
        assert (budget.used, bob.unread) == (0, 0)


async def test_a_peer_that_takes_nothing_is_given_up(open_puppet: Opener, autojump_clock: MockClock) -> None:
    async def give(stream: Stream) -> None:
        await stream.send_all(bytes(16 * MIB))

    with logged() as lines:
        async with open_puppet({ECHO: give}) as (puppet, bob):
            began = trio.current_time()
            await puppet.send(AGREED)
            await bob.closed.wait()
            assert "took nothing for 60 s" in bob.why
            assert trio.current_time() - began == pytest.approx(60, abs=1)
    assert lines.getvalue().count("connection closed") == 1


async def test_a_peer_that_takes_little_is_waited_for_as_long_as_it_takes_any(
    open_puppet: Opener, autojump_clock: MockClock
) -> None:
    async def give(stream: Stream) -> None:
        await stream.send_all(bytes(16 * MIB))

    async with open_puppet({ECHO: give}) as (puppet, bob):
        await puppet.send(AGREED)
        for _ in range(8):
            await trio.sleep(50)
            left = MIB  # more than a batch
            while left > 0:
                left -= len(await puppet.stream.receive_some(left))
        assert not bob.closed.is_set()
        began = trio.current_time()
        await bob.closed.wait()
        assert "took nothing for 60 s" in bob.why
        assert trio.current_time() - began == pytest.approx(60, abs=1)


# Idle.


async def test_a_stream_without_traffic_is_reset(open_pair: Opener, autojump_clock: MockClock) -> None:
    limits = Limits(stream_idle=300)
    async with open_pair({ECHO: echo}, limits=limits) as (alice, bob):
        idle, busy = await alice.open_stream(ECHO), await alice.open_stream(ECHO)
        for _ in range(4):
            await trio.sleep(100)
            await busy.send_all(b"x")
            assert await busy.receive_some() == b"x"
        with pytest.raises(PeerGone, match="reset"):
            await idle.receive_some()
        assert [stream.protocol for stream in bob.streams()] == [ECHO]


async def test_a_connection_without_a_byte_is_given_up(
    open_puppet: Opener, autojump_clock: MockClock
) -> None:
    with logged() as lines:
        async with open_puppet({}) as (_, bob):
            began = trio.current_time()
            with trio.fail_after(1000):
                await bob.closed.wait()
            assert trio.current_time() - began == pytest.approx(900, abs=2)
            assert "nothing came for 900 s" in bob.why
    assert lines.getvalue().count("connection closed") == 1


async def test_an_idle_connection_wakes_seldom(open_pair: Opener, autojump_clock: MockClock) -> None:
    async with open_pair({ECHO: echo}) as (alice, _):
        await echoes(alice)
        before = trio.lowlevel.current_statistics()
        steps = Steps()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(800)
        trio.lowlevel.remove_instrument(steps)
        assert steps.count < 40
        assert trio.lowlevel.current_statistics().tasks_living <= before.tasks_living


class Steps(trio.abc.Instrument):
    count = 0

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1


# Peers that do what no node does. Each ends with its connection closed and one line that says why.

AGREED = frame_of(Kind.OPEN, 0) + frame_of(Kind.DATA, 0, line("/multistream/1.0.0") + line(ECHO))


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (b"\x07\x00", "flag 7"),
        (b"\xff" * 20, "64 bits"),
        (header(Kind.DATA, Key(0, True), MAX_PAYLOAD + 1), "1048577 bytes"),
        (frame_of(Kind.DATA, 0, b"x"), "never opened"),
        (frame_of(Kind.CLOSE, 7), "never opened"),
        (frame_of(Kind.DATA, 0, b"x", ours=False), "never opened"),
        (AGREED + frame_of(Kind.DATA, 1, b"x"), "never opened"),
        (AGREED + frame_of(Kind.OPEN, 0), "opens a stream that is open"),
        (AGREED + frame_of(Kind.CLOSE, 0) + frame_of(Kind.DATA, 0, b"x"), "that it had ended"),
        (b"".join(frame_of(Kind.OPEN, n) for n in range(10_000)), "more streams than anybody"),
        (
            b"".join(frame_of(Kind.OPEN, n) + frame_of(Kind.RESET, n) for n in range(10_000)),
            "more streams than anybody",
        ),
        (AGREED + frame_of(Kind.RESET, 0) * 10_000, "more streams than anybody"),
        (AGREED + frame_of(Kind.DATA, 0) * 10_000, "more streams than anybody"),
    ],
)
async def test_frames_that_no_node_sends(
    open_pair: Opener, open_puppet: Opener, autojump_clock: MockClock, frames: bytes, why: str
) -> None:
    budget = Budget(64 * MIB)
    with logged() as lines:
        async with (
            open_pair({ECHO: echo}, budget=budget) as (carol, _),
            open_puppet({ECHO: echo}, budget=budget) as (puppet, bob),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(puppet.drain)
            await puppet.send(frames)
            await bob.closed.wait()
            assert why in bob.why
            assert bob.streams() == ()
            assert await echoes(carol) < 1
            assert budget.used == 0
    assert lines.getvalue().count("connection closed") == 1
    assert str(ALICE.peer_id) in lines.getvalue()


@pytest.mark.parametrize("what", ["frames of Noise", "frames of mplex", "messages"])
async def test_no_step_is_long_whatever_comes(
    open_puppet: Opener, autojump_clock: MockClock, what: str
) -> None:
    """A peer sends the smallest things there are, as many as it can."""
    came = 0

    async def read(stream: Stream) -> None:
        nonlocal came
        reader = MessageReader(stream, 100)
        while await reader.receive() is not None:
            came += 1

    async with open_puppet({ECHO: read}) as (puppet, bob):
        await puppet.send(AGREED)
        await trio.sleep(1)
        if what == "frames of Noise":
            data = puppet.sealed.seal([[b""]] * 40_000)
        elif what == "frames of mplex":
            data = puppet.sealed.seal([[frame_of(Kind.DATA, 0, b"\x00") * 15_000]] * 5)
        else:
            data = puppet.sealed.seal([[frame_of(Kind.DATA, 0, bytes(60_000))]] * 2)
        await puppet.stream.send_all(bytes(data))
        with watched_steps() as watch:
            await trio.sleep(100)
        assert not bob.why
        assert bob.unread == 0
        assert came == {"frames of Noise": 0, "frames of mplex": 75_000, "messages": 120_000}[what]
    assert watch.worst_cpu < 0.05, watch.worst_cpu_task
    if what == "frames of Noise":
        assert 80 <= watch.steps <= 200  # a turn for the others every 500 frames, and no more


async def test_bytes_that_were_not_sealed(open_puppet: Opener, autojump_clock: MockClock) -> None:
    async with open_puppet({}) as (puppet, bob):
        await puppet.stream.send_all(bytes.fromhex("0020") + bytes(32))
        await bob.closed.wait()
        assert "does not decrypt" in bob.why


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.booleans())
def test_random_frames_end_in_order(open_puppet: Opener, seed: int, sealed: bool) -> None:
    """Whatever a peer sends: the connection lives or ends, and nothing is left behind."""

    async def main() -> None:
        random = Random(seed)
        budget = Budget(MIB)
        limits = Limits(inbound_streams=5, negotiating=3, stream_high=KIB, stream_low=KIB, stray=KIB)
        async with open_puppet({ECHO: echo}, budget=budget, limits=limits) as (puppet, bob):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(puppet.drain)
                try:
                    for _ in range(60):
                        if random.random() < 0.02:
                            await (puppet.send if sealed else puppet.stream.send_all)(random.randbytes(50))
                        kind, number = random.choice(list(Kind)), random.randrange(6)
                        text = random.choice([b"", b"x" * 700, line("/multistream/1.0.0") + line(ECHO)])
                        ours = kind is Kind.OPEN or random.random() < 0.95
                        await puppet.send(frame_of(kind, number, text, ours=ours))
                        assert len(bob.streams()) <= limits.inbound_streams
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    assert bob.why
                await trio.sleep(10)
                nursery.cancel_scope.cancel()
            assert budget.used == bob.unread
            bob.close("enough")
            await bob.closed.wait()
            assert budget.used == 0
            assert bob.streams() == ()

    trio.run(main, clock=MockClock(autojump_threshold=0))


async def test_more_streams_than_allowed_are_reset(open_pair: Opener, autojump_clock: MockClock) -> None:
    limits = Limits(inbound_streams=10)
    async with open_pair({DEAF: deaf}, limits=limits) as (alice, bob):
        streams = [await alice.open_stream(DEAF) for _ in range(10)]
        with pytest.raises(PeerGone, match="reset"):
            await alice.open_stream(DEAF)
        assert len(bob.streams()) == 10
        assert {stream.ours for stream in bob.streams()} == {False}
        # The handlers go on, and count, although their streams are over.
        for stream in streams:
            stream.reset("enough")
        await trio.sleep(1)
        assert bob.streams() == ()
        with pytest.raises(PeerGone, match="reset"):
            await alice.open_stream(DEAF)


async def test_our_own_streams_are_counted(
    stream_pair: Opener, open_end: Opener, autojump_clock: MockClock
) -> None:
    limits = Limits(outbound_streams=2)
    near, far = await stream_pair()
    async with trio.open_nursery() as nursery:

        async def bob() -> None:
            async with open_end(far, BOB, dialer=False, handlers={ECHO: echo}) as connection:
                await connection.closed.wait()

        nursery.start_soon(bob)
        async with open_end(near, ALICE, dialer=True, handlers={}, limits=limits) as alice:
            first, _ = await alice.open_stream(ECHO), await alice.open_stream(ECHO)
            with pytest.raises(ProtocolRefused, match="2 streams"):
                await alice.open_stream(ECHO)
            first.reset("enough")
            await alice.open_stream(ECHO)


async def test_streams_that_are_not_agreed_on(open_puppet: Opener, autojump_clock: MockClock) -> None:
    limits = Limits(negotiating=20)
    async with open_puppet({ECHO: echo}, limits=limits) as (puppet, bob), trio.open_nursery() as nursery:
        nursery.start_soon(puppet.drain)
        await puppet.send(*(frame_of(Kind.OPEN, number) for number in range(100)))
        await trio.sleep(1)
        assert len(bob.streams()) == 20
        await trio.sleep(10)
        assert bob.streams() == ()
        assert not bob.why
        nursery.cancel_scope.cancel()


async def test_what_comes_before_a_stream_is_agreed_on_counts_as_unread(
    open_puppet: Opener, autojump_clock: MockClock
) -> None:
    """A peer reads nothing, so that no answer gets out, and sends content all the while."""

    async def talk(stream: Stream) -> None:
        await stream.send_all(bytes(8 * MIB))

    limits = Limits(connection_high=MIB, read=256 * KIB)
    async with open_puppet({ECHO: talk}, limits=limits) as (puppet, bob):
        await puppet.send(AGREED)
        await trio.sleep(1)
        async with trio.open_nursery() as nursery:
            content = line("/multistream/1.0.0") + line(ECHO) + bytes(128 * KIB)
            opened = (
                frame_of(Kind.OPEN, number) + frame_of(Kind.DATA, number, content) for number in range(1, 64)
            )
            nursery.start_soon(puppet.send, *opened)
            await trio.sleep(3)
            assert limits.connection_high < bob.unread
            assert bob.bytes_in < limits.connection_high + 2 * limits.read
            nursery.cancel_scope.cancel()


async def test_what_comes_late_for_a_reset_stream_is_dropped(
    open_puppet: Opener, autojump_clock: MockClock
) -> None:
    limits = Limits(stray=MIB)
    async with open_puppet({DEAF: deaf}, limits=limits) as (puppet, bob), trio.open_nursery() as nursery:
        nursery.start_soon(puppet.drain)
        await puppet.send(frame_of(Kind.OPEN, 0), frame_of(Kind.RESET, 0))
        for _ in range(15):
            await puppet.send(frame_of(Kind.DATA, 0, bytes(65536)))
        await trio.sleep(1)
        assert not bob.why
        await flood(puppet, repeat(frame_of(Kind.DATA, 0, bytes(65536)), 100))
        assert "does not stop sending" in bob.why
        assert bob.unread == 0
        nursery.cancel_scope.cancel()


# Many at once.


@pytest.mark.parametrize("seed", range(6))
async def test_many_streams_at_random(open_pair: Opener, autojump_clock: MockClock, seed: int) -> None:
    """Every stream that ends cleanly brought what was sent; nothing is left of any."""
    served: dict[bytes, bytes] = {}

    async def serve(stream: Stream) -> None:
        """Digest what comes, slowly at times, and answer with as much as was asked for."""
        reader = MessageReader(stream, 8 * MIB)
        random = Random(stream.key.number)
        digest = hashlib.sha256()
        name = b""
        while (message := await reader.receive()) is not None:
            name = name or bytes(message)
            digest.update(message)
            if random.random() < 0.1:
                await trio.sleep(random.random())
            if random.random() < 0.02:
                raise CodexError("no more of this")
        served[name] = digest.digest()
        await write_message(stream, digest.digest())

    random = Random(seed)
    budget = Budget(16 * MIB)
    limits = Limits(stream_high=256 * KIB, stream_low=128 * KIB, connection_high=2 * MIB)
    whole: list[bytes] = []
    most = 0

    async with open_pair({ECHO: serve}, budget=budget, limits=limits) as (alice, bob):

        async def talk(name: bytes) -> None:
            nonlocal most
            random = Random(f"{seed}/{name!r}")  # its own, or chance would be the order of the tasks
            sent = hashlib.sha256()
            with trio.move_on_after(random.choice([0.05, 0.5, 60])):
                try:
                    stream = await alice.open_stream(ECHO)
                    try:
                        reader = MessageReader(stream, KIB)
                        for number in range(random.randrange(1, 30)):
                            size = random.choice([0, 1, 100, 5_000, 70_000, 400_000])
                            message = random.randbytes(size) if number else name
                            sent.update(message)
                            await write_message(stream, message)
                            most = max(most, bob.unread)
                            if random.random() < 0.02:
                                stream.reset("not now")
                        await stream.send_eof()
                        assert await reader.receive() == sent.digest()
                        whole.append(name)
                    finally:
                        with trio.CancelScope(shield=True):
                            await stream.aclose()
                except PeerGone:
                    pass

        async with trio.open_nursery() as nursery:
            for number in range(60):
                nursery.start_soon(talk, b"talk %d" % number)
                await trio.sleep(random.choice([0, 0, 0.01, 0.1]))
        await trio.sleep(60)  # whoever serves may be behind by as much as was on its way
        assert not alice.why
        assert not bob.why
        assert len(whole) > 5
        assert set(whole) <= served.keys()
        assert alice.streams() == bob.streams() == ()
        assert (alice.unread, bob.unread, budget.used) == (0, 0, 0)
        assert most <= limits.connection_high + 2 * limits.read


async def test_a_puppet_that_behaves_is_served(open_puppet: Opener, autojump_clock: MockClock) -> None:
    """The puppet itself is sound: what the tests above see is not its own mistake."""

    async with open_puppet({ECHO: echo}) as (puppet, bob):
        await puppet.send(AGREED + frame_of(Kind.DATA, 0, b"hello"))
        said = b""
        while not said.endswith(b"hello"):
            said += await puppet.receive()
        frames = list(Parser().feed(said))
        assert {(frame.kind, frame.key) for frame in frames} == {(Kind.DATA, Key(0, True))}
        answers = line("/multistream/1.0.0") + line(ECHO)
        assert b"".join(frame.data for frame in frames) == answers + b"hello"
        assert len(bob.streams()) == 1
        await puppet.send(frame_of(Kind.CLOSE, 0))
        assert await puppet.receive() == frame_of(Kind.CLOSE, 0, ours=False)
        await trio.sleep(1)
        assert bob.streams() == ()
        assert not bob.why


async def test_a_frame_without_content_is_not_the_end_of_its_stream(
    open_puppet: Opener, autojump_clock: MockClock
) -> None:
    async with open_puppet({ECHO: echo}) as (puppet, _):
        await puppet.send(AGREED)
        for part in (b"", b"one", b"", b"two"):
            await trio.sleep(1)
            await puppet.send(frame_of(Kind.DATA, 0, part))
        said = b""
        with trio.move_on_after(5):
            while not said.endswith(b"two"):
                said += await puppet.receive()
        frames = list(Parser().feed(said))
        assert b"".join(frame.data for frame in frames).endswith(b"onetwo")
        assert {frame.kind for frame in frames} == {Kind.DATA}
