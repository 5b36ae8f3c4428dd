"""The network in memory: what it promises about time, order, loss, partitions and crashes."""

from functools import partial

import pytest
import trio
import trio.testing

from codex.codec import Multiaddr
from codex.errors import PeerUnreachable, PortTaken
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.counting import leak_check
from codex.testing.network import BACKLOG, QUEUE, MemoryNetwork
from codex.testing.wires import WINDOW, MemoryStream

ALICE, BOB, CAROL = "10.0.0.1", "10.0.0.2", "10.0.0.3"
BOBS = Multiaddr.parse(f"/ip4/{BOB}/tcp/8070")


async def streams(network: MemoryNetwork) -> tuple[MemoryStream, MemoryStream]:
    """A stream from alice to bob: her end, and his."""
    listener = await network.host(BOB).transport.listen(Multiaddr.parse("/ip4/0.0.0.0/tcp/8070"))
    near = await network.host(ALICE).transport.dial(BOBS)
    far, _ = await listener.accept()
    await listener.aclose()
    return near, far


async def read(stream: MemoryStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = await stream.receive_some(size - len(data))
        if not piece:
            break
        data += piece
    return data


async def test_it_keeps_the_contract_of_streams(autojump_clock: trio.testing.MockClock) -> None:
    async def fresh() -> tuple[MemoryStream, MemoryStream]:
        return await streams(MemoryNetwork(latency=0))

    await trio.testing.check_half_closeable_stream(fresh, None)


async def test_it_keeps_the_contract_of_streams_with_full_windows(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def fresh() -> tuple[MemoryStream, MemoryStream]:
        return await streams(MemoryNetwork(latency=0.05))

    async def clogged() -> tuple[MemoryStream, MemoryStream]:
        near, far = await streams(MemoryNetwork(latency=0.05))
        await near.send_all(bytes(WINDOW))
        await far.send_all(bytes(WINDOW))
        return near, far

    await trio.testing.check_two_way_stream(fresh, clogged)


async def test_bytes_arrive_after_the_latency(autojump_clock: trio.testing.MockClock) -> None:
    near, far = await streams(MemoryNetwork(latency=0.25))
    start = trio.current_time()
    await near.send_all(b"hello")
    assert trio.current_time() == start
    assert await far.receive_some() == b"hello"
    assert trio.current_time() == pytest.approx(start + 0.25)


async def test_a_dial_takes_a_round_trip_and_says_where_it_comes_from(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork(latency=0.1)
    listener = await network.host(BOB).transport.listen(Multiaddr.parse("/ip4/0.0.0.0/tcp/0"))
    port = int(listener.address.get("tcp") or 0)
    assert str(listener.address) == f"/ip4/0.0.0.0/tcp/{port}"
    assert port > 0
    await network.host(ALICE).transport.dial(Multiaddr.parse(f"/ip4/{BOB}/tcp/{port}"))
    assert trio.current_time() == pytest.approx(0.2)
    _, remote = await listener.accept()
    assert remote.get("ip4") == ALICE


async def test_bandwidth_is_shared_by_all_that_a_host_sends(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork(latency=0, bandwidth=1_000_000)
    first, there = await streams(network)
    second, other = await streams(network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.send_all, bytes(500_000))
        nursery.start_soon(second.send_all, bytes(500_000))
        nursery.start_soon(read, there, 500_000)
        nursery.start_soon(read, other, 500_000)
    assert trio.current_time() == pytest.approx(1.0)


async def test_a_sender_waits_for_its_reader(autojump_clock: trio.testing.MockClock) -> None:
    near, far = await streams(MemoryNetwork())
    sent: list[int] = []

    async def send() -> None:
        for _ in range(64):
            await near.send_all(bytes(WINDOW // 16))
            sent.append(WINDOW // 16)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(10)
        assert WINDOW <= sum(sent) <= WINDOW + WINDOW // 16
        assert await read(far, 4 * WINDOW) == bytes(4 * WINDOW)


async def test_a_host_without_a_listener_refuses_and_one_that_is_not_there_is_silent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    transport = network.host(ALICE).transport
    with trio.move_on_after(3600) as scope:
        await transport.dial(BOBS)
    assert scope.cancelled_caught
    network.host(BOB)
    with pytest.raises(PeerUnreachable, match="refused"):
        await transport.dial(BOBS)
    with pytest.raises(PeerUnreachable, match="not an address of TCP"):
        await transport.dial(Multiaddr.parse(f"/ip4/{BOB}/udp/8070"))


async def test_a_port_is_taken_once(autojump_clock: trio.testing.MockClock) -> None:
    host = MemoryNetwork().host(BOB)
    listener = await host.transport.listen(BOBS)
    with pytest.raises(PortTaken):
        await host.transport.listen(Multiaddr.parse("/ip4/0.0.0.0/tcp/8070"))
    await listener.aclose()
    again = await host.transport.listen(BOBS)
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    await again.aclose()
    socket = host.bind(8090)
    with pytest.raises(PortTaken):
        host.bind(8090)
    socket.close()
    assert host.bind(8090).address == (BOB, 8090)


async def test_a_full_backlog_makes_dials_wait(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    listener = await network.host(BOB).transport.listen(BOBS)
    done = 0

    async def dial() -> None:
        nonlocal done
        await network.host(ALICE).transport.dial(BOBS)
        done += 1

    async with trio.open_nursery() as nursery:
        for _ in range(BACKLOG + 2):
            nursery.start_soon(dial)
        await trio.sleep(60)
        assert done == BACKLOG
        for _ in range(2):
            await listener.accept()
    assert done == BACKLOG + 2


async def test_closing_a_listener_ends_what_nobody_accepted(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    listener = await network.host(BOB).transport.listen(BOBS)
    near = await network.host(ALICE).transport.dial(BOBS)
    assert network.host(BOB).streams == 1
    await listener.aclose()
    assert await near.receive_some() == b""
    await near.aclose()
    assert network.host(ALICE).streams == network.host(BOB).streams == 0


async def test_a_partition_stalls_streams_and_loses_datagrams(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    near, far = await streams(network)
    alice, bob = network.host(ALICE).bind(), network.host(BOB).bind()
    network.partition([ALICE, CAROL], [BOB])
    await near.send_all(b"late")
    await alice.send(b"lost", bob.address)
    with trio.move_on_after(1000) as scope:
        await far.receive_some()
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(_heal_after, network, 100))
        assert await far.receive_some() == b"late"
    await alice.send(b"found", bob.address)
    assert (await bob.receive())[0] == b"found"
    # Those that a partition does not name are together, and apart from the rest.
    network.partition([ALICE])
    assert network.reaches(BOB, CAROL) is False  # carol has no host yet
    network.host(CAROL)
    assert network.reaches(BOB, CAROL)
    assert not network.reaches(ALICE, CAROL)


async def _heal_after(network: MemoryNetwork, seconds: float) -> None:
    await trio.sleep(seconds)
    network.heal()


async def test_a_dial_into_a_partition_goes_on_when_it_heals(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    await network.host(BOB).transport.listen(BOBS)
    network.partition([ALICE])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_heal_after, network, 30)
        await network.host(ALICE).transport.dial(BOBS)
    assert trio.current_time() >= 30


async def test_a_process_that_crashes_resets_its_streams(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    near, far = await streams(network)
    await network.host(BOB).transport.listen(BOBS)
    network.crash(BOB)
    with pytest.raises(trio.BrokenResourceError):
        await near.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await near.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError, match="has crashed"):
        await far.receive_some()
    with pytest.raises(PeerUnreachable, match="refused"):
        await network.host(ALICE).transport.dial(BOBS)
    await network.host(BOB).transport.listen(BOBS)
    await network.host(ALICE).transport.dial(BOBS)


async def test_a_machine_that_loses_power_says_nothing_until_it_starts_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network = MemoryNetwork()
    near, _ = await streams(network)
    socket = network.host(BOB).bind(8090)
    network.crash(BOB, silent=True)
    with pytest.raises(trio.ClosedResourceError):
        await socket.receive()
    await near.send_all(b"anybody?")
    with trio.move_on_after(1000) as scope:
        await near.receive_some()
    assert scope.cancelled_caught
    network.host(BOB)
    with pytest.raises(trio.BrokenResourceError):
        await near.receive_some()


async def test_datagrams_are_lost_by_the_seed(autojump_clock: trio.testing.MockClock) -> None:
    async def survivors(seed: int) -> list[bytes]:
        network = MemoryNetwork(seed, loss=0.3)
        alice, bob = network.host(ALICE).bind(), network.host(BOB).bind(8090)
        for number in range(200):
            await alice.send(bytes([number]), bob.address)
        found = []
        with trio.move_on_after(1):
            while True:
                data, source = await bob.receive()
                assert source == alice.address
                found.append(data)
        return found

    first = await survivors(1)
    assert 100 < len(first) < 180
    assert first == sorted(first)
    assert await survivors(1) == first
    assert await survivors(2) != first


async def test_a_socket_holds_so_many_datagrams(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    alice, bob = network.host(ALICE).bind(), network.host(BOB).bind()
    for _ in range(QUEUE + 10):
        await alice.send(b"x", bob.address)
    await alice.send(b"x", (BOB, 1))
    with pytest.raises(OSError, match="at most"):
        await alice.send(bytes(65508), bob.address)
    received = 0
    with trio.move_on_after(1):
        while True:
            await bob.receive()
            received += 1
    assert received == QUEUE


async def test_a_dial_that_is_cancelled_leaves_no_stream(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    listener = await network.host(BOB).transport.listen(BOBS)

    async def dial() -> None:
        stream = await network.host(ALICE).transport.dial(BOBS)
        await stream.aclose()

    async def check() -> None:
        with trio.move_on_after(1):
            while True:
                stream, _ = await listener.accept()
                assert await stream.receive_some() == b""
                await stream.aclose()
        assert network.host(ALICE).streams == network.host(BOB).streams == 0

    with leak_check():
        assert await cancel_at_every_checkpoint(dial, check) >= 3
