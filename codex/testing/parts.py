"""A stream of trio's that also takes what is sent in parts, as connections of the API do."""

from collections.abc import Iterable

import trio

from codex.runtime.stream import PartsStream


class Parted(PartsStream):
    """`inner`, with `send_parts`."""

    def __init__(self, inner: trio.abc.HalfCloseableStream) -> None:
        self._inner = inner

    async def send_parts(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        await self._inner.send_all(b"".join(parts))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()
