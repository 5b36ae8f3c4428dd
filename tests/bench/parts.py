"""What fetching costs by its parts, without a node: the processor time that each takes for a megabyte.

Every byte is read from a file and hashed, sealed, sent and received, opened and hashed, appended to a file,
and sent to the reader: each part by itself in this process and one thread, with buffers as large as the
nodes', so that bytes are hashed while they are in the processor's cache, and nothing between the parts. What
they take together is what no arrangement of them can be much faster than.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from floors import append, hash_blocks
from harness import MEGABYTE, MIB, Contender

from codex.p2p.noise import TAG_SIZE

FRAME = 65519  # bytes of content in a frame of Noise
WIRE = 512 * 1024  # bytes that are given to a socket at once …
TAKEN = MIB  # … and taken from one
RUN = 256 * 1024  # bytes that are read from a file at once


def contenders(directory: Path, pieces: list[bytes]) -> list[Contender]:
    """The parts, each giving CPU milliseconds a megabyte; `directory` is for their files."""
    size = sum(map(len, pieces))
    source = directory / "source"
    append(source, pieces)

    def part(work: Callable[[], object]) -> Callable[[int], float]:
        def once(_: int) -> float:
            begun = time.process_time()
            work()
            return (time.process_time() - begun) * 1000 / (size / MEGABYTE)

        return once

    grown = directory / "grown"
    return [
        Contender("a: read the blocks, and sha2-256", part(lambda: _read(source))),
        Contender("b: seal and open", part(lambda: _seal_and_open(pieces))),
        Contender("c: into a socket and out of it", part(lambda: _through_socket(pieces))),
        Contender("d: sha2-256 where they are taken", part(lambda: _hash_again(pieces))),
        Contender("e: append them, and flush", part(lambda: append(grown, pieces)), grown.unlink),
        Contender("f: into the reader's socket and out", part(lambda: _through_socket(pieces))),
    ]


def _seal_and_open(pieces: list[bytes]) -> None:
    """Each frame, into the same memory again and again."""
    cipher = ChaCha20Poly1305(bytes(32))
    sealed, opened = memoryview(bytearray(FRAME + TAG_SIZE)), memoryview(bytearray(FRAME))
    count = 0
    for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), FRAME):
            plain, nonce = view[at : at + FRAME], count.to_bytes(12, "little")
            cipher.encrypt_into(nonce, plain, None, sealed[: len(plain) + TAG_SIZE])
            cipher.decrypt_into(nonce, sealed[: len(plain) + TAG_SIZE], None, opened[: len(plain)])
            count += 1


def _read(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        at = 0
        while run := os.pread(descriptor, RUN, at):
            hash_blocks([run])
            at += len(run)
    finally:
        os.close(descriptor)


def _hash_again(pieces: list[bytes]) -> None:
    """As much as there is of them, of bytes that were just put together."""
    piece = bytearray(pieces[0])
    for _ in pieces:
        hash_blocks([piece])


@contextmanager
def _connected() -> Iterator[tuple[socket.socket, socket.socket]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = socket.create_connection(server.getsockname())
        far, _ = server.accept()
    with near, far:
        near.setblocking(False)
        yield near, far


def _through_socket(pieces: list[bytes]) -> None:
    """As much as the system takes, then all of that out again: both ends are in this thread."""
    with _connected() as (near, far):
        for piece in pieces:
            view = memoryview(piece)
            while view:
                sent = near.send(view[:WIRE])
                view = view[sent:]
                while sent:
                    sent -= len(far.recv(min(TAKEN, sent)))
