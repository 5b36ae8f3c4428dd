"""Erasure coding of whole columns of blocks, bit for bit as Leopard does it: encode, and recover any row.

A *column* is a code word: K blocks of data of the same size, and M of parity made from them. Any K of the
K + M give back the others. What is computed is said in `leopard_spec.py`, how in `leopard.wat`; a call copies
blocks into a WebAssembly memory, computes there without the interpreter's lock, and copies the result out.

Blocks are given as rows of columns, `rows[row][column]`, all of the same size, a multiple of 64 bytes. An
empty block stands for zeros. Columns of a call are coded together as far as they fit in `BUDGET`, and one
that does not fit is coded in slices, so that memory has a bound whatever K, M and the size are.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeAlias

from attrs import frozen

from codex.errors import InvalidInput
from codex.kernels import leopard_spec as spec
from codex.kernels.engine import Instance, Kernel
from codex.kernels.leopard_spec import CHUNK, Buffer, Shape

BUDGET = 8 * 1024 * 1024
"""Bytes of rows that an instance holds at a time. Tables and room to work in may take 32 MiB more when there
are tens of thousands of rows, and less than 2 MiB when there are hundreds.
"""

Rows: TypeAlias = Sequence[Sequence[Buffer]]

# Places in the memory of leopard.wat: what each point is, the point of each row, and the rows.
_FLAGS, _POINTS, _ROWS = 0x110000, 0x120000, 0xE00000
_MISSING, _WANTED = b"\1", 2

# Bytes that all rows of a strip take together, so that a core's own cache holds them, and the least strip:
# for less, the start of a loop costs more than its rounds.
_STRIP_TOTAL = 256 * 1024
_STRIP_LEAST = 1024

# A row in a step of the transforms costs as much as this many products of a row. Measured.
_TRANSFORM_COST = 0.6


def fault() -> str:
    """Why Python computes instead of the kernel, or nothing when the kernel does. Loads it: some 40 ms."""
    return FF8.fault or FF16.fault


def encode(shape: Shape, data: Rows, size: int) -> list[list[bytes]]:
    """Return the M rows of parity for K rows of data, in blocks of `size` bytes.

    Raises InvalidInput when the rows are not K, not equally long, or a block has another size.
    """
    if len(data) != shape.k:
        raise InvalidInput(f"{len(data)} rows of data were given for K = {shape.k}")
    task = _Task(shape, data, size, range(shape.k), range(shape.k, shape.rows))
    kernel = _kernel(shape)
    if kernel.fault:
        return task.by_columns(lambda blocks: spec.encode(shape, blocks))
    with kernel.instance() as instance:
        return _encode(instance, task)


def recover(
    shape: Shape, known: Mapping[int, Sequence[Buffer]], wanted: Sequence[int], size: int
) -> list[list[bytes]]:
    """Return the `wanted` rows, in that order. Rows go by number: data from 0, parity from K.

    K known rows are enough; of more, the first K that `known` gives are taken. Blocks are as in `encode`.
    Raises InvalidInput as that does, and when fewer are known, or one that is wanted.
    """
    used = _chosen(shape, known, wanted)
    task = _Task(shape, [known[row] for row in used], size, used, wanted)
    if not wanted:
        return []
    if shape.m == 1:
        # The row that is not there is the sum of the others, whether it is data or parity.
        return encode(shape, task.rows, size)
    kernel = _kernel(shape)
    if kernel.fault:
        return task.by_columns(
            lambda blocks: spec.recover(shape, dict(zip(used, blocks, strict=True)), wanted)
        )
    with kernel.instance() as instance:
        few = shape.k * len(wanted) <= _TRANSFORM_COST * shape.length * shape.length.bit_length()
        return _combine(instance, task) if few else _transform(instance, task)


@frozen(slots=True)
class _Task:
    """What is to be coded: K rows, which those are (`used`), and which are `wanted`.

    Raises InvalidInput when rows or blocks have not the same size.
    """

    shape: Shape
    rows: Rows
    size: int
    used: Sequence[int]
    wanted: Sequence[int]

    def __attrs_post_init__(self) -> None:
        if self.size < CHUNK or self.size % CHUNK:
            raise InvalidInput(f"blocks of {self.size} bytes cannot be coded: it takes a multiple of {CHUNK}")
        for number, blocks in zip(self.used, self.rows, strict=True):
            if len(blocks) != self.columns:
                raise InvalidInput(f"row {number} has {len(blocks)} blocks, and another has {self.columns}")
            for block in blocks:
                if len(block) not in (self.size, 0):
                    raise InvalidInput(f"a block of row {number} has {len(block)} bytes, not {self.size}")

    @property
    def columns(self) -> int:
        return len(self.rows[0])

    def by_columns(self, code: Callable[[list[Buffer]], list[bytes]]) -> list[list[bytes]]:
        """The wanted rows, from what `code` makes of the rows of each column."""
        made = [
            code([blocks[at] if len(blocks[at]) else bytes(self.size) for blocks in self.rows])
            for at in range(self.columns)
        ]
        return [[column[row] for column in made] for row in range(len(self.wanted))]


def _encode(instance: Instance, task: _Task) -> list[list[bytes]]:
    shape = task.shape
    room = -(-shape.k // shape.head) * shape.head
    found = _Found(task)
    for part in _parts(task, room):
        instance.reserve(_ROWS + room * part.stride)
        _put(instance, task.rows, part)
        instance.call(
            *("encode", _ROWS, part.stride, part.width, _strip(2 * shape.head)),
            *(shape.k, shape.m, shape.head, shape.length if shape.m > 1 else 2),
        )
        found.take(instance, 0, part)
    return found.rows()


def _combine(instance: Instance, task: _Task) -> list[list[bytes]]:
    """Recover by sums of products: work grows with K times what is wanted."""
    shape, wanted = task.shape, len(task.wanted)
    _mark(instance, task)
    found = _Found(task)
    for part in _parts(task, shape.k + wanted):
        instance.reserve(_ROWS + (shape.k + wanted) * part.stride)
        _put(instance, task.rows, part)
        instance.call(
            *("combine", _ROWS, part.stride, part.width, _strip(shape.k)),
            *(shape.k, wanted, shape.length),
        )
        found.take(instance, shape.k, part)
    return found.rows()


def _transform(instance: Instance, task: _Task) -> list[list[bytes]]:
    """Recover by transforms: work grows with K log K, however much is wanted."""
    shape, wanted = task.shape, len(task.wanted)
    _mark(instance, task)
    found = _Found(task)
    for part in _parts(task, shape.k + wanted):
        strip = min(_strip(shape.length), part.width)
        work = _ROWS + (shape.k + wanted) * part.stride
        instance.reserve(work + shape.length * (strip + CHUNK))
        _put(instance, task.rows, part)
        instance.call(
            *("recover", _ROWS, part.stride, part.width, strip),
            *(shape.k, wanted, shape.length, shape.head + shape.k, work),
        )
        found.take(instance, shape.k, part)
    return found.rows()


@frozen(slots=True)
class _Part:
    """What is coded in one go: columns from `first` to before `last`, and of each block some bytes."""

    first: int
    last: int
    start: int
    stop: int

    @property
    def width(self) -> int:
        """Bytes of a row."""
        return (self.last - self.first) * (self.stop - self.start)

    @property
    def stride(self) -> int:
        """Bytes from row to row: an odd number of chunks, or rows would compete for the same lines of a
        cache.
        """
        return (self.width // CHUNK | 1) * CHUNK


def _parts(task: _Task, rows: int) -> Iterator[_Part]:
    """Cut columns of that many rows so that each part fits in the budget, or is as small as can be."""
    fits = max(CHUNK, BUDGET // rows // CHUNK * CHUNK)
    if fits >= task.size:
        step = fits // task.size
        for first in range(0, task.columns, step):
            yield _Part(first, min(first + step, task.columns), 0, task.size)
    else:
        for column in range(task.columns):
            for start in range(0, task.size, fits):
                yield _Part(column, column + 1, start, min(start + fits, task.size))


class _Found:
    """Blocks that come out of an instance, whole or in slices."""

    def __init__(self, task: _Task) -> None:
        self._slices: list[list[list[bytes]]] = [[[] for _ in range(task.columns)] for _ in task.wanted]

    def take(self, instance: Instance, first: int, part: _Part) -> None:
        """Copy this part of all rows, which stand in the instance from row `first` on."""
        view = instance.view()
        length = part.stop - part.start
        for row, blocks in enumerate(self._slices, first):
            at = _ROWS + row * part.stride
            for column in range(part.first, part.last):
                blocks[column].append(bytes(view[at : at + length]))
                at += length

    def rows(self) -> list[list[bytes]]:
        # A block that came in one piece is that piece.
        return [[b"".join(slices) for slices in blocks] for blocks in self._slices]


def _put(instance: Instance, rows: Rows, part: _Part) -> None:
    """Copy this part of all rows into an instance."""
    view = instance.view()
    length = part.stop - part.start
    zeros = bytes(length)
    for row, blocks in enumerate(rows):
        at = _ROWS + row * part.stride
        for block in blocks[part.first : part.last]:
            view[at : at + length] = memoryview(block)[part.start : part.stop] if len(block) else zeros
            at += length


def _mark(instance: Instance, task: _Task) -> None:
    """Tell an instance which row is at which point, and which points are missing or wanted."""
    view = instance.view()
    shape = task.shape
    flags = bytearray(_MISSING * (shape.head + shape.k) + bytes(shape.length - shape.head - shape.k))
    points = [shape.point(row) for row in (*task.used, *task.wanted)]
    for place, point in enumerate(points):
        flags[point] = _WANTED if place >= shape.k else 0
    view[_FLAGS : _FLAGS + shape.length] = flags
    packed = b"".join(point.to_bytes(2, "little") for point in points)
    view[_POINTS : _POINTS + len(packed)] = packed


def _strip(rows: int) -> int:
    """Bytes of each row that are worked on at a time, when work goes to and fro between so many rows."""
    size = min(max(_STRIP_LEAST, _STRIP_TOTAL // rows), BUDGET // rows)
    return max(CHUNK, size // CHUNK * CHUNK)


def _chosen(shape: Shape, known: Mapping[int, Sequence[Buffer]], wanted: Sequence[int]) -> list[int]:
    """The K rows to recover from. Raises InvalidInput."""
    for row in (*known, *wanted):
        if not 0 <= row < shape.rows:
            raise InvalidInput(f"there is no row {row}: K + M = {shape.rows}")
    for row in wanted:
        if row in known:
            raise InvalidInput(f"row {row} is wanted, and known")
    if len(set(wanted)) < len(wanted):
        raise InvalidInput("a row is wanted twice")
    if len(known) < shape.k:
        raise InvalidInput(f"{len(known)} rows are known, and it takes K = {shape.k} to recover others")
    return list(known)[: shape.k]


def _kernel(shape: Shape) -> Kernel:
    # With one row of parity there are only sums, and those are the same in both fields.
    return FF8 if shape.bits == 8 or shape.m == 1 else FF16


def _check(k: int, m: int, sha256: str) -> Callable[[Instance], bool]:
    """A check that a small pattern has the parity whose hash is known, and comes back from it both ways."""

    def check(instance: Instance) -> bool:
        shape = Shape(k, m)
        pattern = bytes(131 * i + 7 * j + 5 & 255 for i in range(k) for j in range(CHUNK))
        rows = [[pattern[at : at + CHUNK]] for at in range(0, len(pattern), CHUNK)]
        parity = _encode(instance, _Task(shape, rows, CHUNK, range(k), range(k, k + m)))
        if hashlib.sha256(b"".join(blocks[0] for blocks in parity)).hexdigest() != sha256:
            return False
        rows += parity
        lost = range(k - 2, k - 2 + m)
        used = [row for row in range(k + m) if row not in lost]
        task = _Task(shape, [rows[row] for row in used], CHUNK, used, lost)
        return _combine(instance, task) == _transform(instance, task) == [rows[row] for row in lost]

    return check


def _kernel_of(bits: int, check: Callable[[Instance], bool]) -> Kernel:
    def prepare(instance: Instance) -> None:
        instance.call("begin", bits)

    return Kernel("leopard.wat", prepare=prepare, check=check)


FF8 = _kernel_of(8, _check(10, 5, "3208ca39e270852479cfeb379e3393410c1109e080f5746534c9affd60bccec3"))
FF16 = _kernel_of(16, _check(225, 32, "93f4efaf9b12a0c34775be2a28245562abe1b733fcac0b73a8f040678bc382ce"))
