"""One HTTP exchange on a raw stream: the request's body as it arrives, the response as it is made.

The bulk routes (uploads and downloads) are served here instead of through an ASGI queue: a body read is one
`recv` of up to 256 KiB, a body write is one `send` of a whole run of verified blocks, and the peer's window
is the only queue. h11 parses and frames heads; bodies pass beside it.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import h11
import trio

from codex.api.chunks import BadChunk, Chunks
from codex.errors import UploadCut

READ_SIZE = 262_144  # bytes asked of the socket at once: 4 times fewer wake-ups than 64 KiB
STALL = 300.0  # seconds without one byte moving before a body is given up
LINGER = 5.0  # seconds spent reading what a refused sender still sends, so that it sees the refusal
LINGER_BYTES = 64 << 20

Headers = Sequence[tuple[str, str]]
Buffer = bytes | bytearray | memoryview


class ByteStream(Protocol):
    """What an exchange needs of a connection."""

    async def receive_some(self, max_bytes: int) -> bytes | bytearray: ...
    async def send_parts(self, parts: Sequence[Buffer]) -> None: ...


class PeerGone(Exception):
    """The other side closed or stalled while the response was on its way; there is nobody to tell."""


class Exchange:
    """One request and its response. Made with the request's head already parsed by `connection`, and with
    what gives the headers that every response has, at the moment when it is sent.

    Attributes: `method` and `target` as sent (text), `length` of the body in bytes or None when chunked or
    absent, `chunked`, `started` (the response's head is out), `reusable` (the connection may carry another
    request).
    """

    def __init__(
        self,
        stream: ByteStream,
        connection: h11.Connection,
        request: h11.Request,
        common: Callable[[], Sequence[tuple[bytes, bytes]]] = tuple,
    ) -> None:
        self._stream = stream
        self._connection = connection
        self._request = request
        self._common = common
        self.method = request.method.decode("ascii")
        self.target = request.target.decode("ascii", "replace")
        self.chunked = self.header("transfer-encoding") is not None
        declared = self.header("content-length")
        self.length = None if self.chunked or declared is None else int(declared)
        self.started = False
        self._body_done = not self.chunked and not self.length
        self._keep_alive = (
            request.http_version >= b"1.1" and "close" not in (self.header("connection") or "").lower()
        )
        self._promised: int | None = None
        self._left = self.length or 0
        early = connection.trailing_data[0]  # what arrived together with the head
        self._early = b"" if self.chunked else early
        self._chunks = Chunks(early if self.chunked else b"")

    def header(self, name: str) -> str | None:
        """The first header of that name (lower case), decoded as UTF-8 with stray bytes kept, or None."""
        found = self.headers(name)
        return found[0] if found else None

    def headers(self, name: str) -> list[str]:
        """Every header of that name (lower case)."""
        wanted = name.encode("ascii")
        return [
            value.decode("utf-8", "surrogateescape") for key, value in self._request.headers if key == wanted
        ]

    @property
    def reusable(self) -> bool:
        """Whether another request may follow on this connection."""
        return self._keep_alive and self._body_done and self._promised == 0

    @property
    def unread(self) -> bool:
        """Whether the sender may still be sending a body that nobody reads."""
        return not self._body_done

    @property
    def rest(self) -> bytes:
        """What came behind this request, when all of it was read: the beginning of the next."""
        return self._chunks.rest if self.chunked else self._early

    # -- the request's body

    def __aiter__(self) -> "Exchange":
        """The body in pieces, as they come. Raises UploadCut when the sender stops before its end."""
        return self

    async def __anext__(self) -> bytes:
        if not self._body_done and self._connection.they_are_waiting_for_100_continue:
            await self._send(self._connection.send(h11.InformationalResponse(status_code=100, headers=[])))
        piece = (
            b"" if self._body_done else await (self._next_chunk() if self.chunked else self._next_counted())
        )
        if not piece:
            raise StopAsyncIteration
        return piece

    async def _next_counted(self) -> bytes:
        early = self._early
        if early:
            piece, self._early = early[: self._left], early[self._left :]
        else:
            piece = await self._receive(min(READ_SIZE, self._left))
        self._left -= len(piece)
        self._body_done = self._left == 0
        return piece

    async def _next_chunk(self) -> bytes:
        while True:
            await trio.lowlevel.checkpoint()  # between any two steps, for there may be thousands in what came
            try:
                piece = self._chunks.step()
            except BadChunk as error:
                raise UploadCut("Incomplete chunk received", remedy="send the whole body again") from error
            if piece:
                return piece
            if self._chunks.ended:
                self._body_done = True
                return b""
            if piece is None:
                self._chunks.receive(await self._receive(READ_SIZE))

    async def _receive(self, size: int) -> bytes:
        try:
            with trio.fail_after(STALL):
                piece = await self._stream.receive_some(size)
        except trio.TooSlowError as error:
            raise UploadCut(
                f"no byte of the body arrived for {STALL:.0f} seconds", remedy="send the whole body again"
            ) from error
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise UploadCut("the connection broke before the whole body had arrived") from error
        if not piece:
            raise UploadCut("Stream boundary is not reached yet", remedy="send the whole body again")
        return bytes(piece)

    # -- the response

    async def respond(self, status: int, headers: Headers, length: int | None) -> None:
        """Send the head of a response whose body will have `length` bytes; None where there is neither a body
        nor a length, as with 304. Raises PeerGone.
        """
        keep = self._keep_alive and self._body_done
        self._keep_alive = keep
        lines = [(name.encode("latin-1", "replace"), _header_bytes(value)) for name, value in headers]
        lines += self._common()
        if length is not None:
            lines.append((b"Content-Length", b"%d" % length))
        if not keep:
            lines.append((b"Connection", b"close"))
        reply = h11.Response(status_code=status, headers=lines, reason=_REASONS.get(status, b""))
        data = self._connection.send(reply)
        self.started = True
        self._promised = 0 if self.method == "HEAD" else length or 0
        await self._send(data)

    async def send(self, *parts: Buffer) -> None:
        """Send more of the body, one part after the other. Raises PeerGone; a body longer than promised is a
        bug and raises ValueError."""
        size = sum(map(len, parts))
        if self._promised is None or size > self._promised:
            raise ValueError("the body is longer than the length that was announced")
        await self._send(*parts)
        self._promised -= size

    async def reply(self, status: int, headers: Headers, body: bytes) -> None:
        """Send a whole response. Raises PeerGone."""
        await self.respond(status, headers, len(body))
        if body and self.method != "HEAD":
            await self.send(body)

    async def linger(self) -> None:
        """Read and forget what a refused sender still sends, for a while, so that it gets to see the
        refusal."""
        read = 0
        with trio.move_on_after(LINGER):
            try:
                while read < LINGER_BYTES:
                    piece = await self._stream.receive_some(READ_SIZE)
                    if not piece:
                        return
                    read += len(piece)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return

    async def _send(self, *parts: Buffer) -> None:
        try:
            with trio.fail_after(STALL):
                await self._stream.send_parts(parts)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError) as error:
            raise PeerGone(f"the reader has gone, or took nothing for {STALL:.0f} seconds") from error


def _header_bytes(value: str) -> bytes:
    # A header value holds no line end; whatever else a file name has goes out as it came in.
    return value.encode("utf-8", "surrogateescape").translate(None, b"\r\n\0").strip()


_REASONS = {
    200: b"OK",
    204: b"No Content",
    206: b"Partial Content",
    304: b"Not Modified",
    400: b"Bad Request",
    401: b"Unauthorized",
    404: b"Not Found",
    409: b"Conflict",
    415: b"Unsupported Media Type",
    416: b"Range Not Satisfiable",
    422: b"Unprocessable Content",
    500: b"Internal Server Error",
    503: b"Service Unavailable",
}
