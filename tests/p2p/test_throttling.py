"""Bounds on traffic, around streams of the network in memory."""

import pytest
import trio
import trio.testing

from codex.codec import Multiaddr
from codex.p2p.throttling import Throttle
from codex.testing.network import MemoryNetwork

ADDRESS = Multiaddr.parse("/ip4/10.0.0.2/tcp/1")


async def pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
    network = MemoryNetwork(latency=0)
    listener = await network.host("10.0.0.2").transport.listen(ADDRESS)
    near = await network.host("10.0.0.1").transport.dial(ADDRESS)
    far, _ = await listener.accept()
    return near, far


async def drain(stream: trio.abc.Stream, size: int) -> None:
    got = 0
    while got < size:
        got += len(await stream.receive_some())
    assert got == size


async def test_no_bound_is_no_wrapping(autojump_clock: trio.testing.MockClock) -> None:
    near, _ = await pair()
    assert Throttle(0, 0).around(near) is near


@pytest.mark.parametrize(("upload", "download"), [(100_000, 0), (0, 100_000), (100_000, 100_000)])
async def test_all_streams_share_the_bound(
    upload: int, download: int, autojump_clock: trio.testing.MockClock
) -> None:
    senders, receivers = Throttle(upload, 0), Throttle(0, download)
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            near, far = await pair()
            nursery.start_soon(senders.around(near).send_all, bytes(250_000))
            nursery.start_soon(drain, receivers.around(far), 250_000)
    assert 9 < trio.current_time() < 11


async def test_streams_take_turns(autojump_clock: trio.testing.MockClock) -> None:
    throttle = Throttle(100_000, 0)
    near, far = await pair()
    other, there = await pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(throttle.around(near).send_all, bytes(1_000_000))
        nursery.start_soon(drain, far, 1_000_000)
        await trio.sleep(1)
        start = trio.current_time()
        nursery.start_soon(throttle.around(other).send_all, b"small")
        await drain(there, 5)
        assert trio.current_time() - start < 1


async def test_a_cancelled_receive_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    near, far = await pair()
    slow = Throttle(0, 1000).around(far)
    await near.send_all(bytes(10_000))
    got = 0
    while got < 10_000:
        with trio.move_on_after(0.3):
            got += len(await slow.receive_some())
    assert got == 10_000
    await near.send_eof()
    assert await slow.receive_some() == b""
    await slow.aclose()


async def test_it_passes_on_what_streams_do(autojump_clock: trio.testing.MockClock) -> None:
    near, far = await pair()
    throttled = Throttle(1000, 1000).around(near)
    await throttled.wait_send_all_might_not_block()
    await throttled.send_all(b"")
    await far.aclose()
    assert await throttled.receive_some(10) == b""
    with pytest.raises(trio.BrokenResourceError):
        await throttled.send_all(b"x")
    await throttled.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await throttled.send_all(b"")
