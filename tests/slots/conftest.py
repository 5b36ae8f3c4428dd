"""Protected datasets, made the short way: content in memory, the code word by the specification."""

from collections.abc import Callable
from functools import cache

import pytest
from attrs import evolve, frozen

from codex.codec import EMPTY_BLOCK
from codex.data import BLOCK_SIZE, Block, Manifest, MerkleTree, Protection
from codex.kernels import leopard_spec
from codex.slots import block_root

Protect = Callable[[bytes, int, int], "Protected"]


@frozen
class Protected:
    """The manifest of a protected dataset, and all its blocks in order; padding has no data."""

    manifest: Manifest
    blocks: tuple[bytes, ...]

    def roots(self) -> list[bytes]:
        """The block roots. Each distinct block is hashed once in a run."""
        return [_root(block) for block in self.blocks]


@cache
def _root(block: bytes) -> bytes:
    return block_root(block)


@cache
def _protect(content: bytes, k: int, m: int) -> Protected:
    data = [
        content[at : at + BLOCK_SIZE].ljust(BLOCK_SIZE, b"\x00") for at in range(0, len(content), BLOCK_SIZE)
    ]
    steps = -(-len(data) // k)
    original = Manifest.of_upload(_tree(data).root_cid, len(content))
    data += [b""] * (k * steps - len(data))
    words = [
        leopard_spec.encode(
            leopard_spec.Shape(k, m), [block or bytes(BLOCK_SIZE) for block in data[step::steps]]
        )
        for step in range(steps)
    ]
    blocks = (*data, *(words[step][row] for row in range(m) for step in range(steps)))
    manifest = evolve(
        original,
        tree_cid=_tree(blocks).root_cid,
        dataset_size=len(blocks) * BLOCK_SIZE,
        protection=Protection(k, m, original.tree_cid, len(content)),
    )
    return Protected(manifest, blocks)


def _tree(blocks: tuple[bytes, ...] | list[bytes]) -> MerkleTree:
    return MerkleTree.of([Block.of(block).cid.digest if block else EMPTY_BLOCK.digest for block in blocks])


@pytest.fixture(scope="session")
def protect() -> Protect:
    """Protect content with K rows of data and M of parity."""
    return _protect


@cache
def _content(formula: str, size: int, seed: int) -> bytes:
    match formula:
        case "pattern":
            return bytes((131 * seed + 7 * j + 13 * (j >> 8) + (j >> 16) + 5) & 255 for j in range(size))
        case "repeat":
            return bytes((31 * j + 7) & 255 for j in range(256)) * (size // 256 + 1)
        case "lcg":
            made, x = bytearray(size), seed
            for j in range(size):
                x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
                made[j] = x >> 24
            return bytes(made)
    raise AssertionError(f"no formula {formula}")


@pytest.fixture(scope="session")
def content() -> Callable[[str, int, int], bytes]:
    """Content by one of the formulas of the known values: its name, the size in bytes, and a seed."""
    return lambda formula, size, seed: _content(formula, size, seed)[:size]
