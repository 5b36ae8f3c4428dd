"""Signs of life: 32 bytes that come back, both ways, and how long that takes.

Nodes of the reference do not speak ping. Their refusal makes the same way there and back, and is measured
instead.
"""

from collections.abc import Callable

import trio

from codex.errors import PeerGone, ProtocolRefused
from codex.p2p.connection import Connection
from codex.p2p.streams import Stream
from codex.runtime import Clock, Entropy

PROTOCOL = "/ipfs/ping/1.0.0"
SIZE = 32
"""Bytes of one ping."""
STREAMS = 4
"""Streams on which one peer may ping us at once."""

PERIOD = 60.0
"""Seconds between two measurements."""
PATIENCE = 20.0
"""Seconds for one of them."""
MISSES = 2
"""Measurements without any byte from the peer, one after the other, after which it counts as gone."""


async def answer(stream: Stream) -> None:
    """Send back what comes, 32 bytes at a time, until the peer has enough."""
    while data := await _exactly(stream):
        await stream.send_all(data)


async def measure(connection: Connection, *, clock: Clock, entropy: Entropy) -> float:
    """Seconds to the peer and back. The caller bounds the time. Raises PeerGone."""
    before, heard = clock.monotonic(), connection.bytes_in
    try:
        stream = await connection.open_stream(PROTOCOL)
    except ProtocolRefused as error:
        if connection.bytes_in == heard:
            raise PeerGone(error.message) from None  # refused on this side: it says nothing about the peer
        return clock.monotonic() - before
    try:
        sent = entropy.token(SIZE)
        before = clock.monotonic()
        await stream.send_all(sent)
        echo = await _exactly(stream)
        latency = clock.monotonic() - before
    except BaseException:
        stream.reset("the ping was given up")
        raise
    if echo != sent:
        stream.reset("the answer to the ping is wrong")
        raise PeerGone(f"{connection.peer} answered a ping with other bytes")
    await stream.aclose()
    return latency


async def keep_measuring(
    connection: Connection, note: Callable[[float], None], *, clock: Clock, entropy: Entropy
) -> None:
    """Measure at once and then every `PERIOD` seconds; close the connection when the peer is gone.

    A peer that is busy sending us something else lives, whatever becomes of its pings.
    """
    misses = 0
    while True:
        before, began = connection.bytes_in, trio.current_time()
        try:
            with trio.fail_after(PATIENCE):
                note(await measure(connection, clock=clock, entropy=entropy))
        except (PeerGone, trio.TooSlowError):
            misses = misses + 1 if connection.bytes_in == before else 0
            if misses >= MISSES:
                connection.close(f"nothing came for {MISSES * PATIENCE:.0f} s, not even an answer to a ping")
                return
            if misses:
                await trio.sleep_until(began + PATIENCE)
                continue
        else:
            misses = 0
        await trio.sleep(PERIOD)


async def _exactly(stream: Stream) -> bytes:
    """The next 32 bytes; none at the end of the stream. Raises PeerGone when it ends in between."""
    data = b""
    while len(data) < SIZE:
        piece = await stream.receive_some(SIZE - len(data))
        if not piece:
            if data:
                raise PeerGone("the peer ended the stream in the middle of a ping")
            return b""
        data += piece
    return data
