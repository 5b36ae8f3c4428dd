"""Messages with their length in front: whole in any cut, bounded, and with as few copies as may be."""

from collections.abc import Iterable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import varint
from codex.errors import DecodeError, PeerGone
from codex.p2p.framing import Bytes, MessageDecoder, MessageReader, write_message
from codex.testing.cancelling import cancel_at_every_checkpoint

LIMIT = 1000


class Wire:
    """Keeps what is sent, and gives it back in pieces."""

    def __init__(self, pieces: Iterable[Bytes] = ()) -> None:
        self.pieces = list(pieces)

    async def send_all(self, *parts: Bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.pieces += parts

    async def receive_parts(self, max_bytes: int | None = None) -> list[Bytes]:
        await trio.lowlevel.checkpoint()
        taken, self.pieces = self.pieces[:2], self.pieces[2:]
        return taken


def fed(decoder: MessageDecoder, data: Bytes) -> list[Bytes]:
    """Every message that is complete with `data`."""
    decoder.feed(data)
    return list(iter(decoder.next, None))


def wire_of(messages: Iterable[bytes]) -> bytes:
    return b"".join(varint.encode(len(message)) + message for message in messages)


@given(st.lists(st.binary(max_size=300), max_size=10), st.lists(st.integers(1, 100), max_size=60))
def test_messages_are_whole_however_the_bytes_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    wire, decoder, came = wire_of(messages), MessageDecoder(LIMIT), list[Bytes]()
    for size in [*cuts, len(wire)]:
        piece, wire = wire[:size], wire[size:]
        came += fed(decoder, piece)
    assert came == messages
    assert not decoder.midway
    assert decoder.held == 0


def test_a_message_in_one_piece_is_not_copied() -> None:
    piece = wire_of([b"x" * 900])
    [message] = fed(MessageDecoder(LIMIT), piece)
    assert isinstance(message, memoryview)
    assert message.obj is piece


def test_a_length_costs_nothing_before_the_bytes_come() -> None:
    decoder = MessageDecoder(100 * 1024 * 1024)
    assert fed(decoder, varint.encode(100 * 1024 * 1024)) == []
    assert (decoder.midway, decoder.held) == (True, 0)
    assert fed(decoder, b"abc") == []
    assert decoder.held == 3


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (varint.encode(LIMIT + 1), "1001 bytes, more than 1000"),
        (b"\xff" * 10, "64 bits"),
        (b"\xff" * 11, "64"),
    ],
)
def test_lengths_that_are_refused(data: bytes, why: str) -> None:
    for cut in range(len(data)):
        decoder = MessageDecoder(LIMIT)
        with pytest.raises(DecodeError, match=why):
            fed(decoder, data[:cut]) + fed(decoder, data[cut:])


@given(st.binary(max_size=200))
def test_garbage_is_messages_or_refused(data: bytes) -> None:
    decoder = MessageDecoder(LIMIT)
    try:
        messages = fed(decoder, data)
    except DecodeError:
        return
    assert sum(map(len, messages)) + decoder.held <= len(data)


async def test_there_and_back() -> None:
    wire = Wire()
    await write_message(wire, b"one")
    await write_message(wire)
    await write_message(wire, b"th", memoryview(b"re"), b"e")
    reader = MessageReader(wire, LIMIT)
    assert [await reader.receive() for _ in range(4)] == [b"one", b"", b"three", None]


async def test_the_parts_of_a_message_are_not_copied() -> None:
    wire, part = Wire(), b"x" * 500
    await write_message(wire, part, part)
    assert [id(piece) for piece in wire.pieces[1:]] == [id(part), id(part)]


@pytest.mark.parametrize("data", [b"\x80", b"\x05abc"])
async def test_an_end_in_the_middle_of_a_message(data: bytes) -> None:
    with pytest.raises(PeerGone, match="middle"):
        await MessageReader(Wire([data]), LIMIT).receive()


async def test_a_cancelled_reader_loses_nothing() -> None:
    messages = [b"a" * 10, b"b" * 200, b""]
    data = wire_of(messages)
    came: list[Bytes | None] = []
    readers: list[MessageReader] = []

    async def read() -> None:
        if not readers:
            readers.append(MessageReader(Wire(data[at : at + 7] for at in range(0, len(data), 7)), LIMIT))
        while None not in came:
            came.append(await readers[0].receive())

    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    assert await cancel_at_every_checkpoint(read, nothing) > 0
    assert came == [*messages, None]
