"""`codex get` against a stand-in: where bytes end up, and that nothing is left of what is not whole."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.cli.exits import Failed
from codex.cli.get import NAME_LIMIT, new_file, safe_name

Run = Callable[..., subprocess.CompletedProcess[bytes]]
CONTENT = bytes(range(256)) * 3000


@pytest.fixture
def serving(node: Any, cid: str) -> Any:
    """A stand-in with one dataset, named."""
    headers = {"Content-Disposition": 'attachment; filename="photo.jpg"'}
    node.replies[f"GET /data/{cid}"] = (200, headers, CONTENT)
    return node


def test_a_dataset_comes_under_its_own_name(codex: Run, serving: Any, work: Path, cid: str) -> None:
    done = codex("get", cid, port=serving.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"photo.jpg\n", b"")
    assert (work / "photo.jpg").read_bytes() == CONTENT
    assert os.listdir(work) == ["photo.jpg"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((work / "photo.jpg").stat().st_mode) == 0o666 & ~umask


def test_without_a_name_it_comes_under_its_cid(codex: Run, node: Any, work: Path, cid: str) -> None:
    node.replies[f"GET /data/{cid}"] = (200, {"Content-Disposition": "attachment"}, b"x")
    assert codex("get", cid, port=node.port).returncode == 0
    assert (work / cid).read_bytes() == b"x"


def test_it_goes_where_it_is_told(codex: Run, serving: Any, work: Path, cid: str) -> None:
    (work / "folder").mkdir()
    for output, path in (("other", "other"), ("folder", "folder/photo.jpg"), ("folder/new", "folder/new")):
        done = codex("get", cid, "-o", output, port=serving.port)
        assert (done.returncode, done.stdout) == (0, b"")
        assert (work / path).read_bytes() == CONTENT


def test_it_goes_to_standard_output(codex: Run, serving: Any, work: Path, cid: str) -> None:
    done = codex("get", cid, "-o", "-", port=serving.port)
    assert (done.returncode, done.stdout) == (0, CONTENT)
    assert os.listdir(work) == []


def test_it_goes_to_a_device(codex: Run, serving: Any, cid: str) -> None:
    assert codex("get", cid, "-o", "/dev/null", port=serving.port).returncode == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_what_exists_is_not_replaced_unasked(codex: Run, serving: Any, work: Path, cid: str) -> None:
    (work / "photo.jpg").write_text("mine")
    (work / "other").symlink_to("photo.jpg")
    for words in ([], ["-o", "photo.jpg"], ["-o", "other"], ["-o", "."]):
        done = codex("get", cid, *words, port=serving.port)
        assert done.returncode == 1
        assert b"--force" in done.stderr
        assert (work / "photo.jpg").read_text() == "mine"
    assert codex("get", cid, "--force", port=serving.port).returncode == 0
    assert (work / "photo.jpg").read_bytes() == CONTENT


def test_a_link_to_nowhere_is_not_followed(
    codex: Run, serving: Any, work: Path, cid: str, tmp_path: Path
) -> None:
    (work / "photo.jpg").symlink_to(tmp_path / "elsewhere")
    assert codex("get", cid, port=serving.port).returncode == 1
    assert codex("get", cid, "--force", port=serving.port).returncode == 0
    assert not (work / "photo.jpg").is_symlink()
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_not_here_is_asked_of_others(codex: Run, node: Any, work: Path, cid: str) -> None:
    node.replies[f"GET /data/{cid}/network/stream"] = (200, {}, b"from afar")
    assert codex("get", cid, "-o", "f", port=node.port).returncode == 0
    assert (work / "f").read_bytes() == b"from afar"
    assert node.asked == [f"GET /data/{cid}", f"GET /data/{cid}/network/stream"]
    done = codex("get", cid, "--local", "-o", "g", port=node.port)
    assert done.returncode == 1
    assert len(node.asked) == 3


def test_what_nobody_has_is_said_in_the_nodes_words(codex: Run, node: Any, work: Path, cid: str) -> None:
    node.replies[f"GET /data/{cid}/network/stream"] = (404, {}, b"nobody has it")
    done = codex("get", cid, port=node.port)
    assert done.returncode == 1
    assert f"error: {cid}: nobody has it".encode() in done.stderr
    assert os.listdir(work) == []


def test_a_word_that_is_no_cid_is_not_asked_of_others(codex: Run, node: Any) -> None:
    node.replies["GET /data/hello"] = (400, {}, b"Incorrect Cid")
    done = codex("get", "hello", port=node.port)
    assert done.returncode == 1
    assert b"Incorrect Cid" in done.stderr
    assert b"`codex ls`" in done.stderr
    assert node.asked == ["GET /data/hello"]


@pytest.mark.parametrize("cut", [0, 1, 100_000, len(CONTENT) - 1])
@pytest.mark.parametrize("before", [None, "mine"])
def test_a_cut_download_leaves_nothing(
    codex: Run, serving: Any, work: Path, cid: str, cut: int, before: str | None
) -> None:
    serving.cut = cut
    if before is not None:
        (work / "photo.jpg").write_text(before)
    done = codex("get", cid, "--force", port=serving.port)
    assert done.returncode == 1
    assert f"cut off after {cut} of {len(CONTENT)} bytes".encode() in done.stderr
    assert [path.read_text() for path in work.iterdir()] == ([before] if before is not None else [])


def test_a_cut_download_to_standard_output_is_told_by_the_exit_code(
    codex: Run, serving: Any, cid: str
) -> None:
    serving.cut = 1000
    done = codex("get", cid, "-o", "-", port=serving.port)
    assert (done.returncode, done.stdout) == (1, CONTENT[:1000])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_download_leaves_nothing(
    number: signal.Signals, code: int, serving: Any, environ: dict[str, str], work: Path, cid: str
) -> None:
    work.mkdir()
    serving.cut = 100_000
    serving.held.clear()
    # A test run in the background ignores Ctrl-C, and would hand that on.
    command = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from codex.cli import main
sys.exit(main())
"""
    with subprocess.Popen(
        [sys.executable, "-c", command, f"--api-port={serving.port}", "get", cid],
        cwd=work,
        env=environ,
        stderr=subprocess.PIPE,
    ) as process:
        assert serving.sent.wait(30)
        while not list(work.iterdir()):
            os.sched_yield()
        process.send_signal(number)
        assert process.wait(30) == code
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()
    assert os.listdir(work) == []


def test_a_place_that_cannot_be_written_is_said(codex: Run, serving: Any, cid: str) -> None:
    done = codex("get", cid, "-o", "absent/f", port=serving.port)
    assert done.returncode == 1
    assert b"absent/f cannot be written: No such file" in done.stderr
    done = codex("get", cid, "-o", "/dev/full", port=serving.port)
    assert done.returncode == 1
    assert b"No space left" in done.stderr


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


def test_a_file_is_there_only_when_all_went_well(tmp_path: Path) -> None:
    path = tmp_path / "f"
    with new_file(path, force=False) as stream:
        stream.write(b"content")
        assert not path.exists()
    assert path.read_bytes() == b"content"

    def fail() -> None:
        with new_file(path, force=True) as stream:
            stream.write(b"other")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert path.read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["f"]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "f"

    def late() -> None:
        with new_file(path, force=False):
            path.write_text("theirs")

    with pytest.raises(Failed, match="exists already"):
        late()
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["f"]


def test_without_links_a_file_is_renamed_into_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulation: the answer of a file system without links is put in."""

    def refusing(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refusing)
    with new_file(tmp_path / "f", force=False) as stream:
        stream.write(b"content")
    assert (tmp_path / "f").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["f"]
