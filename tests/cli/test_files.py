"""Files in the making: what they are named, that they are whole or not there, and what is kept for later."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.cli.exits import Failed
from codex.cli.files import KEPT, NAME_LIMIT, open_part, place, safe_name, written

CID = "zDvZRwzkzmFULSGPZYUzyQNcDSoXvtSPjgQxoXhNZ7ZGTbgZ7kfd"


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="photo.jpg"', "photo.jpg"),
        ('attachment; filename="a b (1).tar.gz"', "a b (1).tar.gz"),
        ('attachment; filename="/etc/passwd"', "passwd"),
        ('attachment; filename="../../x"', "x"),
        ('attachment; filename="..\\\\..\\\\x"', "x"),
        ('attachment; filename=".bashrc"', "_bashrc"),
        ('attachment; filename="...x"', "_x"),
        ('attachment; filename="dir/"', "CID"),
        ('attachment; filename="."', "CID"),
        ('attachment; filename=".."', "CID"),
        ('attachment; filename=""', "CID"),
        ('attachment; filename=" "', "CID"),
        ('attachment; filename="a\x00\x1b[2Jb"', "a[2Jb"),
        ('attachment; filename="a"b"', 'a"b'),
        ("attachment; filename=bare", "CID"),
        ("attachment", "CID"),
        ("", "CID"),
        ('attachment; filename="na\u00c3\u00afve"', "na\u00efve"),
    ],
)
def test_a_name_from_elsewhere_is_made_harmless(header: str, name: str) -> None:
    assert safe_name(header, "CID") == name


@given(st.text(max_size=400), st.text(max_size=60))
def test_any_name_stays_in_the_directory(given_name: str, fallback: str) -> None:
    sent = given_name.encode("utf-8", "surrogatepass").decode("latin-1")
    name = safe_name(f'attachment; filename="{sent}"', fallback)
    assert 0 < len(name.encode()) <= NAME_LIMIT
    assert "/" not in name
    assert not name.startswith(".")
    assert name.isprintable()
    assert Path("/a", name).parent == Path("/a")


def test_a_name_has_letters_of_the_locale_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codex.cli.files._ENCODING", "ascii")
    sent = "été.jpg".encode().decode("latin-1")
    assert safe_name(f'attachment; filename="{sent}"', CID) == "?t?.jpg"


def fetched(path: Path, content: bytes, force: bool = False) -> None:
    """Write `content` to `path` as a download does."""
    with open_part(path, CID) as part:
        part.cut(0)
        part.write(content)
        place(part, path, force)


def broken(path: Path, content: bytes) -> None:
    """Break off after `content`."""
    with open_part(path, CID) as part:
        part.write(content)
        raise ZeroDivisionError


def test_a_file_is_there_only_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with open_part(path, CID) as part:
        part.write(b"content")
        assert not path.exists()
        place(part, path, force=False)
    assert path.read_bytes() == b"content"
    with pytest.raises(ZeroDivisionError):
        broken(path, b"other")
    assert path.read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["f"]
    fetched(path, b"newer", force=True)
    assert path.read_bytes() == b"newer"
    assert os.listdir(tmp_path) == ["f"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "f"

    def late() -> None:
        with open_part(path, CID) as part:
            path.write_text("theirs")
            place(part, path, force=False)

    with pytest.raises(Failed, match="exists already"):
        late()
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["f"]


def test_without_links_a_file_is_renamed_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation: the answer of a file system without links is put in."""

    def refusing(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refusing)
    fetched(tmp_path / "f", b"content")
    assert (tmp_path / "f").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["f"]
    with pytest.raises(Failed, match="exists already"):
        fetched(tmp_path / "f", b"other")
    assert (tmp_path / "f").read_bytes() == b"content"


