"""The kernel: known values, equal to the specification whatever it is given, and what is done without it."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.errors import DecodeError, InvalidInput
from codex.kernels import poseidon2
from codex.kernels import poseidon2_spec as spec
from codex.kernels.engine import Instance, Kernel
from codex.kernels.poseidon2_constants import PRIME
from codex.runtime import Threads

Vectors = Callable[[str], Any]

# Where carries run far, where limbs are full or empty, and what stands near the prime.
EDGES = [
    *(0, 1, 2, PRIME - 1, PRIME - 2, PRIME // 2, PRIME // 2 + 1, (1 << 253) - 1, 1 << 253),
    *((1 << 64 * limb) - 1 for limb in (1, 2, 3)),
    *(1 << 64 * limb for limb in (1, 2, 3)),
    PRIME - (1 << 64),
    PRIME - (1 << 192),
    (1 << 256) % PRIME,
    pow(1 << 256, -1, PRIME),
]

elements = st.integers(0, PRIME - 1) | st.sampled_from(EDGES)


@pytest.fixture(scope="module", autouse=True)
def _kernel_is_there() -> None:
    assert poseidon2.fault() == ""


def _encoded(numbers: list[int]) -> bytes:
    return b"".join(map(spec.encode, numbers))


def test_known_compressions(vectors: Vectors) -> None:
    for row in vectors("poseidon2")["compression"]:
        pair = _encoded([int(row["x"]), int(row["y"])])
        assert poseidon2.compress_pairs(pair, row["key"]) == spec.encode(int(row["output"]))


def test_known_hashes_of_bytes(vectors: Vectors) -> None:
    rows = [row for row in vectors("poseidon2")["sponge_rate2_of_bytes"] if row["bytes_hex"]]
    assert len(rows) > 5
    for row in rows:
        data = bytes.fromhex(row["bytes_hex"])
        assert poseidon2.hash_cells(data, len(data)) == spec.encode(int(row["digest"]))


def test_known_blocks(vectors: Vectors) -> None:
    blocks = {
        "65536 zero bytes": bytes(65536),
        "pattern i=0": bytes((7 * j + 13 * (j >> 8) + (j >> 16) + 5) & 255 for j in range(65536)),
        '"some file contents" zero padded to 65536': b"some file contents".ljust(65536, b"\x00"),
    }
    rows = vectors("poseidon2")["blocks"]
    assert {row["block"] for row in rows} == blocks.keys()
    for row in rows:
        block = blocks[row["block"]]
        assert row.get("sha256") in (None, hashlib.sha256(block).hexdigest())
        assert poseidon2.block_root(block, 2048).hex() == row["root_le_hex"]


@pytest.mark.parametrize("key", [0, 1, 2, 3, 255])
def test_edges_are_compressed_as_in_the_specification(key: int) -> None:
    pairs = _encoded([number for left in EDGES for right in (*EDGES[:6], left) for number in (left, right)])
    assert poseidon2.compress_pairs(pairs, key) == spec.compress_pairs(pairs, key)


@given(st.lists(st.tuples(elements, elements), max_size=5), st.integers(0, 3))
def test_pairs_are_compressed_as_in_the_specification(pairs: list[tuple[int, int]], key: int) -> None:
    data = _encoded([number for pair in pairs for number in pair])
    assert poseidon2.compress_pairs(data, key) == spec.compress_pairs(data, key)
    assert poseidon2.compress_pairs(memoryview(data), key) == spec.compress_pairs(data, key)


@settings(max_examples=40)
@given(st.data())
def test_cells_and_blocks_are_hashed_as_in_the_specification(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 200) | st.sampled_from([30, 31, 32, 61, 62, 63]), label="cell size")
    count = data.draw(st.integers(1, 9), label="cells")
    fill = st.binary(min_size=size * count, max_size=size * count)
    block = data.draw(fill | st.sampled_from([b"\xff" * size * count]), label="block")
    assert poseidon2.hash_cells(block, size) == spec.hash_cells(block, size)
    assert poseidon2.block_root(block, size) == spec.block_root(block, size)
    assert poseidon2.block_root(memoryview(block), size) == spec.block_root(block, size)


def test_what_came_before_leaves_no_trace() -> None:
    block = bytes(range(256)) * 8
    alone = poseidon2.block_root(block, 512)
    poseidon2.block_root(b"\xff" * 4096, 31 * 2 + 2)
    poseidon2.hash_cells(b"\xff" * 300_000, 300)
    poseidon2.compress_pairs(_encoded([PRIME - 1, PRIME - 1]), 3)
    assert poseidon2.block_root(block, 512) == alone


def test_many_pairs_are_as_many_calls_would_be() -> None:
    pairs = _encoded([pow(3, i, PRIME) for i in range(2 * (poseidon2.BATCH_SIZE // 64 + 3))])
    both = [pairs[:64], pairs[-64:]]
    nodes = poseidon2.compress_pairs(pairs, 1)
    assert len(nodes) == len(pairs) // 2
    assert [nodes[:32], nodes[-32:]] == [spec.compress_pairs(pair, 1) for pair in both]


def test_many_cells_are_as_many_calls_would_be() -> None:
    data = b"".join(i.to_bytes(4, "big") * 512 for i in range(70))
    digests = poseidon2.hash_cells(data, 2048)
    assert len(digests) == 70 * 32
    assert digests[:32] == spec.hash_cells(data[:2048], 2048)
    assert digests[-32:] == spec.hash_cells(data[-2048:], 2048)
    # A cell may be larger than what the kernel is given at once.
    large = bytes(3 * poseidon2.BATCH_SIZE)
    assert poseidon2.hash_cells(large, len(large)) == spec.hash_cells(large, len(large))


@pytest.mark.parametrize("number", [PRIME, PRIME + 1, (1 << 256) - 1])
@pytest.mark.parametrize("place", [0, 1, 2, 2500])
def test_what_is_not_below_the_prime_is_refused(number: int, place: int) -> None:
    pairs = bytearray(_encoded([PRIME - 1] * 4096))
    pairs[place * 32 : place * 32 + 32] = number.to_bytes(32, "little")
    with pytest.raises(DecodeError, match=f"{number:#x} is no field element"):
        poseidon2.compress_pairs(bytes(pairs), 0)


def _refused() -> list[tuple[Callable[[], bytes], str]]:
    return [
        (lambda: poseidon2.compress_pairs(bytes(96), 0), "64 bytes each, and 96 bytes came"),
        (
            lambda: poseidon2.compress_pairs(bytes(64), 256),
            "256 is no key of a compression: those are 0 to 255",
        ),
        (lambda: poseidon2.compress_pairs(bytes(64), -1), "-1 is no key"),
        (lambda: poseidon2.hash_cells(bytes(10), 0), "cannot have 0 bytes"),
        (lambda: poseidon2.hash_cells(bytes(10), -5), "cannot have -5 bytes"),
        (lambda: poseidon2.hash_cells(bytes(10), 3), "10 bytes are no whole number of cells of 3"),
        (lambda: poseidon2.block_root(bytes(10), 20), "10 bytes are no whole number of cells of 20"),
        (lambda: poseidon2.block_root(b"", 20), "a block without bytes has no cells"),
    ]


@pytest.mark.parametrize(("call", "message"), _refused())
def test_what_makes_no_sense_is_refused(call: Callable[[], bytes], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        call()


def test_nothing_becomes_nothing() -> None:
    assert poseidon2.compress_pairs(b"", 0) == poseidon2.hash_cells(b"", 2048) == b""


async def test_threads_do_not_disturb_each_other() -> None:
    blocks = [bytes([number]) * 8192 for number in range(12)]
    alone = [spec.block_root(block, 1024) for block in blocks]
    found: dict[int, bytes] = {}
    threads = Threads(4)

    async def hash_one(number: int) -> None:
        found[number] = await threads.run(poseidon2.block_root, blocks[number], 1024)

    async with trio.open_nursery() as nursery:
        for number in range(len(blocks)):
            nursery.start_soon(hash_one, number)
    assert [found[number] for number in range(len(blocks))] == alone


@pytest.mark.usefixtures("no_wasmtime")
class TestWithoutTheEngine:
    """Python computes the same, and refuses the same."""

    def test_the_reason_is_told(self) -> None:
        assert "wasmtime" in poseidon2.fault()

    def test_the_results_are_the_same(self, vectors: Vectors) -> None:
        row = vectors("poseidon2")["compression"][0]
        pair = _encoded([int(row["x"]), int(row["y"])])
        assert poseidon2.compress_pairs(pair, row["key"]) == spec.encode(int(row["output"]))
        cell = vectors("poseidon2")["cells"][0]["digest_le_hex"]
        assert poseidon2.hash_cells(bytes(4096), 2048).hex() == cell * 2
        assert poseidon2.block_root(bytes(4096), 2048) == spec.block_root(bytes(4096), 2048)

    @pytest.mark.parametrize(("call", "message"), _refused())
    def test_the_same_is_refused(self, call: Callable[[], bytes], message: str) -> None:
        with pytest.raises(InvalidInput, match=message):
            call()

    def test_what_is_not_below_the_prime_is_refused(self) -> None:
        with pytest.raises(DecodeError, match="is no field element"):
            poseidon2.compress_pairs(bytes(32) + b"\xff" * 32, 0)


def test_a_kernel_with_wrong_numbers_is_found_out() -> None:
    def spoil(instance: Instance) -> None:
        poseidon2._prepare(instance)
        # One bit of one constant.
        instance.view()[1408] ^= 1

    kernel = Kernel("poseidon2.wat", prepare=spoil, check=poseidon2._check)
    assert kernel.fault == "it does not give a known result"
