"""Streams by themselves: credit is kept, mistakes are named, and who stalls is not waited for."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.api.rpc.faults import TooMuchAtOnce
from codex.api.rpc.limits import FRAME, MAX_STREAMS, SMALL, STALL, WINDOW
from codex.api.rpc.streams import Breach, Download, Stalled, Streams, Upload
from codex.errors import UploadCut


class Wire:
    """What a connection's streams have sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.granted: list[tuple[int, int]] = []

    async def emit(self, message: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent.append(message)

    async def grant(self, number: int, count: int) -> None:
        await trio.lowlevel.checkpoint()
        self.granted.append((number, count))


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def streams(wire: Wire) -> Streams:
    return Streams(wire.emit, wire.grant)


def message(number: int, data: bytes = b"") -> bytes:
    return number.to_bytes(4, "big") + data


async def everything(upload: Upload) -> bytes:
    return b"".join([bytes(piece) async for piece in upload])


# -- uploads


async def test_what_is_sent_is_read(streams: Streams) -> None:
    with streams.upload(None) as upload:
        for piece in (b"some ", b"file ", b"contents"):
            streams.receive(message(upload.number, piece))
        streams.receive(message(upload.number))
        assert await everything(upload) == b"some file contents"


async def test_a_reader_waits_for_what_comes(streams: Streams) -> None:
    with streams.upload(None) as upload:
        async with trio.open_nursery() as nursery:
            read: list[bytes] = []

            async def reader() -> None:
                read.append(await everything(upload))

            nursery.start_soon(reader)
            await wait_all_tasks_blocked()
            streams.receive(message(upload.number, bytes(SMALL)))
            await wait_all_tasks_blocked()
            streams.receive(message(upload.number, b"and the rest"))
            streams.receive(message(upload.number))
        assert read == [bytes(SMALL) + b"and the rest"]


async def test_tiny_pieces_are_gathered(streams: Streams) -> None:
    with streams.upload(None) as upload:
        for _ in range(3 * SMALL):
            streams.receive(message(upload.number, b"x"))
        streams.receive(message(upload.number))
        pieces = [piece async for piece in upload]
    assert [len(piece) for piece in pieces] == [SMALL] * 3


async def test_a_window_may_be_filled_and_not_more(streams: Streams) -> None:
    with streams.upload(None) as upload:
        for _ in range(WINDOW // FRAME):
            streams.receive(message(upload.number, bytes(FRAME)))
        with pytest.raises(Breach, match="has 0 bytes of credit, and 1 came"):
            streams.receive(message(upload.number, b"x"))


async def test_the_end_needs_no_credit(streams: Streams) -> None:
    with streams.upload(None) as upload:
        for _ in range(WINDOW // FRAME):
            streams.receive(message(upload.number, bytes(FRAME)))
        streams.receive(message(upload.number))
        assert len(await everything(upload)) == WINDOW


async def test_credit_comes_back_as_it_is_read(streams: Streams, wire: Wire) -> None:
    with streams.upload(None) as upload:
        for _ in range(WINDOW // FRAME):
            streams.receive(message(upload.number, bytes(FRAME)))
        await anext(upload)
        assert wire.granted == []
        await anext(upload)
        assert wire.granted == [(upload.number, WINDOW // 2)]
        for _ in range(WINDOW // 2 // FRAME):
            streams.receive(message(upload.number, bytes(FRAME)))
        with pytest.raises(Breach):
            streams.receive(message(upload.number, b"x"))


async def test_who_sends_nothing_any_more_is_cut(streams: Streams, autojump_clock: MockClock) -> None:
    with streams.upload(None) as upload:
        streams.receive(message(upload.number, b"some"))
        start = trio.current_time()
        with pytest.raises(UploadCut, match="no byte of the stream arrived for 300 seconds"):
            await anext(upload)
        assert trio.current_time() - start == STALL


async def test_who_drips_is_not_cut(streams: Streams, autojump_clock: MockClock) -> None:
    with streams.upload(None) as upload:
        async with trio.open_nursery() as nursery:

            async def drip() -> None:
                for _ in range(10):
                    await trio.sleep(STALL * 0.9)
                    streams.receive(message(upload.number, b"x"))
                streams.receive(message(upload.number))

            nursery.start_soon(drip)
            assert await everything(upload) == b"x" * 10


@pytest.mark.parametrize("came", [0, 1, 9, 11, 40_000])
async def test_another_size_than_announced_is_no_dataset(streams: Streams, came: int) -> None:
    with streams.upload(10) as upload:
        if came:
            streams.receive(message(upload.number, bytes(came)))
        streams.receive(message(upload.number))
        with pytest.raises(UploadCut, match="10 bytes were announced"):
            await everything(upload)


async def test_the_announced_size_is_one(streams: Streams) -> None:
    with streams.upload(10) as upload:
        streams.receive(message(upload.number, bytes(10)))
        streams.receive(message(upload.number))
        assert await everything(upload) == bytes(10)


# -- downloads


async def test_bytes_go_out_in_frames_with_their_number(streams: Streams, wire: Wire) -> None:
    with streams.download(10 * FRAME) as download:
        await download.send(bytes(2 * FRAME + 5))
        await download.end()
        assert [len(one) - 4 for one in wire.sent] == [FRAME, FRAME, 5, 0]
        assert {one[:4] for one in wire.sent} == {message(download.number)}


async def test_without_credit_nothing_goes_out(
    streams: Streams, wire: Wire, autojump_clock: MockClock
) -> None:
    with streams.download(0) as download:
        with trio.move_on_after(STALL / 2) as scope:
            await download.send(b"some file contents")
        assert scope.cancelled_caught
        assert wire.sent == []


async def test_credit_lets_out_just_so_much(streams: Streams, wire: Wire) -> None:
    with streams.download(4) as download:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(download.send, b"some file contents")
            await wait_all_tasks_blocked()
            assert wire.sent == [message(download.number, b"some")]
            streams.allow(download.number, 5)
            await wait_all_tasks_blocked()
            assert wire.sent[1:] == [message(download.number, b" file")]
            streams.allow(download.number, 100)
        assert b"".join(one[4:] for one in wire.sent) == b"some file contents"


async def test_who_gives_no_credit_any_more_is_not_waited_for(
    streams: Streams, autojump_clock: MockClock
) -> None:
    with streams.download(4) as download:
        start = trio.current_time()
        with pytest.raises(Stalled, match="no credit was given for 300 seconds"):
            await download.send(b"some file contents")
        assert trio.current_time() - start == STALL


async def test_the_end_goes_out_without_credit(streams: Streams, wire: Wire) -> None:
    with streams.download(0) as download:
        await download.send(b"")
        await download.end()
        assert wire.sent == [message(download.number)]


# -- numbers, and mistakes


async def test_numbers_are_never_given_twice(streams: Streams) -> None:
    numbers = []
    for _ in range(3):
        with streams.upload(None) as upload, streams.download(1) as download:
            numbers += [upload.number, download.number]
    assert numbers == [1, 2, 3, 4, 5, 6]


async def test_there_is_a_limit_on_both_kinds_together(streams: Streams) -> None:
    with streams.download(1):
        uploads = [streams.upload(None) for _ in range(MAX_STREAMS - 1)]
        for one in uploads:
            one.__enter__()
        with pytest.raises(TooMuchAtOnce), streams.download(1):
            pass
        uploads[0].__exit__(None, None, None)
        with streams.download(1):
            pass


async def test_bytes_for_a_stream_that_is_over_are_dropped(streams: Streams) -> None:
    with streams.upload(None) as upload:
        pass
    streams.receive(message(upload.number, bytes(FRAME)))
    streams.receive(message(upload.number))
    streams.allow(upload.number, 5)


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"x", "begins with 4 bytes"),
        (b"xxx", "begins with 4 bytes"),
        (message(0, b"x"), "there was never a stream 0"),
        (message(3, b"x"), "there was never a stream 3"),
        (message((1 << 32) - 1), "there was never a stream 4294967295"),
        (b'{"jsonrpc": "2.0"}', "there was never a stream"),
        (message(2, b"x"), "stream 2 goes the other way"),
        (message(2), "stream 2 goes the other way"),
    ],
)
async def test_mistakes_are_named(streams: Streams, sent: bytes, why: str) -> None:
    with streams.upload(None), streams.download(1), pytest.raises(Breach, match=why):
        streams.receive(sent)


async def test_nothing_comes_behind_the_end(streams: Streams) -> None:
    with streams.upload(None) as upload:
        streams.receive(message(upload.number))
        for more in (b"x", b""):
            with pytest.raises(Breach, match="has ended, and more came"):
                streams.receive(message(upload.number, more))


@pytest.mark.parametrize(("number", "why"), [(0, "never"), (3, "never"), (1, "other way")])
async def test_credit_for_what_is_no_download_is_a_mistake(streams: Streams, number: int, why: str) -> None:
    with streams.upload(None), streams.download(1), pytest.raises(Breach, match=why):
        streams.allow(number, 1)


# -- both together


class Loop:
    """A download whose bytes are an upload's: what goes out of one comes into the other."""

    def __init__(self) -> None:
        self.sending = Streams(self.over, self.nowhere)
        self.receiving = Streams(self.over, self.back)
        self.held = 0

    async def over(self, sent: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.receiving.receive(sent)

    async def back(self, number: int, count: int) -> None:
        await trio.lowlevel.checkpoint()
        self.sending.allow(number, count)

    async def nowhere(self, number: int, count: int) -> None:
        raise AssertionError("a download gives no credit")


async def transfer(sizes: list[int]) -> None:
    loop = Loop()
    content = [bytes([place % 256]) * size for place, size in enumerate(sizes)]

    async def send(download: Download) -> None:
        for piece in content:
            await download.send(piece)
        await download.end()

    with loop.sending.download(WINDOW) as download, loop.receiving.upload(sum(sizes)) as upload:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, download)
            assert await everything(upload) == b"".join(content)


@given(st.lists(st.integers(0, 20) | st.integers(0, 3 * FRAME), max_size=12))
def test_whatever_is_sent_within_the_credit_arrives_whole(sizes: list[int]) -> None:
    trio.run(transfer, sizes)


def test_it_does_so_over_many_windows() -> None:
    trio.run(transfer, [FRAME + 1] * (5 * WINDOW // FRAME))
