"""Small calls, where the time is that of the call and not of the bytes: JSON, and datasets of one block."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from children import bare_server
from client import Client
from harness import Bench, Contender, Figure, Line, quotients, seconds
from nodes import DATA, SPACE, RunningNode, running_node

from codex.data import BLOCK_SIZE


def figures(bench: Bench) -> Iterator[Figure]:
    """Calls to a node whose data is on each of the places."""
    for place in bench.places:
        with (
            bench.scratch(place) as directory,
            bare_server() as (_, port),
            running_node(directory / "node") as node,
        ):
            yield _json(bench, node, port, place)
            yield _one_block(bench, node, port, directory, place)


def _json(bench: Bench, node: RunningNode, port: int, place: str) -> Figure:
    # Stock hypercorn ends a connection after 1000 requests.
    count = bench.size(900, 100)

    def asked(server: int, path: str) -> Callable[[int], float]:
        def once(_: int) -> float:
            with Client(server) as client:
                return count / seconds(lambda: [client.get(path) for _ in range(count)])

        return once

    own, peer = bench.interleave(
        "a second",
        [
            Contender("the node, GET /space", asked(node.port, SPACE)),
            Contender("a: bare hypercorn, a fixed JSON", asked(port, "/json")),
        ],
    )
    return Figure(
        f"calls answered with JSON, one after another on one connection, data on {place}",
        [own, peer],
        [Line("the node / a", quotients(own, peer), 0.2, stretch=True)],
    )


def _one_block(bench: Bench, node: RunningNode, port: int, directory: Path, place: str) -> Figure:
    count = bench.size(60, 10)

    def median_of(one: Callable[[bytes], object]) -> Callable[[int], float]:
        def once(_: int) -> float:
            took = []
            for _ in range(count):
                block = os.urandom(BLOCK_SIZE)
                start = time.perf_counter()
                one(block)
                took.append((time.perf_counter() - start) * 1000)
            return median(took)

        return once

    file = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with Client(port) as client, Client(node.port) as own:
            rows = bench.interleave(
                "ms",
                [
                    Contender("the node", median_of(lambda block: own.post(DATA, [block], BLOCK_SIZE))),
                    Contender("a: append and fdatasync, once", median_of(lambda block: _append(file, block))),
                    Contender(
                        "b: bare hypercorn that drops the body",
                        median_of(lambda block: client.post("/", [block], BLOCK_SIZE)),
                    ),
                ],
            )
    finally:
        os.close(file)
    return Figure(
        f"a dataset of one block, from request to reply, data on {place}",
        rows,
        notes=[f"each sample is the median of {count} on one connection, each durable before the next"],
    )


def _append(file: int, block: bytes) -> None:
    os.write(file, block)
    os.fdatasync(file)
