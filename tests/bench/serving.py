"""Serving many and serving parts: JSON calls, fifty downloads at once, a little out of the middle of much."""

import time
from collections.abc import Callable, Iterator
from statistics import mean, median, quantiles

from children import HERE, bare_server, running
from client import Client
from crowd import download_all
from floors import Content
from harness import MEGABYTE, MIB, Bench, Contender, Figure, Line, Row, quotients
from nodes import DATA, SPACE, RunningNode, running_node

CROWD = 50
PART = MIB  # bytes


def figures(bench: Bench) -> Iterator[Figure]:
    """Calls on the first place; the crowd and the parts on each."""
    yield from _calls(bench)
    for place in bench.places:
        with bench.scratch(place) as directory, running_node(directory / "node") as node:
            yield _crowd(bench, node, place)
            yield _part(bench, node, place)


def _calls(bench: Bench) -> Iterator[Figure]:
    # Stock hypercorn ends a connection after 1000 requests.
    count = bench.size(900, 100)
    place = next(iter(bench.places))
    slowest: dict[str, list[float]] = {}

    def asked(label: str, server: int, path: str) -> Callable[[int], float]:
        def once(number: int) -> float:
            took: list[float] = []
            with Client(server) as client:
                for _ in range(count):
                    start = time.perf_counter()
                    client.get(path)
                    took.append(time.perf_counter() - start)
            if number:
                slowest.setdefault(label, []).append(quantiles(took, n=100)[98] * 1000)
            return count / sum(took)

        return once

    with (
        bench.scratch(place) as directory,
        running(str(HERE / "bare_quart.py")) as child,
        running_node(directory / "node") as node,
    ):
        port = int(child.line("listening on "))
        own, peer = "the node, GET /space", "a: a bare quart-trio route"
        rates = bench.interleave(
            "a second",
            [Contender(own, asked(own, node.port, SPACE)), Contender(peer, asked(peer, port, "/json"))],
        )
    yield Figure(
        "calls answered with JSON, one after another on one connection",
        rates,
        [Line("the node / a", quotients(*rates), 0.5, stretch=True)],
    )
    late = [Row(label, "ms", tuple(slowest[label])) for label in (own, peer)]
    yield Figure(
        "of the same calls, the time that 99 of 100 are answered in",
        late,
        [Line("the node / a", quotients(*late), 2.0, at_most=True, stretch=True)],
    )


def _crowd(bench: Bench, node: RunningNode, place: str) -> Figure:
    content = Content(bench.size(32 * MIB, 4 * MIB))
    cids = [node.upload(content.stamped(bench.stamp()), content.size) for _ in range(CROWD)]
    spread: list[float] = []

    def from_node(number: int) -> float:
        took = download_all(node.port, [f"{DATA}/{cid}" for cid in cids])
        if number:
            spread.append(_evenness(took))
        return CROWD * content.size / max(took) / MEGABYTE

    def alone(_: int) -> float:
        start = time.perf_counter()
        for cid in cids[:8]:
            node.download(cid)
        return 8 * content.size / (time.perf_counter() - start) / MEGABYTE

    with bare_server() as (_, source):

        def from_source(_: int) -> float:
            took = download_all(source, [f"/bytes/{content.size}"] * CROWD)
            return CROWD * content.size / max(took) / MEGABYTE

        rows = bench.interleave(
            "MB/s",
            [
                Contender(f"the node, {CROWD} at once", from_node),
                Contender("the node, one after another", alone),
                Contender(f"a: bare hypercorn, chunks of 256 KiB, {CROWD} at once", from_source),
            ],
        )
    return Figure(
        f"{CROWD} downloads of {content.size // MIB} MiB each, data on {place}",
        rows,
        [
            Line("the node, all together / one by one", quotients(rows[0], rows[1]), 0.8, stretch=True),
            Line("evenness of their rates, 1 is best (Jain)", tuple(spread), 0.9, stretch=True),
        ],
    )


def _evenness(took: list[float]) -> float:
    """Jain's index of the rates: 1 when all are the same, 1/n when one has everything."""
    rates = [1 / seconds for seconds in took]
    return mean(rates) ** 2 / mean([one * one for one in rates])


def _part(bench: Bench, node: RunningNode, place: str) -> Figure:
    size = bench.size(4096 * MIB, 64 * MIB)
    small = node.upload(Content(4 * MIB).stamped(bench.stamp()), 4 * MIB)
    large = node.upload(Content(size).stamped(bench.stamp()), size)
    count = bench.size(30, 5)

    def first_byte(port: int, path: str, start: int) -> float:
        took = []
        for number in range(count):
            first = start + number * 3 * MIB // 2  # another part each time
            asked = ("Range", f"bytes={first}-{first + PART - 1}")
            with Client(port) as client:
                began = time.perf_counter()
                body = iter(client.pieces(path, asked))
                next(body)
                took.append((time.perf_counter() - began) * 1000)
                for _ in body:
                    pass
        return median(took)

    with bare_server() as (_, source):
        rows = bench.interleave(
            "ms",
            [
                Contender(
                    f"the node, the middle of {size // MIB} MiB",
                    lambda _: first_byte(node.port, f"{DATA}/{large}", size // 2),
                ),
                Contender(
                    "the node, a dataset of 4 MiB",
                    lambda _: median([_whole(node.port, f"{DATA}/{small}") for _ in range(count)]),
                ),
                Contender(
                    "a: bare hypercorn, 1 MiB",
                    lambda _: median([_whole(source, f"/bytes/{PART}") for _ in range(count)]),
                ),
            ],
        )
    return Figure(
        f"a range of 1 MiB: from the request to the first byte, data on {place}",
        rows,
        notes=[f"each sample is the median of {count}, each on a new connection"],
    )


def _whole(port: int, path: str) -> float:
    with Client(port) as client:
        began = time.perf_counter()
        body = iter(client.pieces(path))
        next(body)
        took = time.perf_counter() - began
        for _ in body:
            pass
    return took * 1000
