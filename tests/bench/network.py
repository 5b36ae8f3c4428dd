"""Datasets from node to node, in processes of their own on loopback: how fast, how soon, and at what cost.

The peers are a TLS stream of trio's, which moves the same number of bytes between two processes in the same
rounds, what py-libp2p moves over one stream (in its own environment, see tests/interop), and this machine's
sha2-256.
"""

import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from children import HERE, running
from client import Client
from floors import Content, hash_blocks
from harness import MEGABYTE, MIB, Bench, BenchFailed, Contender, Figure, Line, Row, quotients, rate, seconds
from loop import LIMIT as STEP_LIMIT
from loop import Steps
from memory import Memory
from nodes import API, DATA, PROGRAM, WATCHED, RunningNode, running_node
from p2p import message_of_blocks, moved_by_tls, self_signed

sys.path.insert(0, str(HERE.parent / "interop"))

import environment
import parts
import rates

OF_TLS = 0.5
OF_MPLEX = 8.0
OF_YAMUX = 1.5
OF_HASH = 0.08
RESIDENT = 250.0  # MiB above idle
FIRST_BYTE = 1.0  # seconds
CROWD = 4
PROCESSORS = len(os.sched_getaffinity(0))


def figures(bench: Bench) -> Iterator[Figure]:
    """One to one, one to many, many to one; the first byte, memory and the steps of both loops."""
    with bench.scratch("tmpfs") as directory:
        yield from _one_to_one(bench, directory)
        yield _crowds(bench, directory)
        yield _first_byte(bench, directory)
        yield _steps(bench, directory)
        yield _memory(bench, directory)


@contextmanager
def joined(directory: Path, count: int, program: tuple[str, ...] = PROGRAM) -> Iterator[list[RunningNode]]:
    """Run nodes that know each other: the first is the bootstrap node of the others."""
    with ExitStack() as stack:
        nodes: list[RunningNode] = []
        for number in range(count):
            known = [f"--bootstrap-node={spr(nodes[0])}"] if nodes else []
            node = running_node(directory / f"node{number}", program, "--disc-port=0", *known)
            nodes.append(stack.enter_context(node))
        for node in nodes[1:]:
            node.wait(lambda node=node: bool(_table(node)), "find its bootstrap node")  # type: ignore[misc]
        try:
            yield nodes
        finally:
            stack.close()
            for number in range(count):
                shutil.rmtree(directory / f"node{number}")


def spr(node: RunningNode) -> str:
    """The signed peer record of a node."""
    return str(json.loads(node.client.get(f"{API}/spr"))["spr"])


def _table(node: RunningNode) -> list[object]:
    found: list[object] = json.loads(node.client.get(f"{API}/debug/info"))["table"]["nodes"]
    return found


def fetch(node: RunningNode, cid: str) -> int:
    """Read a dataset from the network through a node, and drop it; its size."""
    with Client(node.port) as client:
        return client.drain(f"{DATA}/{cid}/network/stream")


def _one_to_one(bench: Bench, directory: Path) -> Iterator[Figure]:
    size = bench.size(1024 * MIB, 64 * MIB)
    content = Content(size)
    certificate = directory / "peer.pem"
    certificate.write_bytes(self_signed())
    message = message_of_blocks()
    with (
        joined(directory, 2) as (alice, bob),
        running(str(HERE / "p2p_peer.py"), str(certificate)) as peer,
    ):
        port = json.loads(peer.line("listening on "))["tls"]

        def from_node(_: int) -> float:
            cid = alice.upload(content.stamped(bench.stamp()), size)
            fetched = rate(size, lambda: fetch(bob, cid))
            for node in (alice, bob):
                node.delete(cid)
            return fetched

        contenders = [
            Contender("the nodes, from the request to the last byte", from_node),
            Contender("a: trio's TLS stream", lambda _: moved_by_tls(port, certificate, message, size)),
            Contender("b: sha2-256 of 64 KiB pieces", lambda _: _hashing(content, bench)),
        ]
        python = _py_libp2p()
        if python is not None:
            contenders += [
                Contender("c: py-libp2p, Noise and mplex", _through(python, "MPLEX")),
                Contender("d: py-libp2p, Noise and yamux", _through(python, "YAMUX")),
                Contender("e: the same, a block in each write", _through(python, "YAMUX", rates.BLOCK)),
            ]
        rows = bench.interleave("MB/s", contenders)
    lines = [
        Line("the nodes / a", quotients(rows[0], rows[1]), OF_TLS),
        Line("the nodes / b", quotients(rows[0], rows[2]), OF_HASH),
    ]
    notes = ["both nodes verify every block; the receiver keeps what it gets, durably"]
    if python is not None:
        lines += [
            Line("the nodes / c", quotients(rows[0], rows[3]), OF_MPLEX),
            Line("the nodes / d", quotients(rows[0], rows[4]), OF_YAMUX),
            Line("the nodes / e", quotients(rows[0], rows[5]), OF_YAMUX),
        ]
    else:
        notes.append("py-libp2p is not here: `make interop` says what it needs")
    yield Figure(f"one node from another, {size // MIB} MiB, data on tmpfs", rows, lines, notes)
    yield _by_parts(bench, directory, rows[1])


