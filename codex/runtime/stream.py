"""A connected socket's stream that sends with few turns of the loop.

trio's own gives up its turn after every part of the data that the system takes; where megabytes go out in
parts, those turns cost as much as the sending. This one writes until the system takes no more, and only then
waits. Everything else is left to trio's.
"""

import errno
import os
from abc import abstractmethod
from collections.abc import Iterable
from typing import Protocol

import trio

MOST_PARTS = 64
"""Parts that are given to the system at once; every system takes more."""


class _Socket(Protocol):
    @property
    def did_shutdown_SHUT_WR(self) -> bool: ...  # noqa: N802 - its name in trio
    def fileno(self) -> int: ...


class SocketStream(Protocol):
    """What is used of a trio.SocketStream."""

    @property
    def socket(self) -> _Socket: ...
    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray: ...
    async def wait_send_all_might_not_block(self) -> None: ...
    async def send_eof(self) -> None: ...
    async def aclose(self) -> None: ...


class PartsStream(trio.abc.HalfCloseableStream):
    """A stream that also takes what is sent in parts."""

    @abstractmethod
    async def send_parts(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send everything in the parts, one after the other and without copying them together; the rest is as
        for `send_all`.
        """


class DirectStream(PartsStream):
    """`inner`, with sending of its own; behaves as that does, errors and cancellation included."""

    def __init__(self, inner: SocketStream) -> None:
        self._inner = inner
        self._sending = False

    @property
    def socket(self) -> _Socket:
        """The socket beneath, for its options."""
        return self._inner.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send everything. Cancelled, it may have sent a part.

        One call takes at least one turn of the loop, and otherwise one for each time that the peer is behind.
        Raises BrokenResourceError, ClosedResourceError, BusyResourceError.
        """
        await self.send_parts([data])

    async def send_parts(self, parts: Iterable[bytes | bytearray | memoryview]) -> None:
        self._check_idle()
        socket = self._inner.socket
        if socket.did_shutdown_SHUT_WR or socket.fileno() < 0:
            raise trio.ClosedResourceError("this side has ended the stream already")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            views = [memoryview(part).cast("B") for part in parts if len(part)]
            try:
                waited = await self._send(views)
            finally:
                for view in views:
                    view.release()
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._sending = False

    async def _send(self, views: list[memoryview]) -> bool:
        """Send everything; whether that took a wait."""
        socket, waited = self._inner.socket, False
        number = socket.fileno()
        first, at = 0, 0  # the view that is next, and how much of it has gone
        while first < len(views):
            try:
                at += os.writev(number, [views[first][at:], *views[first + 1 : first + MOST_PARTS]])
                while first < len(views) and at >= len(views[first]):
                    at -= len(views[first])
                    first += 1
            except BlockingIOError:
                waited = True
                await trio.lowlevel.wait_writable(number)
                # A closed socket has none: what others have opened since cannot be meant.
                number = socket.fileno()
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise trio.ClosedResourceError("this socket was already closed") from None
                raise trio.BrokenResourceError(f"socket connection broken: {error}") from error
        return waited

    async def wait_send_all_might_not_block(self) -> None:
        self._check_idle()
        await self._inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        self._check_idle()
        await self._inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _check_idle(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending data on this stream")
