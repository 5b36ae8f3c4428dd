"""The long looks at the store as jobs: what they find, what they leave, and where a backup may go."""

import json
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block, Manifest, MerkleTree
from codex.errors import BlockNotFound, InvalidInput, NotAManifest, NotEnabled
from codex.node import Job, JobKind, JobState, Node
from codex.node.job import Json
from codex.node.tasks import LISTED, backup_target
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import damage, noise
from codex.testing.counting import leak_check
from codex.testing.nodes import open_test_node, store_of
from codex.testing.stores import audit

MIB = 1 << 20
CONTENT = noise(20 * MIB + 1)


async def result(job: Job) -> Json:
    """What a job that went well has found; it can be said in JSON."""
    view = await job.wait()
    assert view.error is None
    assert view.state is JobState.DONE
    assert json.loads(json.dumps(view.result)) == view.result
    return view.result


async def manifest_alone(node: Node, content: bytes) -> tuple[Cid, Manifest]:
    """A dataset of which the node has nothing but the manifest."""
    blocks = [Block.of(content[at : at + BLOCK_SIZE]) for at in range(0, len(content), BLOCK_SIZE)]
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    manifest = Manifest.of_upload(tree.root_cid, len(content))
    return await store_of(node).put_manifest(manifest.to_bytes()), manifest


# -- verify