def _by_parts(bench: Bench, directory: Path, tls: Row) -> Figure:
    """What the nodes take of the processors, beside what the bytes take by themselves."""
    size = bench.size(256 * MIB, 16 * MIB)
    content = Content(size)
    taken: list[float] = []
    with joined(directory, 2) as (alice, bob), tempfile.TemporaryDirectory(dir=directory) as place:

        def giving(_: int) -> float:
            cid = alice.upload(content.stamped(bench.stamp()), size)
            before = alice.child.cpu(), bob.child.cpu()
            fetch(bob, cid)
            spent = [node.child.cpu() - begun for node, begun in zip((alice, bob), before, strict=True)]
            _forget([alice, bob], cid)
            taken.append(spent[1] * 1000 / (size / MEGABYTE))
            return spent[0] * 1000 / (size / MEGABYTE)

        gives, *rows = bench.interleave(
            "CPU ms/MB",
            [Contender("the node that gives", giving), *parts.contenders(Path(place), content.part(size))],
        )
    together = tuple(map(sum, zip(*(row.samples for row in rows), strict=True)))
    at_most = tuple(1000 * PROCESSORS / spent for spent in together)
    ceiling = Row(f"{PROCESSORS} processors that do nothing else", "MB/s", at_most)
    return Figure(
        "the processor time of a megabyte from node to node, and of its parts",
        [
            gives,
            Row("the node that takes", "CPU ms/MB", tuple(taken[1:])),
            *rows,
            Row("a to f together", "CPU ms/MB", together),
            ceiling,
            Row("the same, over trio's TLS stream", "", quotients(ceiling, tls)),
        ],
        notes=["who reads spends half of f; the nodes and it share the processors"],
    )


def _hashing(content: Content, bench: Bench) -> float:
    size = min(content.size, bench.size(256 * MIB, 64 * MIB))
    return rate(size, lambda: hash_blocks(content.part(size)))


def _through(python: Path, muxer: str, kib: int = rates.WRITTEN) -> Callable[[int], float]:
    return lambda _: rates.measure(python, muxer, kib) / MEGABYTE


def _py_libp2p() -> Path | None:
    try:
        return environment.python()
    except environment.Failed:
        return None


def _crowds(bench: Bench, directory: Path) -> Figure:
    size = bench.size(256 * MIB, 16 * MIB)
    content = Content(size)
    with joined(directory, 1 + CROWD) as (first, *others):

        def one_to_one(_: int) -> float:
            cid = first.upload(content.stamped(bench.stamp()), size)
            fetched = rate(size, lambda: fetch(others[0], cid))
            _forget([first, *others], cid)
            return fetched

        def one_to_many(_: int) -> float:
            cid = first.upload(content.stamped(bench.stamp()), size)
            took = seconds(lambda: _together([lambda node=node: fetch(node, cid) for node in others]))  # type: ignore[misc]
            _forget([first, *others], cid)
            return CROWD * size / took / MEGABYTE

        def many_to_one(_: int) -> float:
            stamp = bench.stamp()
            [cid] = {node.upload(content.stamped(stamp), size) for node in others}
            fetched = rate(size, lambda: fetch(first, cid))
            _forget([first, *others], cid)
            return fetched

        rows = bench.interleave(
            "MB/s",
            [
                Contender("one to one", one_to_one),
                Contender(f"one to {CROWD}, together", one_to_many),
                Contender(f"{CROWD} to one", many_to_one),
            ],
        )
    return Figure(
        f"{1 + CROWD} nodes on this machine, {size // MIB} MiB, data on tmpfs",
        rows,
        [
            Line(f"one to {CROWD} / one to one", quotients(rows[1], rows[0]), 0.8, stretch=True),
            Line(f"{CROWD} to one / one to one", quotients(rows[2], rows[0]), 0.8, stretch=True),
        ],
        ["every node, and who measures, shares the processors"],
    )


