"""The commands with a real node: what is stored comes back, what is damaged is found, what breaks goes on."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from codex.testing.nodes import ALONE

Run = Callable[..., subprocess.CompletedProcess[bytes]]
Here = Callable[..., tuple[int, str, str]]
TOKEN = "0123456789abcdef0123456789abcdef"
CONTENT = b"some file contents"


@contextmanager
def running(environ: dict[str, str], *options: str) -> Iterator[int]:
    """A node in a process of its own; the port of its API."""
    command = [sys.executable, "-m", "codex", "--api-port=0", "--log-level=error", *ALONE, *options]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline()
            assert "listens on" in said, said
            yield int(said.rsplit(":", 1)[1])
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture
def alice(tmp_path: Path) -> Path:
    """The data directory of alice's node."""
    return tmp_path / "alice"


@pytest.fixture
def own(alice: Path, environ: dict[str, str]) -> Iterator[int]:
    """The port of alice's node, which runs for one test."""
    with running(environ, f"--data-dir={alice}") as port:
        yield port


@pytest.fixture(scope="module")
def port(shared_environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a node that several tests share."""
    with running(shared_environ, f"--data-dir={tmp_path_factory.mktemp('bob') / 'data'}") as port:
        yield port


def words(done: subprocess.CompletedProcess[bytes]) -> str:
    """What a command that went well has printed."""
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode()


def test_a_life_of_a_dataset(codex: Run, own: int, work: Path, alice: Path) -> None:
    (work / "hello.txt").write_bytes(CONTENT)
    cid = words(codex("put", "hello.txt", port=own)).strip()
    assert words(codex("ls", port=own)).splitlines()[1].split() == [
        cid,
        "18",
        "B",
        "hello.txt",
        "text/plain",
    ]
    assert words(codex("pin", cid, port=own)) == ""
    assert words(codex("unpin", cid, port=own)) == ""
    assert words(codex("verify", cid, port=own)).startswith(f"{cid}: sound\n  1 block, 64.0 KiB read in ")
    assert words(codex("scrub", port=own)).startswith("everything: sound\n  64.")
    assert words(codex("peers", port=own)) == ""
    told = json.loads(words(codex("info", "--json", port=own)))
    assert told["health"]["state"] == "ok"
    assert told["space"]["totalBlocks"] == 2
    shown = words(codex("info", port=own))
    assert f"data        {alice}\n" in shown
    assert "\nstore       running  " in shown
    kinds = [job["kind"] for job in json.loads(words(codex("jobs", "--json", port=own)))["jobs"]]
    assert kinds == ["scrub", "verify", "upload"]
    listed = words(codex("jobs", "--kind=upload", port=own)).splitlines()
    assert listed[1].split()[1:3] == ["upload", "done"]
    id = listed[1].split()[0]
    assert f"cid      {cid}\n" in words(codex("jobs", id, port=own))
    assert words(codex("jobs", "--follow", id, port=own)).startswith(f"{id}  upload    done")
    assert words(codex("jobs", "--cancel", id, port=own)) == "", "it has ended, and that is no error"
    assert words(codex("get", cid, "-o", "copy.txt", port=own)) == ""
    assert (work / "copy.txt").read_bytes() == CONTENT
    assert words(codex("rm", cid, port=own)) == ""
    assert words(codex("ls", port=own)) == ""


def test_a_dataset_is_made_durable(codex: Run, own: int, work: Path) -> None:
    (work / "film.mkv").write_bytes(os.urandom(400_000))
    cid = words(codex("put", "film.mkv", port=own)).strip()
    made = words(codex("protect", cid, "--data=4", "--parity=2", port=own)).strip()
    assert [line.split()[0] for line in words(codex("ls", port=own)).splitlines()[1:]] == sorted([cid, made])
    assert words(codex("rm", cid, port=own)) == ""
    assert words(codex("get", made, "-o", "copy.mkv", port=own)) == ""
    assert (work / "copy.mkv").read_bytes() == (work / "film.mkv").read_bytes()
    done = codex("protect", made, "--data=4", "--parity=2", port=own)
    assert (done.returncode, done.stdout) == (1, b"")
    assert "protected already" in done.stderr.decode()
    assert "Protect the original" in done.stderr.decode()


def test_a_backup_is_a_node_again(
    codex: Run, own: int, work: Path, environ: dict[str, str], tmp_path: Path
) -> None:
    cid = words(codex("put", "-", port=own, input=CONTENT)).strip()
    copy = tmp_path / "copy"
    assert words(codex("backup", "../copy", port=own)).startswith(f"{copy}: ")
    done = codex("backup", "../copy", port=own)
    assert done.returncode == 1
    assert done.stderr.decode().startswith(f"error: the backup: {copy} exists\n  Name a directory")
    (tmp_path / "bob").mkdir()
    copy.rename(tmp_path / "bob" / "repo")
    with running(environ, f"--data-dir={tmp_path / 'bob'}") as other:
        assert codex("get", cid, "-o", "-", port=other).stdout == CONTENT


def test_damage_is_found_named_and_mended(codex: Run, own: int, work: Path, alice: Path) -> None:
    content = os.urandom(1_000_000)
    (work / "f.bin").write_bytes(content)
    cid = words(codex("put", "f.bin", port=own)).strip()
    [segment] = alice.rglob("*.seg")
    data = bytearray(segment.read_bytes())
    data[data.index(content[500_000:500_016])] ^= 1
    segment.write_bytes(data)
    done = codex("verify", cid, port=own)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[0] == f"{cid}: damaged"
    assert done.stdout.count(b"\n  corrupt  z") == 1
    assert b"Put the same file again" in done.stderr
    assert codex("scrub", port=own).returncode == 1
    done = codex("get", cid, "-o", "g", port=own)
    assert done.returncode == 1
    assert not (work / "g").exists()
    assert words(codex("put", "f.bin", port=own)).strip() == cid
    assert words(codex("verify", cid, port=own)).startswith(f"{cid}: sound\n")
    assert words(codex("get", cid, "-o", "g", port=own)) == ""
    assert (work / "g").read_bytes() == content


@pytest.mark.parametrize("here", [1 << 20, 2_000_001, 3 << 20])
def test_a_download_goes_on_from_a_real_node(codex: Run, port: int, work: Path, here: int) -> None:
    content = os.urandom(3 << 20)
    cid = words(codex("put", "-", "--name=film.mkv", port=port, input=content)).strip()
    (work / f"{cid}.part").write_bytes(content[:here])
    # The start is not asked for: a mark that the node cannot know stays.
    with (work / f"{cid}.part").open("r+b") as part:
        part.write(b"MARK")
    assert words(codex("get", "--continue", cid, port=port)) == "film.mkv\n"
    assert (work / "film.mkv").read_bytes() == b"MARK" + content[4:]
    assert os.listdir(work) == ["film.mkv"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("get nonsense", "Incorrect Cid"),
        ("verify nonsense", "Incorrect Cid"),
        ("pin zDvZRwzkzmFULSGPZYUzyQNcDSoXvtSPjgQxoXhNZ7ZGTbgZ7kfd", "there is no dataset"),
        ("get zDvZRwzkzmFULSGPZYUzyQNcDSoXvtSPjgQxoXhNZ7ZGTbgZ7kfd", "no peer was found"),
        ("verify zDvZRwzkzmFULSGPZYUzyQNcDSoXvtSPjgQxoXhNZ7ZGTbgZ7kfd", "could not be retrieved"),
        ("jobs 123456789abc", "there is no job 123456789abc"),
        ("connect nobody", "incorrect PeerId"),
        ("backup /proc/x", "no backup can be made"),
        ("put f --type=nonsense", "media type"),
    ],
)
def test_what_a_node_refuses_is_told_with_a_remedy(here: Here, port: int, call: str, said: str) -> None:
    Path("f").write_bytes(CONTENT)
    code, out, told = here(f"--api-port={port}", *call.split())
    assert (code, out) == (1, "")
    first, remedy = told.splitlines()
    assert first.startswith("error: ")
    assert said in first
    assert remedy.startswith("  ")


def test_a_full_quota_says_what_to_do(codex: Run, environ: dict[str, str], alice: Path) -> None:
    with running(environ, f"--data-dir={alice}", "--storage-quota=1m") as port:
        done = codex("put", "-", port=port, input=os.urandom(2 << 20))
    assert (done.returncode, done.stdout) == (1, b"")
    assert len(done.stderr.splitlines()) == 2
    assert b"quota" in done.stderr


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    """A file with the node's token."""
    path = tmp_path / "token"
    path.touch(0o600)
    path.write_text(TOKEN)
    return path


def test_a_guarded_node_answers_those_who_know_its_token(
    here: Here, environ: dict[str, str], alice: Path, token_file: Path
) -> None:
    other = token_file.with_name("other")
    other.touch(0o600)
    other.write_text(TOKEN[::-1])
    with running(environ, f"--data-dir={alice}", f"--api-token-file={token_file}") as port:
        Path("f").write_bytes(CONTENT)
        code, out, _ = here(f"--api-port={port}", f"--api-token-file={token_file}", "put", "f")
        assert code == 0
        cid = out.strip()
        for call in (["ls"], ["put", "f"], ["get", cid], ["info"], ["jobs"], ["watch"], ["scrub"]):
            code, _, said = here(f"--api-port={port}", *call)
            assert code == 1
            assert "answers only to those who know its token" in said, call
            code, _, said = here(f"--api-port={port}", *call, f"--api-token-file={other}")
            assert code == 1
            assert "does not take the token" in said, call


WATCH = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from codex.cli import main
sys.exit(main())
"""


@contextmanager
def watching(environ: dict[str, str], port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """`codex watch` in a process of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", WATCH, f"--api-port={port}", "watch", *options],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def until_heard(codex: Run, port: int, process: subprocess.Popen[str]) -> str:
    """Make things happen until `codex watch` shows one: only then it is known to listen. That first line."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    while True:
        codex("put", "-", port=port, input=CONTENT)
        line = process.stdout.readline()
        if line:
            os.set_blocking(process.stdout.fileno(), True)
            return line


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_happens_is_shown_until_interrupted(
    codex: Run, port: int, environ: dict[str, str], number: signal.Signals, code: int
) -> None:
    with watching(environ, port) as process:
        until_heard(codex, port, process)
        cid = words(codex("put", "-", "--name=bell.wav", port=port, input=b"ring")).strip()
        words(codex("rm", cid, port=port))
        assert process.stdout is not None
        lines = []
        while not lines or "deleted" not in lines[-1]:
            lines.append(process.stdout.readline())
        shown = [line[10:].rstrip() for line in lines if "bell.wav" in line or cid in line]
        assert [line.partition("  ")[0] for line in shown] == [
            "upload started",
            "dataset stored",
            "upload done",
            "dataset deleted",
        ]
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert "Traceback" not in said


def test_what_happens_is_told_to_programs(codex: Run, port: int, environ: dict[str, str]) -> None:
    with watching(environ, port, "--json") as process:
        # It may have begun to listen in the middle of an upload.
        assert json.loads(until_heard(codex, port, process))["event"] in (
            "jobStarted",
            "manifestStored",
            "jobEnded",
        )
        cid = words(codex("put", "-", "--name=bell.wav", port=port, input=b"ring")).strip()
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "jobEnded" and event["job"]["subject"] == "bell.wav":
                break
        assert event["job"]["result"] == {"cid": cid}
        assert event["job"]["bytesDone"] == 4


def test_a_reader_of_events_that_goes_away_is_no_traceback(
    codex: Run, port: int, environ: dict[str, str]
) -> None:
    with watching(environ, port) as process:
        until_heard(codex, port, process)
        assert process.stdout is not None
        process.stdout.close()
        while process.poll() is None:
            codex("put", "-", port=port, input=CONTENT)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_node_that_stops_ends_the_watching(codex: Run, environ: dict[str, str], alice: Path) -> None:
    with running(environ, f"--data-dir={alice}") as port, watching(environ, port) as process:
        until_heard(codex, port, process)
        node = json.loads((alice / "node.json").read_text())
        os.kill(node["pid"], signal.SIGTERM)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 1
    assert said.startswith("error: ")
    assert "Traceback" not in said
    done = codex("watch", port=port)
    assert done.returncode == 3
    assert f"http://127.0.0.1:{port}" in done.stderr.decode()
