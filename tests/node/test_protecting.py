"""Protecting a dataset: the network's own results, all of it or nothing, and what is said when not."""

import errno
from collections.abc import AsyncIterator, Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.codec import Cid
from codex.config import StoreConfig
from codex.data import BLOCK_SIZE, Block, BlockAddress, Manifest, Protection
from codex.erasure import Layout
from codex.errors import (
    CodexError,
    DiskFailed,
    DiskFull,
    InvalidInput,
    NotAManifest,
    NotOnNetwork,
    QuotaExceeded,
)
from codex.kernels.engine import Kernel
from codex.node import JobKind, JobState, ManifestStored, Node, Protected, encoding
from codex.node.events import Events
from codex.node.job import Progress
from codex.node.protecting import Protector
from codex.runtime import Budget
from codex.runtime.threads import Inline
from codex.slots import SlotShape, SlotTree, dataset_tree
from codex.store import BlockStore
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import damage, noise
from codex.testing.disks import FaultyDisk
from codex.testing.neighbourhood import open_test_network
from codex.testing.nodes import holdings, open_test_node, store_of
from codex.testing.steps import watched_steps
from codex.testing.stores import audit, make_blocks, make_dataset, open_test_store, store_dataset

MIB = 1 << 20
SMALL = 2048  # bytes of a block of a single cell, whose root takes next to no time
CONTENT = noise(6 * BLOCK_SIZE + 5)
FOR_EVER = 1 << 30


@pytest.fixture
async def threaded(tmp_path: Path) -> AsyncIterator[Node]:
    """A node that computes in threads."""
    async with open_test_node(tmp_path / "threaded", threads=True, disk=FaultyDisk()) as node:
        yield node


