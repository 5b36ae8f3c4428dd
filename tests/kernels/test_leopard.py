"""The kernel: Leopard's own parity, back from whatever is lost, equal to the specification, with bounds."""

import hashlib
import itertools
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.errors import InvalidInput
from codex.kernels import leopard, leopard_spec
from codex.kernels.engine import Instance, Kernel
from codex.kernels.leopard_spec import CHUNK, Shape
from codex.runtime.threads import Threads

Rows = list[list[bytes]]

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "leopard.json").read_text("utf-8"))
GOOD = [row for row in VECTORS["decode"] if row["result"] == "ok"]
BAD = [row for row in VECTORS["decode"] if row["result"] != "ok"]

BLOCK = 65536


@cache
def pattern(count: int, size: int) -> Rows:
    """`count` rows of one block, by the formula of the vectors."""
    first = bytes(7 * j + 13 * (j >> 8) + (j >> 16) + 5 & 255 for j in range(size))
    return [[first.translate(bytes((131 * i + v) & 255 for v in range(256)))] for i in range(count)]


def name(row: dict[str, Any]) -> str:
    return f"{row['K']}+{row['M']} of {row['bytes']}"


def sha256(rows: Rows) -> str:
    return hashlib.sha256(b"".join(block for row in rows for block in row)).hexdigest()


def noise(rows: int, columns: int, size: int, seed: int) -> Rows:
    return [
        [hashlib.shake_128(f"{seed} {row} {column}".encode()).digest(size) for column in range(columns)]
        for row in range(rows)
    ]


