"""What a prover is given: the numbers of a challenge as field elements, in the form and order of the circuit.

Public are the entropy, the verify root and the slot's number, which the contract knows; the rest stays with
the prover. The circuit has room for a fixed number of layers; shorter paths have zeros behind them. What a
circuit has no room for cannot be proved.
"""

from collections.abc import Sequence

from attrs import field, frozen

from codex.data import MerkleTree
from codex.errors import InvalidInput
from codex.kernels.poseidon2_spec import decode, encode
from codex.slots import cells
from codex.slots.sampler import SAMPLES, CellProof
from codex.slots.shape import MAX_SLOT_DEPTH
from codex.slots.slot_tree import SlotTree

MAX_DATASET_DEPTH = 8
"""Layers of the tree over the slot roots: a circuit knows 256 slots."""

CELL_ELEMENTS = 67
"""Field elements of a cell."""

_COUNT_SIZE = 4  # bytes of a count


@frozen(slots=True)
class SampleInput:
    """One cell: its elements, and its path with zeros behind it, up to 32 layers."""

    cell: tuple[int, ...] = field(repr=False)
    path: tuple[int, ...] = field(repr=False)


@frozen(slots=True, kw_only=True)
class ProofInputs:
    """All numbers of one proof. Roots, paths and cells are field elements."""

    entropy: int
    dataset_root: int
    slot_root: int
    cells_per_slot: int
    slots_per_dataset: int
    slot_index: int
    slot_proof: tuple[int, ...] = field(repr=False)
    samples: tuple[SampleInput, ...]

    @property
    def public(self) -> tuple[int, int, int]:
        """What the contract checks a proof against, in its order."""
        return (self.entropy, self.dataset_root, self.slot_index)

    def to_json(self) -> dict[str, object]:
        """As a witness generator reads them: field elements as decimal text, counts as numbers."""
        return {
            "entropy": str(self.entropy),
            "dataSetRoot": str(self.dataset_root),
            "slotIndex": self.slot_index,
            "slotRoot": str(self.slot_root),
            "nCellsPerSlot": self.cells_per_slot,
            "nSlotsPerDataSet": self.slots_per_dataset,
            "slotProof": list(map(str, self.slot_proof)),
            "cellData": [list(map(str, sample.cell)) for sample in self.samples],
            "merklePaths": [list(map(str, sample.path)) for sample in self.samples],
        }

    def to_pushes(self) -> list[tuple[str, tuple[bytes, ...]]]:
        """As a native prover takes them, name by name in this order, each sample's path and cell in turn.

        Field elements have 32 bytes, little endian, and counts 4.
        """
        return [
            ("entropy", (encode(self.entropy),)),
            ("dataSetRoot", (encode(self.dataset_root),)),
            ("slotRoot", (encode(self.slot_root),)),
            ("nCellsPerSlot", (_count(self.cells_per_slot),)),
            ("nSlotsPerDataSet", (_count(self.slots_per_dataset),)),
            ("slotIndex", (_count(self.slot_index),)),
            ("slotProof", tuple(map(encode, self.slot_proof))),
            *(
                (name, tuple(map(encode, numbers)))
                for sample in self.samples
                for name, numbers in (("merklePaths", sample.path), ("cellData", sample.cell))
            ),
        ]


def proof_inputs(
    entropy: int, dataset: MerkleTree, slot_index: int, slot: SlotTree, proofs: Sequence[CellProof]
) -> ProofInputs:
    """Put together what proves that slot `slot_index` of a dataset is held, with the cells asked for.

    Raises InvalidInput when the slot's root is not the dataset's leaf there, for another number of cells
    than a challenge asks for, and for trees or cells that the circuit has no room for.
    """
    slot_proof = dataset.proof(slot.shape.check(slot_index))
    if dataset.leaf_count != slot.shape.slot_count:
        raise InvalidInput(f"{dataset.leaf_count} slot roots for {slot.shape.slot_count} slots")
    if dataset.leaf(slot_index) != slot.root:
        raise InvalidInput(f"slot {slot_index} has the root {slot.root.hex()}, and not that of the dataset")
    if len(proofs) != SAMPLES:
        raise InvalidInput(f"{len(proofs)} cells for a proof: it takes {SAMPLES}")
    return ProofInputs(
        entropy=entropy,
        dataset_root=decode(dataset.root),
        slot_root=decode(slot.root),
        cells_per_slot=slot.shape.cell_count,
        slots_per_dataset=slot.shape.slot_count,
        slot_index=slot_index,
        slot_proof=_padded(slot_proof.path, MAX_DATASET_DEPTH, "slot roots"),
        samples=tuple(map(_sample, proofs)),
    )


def root_as_element(root: bytes) -> int:
    """How the contract reads the verify root of a request: 32 bytes, little endian, as they are."""
    return int.from_bytes(root, "little")


def _sample(proof: CellProof) -> SampleInput:
    cell = cells.elements(proof.cell)
    if len(cell) != CELL_ELEMENTS:
        raise InvalidInput(f"a cell of {len(cell)} field elements: a circuit takes {CELL_ELEMENTS}")
    return SampleInput(cell, _padded(proof.path, MAX_SLOT_DEPTH, "a slot"))


def _padded(path: Sequence[bytes], depth: int, what: str) -> tuple[int, ...]:
    if len(path) > depth:
        raise InvalidInput(f"the tree of {what} has {len(path)} layers: a circuit has room for {depth}")
    return (*map(decode, path), *[0] * (depth - len(path)))


def _count(number: int) -> bytes:
    return number.to_bytes(_COUNT_SIZE, "little")