@cache
def content_of(formula: str, size: int) -> bytes:
    """The content of a known value."""
    if formula == "repeat":
        return (bytes((31 * j + 7) & 255 for j in range(256)) * (size // 256 + 1))[:size]
    made, x = bytearray(size), size
    for j in range(size):
        x = (x * 1664525 + 1013904223) & 0xFFFFFFFF
        made[j] = x >> 24
    return bytes(made)


async def protected(node: Node, cid: Cid, k: int, m: int) -> dict[str, Any]:
    """The result of protecting a dataset."""
    view = await (await node.protect(cid, k, m)).wait()
    assert view.error is None, view.error
    assert view.state is JobState.DONE
    assert view.bytes_done == view.bytes_total
    assert isinstance(view.result, dict)
    return view.result


async def failure(node: Node, cid: Cid, k: int, m: int) -> str:
    """The code of the error that protecting a dataset ends with."""
    view = await (await node.protect(cid, k, m)).wait()
    assert (view.state, view.result) == (JobState.FAILED, None)
    assert view.error is not None
    assert view.error.message
    return view.error.code


async def read(node: Node, cid: Cid | str) -> bytes:
    """A dataset, from this node alone."""
    async with node.retrieve(Cid.parse(str(cid)), local=True) as dataset:
        return await dataset.read()


# Most datasets of up to three megabytes; the pure parts are held to all of them, and to larger ones.
KNOWN = [0, 1, 2, 3, 5, *range(8, 14), 15]


async def check_known(node: Node, case: dict[str, Any]) -> None:
    """Protecting the content of a recorded case comes to what was recorded."""
    original, made = case["original_manifest"]["fields"], case["verifiable_manifest"]
    content = content_of(case["content"], case["bytes"])
    cid = await node.store(content, filename=original["filename"], mimetype=original["mimetype"])
    m = case["request_body"]["tolerance"]
    result = await protected(node, cid, case["request_body"]["nodes"] - m, m)
    assert result.pop("protectedCid") not in (str(cid), made["cid"])
    assert result == {
        "verifiableCid": made["cid"],
        "treeCid": made["fields"]["tree_cid"],
        "verifyRoot": made["fields"]["verify_root_cid"],
        "slotRoots": made["fields"]["slot_root_cids"],
    }
    listed = {str(one): manifest async for one, manifest in node.iterate_manifests()}
    assert listed.keys() == {str(cid), made["cid"]}
    assert listed[made["cid"]].to_bytes().hex() == made["hex"]


@pytest.mark.parametrize("number", KNOWN)
async def test_manifests_and_roots_are_those_of_the_network(
    threaded: Node, vectors: Callable[[str], Any], number: int
) -> None:
    await check_known(threaded, vectors("protected")["cases"][number])


@pytest.mark.parametrize("number", [8, 9])  # the smallest ones: 2 + 1 and 3 + 2 rows of three blocks
async def test_they_are_where_there_are_no_kernels(
    threaded: Node, vectors: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(Kernel, "fault", "no engine here")
    await check_known(threaded, vectors("protected")["cases"][number])


async def test_the_manifest_that_is_not_stored_has_its_known_name(
    node: Node, vectors: Callable[[str], Any]
) -> None:
    row = vectors("slots")["datasets"][0]
    content = bytes((7 * j + 13 * (j >> 8) + (j >> 16) + 5) & 255 for j in range(196_508))
    cid = await node.store(content)
    assert str(cid) == row["original_manifest_cid"]
    result = await protected(node, cid, row["K"], row["M"])
    assert result["protectedCid"] == row["protected_manifest"]["cid"]
    assert not await node.has(Cid.parse(result["protectedCid"]))


async def test_all_there_is_to_a_verifiable_dataset_is_here(node: Node, tmp_path: Path) -> None:
    cid = await node.store(CONTENT, filename="codex.png")
    result = await protected(node, cid, 3, 2)
    manifest = await node.fetch_manifest(Cid.parse(result["verifiableCid"]), local=True)
    assert (manifest.filename, manifest.original_size) == ("codex.png", len(CONTENT))
    store = store_of(node)
    # 7 blocks of data, two of padding, and six of parity; what is stored twice takes its room once.
    assert await store.missing(manifest.tree_cid, 0, 15) == 0
    assert (await node.space()).total_blocks == 7 + 6 + 2
    leaves = await store.leaves(manifest.tree_cid, 0, 15)
    assert all(leaf.proof.verify(leaf.cid.digest, manifest.tree_cid.digest) for leaf in leaves)
    for root in manifest.protection.verification.slot_roots:  # type: ignore[union-attr]
        data = await store.get_slot_tree(root)
        assert data is not None
        assert SlotTree.from_bytes(SlotShape.of(manifest), data, root.digest).cid == root
    assert len(dataset_tree(manifest).layers[0]) == 5 * 32
    assert await read(node, result["verifiableCid"]) == CONTENT


async def test_either_of_the_two_may_go(node: Node, tmp_path: Path) -> None:
    before = await holdings(node)
    cid = await node.store(CONTENT)
    alone = await holdings(node)
    verifiable = Cid.parse((await protected(node, cid, 2, 1))["verifiableCid"])
    roots = (await node.fetch_manifest(verifiable)).protection.verification.slot_roots  # type: ignore[union-attr]
    await node.delete(verifiable)
    assert await holdings(node) == alone
    assert await read(node, cid) == CONTENT
    assert await store_of(node).get_slot_tree(roots[0]) is None
    assert Cid.parse((await protected(node, cid, 2, 1))["verifiableCid"]) == verifiable
    await node.delete(cid)
    assert await read(node, verifiable) == CONTENT
    await node.delete(verifiable)
    assert await holdings(node) == before
    audit(tmp_path / "alice" / "repo")


async def test_the_same_again_changes_nothing_and_another_layout_stands_beside_it(node: Node) -> None:
    cid = await node.store(CONTENT)
    first = await protected(node, cid, 2, 1)
    held = await holdings(node)
    assert await protected(node, cid, 2, 1) == first
    assert await holdings(node) == held
    second = await protected(node, cid, 3, 1)
    assert first["verifiableCid"] != second["verifiableCid"]
    assert await read(node, first["verifiableCid"]) == await read(node, second["verifiableCid"]) == CONTENT


async def test_it_is_told_to_whoever_listens(node: Node) -> None:
    cid = await node.store(CONTENT)
    async with node.events(100) as events:
        result = await protected(node, cid, 2, 1)
        stored = [event async for event in _until_ended(events) if isinstance(event, ManifestStored)]
    assert stored == [ManifestStored(Cid.parse(result["verifiableCid"]))]


async def _until_ended(events: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for event in events:
        yield event
        if type(event).__name__ == "JobEnded":
            return


# -- with blocks of a single cell: the flow without the node


async def small(store: BlockStore, count: int, name: str = "small") -> tuple[Cid, Manifest]:
    """A dataset of that many small blocks."""
    content = noise(count * SMALL)
    blocks = [Block.of(content[at : at + SMALL]) for at in range(0, len(content), SMALL)]
    return await store_dataset(store, blocks, name), make_dataset(blocks, name, SMALL)[1]


def protector_of(store: BlockStore, *, batch: int = MIB, budget: Budget | None = None) -> Protector:
    budget = budget or Budget(MIB)
    return Protector(store, Inline(), budget=budget, events=Events(), network=None, cores=2, batch=batch)


async def protect(store: BlockStore, cid: Cid, manifest: Manifest, k: int, m: int, **how: Any) -> Protected:
    protector = protector_of(store, **how)
    return await protector.protect(cid, manifest, await protector.plan(manifest, k, m), Progress())


@pytest.mark.parametrize(("k", "m", "count"), [(4, 2, 23), (1, 1, 5), (3, 3, 9), (30, 5, 61), (250, 30, 251)])
async def test_columns_come_in_batches_of_any_size(tmp_path: Path, k: int, m: int, count: int) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        cid, manifest = await small(store, count)
        whole = await protect(store, cid, manifest, k, m)
        for batch in {1, min(3, count // k) * (k + m) * SMALL}:
            await store.delete_dataset(whole.cid)
            assert await protect(store, cid, manifest, k, m, batch=batch) == whole
        assert whole.manifest.slot_count == k + m
    audit(tmp_path / "repo")


class Watched(BlockStore):
    """A store that notes, at each read of one of 10 columns of 3+2 blocks, how many before it have no root
    yet.
    """

    def __init__(self, store: BlockStore, progress: Progress) -> None:
        super().__init__(store._mailbox)
        self.without: list[int] = []
        self._progress = progress

    async def get_many(self, addresses: Sequence[BlockAddress]) -> list[Block]:
        assert len(addresses) == 3
        self.without.append(5 * len(self.without) - self._progress.bytes_done // SMALL)
        return await super().get_many(addresses)


async def test_batches_that_are_large_go_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        cid, manifest = await small(store, 30)
        found = []
        for alone in (5 * SMALL, 5 * SMALL - 1):
            monkeypatch.setattr(encoding, "ALONE", alone)
            progress = Progress()
            watched = Watched(store, progress)
            protector = protector_of(watched, batch=5 * SMALL)
            made = await protector.protect(cid, manifest, await protector.plan(manifest, 3, 2), progress)
            await store.delete_dataset(made.cid)
            assert len(watched.without) == 10
            found.append(max(watched.without))
    assert 5 <= found[0] <= 10, "two are under way when a third is read, and no more"
    assert found[1] == 0


async def test_its_memory_is_held_of_the_budget(tmp_path: Path) -> None:
    held: list[int] = []

    class Told(Budget):
        def move(self, lent: int, held_more: int) -> None:
            super().move(lent, held_more)
            held.append(held_more)

    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        cid, manifest = await small(store, 30)
        protector = protector_of(store, batch=3 * 5 * SMALL, budget=Told(MIB))
        layout = await protector.plan(manifest, 3, 2)
        await protector.protect(cid, manifest, layout, Progress())
    most = encoding.memory_of(3 * 5 * SMALL)
    assert held == [most, -most]


async def test_cancelled_anywhere_it_leaves_nothing(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        cid, manifest = await small(store, 5)
        before = await store.space(), await store.manifests()
        made = await protect(store, cid, manifest, 2, 1)
        after = await store.space(), await store.manifests()
        await store.delete_dataset(made.cid)

        async def operation() -> None:
            await protect(store, cid, manifest, 2, 1, batch=2 * 3 * SMALL)

        async def check() -> None:
            # The last steps may come after the dataset is there: all of it, or nothing.
            if len(await store.manifests()) == 2:
                assert (await store.space(), await store.manifests()) == after
                assert None not in [await store.get_slot_tree(root) for root in made.slot_roots]
                await store.delete_dataset(made.cid)
            else:
                assert [await store.get_slot_tree(root) for root in made.slot_roots] == [None] * 3
            assert (await store.space(), await store.manifests()) == before

        assert await cancel_at_every_checkpoint(operation, check) > 100
        await operation()
        await check()
    audit(tmp_path / "repo")


async def test_a_disk_that_breaks_at_any_moment_leaves_nothing(tmp_path: Path) -> None:
    disk, broke = FaultyDisk(), 0
    while True:
        async with open_test_store(tmp_path, disk=disk) as store:
            cid, manifest = await small(store, 7)
            before = await store.space(), await store.manifests()
            disk.fail(broke + 1, errno.EIO if broke % 2 else errno.ENOSPC, times=FOR_EVER)
            try:
                made = await protect(store, cid, manifest, 3, 2, batch=2 * 5 * SMALL)
            except (DiskFull, DiskFailed):
                broke += 1
            else:
                break
            finally:
                disk.heal()
        async with open_test_store(tmp_path, disk=disk) as store:
            assert (await store.space(), await store.manifests()) == before
    assert broke > 5
    async with open_test_store(tmp_path, disk=disk) as store:
        assert None not in [await store.get_slot_tree(root) for root in made.slot_roots]
    audit(tmp_path / "repo")


async def test_a_quota_that_fills_up_meanwhile_leaves_nothing(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, StoreConfig(quota=40 * SMALL), disk=FaultyDisk()) as store:
        cid, manifest = await small(store, 20)
        protector = protector_of(store, batch=3 * SMALL)
        layout = await protector.plan(manifest, 2, 1)
        with pytest.raises(QuotaExceeded):
            await protector.plan(manifest, 2, 2)
        await store.put_many(make_blocks(range(100, 111), SMALL))
        before = await store.space()
        with pytest.raises(QuotaExceeded):
            await protector.protect(cid, manifest, layout, Progress())
        assert await store.space() == before
        with pytest.raises(QuotaExceeded):
            await protector.plan(manifest, 2, 1)
    audit(tmp_path / "repo")


async def test_a_dataset_that_is_deleted_meanwhile_ends_it(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        cid, manifest = await small(store, 40)
        empty = await store.space()
        before = evolve(empty, total_blocks=0, quota_used=0)
        protector, progress = protector_of(store, batch=3 * SMALL), Progress()
        layout = await protector.plan(manifest, 2, 1)
        refused = []

        async def work() -> None:
            try:
                await protector.protect(cid, manifest, layout, progress)
            except CodexError as error:
                refused.append(error.code)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            while progress.bytes_done == 0:
                await trio.lowlevel.checkpoint()
            await store.delete_dataset(cid)
        assert refused == ["block-not-found"]
        await store.maintain()
        assert await store.space() == before


async def test_one_at_a_time(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        cid, manifest = await small(store, 8)
        protector = protector_of(store)
        layouts = [await protector.plan(manifest, k, 1) for k in (2, 4)]
        first, second = Progress(), Progress()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(protector.protect, cid, manifest, layouts[0], first)
            while first.phase != "encoding":
                await trio.lowlevel.checkpoint()
            nursery.start_soon(protector.protect, cid, manifest, layouts[1], second)
            while first.phase != "saving":
                await trio.lowlevel.checkpoint()
                assert second.phase in ("starting", "waiting")
        assert first.bytes_done == first.bytes_total == 12 * SMALL
        assert second.bytes_done == second.bytes_total == 10 * SMALL
        assert len(await store.manifests()) == 3


async def test_one_that_is_being_cancelled_is_begun_anew(node: Node) -> None:
    cid = await node.store(CONTENT)
    first = await node.protect(cid, 2, 1)
    while first.phase != "encoding":
        await trio.lowlevel.checkpoint()
    assert await node.protect(cid, 2, 1) is first
    assert node.jobs.cancel(first.id)
    second = await node.protect(cid, 2, 1)
    assert second is not first
    assert await node.protect(cid, 2, 1) is second
    assert (await first.wait()).state is JobState.CANCELLED
    assert await node.protect(cid, 2, 1) is second
    view = await second.wait()
    assert view.state is JobState.DONE
    third = await node.protect(cid, 2, 1)
    assert third is not second
    assert (await third.wait()).result == view.result


async def test_one_that_is_slow_to_end_minds_no_later_one_that_has_ended(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, abort = trio.Event(), BlockStore.abort

    async def slow(self: BlockStore, ingest: str) -> None:
        await gate.wait()
        await abort(self, ingest)

    monkeypatch.setattr(BlockStore, "abort", slow)
    cid = await node.store(CONTENT)
    first = await node.protect(cid, 2, 1)
    while first.phase != "encoding":
        await trio.lowlevel.checkpoint()
    assert node.jobs.cancel(first.id)
    second = await node.protect(cid, 2, 1)
    while second.phase != "waiting":
        await trio.lowlevel.checkpoint()
    assert node.jobs.cancel(second.id)
    assert (await second.wait()).state is JobState.CANCELLED
    gate.set()
    view = await first.wait()
    assert (view.state, view.error) == (JobState.CANCELLED, None)
    await protected(node, cid, 2, 1)


# -- what cannot be


@pytest.mark.parametrize(
    ("k", "m", "says"),
    [
        (8, 1, "blocks, which is 7"),
        (0, 1, "K = 0"),
        (2, 0, "M = 0"),
        (2, 3, "M = 3"),
        (10**30, 1, "65536"),
        (-1, -1, "K = -1"),
    ],
)
async def test_numbers_that_cannot_be_are_named_with_their_limit(
    node: Node, k: int, m: int, says: str
) -> None:
    cid = await node.store(CONTENT)
    before = await holdings(node)
    with pytest.raises(InvalidInput) as caught:
        await node.protect(cid, k, m)
    assert says in str(caught.value)
    assert node.jobs.list(JobKind.PROTECT) == ()
    assert await holdings(node) == before


async def test_a_dataset_is_not_protected_twice(node: Node) -> None:
    cid = await node.store(CONTENT)
    verifiable = Cid.parse((await protected(node, cid, 2, 1))["verifiableCid"])
    with pytest.raises(InvalidInput, match="protected already") as caught:
        await node.protect(verifiable, 2, 1)
    assert caught.value.remedy


async def test_datasets_that_cannot_be_laid_out_are_refused(tmp_path: Path) -> None:
    tree = make_dataset(make_blocks([1]))[0].root_cid
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        protector = protector_of(store)

        async def refusal(manifest: Manifest, k: int, m: int) -> str:
            with pytest.raises(InvalidInput) as caught:
                await protector.plan(manifest, k, m)
            return f"{caught.value.message} {caught.value.remedy}"

        large = Manifest(tree_cid=tree, dataset_size=20_000 * BLOCK_SIZE)
        said = await refusal(large, 4096, 2904)
        assert "7000" in said
        assert "262144" in said
        said = await refusal(large, 4097, 1)
        assert "4097" in said
        assert "at most 4096" in said
        assert (await protector.plan(large, 4096, 1904)).rows == 6000
        odd = Manifest(tree_cid=tree, dataset_size=9 * 1000, block_size=1000)
        assert "1000" in await refusal(odd, 2, 1)
        three_cells = Manifest(tree_cid=tree, dataset_size=9 * 6144, block_size=6144)
        assert "power of two" in await refusal(three_cells, 2, 1)
        endless = Manifest(tree_cid=tree, dataset_size=2**63 - 1)
        assert str(2**63 - 1) in await refusal(endless, 2, 1)
        boxed = evolve(large, protection=Protection(2, 1, tree, 9))
        assert "protected already" in await refusal(boxed, 2, 1)


async def test_what_is_no_dataset_or_not_here_is_told(node: Node) -> None:
    cid = await node.store(CONTENT)
    [leaf] = await store_of(node).leaves((await node.fetch_manifest(cid)).tree_cid, 0, 1)
    with pytest.raises(NotAManifest):
        await node.protect(leaf.cid, 2, 1)
    await node.delete(cid)
    with pytest.raises(CodexError) as caught:
        await node.protect(cid, 2, 1)
    assert caught.value.code == "block-not-found"
    assert node.jobs.list(JobKind.PROTECT) == ()


async def test_a_block_that_is_missing_or_damaged_ends_it(tmp_path: Path) -> None:
    async with open_test_node(tmp_path, disk=FaultyDisk()) as node:
        cid = await node.store(CONTENT)
        damage(tmp_path, CONTENT[BLOCK_SIZE : 2 * BLOCK_SIZE])
        before = await holdings(node)
        assert await failure(node, cid, 3, 1) == "corrupt-data"
        # Known to be damaged, it is missing.
        assert await failure(node, cid, 3, 1) == "block-not-found"
        assert await holdings(node) == before
        assert await node.store(CONTENT) == cid
        assert await read(node, (await protected(node, cid, 3, 1))["verifiableCid"]) == CONTENT
    audit(tmp_path / "repo")


async def test_blocks_that_are_not_those_of_the_manifest_end_it(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        for size in (SMALL - 64, SMALL + 64):
            blocks = [*make_blocks(range(5), SMALL), *make_blocks([9], size)]
            cid = await store_dataset(store, blocks, f"{size}")
            # The store does not look at sizes, nor does the manifest tell them.
            manifest = await store.get_manifest(cid)
            manifest = evolve(manifest, block_size=SMALL, dataset_size=6 * SMALL)
            held = await store.space()
            with pytest.raises(CodexError) as caught:
                await protect(store, cid, manifest, 2, 1)
            assert caught.value.code == "not-a-dataset"
            assert f"{size} bytes" in str(caught.value)
            assert await store.space() == held


async def test_leaves_that_lead_to_another_root_are_not_made_durable(tmp_path: Path) -> None:
    async with open_test_store(tmp_path, disk=FaultyDisk()) as store:
        cid, manifest = await small(store, 6)
        held = await store.space()
        half = evolve(manifest, dataset_size=3 * SMALL)
        with pytest.raises(CodexError) as caught:
            await protect(store, cid, half, 2, 1)
        assert caught.value.code == "corrupt-data"
        assert await store.space() == held


# -- as a job


async def test_it_is_a_job_with_phases_and_bytes(node: Node) -> None:
    cid = await node.store(CONTENT)
    job = await node.protect(cid, 3, 1)
    assert (job.kind, job.subject, job.state) == (JobKind.PROTECT, str(cid), JobState.RUNNING)
    assert await node.protect(cid, 3, 1) is job, "there is one already"
    other = await node.protect(cid, 2, 1)
    assert other is not job
    seen: dict[str, None] = {}
    while job.state is JobState.RUNNING:
        seen[job.phase] = None
        await trio.lowlevel.checkpoint()
    assert [phase for phase in seen if phase != "starting"] == ["encoding", "slots", "saving"]
    assert job.bytes_done == job.bytes_total == (7 + 3) * BLOCK_SIZE
    assert (await other.wait()).state is JobState.DONE
    again = await node.protect(cid, 3, 1)
    assert again is not job
    assert (await again.wait()).result == job.snapshot().result


async def test_a_job_that_is_cancelled_leaves_nothing(node: Node) -> None:
    cid = await node.store(CONTENT)
    before = await holdings(node)
    for done in (0, 1, 4 * BLOCK_SIZE):
        job = await node.protect(cid, 3, 1)
        while job.bytes_done < done:
            await trio.lowlevel.checkpoint()
        assert node.jobs.cancel(job.id)
        view = await job.wait()
        assert (view.state, view.result, view.error) == (JobState.CANCELLED, None, None)
        assert await holdings(node) == before
    await protected(node, cid, 3, 1)


async def test_no_step_of_it_keeps_the_loop(threaded: Node) -> None:
    cid = await threaded.store(noise(16 * MIB))
    await protected(threaded, await threaded.store(CONTENT), 3, 2)  # what is loaded once is loaded now
    with watched_steps() as watch:
        await protected(threaded, cid, 7, 1)
    assert watch.steps > 500
    assert watch.over == 0, f"{watch.worst_cpu_task} kept the loop for {watch.worst_cpu:.3f} s"


# -- with others around


async def test_what_is_not_here_is_fetched_first_and_found_by_others_afterwards(
    autojump_clock: MockClock,
) -> None:
    async with open_test_network("alice", "bob", "carol") as people:
        cid = await people["alice"].store(CONTENT)
        async with people["bob"].retrieve(cid, offset=BLOCK_SIZE, length=BLOCK_SIZE) as part:
            await part.read()  # one block is here
        job = await people["bob"].protect(cid, 3, 2)
        view = await job.wait()
        assert view.bytes_done == view.bytes_total == (6 + 7 + 6) * BLOCK_SIZE
        await people.stop("alice")
        result = view.result
        assert isinstance(result, dict)
        verifiable = Cid.parse(result["verifiableCid"])
        async with people["carol"].retrieve(verifiable) as dataset:
            assert await dataset.read() == CONTENT
        async with people["carol"].retrieve(cid) as dataset:
            assert await dataset.read() == CONTENT
        assert (await protected(people["carol"], cid, 3, 2)) == result


async def test_a_block_that_turns_out_damaged_is_fetched(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "bob", directory=tmp_path) as people:
        cid = await people["alice"].store(CONTENT)
        assert await people["bob"].store(CONTENT) == cid
        expected = await protected(people["alice"], cid, 3, 1)
        damage(tmp_path / "bob", CONTENT[BLOCK_SIZE : 2 * BLOCK_SIZE])
        assert await protected(people["bob"], cid, 3, 1) == expected
        assert await read(people["bob"], expected["verifiableCid"]) == CONTENT


async def test_what_nobody_has_any_more_is_told(autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "bob") as people:
        cid = await people["alice"].store(CONTENT)
        await people["bob"].fetch_manifest(cid)
        await people.stop("alice")
        assert await failure(people["bob"], cid, 3, 1) == NotOnNetwork.code
        assert len([manifest async for manifest in people["bob"].iterate_manifests()]) == 1


def test_the_layout_tells_jobs_apart() -> None:
    assert Layout(7, 3, 1) == Layout(7, 3, 1) != Layout(7, 3, 2)
