"""How fast datasets are coded: encoding, recovering M rows of data, rebuilding one, beside codes of others.

MB/s are of *data* (K rows), a second of a thread's own CPU time, so that others on the machine disturb least.
Shards are of 64 KiB, but for what computes in Python: there they are smaller, and few. The others' parity is
not the network's, except that of the specification.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import peers
import reedsolo
from harness import MEGABYTE, MIB, Bench, BenchFailed, Contender, Figure, Line, Row, quotients, rate

from codex.kernels import leopard
from codex.kernels import leopard_spec as spec
from codex.kernels.leopard_spec import Shape

SHARD = 65536
SHAPES = ((4, 2), (8, 4), (20, 10), (100, 50), (200, 40))
WANTED = 2.0  # times as fast as zfec
FLOOR = 1000.0  # MB/s of data: encoding at 4+2


def figures(bench: Bench) -> Iterator[Figure]:
    """Each shape: encode, recover, rebuild one row; then two threads."""
    if fault := leopard.fault():
        raise BenchFailed(f"the kernel cannot be used here: {fault}")
    for k, m in SHAPES[: bench.size(len(SHAPES), 3)]:
        yield _encoding(bench, Shape(k, m))
        yield _recovering(bench, Shape(k, m))
    yield _threads(bench)


def _encoding(bench: Bench, shape: Shape) -> Figure:
    data = _data(bench, shape)
    first = [row[0] for row in data]
    small = [row[: _python_shard(shape)] for row in first]
    codec = reedsolo.RSCodec(shape.m, nsize=min(255, shape.rows))
    slices = [bytes(row[at] for row in first) for at in range(_reedsolo_shard(shape))]
    contenders = {
        "the kernel": (_size(data), lambda: leopard.encode(shape, data, SHARD)),
        "the specification, in Python": (_joined(small), lambda: spec.encode(shape, small)),
        "reedsolo": (_joined(slices), lambda: [codec.encode(word) for word in slices]),
        "memcpy of data and parity": (
            _size(data),
            lambda: [bytearray(block) for row in [*data, *data[: shape.m]] for block in row],
        ),
    }
    if zfec := peers.peer("zfec"):
        encoder = zfec.Encoder(shape.k, shape.rows)
        contenders["zfec"] = (_joined(first), lambda: encoder.encode(first))
    if driver := _isal(shape):
        joined = b"".join(first)
        contenders["pyeclib's ISA-L"] = (len(joined), lambda: driver.encode(joined))
    rows = _rows(bench, contenders)
    found = {row.label: row for row in rows}
    lines = _beside(found, "zfec")
    if (shape.k, shape.m) == SHAPES[0]:
        lines.append(Line("the kernel", found["the kernel"].samples, FLOOR, unit="MB/s"))
    return Figure(
        f"encoding at {shape.k}+{shape.m}, GF(2^{shape.bits}), data a second of CPU time", rows, lines
    )


def _recovering(bench: Bench, shape: Shape) -> Figure:
    data = _data(bench, shape)
    every = data + leopard.encode(shape, data, SHARD)
    lost = list(range(shape.m))
    known = {row: every[row] for row in range(shape.m, shape.rows)}
    if leopard.recover(shape, known, lost, SHARD) != data[: shape.m]:
        raise BenchFailed("what was recovered is not what was lost")
    small = {row: blocks[0][: _python_shard(shape)] for row, blocks in known.items()}
    small = dict(list(small.items())[: shape.k])
    contenders: dict[str, tuple[int, Callable[[], object]]] = {
        "the kernel": (_size(data), lambda: leopard.recover(shape, known, lost, SHARD)),
        "the kernel, one row of them": (_size(data), lambda: leopard.recover(shape, known, lost[:1], SHARD)),
        "the specification, in Python": (_joined(small.values()), lambda: spec.recover(shape, small, lost)),
    }
    first = [row[0] for row in data]
    codec = reedsolo.RSCodec(shape.m, nsize=min(255, shape.rows))
    words = [codec.encode(bytes(row[at] for row in first)) for at in range(_reedsolo_shard(shape))]
    for word in words:
        word[: shape.m] = bytes(shape.m)
    contenders["reedsolo"] = (
        len(words) * shape.k,
        lambda: [codec.decode(word, erase_pos=lost) for word in words],
    )
    if zfec := peers.peer("zfec"):
        parity = zfec.Encoder(shape.k, shape.rows).encode(first)[shape.k :]
        decoder = zfec.Decoder(shape.k, shape.rows)
        blocks = [*parity, *first[shape.m :]]
        numbers = [*range(shape.k, shape.rows), *range(shape.m, shape.k)]
        contenders["zfec"] = (_joined(first), lambda: decoder.decode(blocks, numbers))
    if driver := _isal(shape):
        fragments = driver.encode(b"".join(first))[shape.m :]
        contenders["pyeclib's ISA-L"] = (_joined(first), lambda: driver.decode(fragments))
    rows = _rows(bench, contenders)
    lines = _beside({row.label: row for row in rows}, "zfec")
    name = f"recovering {shape.m} lost rows of data at {shape.k}+{shape.m}, data a CPU second"
    return Figure(name, rows, lines)


def _threads(bench: Bench) -> Figure:
    shape = Shape(20, 10)
    data = _data(bench, shape)
    cores = os.cpu_count() or 1
    calls = 8 * cores
    with ThreadPoolExecutor(cores) as threads:

        def side_by_side(_: int) -> float:
            jobs = [threads.submit(leopard.encode, shape, data, SHARD) for _ in range(calls)]
            return rate(calls * _size(data), lambda: [job.result() for job in jobs])

        def one_by_one(_: int) -> float:
            return rate(
                calls * _size(data), lambda: [leopard.encode(shape, data, SHARD) for _ in range(calls)]
            )

        rows = bench.interleave(
            "MB/s", [Contender(f"{cores} threads", side_by_side), Contender("one thread", one_by_one)]
        )
    median = statistics.median(quotients(*rows))
    return Figure(
        "encoding at 20+10 by the clock", rows, notes=[f"{cores} threads / one thread: {median:.2f}"]
    )


def _rows(bench: Bench, contenders: Mapping[str, tuple[int, Callable[[], object]]]) -> list[Row]:
    def measured(size: int, work: Callable[[], object]) -> Callable[[int], float]:
        def once(_: int) -> float:
            start, done = time.thread_time(), 0
            # What takes less than 20 ms is done again: a clock that ticks coarsely sees more of it.
            while not done or time.thread_time() - start < 0.02:
                work()
                done += 1
            return done * size / (time.thread_time() - start) / MEGABYTE

        return once

    return bench.interleave(
        "MB/s", [Contender(label, measured(*about)) for label, about in contenders.items()]
    )


def _beside(found: Mapping[str, Row], other: str) -> list[Line]:
    if other not in found:
        return []
    return [Line(f"the kernel / {other}", quotients(found["the kernel"], found[other]), WANTED)]


def _isal(shape: Shape):  # type: ignore[no-untyped-def]
    """pyeclib with ISA-L's code, or None."""
    if interface := peers.peer("pyeclib.ec_iface"):
        return interface.ECDriver(k=shape.k, m=shape.m, ec_type="isa_l_rs_vand")
    return None


def _data(bench: Bench, shape: Shape) -> list[list[bytes]]:
    """Rows of about a MiB together, or of one block."""
    columns = max(1, bench.size(MIB, MIB // 4) // (shape.k * SHARD))
    return [[os.urandom(SHARD) for _ in range(columns)] for _ in range(shape.k)]


def _python_shard(shape: Shape) -> int:
    return SHARD if shape.k < 20 else 4096


def _reedsolo_shard(shape: Shape) -> int:
    return 1024 if shape.k < 20 else 32


def _size(rows: Sequence[Sequence[bytes]]) -> int:
    return sum(len(block) for row in rows for block in row)


def _joined(blocks: Iterable[bytes]) -> int:
    return sum(map(len, blocks))
