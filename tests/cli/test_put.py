"""`codex put` against a stand-in: what is sent, and what is said when it cannot be."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def storing(node: Any, cid: str) -> Any:
    """A stand-in that takes every upload."""
    node.replies["POST /data"] = (200, {"Content-Type": "text/plain"}, cid.encode())
    return node


def test_a_file_is_sent_whole_with_its_name_and_type(codex: Run, storing: Any, work: Path, cid: str) -> None:
    content = os.urandom(700_001)
    (work / "photo.JPG").write_bytes(content)
    done = codex("put", "photo.JPG", port=storing.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{cid}\n".encode(), b"")
    (upload,) = storing.uploads
    assert upload.body == content
    assert upload.headers["Content-Length"] == "700001"
    assert upload.headers["Content-Disposition"] == 'attachment; filename="photo.JPG"'
    assert upload.headers["Content-Type"] == "image/jpeg"
    assert "Transfer-Encoding" not in upload.headers


def test_several_files_give_a_line_each(codex: Run, storing: Any, work: Path, cid: str) -> None:
    for name in ("a.txt", "b.unknown"):
        (work / name).write_text(name)
    done = codex("put", "a.txt", str(work / "b.unknown"), port=storing.port)
    assert done.stdout.decode().splitlines() == [cid, cid]
    assert [upload.body for upload in storing.uploads] == [b"a.txt", b"b.unknown"]
    assert [upload.headers.get("Content-Type") for upload in storing.uploads] == ["text/plain", None]
    assert storing.uploads[1].headers["Content-Disposition"] == 'attachment; filename="b.unknown"'


def test_standard_input_is_sent_in_chunks_without_a_name(codex: Run, storing: Any, cid: str) -> None:
    content = os.urandom(600_000)
    done = codex("put", "-", port=storing.port, input=content)
    assert done.stdout == f"{cid}\n".encode()
    (upload,) = storing.uploads
    assert upload.body == content
    assert upload.headers["Transfer-Encoding"] == "chunked"
    assert not {"Content-Length", "Content-Disposition", "Content-Type"} & set(upload.headers)


def test_a_pipe_is_sent_in_chunks_under_its_name(
    storing: Any, environ: dict[str, str], work: Path, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with subprocess.Popen(
        [sys.executable, "-m", "codex", f"--api-port={storing.port}", "put", str(pipe)],
        env=environ,
        stdout=subprocess.PIPE,
    ) as process:
        pipe.write_bytes(b"1,2\n" * 100_000)
        assert process.wait() == 0
        assert process.stdout is not None
        assert process.stdout.read()
    (upload,) = storing.uploads
    assert upload.body == b"1,2\n" * 100_000
    assert upload.headers["Content-Type"] == "text/csv"


def test_name_and_type_can_be_given(codex: Run, storing: Any) -> None:
    done = codex("put", "-", "--name=notes.txt", port=storing.port, input=b"x")
    assert done.returncode == 0
    codex("put", "-", "--name", "notes.txt", "--type=text/css", port=storing.port, input=b"x")
    assert [upload.headers["Content-Type"] for upload in storing.uploads] == ["text/plain", "text/css"]


@pytest.mark.parametrize(
    "name", ["na\N{LATIN SMALL LETTER I WITH DIAERESIS}ve \N{SNOWMAN}.txt", "with space", 'quote".txt']
)
def test_any_name_arrives_as_the_bytes_it_has(codex: Run, storing: Any, work: Path, name: str) -> None:
    (work / name).write_text("x")
    assert codex("put", name, port=storing.port).returncode == 0
    (upload,) = storing.uploads
    sent = upload.headers["Content-Disposition"].encode("latin-1")
    assert sent == b'attachment; filename="' + name.encode() + b'"'


def test_a_name_that_is_no_text_arrives_too(codex: Run, storing: Any, work: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.txt")
    (work / name).write_text("x")
    assert codex("put", name, port=storing.port).returncode == 0
    assert b"\xff\xfe.txt" in storing.uploads[0].headers["Content-Disposition"].encode("latin-1")


def test_a_name_that_cannot_be_sent_is_refused_before(codex: Run, storing: Any, work: Path) -> None:
    (work / "a\nX-Evil: 1").write_text("x")
    for words in (["a\nX-Evil: 1"], ["-", "--name="], ["-", "--type=a\r\nb"]):
        done = codex("put", *words, port=storing.port)
        assert done.returncode == 2
        assert b"--name" in done.stderr
    assert storing.uploads == []


def test_what_cannot_be_read_is_named_and_the_rest_is_sent(
    codex: Run, storing: Any, work: Path, cid: str
) -> None:
    (work / "empty").touch()
    (work / "folder").mkdir()
    (work / "good").write_text("x")
    done = codex("put", "absent", "empty", "folder", "good", port=storing.port)
    assert done.returncode == 1
    assert done.stdout.decode() == f"{cid}\n"
    said = done.stderr.decode()
    for word in (
        "absent cannot be read: No such file",
        "empty is empty",
        "folder cannot be read: Is a directory",
    ):
        assert word in said
    assert "Traceback" not in said


def test_the_nodes_refusal_is_shown(codex: Run, node: Any, work: Path) -> None:
    (work / "f.txt").write_text("x")
    node.replies["POST /data"] = (422, {}, b"The filename is not valid.")
    done = codex("put", "f.txt", port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.decode().splitlines()[0] == "error: f.txt: The filename is not valid."
    assert "--name" in done.stderr.decode()


def test_a_refusal_without_words_has_its_number(codex: Run, node: Any, work: Path) -> None:
    (work / "f.txt").write_text("x")
    node.replies["POST /data"] = (415, {}, b"")
    assert b"f.txt: the node answered 415" in codex("put", "f.txt", port=node.port).stderr


def test_a_node_that_stops_listening_is_no_traceback(codex: Run, node: Any, work: Path) -> None:
    (work / "large").write_bytes(bytes(30_000_000))
    node.hang_up = True
    done = codex("put", "large", port=node.port)
    assert done.returncode == 1
    said = done.stderr.decode()
    # Whether the reply overtakes the broken connection is the network's affair.
    assert "MIME type" in said or "connection" in said
    assert "Traceback" not in said


SHRINKING = """
import sys, os
from codex.cli import connection, put
path = sys.argv[1]
read = put.FileIO.read
class Shrinking(put.FileIO):
    def read(self, size=-1):
        piece = read(self, size)
        os.truncate(path, 300_000)
        return piece