@pytest.fixture(params=["by sums", "by transforms"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovers in one way, whatever would be shorter."""
    monkeypatch.setattr(leopard, "_TRANSFORM_COST", 1e9 if request.param == "by sums" else -1)


@pytest.fixture(params=["slices", "strips"])
def little_room(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are coded in slices, or slices in strips, of which the last is shorter than the others."""
    if request.param == "slices":
        monkeypatch.setattr(leopard, "BUDGET", 8000)
    else:
        monkeypatch.setattr(leopard, "_STRIP_TOTAL", 0)
        monkeypatch.setattr(leopard, "_STRIP_LEAST", 192)


def test_the_kernel_is_there() -> None:
    assert leopard.fault() == ""
    assert len(VECTORS["encode"]) > 50
    assert len(GOOD) > 20
    assert len(BAD) > 1


@pytest.mark.parametrize("row", VECTORS["encode"], ids=name)
def test_parity_is_that_of_leopard(row: dict[str, Any]) -> None:
    shape = Shape(row["K"], row["M"])
    assert (shape.head, shape.length) == (row["m"], row["n"])
    assert row["field"] in ("copy", "xor", f"FF{shape.bits}")
    data = pattern(row["K"], row["bytes"])
    assert sha256(data) == row["data_sha256"]
    parity = leopard.encode(shape, data, row["bytes"])
    assert [sha256([shard]) for shard in parity[:4]] == row["shard_sha256"]
    assert sha256(parity) == row["parity_sha256"]


@pytest.mark.parametrize("row", GOOD, ids=name)
@pytest.mark.usefixtures("way")
def test_what_leopard_recovers_is_recovered(row: dict[str, Any]) -> None:
    shape = Shape(row["K"], row["M"])
    rows = pattern(row["K"], row["bytes"])
    rows = rows + leopard.encode(shape, rows, row["bytes"])
    parity = [row["K"] + number for number in row["lost_parity"]]
    lost = [*row["lost_data"], *parity]
    known = {number: blocks for number, blocks in enumerate(rows) if number not in lost}
    found = leopard.recover(shape, known, row["lost_data"], row["bytes"])
    assert sha256(found) == row["recovered_sha256"]
    assert leopard.recover(shape, known, parity, row["bytes"]) == [rows[number] for number in parity]


@pytest.mark.parametrize("row", BAD, ids=name)
def test_what_leopard_gives_up_is_refused(row: dict[str, Any]) -> None:
    shape = Shape(row["K"], row["M"])
    rows = pattern(row["K"], row["bytes"])
    rows = rows + leopard.encode(shape, rows, row["bytes"])
    lost = [*row["lost_data"], *(row["K"] + number for number in row["lost_parity"])]
    known = {number: blocks for number, blocks in enumerate(rows) if number not in lost}
    with pytest.raises(InvalidInput, match=rf"{len(known)} rows are known, .* K = {row['K']}"):
        leopard.recover(shape, known, row["lost_data"], row["bytes"])


@pytest.mark.parametrize(("k", "m"), [(k, m) for k in range(1, 7) for m in range(1, min(k, 4) + 1)])
@pytest.mark.usefixtures("way")
def test_any_k_rows_give_all_others(k: int, m: int) -> None:
    shape = Shape(k, m)
    rows = noise(k, 1, CHUNK, seed=k)
    rows += leopard.encode(shape, rows, CHUNK)
    for kept in itertools.combinations(range(k + m), k):
        lost = [row for row in range(k + m) if row not in kept]
        found = leopard.recover(shape, {row: rows[row] for row in kept}, lost, CHUNK)
        assert found == [rows[row] for row in lost], kept


@st.composite
def cases(draw: st.DrawFn, rows: int = 600) -> tuple[Shape, Rows, list[int], int]:
    """A shape, its data, which rows are lost, and the size of a block."""
    m = draw(st.integers(1, 12) | st.integers(1, rows // 4))
    k = draw(st.integers(m, 3 * m) | st.integers(m, rows - m))
    size = CHUNK * draw(st.integers(1, 5))
    data = noise(k, draw(st.integers(1, 3)), size, draw(st.integers(0, 2**32)))
    lost = draw(st.sets(st.integers(0, k + m - 1), min_size=1, max_size=m))
    return Shape(k, m), data, sorted(lost), size


@pytest.mark.usefixtures("way")
@settings(max_examples=60, deadline=None)
@given(cases())
def test_what_is_lost_comes_back(case: tuple[Shape, Rows, list[int], int]) -> None:
    shape, data, lost, size = case
    rows = data + leopard.encode(shape, data, size)
    known = {row: blocks for row, blocks in enumerate(rows) if row not in lost}
    assert leopard.recover(shape, known, lost, size) == [rows[row] for row in lost]


@pytest.mark.usefixtures("way")
@settings(max_examples=40, deadline=None)
@given(cases(rows=330))
def test_the_kernel_computes_what_the_specification_says(case: tuple[Shape, Rows, list[int], int]) -> None:
    shape, data, lost, size = case
    parity = leopard.encode(shape, data, size)
    for column in range(len(data[0])):
        rows = [blocks[column] for blocks in data]
        coded = leopard_spec.encode(shape, rows)
        assert [blocks[column] for blocks in parity] == coded
        rows += coded
        kept = [row for row in range(shape.rows) if row not in lost][: shape.k]
        one = lost[:1]
        said = leopard_spec.recover(shape, {row: rows[row] for row in kept}, one)
        found = leopard.recover(shape, {row: [rows[row]] for row in kept}, one, size)
        assert found == [said] == [[rows[lost[0]]]]


@pytest.mark.usefixtures("way", "little_room")
@pytest.mark.parametrize(("k", "m", "columns", "size"), [(4, 2, 3, 4096), (5, 3, 20, 128), (300, 40, 2, 448)])
def test_slices_and_strips_make_no_difference(k: int, m: int, columns: int, size: int) -> None:
    shape = Shape(k, m)
    rows = noise(k, columns, size, seed=1)
    coded = [leopard_spec.encode(shape, [blocks[at] for blocks in rows]) for at in range(columns)]
    parity = leopard.encode(shape, rows, size)
    assert parity == [[column[row] for column in coded] for row in range(m)]
    rows += parity
    lost = range(k - 1, k - 1 + m)
    known = {row: rows[row] for row in range(k + m) if row not in lost}
    assert leopard.recover(shape, known, lost, size) == [rows[row] for row in lost]


@pytest.mark.usefixtures("way")
def test_the_longest_code_word() -> None:
    shape = Shape(32768, 32768)
    assert shape.length == leopard_spec.MAX_LENGTH
    rows = [[row.to_bytes(2, "big") * 32] for row in range(shape.k)]
    rows += leopard.encode(shape, rows, CHUNK)
    lost = range(5) if leopard._TRANSFORM_COST > 0 else range(0, shape.rows, 2)
    known = {row: blocks for row, blocks in enumerate(rows) if row not in lost}
    assert leopard.recover(shape, known, lost, CHUNK) == [rows[row] for row in lost]


def test_a_block_of_any_kind_will_do_and_an_empty_one_is_zeros() -> None:
    shape = Shape(3, 2)
    rows = noise(3, 2, CHUNK, seed=2)
    rows[2][1] = bytes(CHUNK)
    parity = leopard.encode(shape, rows, CHUNK)
    mixed = [[bytearray(rows[0][0]), rows[0][1]], [memoryview(block) for block in rows[1]], [rows[2][0], b""]]
    assert leopard.encode(shape, mixed, CHUNK) == parity
    known = {4: parity[1], 2: mixed[2], 3: parity[0]}
    assert leopard.recover(shape, known, [1, 0], CHUNK) == [rows[1], rows[0]]


def test_no_columns_and_nothing_wanted_are_little_work() -> None:
    shape = Shape(2, 2)
    assert leopard.encode(shape, [[], []], CHUNK) == [[], []]
    assert leopard.recover(shape, {0: [bytes(CHUNK)], 3: [bytes(CHUNK)]}, [], CHUNK) == []


def test_more_rows_than_needed_are_not_looked_at() -> None:
    shape = Shape(3, 2)
    rows = noise(3, 1, CHUNK, seed=3)
    rows += leopard.encode(shape, rows, CHUNK)
    known = {4: rows[4], 1: rows[1], 2: rows[2], 3: [b"nothing of the kind"]}
    assert leopard.recover(shape, known, [0], CHUNK) == [rows[0]]


SHAPES = [
    (0, 1, "K = 0 rows of data"),
    (3, 0, "M = 0 rows of parity"),
    (3, -1, "M = -1 rows"),
    (3, 4, "M = 4 rows of parity are more than the K = 3"),
    (40000, 20000, "K = 40000 and M = 20000 make a code word of 131072 points, more than the limit of 65536"),
    (65536, 1, "131072 points"),
]


@pytest.mark.parametrize(("k", "m", "said"), SHAPES)
def test_a_shape_that_cannot_be_is_refused(k: int, m: int, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Shape(k, m)


ONE = [bytes(CHUNK)]
REFUSED: list[tuple[Callable[[], object], str]] = [
    (lambda: leopard.encode(Shape(2, 1), [ONE], CHUNK), "1 rows of data were given for K = 2"),
    (lambda: leopard.encode(Shape(2, 1), [ONE, [*ONE, *ONE]], CHUNK), "row 1 has 2 blocks, .* has 1"),
    (lambda: leopard.encode(Shape(2, 1), [ONE, [bytes(63)]], CHUNK), "a block of row 1 has 63 bytes, not 64"),
    (lambda: leopard.encode(Shape(2, 1), [ONE, ONE], 65), "65 bytes cannot be coded: .* multiple of 64"),
    (lambda: leopard.encode(Shape(2, 1), [ONE, ONE], 0), "0 bytes cannot be coded"),
    (lambda: leopard.recover(Shape(2, 2), {0: ONE}, [1], CHUNK), "1 rows are known, and it takes K = 2"),
    (lambda: leopard.recover(Shape(2, 2), {0: ONE, 4: ONE}, [1], CHUNK), r"no row 4: K \+ M = 4"),
    (lambda: leopard.recover(Shape(2, 2), {0: ONE, 1: ONE}, [-1], CHUNK), "no row -1"),
    (lambda: leopard.recover(Shape(2, 2), {0: ONE, 1: ONE}, [1], CHUNK), "row 1 is wanted, and known"),
    (lambda: leopard.recover(Shape(2, 2), {0: ONE, 1: ONE}, [2, 2], CHUNK), "wanted twice"),
    (lambda: leopard.recover(Shape(2, 2), {3: ONE, 1: [bytes(64), b""]}, [2], CHUNK), "row 1 has 2 blocks"),
]


@pytest.mark.parametrize(("call", "said"), REFUSED)
def test_what_cannot_be_meant_is_refused(call: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        call()


@pytest.fixture(params=["no wasmtime", "a kernel that is wrong"])
def without_kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which Python has to compute."""
    if request.param == "no wasmtime":
        request.getfixturevalue("no_wasmtime")
    else:
        wrong = Kernel("leopard.wat", check=leopard._check(3, 2, "0" * 64))
        monkeypatch.setattr(leopard, "FF8", wrong)
        monkeypatch.setattr(leopard, "FF16", wrong)
    assert leopard.fault() != ""


@pytest.mark.usefixtures("without_kernel")
@pytest.mark.parametrize("row", [row for row in VECTORS["encode"] if row["bytes"] == CHUNK], ids=name)
def test_python_computes_where_the_kernel_cannot(row: dict[str, Any]) -> None:
    shape = Shape(row["K"], row["M"])
    rows = pattern(row["K"], CHUNK)
    parity = leopard.encode(shape, rows, CHUNK)
    assert sha256(parity) == row["parity_sha256"]
    rows = rows + parity
    lost = [0, shape.rows - 1][: shape.m]
    known = {number: blocks for number, blocks in enumerate(rows) if number not in lost}
    assert leopard.recover(shape, known, lost, CHUNK) == [rows[number] for number in lost]


def test_a_kernel_that_computes_something_else_is_seen() -> None:
    check = leopard._check(10, 5, "3208ca39e270852479cfeb379e3393410c1109e080f5746534c9affd60bccec3")
    assert Kernel("leopard.wat", prepare=lambda instance: _begin(instance, 8), check=check).fault == ""
    assert Kernel("leopard.wat", prepare=lambda instance: _begin(instance, 16), check=check).fault != ""


def _begin(instance: Instance, bits: int) -> None:
    instance.call("begin", bits)


async def test_threads_code_side_by_side() -> None:
    threads = Threads(4)
    shape = Shape(20, 10)
    given_rows = [noise(20, 2, 4096, seed) for seed in range(12)]
    made: dict[int, Rows] = {}

    async def code(number: int) -> None:
        made[number] = await threads.run(leopard.encode, shape, given_rows[number], 4096)

    async with trio.open_nursery() as nursery:
        for number in range(12):
            nursery.start_soon(code, number)
    for number, rows in enumerate(given_rows):
        assert made[number] == leopard.encode(shape, rows, 4096)
        assert [row[0] for row in made[number]] == leopard_spec.encode(shape, [row[0] for row in rows])
