"""Slots: filled from here, from others and from other rows; kept, and really gone when they are cleared."""

import errno
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.codec import Cid
from codex.config import StoreConfig
from codex.data import Block, Strategy
from codex.errors import BlockNotFound, CodexError, DiskFailed, InvalidInput, NotADataset, QuotaExceeded
from codex.node import JobState, ManifestStored, Node
from codex.node.filling import root_of
from codex.node.hosting import PURPOSE, Slot
from codex.slots import SlotShape, SlotTree, verifiable
from codex.store import BlockStore, Hold
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import damage, noise
from codex.testing.disks import FaultyDisk
from codex.testing.neighbourhood import Neighbourhood, open_test_network
from codex.testing.network import MemoryNetwork
from codex.testing.nodes import EPOCH, holdings, open_test_node, store_of
from codex.testing.rows import Protected, protect
from codex.testing.stores import audit

SIZE = 256
DATASET = protect(
    noise(22 * SIZE - 9), 4, 2, SIZE, cell_size=128
)  # steps of 6: two blocks of padding in row 3
LATER = EPOCH + 1000 * 86400


@pytest.fixture
async def people() -> AsyncIterator[Neighbourhood]:
    """Alice, and carol, who is to host and is connected to her."""
    async with open_test_network("alice", "carol") as people:
        info = people["alice"].info()
        await people["carol"].connect(info.peer_id, info.announced)
        yield people


async def give(people: Neighbourhood, *rows: int, dataset: Protected = DATASET) -> None:
    """Let alice have these rows and the manifest, and nothing else of the dataset."""
    await people["alice"].delete(dataset.cid)
    await dataset.keep(store_of(people["alice"]), sorted(dataset.leaves(*rows)))


async def here(node: Node, dataset: Protected = DATASET) -> set[int]:
    leaves = await store_of(node).leaves(dataset.manifest.tree_cid, 0, dataset.layout.total)
    assert leaves == [dataset.leaf(leaf.index) for leaf in leaves]
    return {leaf.index for leaf in leaves}


def roots(dataset: Protected) -> tuple[bytes, ...]:
    protection = dataset.manifest.protection
    assert protection is not None
    assert protection.verification is not None
    return tuple(cid.digest for cid in protection.verification.slot_roots)


def slot_name(slot: int) -> Cid:
    return root_of(DATASET.manifest, slot)


async def check_hosted(node: Node, tree: SlotTree, slot: int) -> None:
    """The node has this slot, its tree and the manifest, and nothing else."""
    shape = SlotShape.of(DATASET.manifest)
    row = DATASET.layout.row(slot)
    assert tree.root == roots(DATASET)[slot]
    kept = await store_of(node).get_slot_tree(tree.cid)
    assert kept is not None
    assert SlotTree.from_bytes(shape, kept, tree.root) == tree
    assert await here(node) == set(row)
    assert await store_of(node).holds(PURPOSE) == [
        Hold(
            *(PURPOSE, f"{DATASET.cid}/{slot}", DATASET.tree.root_cid, row.start, len(row), LATER),
            manifest=DATASET.cid,
            slot=slot,
        )
    ]
    assert await store_of(node).expiry(DATASET.cid) >= LATER
    blocks = {DATASET.blocks[index].cid for index in row if len(DATASET.blocks[index].data)}
    assert (await node.space()).total_blocks == len(blocks) + 1
    audit(node.config.data_dir / "repo")


async def check_empty(node: Node) -> None:
    await store_of(node).maintain()
    assert await store_of(node).holds(PURPOSE) == []
    space, manifests = await holdings(node)
    assert (space.total_blocks, space.quota_used, manifests) == (0, 0, ())


async def test_a_slot_is_fetched_kept_and_cleared(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, *range(6))
    carol = people["carol"]
    for slot in range(6):
        told: list[Block] = []
        tree = await carol.on_store(DATASET.cid, slot, LATER, on_blocks=told.extend)
        await check_hosted(carol, tree, slot)
        row = [DATASET.blocks[index].cid.raw for index in DATASET.layout.row(slot)]
        assert sorted(block.cid.raw for block in told) == sorted(row)
        assert await carol.on_clear(DATASET.cid, slot)
        await check_empty(carol)
        assert not await carol.on_clear(DATASET.cid, slot)


