"""How much memory a node takes for itself while data goes through it: above what it takes when idle.

The system's own count of resident memory (VmRSS, and its peak VmHWM) of the node's process; pages that the
system keeps of files are not in it. The peak is set back before each round where the system allows it, and
else looked for every 50 ms.
"""

import threading
import time
from collections.abc import Callable, Iterator
from math import inf
from pathlib import Path
from statistics import median

import rows
from attrs import frozen
from children import bare_server
from client import Client
from floors import Content
from harness import MEGABYTE, MIB, Bench, BenchFailed, Figure, Line, Row, Samples
from nodes import DATA, PROGRAM, SLOW_DISK, RunningNode, running_node

LIMIT = 200.0  # MiB above idle
DISK_RATE = 100_000_000  # bytes a second that the simulated slow disk takes
READER_RATE = 200_000_000  # bytes a second that the slow reader takes
BLOCKS = 100  # of each dataset in the store with a large index

_STEP = 0.05


def resident(pid: int, key: str = "VmRSS") -> float:
    """What is resident of a process, in MiB; with "VmHWM" the most that ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise BenchFailed(f"the system tells no {key} of a process")


class Memory:
    """The resident memory of a process, in MiB."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._reset = Path(f"/proc/{pid}/clear_refs")
        self.idle = self._read("VmRSS")
        self.resettable = self._set_back()

    def now(self) -> float:
        """What is resident now, above the idle."""
        return self._read("VmRSS") - self.idle

    def peak(self, work: Callable[[], object]) -> float:
        """The most that was resident while `work` ran, above the idle."""
        if self._set_back():
            work()
            return self._read("VmHWM") - self.idle
        return self._sampled(work) - self.idle

    def _set_back(self) -> bool:
        try:
            self._reset.write_text("5")
        except OSError:
            return False
        return True

    def _sampled(self, work: Callable[[], object]) -> float:
        done = threading.Event()
        most = [0.0]

        def sample() -> None:
            while not done.wait(_STEP):
                most[0] = max(most[0], self._read("VmRSS"))

        sampler = threading.Thread(target=sample)
        sampler.start()
        try:
            work()
        finally:
            done.set()
            sampler.join()
        return max(most[0], self._read("VmRSS"))

    def _read(self, key: str) -> float:
        return resident(self._pid, key)


@frozen
class Setting:
    """What the data goes through. Rates are in bytes a second."""

    said: str
    program: tuple[str, ...]
    disk: float = inf
    reader: float = inf
    datasets: int = 0
    """Of `BLOCKS` blocks each, which are there already."""
    notes: tuple[str, ...] = ()


FAST = Setting("data on disk", PROGRAM)
SLOW = Setting(
    f"a simulated disk of {DISK_RATE // MEGABYTE} MB/s, a reader of {READER_RATE // MEGABYTE} MB/s",
    (*SLOW_DISK, str(DISK_RATE)),
    disk=DISK_RATE,
    reader=READER_RATE,
    notes=("simulated: the flush of a segment, and reads, wait until a disk of that rate would be done",),
)


def _full(datasets: int) -> Setting:
    return Setting(f"data on disk, beside {datasets * BLOCKS:,} blocks", PROGRAM, datasets=datasets)


def figures(bench: Bench) -> Iterator[Figure]:
    """A large dataset; a smaller one through a slow disk and a slow reader, and one beside a large index."""
    yield _figure(bench, Content(bench.size(4096 * MIB, 256 * MIB)), FAST)
    smaller = Content(bench.size(1024 * MIB, 64 * MIB))
    yield _figure(bench, smaller, SLOW)
    yield _figure(bench, smaller, _full(bench.size(10_000, 200)))


def _figure(bench: Bench, content: Content, setting: Setting) -> Figure:
    size = content.size
    with bench.scratch("disk") as directory:
        if setting.datasets:
            bench.say("making a store of many blocks")
            rows.build(directory / "node" / "repo", setting.datasets, BLOCKS)
        bench.say(f"uploads: {setting.said}")
        with running_node(directory / "node", setting.program) as node:
            own = _watched(node)
            uploads, left, up_rate, cid = _uploads(bench, content, node, own)
        if up_rate * MEGABYTE > setting.disk:
            raise BenchFailed(f"{up_rate:.0f} MB/s: the disk that should be slow was not")
        # Another process, as what the first one has once taken would hide what a download takes.
        bench.say(f"downloads: {setting.said}")
        with running_node(directory / "node", setting.program) as node:
            fresh = _watched(node)
            downloads, down_rate = _repeated(bench, fresh, size, lambda: _read(node, cid, setting.reader))
    with bare_server() as (server, sink), Client(sink) as client:
        part = content.part(min(size, 256 * MIB))
        peer = Memory(server.pid)
        drops, _ = _repeated(bench, peer, size, lambda: client.post("/", part, sum(map(len, part))))
    found = [
        Row("the node, uploads", "MiB", uploads),
        Row("the node, downloads (another process)", "MiB", downloads),
        Row("the node, idle again after the uploads", "MiB", (left,)),
        Row("a: bare hypercorn that drops the body", "MiB", drops),
    ]
    return Figure(
        f"resident memory above idle at its peak, {size // MIB} MiB, {setting.said}",
        found,
        [
            Line(f"{row.label}, worst round", (max(row.samples),), LIMIT, at_most=True, unit="MiB")
            for row in found[:2]
        ],
        [
            f"idle: the node {own.idle:.0f} and {fresh.idle:.0f} MiB, bare hypercorn {peer.idle:.0f} MiB",
            f"medians: uploaded at {up_rate:.0f} MB/s, downloaded at {down_rate:.0f} MB/s",
            "a peak as the system counts it" if own.resettable else "looked for every 50 ms",
            *setting.notes,
        ],
    )


def _watched(node: RunningNode) -> Memory:
    node.space()  # what the first call loads belongs to the idle node
    node.settle()
    return Memory(node.child.pid)


def _uploads(
    bench: Bench, content: Content, node: RunningNode, memory: Memory
) -> tuple[Samples, float, float, str]:
    """Upload and delete in turns, but keep the last: the peaks, what is left, MB/s, and the last CID."""
    stored: list[str] = []

    def upload() -> None:
        stored.append(node.upload(content.stamped(bench.stamp()), content.size))

    def delete() -> None:
        if stored:
            node.delete(stored.pop())

    peaks, reached = _repeated(bench, memory, content.size, upload, delete)
    node.settle()
    return peaks, memory.now(), reached, stored[0]


def _repeated(
    bench: Bench,
    memory: Memory,
    size: int,
    work: Callable[[], object],
    before: Callable[[], object] = lambda: None,
) -> tuple[Samples, float]:
    """The peaks of some rounds, also of the first, and the median rate in MB/s; `before` is in neither."""
    peaks, rates = [], []
    for _ in range(bench.rounds):
        before()
        start = time.perf_counter()
        peaks.append(memory.peak(work))
        rates.append(size / (time.perf_counter() - start) / MEGABYTE)
    return tuple(peaks), median(rates)


def _read(node: RunningNode, cid: str, limit: float) -> None:
    """Download and drop a dataset, no faster than `limit` bytes a second."""
    start = time.perf_counter()
    got = 0
    with Client(node.port) as client:
        for view in client.pieces(f"{DATA}/{cid}"):
            got += len(view)
            time.sleep(max(0.0, start + got / limit - time.perf_counter()))
