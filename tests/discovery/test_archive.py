"""What is written down: it comes back, also in part; what is damaged is begun anew; a full disk is told."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from codex.codec import Cid, Multiaddr, manifest_cid
from codex.discovery.archive import Announced, Archive, Remembered, open_archive
from codex.discovery.providers import Changes, Said
from codex.discovery.seeds import Seed
from codex.errors import DiskFailed
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime import SeededEntropy

NOW = 1_750_000_000.0
ALICE, BOB = (Identity.generate(SeededEntropy(name)) for name in ("alice", "bob"))
ADDRESS = Multiaddr.parse("/ip4/10.0.0.1/udp/8090")
ALICES, BOBS = (SignedPeerRecord.sign(one, 1, [ADDRESS]) for one in (ALICE, BOB))
CIDS = [manifest_cid(bytes([number])) for number in range(3)]


def said(number: int, identity: Identity = ALICE, expiry: float = NOW + 10) -> Said:
    return Said(bytes([number]) * 32, identity.peer_id, expiry, "8.8.8")


def remembered(path: Path, now: float = NOW) -> tuple[Remembered, bool]:
    archive, found, anew = open_archive(path, partial(Archive.remembered, now=now))
    archive.close()
    return found, anew


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dht" / "nodes.sqlite"


def save(path: Path, changes: Changes, seeds: list[Seed] | None = None, now: float = NOW) -> None:
    archive, _, _ = open_archive(path, lambda archive: None)
    archive.save(changes, seeds, now)
    archive.close()


def test_a_new_file_is_empty_and_others_may_not_look_at_it(path: Path) -> None:
    assert remembered(path) == (Remembered((), (), ()), False)
    assert path.parent.stat().st_mode & 0o077 == 0


def test_what_is_saved_comes_back_in_the_order_of_its_expiry(path: Path) -> None:
    seeds = [Seed(ALICES, NOW), Seed(BOBS, NOW - 1)]
    lines = (said(1, expiry=NOW + 3), said(2, BOB, NOW + 2), said(3, expiry=NOW + 1))
    save(path, Changes(lines, (), (ALICES, BOBS)), seeds)
    found, anew = remembered(path)
    assert not anew
    assert list(found.seeds) == seeds
    assert set(found.records) == {ALICES, BOBS}
    assert found.said == tuple(reversed(lines))
    assert remembered(path, NOW + 2)[0].said == lines[:1]


def test_changes_change_what_is_there(path: Path) -> None:
    save(path, Changes((said(1), said(2)), (), (ALICES,)), [Seed(ALICES, NOW)])
    newer = SignedPeerRecord.sign(ALICE, 2, [ADDRESS])
    save(path, Changes((said(1, expiry=NOW + 20),), ((said(2).content, ALICE.peer_id),), (newer,)))
    found, _ = remembered(path)
    assert found == Remembered((Seed(ALICES, NOW),), (newer,), (said(1, expiry=NOW + 20),))


def test_with_the_seeds_goes_what_has_expired_and_whom_nobody_needs(path: Path) -> None:
    save(path, Changes((said(1, expiry=NOW + 1), said(2, BOB, NOW + 5)), (), (ALICES, BOBS)))
    save(path, Changes(), [], NOW + 1)
    found, _ = remembered(path, NOW)
    assert found == Remembered((), (BOBS,), (said(2, BOB, NOW + 5),))


def test_times_of_announcements_come_back(path: Path) -> None:
    archive, found, _ = open_archive(path, Archive.announced)
    assert found == Announced({}, "", 0.0)
    archive.save_announced([(CIDS[0], 1.0), (CIDS[1], 2.0)], [], "/ip4/10.0.0.1/tcp/1", 0.5)
    archive.save_announced([(CIDS[0], 3.0)], [CIDS[1], CIDS[2]], "/ip4/10.0.0.1/tcp/2", 2.5)
    archive.close()
    archive, found, _ = open_archive(path, Archive.announced)
    archive.close()
    assert found == Announced({CIDS[0]: 3.0}, "/ip4/10.0.0.1/tcp/2", 2.5)
    assert all(isinstance(cid, Cid) for cid in found.times)


def test_a_file_from_before_addresses_were_written_down_still_counts(path: Path) -> None:
    archive, _, _ = open_archive(path, Archive.announced)
    archive.save_announced([(CIDS[0], 1.0)], [], "/ip4/10.0.0.1/tcp/1", 0.5)
    archive.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE reached")
    archive, found, anew = open_archive(path, Archive.announced)
    archive.close()
    assert (found, anew) == (Announced({CIDS[0]: 1.0}, "", 0.0), False)


DAMAGE = {
    "garbage": "other bytes",
    "another program's": "PRAGMA application_id = 7",
    "another version's": "PRAGMA user_version = 99",
    "no table": "DROP TABLE seeds",
    "no record": "INSERT INTO seeds VALUES (x'00', 1)",
    "no time": "INSERT INTO said VALUES (x'00', x'01', 'noon', '')",
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_what_is_damaged_is_set_aside_and_begun_anew(path: Path, kind: str) -> None:
    save(path, Changes((said(1),), (), (ALICES,)))
    if kind == "garbage":
        path.write_bytes(b"other bytes" * 1000)
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
    else:
        connection = sqlite3.connect(path)
        connection.execute(DAMAGE[kind])
        connection.commit()
        connection.close()
    assert remembered(path) == (Remembered((), (), ()), True)
    assert path.with_name("nodes.sqlite.damaged").exists()
    assert remembered(path) == (Remembered((), (), ()), False)


def test_a_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "dht").write_text("not a directory")
    with pytest.raises(DiskFailed):
        open_archive(tmp_path / "dht" / "nodes.sqlite", lambda archive: None)


def test_a_disk_that_is_full_is_told_and_nothing_is_half_written(path: Path) -> None:
    archive, _, _ = open_archive(path, lambda archive: None)
    archive.save(Changes((said(1),), (), (ALICES,)), None, NOW)
    (pages,) = archive._connection.execute("PRAGMA page_count").fetchone()
    archive._connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DiskFailed, match="full"):
        archive.save(Changes(tuple(said(number) for number in range(2, 250)), (), ()), None, NOW)
    archive._connection.execute("PRAGMA max_page_count = 100000")
    archive.save(Changes((said(2),), (), ()), None, NOW)
    archive.close()
    assert remembered(path)[0].said == (said(1), said(2))
