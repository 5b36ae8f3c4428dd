"""The bounds on traffic with other nodes, kept at the one place that all their bytes pass.

Upload and download have a bucket each, shared by all streams that a `Throttle` was put around. A stream
whose turn it is not waits; so its connection stops reading, and TCP slows the sender down.
"""

from collections.abc import Iterator

import trio

from codex.p2p.ratelimit import TokenBucket


class Throttle:
    """Bounds on what all streams send and receive together, in bytes a second; 0 is no bound."""

    def __init__(self, upload: float, download: float) -> None:
        self._up = _Gate(upload) if upload else None
        self._down = _Gate(download) if download else None

    def around(self, stream: trio.abc.Stream) -> trio.abc.Stream:
        """A stream that keeps to the bounds; the very same where there are none."""
        if self._up is None and self._down is None:
            return stream
        return _Throttled(stream, self._up, self._down)


class _Gate:
    """A bucket that streams draw from in turn, in the order in which they came."""

    def __init__(self, rate: float) -> None:
        self._bucket = TokenBucket(rate, trio.current_time())
        self._line = trio.StrictFIFOLock()
        self.piece = self._bucket.piece

    async def turn(self, count: int = 0) -> None:
        """Wait until something may be moved; then `count` bytes count as moved."""
        async with self._line:
            seconds = self._bucket.wait(trio.current_time())
            while seconds > 0:
                await trio.sleep(seconds)
                # Those whose turn was before have moved something meanwhile: look again.
                seconds = self._bucket.wait(trio.current_time())
            self.moved(count)

    def moved(self, count: int) -> None:
        """So many bytes were moved."""
        self._bucket.charge(count, trio.current_time())


class _Throttled(trio.abc.Stream):
    def __init__(self, stream: trio.abc.Stream, up: _Gate | None, down: _Gate | None) -> None:
        self._stream = stream
        self._up = up
        self._down = down

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self._up is None:
            await self._stream.send_all(data)
            return
        for piece in _pieces(data, self._up.piece):
            await self._up.turn(len(piece))
            await self._stream.send_all(piece)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        if self._down is None:
            return await self._stream.receive_some(max_bytes)
        # Waited for before and not behind, so that a cancellation loses no bytes.
        await self._down.turn()
        piece = self._down.piece
        data = await self._stream.receive_some(piece if max_bytes is None else min(max_bytes, piece))
        self._down.moved(len(data))
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


def _pieces(data: bytes | bytearray | memoryview, size: int) -> Iterator[memoryview]:
    with memoryview(data) as view:
        for at in range(0, len(view) or 1, size):
            yield view[at : at + size]
