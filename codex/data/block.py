"""A block: some bytes and the CID that names them. Datasets are made of blocks of 64 KiB."""

import hashlib
from collections.abc import Iterable

from attrs import field, frozen

from codex.codec.cid import BLOCK_PREFIX, Cid

BLOCK_SIZE = 65536
"""Bytes of a block, unless a manifest says otherwise. The last block of a dataset is filled up with zeros."""


def _size(data: bytes | memoryview) -> str:
    return f"{len(data)} bytes"


@frozen(slots=True)
class Block:
    """Content and its name. Nothing checks that they belong together until `verify` is called.

    `data` may be a view into a larger buffer, which then lives as long as the block does.
    """

    cid: Cid
    data: bytes | memoryview = field(hash=False, repr=_size)

    @classmethod
    def of(cls, data: bytes | memoryview) -> "Block":
        """Hash `data` and name it as a dataset block. No data gives the empty block."""
        return cls(Cid(BLOCK_PREFIX + hashlib.sha256(data).digest()), data)

    def verify(self) -> bool:
        """Whether the data has the hash that the CID tells."""
        return self.cid.matches(self.data)


def hash_blocks(views: Iterable[bytes | memoryview]) -> list[Block]:
    """Hash and name many blocks. About 0.8 ms a MiB, most of it outside the interpreter's lock: run it off
    the loop.
    """
    return [Block.of(view) for view in views]
