"""A disk that refuses at each of its calls in turn, in the middle of a whole life of a store.

For every n the same story is told to a fresh store whose n-th change of the disk fails. Each step of the
story either is done or raises the right error, and has then changed nothing; the store lives on, and all
that was acknowledged is there, also after a power cut at the end.
"""

import errno
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from codex.data import Block
from codex.errors import CodexError, DiskFailed, DiskFull
from codex.store import Hold
from codex.store.manifests import record_of
from codex.store.opening import open_repo
from codex.store.planning import Put, Request, Stage
from codex.store.repo import Repo
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_blocks, make_dataset

ALICE, BOB = make_blocks(range(7), 1000), make_blocks(range(4, 12), 1000)
LOOSE = make_blocks(range(20, 25), 1000)


class Story:
    """What is told to a store, and what came of it."""

    def __init__(self, repo: Repo, refusal: type[CodexError]) -> None:
        self.repo = repo
        self.refusal = refusal
        self.remedies: list[str] = []
        self.kept: dict[str, list[Block]] = {}

    def attempt(self, work: Callable[[], object]) -> bool:
        """Do something, once more if it was refused; whether it was done the first time."""
        before = self.repo.catalogue.space()
        try:
            work()
        except self.refusal as error:
            self.remedies.append(error.remedy)
            assert self.repo.catalogue.space() == before
            audit(self.repo.directory)
            work()
            return False
        return True

    def take_in(self, request: Request) -> None:
        def work() -> None:
            (verdict,) = self.repo.take_in([request])
            if verdict is not None:
                raise verdict

        self.attempt(work)

    def upload(self, name: str, blocks: list[Block]) -> Callable[[], object]:
        """Store a dataset; what deletes it again."""
        ingests: list[int] = []
        self.attempt(lambda: ingests.append(self.repo.begin()))
        for first in range(0, len(blocks), 3):
            self.take_in(Stage(ingests[0], first, blocks[first : first + 3]))
        tree, manifest = make_dataset(blocks, name)
        record = record_of(Block(manifest.cid, manifest.to_bytes()))
        self.attempt(lambda: self.repo.commit(ingests[0], tree, record, 1e12))
        self.kept[name] = blocks
        return lambda: self.repo.drop_dataset(record.cid)

    def clear(self) -> None:
        while (tree := self.repo.next_tree()) is not None:
            while self.step(lambda tree=tree: self.repo.sweep(tree, 0.0, 3)):
                pass

    def step(self, work: Callable[[], bool]) -> bool:
        """One step of something that goes on until there is nothing to do."""
        more: list[bool] = []
        self.attempt(lambda: more.append(work()))
        return more[-1]

    def check(self, repo: Repo) -> None:
        for blocks in self.kept.values():
            assert repo.reader.find([block.cid for block in blocks]).answers == blocks

    def tell(self) -> None:
        """Everything that changes a store, with datasets that share blocks, over several segments."""
        repo = self.repo
        self.take_in(Put(LOOSE[:3], 1e12))
        self.kept["loose"] = LOOSE[:3]
        delete_alice = self.upload("alice", ALICE)
        self.upload("bob", BOB)
        self.check(repo)
        ingests: list[int] = []
        self.attempt(lambda: ingests.append(repo.begin()))
        self.take_in(Stage(ingests[0], 0, [*LOOSE[3:], *ALICE[:2]]))
        self.attempt(lambda: repo.abort(ingests[0]))
        del self.kept["alice"]
        self.attempt(delete_alice)
        self.clear()
        self.check(repo)
        self.attempt(lambda: repo.hold(Hold("slot", "a", make_dataset(BOB)[0].root_cid, 0, 2, 1e12)))
        self.attempt(lambda: repo.extend([LOOSE[0].cid], 2e12))
        numbers: list[int] = []
        self.attempt(lambda: numbers.append(repo.reserve(100, "sales")))
        self.attempt(lambda: repo.release(numbers[0]))
        self.take_in(Put(LOOSE[4:], 5.0))
        while self.step(lambda: repo.expire(10.0, 2) > 0):
            pass
        while self.step(repo.compact):
            pass
        self.check(repo)


def open_store(directory: Path, disk: FaultyDisk) -> Repo:
    return open_repo(directory, quota=1 << 20, disk=disk, segment_bytes=4096, ballast_bytes=0)


def length_of_the_story(directory: Path) -> int:
    disk = FaultyDisk()
    repo = open_store(directory, disk)
    before = disk.changes
    Story(repo, DiskFull).tell()
    changes = disk.changes - before
    repo.close()
    return changes


@pytest.mark.parametrize(("code", "refusal"), [(errno.ENOSPC, DiskFull), (errno.EIO, DiskFailed)])
def test_the_disk_refuses_one_call(tmp_path: Path, code: int, refusal: type[CodexError]) -> None:
    chance = random.Random(code)
    length = length_of_the_story(tmp_path / "whole")
    assert length > 60
    for at in range(1, length + 1):
        disk = FaultyDisk()
        directory = tmp_path / str(at)
        story = Story(open_store(directory, disk), refusal)
        disk.fail(at, code)
        story.tell()
        assert story.remedies == [] or (len(story.remedies) == 1 and story.remedies[0])
        audit(directory)
        used = story.repo.catalogue.space()
        disk.cut(directory, tmp_path / f"{at}.cut", lambda: chance.random() < 0.5)
        story.repo.abandon()
        again = open_store(tmp_path / f"{at}.cut", FaultyDisk())
        story.check(again)
        assert again.catalogue.space() == used
        assert again.catalogue.recount().right
        again.abandon()
        audit(tmp_path / f"{at}.cut")


def test_a_power_cut_at_any_call(tmp_path: Path) -> None:
    """The store is abandoned in the middle of whatever it was doing; what had been acknowledged is there."""
    chance = random.Random(7)
    length = length_of_the_story(tmp_path / "whole")
    for at in range(1, length + 1, 2):
        disk = FaultyDisk()
        directory = tmp_path / str(at)
        story = Story(open_store(directory, disk), DiskFailed)
        disk.fail(at, errno.EIO, times=10**6)
        with suppress(CodexError):  # none when only removing the last file fails
            story.tell()
        after = tmp_path / f"{at}.cut"
        disk.cut(directory, after, lambda: chance.random() < 0.5)
        disk.heal()
        story.repo.abandon()
        again = open_store(after, FaultyDisk())
        story.check(again)
        assert again.catalogue.recount().right
        audit(after)
        again.abandon()