def _together(works: Sequence[Callable[[], object]]) -> None:
    failed: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise BenchFailed(f"a fetch failed: {failed[0]}")


def _forget(nodes: Sequence[RunningNode], cid: str) -> None:
    for node in nodes:
        node.delete(cid)


def _first_byte(bench: Bench, directory: Path) -> Figure:
    content = Content(4 * MIB)

    def first_byte(_: int) -> float:
        with joined(directory, 3) as (_known, alice, bob):
            cid = alice.upload(content.stamped(bench.stamp()), content.size)
            stored = time.perf_counter()
            with Client(bob.port) as client:
                pieces = iter(client.pieces(f"{DATA}/{cid}/network/stream"))
                while not len(next(pieces)):
                    pass
                took = time.perf_counter() - stored
                for _piece in pieces:
                    pass
            return took

    [row] = bench.interleave("s", [Contender("from stored on alice to the first byte on bob", first_byte)])
    return Figure(
        "two nodes that know a third only, strangers to each other",
        [row],
        [Line(row.label, row.samples, FIRST_BYTE, at_most=True, unit="s")],
        ["new nodes each round"],
    )


def _steps(bench: Bench, directory: Path) -> Figure:
    size = bench.size(512 * MIB, 32 * MIB)
    content = Content(size)
    with joined(directory, 2, WATCHED) as (alice, bob):
        giving, taking = Steps(alice.child), Steps(bob.child)
        for number in range(bench.rounds):
            bench.say(f"steps, round {number + 1} of {bench.rounds}")
            cid = alice.upload(content.stamped(bench.stamp()), size)
            giving.during(lambda cid=cid: taking.during(lambda: fetch(bob, cid)))  # type: ignore[misc]
            _forget([alice, bob], cid)
    rows = [Row("who gives", "CPU ms", tuple(giving.cpu)), Row("who takes", "CPU ms", tuple(taking.cpu))]
    return Figure(
        f"longest step of the loop, {size // MIB} MiB from node to node",
        rows,
        [
            Line(f"{row.label}, worst round", (max(row.samples),), STEP_LIMIT, at_most=True, unit="CPU ms")
            for row in rows
        ],
    )


def _memory(bench: Bench, directory: Path) -> Figure:
    size = bench.size(4096 * MIB, 64 * MIB)
    content = Content(size)
    most: dict[str, list[float]] = {"who gives": [], "who takes": []}
    for number in range(bench.size(3, 1)):
        bench.say(f"memory, round {number + 1}")
        with joined(directory, 2) as (alice, bob):
            cid = alice.upload(content.stamped(bench.stamp()), size)
            giving, taking = Memory(alice.child.pid), Memory(bob.child.pid)
            taken: list[float] = []

            def move(
                bob: RunningNode = bob, cid: str = cid, taking: Memory = taking, taken: list[float] = taken
            ) -> None:
                taken.append(taking.peak(lambda: fetch(bob, cid)))

            most["who gives"].append(giving.peak(move))
            most["who takes"].append(taken[0])
    rows = [Row(label, "MiB", tuple(found)) for label, found in most.items()]
    return Figure(
        f"resident memory above idle, {size // MIB} MiB from node to node",
        rows,
        [
            Line(f"{row.label}, worst round", (max(row.samples),), RESIDENT, at_most=True, unit="MiB")
            for row in rows
        ],
    )
