"""What a prover is given: as recorded from hosts of the network, and what a circuit has no room for."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from codex.codec.cid import IDENTITY
from codex.data import MerkleProof
from codex.errors import InvalidInput
from codex.kernels import poseidon2_spec as spec
from codex.slots import (
    CellProof,
    ProofInputs,
    SlotBuilder,
    SlotShape,
    SlotTree,
    block_root,
    cell_indices,
    entropy_of,
    field_tree,
    positions_of,
    proof_inputs,
    prove,
    prove_all,
    verify,
)
from codex.slots.cells import elements
from codex.slots.proof_inputs import SampleInput, root_as_element

Vectors = Callable[[str], Any]
Content = Callable[[str, int, int], bytes]


def _numbers(texts: list[str]) -> tuple[int, ...]:
    return tuple(map(int, texts))


def test_what_hosts_of_the_network_gave(
    vectors: Vectors, content: Content, protect: Callable[..., Any]
) -> None:
    cases = vectors("proof_inputs")["cases"]
    assert len(cases) == 3
    for case in cases:
        seed = int(case["content"].rsplit(" ", 1)[1])
        made = protect(content("lcg", case["bytes"], seed), case["ec_k"], case["ec_m"])
        shape, roots = SlotShape.of(made.manifest), made.roots()
        trees = [
            SlotTree.of(shape, b"".join(roots[index] for index in shape.indices(slot)))
            for slot in range(shape.slot_count)
        ]
        number = case["slot_index"]
        slot, dataset = trees[number], field_tree(b"".join(tree.root for tree in trees))
        entropy = entropy_of(bytes.fromhex(case["challenge_hex"]))
        chosen = cell_indices(entropy, slot.root, shape.cell_count)
        mine = shape.indices(number)
        blocks = {position: made.blocks[mine[position]] for position in positions_of(shape, chosen)}
        proofs = prove_all(slot, chosen, blocks)
        assert all(proof.verify(shape, slot.root) for proof in proofs)
        found = proof_inputs(entropy, dataset, number, slot, proofs)

        assert found.public == (int(case["entropy"]), int(case["data_set_root"]), number)
        assert found.slot_root == int(case["slot_root"])
        assert found.cells_per_slot == case["n_cells_per_slot"]
        assert found.slots_per_dataset == case["n_slots_per_data_set"]
        assert found.slot_proof == _numbers(case["slot_proof"])
        for index, ours, theirs in zip(chosen, found.samples, case["samples"], strict=True):
            assert index == theirs["cell_index"]
            assert ours.path == _numbers(theirs["merkle_path"])
            assert (ours.cell[0], ours.cell[-1]) == (
                int(theirs["cell_data_first"]),
                int(theirs["cell_data_last"]),
            )
            encoded = b"".join(map(spec.encode, ours.cell))
            assert hashlib.sha256(encoded).hexdigest() == theirs["cell_data_sha256"]
        names = [name for name, _ in found.to_pushes()]
        assert names == [*vectors("proof_inputs")["order_pushed"][:-1], *["merklePaths", "cellData"] * 5]


def test_the_public_example(vectors: Vectors) -> None:
    known, about = vectors("slot_proof_input"), vectors("slots")["fixture"]
    shape = SlotShape(slot_count=11, block_count=about["blocks_per_slot"])
    root = spec.encode(int(known["slotRoot"]))
    indices = cell_indices(int(known["entropy"]), root, known["nCellsPerSlot"])
    for index, texts, path, digest in zip(
        indices, known["cellData"], known["merklePaths"], about["cell_digests"], strict=True
    ):
        *whole, last = _numbers(texts)
        cell = b"".join(number.to_bytes(31, "little") for number in whole) + last.to_bytes(3, "little")[:2]
        assert elements(cell) == (*whole, last)
        assert spec.hash_cells(cell, 2048) == spec.encode(int(digest))
        nodes = [spec.encode(int(node)) for node in path]
        position, within = shape.split(index)
        in_block = MerkleProof.of(within, 32, tuple(nodes[:5]), IDENTITY)
        in_slot = MerkleProof.of(position, 16, tuple(nodes[5:9]), IDENTITY)
        assert not any(map(int, path[9:]))
        top = _climb(spec.encode(int(digest)), in_block)
        assert CellProof(index, cell, in_block, top, in_slot).verify(shape, root)
    nodes = [spec.encode(int(node)) for node in known["slotProof"]]
    in_dataset = MerkleProof.of(known["slotIndex"], known["nSlotsPerDataSet"], tuple(nodes[:4]), IDENTITY)
    assert verify(in_dataset, root, spec.encode(int(known["dataSetRoot"])))

    found = ProofInputs(
        entropy=int(known["entropy"]),
        dataset_root=int(known["dataSetRoot"]),
        slot_root=int(known["slotRoot"]),
        cells_per_slot=shape.cell_count,
        slots_per_dataset=shape.slot_count,
        slot_index=known["slotIndex"],
        slot_proof=_numbers(known["slotProof"]),
        samples=tuple(
            SampleInput(_numbers(cell), _numbers(path))
            for cell, path in zip(known["cellData"], known["merklePaths"], strict=True)
        ),
    )
    assert found.to_json() == known


def _climb(node: bytes, proof: MerkleProof) -> bytes:
    """Where a path leads in a tree of a power of two of leaves."""
    for layer, sibling in enumerate(proof.path):
        pair = (sibling, node) if proof.index >> layer & 1 else (node, sibling)
        node = spec.compress_pairs(b"".join(pair), 1 if layer == 0 else 0)
    return node


def _made(slots: int = 1, blocks: int = 1, **sizes: int) -> tuple[SlotTree, tuple[CellProof, ...]]:
    shape = SlotShape(slot_count=slots, block_count=blocks, **sizes)
    builder = SlotBuilder(shape)
    builder.put(0, block_root(b"", shape.block_size, shape.cell_size) * blocks)
    slot = builder.finish()
    proofs = tuple(prove(slot, index, b"") for index in cell_indices(3, slot.root, shape.cell_count))
    return slot, proofs


def test_what_is_pushed() -> None:
    slot, proofs = _made(slots=2, blocks=3)
    dataset = field_tree(spec.encode(1) + slot.root)
    pushes = proof_inputs(7, dataset, 1, slot, proofs).to_pushes()
    assert pushes[:6] == [
        ("entropy", (spec.encode(7),)),
        ("dataSetRoot", (dataset.root,)),
        ("slotRoot", (slot.root,)),
        ("nCellsPerSlot", (b"\x80\x00\x00\x00",)),
        ("nSlotsPerDataSet", (b"\x02\x00\x00\x00",)),
        ("slotIndex", (b"\x01\x00\x00\x00",)),
    ]
    assert pushes[6] == ("slotProof", (spec.encode(1), *[bytes(32)] * 7))
    for proof, (path, cell) in zip(proofs, zip(pushes[7::2], pushes[8::2], strict=True), strict=True):
        assert path == ("merklePaths", (*proof.path, *[bytes(32)] * (32 - len(proof.path))))
        assert cell == ("cellData", tuple(map(spec.encode, elements(proof.cell))))
    assert len(pushes) == 7 + 2 * 5


def test_roots_as_the_contract_reads_them(vectors: Vectors) -> None:
    for row in vectors("slots")["merkle_root_to_field"]:
        assert str(root_as_element(bytes.fromhex(row["bytes_hex"]))) == row["value"]


def test_slots_of_other_datasets_are_refused() -> None:
    slot, proofs = _made(slots=2)
    with pytest.raises(InvalidInput, match=f"slot 0 has the root {slot.root.hex()}, and not that of"):
        proof_inputs(1, field_tree(spec.encode(1) + slot.root), 0, slot, proofs)
    with pytest.raises(InvalidInput, match="3 slot roots for 2 slots"):
        proof_inputs(1, field_tree(slot.root * 3), 0, slot, proofs)
    for number in (-1, 2):
        with pytest.raises(InvalidInput, match=f"2 slots and none at {number}"):
            proof_inputs(1, field_tree(slot.root * 2), number, slot, proofs)


@pytest.mark.parametrize("count", [0, 4, 6])
def test_a_proof_takes_five_cells(count: int) -> None:
    slot, proofs = _made()
    with pytest.raises(InvalidInput, match=f"{count} cells for a proof: it takes 5"):
        proof_inputs(1, field_tree(slot.root), 0, slot, (proofs * 2)[:count])


def test_a_circuit_knows_256_slots() -> None:
    slot, proofs = _made(slots=256)
    assert len(proof_inputs(1, field_tree(slot.root * 256), 255, slot, proofs).slot_proof) == 8
    slot, proofs = _made(slots=257)
    with pytest.raises(InvalidInput, match="slot roots has 9 layers: a circuit has room for 8"):
        proof_inputs(1, field_tree(slot.root * 257), 0, slot, proofs)


def test_a_circuit_knows_one_size_of_cells() -> None:
    slot, proofs = _made(cell_size=4096)
    with pytest.raises(InvalidInput, match="a cell of 133 field elements: a circuit takes 67"):
        proof_inputs(1, field_tree(slot.root), 0, slot, proofs)