def test_what_is_worth_it_is_kept_and_gone_on_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ZeroDivisionError):
        broken(tmp_path, bytes(KEPT - 1))
    assert os.listdir(tmp_path) == []
    assert capsys.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):
        broken(tmp_path, b"a" * KEPT)
    assert os.listdir(tmp_path) == [f"{CID}.part"]
    assert f"1.00 MiB are kept in {tmp_path}/{CID}.part\n" in capsys.readouterr().err
    with open_part(tmp_path, CID) as part:
        assert part.size == KEPT
        part.write(b"b")
        place(part, tmp_path / "f", force=False)
    assert (tmp_path / "f").read_bytes() == b"a" * KEPT + b"b"
    assert os.listdir(tmp_path) == ["f"]


def test_what_did_not_grow_is_kept_in_silence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"{CID}.part"
    path.write_bytes(bytes(KEPT))

    def fail() -> None:
        with open_part(tmp_path, CID):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.stat().st_size == KEPT
    assert capsys.readouterr().err == ""


def test_a_part_is_cut_where_it_goes_on(tmp_path: Path) -> None:
    (tmp_path / f"{CID}.part").write_bytes(b"0123456789")
    with open_part(tmp_path, CID) as part:
        part.cut(4)
        part.write(b"abc")
        assert part.size == 7
        place(part, tmp_path / "f", force=False)
    assert (tmp_path / "f").read_bytes() == b"0123abc"


def test_two_at_once_have_a_part_each(tmp_path: Path) -> None:
    with open_part(tmp_path, CID) as first:
        first.write(b"first")
        fetched(tmp_path / "second", b"second")
        place(first, tmp_path / "first", force=False)
    assert (tmp_path / "first").read_bytes() == b"first"
    assert (tmp_path / "second").read_bytes() == b"second"
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]


def test_a_third_of_the_same_process_is_refused(tmp_path: Path) -> None:
    with open_part(tmp_path, CID) as first, open_part(tmp_path, CID) as second:
        with pytest.raises(Failed, match="in use"), open_part(tmp_path, CID):
            pass
        place(first, tmp_path / "first", force=False)
        place(second, tmp_path / "second", force=False)


PLACED_MEANWHILE = """
import os, sys
from pathlib import Path
from codex.cli import files
folder = Path(sys.argv[1])
opened = os.open
def slow(path, flags, mode=0o777):
    descriptor = opened(path, flags, mode)
    os.open = opened
    with files.open_part(folder, "z") as part:
        part.write(b"theirs")
        files.place(part, folder / "theirs", force=False)
    return descriptor
(folder / "z.part").write_bytes(b"begun by ")
os.open = slow
with files.open_part(folder, "z") as part:
    part.cut(0)
    part.write(b"ours")
    files.place(part, folder / "ours", force=False)
"""


def test_a_file_that_was_given_its_place_is_not_written_to(tmp_path: Path) -> None:
    """A simulation: another download ends between the opening of the part and its lock."""
    subprocess.run([sys.executable, "-c", PLACED_MEANWHILE, str(tmp_path)], check=True)
    assert (tmp_path / "theirs").read_bytes() == b"begun by theirs"
    assert (tmp_path / "ours").read_bytes() == b"ours"


def test_a_link_in_the_place_of_a_part_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f"{CID}.part").symlink_to("mine")
    with pytest.raises(Failed, match="cannot be written"), open_part(tmp_path / "f", CID):
        pass
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize(
    ("place", "words"),
    [("absent/f", "Make the directory first"), ("file/f", "Make the directory first")],
)
def test_a_place_that_cannot_be_written_has_a_remedy(tmp_path: Path, place: str, words: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failed, match="cannot be written") as caught, open_part(tmp_path / place, CID):
        pass
    assert words in caught.value.remedy


def test_a_full_disk_has_a_remedy() -> None:
    with Path("/dev/full").open("wb", 0) as full:

        def write() -> None:
            with written("f"):
                full.write(b"x")

        with pytest.raises(Failed, match="No space left") as caught:
            write()
    assert "Make room" in caught.value.remedy
