"""Content that is the same in every run, for datasets of any size, and a way to damage it on the disk."""

import hashlib
from pathlib import Path

_PERIOD = 1 << 24  # the formula repeats after so many bytes


def pattern(size: int) -> bytes:
    """The bytes that the network's known values are made of: byte j is 7j + 13(j >> 8) + (j >> 16) + 5.

    No two blocks of the first 16 MiB are alike, but in datasets above that they come again.
    """
    row = bytes((7 * j + 5) & 255 for j in range(256))
    rows = [bytes((byte + shift) & 255 for byte in row) for shift in range(256)]
    whole = b"".join(rows[(13 * k + (k >> 8)) & 255] for k in range(min(-(-size // 256), _PERIOD // 256)))
    return (whole * -(-size // _PERIOD))[:size] if size > _PERIOD else whole[:size]


def noise(size: int, seed: str = "alice") -> bytes:
    """`size` bytes that do not repeat; other seeds give other bytes."""
    return hashlib.shake_128(seed.encode()).digest(size)


def damage(data_dir: Path, content: bytes) -> None:
    """Change one byte of `content` where a node keeps it. Raises LookupError when it is not in one piece
    there.
    """
    for segment in data_dir.rglob("*.seg"):
        data = segment.read_bytes()
        at = data.find(content)
        if at >= 0:
            with segment.open("r+b") as file:
                file.seek(at + len(content) // 2)
                file.write(bytes([data[at + len(content) // 2] ^ 0x40]))
            return
    raise LookupError("the content is in no segment")
