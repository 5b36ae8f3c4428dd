"""A socket's stream with sending of its own behaves as trio's does."""

import os
import socket
from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.runtime.stream import MOST_PARTS, DirectStream
from codex.testing.cancelling import cancel_at_every_checkpoint

MUCH = bytes(range(256)) * (1 << 15)  # 8 MiB: more than the system takes at once


async def made() -> tuple[DirectStream, DirectStream]:
    """Both ends of a connection over TCP."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        calling = await trio.open_tcp_stream(*listener.socket.getsockname())
        return DirectStream(calling), DirectStream(await listener.accept())


async def narrow() -> tuple[DirectStream, DirectStream]:
    """The same, where the system takes little at once."""
    alice, bob = await made()
    for stream in (alice, bob):
        stream._inner.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)  # type: ignore[attr-defined]
        stream._inner.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)  # type: ignore[attr-defined]
    return alice, bob


async def clogged() -> tuple[DirectStream, DirectStream]:
    """The same, where it takes nothing at present."""
    alice, bob = await narrow()
    with suppress(BlockingIOError):
        while True:
            os.write(alice._inner.socket.fileno(), bytes(1 << 16))
    with suppress(BlockingIOError):
        while True:
            os.write(bob._inner.socket.fileno(), bytes(1 << 16))
    return alice, bob


async def test_it_is_a_stream_that_closes_by_halves() -> None:
    await trio.testing.check_half_closeable_stream(made, clogged)


async def test_much_arrives_whole_whatever_the_system_takes_at_once() -> None:
    alice, bob = await narrow()
    got = bytearray()

    async def receive() -> None:
        while data := await bob.receive_some():
            got.extend(data)

    async with alice, bob, trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await alice.send_all(memoryview(MUCH).cast("H"))
        await alice.send_eof()
    assert got == MUCH


@settings(max_examples=15)
@given(st.lists(st.integers(0, 1 << 15), max_size=2 * MOST_PARTS))
async def test_parts_arrive_one_behind_the_other(sizes: list[int]) -> None:
    alice, bob = await narrow()
    parts = [memoryview(MUCH)[number : number + size] for number, size in enumerate(sizes)]
    got = bytearray()

    async def receive() -> None:
        while data := await bob.receive_some():
            got.extend(data)

    async with alice, bob, trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        with trio.testing.assert_checkpoints():
            await alice.send_parts(parts)
        await alice.send_eof()
    assert got == b"".join(parts)


async def test_others_have_their_turn_while_the_peer_takes_everything() -> None:
    alice, bob = await made()
    async with alice, bob:
        with trio.testing.assert_checkpoints():
            await alice.send_all(b"little")
        with trio.testing.assert_checkpoints():
            await alice.send_all(b"")


async def test_a_peer_that_is_gone_and_a_stream_that_was_closed_are_told_apart() -> None:
    alice, bob = await made()
    await bob.aclose()
    with pytest.raises(trio.BrokenResourceError, match="broken"):  # noqa: PT012 - the first may still go out
        for _ in range(3):
            await alice.send_all(MUCH)
    await alice.aclose()
    for data in (b"word", b""):
        with pytest.raises(trio.ClosedResourceError):
            await alice.send_all(data)


async def test_closed_while_it_sends() -> None:
    alice, bob = await narrow()

    async def send() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await alice.send_all(MUCH)

    async with bob, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        await alice.aclose()


async def test_cancelled_at_every_checkpoint_what_went_out_is_the_beginning_and_the_stream_is_free() -> None:
    size = 1 << 17
    alice, bob = await narrow()
    async with alice, bob:
        got = bytearray()

        async def receive() -> None:
            while True:
                got.extend(await bob.receive_some())

        async def operation() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(receive)
                await alice.send_all(MUCH[:size])
                while len(got) < size:
                    await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()

        async def check() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.send_all, b"END")
                while not got.endswith(b"END"):
                    got.extend(await bob.receive_some())
            assert MUCH[:size].startswith(got.removesuffix(b"END"))
            got.clear()

        assert await cancel_at_every_checkpoint(operation, check) > 3


async def test_what_others_opened_under_the_same_number_is_not_written_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is closed, and its number given away, just when there is room again to send."""
    alice, bob = await clogged()
    number = alice._inner.socket.fileno()
    others = list[socket.socket]()

    async def wait(_: object) -> None:
        await trio.lowlevel.checkpoint()
        alice._inner.socket.close()
        while not others or others[-1].fileno() < number:
            others.extend(socket.socketpair())

    monkeypatch.setattr(trio.lowlevel, "wait_writable", wait)
    async with bob:
        with pytest.raises(trio.ClosedResourceError):
            await alice.send_all(b"secret")
    assert number in [other.fileno() for other in others]
    for other in others:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            other.recv(1)
    for other in others:
        other.close()
