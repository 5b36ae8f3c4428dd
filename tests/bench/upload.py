"""Uploads over HTTP, from the first byte of the request to the CID: by then everything is durable."""

from collections.abc import Iterator

from children import bare_server
from client import Client
from floors import Content, append, hash_blocks
from harness import MIB, Bench, Contender, Figure, Line, quotients, rate
from nodes import running_node

WANTED = 0.6  # of the lesser of a server that drops everything and the disk alone
STRETCH = 0.2  # of the hash alone


def figures(bench: Bench) -> Iterator[Figure]:
    """Uploads to a node whose data is on each of the places."""
    content = Content(bench.size(256 * MIB, 32 * MIB))
    for place in bench.places:
        yield _figure(bench, content, place)


def _figure(bench: Bench, content: Content, place: str) -> Figure:
    size = content.size
    with (
        bench.scratch(place) as directory,
        bare_server() as (_, sink),
        running_node(directory / "node") as node,
    ):
        stored: list[str] = []
        file = directory / "floor"

        def to_node(_: int) -> float:
            pieces = list(content.stamped(bench.stamp()))
            return rate(size, lambda: stored.append(node.upload(pieces, size)))

        def to_sink(_: int) -> float:
            pieces = list(content.stamped(bench.stamp()))
            with Client(sink) as client:
                return rate(size, lambda: client.post("/", pieces, size))

        def to_file(_: int) -> float:
            pieces = list(content.stamped(bench.stamp()))
            return rate(size, lambda: append(file, pieces))

        rows = bench.interleave(
            "MB/s",
            [
                Contender("the node", to_node, lambda: node.delete(stored.pop())),
                Contender("a: bare hypercorn that drops the body", to_sink),
                Contender("b: append and fdatasync, 16 MiB a time", to_file, file.unlink),
                Contender(
                    "c: sha2-256 of 64 KiB pieces",
                    lambda _: rate(size, lambda: hash_blocks(content.part(size))),
                ),
            ],
        )
    own, drop, disk, hashing = rows
    return Figure(
        f"upload over HTTP, {size // MIB} MiB, data on {place}",
        rows,
        [
            Line("the node / min(a, b)", quotients(own, drop, disk), WANTED),
            Line("the node / c", quotients(own, hashing), STRETCH, stretch=True),
        ],
        [
            "other content each round, deleted after it, and the next begins when the node is idle (untimed)",
            "the sender shares the processors with the server that it sends to",
        ],
    )
