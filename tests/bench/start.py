"""Starting a node, empty and with a million blocks: from the start of the process to the first answer of its
API; opening the store alone; and what a list of all its datasets takes.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import rows
from children import Child, bare_server, running
from client import Client
from floors import evict
from harness import MIB, Bench, BenchFailed, Contender, Figure, Line, seconds
from nodes import DATA, PROGRAM, SPACE, arguments, port_of, running_node

from codex.store.opening import open_repo

LIMIT = 2.0  # seconds until the API answers
BLOCKS = 100  # a dataset
DATASETS = 10_000

_QUOTA = 1 << 50


def figures(bench: Bench) -> Iterator[Figure]:
    """The figures on each of the places, of one and the same store."""
    datasets = bench.size(DATASETS, 200)
    with ExitStack() as stack:
        bench.say(f"making a store of {datasets * BLOCKS:,} blocks")
        made: Path | None = None
        for place in bench.places:
            directory = stack.enter_context(bench.scratch(place))
            data_dir = directory / "node"
            if made is None:
                rows.build(data_dir / "repo", datasets, BLOCKS)
                made = data_dir / "repo"
            else:
                rows.copy(made, data_dir / "repo")
            yield _starts(bench, data_dir, directory / "empty", place, datasets)
            yield _openings(bench, data_dir / "repo", place, datasets)
            yield _list(bench, data_dir, place)


def _starts(bench: Bench, data_dir: Path, empty: Path, place: str, datasets: int) -> Figure:
    repo = data_dir / "repo"
    contenders = [
        Contender("the node", lambda _: _until_answer(data_dir)),
        Contender("the node, killed before", _before(lambda: _kill(data_dir), data_dir)),
        Contender("a: the node without data", lambda _: _until_answer(empty)),
        Contender("b: bare hypercorn", _bare),
    ]
    if _evicted(repo):
        dropped = Contender(
            "the node, index not in the system's cache", _before(lambda: _evict(repo), data_dir)
        )
        contenders.insert(1, dropped)
    found = bench.interleave("s", contenders)
    index = sum(path.stat().st_size for path in rows.index_of(repo)) // MIB
    return Figure(
        f"from process start to the first answer, {datasets * BLOCKS:,} blocks, data on {place}",
        found,
        [Line(row.label, row.samples, LIMIT, at_most=True, unit="s") for row in found[:-2]],
        [f"{datasets:,} datasets; the index has {index} MiB; Python's own files are in the system's cache"],
    )


def _until_answer(data_dir: Path) -> float:
    start = time.perf_counter()
    with running(*PROGRAM, *arguments(data_dir)) as child, Client(port_of(child)) as client:
        client.get(SPACE)
        return time.perf_counter() - start


def _before(prepare: Callable[[], None], data_dir: Path) -> Callable[[int], float]:
    def once(_: int) -> float:
        prepare()
        return _until_answer(data_dir)

    return once


def _kill(data_dir: Path) -> None:
    child = Child((*PROGRAM, *arguments(data_dir)))
    try:
        port_of(child)
    finally:
        child.discard()


def _bare(number: int) -> float:
    start = time.perf_counter()
    with bare_server() as (_, port), Client(port) as client:
        client.get("/json")
        return time.perf_counter() - start


def _openings(bench: Bench, repo: Path, place: str, datasets: int) -> Figure:
    def opened(_: int) -> float:
        start = time.perf_counter()
        store = open_repo(repo, quota=_QUOTA)
        took = time.perf_counter() - start
        store.close()
        return took * 1000

    def dropped(number: int) -> float:
        _evict(repo)
        return opened(number)

    contenders = [
        Contender("the store", opened),
        Contender(
            "a: SQLite, opening the index for one row", lambda _: seconds(lambda: _one_row(repo)) * 1000
        ),
    ]
    if _evicted(repo):
        contenders.insert(1, Contender("the store, index not in the system's cache", dropped))
    return Figure(
        f"opening the store alone, {datasets * BLOCKS:,} blocks, data on {place}",
        bench.interleave("ms", contenders),
    )


def _one_row(repo: Path) -> None:
    connection = sqlite3.connect(repo / rows.INDEX)
    connection.execute("SELECT * FROM totals").fetchall()
    connection.close()


def _evicted(repo: Path) -> bool:
    gone = [evict(path) for path in rows.index_of(repo) if path.stat().st_size]
    return bool(gone) and all(gone)


def _evict(repo: Path) -> None:
    if not _evicted(repo):
        raise BenchFailed("the index could not be dropped from the system's cache")


def _list(bench: Bench, data_dir: Path, place: str) -> Figure:
    with running_node(data_dir) as node, bare_server() as (_, port), Client(port) as bare:
        listed = node.client.get(DATA)
        count = listed.count(b'"treeCid"')
        found = bench.interleave(
            "ms",
            [
                Contender("the node, GET /data", lambda _: seconds(lambda: node.client.get(DATA)) * 1000),
                Contender(
                    "a: reading the rows from SQLite",
                    lambda _: seconds(lambda: _all_manifests(data_dir / "repo")) * 1000,
                ),
                Contender(
                    "b: bare hypercorn, as many bytes",
                    lambda _: seconds(lambda: bare.drain(f"/bytes/{len(listed)}")) * 1000,
                ),
            ],
        )
    return Figure(
        f"a list of {count:,} datasets, data on {place}",
        found,
        notes=[f"{len(listed):,} bytes of JSON; {len(listed) / max(count, 1):.0f} a dataset"],
    )


def _all_manifests(repo: Path) -> None:
    connection = sqlite3.connect(repo / rows.INDEX)
    connection.execute("SELECT cid, data, parity FROM manifests ORDER BY cid").fetchall()
    connection.close()
