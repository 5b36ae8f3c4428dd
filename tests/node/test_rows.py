"""What is told of the rows of a protected dataset, against counting leaf by leaf."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.codec import Cid
from codex.data import LeafAddress
from codex.errors import BlockNotFound, InvalidInput
from codex.node import JobKind, Node
from codex.node.job import Json
from codex.node.rows import Row, lost, survey
from codex.store import Space
from codex.testing.content import damage, noise
from codex.testing.nodes import store_of
from codex.testing.rows import Protected, protect

SIZE = 256


class Shelf:
    """A store that has some leaves of one dataset."""

    def __init__(self, here: set[int]) -> None:
        self.here = here

    async def has_many(self, addresses: object) -> list[bool]:
        assert isinstance(addresses, list)
        return [isinstance(a, LeafAddress) and a.index in self.here for a in addresses]

    async def missing(self, tree: Cid, first: int, count: int) -> int:
        return sum(index not in self.here for index in range(first, first + count))

    async def space(self) -> Space:
        return Space(0, 0, 0, 0)


@st.composite
def holed(draw: st.DrawFn) -> tuple[Protected, set[int], set[int]]:
    """A dataset, and leaves of it that are missing and damaged."""
    k = draw(st.integers(1, 5))
    m = draw(st.integers(1, k))
    dataset = protect(noise(draw(st.integers((k - 1) * 64 + 1, 20 * 64))), k, m, 64)
    leaves = st.sets(st.integers(0, dataset.layout.total - 1))
    missing = draw(leaves)
    return dataset, missing, draw(leaves) - missing - set(dataset.layout.padding)


@settings(max_examples=60, deadline=None)
@given(made=holed(), data=st.data())
async def test_rows_are_counted_and_what_is_lost_is_found(
    made: tuple[Protected, set[int], set[int]], data: st.DataObject
) -> None:
    dataset, missing, corrupt = made
    layout, size = dataset.layout, len(dataset.content)
    shelf = Shelf(set(range(layout.total)) - missing - corrupt)
    had = shelf.here | set(layout.padding)
    found = await survey(shelf, dataset.manifest, sorted(missing))
    assert (found.k, found.m) == (layout.k, layout.m)
    for number, row in enumerate(found.rows):
        leaves = set(layout.row(number)) - set(layout.padding)
        kind = "data" if number < layout.k else "parity"
        counts = [len(leaves & part) for part in (shelf.here, missing, corrupt)]
        assert row == Row(number, kind, *counts)
    columns = {c: len(had & set(layout.column(c))) for c in range(layout.steps)}
    assert found.spare == max(0, min(columns.values()) - layout.k)
    # A run of leaves that are not here can be had whole, or not at all.
    lacking = [i for i in range(layout.total) if i not in shelf.here]
    short = {i for i in lacking if i not in had and columns[layout.place(i)[1]] < layout.k}
    gone = set()
    for index in short:
        low = high = index
        while low - 1 in lacking:
            low -= 1
        while high + 1 in lacking:
            high += 1
        gone |= set(range(low, high + 1)) & set(range(layout.blocks))
    assert [byte for part in found.lost for byte in part] == [
        byte for i in sorted(gone) for byte in range(i * 64, min(i * 64 + 64, size))
    ]
    first, stop = sorted(data.draw(st.tuples(st.integers(0, size), st.integers(0, size))))
    touched = set(range(first // 64, -(-stop // 64))) if first < stop else set()
    assert await lost(shelf, dataset.manifest, first, stop - first) == len(gone & touched)


async def test_where_nothing_is_here_no_leaf_is_looked_at() -> None:
    class Bare(Shelf):
        async def has_many(self, addresses: object) -> list[bool]:
            raise AssertionError("of a large dataset these would be millions")

    shelf = Bare(DATASET.leaves(0, 2))
    for offset, length, blocks in ((0, 18 * SIZE, 8), (7 * SIZE - 1, 2, 2), (SIZE, 9, 0), (7 * SIZE, 0, 0)):
        assert await lost(shelf, DATASET.manifest, offset, length) == blocks


async def result(node: Node, dataset: Protected, *, repair: bool = False) -> dict[str, Json]:
    view = await (await node.verify(dataset.cid, repair=repair)).wait()
    assert view.error is None
    assert isinstance(view.result, dict)
    return view.result


DATASET = protect(noise(18 * SIZE), 4, 2, SIZE)  # steps of 5; two blocks of padding in row 3


async def test_a_verification_tells_of_rows_and_a_repair_brings_them_back(node: Node) -> None:
    gone = {*DATASET.leaves(1), DATASET.layout.index(5, 2), *DATASET.layout.padding}
    await DATASET.keep(store_of(node), DATASET.others(gone))
    damage(node.config.data_dir, bytes(DATASET.blocks[3].data))
    found = await result(node, DATASET)
    assert not found["sound"]
    assert (found["missingBlocks"], found["corruptBlocks"]) == (6, 1)
    assert found["missing"] == [5, 6, 7, 8, 9, 27]
    assert (found["data"], found["parity"], found["spare"]) == (4, 2, 0)
    assert (found["lostBytes"], found["lost"]) == (0, [])
    assert found["rows"] == [
        {"row": 0, "kind": "data", "present": 4, "missing": 0, "corrupt": 1},
        {"row": 1, "kind": "data", "present": 0, "missing": 5, "corrupt": 0},
        {"row": 2, "kind": "data", "present": 5, "missing": 0, "corrupt": 0},
        {"row": 3, "kind": "data", "present": 3, "missing": 0, "corrupt": 0},
        {"row": 4, "kind": "parity", "present": 5, "missing": 0, "corrupt": 0},
        {"row": 5, "kind": "parity", "present": 4, "missing": 1, "corrupt": 0},
    ]
    found = await result(node, DATASET, repair=True)
    assert (found["sound"], found["repaired"], found["spare"]) == (True, 9, 2)
    assert (found["repairedCorrupt"], found["missingBlocks"], found["corruptBlocks"]) == (1, 0, 0)
    assert (found["missing"], found["corrupt"]) == ([], [])
    found = await result(node, DATASET)
    assert (found["sound"], found["missingBlocks"], found["corruptBlocks"]) == (True, 0, 0)
    assert (await result(node, DATASET, repair=True))["repaired"] == 0


@pytest.mark.parametrize(
    ("content", "k", "m", "spare"),
    [
        (noise(5 * SIZE), 1, 1, 0),  # parity of one row is that row
        (noise(5 * SIZE) * 2, 2, 2, 0),  # whichever row goes, all of its column do
        (bytes(3 * SIZE), 3, 1, 0),
        (noise(5 * SIZE), 3, 2, 2),
        (noise(SIZE) + noise(2 * SIZE, "b") + noise(SIZE) + noise(2 * SIZE, "c"), 3, 3, 3),
    ],
)
async def test_equal_blocks_of_a_column_go_together(
    node: Node, content: bytes, k: int, m: int, spare: int
) -> None:
    dataset = protect(content, k, m, SIZE)
    await dataset.keep(store_of(node), range(dataset.layout.total))
    assert (await result(node, dataset))["spare"] == spare
    damage(node.config.data_dir, bytes(dataset.blocks[0].data))
    lost = (await result(node, dataset))["lostBytes"]
    assert not lost or spare == 0


async def test_what_is_lost_for_good_is_told_in_bytes(node: Node) -> None:
    gone = DATASET.leaves(1, 4, 5)
    await DATASET.keep(store_of(node), DATASET.others(gone))
    found = await result(node, DATASET)
    assert (found["spare"], found["lostBytes"]) == (0, 5 * SIZE)
    assert found["lost"] == [{"offset": 5 * SIZE, "size": 5 * SIZE}]
    job = await node.verify(DATASET.cid, repair=True)
    view = await job.wait()
    assert view.error is not None
    assert view.error.code == "block-not-found"
    assert "column 0 takes K = 4 of its 6 blocks and has 3, for rows 1, 4, 5 are lost" in view.error.message


async def test_what_can_be_recovered_is_whole_enough_to_be_asked_for(node: Node) -> None:
    gone = DATASET.leaves(1, 4, 5)
    await DATASET.keep(store_of(node), DATASET.others(gone))
    manifest = DATASET.manifest
    with pytest.raises(BlockNotFound, match="5 of the 18"):
        await node.check_whole(manifest, 0, len(DATASET.content))
    await node.check_whole(manifest, 0, 5 * SIZE)
    await node.check_whole(manifest, 10 * SIZE, 8 * SIZE)
    await DATASET.put(store_of(node), DATASET.leaves(4))
    await node.check_whole(manifest, 0, len(DATASET.content))


async def test_without_rows_there_is_nothing_to_repair_from(node: Node) -> None:
    cid = await node.store(noise(1000))
    with pytest.raises(InvalidInput, match="is not protected"):
        await node.verify(cid, repair=True)
    assert node.jobs.list(JobKind.VERIFY) == ()
