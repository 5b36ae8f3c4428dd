"""Records: replaced, bounded by kind, and listed from the newest."""

import pytest

from codex.errors import InvalidInput
from codex.store.records import LARGEST_VALUE
from codex.store.repo import Repo


def keys(repo: Repo, kind: str = "a", prefix: bytes = b"", before: int | None = None) -> list[bytes]:
    return [record.key for record in repo.stall.records(kind, prefix, before, 1000)]


def test_a_record_is_replaced_in_its_place(repo: Repo) -> None:
    for key, value in ((b"x", b"1"), (b"y", b"2"), (b"x", b"3")):
        repo.stall.put_records("a", [(key, value)], 10)
    assert [(r.key, r.value) for r in repo.stall.records("a", b"", None, 9)] == [(b"y", b"2"), (b"x", b"3")]


def test_each_kind_keeps_its_newest(repo: Repo) -> None:
    repo.stall.put_records("b", [(b"other", b"")], 1)
    for number in range(10):
        repo.stall.put_records("a", [(bytes([number]), b"")], 3)
    assert keys(repo) == [b"\x09", b"\x08", b"\x07"]
    assert keys(repo, "b") == [b"other"]


def test_pages_and_prefixes(repo: Repo) -> None:
    for key in (b"a1", b"b1", b"a2", b"\xff\xff1", b"\xff2", b"a3"):
        repo.stall.put_records("a", [(key, b"")], 10)
    assert keys(repo, prefix=b"a") == [b"a3", b"a2", b"a1"]
    assert keys(repo, prefix=b"\xff") == [b"\xff2", b"\xff\xff1"]
    assert keys(repo, prefix=b"\xff\xff") == [b"\xff\xff1"]
    newest = repo.stall.records("a", b"a", None, 1)[0]
    assert keys(repo, prefix=b"a", before=newest.number) == [b"a2", b"a1"]


def test_a_record_is_forgotten(repo: Repo) -> None:
    repo.stall.put_records("a", [(b"x", b"1")], 10)
    repo.stall.drop_record("a", b"x")
    repo.stall.drop_record("a", b"x")
    assert keys(repo) == []


def test_a_value_has_its_bound(repo: Repo) -> None:
    repo.stall.put_records("a", [(b"x", bytes(LARGEST_VALUE))], 10)
    with pytest.raises(InvalidInput):
        repo.stall.put_records("a", [(b"x", bytes(LARGEST_VALUE + 1))], 10)
