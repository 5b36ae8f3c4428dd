"""What a slot in the store is proved with: the numbers that hosts of the network gave to their prover."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import BlockNotFound, InvalidInput
from codex.kernels import poseidon2_spec as spec
from codex.node import Node
from codex.node.proving import slot_inputs
from codex.runtime import Inline
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
