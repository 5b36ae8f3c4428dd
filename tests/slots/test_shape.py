"""Which blocks belong to which slot, how many cells there are, and numbers that cannot be."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import Cid
from codex.data import Manifest, Protection, Strategy
from codex.errors import InvalidInput
from codex.slots import SlotShape
from codex.slots.shape import indices

Vectors = Callable[[str], Any]


def test_known_indices(vectors: Vectors) -> None:
    rows = vectors("slots")["indexing"]
    names = [name for name in rows if name.startswith(("linear", "stepped"))]
    assert len(names) == 5
    for name in names:
        kind, first, last, groups = name.split("_")
        assert first == "0"
        found = [indices(Strategy[kind.upper()], int(last) + 1, int(groups), n) for n in range(int(groups))]
        assert [list(group) for group in found] == rows[name]


@given(st.sampled_from(Strategy), st.integers(1, 60), st.integers(1, 20))
def test_every_index_is_in_one_group(strategy: Strategy, count: int, groups: int) -> None:
    dealt = [index for group in range(groups) for index in indices(strategy, count, groups, group)]
    assert sorted(dealt) == list(range(count))


@pytest.mark.parametrize(
    ("count", "groups", "group", "message"),
    [
        (0, 1, 0, "0 indices cannot be dealt out to 1 groups"),
        (5, 0, 0, "5 indices cannot be dealt out to 0 groups"),
        (5, 3, 3, "there are 3 groups and none at 3"),
        (5, 3, -1, "there are 3 groups and none at -1"),
    ],
)
@pytest.mark.parametrize("strategy", Strategy)
def test_groups_that_cannot_be(strategy: Strategy, count: int, groups: int, group: int, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        indices(strategy, count, groups, group)


def test_known_shapes(vectors: Vectors) -> None:
    cases = vectors("protected")["cases"]
    assert len(cases) > 10
    for case in cases:
        shape = SlotShape.of(Manifest.from_bytes(bytes.fromhex(case["verifiable_manifest"]["hex"])))
        told = case["geometry"]
        assert (shape.block_count, shape.pad_blocks) == (told["steps"], told["pad_blocks_per_slot"])
        assert shape.cell_count == told["cells_per_slot"]
        assert shape.slot_size == case["on_chain"]["ask"]["slotSize"]
        assert shape.slot_count == case["on_chain"]["ask"]["slots"]


def test_known_places_of_cells(vectors: Vectors) -> None:
    shape = SlotShape(slot_count=1, block_count=3)
    for row in vectors("slots")["index_split"]:
        assert row["cells_per_block"] == shape.block_cells
        assert shape.split(row["cell"]) == (row["block_in_slot"], row["cell_in_block"])
    assert shape.split(127) == (3, 31)
    for cell in (-1, 128):
        with pytest.raises(InvalidInput, match=f"128 cells and none at {cell}"):
            shape.split(cell)


@given(st.sampled_from(Strategy), st.integers(1, 12), st.integers(1, 40))
def test_every_block_is_where_it_is_said_to_be(strategy: Strategy, slots: int, blocks: int) -> None:
    shape = SlotShape(slot_count=slots, block_count=blocks, strategy=strategy)
    for slot in range(slots):
        assert len(shape.indices(slot)) == blocks
        for position, index in enumerate(shape.indices(slot)):
            assert shape.place(index) == (slot, position)
    for slot in (-1, slots):
        with pytest.raises(InvalidInput, match=f"{slots} slots and none at {slot}"):
            shape.indices(slot)
    for index in (-1, slots * blocks):
        with pytest.raises(InvalidInput, match=f"{slots * blocks} blocks and none at {index}"):
            shape.place(index)


@given(st.integers(1, 1 << 27))
def test_cells_are_a_power_of_two(blocks: int) -> None:
    shape = SlotShape(slot_count=3, block_count=blocks)
    assert shape.cell_count.bit_count() == 1
    assert shape.padded_block_count - shape.pad_blocks == blocks
    assert shape.pad_blocks < blocks
    assert shape.slot_size == shape.cell_count * 2048


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"slot_count": 0}, "cannot have 0 slots: it has 1 to 65536"),
        ({"slot_count": 65537}, "cannot have 65537 slots: it has 1 to 65536"),
        ({"block_count": 0}, "a slot of 0 blocks"),
        ({"block_count": (1 << 27) + 1}, "a slot of 8589934592 cells: it has 4294967296 at most"),
        ({"block_count": 1 << 60}, "cells: it has 4294967296 at most"),
        ({"cell_size": 0}, "no cells of 0 bytes"),
        ({"cell_size": -2048}, "no cells of -2048 bytes"),
        ({"cell_size": 1000}, "65536 bytes has no cells of 1000 bytes"),
        ({"cell_size": 131072}, "no cells of 131072 bytes"),
        ({"block_size": 0}, "a block of 0 bytes"),
        ({"block_size": 3 * 2048}, "a block of 3 cells: it has 1 to 65536, a power of two"),
        ({"block_size": 1 << 20, "cell_size": 8}, "a block of 131072 cells: it has 1 to 65536"),
    ],
)
def test_shapes_that_cannot_be(numbers: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        SlotShape(**{"slot_count": 3, "block_count": 2} | numbers)


def test_the_manifest_tells_the_shape(vectors: Vectors) -> None:
    row = next(row for row in vectors("manifest")["manifests"] if row["fields"].get("verifiable"))
    manifest = Manifest.from_bytes(bytes.fromhex(row["hex"]))
    assert SlotShape.of(manifest) == SlotShape(slot_count=3, block_count=2)
    assert manifest.protection is not None
    assert manifest.protection.verification is not None
    other = evolve(manifest.protection.verification, cell_size=4096, strategy=Strategy.STEPPED)
    changed = evolve(manifest, protection=evolve(manifest.protection, verification=other))
    assert SlotShape.of(changed) == SlotShape(
        slot_count=3, block_count=2, cell_size=4096, strategy=Strategy.STEPPED
    )


def test_manifests_without_slots_are_refused(vectors: Vectors) -> None:
    tree = Cid.parse(vectors("cids")["datasets"][0]["tree_cid"])
    plain = Manifest.of_upload(tree, 18)
    with pytest.raises(InvalidInput, match="not protected"):
        SlotShape.of(plain)
    broken = evolve(plain, protection=Protection(2, 1, tree, 1 << 40))
    with pytest.raises(InvalidInput, match="broken manifest: 16777216 blocks"):
        SlotShape.of(broken)