async def test_whoever_listens_is_told_of_the_manifest_of_a_slot_once(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, 0, 1)
    carol = people["carol"]
    async with carol.events(64) as events:
        await look(carol, DATASET, 0)
        for slot in (0, 1):
            await carol.on_store(DATASET.cid, slot, LATER)
        last = ManifestStored(await carol.store(b"some file contents"))
        told = [await anext(events)]
        while told[-1] != last:
            told.append(await anext(events))
    stored = [event for event in told if isinstance(event, ManifestStored)]
    assert stored == [ManifestStored(DATASET.cid), last]


async def test_a_lost_slot_is_rebuilt_and_no_other(people: Neighbourhood, autojump_clock: MockClock) -> None:
    carol = people["carol"]
    for slot, others in (
        (0, (1, 2, 3, 4)),
        (2, (1, 3, 4, 5)),
        (3, (0, 1, 2, 5)),
        (4, range(4)),
        (5, range(4)),
    ):
        await give(people, *others)
        for repair in (True, False):
            tree = await carol.on_store(DATASET.cid, slot, LATER, repair=repair)
            await check_hosted(carol, tree, slot)
            await carol.on_clear(DATASET.cid, slot)
            await check_empty(carol)


async def test_a_slot_of_which_a_part_is_to_be_had(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, 0, 2, 3, 4)
    some = [DATASET.layout.index(1, column) for column in (0, 2, 3)]
    await DATASET.put(store_of(people["alice"]), some)
    tree = await people["carol"].on_store(DATASET.cid, 1, LATER)
    await check_hosted(people["carol"], tree, 1)


async def test_too_few_rows_leave_nothing(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, 0, 1, 3)
    with pytest.raises(BlockNotFound, match="takes K = 4"):
        await people["carol"].on_store(DATASET.cid, 2, LATER)
    await check_empty(people["carol"])


async def test_a_slot_is_rebuilt_from_what_is_here() -> None:
    async with open_test_node() as node:
        await DATASET.keep(store_of(node), DATASET.others(DATASET.leaves(1, 4)))
        tree = await node.on_store(DATASET.cid, 1, LATER, repair=True)
        assert tree.root == roots(DATASET)[1]
        assert await here(node) == set(DATASET.others(DATASET.leaves(4)))
        # Who has more of the dataset than a slot keeps it.
        assert await node.on_clear(DATASET.cid, 1)
        assert await here(node) == set(DATASET.others(DATASET.leaves(4)))


async def test_a_slot_that_is_here_is_not_fetched_again(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, 2)
    carol = people["carol"]
    first = await carol.on_store(DATASET.cid, 2, LATER - 5)
    await people.stop("alice")
    assert await carol.on_store(DATASET.cid, 2, LATER) == first
    await check_hosted(carol, first, 2)


async def test_two_slots_of_a_dataset_go_one_by_one(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, *range(6))
    carol = people["carol"]
    await carol.on_store(DATASET.cid, 0, LATER - 5)
    tree = await carol.on_store(DATASET.cid, 4, LATER)
    assert await here(carol) == DATASET.leaves(0, 4)
    assert await carol.on_clear(DATASET.cid, 0)
    await check_hosted(carol, tree, 4)
    assert await carol.on_clear(DATASET.cid, 4)
    await check_empty(carol)