async def test_a_sound_dataset_is_verified(node: Node) -> None:
    cid = await node.store(CONTENT)
    job = await node.verify(cid)
    assert (job.kind, job.snapshot().subject) == (JobKind.VERIFY, str(cid))
    blocks = -(-len(CONTENT) // BLOCK_SIZE)
    assert await result(job) == {
        "blocks": blocks,
        "bytes": blocks * BLOCK_SIZE,
        "sound": True,
        "corruptBlocks": 0,
        "corrupt": [],
        "missingBlocks": 0,
        "missing": [],
    }
    assert job.bytes_done == job.bytes_total == blocks * BLOCK_SIZE


async def test_damage_is_found_and_named(node: Node) -> None:
    cid = await node.store(CONTENT)
    third = CONTENT[2 * BLOCK_SIZE : 3 * BLOCK_SIZE]
    damage(node.config.data_dir, third)
    found = await result(await node.verify(cid))
    assert isinstance(found, dict)
    assert found["sound"] is False
    assert (found["corruptBlocks"], found["corrupt"]) == (1, [str(Block.of(third).cid)])
    assert found["bytes"] == (found["blocks"] - 1) * BLOCK_SIZE


async def test_blocks_that_are_not_here_are_named_as_far_as_a_list_goes(node: Node) -> None:
    count = LISTED + 7
    manifest = Manifest.of_upload(MerkleTree.of([Block.of(b"x").cid.digest]).root_cid, count * BLOCK_SIZE)
    cid = await store_of(node).put_manifest(manifest.to_bytes())
    found = await result(await node.verify(cid))
    assert isinstance(found, dict)
    assert (found["sound"], found["blocks"], found["bytes"]) == (False, count, 0)
    assert (found["missingBlocks"], found["missing"]) == (count, list(range(LISTED)))


async def test_what_is_no_dataset_here_cannot_be_verified(node: Node) -> None:
    cid = await node.store(CONTENT[:100])
    manifest = await node.fetch_manifest(cid)
    [leaf] = await store_of(node).leaves(manifest.tree_cid, 0, 1)
    with pytest.raises(NotAManifest):
        await node.verify(leaf.cid)
    await node.delete(cid)
    with pytest.raises(BlockNotFound):
        await node.verify(cid)
    assert node.jobs.list(JobKind.VERIFY) == ()


async def test_a_dataset_that_goes_away_meanwhile_is_told(node: Node) -> None:
    cid = await node.store(CONTENT)
    job = await node.verify(cid)
    await node.delete(cid)
    view = await job.wait()
    if view.error is not None:  # it went before the first look
        assert view.error.code == "block-not-found"
    else:
        assert view.state is JobState.DONE


# -- scrub


async def test_a_sound_store_is_scrubbed(node: Node) -> None:
    await node.store(CONTENT)
    await node.store(b"some file contents")
    used = (await node.space()).quota_used
    job = await node.scrub()
    assert (job.kind, job.snapshot().subject) == (JobKind.SCRUB, None)
    assert await result(job) == {
        "bytes": used,
        "sound": True,
        "corruptBlocks": 0,
        "corrupt": [],
        "mendedManifests": 0,
        "mended": [],
    }
    assert job.bytes_done == job.bytes_total == used


async def test_a_scrub_finds_damage(node: Node) -> None:
    await node.store(CONTENT)
    last = CONTENT[-1:] + bytes(BLOCK_SIZE - 1)
    damage(node.config.data_dir, last)
    found = await result(await node.scrub())
    assert isinstance(found, dict)
    assert (found["sound"], found["corruptBlocks"]) == (False, 1)
    assert found["corrupt"] == [str(Block.of(last).cid)]


async def test_there_is_one_scrub_at_a_time(node: Node) -> None:
    await node.store(CONTENT)
    first = await node.scrub()
    assert await node.scrub() is first
    await first.wait()
    second = await node.scrub()
    assert second is not first
    await second.wait()


async def test_a_scrub_can_be_cancelled(node: Node) -> None:
    await node.store(CONTENT)
    job = await node.scrub()
    node.jobs.cancel(job.id)
    assert (await job.wait()).state is JobState.CANCELLED
    assert await result(await node.scrub())


# -- fetch


async def test_a_dataset_that_is_here_is_fetched_at_once(node: Node) -> None:
    cid = await node.store(CONTENT)
    job = await node.fetch_dataset_async_task(cid)
    view = job.snapshot()
    assert (view.kind, view.subject, view.state) == (JobKind.FETCH, str(cid), JobState.DONE)
    assert (view.bytes_done, view.bytes_total) == (0, 0)
    assert node.jobs.get(job.id) is job


async def test_a_dataset_that_is_elsewhere_cannot_be_fetched_yet(node: Node) -> None:
    cid, manifest = await manifest_alone(node, CONTENT)
    with pytest.raises(NotEnabled, match=f"{manifest.block_count} blocks"):
        await node.fetch_dataset_async_task(cid)
    [job] = node.jobs.list(JobKind.FETCH)
    error = job.snapshot().error
    assert error is not None
    assert (job.state, error.code) == (JobState.FAILED, "not-enabled")
    assert job.bytes_total == manifest.block_count * BLOCK_SIZE


async def test_an_unknown_dataset_cannot_be_fetched(node: Node) -> None:
    cid = await node.store(b"some file contents")
    await node.delete(cid)
    with pytest.raises(BlockNotFound):
        await node.fetch_dataset_async_task(cid)
    assert [job.state for job in node.jobs.list(JobKind.FETCH)] == [JobState.FAILED]


# -- backup


async def test_a_backup_is_a_store_of_its_own(node: Node, tmp_path: Path) -> None:
    cid = await node.store(CONTENT)
    target = tmp_path / "backup"
    job = await node.backup(target)
    assert (job.kind, job.snapshot().subject) == (JobKind.BACKUP, str(target))
    found = await result(job)
    assert isinstance(found, dict)
    assert found["path"] == str(target)
    assert isinstance(found["bytes"], int)
    assert found["bytes"] >= len(CONTENT)
    assert job.bytes_done == job.bytes_total == found["bytes"]
    audit(target)
    other = tmp_path / "bob"
    other.mkdir(mode=0o700)
    shutil.move(target, other / "repo")
    async with open_test_node(other, seed="bob") as bob, bob.retrieve(cid) as dataset:
        assert await dataset.read() == CONTENT


async def test_a_backup_cancelled_anywhere_leaves_nothing(node: Node, tmp_path: Path) -> None:
    await node.store(CONTENT[: 3 * BLOCK_SIZE])
    target = tmp_path / "backups" / "today"
    target.parent.mkdir()

    async def backup() -> None:
        job = await node.backup(target)
        try:
            await job.wait()
        finally:
            node.jobs.cancel(job.id)
            with trio.CancelScope(shield=True):
                await job.wait()

    async def check() -> None:
        assert node.jobs.list(JobKind.BACKUP, JobState.RUNNING) == ()
        left = [path.name for path in target.parent.iterdir()]
        assert left in ([], ["today"])
        if left:
            audit(target)
            shutil.rmtree(target)

    assert await cancel_at_every_checkpoint(backup, check) > 10
    states = {job.state for job in node.jobs.list(JobKind.BACKUP)}
    assert states == {JobState.DONE, JobState.CANCELLED}


async def test_a_node_that_stops_cuts_a_backup_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "backups").mkdir()
    with leak_check():
        async with open_test_node(tmp_path / "alice") as node:
            await node.store(CONTENT)
            job = await node.backup(tmp_path / "backups" / "today")
        assert job.state is JobState.CANCELLED
    assert list((tmp_path / "backups").iterdir()) == []
    audit(tmp_path / "alice" / "repo")


async def test_with_real_threads_all_go_on_side_by_side_and_end_with_the_node(tmp_path: Path) -> None:
    with leak_check():
        async with open_test_node(tmp_path / "alice", threads=True) as node:
            cid = await node.store(CONTENT)
            jobs = [await node.verify(cid), await node.scrub(), await node.backup(tmp_path / "backup")]
            for job in jobs:
                await result(job)
            cut = [await node.verify(cid), await node.scrub(), await node.backup(tmp_path / "second")]
    assert all(job.state in (JobState.CANCELLED, JobState.DONE) for job in cut)
    left = sorted(os.listdir(tmp_path))
    assert left == ["alice", "backup", *["second"] * (cut[2].state is JobState.DONE)]


