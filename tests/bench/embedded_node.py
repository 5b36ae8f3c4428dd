"""A node inside a program: stores and retrieves datasets in memory, beside the hash of the same bytes.

A program of its own, so that nothing else runs in its process. Takes a data directory, the size of a dataset
in bytes, and the number of rounds; prints `samples {…}` with megabytes a second for each contender.
"""

import hashlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import trio
from floors import Content, hash_blocks
from harness import MEGABYTE, rate

from codex import Config, open_node
from codex.codec import Cid
from codex.config import StoreConfig
from codex.node import Node

SAYS = "samples "

STORE, RETRIEVE, HASH = "node.store", "node.retrieve", "a: sha2-256 of 64 KiB pieces"


async def _source(pieces: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def _store(node: Node, pieces: Sequence[bytes], size: int) -> tuple[Cid, float]:
    start = trio.current_time()
    cid = await node.store(_source(pieces), size=size)
    return cid, size / (trio.current_time() - start) / MEGABYTE


async def _retrieve(node: Node, cid: Cid, size: int) -> float:
    start = trio.current_time()
    got = 0
    async with node.retrieve(cid) as retrieval:
        async for piece in retrieval:
            got += len(piece)
    assert got == size, "a retrieval was cut short"
    return size / (trio.current_time() - start) / MEGABYTE


async def _check(node: Node, cid: Cid, pieces: Sequence[bytes]) -> None:
    got = hashlib.sha256()
    async with node.retrieve(cid) as retrieval:
        async for piece in retrieval:
            got.update(piece)
    assert got.digest() == hashlib.sha256(b"".join(pieces)).digest(), "other bytes came back than were stored"


async def _remove(node: Node, cid: Cid) -> None:
    await node.delete(cid)
    while (await node.space()).quota_used:  # noqa: ASYNC110  (the node tells nobody when it is done)
        await trio.sleep(0.02)


async def _measure(data_dir: Path, size: int, rounds: int) -> dict[str, list[float]]:
    content = Content(size)
    samples: dict[str, list[float]] = {STORE: [], RETRIEVE: [], HASH: []}
    config = Config(data_dir=data_dir, store=StoreConfig(quota=4 * size + (1 << 30)))
    async with open_node(config) as node:
        for number in range(rounds + 1):
            pieces = list(content.stamped(number))
            found = {}
            if number % 2:
                found[HASH] = rate(size, partial(hash_blocks, pieces))
            cid, found[STORE] = await _store(node, pieces, size)
            if not number % 2:
                found[HASH] = rate(size, partial(hash_blocks, pieces))
            found[RETRIEVE] = await _retrieve(node, cid, size)
            if number:
                for label, reached in found.items():
                    samples[label].append(reached)
            else:
                await _check(node, cid, pieces)
            await _remove(node, cid)
    return samples


if __name__ == "__main__":
    result = trio.run(_measure, Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print(SAYS + json.dumps(result), flush=True)
