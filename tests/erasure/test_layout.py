"""Rows and columns: every leaf has one place, as the reference has it, and what cannot be laid out."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from codex.codec import EMPTY_BLOCK, Cid, root_cid
from codex.data import BLOCK_SIZE, Manifest, Protection, Strategy
from codex.erasure import Layout, protected_manifest
from codex.errors import InvalidInput

Vectors = Callable[[str], Any]

TREE = root_cid(b"alice's garden, thirty-two bytes")


def original(blocks: int, *, short: int = 0) -> Manifest:
    """A dataset of that many blocks, the last of which lacks some bytes."""
    return Manifest.of_upload(TREE, blocks * BLOCK_SIZE - short, "garden.txt", "text/plain")


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    k = draw(st.integers(1, 60))
    return Layout(draw(st.integers(k, 900)), k, draw(st.integers(0, k)))


@given(layouts())
def test_every_leaf_has_one_place(layout: Layout) -> None:
    leaves = list(range(layout.total))
    assert [index for row in range(layout.rows) for index in layout.row(row)] == leaves
    assert sorted(index for column in range(layout.steps) for index in layout.column(column)) == leaves
    for index in leaves:
        row, column = layout.place(index)
        assert layout.index(row, column) == index
        assert layout.row(row)[column] == layout.column(column)[row] == index
    assert [*range(layout.blocks), *layout.padding, *layout.parity] == leaves


@given(layouts())
def test_padding_is_less_than_a_column_and_stands_in_rows_of_data(layout: Layout) -> None:
    assert len(layout.padding) < layout.k
    assert all(layout.place(index)[0] < layout.k for index in layout.padding)
    assert all(layout.place(index)[0] >= layout.k for index in layout.parity)


@given(layouts(), st.integers(1, 50))
def test_batches_are_all_columns_once(layout: Layout, columns: int) -> None:
    batches = list(layout.batches(columns))
    assert [column for batch in batches for column in batch] == list(range(layout.steps))
    assert all(0 < len(batch) <= columns for batch in batches)
    for batch in batches:
        assert list(layout.row(1, batch)) == [layout.index(1, column) for column in batch]


@given(layouts())
def test_a_column_takes_every_steps_th_block_as_the_reference_does(layout: Layout) -> None:
    for column in range(layout.steps):
        data = range(column, layout.rounded, layout.steps)
        parity = [layout.rounded + column + number * layout.steps for number in range(layout.m)]
        assert list(layout.column(column)) == [*data, *parity]


@pytest.mark.parametrize("number", range(4))
def test_the_leaves_of_known_datasets(vectors: Vectors, number: int) -> None:
    known = vectors("slots")["datasets"][number]
    digests = [Cid.parse(text).digest for text in known["block_cids"]]
    layout = Layout.of(Manifest.from_bytes(bytes.fromhex(known["verifiable_manifest"]["hex"])))
    assert (layout.k, layout.m, layout.steps) == (known["K"], known["M"], known["steps"])
    assert (layout.rounded, layout.total) == (known["rounded"], known["total_blocks"])
    assert list(layout.padding) == known["padding_indices"]
    assert list(layout.parity) == known["parity_indices"]
    assert all(digests[index] == EMPTY_BLOCK.digest for index in layout.padding)
    parity = [[digests[index] for index in layout.row(row)] for row in range(layout.k, layout.rows)]
    assert layout.digests(digests[: layout.blocks], parity) == digests


def test_manifests_of_protected_datasets_are_the_reference_s(vectors: Vectors) -> None:
    cases = vectors("protected")["cases"]
    assert len(cases) > 10
    for case in cases:
        start = Manifest.from_bytes(bytes.fromhex(case["original_manifest"]["hex"]))
        recorded = Manifest.from_bytes(bytes.fromhex(case["verifiable_manifest"]["hex"]))
        assert recorded.protection is not None
        layout = Layout.plan(start, recorded.protection.ec_k, recorded.protection.ec_m)
        assert layout == Layout.of(recorded)
        geometry = case["geometry"]
        assert layout.blocks == geometry["original_blocks"]
        assert len(layout.padding) == geometry["padding_blocks"]
        assert len(layout.parity) == geometry["parity_blocks"]
        assert layout.steps == geometry["steps"]
        made = protected_manifest(start, layout, recorded.tree_cid)
        bare = evolve(recorded, protection=evolve(recorded.protection, verification=None))
        assert made == bare
        assert Manifest.from_bytes(made.to_bytes()) == made
        assert made.as_original() == start


REFUSED = [
    (original(4), 5, 1, "K = 5 rows are more than the dataset has blocks, which is 4"),
    (original(1, short=1), 2, 1, "K = 2 rows are more than the dataset has blocks, which is 1"),
    (original(4), 2, 3, "M = 3 rows of parity are more than the K = 2"),
    (original(4), 0, 1, "K = 0 rows of data"),
    (original(4), 2, 0, "M = 0 rows of parity"),
    (original(4), 2, -1, "M = -1 rows of parity"),
    (original(10**6), 40000, 20000, "131072 points, more than the limit of 65536"),
    (evolve(original(4), block_size=1000), 2, 1, "blocks of 1000 bytes cannot be coded"),
    (original(2**47), 1, 1, "with parity the dataset would have 18446744073709551616 bytes, more than"),
    (evolve(original(9), protection=Protection(2, 1, TREE, 9)), 2, 1, "protected already"),
]


@pytest.mark.parametrize(("start", "k", "m", "said"), REFUSED)
def test_what_cannot_be_protected_is_refused(start: Manifest, k: int, m: int, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        Layout.plan(start, k, m)


def test_as_many_rows_as_blocks_is_enough() -> None:
    layout = Layout.plan(original(4, short=BLOCK_SIZE - 1), 4, 4)
    assert (layout.steps, layout.total, len(layout.padding)) == (1, 8, 0)


@pytest.mark.parametrize("index", [-1, 12])
def test_a_leaf_that_is_not_there_is_refused(index: int) -> None:
    with pytest.raises(InvalidInput, match=rf"no leaf {index}: the rows have 12 blocks"):
        Layout(7, 4, 2).place(index)


def test_a_dataset_without_rows_has_no_layout() -> None:
    with pytest.raises(InvalidInput, match="not protected"):
        Layout.of(original(4))


def test_rows_in_another_order_are_refused() -> None:
    made = protected_manifest(original(4), Layout(4, 2, 1), TREE)
    assert made.protection is not None
    linear = evolve(made, protection=evolve(made.protection, strategy=Strategy.LINEAR))
    with pytest.raises(InvalidInput, match="LINEAR; only STEPPED"):
        Layout.of(linear)


def test_digests_that_are_too_few_are_refused() -> None:
    layout = Layout(3, 2, 1)
    digest = bytes(32)
    with pytest.raises(InvalidInput, match=r"2 digests of data and \[2\] of parity for 3 blocks"):
        layout.digests([digest] * 2, [[digest] * 2])
    with pytest.raises(InvalidInput, match="1 rows of 2"):
        layout.digests([digest] * 3, [[digest]])


def test_a_dataset_without_parity_can_be_read_but_has_no_code() -> None:
    layout = Layout(5, 2, 0)
    assert len(layout.parity) == 0
    with pytest.raises(InvalidInput, match="M = 0"):
        _ = layout.shape