put.FileIO = Shrinking
from codex.cli import main
sys.exit(main(["--api-port=" + sys.argv[2], "put", path]))
"""


def test_a_file_that_shrinks_is_not_sent_as_if_it_were_whole(
    storing: Any, environ: dict[str, str], work: Path, tmp_path: Path
) -> None:
    """A simulation: the file is cut by the reader itself, at the moment that a test cannot hit otherwise."""
    path = tmp_path / "log"
    path.write_bytes(bytes(1_000_000))
    done = subprocess.run(
        [sys.executable, "-c", SHRINKING, str(path), str(storing.port)], env=environ, capture_output=True
    )
    assert done.returncode == 1
    assert b"has become shorter" in done.stderr
    assert storing.uploads == []


def test_what_was_stored_is_told_to_programs(codex: Run, storing: Any, work: Path, cid: str) -> None:
    (work / "photo.jpg").write_bytes(bytes(300_000))
    done = codex("put", "--json", "photo.jpg", "-", port=storing.port, input=b"abc")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    photo = {"file": "photo.jpg", "bytes": 300_000, "filename": "photo.jpg", "mimetype": "image/jpeg"}
    assert lines[0] == {"cid": cid, **photo}
    assert lines[1] == {"cid": cid, "file": "-", "bytes": 3, "filename": None, "mimetype": None}


def test_a_directory_can_be_put_as_an_archive(codex: Run, storing: Any, work: Path) -> None:
    (work / "my photos").mkdir()
    done = codex("put", "my photos", port=storing.port)
    assert done.returncode == 1
    assert b"tar c 'my photos' | codex put - --name='my photos.tar'" in done.stderr


def test_a_directory_that_is_gone_is_none_of_the_output(
    here: Callable[..., tuple[int, str, str]], storing: Any, tmp_path: Path
) -> None:
    (tmp_path / "work").rmdir()
    code, _, said = here(f"--api-port={storing.port}", "put", ".")
    assert code == 1
    assert said.startswith("error: . cannot be read: Is a directory")
    assert "--name=files.tar" in said


def test_a_full_node_says_what_to_do(codex: Run, node: Any, work: Path) -> None:
    (work / "f.txt").write_text("x")
    node.problem("POST /data", 500, "no space left", remedy="make room on the disk")
    done = codex("put", "f.txt", port=node.port)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr == b"error: f.txt: no space left\n  Make room on the disk\n"


def test_what_is_longer_than_it_says_is_stored(codex: Run, storing: Any) -> None:
    done = codex("put", "/proc/self/status", port=storing.port)
    assert done.returncode == 0
    [upload] = storing.uploads
    assert upload.body.startswith(b"Name:")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux's")
def test_a_cid_that_cannot_be_printed_is_said_all_the_same(
    storing: Any, environ: dict[str, str], tmp_path: Path, cid: str
) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"content")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "codex", f"--api-port={storing.port}", "put", "a", "b"],
            cwd=tmp_path,
            env=environ,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert lines[0].startswith("a is stored: zDv")
    assert lines[1].startswith("error: the output cannot be written")
    assert any(line.startswith("b is stored: zDv") for line in lines)
    assert "Traceback" not in done.stderr
