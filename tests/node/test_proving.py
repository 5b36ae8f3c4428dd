"""What a slot in the store is proved with: the numbers that hosts of the network gave to their prover."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import BlockNotFound, InvalidInput
from codex.kernels import poseidon2_spec as spec
from codex.market import Address, Groth16Proof, StorageAsk, StorageContent, StorageRequest
from codex.node import Node
from codex.node.duties import DutiesService
from codex.node.proving import slot_inputs
from codex.proofs import Prover
from codex.proofs.placeholder import placeholder
from codex.runtime import Inline, Mailbox
from codex.sales import Duties
from codex.slots import ProofInputs, SlotShape
from codex.testing.nodes import open_test_node, store_of


def lcg(size: int, seed: int) -> bytes:
    """The content that the vectors are about."""
    made, x = bytearray(size), seed
    for at in range(size):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        made[at] = x >> 24
    return bytes(made)


async def protected(node: Node, content: bytes, k: int, m: int) -> Manifest:
    job = await node.protect(await node.store(content), k, m)
    ended = await job.wait()
    assert isinstance(ended.result, dict)
    return await node.fetch_manifest(Cid.parse(str(ended.result["verifiableCid"])))


async def test_equal_to_what_hosts_of_the_network_gave(tmp_path: Path, vectors: Callable[[str], Any]) -> None:
    case = min(vectors("proof_inputs")["cases"], key=lambda case: int(case["bytes"]))
    seed = int(case["content"].rsplit(" ", 1)[1])
    async with open_test_node(tmp_path) as node:
        manifest = await protected(node, lcg(case["bytes"], seed), case["ec_k"], case["ec_m"])
        challenge = bytes.fromhex(case["challenge_hex"])
        found = await slot_inputs(store_of(node), Inline(), manifest, case["slot_index"], challenge)
    assert found.entropy == int(case["entropy"])
    assert found.dataset_root == int(case["data_set_root"])
    assert found.slot_root == int(case["slot_root"])
    assert found.cells_per_slot == case["n_cells_per_slot"]
    assert found.slots_per_dataset == case["n_slots_per_data_set"]
    assert found.slot_index == case["slot_index"]
    assert found.slot_proof == tuple(map(int, case["slot_proof"]))
    for ours, theirs in zip(found.samples, case["samples"], strict=True):
        assert ours.path == tuple(map(int, theirs["merkle_path"]))
        encoded = b"".join(map(spec.encode, ours.cell))
        assert hashlib.sha256(encoded).hexdigest() == theirs["cell_data_sha256"]


class Recorder:
    """A prover that proves nothing, and keeps what it was given."""

    def __init__(self) -> None:
        self.given: list[ProofInputs] = []

    async def prove(self, inputs: ProofInputs) -> Groth16Proof:
        await trio.lowlevel.checkpoint()
        self.given.append(inputs)
        return placeholder(inputs)


async def test_a_prover_is_given_each_number_that_hosts_of_the_network_gave_theirs(
    tmp_path: Path, vectors: Callable[[str], Any]
) -> None:
    """All the way from the sale of a slot to the port that the prover is behind."""
    recorder = Recorder()

    async def prover() -> Prover:
        await trio.lowlevel.checkpoint()
        return recorder

    async with open_test_node(tmp_path) as node, trio.open_nursery() as nursery:
        parts, mailbox = node._running, Mailbox("duties")
        service = DutiesService(parts.finder, parts.hosting, prover)
        nursery.start_soon(service.run, mailbox.inbox)
        duties, manifests = Duties(mailbox), dict[int, Manifest]()
        for case in vectors("proof_inputs")["cases"]:
            seed = int(case["content"].rsplit(" ", 1)[1])
            if seed not in manifests:
                manifests[seed] = await protected(node, lcg(case["bytes"], seed), case["ec_k"], case["ec_m"])
            slot = requested(manifests[seed]).slot(case["slot_index"])
            challenge = bytes.fromhex(case["challenge_hex"])
            proof = await duties.on_prove(slot, challenge)
            given = recorder.given.pop()
            assert recorder.given == []
            assert proof == placeholder(given)
            numbers = given.to_json()
            cells = numbers.pop("cellData")
            assert numbers == {
                "entropy": case["entropy"],
                "dataSetRoot": case["data_set_root"],
                "slotIndex": case["slot_index"],
                "slotRoot": case["slot_root"],
                "nCellsPerSlot": case["n_cells_per_slot"],
                "nSlotsPerDataSet": case["n_slots_per_data_set"],
                "slotProof": case["slot_proof"],
                "merklePaths": [sample["merkle_path"] for sample in case["samples"]],
            }
            assert isinstance(cells, list)
            for cell, theirs in zip(cells, case["samples"], strict=True):
                assert isinstance(cell, list)
                assert (cell[0], cell[-1]) == (theirs["cell_data_first"], theirs["cell_data_last"])
                encoded = b"".join(spec.encode(int(str(number))) for number in cell)
                assert hashlib.sha256(encoded).hexdigest() == theirs["cell_data_sha256"]
        nursery.cancel_scope.cancel()


def requested(manifest: Manifest) -> StorageRequest:
    """A request for a verifiable dataset."""
    assert manifest.protection is not None
    assert manifest.protection.verification is not None
    shape = SlotShape.of(manifest)
    ask = StorageAsk(
        proof_probability=1,
        price_per_byte_per_second=1,
        collateral_per_byte=1,
        slots=shape.slot_count,
        slot_size=shape.slot_size,
        duration=600,
        max_slot_loss=1,
    )
    content = StorageContent(manifest.cid.raw, manifest.protection.verification.verify_root.digest)
    return StorageRequest(client=Address(bytes(20)), ask=ask, content=content, expiry=300, nonce=bytes(32))


async def test_what_cannot_be_proved_is_told(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        store = store_of(node)
        manifest = await protected(node, lcg(3 * 65536, 1), 2, 1)
        with pytest.raises(InvalidInput, match="32 bytes"):
            await slot_inputs(store, Inline(), manifest, 0, bytes(31))
        with pytest.raises(InvalidInput, match="none at 3"):
            await slot_inputs(store, Inline(), manifest, 3, bytes(32))
        with pytest.raises(InvalidInput, match="not protected"):
            await slot_inputs(store, Inline(), manifest.as_original(), 0, bytes(32))
        await node.delete(manifest.cid)
        with pytest.raises(BlockNotFound):
            await slot_inputs(store, Inline(), manifest, 0, bytes(32))
