"""Making a dataset durable: the whole beside the sum of its parts, slots on all cores, memory and steps.

Roots of blocks take most of the time: 7 ms a block and core. So a few rounds have to do, and what is the same
for every block is measured with some of them.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from attrs import evolve, frozen
from client import Client
from floors import Content, append, hash_blocks, read_through
from harness import MEGABYTE, MIB, Bench, BenchFailed, Contender, Figure, Line, Row, rate, seconds
from loop import LIMIT as LONGEST_STEP
from loop import Steps
from memory import Memory
from nodes import API, DATA, WATCHED, RunningNode, running_node

from codex.data import BLOCK_SIZE
from codex.kernels import leopard
from codex.kernels.leopard_spec import Shape
from codex.slots import SlotShape, SlotTree, block_root

WANTED = 0.8  # of the node's time that the parts take, one after the other
MEMORY = 400.0  # MiB above idle
ROUNDS = 2
CORES = os.cpu_count() or 1

_LOOK = 0.1  # seconds between two looks at a job


def figures(bench: Bench) -> Iterator[Figure]:
    """A dataset beside its parts; the slots of a larger one; memory and steps with a large one."""
    yield _whole(evolve(bench, rounds=min(bench.rounds, ROUNDS)))
    yield _slots(bench)
    yield _large(bench)


# -- the whole and its parts


def _whole(bench: Bench) -> Figure:
    shape = Shape(4, 2)
    content = Content(bench.size(256 * MIB, 8 * MIB))
    size = content.size
    parity = content.part(size * shape.m // shape.k)
    blocks = size // BLOCK_SIZE * shape.rows // shape.k
    share = bench.size(8, 4)  # of all blocks, one in so many is hashed for its root
    with (
        bench.scratch("disk") as directory,
        running_node(directory / "node") as node,
        ThreadPoolExecutor(CORES) as threads,
    ):
        cid = node.upload(content.stamped(bench.stamp()), size)
        node.settle()
        data, floor = directory / "data", directory / "parity"
        append(data, content.part(size))
        views = _blocks(content.part(size))
        batches = list(_batches(views, shape))
        some = views[: blocks // share]
        made: list[str] = []

        def whole(_: int) -> float:
            ended = protected(node, cid, shape)
            made.append(ended.cid)
            return ended.seconds

        def clear() -> None:
            with Client(node.port) as client:
                client.delete(f"{DATA}/{made.pop()}")
            node.settle()

        def roots(_: int) -> float:
            return share * seconds(lambda: list(threads.map(block_root, some)))

        parts = [
            Contender("a: read the data", lambda _: seconds(lambda: read_through(data))),
            Contender("b: sha2-256 of the data", _timed(lambda: hash_blocks(content.part(size)))),
            Contender("c: encode", _timed(lambda: [leopard.encode(shape, b, BLOCK_SIZE) for b in batches])),
            Contender("d: sha2-256 of the parity", _timed(lambda: hash_blocks(parity))),
            Contender(f"e: the blocks' roots, {CORES} threads", roots),
            Contender("f: append the parity", _timed(lambda: append(floor, parity)), floor.unlink),
        ]
        node_row, *rows = bench.interleave("s", [Contender("the node", whole, clear), *parts])
    sums = tuple(sum(found) for found in zip(*(row.samples for row in rows), strict=True))
    shares = tuple(total / own for total, own in zip(sums, node_row.samples, strict=True))
    return Figure(
        f"protect {size // MIB} MiB at {shape.k}+{shape.m}, slots and all, data on disk",
        [node_row, Row("a to f, one after the other", "s", sums), *rows],
        [Line("a to f / the node", shares, WANTED)],
        [
            f"{blocks:,} blocks get their roots; e is measured with one in {share} of so many",
            "the parts run in the process of the measurement, one after the other",
        ],
    )


def _timed(work: Callable[[], object]) -> Callable[[int], float]:
    return lambda _: seconds(work)


def _blocks(pieces: Sequence[bytes]) -> list[bytes]:
    return [piece[at : at + BLOCK_SIZE] for piece in pieces for at in range(0, len(piece), BLOCK_SIZE)]


def _batches(blocks: Sequence[bytes], shape: Shape) -> Iterator[list[Sequence[bytes]]]:
    """The blocks as rows of columns, some 16 MiB with parity at once."""
    steps = len(blocks) // shape.k
    columns = 16 * MIB // BLOCK_SIZE // shape.rows
    for first in range(0, steps, columns):
        last = min(first + columns, steps)
        yield [blocks[row * steps + first : row * steps + last] for row in range(shape.k)]


# -- slots


def _slots(bench: Bench) -> Figure:
    size = bench.size(1024 * MIB, 16 * MIB)
    content = Content(min(size, 64 * MIB))
    some = _blocks(content.part(size))
    count = size // BLOCK_SIZE
    slots = 4
    shape = SlotShape(slot_count=slots, block_count=count // slots)

    def build(threads: ThreadPoolExecutor) -> None:
        blocks = [some[number % len(some)] for number in range(count)]
        roots = b"".join(threads.map(block_root, blocks))
        step = len(roots) // slots
        list(threads.map(lambda at: SlotTree.of(shape, roots[at : at + step]), range(0, len(roots), step)))

    bench.say(f"slots of {size // MIB} MiB")
    with ThreadPoolExecutor(CORES) as threads:
        every = rate(size, lambda: build(threads))
    few = some[: max(1, len(some) // 8)]
    one = rate(len(few) * BLOCK_SIZE, lambda: [block_root(block) for block in few])
    hashed = rate(len(some) * BLOCK_SIZE, lambda: [hashlib.sha256(block).digest() for block in some])
    rows = [
        Row(f"{CORES} threads, trees and all", "MB/s", (every,)),
        Row("one thread, the roots of some blocks", "MB/s", (one,)),
        Row("a: sha2-256, one thread", "MB/s", (hashed,)),
    ]
    notes = [f"{CORES} threads / one: {every / one:.2f}", f"{size / MEGABYTE / every:.1f} s for all of it"]
    return Figure(f"the slots of {size // MIB} MiB of blocks, by the clock", rows, notes=notes)


# -- memory and steps


def _large(bench: Bench) -> Figure:
    shape = Shape(8, 2)
    content = Content(bench.size(4096 * MIB, 64 * MIB))
    with bench.scratch("disk") as directory, running_node(directory / "node", WATCHED) as node:
        small = node.upload(content.part(MIB), MIB)
        protected(node, small, shape)  # what is loaded once belongs to the idle node
        bench.say(f"uploading {content.size // MIB} MiB")
        cid = node.upload(content.stamped(bench.stamp()), content.size)
        node.settle()
        memory, steps = Memory(node.child.pid), Steps(node.child)
        found: list[Ended] = []
        bench.say(f"protecting {content.size // MIB} MiB")
        spent = node.child.cpu()
        peak = memory.peak(lambda: steps.during(lambda: found.append(protected(node, cid, shape))))
        spent = node.child.cpu() - spent
        node.settle()
        left = memory.now()
    [ended] = found
    return Figure(
        f"protect {content.size // MIB} MiB at {shape.k}+{shape.m}, slots and all",
        [
            Row("resident memory above idle, at its peak", "MiB", (peak,)),
            Row("the same, idle again", "MiB", (left,)),
            Row("longest step of the loop", "CPU ms", tuple(steps.cpu)),
            Row("the same by the clock", "ms", tuple(steps.wall)),
            Row("data", "MB/s", (content.size / MEGABYTE / ended.seconds,)),
            Row("cores that are busy", "", (spent / ended.seconds,)),
        ],
        [
            Line("resident memory above idle, at its peak", (peak,), MEMORY, at_most=True, unit="MiB"),
            Line("longest step of the loop", tuple(steps.cpu), LONGEST_STEP, at_most=True, unit="CPU ms"),
        ],
        [
            f"idle: {memory.idle:.0f} MiB; took {ended.seconds:.0f} s, of which progress was seen at"
            f" {ended.looks:,} moments",
            f"the longest was a step of {steps.worst[1]}",
        ],
    )


# -- a node's job


@frozen
class Ended:
    """A job that is done: what it made, how long it took, and how many different amounts it was seen at."""

    cid: str
    seconds: float
    looks: int


def protected(node: RunningNode, cid: str, shape: Shape) -> Ended:
    """Have a node protect a dataset, over a connection of its own, and wait for it. Raises BenchFailed when
    it does not do it.
    """
    body = json.dumps({"data": shape.k, "parity": shape.m}).encode()
    with Client(node.port) as client:
        job = json.loads(client.post(f"{DATA}/{cid}/protect", [body], len(body)))
        seen = set()
        while job["state"] == "running":
            time.sleep(_LOOK)
            job = json.loads(client.get(f"{API}/jobs/{job['id']}"))
            seen.add(job["bytesDone"])
    if job["state"] != "done":
        raise BenchFailed(f"the node did not protect {cid}: {job['error']}")
    return Ended(job["result"]["verifiableCid"], job["ended"] - job["started"], len(seen))
