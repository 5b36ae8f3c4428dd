"""From block roots to slot roots and verifiable manifests: known datasets, any order, and what is refused."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import EMPTY_BLOCK, Cid
from codex.data import Block, Manifest, Strategy, Verification
from codex.errors import DecodeError, InvalidInput
from codex.kernels import poseidon2_spec as spec
from codex.kernels.poseidon2_constants import PRIME
from codex.slots import DatasetBuilder, SlotBuilder, SlotShape, SlotTree, dataset_tree, verifiable

Vectors = Callable[[str], Any]
Content = Callable[[str, int, int], bytes]


def _roots(count: int) -> list[bytes]:
    return [spec.encode(pow(7, i + 1, PRIME)) for i in range(count)]


def _verification(manifest: Manifest) -> Verification:
    assert manifest.protection is not None
    assert manifest.protection.verification is not None
    return manifest.protection.verification


def _bare(manifest: Manifest) -> Manifest:
    assert manifest.protection is not None
    return evolve(manifest, protection=evolve(manifest.protection, verification=None))


def test_known_datasets(vectors: Vectors, content: Content, protect: Callable[..., Any]) -> None:
    rows = vectors("slots")["datasets"]
    assert len(rows) == 4
    for row in rows:
        seed = 1 if "i=1" in row["content"] else 0
        size = int(row["content"].split(", ")[1].split()[0])
        made = protect(content("pattern", size, seed), row["K"], row["M"])
        manifest = evolve(made.manifest, filename=row["filename"], mimetype=row["mimetype"])
        cids = [Block.of(block).cid if block else EMPTY_BLOCK for block in made.blocks]
        assert list(map(str, cids)) == row["block_cids"]
        assert [i for i, block in enumerate(made.blocks) if not block] == row["padding_indices"]
        assert manifest.to_bytes().hex() == row["protected_manifest"]["hex"]
        assert str(manifest.tree_cid) == row["protected_tree_cid"]

        told, shape = row["slots"], SlotShape.of(manifest)
        assert (shape.block_cells, shape.block_count) == (told["cells_per_block"], told["slot_blocks"])
        assert (shape.pad_blocks, shape.padded_block_count) == (told["pad_blocks"], told["slot_blocks_total"])
        assert (shape.cell_count, shape.slot_size) == (told["cells_per_slot"], told["slot_size_bytes"])
        builder = DatasetBuilder(shape)
        for index, root in enumerate(made.roots()):
            builder.put(index, root)
        trees = [slot.finish() for slot in builder.slots]
        for tree, block_roots, slot_root, cid in zip(
            trees, told["block_roots"], told["slot_roots"], told["slot_root_cids"], strict=True
        ):
            leaves = [tree.tree.leaf(position) for position in range(len(block_roots))]
            assert leaves == [spec.encode(int(root)) for root in block_roots]
            assert tree.root == spec.encode(int(slot_root))
            assert str(tree.cid) == cid
        assert builder.finish() == tuple(tree.root for tree in trees)

        whole = verifiable(manifest, builder.finish())
        assert whole.to_bytes().hex() == row["verifiable_manifest"]["hex"]
        assert str(whole.cid) == row["verifiable_manifest"]["cid"]
        assert dataset_tree(whole).root.hex() == told["verify_root_le_hex"]
        assert str(_verification(whole).verify_root) == told["verify_root_cid"]
        assert dataset_tree(whole).root == spec.encode(int(told["verify_root"]))


def test_known_storage_requests(vectors: Vectors, content: Content, protect: Callable[..., Any]) -> None:
    cases = vectors("protected")["cases"]
    assert len(cases) == 18
    for case in cases:
        stored = Manifest.from_bytes(bytes.fromhex(case["verifiable_manifest"]["hex"]))
        assert stored.protection is not None
        data = content(case["content"], case["bytes"], case["bytes"])
        made = protect(data, stored.protection.ec_k, stored.protection.ec_m)
        builder = DatasetBuilder(SlotShape.of(made.manifest))
        for index, root in enumerate(made.roots()):
            builder.put(index, root)
        named = evolve(made.manifest, filename=stored.filename, mimetype=stored.mimetype)
        whole = verifiable(named, builder.finish())
        assert whole.to_bytes().hex() == case["verifiable_manifest"]["hex"]
        assert str(whole.cid) == case["verifiable_manifest"]["cid"]
        assert dataset_tree(whole).root.hex() == case["on_chain"]["content"]["merkle_root_hex"]


def test_known_verifiable_manifests(vectors: Vectors) -> None:
    rows = [row for row in vectors("manifest")["manifests"] if row["fields"].get("verifiable")]
    assert len(rows) >= 4
    for row in rows:
        whole = Manifest.from_bytes(bytes.fromhex(row["hex"]))
        roots = [Cid.parse(text).digest for text in row["fields"]["slot_root_cids"]]
        for manifest in (_bare(whole), whole):
            made = verifiable(manifest, roots)
            assert made == whole
            assert made.to_bytes().hex() == row["hex"]
            assert str(made.cid) == row["cid"]
        assert str(_verification(whole).verify_root) == row["fields"]["verify_root_cid"]


@settings(max_examples=25)
@given(st.data())
def test_roots_come_in_any_order_and_in_any_pieces(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 12), label="blocks")
    cuts = sorted(data.draw(st.sets(st.integers(1, count - 1)), label="cuts")) if count > 1 else []
    pieces = list(zip([0, *cuts], [*cuts, count], strict=True))
    shape, roots = SlotShape(slot_count=1, block_count=count), _roots(count)
    builder = SlotBuilder(shape)
    for first, end in data.draw(st.permutations(pieces), label="order"):
        before = builder.missing
        builder.put(first, b"".join(roots[first:end]))
        assert builder.missing == before - (end - first)
        # The same once more changes nothing.
        builder.put(first, b"".join(roots[first:end]))
        assert builder.missing == before - (end - first)
    assert builder.missing == 0
    assert builder.finish() == SlotTree.of(shape, b"".join(roots))


@pytest.mark.parametrize("strategy", Strategy)
def test_blocks_go_to_the_slots_they_belong_to(strategy: Strategy) -> None:
    shape = SlotShape(slot_count=3, block_count=5, strategy=strategy)
    roots, builder = _roots(15), DatasetBuilder(shape)
    assert builder.missing == 15
    for index in reversed(range(15)):
        builder.put(index, roots[index])
    assert builder.missing == 0
    for slot, builder_of_slot in enumerate(builder.slots):
        mine = b"".join(roots[index] for index in shape.indices(slot))
        assert builder_of_slot.finish() == SlotTree.of(shape, mine)


def test_memory_is_taken_as_roots_come() -> None:
    builder = SlotBuilder(SlotShape(slot_count=1, block_count=1 << 27))
    builder.put(0, _roots(1)[0])
    assert builder.missing == (1 << 27) - 1
    assert len(builder._roots) == 32


def test_what_is_missing_is_told() -> None:
    builder = SlotBuilder(SlotShape(slot_count=1, block_count=5))
    with pytest.raises(
        InvalidInput, match="5 of the slot's 5 block roots are missing, first that of block 0"
    ):
        builder.finish()
    builder.put(0, b"".join(_roots(2)))
    with pytest.raises(
        InvalidInput, match="3 of the slot's 5 block roots are missing, first that of block 2"
    ):
        builder.finish()
    builder.put(4, _roots(1)[0])
    with pytest.raises(
        InvalidInput, match="2 of the slot's 5 block roots are missing, first that of block 2"
    ):
        builder.finish()
    with pytest.raises(InvalidInput, match="4 of the slot's 4 block roots are missing"):
        DatasetBuilder(SlotShape(slot_count=2, block_count=4)).finish()


@pytest.mark.parametrize(
    ("position", "count", "message"),
    [
        (5, 1, "the slot has 5 blocks, and roots came for 5 to 5"),
        (3, 3, "roots came for 3 to 5"),
        (-1, 1, "roots came for -1 to -1"),
    ],
)
def test_blocks_that_are_not_there_are_refused(position: int, count: int, message: str) -> None:
    builder = SlotBuilder(SlotShape(slot_count=1, block_count=5))
    with pytest.raises(InvalidInput, match=message):
        builder.put(position, b"".join(_roots(count)))
    assert builder.missing == 5


def test_roots_that_cannot_be_are_refused() -> None:
    builder = DatasetBuilder(SlotShape(slot_count=2, block_count=2))
    with pytest.raises(InvalidInput, match="32 bytes each, and 33 bytes came"):
        builder.slots[0].put(0, bytes(33))
    for root in (b"", bytes(31), bytes(64)):
        with pytest.raises(InvalidInput, match=f"32 bytes, and {len(root)} came"):
            builder.put(0, root)
    for index in (-1, 4):
        with pytest.raises(InvalidInput, match=f"4 blocks and none at {index}"):
            builder.put(index, bytes(32))
    one, other = _roots(2)
    builder.put(1, one)
    with pytest.raises(InvalidInput, match="block 1 of the slot came with two different roots"):
        builder.put(1, other)
    with pytest.raises(InvalidInput, match="block 1 of the slot came with two different roots"):
        builder.slots[0].put(0, other + other)
    assert builder.missing == 3
    builder.put(0, PRIME.to_bytes(32, "little"))
    with pytest.raises(DecodeError, match="no field element"):
        builder.slots[0].finish()


def _protected(vectors: Vectors) -> Manifest:
    row = vectors("slots")["datasets"][0]["protected_manifest"]
    return Manifest.from_bytes(bytes.fromhex(row["hex"]))


def test_slot_roots_that_cannot_be_are_refused(vectors: Vectors) -> None:
    manifest = _protected(vectors)
    for count in (0, 2, 4):
        with pytest.raises(InvalidInput, match=f"{count} slot roots for 3 slots"):
            verifiable(manifest, _roots(count))
    with pytest.raises(InvalidInput, match="a slot root has 32 bytes, and 31 came"):
        verifiable(manifest, [bytes(32), bytes(31), bytes(33)])
    with pytest.raises(DecodeError, match="no field element"):
        verifiable(manifest, [*_roots(2), b"\xff" * 32])
    with pytest.raises(InvalidInput, match="not protected"):
        verifiable(manifest.as_original(), _roots(3))
    with pytest.raises(InvalidInput, match="65536 bytes has no cells of 1000 bytes"):
        verifiable(manifest, _roots(3), cell_size=1000)


def test_other_cells_and_strategies_are_noted(vectors: Vectors) -> None:
    made = verifiable(_protected(vectors), _roots(3), cell_size=4096, strategy=Strategy.STEPPED)
    again = Manifest.from_bytes(made.to_bytes())
    assert again == made
    assert SlotShape.of(again) == SlotShape(
        slot_count=3, block_count=2, cell_size=4096, strategy=Strategy.STEPPED
    )


def test_roots_of_a_manifest_that_contradict_each_other_are_refused(vectors: Vectors) -> None:
    manifest = _protected(vectors)
    whole = verifiable(manifest, _roots(3))
    assert dataset_tree(whole).leaf(1) == _roots(3)[1]
    assert whole.protection is not None
    told = _verification(whole)
    for wrong in (
        evolve(told, slot_roots=(told.slot_roots[1], told.slot_roots[0], told.slot_roots[2])),
        evolve(told, verify_root=_verification(verifiable(manifest, _roots(4)[1:])).verify_root),
    ):
        broken = evolve(whole, protection=evolve(whole.protection, verification=wrong))
        with pytest.raises(InvalidInput, match="the slot roots lead to zE4LQeW"):
            dataset_tree(broken)
    for unverifiable in (manifest, manifest.as_original()):
        with pytest.raises(InvalidInput, match="not verifiable"):
            dataset_tree(unverifiable)
