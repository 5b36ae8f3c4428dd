"""Stores that the tests of this folder open."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from codex.codec import Cid
from codex.data import Block
from codex.store.manifests import Record, record_of
from codex.store.opening import open_repo
from codex.store.planning import Stage
from codex.store.repo import Repo
from codex.testing.disks import FaultyDisk
from codex.testing.stores import audit, make_dataset

QUOTA = 1 << 20


@pytest.fixture
def disk() -> FaultyDisk:
    """The disk that `repo` is on."""
    return FaultyDisk()


@pytest.fixture
def reopen(tmp_path: Path, disk: FaultyDisk) -> Callable[..., Repo]:
    """Open the store in the test's directory: small segments, no ballast, one MiB of quota."""

    def reopen(**options: object) -> Repo:
        return open_repo(
            tmp_path / "repo",
            **{"quota": QUOTA, "disk": disk, "segment_bytes": 8192, "ballast_bytes": 0, **options},
        )

    return reopen


@pytest.fixture
def repo(tmp_path: Path, reopen: Callable[..., Repo]) -> Iterator[Repo]:
    """An empty store, audited when the test is done with it."""
    repo = reopen()
    yield repo
    repo.abandon()
    audit(tmp_path / "repo")


@pytest.fixture
def upload() -> Callable[..., Record]:
    """Store blocks as a dataset: `upload(repo, blocks, name)`; its manifest, with its CID."""

    def upload(repo: Repo, blocks: list[Block], name: str | None = None, expiry: float = 1e12) -> Record:
        tree, manifest = make_dataset(blocks, name)
        record = record_of(Block(manifest.cid, manifest.to_bytes()))
        ingest = repo.begin()
        assert repo.take_in([Stage(ingest, 0, blocks)]) == [None]
        repo.commit(ingest, tree, record, expiry)
        return record

    return upload


@pytest.fixture
def clear() -> Callable[[Repo], None]:
    """Remove all leaves that nothing keeps: `clear(repo)`."""

    def clear(repo: Repo, now: float = 0.0) -> None:
        while (tree := repo.next_tree()) is not None:
            while repo.sweep(tree, now, 3):
                pass

    return clear


@pytest.fixture
def has() -> Callable[..., list[bool]]:
    """Which of some blocks are in a store: `has(repo, blocks)`."""

    def has(repo: Repo, blocks: list[Block | Cid]) -> list[bool]:
        return repo.reader.has([block if isinstance(block, Cid) else block.cid for block in blocks])

    return has
