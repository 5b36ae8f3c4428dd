"""A small HTTP/1.1 client on trio, for tests: it shows what really came back, and lets a caller misbehave.

A `Client` knows where a server is; each of its calls takes a connection of its own. A `Link` is one
connection, over which any bytes may be sent, in any pieces, and replies read one after the other. Nothing is
repaired: no redirects, no retries, no decoding.
"""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import h11
import trio
from attrs import frozen

PIECE = 65_536  # bytes read at once
PATIENCE = 30.0  # seconds without a byte after which a test is told that nothing comes

Headers = Iterable[tuple[str, str]]


@frozen
class Reply:
    """What came back. Header names are in lower case and values in Latin-1, as they stood on the wire.

    `complete` is False when the connection ended before the announced end of the body. `informational` are
    the statuses of the 1xx heads before it.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool = True
    informational: tuple[int, ...] = ()

    def header(self, name: str) -> str | None:
        """The only header of that name (lower case), or None. Raises ValueError when there are several."""
        found = [value for key, value in self.headers if key == name]
        if len(found) > 1:
            raise ValueError(f"{name} is there {len(found)} times")
        return found[0] if found else None

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode("utf-8")

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class NoReply(Exception):
    """The connection ended before a reply had begun."""


class Link:
    """One connection to a server. Made by `Client.link`.

    Whatever reads raises trio.TooSlowError when nothing comes for a while.
    """

    def __init__(self, stream: trio.SocketStream, host: str, patience: float) -> None:
        self.stream = stream
        self._host = host
        self._patience = patience
        self._rest = b""

    async def send(self, data: bytes) -> None:
        """Send `data` as it is. Raises trio.BrokenResourceError when the server has closed."""
        await self.stream.send_all(data)

    async def ask(self, method: str, target: str, *, headers: Headers = (), body: bytes = b"") -> Reply:
        """Send a request and read its reply. A body goes out with its length."""
        await self.send(head(method, target, self._host, headers, len(body) if body else None) + body)
        return await self.reply(method)

    async def reply(self, method: str = "GET") -> Reply:
        """Read the next reply, to a request with `method`. Raises NoReply."""
        status, headers, pieces, informational = 0, [], [], []
        complete, ended = True, False
        parser = _expecting(method)
        if self._rest:  # no bytes would mean the end to the parser
            parser.receive_data(self._rest)
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                if not ended:
                    raise
                if not status:
                    raise NoReply("the connection was closed without a reply") from error
                complete = False
                break
            if event is h11.NEED_DATA:
                piece = await self._receive()
                ended = not piece
                parser.receive_data(piece)
            elif isinstance(event, h11.InformationalResponse):
                informational.append(event.status_code)
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = [(name.decode("ascii"), value.decode("latin-1")) for name, value in event.headers]
            elif isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            else:
                break
        self._rest = bytes(parser.trailing_data[0])
        return Reply(status, tuple(headers), b"".join(pieces), complete, tuple(informational))

    async def rest(self) -> bytes:
        """Everything that still comes until the server closes its side."""
        pieces = [self._rest]
        while piece := await self._receive():
            pieces.append(piece)
        self._rest = b""
        return b"".join(pieces)

    async def close(self) -> None:
        """Close at once; what the server still sends is for nobody."""
        await trio.aclose_forcefully(self.stream)

    async def _receive(self) -> bytes:
        try:
            with trio.fail_after(self._patience):
                return bytes(await self.stream.receive_some(PIECE))
        except trio.BrokenResourceError:
            return b""  # cut off; how much of the reply is missing is for the parser to say


@frozen
class Client:
    """A server's address, and the calls one makes there.

    `base` is put before each path; `patience` is in seconds, and bounds each wait for a byte.
    """

    host: str
    port: int
    base: str = ""
    patience: float = PATIENCE

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """Connect; the connection ends with the block."""
        stream = await trio.open_tcp_stream(self.host, self.port)
        link = Link(stream, f"{self.host}:{self.port}", self.patience)
        try:
            yield link
        finally:
            await link.close()

    async def ask(self, method: str, path: str, *, headers: Headers = (), body: bytes = b"") -> Reply:
        """Make one call on a connection of its own."""
        async with self.link() as link:
            return await link.ask(method, self.base + path, headers=headers, body=body)

    async def get(self, path: str, *, headers: Headers = ()) -> Reply:
        """GET `path`."""
        return await self.ask("GET", path, headers=headers)

    async def post(self, path: str, body: bytes = b"", *, headers: Headers = ()) -> Reply:
        """POST `body` to `path`."""
        return await self.ask("POST", path, headers=headers, body=body)

    async def delete(self, path: str) -> Reply:
        """DELETE `path`."""
        return await self.ask("DELETE", path)


def head(method: str, target: str, host: str, headers: Headers = (), length: int | None = None) -> bytes:
    """The head of a request, its last empty line included; text goes out as UTF-8."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8", "surrogateescape")


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body; without data, the end of the body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def _expecting(method: str) -> h11.Connection:
    """A parser for the reply to a request with `method`, whatever was really sent."""
    parser = h11.Connection(h11.CLIENT)
    parser.send(h11.Request(method=method, target="/", headers=[("Host", "-")]))
    parser.send(h11.EndOfMessage())
    return parser
