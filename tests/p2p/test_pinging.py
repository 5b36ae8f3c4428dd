"""Pings, both ways, and what follows when nothing comes back."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing

from codex.codec import Multiaddr
from codex.errors import PeerGone
from codex.p2p import Handlers, Limits, Stream, pinging
from codex.p2p.connection import Connection, open_connection
from codex.runtime import SeededEntropy, VirtualClock
from codex.testing.network import MemoryNetwork
from codex.testing.switches import identity_of

LATENCY = 0.05
ADDRESS = Multiaddr.parse("/ip4/10.0.0.2/tcp/1")

keep = partial(pinging.keep_measuring, clock=VirtualClock(0), entropy=SeededEntropy("pings"))


@asynccontextmanager
async def connected(
    handlers: Handlers, network: MemoryNetwork | None = None
) -> AsyncIterator[tuple[Connection, Connection]]:
    """Alice's connection to bob, who has these handlers; and bob's."""
    network = network or MemoryNetwork(latency=LATENCY)
    listener = await network.host("10.0.0.2").transport.listen(ADDRESS)
    near = await network.host("10.0.0.1").transport.dial(ADDRESS)
    far, _ = await listener.accept()
    alice, bob = identity_of("alice"), identity_of("bob")
    bobs: list[Connection] = []

    async def run(*, task_status: trio.TaskStatus[None]) -> None:
        async with opened(far, "bob", dialer=False, handlers=handlers) as connection:
            bobs.append(connection)
            task_status.started()
            await connection.closed.wait()

    def opened(stream: trio.abc.Stream, name: str, *, dialer: bool, handlers: Handlers):  # type: ignore[no-untyped-def]
        return open_connection(
            stream,
            identity=alice if name == "alice" else bob,
            dialer=dialer,
            expect=None,
            protocols=handlers,
            limits=Limits(),
            entropy=SeededEntropy(name),
            clock=VirtualClock(0),
        )

    async with trio.open_nursery() as nursery:
        nursery.start_soon(nursery.start, run)
        async with opened(near, "alice", dialer=True, handlers=Handlers()) as connection:
            yield connection, bobs[0]
        nursery.cancel_scope.cancel()


def pingable(handler: Callable[[Stream], Awaitable[None]] = pinging.answer) -> Handlers:
    handlers = Handlers()
    handlers.add(pinging.PROTOCOL, handler, limit=pinging.STREAMS)
    return handlers


def measure(connection: Connection) -> Awaitable[float]:
    return pinging.measure(connection, clock=VirtualClock(0), entropy=SeededEntropy("pings"))


async def test_a_ping_takes_a_round_trip(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(pingable()) as (alice, bob):
        for _ in range(3 * pinging.STREAMS):
            assert await measure(alice) == pytest.approx(2 * LATENCY)
        await trio.sleep(1)
        assert alice.streams() == bob.streams() == ()


async def test_a_refusal_takes_a_round_trip_too(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(Handlers()) as (alice, _):
        assert await measure(alice) == pytest.approx(2 * LATENCY)


async def test_a_wrong_answer_is_none(autojump_clock: trio.testing.MockClock) -> None:
    async def lie(stream: Stream) -> None:
        await stream.receive_some()
        await stream.send_all(bytes(pinging.SIZE))

    async def stop_short(stream: Stream) -> None:
        await stream.send_all(b"short")

    async with connected(pingable(lie)) as (alice, _):
        with pytest.raises(PeerGone, match="other bytes"):
            await measure(alice)
    async with connected(pingable(stop_short)) as (alice, _):
        with pytest.raises(PeerGone, match="in the middle of a ping"):
            await measure(alice)


async def test_pings_in_pieces_and_in_a_row_are_answered(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(pingable()) as (alice, _):
        stream = await alice.open_stream(pinging.PROTOCOL)
        for number in range(3):
            ping = bytes([number]) * pinging.SIZE
            await stream.send_all(ping[:5])
            await trio.sleep(1)
            await stream.send_all(ping[5:])
            assert bytes(await stream.receive_some()) == ping
        await stream.send_eof()
        assert bytes(await stream.receive_some()) == b""
        await stream.aclose()


async def test_it_is_measured_at_once_and_again(autojump_clock: trio.testing.MockClock) -> None:
    async with connected(pingable()) as (alice, _), trio.open_nursery() as nursery:
        noted: list[float] = []
        nursery.start_soon(keep, alice, noted.append)
        await trio.sleep(1)
        assert noted == [pytest.approx(2 * LATENCY)]
        await trio.sleep(10 * pinging.PERIOD)
        assert 10 <= len(noted) <= 11
        nursery.cancel_scope.cancel()


async def test_who_says_nothing_any_more_is_gone(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(latency=LATENCY)
    async with connected(pingable(), network) as (alice, _):
        noted: list[float] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keep, alice, noted.append)
            await trio.sleep(1)
            network.partition(["10.0.0.1"])
        assert alice.closed.is_set() or alice.why
        assert "not even an answer to a ping" in alice.why
        assert trio.current_time() < pinging.PERIOD + (pinging.MISSES + 1) * pinging.PATIENCE
        network.heal()


async def test_who_sends_something_else_is_not_gone(autojump_clock: trio.testing.MockClock) -> None:
    async def hang(stream: Stream) -> None:
        await trio.sleep_forever()

    async with connected(pingable(hang)) as (alice, bob), trio.open_nursery() as nursery:
        noted: list[float] = []
        nursery.start_soon(keep, alice, noted.append)
        for _ in range(60):
            await trio.sleep(5)
            with pytest.raises(Exception, match="does not speak"):
                await bob.open_stream("/attic/1")
        assert noted == []
        assert not alice.why
        nursery.cancel_scope.cancel()


async def test_streams_that_ran_out_here_say_nothing_about_the_peer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def hang(stream: Stream) -> None:
        await stream.receive_some()

    handlers = pingable()
    handlers.add("/hang/1", hang, limit=1000)
    async with connected(handlers) as (alice, _):
        streams = [await alice.open_stream("/hang/1") for _ in range(Limits().outbound_streams)]
        with pytest.raises(PeerGone, match="are open already"):
            await measure(alice)
        streams[0].reset("one less")
        await trio.sleep(1)
        assert await measure(alice) == pytest.approx(2 * LATENCY)
