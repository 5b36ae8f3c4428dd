"""A client on a plain blocking socket, with as little between the sender and the socket as Python allows.

Sends bodies in the pieces it is given (1 MiB each in the figures), and reads them into one buffer of 1 MiB.
Everything is done in the calling thread; nothing is retried.
"""

import socket
from collections.abc import Iterable
from types import TracebackType

from harness import MIB, BenchFailed

TIMEOUT = 300.0  # seconds without a byte moving before a figure is given up

_HEAD_END = b"\r\n\r\n"


class Client:
    """One keep-alive connection to a server of this machine."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        # A small request is one segment: nothing to be gained by waiting for more.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(MIB)
        self._view = memoryview(self._buffer)

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def post(self, path: str, pieces: Iterable[bytes], size: int) -> bytes:
        """Send a body of `size` bytes and return that of the reply. Raises BenchFailed unless it is 2xx."""
        self._send_head("POST", path, f"Content-Length: {size}\r\n")
        try:
            for piece in pieces:
                self._socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            # The server has stopped reading: what it said tells why.
            return self._reply(f"POST {path} (cut by the server)")
        return self._reply(f"POST {path}")

    def get(self, path: str) -> bytes:
        """The body of a GET, as a whole."""
        self._send_head("GET", path)
        return self._reply(f"GET {path}")

    def delete(self, path: str) -> None:
        """Make a DELETE."""
        self._send_head("DELETE", path)
        self._reply(f"DELETE {path}")

    def pieces(self, path: str, header: tuple[str, str] | None = None) -> Iterable[memoryview]:
        """The body of a GET as it comes, in views of one buffer that is used again for each."""
        self._send_head("GET", path, f"{header[0]}: {header[1]}\r\n" if header else "")
        length, early = self._reply_head(f"GET {path}")
        yield memoryview(early)
        left = length - len(early)
        while left:
            read = self._socket.recv_into(self._view, min(left, MIB))
            if not read:
                raise BenchFailed(f"GET {path} ended {left} bytes early")
            left -= read
            yield self._view[:read]

    def drain(self, path: str) -> int:
        """Read the body of a GET and drop it; how many bytes there were."""
        return sum(map(len, self.pieces(path)))

    def _send_head(self, method: str, path: str, more: str = "") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n"
        self._socket.sendall(head.encode("ascii"))

    def _reply(self, what: str) -> bytes:
        length, body = self._reply_head(what)
        while len(body) < length:
            body += self._receive(what)
        return bytes(body)

    def _reply_head(self, what: str) -> tuple[int, bytearray]:
        """The length of the body, and what of it has come already. Raises BenchFailed unless it is 2xx."""
        data = bytearray()
        while _HEAD_END not in data:
            data += self._receive(what)
        head, _, body = data.partition(_HEAD_END)
        first, *lines = head.decode("latin-1").split("\r\n")
        length = 0
        for line in lines:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        if first.split()[1][:1] != "2":
            raise BenchFailed(f"{what}: {first} {bytes(body).decode('utf-8', 'replace')}")
        return length, body

    def _receive(self, what: str) -> bytes:
        data = self._socket.recv(65536)
        if not data:
            raise BenchFailed(f"{what}: the server closed the connection")
        return data