async def test_two_slots_of_a_dataset_go_at_the_same_time(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, *range(6))
    carol = people["carol"]
    await carol.on_store(DATASET.cid, 0, LATER)
    await carol.on_store(DATASET.cid, 4, LATER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(carol.on_clear, DATASET.cid, 0)
        nursery.start_soon(carol.on_clear, DATASET.cid, 4)
    await check_empty(carol)


async def test_the_same_slot_of_two_contracts_is_kept_until_both_are_cleared(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, 1)
    carol = people["carol"]
    await carol.on_store(DATASET.cid, 1, LATER, slot_id="one")
    await carol.on_store(DATASET.cid, 1, LATER, slot_id="two")
    await carol.on_expiry_update(DATASET.cid, 1, LATER + 7, slot_id="two")
    assert [hold.expiry for hold in await store_of(carol).holds(PURPOSE)] == [LATER, LATER + 7]
    await carol.on_clear(DATASET.cid, 1, slot_id="two")
    assert await here(carol) == DATASET.leaves(1)
    await carol.on_clear(DATASET.cid, 1, slot_id="one")
    await check_empty(carol)
    with pytest.raises(BlockNotFound, match="not hosted"):
        await carol.on_expiry_update(DATASET.cid, 1, LATER, slot_id="one")
    # Who has pinned the dataset keeps it.
    await carol.on_store(DATASET.cid, 1, LATER)
    await carol.pin(DATASET.cid)
    await carol.on_clear(DATASET.cid, 1)
    assert await here(carol) == DATASET.leaves(1)


async def test_room_comes_out_of_the_reservation(autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "carol", store=StoreConfig(quota=100 * SIZE)) as people:
        info = people["alice"].info()
        carol = people["carol"]
        await carol.connect(info.peer_id, info.announced)
        await give(people, 0, 1, 3, 4)
        store = store_of(carol)
        room = await store.reserve(97 * SIZE, "sales")
        for slot, repair in ((0, False), (2, True)):
            await carol.on_store(DATASET.cid, slot, LATER, repair=repair, reservation=room)
        [left] = await store.reservations("sales")
        assert left.size == (97 - 12) * SIZE
        await store.release(room)
        room = await store.reserve((await carol.space()).available, "other")
        before = await holdings(carol)
        with pytest.raises(QuotaExceeded):
            await carol.on_store(DATASET.cid, 1, LATER)
        await store.maintain()
        assert await holdings(carol) == before
        assert await here(carol) == DATASET.leaves(0, 2)


async def test_a_row_with_another_root_than_the_manifest_says_is_not_kept(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    wrong = list(roots(DATASET))
    wrong[1] = wrong[0]
    manifest = verifiable(DATASET.manifest, wrong, cell_size=128)
    liar = evolve(DATASET, manifest=manifest)
    await give(people, *range(6), dataset=liar)
    with pytest.raises(NotADataset, match=r"slot 1 of .* has the root"):
        await people["carol"].on_store(liar.cid, 1, LATER)
    await check_empty(people["carol"])


async def test_manifests_without_such_a_slot_are_refused() -> None:
    protection = DATASET.manifest.protection
    assert protection is not None
    assert protection.verification is not None
    bare = evolve(DATASET.manifest, protection=evolve(protection, verification=None))
    stepped = evolve(protection, verification=evolve(protection.verification, strategy=Strategy.STEPPED))
    other = evolve(protection.verification, slot_roots=protection.verification.slot_roots[::-1])
    async with open_test_node() as node:
        for manifest, slot, message in (
            (DATASET.original, 0, "not protected"),
            (bare, 0, "not verifiable"),
            (DATASET.manifest, 6, "6 slots and none at 6"),
            (DATASET.manifest, -1, "none at -1"),
            (evolve(DATASET.manifest, protection=stepped), 0, "STEPPED"),
            (evolve(DATASET.manifest, protection=evolve(protection, verification=other)), 0, "lead to"),
        ):
            cid = await store_of(node).put_manifest(manifest.to_bytes())
            before = await holdings(node)
            with pytest.raises(InvalidInput, match=message):
                await node.on_store(cid, slot, LATER)
            assert await holdings(node) == before


async def test_a_manifest_without_such_a_slot_does_not_stay(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    plain = protect(noise(5 * SIZE), 2, 1, SIZE)
    await give(people, 0, dataset=plain)
    await give(people, 0)
    for cid, slot, message in ((plain.cid, 0, "not verifiable"), (DATASET.cid, 9, "none at 9")):
        with pytest.raises(InvalidInput, match=message):
            await people["carol"].on_store(cid, slot, LATER)
        await check_empty(people["carol"])


async def look(node: Node, dataset: Protected, slot: int) -> None:
    """See whether the node could host a slot."""
    parts = node._running
    await parts.hosting.look(Slot.of(dataset.cid, slot), partial(parts.finder.look, dataset.cid))


async def test_of_what_is_only_looked_at_nothing_stays(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    plain = protect(noise(5 * SIZE), 2, 1, SIZE)
    await give(people, dataset=plain)
    await give(people)
    carol = people["carol"]
    await look(carol, DATASET, 5)
    await check_empty(carol)
    for dataset, slot, message in ((plain, 0, "not verifiable"), (DATASET, 9, "none at 9")):
        with pytest.raises(InvalidInput, match=message):
            await look(carol, dataset, slot)
        await check_empty(carol)
    # What was here before stays.
    await carol.fetch_manifest(DATASET.cid)
    before = await holdings(carol)
    await look(carol, DATASET, 0)
    assert await holdings(carol) == before
    assert before[1] != ()


async def test_a_look_that_is_cut_off_leaves_nothing(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people)
    carol = people["carol"]
    cut = await cancel_at_every_checkpoint(
        partial(look, carol, DATASET, 0), partial(check_empty, carol), own_only=True
    )
    assert cut > 2


@pytest.mark.parametrize("repair", [False, True])
async def test_cancelled_at_any_step_nothing_is_left(
    people: Neighbourhood, repair: bool, autojump_clock: MockClock
) -> None:
    dataset = protect(noise(SIZE), 1, 1, SIZE, cell_size=128)
    await give(people, 1 if repair else 0, dataset=dataset)
    carol = people["carol"]

    async def host() -> None:
        await carol.on_store(dataset.cid, 0, LATER, repair=repair)

    async def check() -> None:
        if await store_of(carol).holds(PURPOSE):
            assert await here(carol, dataset) == dataset.leaves(0)
            assert await carol.on_clear(dataset.cid, 0)
        await check_empty(carol)
        trades = carol.trades()
        assert trades is not None
        assert not any(trade.wants_ours for trade in trades)

    assert await cancel_at_every_checkpoint(host, check, own_only=True) > 10


async def test_a_host_that_vanishes_midway_is_made_up_for(autojump_clock: MockClock) -> None:
    dataset = protect(noise(240 * SIZE), 3, 2, SIZE, cell_size=128)
    network = MemoryNetwork(bandwidth=8_000)
    async with open_test_network(network=network) as people:
        for name, rows in (("alice", (0,)), ("bob", (1, 3, 4))):
            info = people[name].info()
            await people["carol"].connect(info.peer_id, info.announced)
            await dataset.keep(store_of(people[name]), sorted(dataset.leaves(*rows)))
        carol = people["carol"]
        came = 0

        def told(blocks: Sequence[Block]) -> None:
            nonlocal came
            came += len(blocks)
            if "alice" in people.nodes and came > 10:
                network.crash(people.ip("alice"), silent=True)
                del people.nodes["alice"]

        began = trio.current_time()
        tree = await carol.on_store(dataset.cid, 0, LATER, on_blocks=told)
        assert trio.current_time() - began < 120
        assert "alice" not in people.nodes
        assert came == dataset.layout.steps
        assert tree.root == roots(dataset)[0]
        assert await here(carol, dataset) == dataset.leaves(0)
        # Alice never ends in good order: what is left of her ends with the test.
        people.nursery.cancel_scope.cancel()


# -- several slots of a dataset, and what becomes of each


async def test_slots_of_a_dataset_are_filled_and_cleared_side_by_side(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, *range(6))
    carol = people["carol"]
    async with trio.open_nursery() as nursery:
        for slot in range(6):
            nursery.start_soon(carol.on_store, DATASET.cid, slot, LATER)
    assert await here(carol) == set(range(DATASET.layout.total))
    audit(carol.config.data_dir / "repo")
    async with trio.open_nursery() as nursery:
        for slot in range(6):
            nursery.start_soon(carol.on_clear, DATASET.cid, slot)
    await check_empty(carol)
    audit(carol.config.data_dir / "repo")


async def test_a_slot_that_is_cleared_or_fails_takes_nothing_from_one_that_is_filled(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, *range(6))
    carol = people["carol"]

    async def fill_beside(other: Callable[[], None]) -> None:
        def told(blocks: Sequence[Block]) -> None:
            if not told_of:
                other()
            told_of.extend(blocks)

        told_of: list[Block] = []
        await check_hosted(carol, await carol.on_store(DATASET.cid, 1, LATER, on_blocks=told), 1)
        assert await carol.on_clear(DATASET.cid, 1)
        await check_empty(carol)

    await carol.on_store(DATASET.cid, 0, LATER)
    async with trio.open_nursery() as nursery:
        await fill_beside(lambda: nursery.start_soon(carol.on_clear, DATASET.cid, 0))
    scope = trio.CancelScope()

    async def fail() -> None:
        with scope:
            await carol.on_store(DATASET.cid, 0, LATER, on_blocks=lambda _: scope.cancel())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        await fill_beside(lambda: None)
    assert scope.cancelled_caught


@pytest.mark.parametrize("lead", [1, 8, 25])
async def test_a_slot_that_is_filled_twice_at_once_is_filled_by_whoever_is_not_cut_off(
    people: Neighbourhood, lead: int, autojump_clock: MockClock
) -> None:
    await give(people, 1)
    carol, scope, came = people["carol"], trio.CancelScope(), trio.Event()
    trees: list[SlotTree] = []

    async def cut_off() -> None:
        with scope:
            await carol.on_store(DATASET.cid, 1, LATER, on_blocks=lambda _: came.set())

    async def other() -> None:
        trees.append(await carol.on_store(DATASET.cid, 1, LATER))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut_off)
        await came.wait()
        nursery.start_soon(other)
        await steps(lead)
        scope.cancel()
    await check_hosted(carol, trees[0], 1)


async def test_the_manifest_of_a_slot_is_never_gone(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, 0, 1)
    carol = people["carol"]
    for slot in (0, 1):
        await carol.on_store(DATASET.cid, slot, LATER)
    seen: list[bool] = []
    async with trio.open_nursery() as nursery:

        async def watch() -> None:
            while True:
                seen.append(await carol.has(DATASET.cid))

        nursery.start_soon(watch)
        await carol.on_clear(DATASET.cid, 0)
        await carol.on_expiry_update(DATASET.cid, 1, LATER + 1)
        nursery.cancel_scope.cancel()
    assert len(seen) > 1
    assert all(seen)


async def test_a_clear_that_is_cut_off_frees_everything(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, 0)
    carol = people["carol"]

    async def host_and_clear() -> None:
        with trio.CancelScope(shield=True):
            await carol.on_store(DATASET.cid, 0, LATER)
        await carol.on_clear(DATASET.cid, 0)

    async def check() -> None:
        await carol.on_clear(DATASET.cid, 0)
        await check_empty(carol)

    assert await cancel_at_every_checkpoint(host_and_clear, check, own_only=True) > 1


async def test_of_slots_with_different_ends_each_goes_at_its_own(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, 0, 1)
    await people["alice"].pin(DATASET.cid)
    carol, began = people["carol"], trio.current_time()
    await carol.on_store(DATASET.cid, 0, EPOCH + 2000)
    await carol.on_store(DATASET.cid, 1, EPOCH + 4000)
    for until, rows in ((1500, (0, 1)), (2500, (1,)), (3500, (1,))):
        await trio.sleep(EPOCH + until - (EPOCH + trio.current_time() - began))
        await store_of(carol).maintain()
        assert await here(carol) == DATASET.leaves(*rows)
        assert await carol.has(DATASET.cid)
        assert (await store_of(carol).get_slot_tree(slot_name(0)) is None) == (0 not in rows)
    await trio.sleep(1000)
    await check_empty(carol)


async def test_a_promise_is_not_shortened(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, 0)
    carol = people["carol"]
    await carol.on_store(DATASET.cid, 0, LATER)
    await carol.on_store(DATASET.cid, 0, LATER - 999)
    await carol.on_expiry_update(DATASET.cid, 0, LATER - 500)
    assert [hold.expiry for hold in await store_of(carol).holds(PURPOSE)] == [LATER]


async def test_the_tree_of_a_slot_goes_with_it(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, 0, 1)
    carol = people["carol"]
    for slot in (0, 1):
        await carol.on_store(DATASET.cid, slot, LATER)
    await carol.on_clear(DATASET.cid, 0)
    assert await store_of(carol).get_slot_tree(slot_name(0)) is None
    assert await store_of(carol).get_slot_tree(slot_name(1)) is not None


# -- what was here before, and what a user has or does meanwhile


async def test_what_was_here_before_stays_when_a_slot_fails() -> None:
    async with open_test_node() as node:
        await DATASET.keep(store_of(node), [0, 1, 2])
        before = await holdings(node)
        with pytest.raises(BlockNotFound):
            await node.on_store(DATASET.cid, 0, LATER)
        assert await here(node) == {0, 1, 2}
        assert await holdings(node) == before


async def test_what_was_fetched_before_stays_when_a_slot_is_cleared() -> None:
    dataset = protect(noise(5 * SIZE), 1, 1, SIZE, cell_size=128)
    async with open_test_node() as node:
        await dataset.keep(store_of(node), dataset.leaves(0))
        before = await holdings(node)
        for slot in (0, 1):
            await node.on_store(dataset.cid, slot, LATER)
        for slot in (0, 1):
            await node.on_clear(dataset.cid, slot)
        assert await here(node, dataset) >= dataset.leaves(0)
        async with node.retrieve(dataset.cid, local=True) as file:
            assert await file.read() == dataset.content
        assert (await holdings(node))[1] == before[1]


async def test_of_a_manifest_alone_only_the_manifest_stays(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, 0, 1)
    carol = people["carol"]
    await carol.fetch_manifest(DATASET.cid)
    before = await holdings(carol)
    for slot in (0, 1):
        await carol.on_store(DATASET.cid, slot, LATER)
    for slot in (0, 1):
        await carol.on_clear(DATASET.cid, slot)
        await store_of(carol).maintain()
        assert await here(carol) == (DATASET.leaves(1) if slot == 0 else set())
    assert await holdings(carol) == before
    audit(carol.config.data_dir / "repo")


async def test_killed_before_there_is_a_hold_nothing_is_left(
    autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_test_network("alice", "carol") as people:
        info = people["alice"].info()
        carol = people["carol"]
        await carol.connect(info.peer_id, info.announced)
        await give(people, 0)

        async def hold(self: BlockStore, hold: Hold, *, manifest: Block | None = None) -> bool:
            # What is on the disk now is what a kill leaves.
            shutil.copytree(carol.config.data_dir / "repo", tmp_path / "repo")
            raise BlockNotFound("killed")

        with monkeypatch.context() as patch:
            patch.setattr(BlockStore, "hold", hold)
            with pytest.raises(BlockNotFound, match="killed"):
                await carol.on_store(DATASET.cid, 0, LATER)
    async with open_test_node(tmp_path) as node:
        await check_empty(node)
        audit(tmp_path / "repo")


async def test_what_was_fetched_meanwhile_stays(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, *range(6))
    carol = people["carol"]
    await carol.on_store(DATASET.cid, 0, LATER)
    async with carol.retrieve(DATASET.cid) as file:
        assert await file.read() == DATASET.content
    await carol.on_clear(DATASET.cid, 0)
    await people.stop("alice")
    await store_of(carol).maintain()
    async with carol.retrieve(DATASET.cid, local=True) as file:
        assert await file.read() == DATASET.content


async def test_a_user_deletes_a_dataset_of_which_a_slot_is_hosted(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, *range(6))
    carol = people["carol"]
    async with carol.retrieve(DATASET.cid) as file:
        await file.read()
    tree = await carol.on_store(DATASET.cid, 0, LATER)
    await carol.delete(DATASET.cid)
    await check_hosted(carol, tree, 0)
    await carol.delete(DATASET.cid)
    assert [cid async for cid, _ in carol.iterate_manifests()] == [DATASET.cid]
    await carol.on_expiry_update(DATASET.cid, 0, LATER + 5)
    assert await carol.on_clear(DATASET.cid, 0)
    await check_empty(carol)


async def test_a_slot_that_is_cleared_while_it_is_filled_is_not_hosted(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, 0)
    carol = people["carol"]
    asked: list[bool] = []

    async def clear() -> None:
        with pytest.raises(BlockNotFound, match="not hosted"):
            await carol.on_expiry_update(DATASET.cid, 0, LATER)
        asked.append(await carol.on_clear(DATASET.cid, 0))

    async with trio.open_nursery() as nursery:
        with pytest.raises(BlockNotFound):
            await carol.on_store(DATASET.cid, 0, LATER, on_blocks=lambda _: nursery.start_soon(clear))
    assert any(asked)
    await check_empty(carol)


async def fetch(node: Node) -> None:
    """Have a user fetch the dataset."""
    job = await node.fetch_dataset_async_task(DATASET.cid)
    assert (await job.wait()).state is JobState.DONE


async def read(node: Node) -> None:
    """Have a user read the dataset."""
    async with node.retrieve(DATASET.cid) as file:
        assert await file.read() == DATASET.content


async def steps(count: int) -> None:
    for _ in range(count):
        await trio.lowlevel.checkpoint()


async def check_fetched(node: Node) -> None:
    """The dataset is here, for nobody's sake but the user's."""
    assert await store_of(node).holds(PURPOSE) == []
    assert [cid async for cid, _ in node.iterate_manifests()] == [DATASET.cid]
    assert await here(node) >= set(range(DATASET.layout.blocks))
    await store_of(node).maintain()
    async with node.retrieve(DATASET.cid, local=True) as file:
        assert await file.read() == DATASET.content


@pytest.mark.parametrize("use", [fetch, read])
@pytest.mark.parametrize("lead", [0, 2, 5, 12, 30])
async def test_what_is_fetched_while_it_is_looked_at_stays(
    people: Neighbourhood, use: Callable[[Node], Awaitable[None]], lead: int, autojump_clock: MockClock
) -> None:
    await give(people, *range(6))
    carol = people["carol"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(look, carol, DATASET, 5)
        await steps(lead)
        await use(carol)
    await check_fetched(carol)


@pytest.mark.parametrize("use", [fetch, read])
@pytest.mark.parametrize("lead", [0, 4, 12, 40])
async def test_what_is_fetched_while_a_slot_fails_stays(
    people: Neighbourhood,
    use: Callable[[Node], Awaitable[None]],
    lead: int,
    autojump_clock: MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await give(people, *range(6))
    carol, scope, begun, plain = people["carol"], trio.CancelScope(), trio.Event(), BlockStore.hold

    async def hold(self: BlockStore, hold: Hold, *, manifest: Block | None = None) -> bool:
        came = await plain(self, hold, manifest=manifest)
        begun.set()
        return came

    monkeypatch.setattr(BlockStore, "hold", hold)

    async def fill() -> None:
        with scope:
            await carol.on_store(DATASET.cid, 1, LATER)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fill)
        await begun.wait()
        nursery.start_soon(use, carol)
        await steps(lead)
        scope.cancel()
    assert scope.cancelled_caught
    await check_fetched(carol)


@pytest.mark.parametrize("use", [fetch, read])
@pytest.mark.parametrize("lead", [0, 4, 20])
async def test_what_is_fetched_while_a_slot_is_cleared_stays(
    people: Neighbourhood, use: Callable[[Node], Awaitable[None]], lead: int, autojump_clock: MockClock
) -> None:
    await give(people, *range(6))
    carol = people["carol"]
    await carol.on_store(DATASET.cid, 1, LATER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(use, carol)
        await steps(lead)
        await carol.on_clear(DATASET.cid, 1)
    await check_fetched(carol)


# -- when the disk has lost something of a slot that is hosted


async def lose_one(node: Node, row: int) -> None:
    """Have the disk damage a block of this row, and the node find that."""
    damage(node.config.data_dir, bytes(DATASET.blocks[DATASET.layout.index(row, 2)].data))
    assert (await (await node.scrub()).wait()).state is JobState.DONE
    leaves = DATASET.layout.row(row)
    assert await store_of(node).missing(DATASET.tree.root_cid, leaves.start, len(leaves)) == 1


@pytest.mark.parametrize("repair", [False, True])
async def test_what_the_disk_has_lost_of_a_slot_is_brought_again(
    people: Neighbourhood, repair: bool, autojump_clock: MockClock
) -> None:
    await give(people, *((2, 3, 4, 5) if repair else (1,)))
    carol = people["carol"]
    first = await carol.on_store(DATASET.cid, 1, LATER - 5)
    await lose_one(carol, 1)
    assert await carol.on_store(DATASET.cid, 1, LATER, repair=repair) == first
    row = DATASET.layout.row(1)
    assert await store_of(carol).missing(DATASET.tree.root_cid, row.start, len(row)) == 0
    await check_hosted(carol, first, 1)


async def test_a_slot_of_which_something_is_lost_for_good_is_hosted_all_the_same(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, 1)
    carol = people["carol"]
    await carol.on_store(DATASET.cid, 1, LATER)
    await lose_one(carol, 1)
    [hold] = await store_of(carol).holds(PURPOSE)
    await people.stop("alice")
    with pytest.raises(BlockNotFound):
        await carol.on_store(DATASET.cid, 1, LATER + 5)
    assert await store_of(carol).holds(PURPOSE) == [hold]
    row = DATASET.layout.row(1)
    assert await store_of(carol).missing(DATASET.tree.root_cid, row.start, len(row)) == 1
    assert await carol.has(DATASET.cid)


# -- when the disk fails, and when the process is killed


async def test_a_disk_that_fails_while_a_slot_is_filled_leaves_nothing(tmp_path: Path) -> None:
    disk = FaultyDisk()
    async with open_test_node(tmp_path, disk=disk) as node:
        await DATASET.keep(store_of(node), DATASET.others({*DATASET.leaves(4), 0, 1, 2}))
        before = await holdings(node)
    broken = 0
    while True:
        async with open_test_node(tmp_path, disk=disk) as node:
            disk.fail(broken + 1, errno.EIO if broken % 2 else errno.ENOSPC, times=1 << 30)
            try:
                await node.on_store(DATASET.cid, 0, LATER, repair=True)
                failed = False
            except CodexError:
                failed = True
            disk.heal()
        async with open_test_node(tmp_path, disk=disk) as node:
            await store_of(node).maintain()
            if not failed:
                assert await here(node) >= DATASET.leaves(0)
                break
            assert await store_of(node).holds(PURPOSE) == []
            assert await holdings(node) == before, broken
        broken += 1
    assert broken > 5
    audit(tmp_path / "repo")


async def test_a_disk_that_fails_afterwards_hides_not_why_a_slot_was_not_filled(
    people: Neighbourhood, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def drop_hold(self: BlockStore, purpose: str, key: str) -> bool:
        raise DiskFailed("nothing can be written")

    await give(people, 0, 1, 3)
    with monkeypatch.context() as patch:
        patch.setattr(BlockStore, "drop_hold", drop_hold)
        with pytest.raises(BlockNotFound, match="takes K = 4"):
            await people["carol"].on_store(DATASET.cid, 2, LATER)
    [hold] = await store_of(people["carol"]).holds(PURPOSE)
    assert hold.filling, "it is no promise, and goes at the next start"
