"""What the machine itself can do, without a node: hashing, appending to a file, reading one.

Also the content that everything is measured with. Every floor runs in this process, in one thread.
"""

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness import MIB

from codex.data import BATCH_BYTES, BLOCK_SIZE


class Content:
    """Random bytes in pieces of 1 MiB, of which no block is in the content of another stamp.

    Random bytes are made once; a stamp of 8 bytes at the head of each block makes the rest distinct.
    """

    def __init__(self, size: int) -> None:
        """`size` is a multiple of 64 KiB."""
        self.size = size
        self._base = [os.urandom(min(MIB, size - at)) for at in range(0, min(size, 256 * MIB), MIB)]

    def stamped(self, stamp: int) -> Iterator[bytes]:
        """The pieces with that stamp, one after the other, made as they are taken."""
        left, turn = self.size, 0
        while left:
            for base in self._base:
                piece = bytearray(base[:left])
                for at in range(0, len(piece), BLOCK_SIZE):
                    piece[at : at + 8] = stamp.to_bytes(4, "big") + turn.to_bytes(4, "big")
                yield bytes(piece)
                left -= len(piece)
                if not left:
                    return
            turn += 1

    def part(self, size: int) -> list[bytes]:
        """The first pieces, without a stamp, for what does not care: `size` bytes, at most 256 MiB."""
        return self._base[: size // MIB]


def hash_blocks(pieces: Sequence[bytes | bytearray]) -> None:
    """sha2-256 of every 64 KiB, and nothing else."""
    sha256 = hashlib.sha256
    for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), BLOCK_SIZE):
            sha256(view[at : at + BLOCK_SIZE]).digest()


def append(path: Path, pieces: Sequence[bytes], batch: int = BATCH_BYTES) -> None:
    """Append the pieces to a new file, with fdatasync after every `batch` bytes: the store's own batch."""
    count = max(1, batch // MIB)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        for first in range(0, len(pieces), count):
            part = list(pieces[first : first + count])
            while part:
                written = os.writev(descriptor, part)
                while part and written >= len(part[0]):
                    written -= len(part.pop(0))
                if written:
                    part[0] = part[0][written:]
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def read_through(path: Path) -> int:
    """Read a file from its beginning to its end into one buffer of 1 MiB; its size."""
    buffer = bytearray(MIB)
    size = 0
    with open(path, "rb", buffering=0) as file:
        while read := file.readinto(buffer):
            size += read
    return size


def evict(path: Path) -> bool:
    """Ask the system to drop a file from its cache; whether its first bytes are really gone from there."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # only clean pages are dropped
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.preadv(descriptor, [bytearray(4096)], 0, os.RWF_NOWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system that cannot say, such as tmpfs
    finally:
        os.close(descriptor)
    return False
