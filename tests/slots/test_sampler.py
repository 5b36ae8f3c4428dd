"""Which cells are asked for, and proofs: known ones, those of all cells of a slot, and altered ones."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.data import MerkleProof
from codex.data.merkle import steps_of
from codex.errors import DecodeError, InvalidInput
from codex.kernels import poseidon2
from codex.kernels import poseidon2_spec as spec
from codex.kernels.engine import engine
from codex.kernels.poseidon2_constants import PRIME
from codex.slots import (
    CellProof,
    SlotBuilder,
    SlotShape,
    SlotTree,
    block_root,
    cell_indices,
    entropy_of,
    positions_of,
    prove,
    prove_all,
)
from codex.slots.sampler import low_bits

Vectors = Callable[[str], Any]
Content = Callable[[str, int, int], bytes]

# Three blocks of eight cells; one more fills the slot up.
SMALL = SlotShape(slot_count=1, block_count=3, block_size=512, cell_size=64)


def _block(position: int) -> bytes:
    return bytes((position * 83 + j * 7 + (j >> 6)) & 255 for j in range(512)) if position < 3 else b""


@pytest.fixture(scope="module")
def tree() -> SlotTree:
    builder = SlotBuilder(SMALL)
    for position in range(3):
        builder.put(position, block_root(_block(position), SMALL.block_size, SMALL.cell_size))
    return builder.finish()


def test_known_challenges(vectors: Vectors) -> None:
    for row in vectors("slots")["challenge_to_entropy"]:
        assert str(entropy_of(bytes.fromhex(row["challenge_hex"]))) == row["entropy"]
    for case in vectors("proof_inputs")["cases"]:
        assert str(entropy_of(bytes.fromhex(case["challenge_hex"]))) == case["entropy"]


def test_known_low_bits(vectors: Vectors) -> None:
    for row in vectors("poseidon2")["low_bits"]:
        assert low_bits(int(row["value"], 16), row["bits"]) == int(row["low"], 16)


def test_known_cell_indices(vectors: Vectors) -> None:
    fixture = vectors("slots")["fixture"]
    root = spec.encode(int(fixture["slot_root"]))
    found = cell_indices(int(fixture["entropy"]), root, fixture["n_cells_per_slot"])
    assert list(found) == fixture["expected_cell_indices"]
    for case in vectors("proof_inputs")["cases"]:
        root = spec.encode(int(case["slot_root"]))
        found = cell_indices(int(case["entropy"]), root, case["n_cells_per_slot"])
        assert list(found) == [sample["cell_index"] for sample in case["samples"]]


def test_known_samples(vectors: Vectors, content: Content, protect: Callable[..., Any]) -> None:
    rows = vectors("slots")["sampling"]
    assert rows
    for row in rows:
        made = protect(content("pattern", 393216, 1), 2, 1)
        shape = SlotShape.of(made.manifest)
        mine = shape.indices(row["slot_index"])
        builder = SlotBuilder(shape)
        builder.put(0, b"".join(made.roots()[index] for index in mine))
        slot = builder.finish()
        entropy = entropy_of(bytes.fromhex(row["challenge_hex"]))
        assert str(entropy) == row["entropy"]
        found = cell_indices(entropy, slot.root, shape.cell_count)
        blocks = {position: made.blocks[mine[position]] for position in positions_of(shape, found)}
        proofs = prove_all(slot, found, blocks)
        for sample, proof in zip(row["samples"], proofs, strict=True):
            assert proof.index == sample["cell_index"]
            assert shape.split(proof.index) == (sample["block_in_slot"], sample["cell_in_block"])
            assert (sample["block_in_slot"] >= shape.block_count) == sample["is_pad_block"]
            assert spec.hash_cells(proof.cell, 2048) == spec.encode(int(sample["cell_digest"]))
            assert proof.in_block.path == tuple(spec.encode(int(node)) for node in sample["block_path"])
            assert proof.in_slot.path == tuple(spec.encode(int(node)) for node in sample["slot_path"])
            assert proof.verify(shape, slot.root)


def test_every_cell_is_proved_and_no_other(tree: SlotTree) -> None:
    proofs = [prove(tree, index, _block(index // 8)) for index in range(SMALL.cell_count)]
    for index, proof in enumerate(proofs):
        block = _block(index // 8) or bytes(512)
        assert proof.cell == block[index % 8 * 64 :][:64]
        assert proof.path == proof.in_block.path + proof.in_slot.path
        assert len(proof.path) == 5
        assert proof.verify(SMALL, tree.root)
        assert not proof.verify(SMALL, spec.encode(1))
        for altered in _altered(proof):
            assert not altered.verify(SMALL, tree.root)
    for other in proofs[1:]:
        assert not evolve(proofs[0], cell=other.cell).verify(SMALL, tree.root)
        assert not evolve(other, index=0).verify(SMALL, tree.root)


def _altered(proof: CellProof) -> Iterator[CellProof]:
    """The proof with one bit of the cell changed, with each node changed, and with each number changed."""
    yield evolve(proof, cell=bytes([proof.cell[0] ^ 1]) + proof.cell[1:])
    yield evolve(proof, cell=proof.cell[:-1])
    yield evolve(proof, cell=proof.cell + b"\x00")
    yield evolve(proof, block_root=_next(proof.block_root))
    yield evolve(proof, index=proof.index ^ 1)
    yield evolve(proof, index=proof.index ^ 8)
    yield evolve(proof, index=-1)
    yield evolve(proof, index=SMALL.cell_count)
    for altered in _altered_paths(proof.in_block):
        yield evolve(proof, in_block=altered)
    for altered in _altered_paths(proof.in_slot):
        yield evolve(proof, in_slot=altered)


def _altered_paths(proof: MerkleProof) -> Iterator[MerkleProof]:
    for layer, node in enumerate(proof.path):
        yield evolve(proof, steps=steps_of((*proof.path[:layer], _next(node), *proof.path[layer + 1 :])))
        yield evolve(proof, steps=steps_of((*proof.path[:layer], b"\xff" * 32, *proof.path[layer + 1 :])))
    yield evolve(proof, steps=steps_of(proof.path[1:]))
    yield evolve(proof, steps=steps_of((*proof.path, bytes(32))))
    yield evolve(proof, index=proof.index ^ 1)
    yield evolve(proof, leaf_count=proof.leaf_count - 1)
    yield evolve(proof, code=0x12)


def _next(node: bytes) -> bytes:
    return spec.encode((spec.decode(node) + 1) % PRIME)


def test_a_block_that_is_another_proves_nothing(tree: SlotTree) -> None:
    for block in (_block(1), b"", bytes(511) + b"\x01"):
        with pytest.raises(InvalidInput, match=r"the block for position 0 has the root .* and the slot has"):
            prove(tree, 0, block)
    with pytest.raises(InvalidInput, match="a block of 100 bytes, where blocks have 512"):
        prove(tree, 0, bytes(100))
    with pytest.raises(InvalidInput, match="the slot has 32 cells and none at 32"):
        prove(tree, 32, b"")


def test_without_the_engine_python_proves_the_same(
    tree: SlotTree, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setitem(sys.modules, "wasmtime", None)
    engine.cache_clear()
    request.addfinalizer(engine.cache_clear)
    assert poseidon2.fault() != ""
    builder = SlotBuilder(SMALL)
    for position in range(3):
        builder.put(position, block_root(_block(position), SMALL.block_size, SMALL.cell_size))
    assert builder.finish() == tree
    for index in (0, 13, 31):
        proof = prove(tree, index, _block(index // 8))
        assert proof.verify(SMALL, tree.root)
        assert not evolve(proof, cell=bytes(reversed(proof.cell)) + b"\x00").verify(SMALL, tree.root)
        assert not evolve(proof, index=index ^ 2).verify(SMALL, tree.root)


def test_only_blocks_that_are_stored_are_needed(tree: SlotTree) -> None:
    assert positions_of(SMALL, [31, 17, 16, 0, 24]) == (0, 2)
    assert positions_of(SMALL, []) == positions_of(SMALL, [24]) == ()
    blocks = {0: _block(0), 2: memoryview(_block(2))}
    proofs = prove_all(tree, [31, 17, 0, 17], blocks)
    assert [proof.index for proof in proofs] == [31, 17, 0, 17]
    assert all(proof.verify(SMALL, tree.root) for proof in proofs)
    with pytest.raises(InvalidInput, match="block 1 of the slot is needed for a proof, and did not come"):
        prove_all(tree, [0, 8], blocks)
    with pytest.raises(InvalidInput, match="32 cells and none at -1"):
        positions_of(SMALL, [-1])


def test_a_slot_of_one_block_of_one_cell() -> None:
    shape = SlotShape(slot_count=1, block_count=1, block_size=31, cell_size=31)
    builder = SlotBuilder(shape)
    builder.put(0, block_root(bytes(31), 31, 31))
    slot = builder.finish()
    assert cell_indices(5, slot.root, shape.cell_count) == (0,) * 5
    proof = prove(slot, 0, bytes(31))
    assert proof.path == (bytes(32), bytes(32))
    assert proof.verify(shape, slot.root)


@settings(max_examples=25)
@given(st.integers(0, (1 << 248) - 1), st.integers(0, PRIME - 1), st.integers(0, 32), st.integers(1, 8))
def test_samples_are_spread_by_chance(entropy: int, root: int, bits: int, samples: int) -> None:
    found = cell_indices(entropy, spec.encode(root), 1 << bits, samples)
    assert len(found) == samples
    assert all(0 <= index < 1 << bits for index in found)
    # More samples go on where fewer end.
    assert cell_indices(entropy, spec.encode(root), 1 << bits, samples + 1)[:samples] == found


@pytest.mark.parametrize("count", [0, -4, 3, 511, 1 << 33])
def test_numbers_of_cells_that_cannot_be(count: int) -> None:
    with pytest.raises(InvalidInput, match=rf"a slot of {count} cells: it has a power of two, up to 2\*\*32"):
        cell_indices(1, spec.encode(1), count)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_challenges_that_cannot_be(size: int) -> None:
    with pytest.raises(InvalidInput, match=f"a challenge has 32 bytes, and {size} came"):
        entropy_of(bytes(size))


def test_samples_and_roots_that_cannot_be() -> None:
    for samples in (0, -1):
        with pytest.raises(InvalidInput, match=f"a challenge for {samples} cells"):
            cell_indices(1, spec.encode(1), 8, samples)
    with pytest.raises(DecodeError, match="no field element"):
        cell_indices(1, PRIME.to_bytes(32, "little"), 8)
