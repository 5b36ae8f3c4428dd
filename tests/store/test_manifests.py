"""Manifests on disk: charged by their own length, mended when they rot, listed in pages."""

from collections.abc import Callable

import pytest

from codex.codec import CODEX_MANIFEST, Cid, manifest_cid
from codex.data import Block, Manifest
from codex.errors import BlockNotFound, CorruptData, DecodeError, InvalidInput, NotAManifest, QuotaExceeded
from codex.store.manifests import Record, record_of
from codex.store.planning import Put
from codex.store.repo import Repo
from codex.testing.stores import make_blocks, make_dataset

Upload = Callable[..., Record]

BLOCKS = make_blocks(range(4), 1000)


def make_record(name: str | None = None) -> Record:
    manifest = make_dataset(BLOCKS, name)[1]
    return record_of(Block(manifest.cid, manifest.to_bytes()))


@pytest.fixture
def rot(repo: Repo) -> Callable[..., None]:
    """Damage the first bytes of a manifest on disk, or of its parity."""

    def rot(cid: Cid, bytes_: int, column: str = "data") -> None:
        with repo._ledger.change("damage") as change:
            (data,) = change.tx.execute(
                f"SELECT {column} FROM manifests WHERE cid = ?", (cid.raw,)
            ).fetchone()
            wrong = bytes(byte ^ 0x55 for byte in data[:bytes_]) + data[bytes_:]
            change.tx.execute(f"UPDATE manifests SET {column} = ? WHERE cid = ?", (wrong, cid.raw))

    return rot


def test_a_small_file_is_charged_as_the_network_does(repo: Repo, upload: Upload) -> None:
    """The reference counts the file `some file contents` as 2 blocks of 65536 + 56 bytes."""
    block = Block.of(b"some file contents".ljust(65536, b"\0"))
    tree, _ = make_dataset([block])
    manifest = Manifest.of_upload(tree.root_cid, 18)
    assert str(manifest.cid) == "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
    repo.put_manifest(record_of(Block(manifest.cid, manifest.to_bytes())), 1e12)
    repo.take_in([Put([block], 1e12)])
    space = repo.catalogue.space()
    assert (space.total_blocks, space.quota_used) == (2, 65536 + 56)


def test_what_is_no_manifest_is_refused() -> None:
    good = make_record()
    with pytest.raises(DecodeError):
        record_of(Block(manifest_cid(b"whatever"), b"whatever"))
    with pytest.raises(InvalidInput):
        record_of(Block(good.cid, good.data + b"\0"))
    with pytest.raises(InvalidInput):
        record_of(BLOCKS[0])


def test_a_manifest_is_found_decoded_and_deleted(repo: Repo) -> None:
    record = make_record("alice")
    repo.put_manifest(record, 1e12)
    repo.put_manifest(record, 1e11)
    assert repo.catalogue.manifest(record.cid) == record.manifest
    assert repo.catalogue.space().total_blocks == 1
    assert repo.drop_dataset(record.cid) is not None
    with pytest.raises(BlockNotFound):
        repo.catalogue.manifest(record.cid)


def test_something_else_is_no_manifest(repo: Repo, upload: Upload) -> None:
    upload(repo, BLOCKS)
    with pytest.raises(NotAManifest):
        repo.catalogue.manifest(BLOCKS[0].cid)
    with pytest.raises(BlockNotFound):
        repo.catalogue.manifest(make_blocks([99])[0].cid)


def test_a_manifest_must_fit_as_well(reopen: Callable[..., Repo]) -> None:
    repo = reopen(quota=100)
    record = make_record()
    repo.put_manifest(record, 1e12)
    with pytest.raises(QuotaExceeded):
        repo.put_manifest(make_record("bob"), 1e12)
    repo.put_manifest(record, 1e13)
    repo.close()


def test_a_tenth_of_a_manifest_may_rot(repo: Repo, rot: Callable[..., None]) -> None:
    record = make_record("a-name-of-some-length.txt")
    repo.put_manifest(record, 1e12)
    rot(record.cid, 9)
    assert repo.catalogue.manifest(record.cid) == record.manifest
    assert repo.reader.find([record.cid]).answers == [Block(record.cid, record.data)]
    assert repo.catalogue.manifests(None, 10) == [(record.cid, record.manifest)]
    damage, last = repo.scrubber.manifests(None)
    assert damage.mended == (record,)
    assert (last, damage.lost, damage.bytes) == (record.cid, (), len(record.data))
    repo.mend_manifests(damage.mended)
    assert repo.scrubber.manifests(None)[0].mended == ()
    with repo.catalogue._readers.borrow() as connection:
        assert connection.execute("SELECT data, parity FROM manifests").fetchone() == (
            record.data,
            record.parity,
        )


def test_parity_that_rots_is_mended_too(repo: Repo, rot: Callable[..., None]) -> None:
    record = make_record()
    repo.put_manifest(record, 1e12)
    rot(record.cid, 14, "parity")
    assert repo.catalogue.manifest(record.cid) == record.manifest
    damage, _ = repo.scrubber.manifests(None)
    assert damage.mended == (record,)


def test_too_much_rot_is_told_and_hides_nothing_else(repo: Repo, rot: Callable[..., None]) -> None:
    bad, good = make_record("alice"), make_record("bob")
    for record in (bad, good):
        repo.put_manifest(record, 1e12)
    rot(bad.cid, 40)
    with pytest.raises(CorruptData, match=str(bad.cid)):
        repo.catalogue.manifest(bad.cid)
    answers = repo.reader.find([bad.cid, good.cid]).answers
    assert isinstance(answers[0], CorruptData)
    assert answers[1] == Block(good.cid, good.data)
    assert repo.catalogue.manifests(None, 10) == [(good.cid, good.manifest)]
    assert repo.scrubber.manifests(None)[0].lost == (bad.cid,)
    repo.put_manifest(bad, 1e12)
    assert repo.catalogue.manifest(bad.cid) == bad.manifest
    assert repo.catalogue.space().total_blocks == 2


def test_pages_go_through_all_in_order(repo: Repo) -> None:
    records = [make_record(f"file{n}") for n in range(10)]
    for record in records:
        repo.put_manifest(record, 1e12)
    expected = sorted(((record.cid, record.manifest) for record in records), key=lambda item: item[0].raw)
    listed: list[tuple[Cid, Manifest]] = []
    while page := repo.catalogue.manifests(listed[-1][0] if listed else None, 3):
        listed += page
    assert listed == expected
    repo.drop_dataset(expected[4][0])
    assert repo.catalogue.manifests(expected[4][0], 1) == [expected[5]]
    assert all(cid.codec == CODEX_MANIFEST for cid, _ in listed)


def test_a_page_of_nothing_but_damage_is_no_end(repo: Repo, rot: Callable[..., None]) -> None:
    records = sorted((make_record(f"file{n}") for n in range(4)), key=lambda record: record.cid.raw)
    for record in records:
        repo.put_manifest(record, 1e12)
    rot(records[0].cid, 40)
    rot(records[1].cid, 40)
    assert repo.catalogue.manifests(None, 2) == [(record.cid, record.manifest) for record in records[2:]]
