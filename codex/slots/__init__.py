"""Slots: how a host can be asked for any 2 KiB of what it holds, and prove that it has them. Pure.

A protected dataset has K + M rows of blocks, and each row is a *slot*, held by one host. Every block is cut
into *cells*. Three kinds of trees are made with Poseidon2, a hash that a circuit can follow:

    cells of a block -> block root;   block roots of a slot -> slot root;   slot roots -> verify root

The slot roots and the verify root stand in the verifiable manifest, and the verify root in the contract. In
some periods chance names a few cells of a slot. Their host shows, in a proof that does not show the cells,
that paths lead from them up to the verify root.
"""

from codex.slots.builder import DatasetBuilder, SlotBuilder, dataset_tree, verifiable
from codex.slots.cells import block_root, block_tree
from codex.slots.proof_inputs import ProofInputs, proof_inputs
from codex.slots.sampler import SAMPLES, CellProof, cell_indices, entropy_of, positions_of, prove, prove_all
from codex.slots.shape import SlotShape
from codex.slots.slot_tree import SlotTree
from codex.slots.trees import FIELD_TREE, field_tree, verify

__all__ = [
    "FIELD_TREE",
    "SAMPLES",
    "CellProof",
    "DatasetBuilder",
    "ProofInputs",
    "SlotBuilder",
    "SlotShape",
    "SlotTree",
    "block_root",
    "block_tree",
    "cell_indices",
    "dataset_tree",
    "entropy_of",
    "field_tree",
    "positions_of",
    "proof_inputs",
    "prove",
    "prove_all",
    "verifiable",
    "verify",
]