async def test_a_second_backup_to_the_same_place_is_refused(node: Node, tmp_path: Path) -> None:
    await node.store(CONTENT)
    target = tmp_path / "backup"
    refusals = []

    async def second() -> None:
        with pytest.raises(InvalidInput) as caught:
            await node.backup(tmp_path / "alice" / ".." / "backup")
        refusals.append(caught.value.message)

    first = await node.backup(target)
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(second)
    assert len(refusals) == 3
    await result(first)
    with pytest.raises(InvalidInput, match="exists"):
        await node.backup(target)


# -- where a backup may go


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A data directory."""
    (tmp_path / "alice" / "repo").mkdir(parents=True)
    return tmp_path / "alice"


def test_a_backup_may_go_where_nothing_is(home: Path, tmp_path: Path) -> None:
    assert backup_target(tmp_path / "backup", home) == tmp_path / "backup"
    assert backup_target(home / ".." / "backup", home) == tmp_path / "backup"
    assert backup_target(tmp_path / "alice-backup", home) == tmp_path / "alice-backup"
    (tmp_path / "link").symlink_to(tmp_path)
    assert backup_target(tmp_path / "link" / "backup", home) == tmp_path / "backup"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alice", "link"]


def test_a_relative_path_is_meant_from_here(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert backup_target(Path("backup"), home) == tmp_path / "backup"
    with pytest.raises(InvalidInput, match="inside the data directory"):
        backup_target(Path("backup"), tmp_path)


def refused(path: Path, home: Path) -> str:
    with pytest.raises(InvalidInput) as caught:
        backup_target(path, home)
    assert caught.value.remedy
    return caught.value.message


def test_a_backup_may_not_go_where_something_is(home: Path, tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "directory")
    for name in ("directory", "file", "link", ".", ".."):
        assert "exists" in refused(tmp_path / name, home)
    assert "exists" in refused(Path("/"), home)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_backup_may_not_go_into_the_data_directory(home: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(home)
    for path in (home, home / "backup", home / "repo" / "backup", tmp_path / "link" / "backup"):
        assert refused(path, home).endswith("is inside the data directory")
        assert refused(path, tmp_path / "link").endswith("is inside the data directory")


def test_a_backup_needs_a_directory_to_be_made_in(home: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert refused(tmp_path / "no" / "backup", home) == f"there is no directory {tmp_path / 'no'}"
    assert refused(tmp_path / "file" / "backup", home) == f"there is no directory {tmp_path / 'file'}"


@pytest.mark.parametrize("linked", [True, False])
def test_what_stands_where_a_backup_is_gathered_is_not_cleared_away(
    home: Path, tmp_path: Path, linked: bool
) -> None:
    gathered = tmp_path / ".backup.unfinished-backup"
    letters = tmp_path / "letters" if linked else gathered
    (letters / "segments").mkdir(parents=True)
    (letters / "letter").write_text("dear bob")
    (letters / "segments" / "x").write_text("dear alice")
    if linked:
        gathered.symlink_to(letters)
    assert refused(tmp_path / "backup", home) == f"{gathered} exists"
    assert (letters / "letter").read_text() == "dear bob"
    assert (letters / "segments" / "x").read_text() == "dear alice"


async def test_a_node_leaves_what_stands_where_a_backup_is_gathered(node: Node, tmp_path: Path) -> None:
    letters = tmp_path / "letters"
    (letters / "segments").mkdir(parents=True)
    (letters / "letter").write_text("dear bob")
    (tmp_path / ".backup.unfinished-backup").symlink_to(letters)
    await node.store(CONTENT[:100])
    with pytest.raises(InvalidInput, match="unfinished-backup exists"):
        await node.backup(tmp_path / "backup")
    assert sorted(path.name for path in letters.iterdir()) == ["letter", "segments"]
    assert not (tmp_path / "backup").exists()


async def test_a_name_is_short_enough_for_the_whole_way_or_refused_at_once(
    node: Node, tmp_path: Path
) -> None:
    with pytest.raises(InvalidInput, match="File name too long"):
        await node.backup(tmp_path / ("x" * 240))
    deep = tmp_path
    while len(bytes(deep)) < 470:
        deep /= "x" * 40
    deep.mkdir(parents=True)
    with pytest.raises(InvalidInput, match="perhaps the path is too long"):
        await node.backup(deep / "backup")
    assert list(deep.iterdir()) == []
    assert node.jobs.list(JobKind.BACKUP) == ()
    await result(await node.backup(tmp_path / ("x" * 236)))


def test_a_path_that_can_be_none_is_refused(home: Path, tmp_path: Path) -> None:
    (tmp_path / "round").symlink_to(tmp_path / "round")
    for path in (tmp_path / "a\0b", tmp_path / "\ud800", tmp_path / ("x" * 300), tmp_path / "round" / "b"):
        message = refused(path, home)
        assert message.isprintable()


def test_a_place_where_one_may_not_write_is_refused(home: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(stat.S_IRUSR | stat.S_IXUSR | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    with ordinary_user():
        assert "no permission" in refused(closed / "backup", home)


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Be somebody who has to ask: the superuser may write anywhere."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)
