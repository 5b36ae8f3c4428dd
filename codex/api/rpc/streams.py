"""Bytes beside the requests: what a binary message is, and how a slow side holds the other back.

A stream carries the bytes of one request, one way. The node gives it a number and says so in the
notification `opened`, before the first byte:

    message  = number, payload      number: 4 bytes, big-endian; payload: up to 256 KiB
    number, nothing                 the end: every byte has been sent

Whoever sends bytes needs credit for them. A stream begins with the credit that `opened` names as its
`window` (`store`), or that the request asked for (`retrieve`). Each byte sent uses up one; the receiver
gives more with the notification `credit` (stream, bytes) as it makes room. The end needs none. So a
receiver holds at most what it has given credit for, and a slow one stops the sender without stopping
anything else.

    store     the client sends within the credit and ends the stream; the reply comes when all is durable
    retrieve  the node sends within the credit and ends the stream; then comes the reply

A stream is over when its request has its reply, whatever that says. Numbers are never given twice: bytes
for one that is over were under way already, and are dropped. Bytes beyond the credit, after the end, for a
stream that goes the other way or for a number that was never given, and messages shorter than a number, are
mistakes that nothing sensible can follow: the connection is closed with 1008. A stream in which no byte
moves for five minutes ends with its request: the sender has stalled.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import trio

from codex.api.rpc.faults import TooMuchAtOnce
from codex.api.rpc.limits import FRAME, MAX_STREAMS, NUMBER, SMALL, STALL, WINDOW
from codex.errors import InvalidInput, UploadCut

Emit = Callable[[bytes], Awaitable[None]]
Grant = Callable[[int, int], Awaitable[None]]


class Breach(Exception):
    """The client does what the protocol forbids; the text says what."""


class Stalled(InvalidInput):
    """The reader of a stream has given no credit for too long."""

    code = "stalled"


class Upload:
    """Bytes that a client sends, for one reader: an asynchronous iterator of pieces.

    Holds no more than its window. `declared` is how many bytes were announced, or None. Raises UploadCut when
    there are others, or none come for too long.
    """

    def __init__(self, number: int, grant: Grant, declared: int | None) -> None:
        self.number = number
        self._grant = grant
        self._declared = declared
        self._pieces: deque[bytes | memoryview] = deque()
        self._credit = WINDOW
        self._held = 0
        self._read = 0  # since credit was given last
        self._came = 0
        self._ended = False
        self._news = trio.Event()

    def take(self, data: memoryview) -> None:
        """Bytes have come, or the end. Raises Breach."""
        if self._ended:
            raise Breach(f"stream {self.number} has ended, and more came")
        if not data:
            self._ended = True
        elif len(data) > self._credit:
            raise Breach(f"stream {self.number} has {self._credit} bytes of credit, and {len(data)} came")
        else:
            self._credit -= len(data)
            self._came += len(data)
            self._held += len(data)
            self._file(data)
        self._news.set()

    def _file(self, data: memoryview) -> None:
        # Tiny pieces would cost more for being pieces than for their bytes.
        if self._pieces and len(data) + len(self._pieces[-1]) <= SMALL:
            self._pieces[-1] = bytes(self._pieces[-1]) + data
        else:
            self._pieces.append(data)

    def __aiter__(self) -> "Upload":
        return self

    async def __anext__(self) -> bytes:
        if not await self._filled():
            if self._declared is not None and self._came != self._declared:
                raise self._cut(f"only {self._came}")
            raise StopAsyncIteration
        if self._declared is not None and self._came > self._declared:
            raise self._cut("more")
        piece = self._pieces.popleft()
        self._held -= len(piece)
        self._read += len(piece)
        if self._read >= WINDOW // 2 and not self._ended:
            given, self._read = self._read, 0
            self._credit += given
            await self._grant(self.number, given)
        return piece  # type: ignore[return-value]  # a view of bytes that nobody changes is as good

    async def _filled(self) -> bool:
        """Wait for enough to be worth passing on; False when nothing is left."""
        while self._held < SMALL and not self._ended:
            self._news = trio.Event()
            try:
                with trio.fail_after(STALL):
                    await self._news.wait()
            except trio.TooSlowError as error:
                raise UploadCut(
                    f"no byte of the stream arrived for {STALL:.0f} seconds", remedy="send the whole again"
                ) from error
        return bool(self._pieces)

    def _cut(self, how: str) -> UploadCut:
        return UploadCut(
            f"{self._declared} bytes were announced, and {how} came",
            remedy="announce the size that is sent, or none",
        )


class Download:
    """Bytes that go to a client, no faster than it gives credit."""

    def __init__(self, number: int, emit: Emit, window: int) -> None:
        self.number = number
        self._head = number.to_bytes(NUMBER, "big")
        self._emit = emit
        self._credit = window
        self._news = trio.Event()

    def allow(self, count: int) -> None:
        """The client has room for so many bytes more."""
        self._credit += count
        self._news.set()

    async def send(self, data: bytes | memoryview) -> None:
        """Return when all of it is on its way. Raises Stalled."""
        rest = memoryview(data)
        while rest:
            await self._allowed()
            part = rest[: min(FRAME, self._credit)]
            rest = rest[len(part) :]
            self._credit -= len(part)
            await self._emit(b"".join((self._head, part)))

    async def end(self) -> None:
        """Say that there is no more."""
        await self._emit(self._head)

    async def _allowed(self) -> None:
        while not self._credit:
            self._news = trio.Event()
            try:
                with trio.fail_after(STALL):
                    await self._news.wait()
            except trio.TooSlowError as error:
                raise Stalled(
                    f"no credit was given for {STALL:.0f} seconds",
                    remedy="ask again from the offset that was reached",
                ) from error


class Streams:
    """The streams of one connection. `emit` sends a binary message, `grant` tells of credit."""

    def __init__(self, emit: Emit, grant: Grant) -> None:
        self._emit = emit
        self._grant = grant
        self._open: dict[int, Upload | Download] = {}
        self._last = 0

    @contextmanager
    def upload(self, declared: int | None) -> Iterator[Upload]:
        """A stream from the client for the length of the block. Raises TooMuchAtOnce."""
        stream = Upload(self._next(), self._grant, declared)
        with self._kept(stream):
            yield stream

    @contextmanager
    def download(self, window: int) -> Iterator[Download]:
        """A stream to the client for the length of the block. Raises TooMuchAtOnce."""
        stream = Download(self._next(), self._emit, window)
        with self._kept(stream):
            yield stream

    def receive(self, message: bytes) -> None:
        """A binary message has come. Raises Breach."""
        if len(message) < NUMBER:
            raise Breach(f"a binary message begins with {NUMBER} bytes, the number of its stream")
        number = int.from_bytes(message[:NUMBER], "big")
        match self._find(number):
            case Upload() as stream:
                stream.take(memoryview(message)[NUMBER:])
            case Download():
                raise Breach(f"stream {number} goes the other way")

    def allow(self, number: int, count: int) -> None:
        """The client gives credit. Raises Breach."""
        match self._find(number):
            case Download() as stream:
                stream.allow(count)
            case Upload():
                raise Breach(f"stream {number} goes the other way")

    def _find(self, number: int) -> Upload | Download | None:
        if not 0 < number <= self._last:
            raise Breach(f"there was never a stream {number}")
        return self._open.get(number)

    def _next(self) -> int:
        if len(self._open) >= MAX_STREAMS:
            raise TooMuchAtOnce(
                f"{MAX_STREAMS} streams are open, and no more may be",
                remedy="wait for one to end, or open another connection",
            )
        self._last += 1
        return self._last

    @contextmanager
    def _kept(self, stream: Upload | Download) -> Iterator[None]:
        self._open[stream.number] = stream
        try:
            yield
        finally:
            del self._open[stream.number]
