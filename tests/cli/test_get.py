"""`codex get` against a stand-in: where bytes end up, and that nothing is left of what is not whole."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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


ERROR = {"code": "disk-full", "message": "the disk is full", "remedy": "make room"}


@pytest.mark.parametrize("output", ["-", "there"])
@pytest.mark.parametrize("error", [ERROR, None, {"code": 7}, "nonsense"])
def test_why_a_download_was_cut_is_asked_of_its_job(
    codex: Run, node: Any, job: Any, cid: str, output: str, error: Any
) -> None:
    node.replies[f"GET /data/{cid}"] = (200, {"X-Job-Id": "7"}, CONTENT)
    node.cut = 1000
    told = job("download", "failed" if error else "running", error=error)
    node.replies["GET /jobs/7"] = (200, {"Content-Type": "application/json"}, json.dumps(told).encode())
    done = codex("get", cid, "-o", output, port=node.port)
    said = done.stderr.decode()
    assert done.returncode == 1
    assert f"{cid} was cut off after 1000 of {len(CONTENT)} bytes" in said
    if error == ERROR:
        assert "bytes: the disk is full\n  Make room\n" in said
    elif not isinstance(error, dict):
        assert "the node's log says" in said
    assert "GET /jobs/7" in node.asked


def test_that_the_node_stopped_is_said_of_a_download_that_was_cut(codex: Run, cid: str) -> None:
    def serve_once_and_stop() -> None:
        connection, _ = listener.accept()
        listener.close()
        with connection:
            connection.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nX-Job-Id: 7\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
            connection.sendall(head.encode() + CONTENT[:1000])

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        thread = threading.Thread(target=serve_once_and_stop)
        thread.start()
        done = codex("get", cid, "-o", "there", port=port)
        thread.join()
    said = done.stderr.decode()
    assert done.returncode == 1
    assert f"{cid} was cut off after 1000 of {len(CONTENT)} bytes: the node has stopped\n" in said
    assert f"`codex get -c {cid}`" in said
    assert "log" not in said


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


LARGE = os.urandom(3 << 20)
NAMED = {"Content-Disposition": 'attachment; filename="film.mkv"'}


@pytest.fixture
def large(node: Any, cid: str) -> Any:
    """A stand-in with a dataset that is worth going on with, and that knows ranges."""
    node.ranged(f"GET /data/{cid}", LARGE, f'"{cid}"', NAMED)
    return node


@pytest.mark.parametrize("cut", [1 << 20, 2_000_000, len(LARGE) - 1])
def test_a_broken_download_goes_on_where_it_ended(
    codex: Run, large: Any, work: Path, cid: str, cut: int
) -> None:
    large.cut = cut
    done = codex("get", cid, port=large.port)
    assert done.returncode == 1
    said = done.stderr.decode()
    assert f"are kept in {cid}.part\nThe same command with --continue goes on from there." in said
    assert f"cut off after {cut} of {len(LARGE)} bytes" in said
    assert (work / f"{cid}.part").read_bytes() == LARGE[:cut]
    large.cut = None
    done = codex("get", "--continue", cid, port=large.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"film.mkv\n", b"")
    assert (work / "film.mkv").read_bytes() == LARGE
    assert os.listdir(work) == ["film.mkv"]
    assert (large.headers[-1]["Range"], large.headers[-1]["If-Range"]) == (f"bytes={cut - 1}-", f'"{cid}"')


def test_it_may_break_again_and_go_elsewhere(codex: Run, large: Any, work: Path, cid: str) -> None:
    large.cut = 1 << 20
    codex("get", cid, port=large.port)
    done = codex("get", "-c", cid, "-o", "other", port=large.port)
    assert f"cut off after {(2 << 20) - 1} of {len(LARGE)} bytes" in done.stderr.decode()
    large.cut = None
    assert codex("get", "-c", cid, "-o", "other", port=large.port).returncode == 0
    assert (work / "other").read_bytes() == LARGE
    assert os.listdir(work) == ["other"]


def test_without_being_told_it_begins_anew(codex: Run, large: Any, work: Path, cid: str) -> None:
    (work / f"{cid}.part").write_bytes(bytes(2 << 20))
    assert codex("get", cid, port=large.port).returncode == 0
    assert (work / "film.mkv").read_bytes() == LARGE
    assert os.listdir(work) == ["film.mkv"]
    assert "Range" not in large.headers[0]


def test_there_is_nothing_to_go_on_with_at_first(codex: Run, large: Any, work: Path, cid: str) -> None:
    assert codex("get", "--continue", cid, port=large.port).returncode == 0
    assert (work / "film.mkv").read_bytes() == LARGE
    assert "Range" not in large.headers[0]


@pytest.mark.parametrize("here", [LARGE, LARGE + b"more", bytes(9 << 20)])
def test_a_part_that_is_complete_or_too_long_ends_whole(
    codex: Run, large: Any, work: Path, cid: str, here: bytes
) -> None:
    (work / f"{cid}.part").write_bytes(here)
    assert codex("get", "--continue", cid, port=large.port).returncode == 0
    assert (work / "film.mkv").read_bytes() == LARGE
    assert os.listdir(work) == ["film.mkv"]


def test_a_node_without_ranges_sends_all_of_it_again(codex: Run, node: Any, work: Path, cid: str) -> None:
    node.replies[f"GET /data/{cid}"] = (200, NAMED, LARGE)
    (work / f"{cid}.part").write_bytes(LARGE[: 1 << 20])
    assert codex("get", "--continue", cid, port=node.port).returncode == 0
    assert (work / "film.mkv").read_bytes() == LARGE


def test_it_goes_on_through_the_network_too(codex: Run, node: Any, work: Path, cid: str) -> None:
    node.ranged(f"GET /data/{cid}/network/stream", LARGE, f'"{cid}"', NAMED)
    (work / f"{cid}.part").write_bytes(LARGE[: 1 << 20])
    assert codex("get", "--continue", cid, port=node.port).returncode == 0
    assert (work / "film.mkv").read_bytes() == LARGE
    assert node.headers[-1]["Range"] == f"bytes={(1 << 20) - 1}-"


@pytest.mark.parametrize(
    "place",
    [
        "",
        "bytes 0-9/*",
        "bytes 1048577-3145727/3145728",
        "bytes 1048575-1048576/3145728",
        "bytes */3145728",
        "lines 1-2/3",
        "bytes 1048575-3145727/99999999999999999999999",
    ],
)
def test_a_reply_that_does_not_fit_is_refused_and_the_part_is_kept(
    codex: Run, node: Any, work: Path, cid: str, place: str
) -> None:
    node.replies[f"GET /data/{cid}"] = (206, {**NAMED, "Content-Range": place}, LARGE[(1 << 20) - 1 :])
    (work / f"{cid}.part").write_bytes(LARGE[: 1 << 20])
    done = codex("get", "--continue", cid, port=node.port)
    assert done.returncode == 1
    assert b"not that of a Codex node" in done.stderr
    assert (work / f"{cid}.part").read_bytes() == LARGE[: 1 << 20]


def test_a_refusal_leaves_the_part_as_it_is(codex: Run, node: Any, work: Path, cid: str) -> None:
    (work / f"{cid}.part").write_bytes(LARGE[: 1 << 20])
    done = codex("get", "--continue", cid, port=node.port)
    assert done.returncode == 1
    assert b"kept" not in done.stderr
    assert (work / f"{cid}.part").read_bytes() == LARGE[: 1 << 20]


def test_what_was_fetched_is_told_to_programs(codex: Run, large: Any, cid: str) -> None:
    done = codex("get", "--json", cid, "-o", "f", port=large.port)
    assert json.loads(done.stdout) == {"cid": cid, "file": "f", "bytes": len(LARGE)}


def test_a_place_that_cannot_be_written_is_said(codex: Run, serving: Any, cid: str) -> None:
    done = codex("get", cid, "-o", "absent/f", port=serving.port)
    assert done.returncode == 1
    assert b"absent/f cannot be written: No such file" in done.stderr
    done = codex("get", cid, "-o", "/dev/full", port=serving.port)
    assert done.returncode == 1
    assert b"No space left" in done.stderr


@pytest.mark.parametrize("json", [[], ["--json"]])
def test_a_name_that_is_too_long_says_so(
    here: Callable[..., tuple[int, str, str]], node: Any, cid: str, json: list[str]
) -> None:
    node.replies[f"GET /data/{cid}"] = (200, {}, b"content")
    code, out, said = here(f"--api-port={node.port}", "get", cid, "-o", "x" * 300, *json)
    assert (code, out) == (1, "")
    assert "cannot be written: File name too long" in said
    assert "shorter name" in said
