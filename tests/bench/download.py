"""Downloads of a dataset that the node has, read by a client into one buffer and dropped."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from children import bare_server
from client import Client
from floors import Content, evict, hash_blocks, read_through
from harness import MIB, Bench, BenchFailed, Contender, Figure, Line, quotients, rate
from nodes import DATA, RunningNode, running_node

WANTED = 0.4  # of a server that sends the same bytes again and again
STRETCH = 0.4  # of the hash alone


def figures(bench: Bench) -> Iterator[Figure]:
    """Downloads from a node whose data is on each of the places; from the disk also without its cache."""
    content = Content(bench.size(256 * MIB, 32 * MIB))
    for place in bench.places:
        with (
            bench.scratch(place) as directory,
            bare_server() as (_, source),
            running_node(directory / "node") as node,
        ):
            stamp = bench.stamp()
            cid = node.upload(content.stamped(stamp), content.size)
            _check(node, cid, content, stamp)
            yield _cached(bench, content, place, node, cid, source)
            segments = sorted((directory / "node").rglob("*.seg"))
            if _evicted(segments):
                yield _uncached(bench, content, place, node, cid, segments)


def _check(node: RunningNode, cid: str, content: Content, stamp: int) -> None:
    """Raise BenchFailed unless the node gives back the bytes that it was given."""
    wanted, got = hashlib.sha256(), hashlib.sha256()
    for piece in content.stamped(stamp):
        wanted.update(piece)
    with Client(node.port) as client:
        for view in client.pieces(f"{DATA}/{cid}"):
            got.update(view)
    if wanted.digest() != got.digest():
        raise BenchFailed("a download gave other bytes than were uploaded")


def _cached(bench: Bench, content: Content, place: str, node: RunningNode, cid: str, source: int) -> Figure:
    size = content.size

    def from_source(_: int) -> float:
        with Client(source) as client:
            return rate(size, lambda: client.drain(f"/bytes/{size}"))

    rows = bench.interleave(
        "MB/s",
        [
            Contender("the node", lambda _: rate(size, lambda: node.download(cid))),
            Contender("a: bare hypercorn, chunks of 256 KiB", from_source),
            Contender(
                "b: sha2-256 of 64 KiB pieces", lambda _: rate(size, lambda: hash_blocks(content.part(size)))
            ),
        ],
    )
    own, peer, hashing = rows
    return Figure(
        f"download over HTTP, {size // MIB} MiB, data on {place}, in the system's cache",
        rows,
        [
            Line("the node / a", quotients(own, peer), WANTED),
            Line("the node / b", quotients(own, hashing), STRETCH, stretch=True),
        ],
        ["the node verifies every block against its hash; the bytes were compared once, before the rounds"],
    )


def _uncached(
    bench: Bench, content: Content, place: str, node: RunningNode, cid: str, segments: list[Path]
) -> Figure:
    size = content.size
    held = sum(os.path.getsize(path) for path in segments)

    def from_node(_: int) -> float:
        _evict(segments)
        return rate(size, lambda: node.download(cid))

    def from_files(_: int) -> float:
        _evict(segments)
        return rate(held, lambda: [read_through(path) for path in segments])

    rows = bench.interleave(
        "MB/s",
        [Contender("the node", from_node), Contender("a: reading its files from end to end", from_files)],
    )
    own, floor = rows
    return Figure(
        f"download over HTTP, {size // MIB} MiB, data on {place}, dropped from the system's cache before",
        rows,
        [Line("the node / a", quotients(own, floor), WANTED, stretch=True)],
        ["a virtual disk may have a cache of its own that cannot be dropped from here"],
    )


def _evicted(segments: list[Path]) -> bool:
    gone = [evict(path) for path in segments]
    return all(gone)


def _evict(segments: list[Path]) -> None:
    if not _evicted(segments):
        raise BenchFailed("the segments could not be dropped from the system's cache")
