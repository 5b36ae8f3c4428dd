"""The key file: made once, whole and private; read back the same; refused when others could read it."""

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from codex.errors import CodexError, ConfigError, DiskFailed
from codex.p2p import Identity, load_or_create
from codex.runtime.clock import SeededEntropy

Vectors = Callable[[str], Any]


class NoEntropy:
    """For loads that must not draw a key."""

    def token(self, n: int) -> bytes:
        raise AssertionError("a key was drawn")


def test_a_key_is_made_once_and_read_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "key"
    alice = load_or_create(path, SeededEntropy("alice"))
    assert path.read_bytes() == alice.to_bytes()
    assert path.read_bytes()[:4] == b"\x08\x02\x12\x20"
    assert len(path.read_bytes()) == 36
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create(path, NoEntropy()).peer_id == alice.peer_id
    assert os.listdir(tmp_path) == ["key"]


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_the_mode_does_not_depend_on_the_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        load_or_create(tmp_path / "key", SeededEntropy("alice"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_key_files_of_the_network_are_read(tmp_path: Path, vectors: Vectors) -> None:
    for row in vectors("spr")["identities"]:
        path = tmp_path / row["name"]
        path.write_bytes(bytes.fromhex(row["private_key_file_hex"]))
        path.chmod(0o600)
        assert str(load_or_create(path, NoEntropy()).peer_id) == row["peer_id"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o700, 0o400, 0o602, 0o4600])
def test_a_key_that_others_may_read_is_refused_with_what_to_do(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    path.write_bytes(Identity.generate(SeededEntropy("alice")).to_bytes())
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        load_or_create(path, NoEntropy())
    assert f"{mode:04o}" in caught.value.message
    assert caught.value.remedy == f"Run: chmod 600 {path}"


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"\x08\x02\x12\x20", b"\x08\x01\x12\x20" + bytes(32), bytes(5000)],
)
def test_a_file_without_a_key_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load_or_create(path, NoEntropy())
    assert str(path) in caught.value.message
    assert caught.value.remedy
    assert path.read_bytes() == content


def test_a_link_to_a_key_is_followed(tmp_path: Path) -> None:
    alice = load_or_create(tmp_path / "elsewhere", SeededEntropy("alice"))
    (tmp_path / "key").symlink_to("elsewhere")
    assert load_or_create(tmp_path / "key", NoEntropy()).peer_id == alice.peer_id


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(ConfigError) as caught:
            load_or_create(tmp_path / name, NoEntropy())
        assert "--net-privkey" in caught.value.remedy


def test_a_place_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "absent" / "key")
    for path in (tmp_path / "absent" / "key", tmp_path / "file" / "key", tmp_path / "dangling"):
        with pytest.raises(CodexError) as caught:
            load_or_create(path, SeededEntropy("alice"))
        assert str(path) in caught.value.message
        assert "--net-privkey" in caught.value.remedy


class Meanwhile:
    """Another process that makes the key while ours is being drawn."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def token(self, n: int) -> bytes:
        load_or_create(self.path, SeededEntropy("bob"))
        return SeededEntropy("alice").token(n)


def test_a_key_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "key"
    made = load_or_create(path, Meanwhile(path))
    assert made.peer_id == Identity.generate(SeededEntropy("bob")).peer_id
    assert os.listdir(tmp_path) == ["key"]


def test_a_half_made_key_is_no_key(tmp_path: Path) -> None:
    (tmp_path / f"key.{os.getpid()}.new").write_bytes(b"half")
    alice = load_or_create(tmp_path / "key", SeededEntropy("alice"))
    assert (tmp_path / "key").read_bytes() == alice.to_bytes()
    assert os.listdir(tmp_path) == ["key"]


def test_a_key_that_does_not_reach_the_disk_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulation: the kernel's answer to the flush is put in, since no test can break a disk."""

    def broken(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(DiskFailed, match="Input/output error"):
        load_or_create(tmp_path / "key", SeededEntropy("alice"))
    assert os.listdir(tmp_path) == []
