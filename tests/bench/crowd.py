"""Many connections at once, read by one thread with a selector: who got how much, and when."""

import selectors
import socket
import time
from collections.abc import Sequence

from attrs import define
from harness import MIB, BenchFailed

_HEAD = 4096  # bytes that a reply's head has at most
_SILENCE = 120.0  # seconds without any byte before it is given up


@define
class _Reader:
    """One connection: how many bytes it has still to get, head and all; unknown until the head is here."""

    socket: socket.socket
    head: bytes = b""
    left: int | None = None
    finished: float = 0.0

    def take(self, buffer: memoryview) -> None:
        """Take what is there now."""
        count = self.socket.recv_into(buffer)
        if not count:
            raise BenchFailed("a server ended a download early")
        if self.left is None:
            self.head += bytes(buffer[:count])
            head, found, rest = self.head.partition(b"\r\n\r\n")
            if not found:
                if len(self.head) > _HEAD:
                    raise BenchFailed("the head of a reply does not end")
                return
            first, *lines = head.decode("latin-1").lower().split("\r\n")
            if first.split()[1] != "200":
                raise BenchFailed(f"a download was refused: {first}")
            [length] = [line.partition(":")[2] for line in lines if line.startswith("content-length:")]
            self.left = int(length) - len(rest)
        else:
            self.left -= count
        if self.left == 0:
            self.finished = time.perf_counter()


def download_all(port: int, paths: Sequence[str]) -> list[float]:
    """Ask for all paths at once, each on a connection of its own; after how many seconds each had all."""
    buffer = memoryview(bytearray(MIB))
    readers = [_Reader(socket.create_connection(("127.0.0.1", port), timeout=_SILENCE)) for _ in paths]
    try:
        with selectors.DefaultSelector() as selector:
            for reader in readers:
                selector.register(reader.socket, selectors.EVENT_READ, reader)
            started = time.perf_counter()
            for reader, path in zip(readers, paths, strict=True):
                reader.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode("ascii"))
            open_ = len(readers)
            while open_:
                ready = selector.select(_SILENCE)
                if not ready:
                    raise BenchFailed(f"{open_} downloads got nothing for {_SILENCE:.0f} s")
                for key, _ in ready:
                    key.data.take(buffer)
                    if key.data.finished:
                        selector.unregister(key.fileobj)
                        open_ -= 1
        return [reader.finished - started for reader in readers]
    finally:
        for reader in readers:
            reader.socket.close()
