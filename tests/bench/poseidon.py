"""How fast slots are hashed: the kernel, beside the same in Python's integers and sha256 of the same blocks.

Per core: what a thread reaches in a second of its own CPU time, which others on the machine disturb least.
With all cores: blocks a second by the clock, one thread a core.
"""

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from harness import MEGABYTE, Bench, BenchFailed, Contender, Figure, Line, quotients, rate

from codex.data import BLOCK_SIZE, CELL_SIZE
from codex.kernels import poseidon2
from codex.kernels import poseidon2_spec as spec
from codex.slots import SlotShape, SlotTree

WANTED, STRETCH = 12.0, 25.0  # times as fast as Python

# A cell has 67 elements and a mark behind, and two of them go into a permutation; then comes the tree.
_CELLS = BLOCK_SIZE // CELL_SIZE
PERMUTATIONS = _CELLS * 34 + _CELLS - 1


def figures(bench: Bench) -> Iterator[Figure]:
    """Permutations a second a core; megabytes a second; the tree of a large slot."""
    if fault := poseidon2.fault():
        raise BenchFailed(f"the kernel cannot be used here: {fault}")
    blocks = [os.urandom(BLOCK_SIZE) for _ in range(bench.size(64, 4))]
    cores = os.cpu_count() or 1
    yield _per_core(bench, blocks)
    with ThreadPoolExecutor(cores) as threads:
        yield _by_the_clock(bench, blocks, cores, threads)
    yield _tree(bench)


def _kernel(block: bytes) -> bytes:
    return poseidon2.block_root(block, CELL_SIZE)


def _python(block: bytes) -> bytes:
    return spec.block_root(block, CELL_SIZE)


def _per_core(bench: Bench, blocks: Sequence[bytes]) -> Figure:
    if _kernel(blocks[0]) != _python(blocks[0]):
        raise BenchFailed("the kernel and Python give different roots")

    def permutations(work: Callable[[bytes], bytes], some: Sequence[bytes]) -> Callable[[int], float]:
        def once(_: int) -> float:
            start = time.thread_time()
            for block in some:
                work(block)
            return PERMUTATIONS * len(some) / (time.thread_time() - start)

        return once

    kernel, python = bench.interleave(
        "perm/s",
        [
            Contender("the kernel", permutations(_kernel, blocks)),
            Contender("a: Python's integers", permutations(_python, blocks[:2])),
        ],
    )
    times = quotients(kernel, python)
    return Figure(
        "Poseidon2 in blocks of 64 KiB, permutations a second of CPU time",
        [kernel, python],
        [
            Line("the kernel / a", times, WANTED),
            Line("the kernel / a", times, STRETCH, stretch=True),
        ],
    )


def _by_the_clock(bench: Bench, blocks: Sequence[bytes], cores: int, threads: ThreadPoolExecutor) -> Figure:
    size = len(blocks) * BLOCK_SIZE

    def each(work: Callable[[bytes], object], some: Sequence[bytes]) -> Callable[[int], float]:
        return lambda _: rate(len(some) * BLOCK_SIZE, lambda: [work(block) for block in some])

    rows = bench.interleave(
        "MB/s",
        [
            Contender(
                f"the kernel, {cores} threads",
                lambda _: rate(size, lambda: list(threads.map(_kernel, blocks))),
            ),
            Contender("the kernel, one thread", each(_kernel, blocks)),
            Contender("a: Python's integers", each(_python, blocks[:1])),
            Contender("b: sha256", each(lambda block: hashlib.sha256(block).digest(), blocks)),
        ],
    )
    return Figure(
        f"block roots of {size / MEGABYTE:.1f} MB, by the clock",
        rows,
        notes=[f"{cores} threads / one thread: {_median(quotients(rows[0], rows[1])):.2f}"],
    )


def _tree(bench: Bench) -> Figure:
    shape = SlotShape(slot_count=1, block_count=bench.size(131072, 1024))
    roots = b"".join(spec.encode(number) for number in range(shape.block_count))

    def once(_: int) -> float:
        start = time.thread_time()
        SlotTree.of(shape, roots)
        return (time.thread_time() - start) * 1000

    rows = bench.interleave("CPU ms", [Contender("the tree over its block roots", once)])
    return Figure(f"a slot of {shape.slot_size / (1 << 30):.2f} GiB", rows)


def _median(samples: Sequence[float]) -> float:
    return sorted(samples)[len(samples) // 2]
