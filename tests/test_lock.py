"""The data directory: who may enter it, that one node holds it, and where that node says it is."""

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from codex import lock
from codex.errors import CodexError, ConfigError, DataDirLocked, DiskFailed, DiskFull
from codex.lock import RunningNode, open_data_dir, running_node

NOBODY = 65534

# A process that holds a directory and publishes, says so, and waits for its input to end.
HOLDER = """
import sys
from pathlib import Path
from codex.lock import open_data_dir
with open_data_dir(Path(sys.argv[1])) as held:
    if sys.argv[2:]:
        held.publish("127.0.0.1", int(sys.argv[2]))
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_node(path: Path, *port: str) -> Iterator[subprocess.Popen[str]]:
    """A second process that holds `path` until it is told to stop, or killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), *port],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of an ordinary user, who this test is until it ends."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    if root:
        os.chown(folder, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
        shutil.rmtree(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_directory_is_made_private_with_its_parents(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    with open_data_dir(path) as held:
        assert held.path == path
        assert mode(path) == 0o700
        assert mode(path / lock.LOCK_FILE) == 0o600
    assert path.is_dir()


@pytest.mark.parametrize("before", [0o755, 0o777, 0o750, 0o500])
def test_an_open_directory_is_closed_to_others(tmp_path: Path, before: int) -> None:
    path = tmp_path / "data"
    path.mkdir()
    path.chmod(before)
    with open_data_dir(path):
        assert mode(path) == 0o700


def test_the_umask_does_not_matter(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        with open_data_dir(tmp_path / "data") as held:
            held.publish("127.0.0.1", 1)
            assert mode(tmp_path / "data") == 0o700
    finally:
        os.umask(before)


def test_a_link_to_a_directory_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "data").symlink_to(tmp_path / "disk")
    with open_data_dir(tmp_path / "data"):
        assert mode(tmp_path / "disk") == 0o700
        with pytest.raises(DataDirLocked), open_data_dir(tmp_path / "disk"):
            raise AssertionError("one directory was held twice")


def test_a_second_node_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with open_data_dir(tmp_path), pytest.raises(DataDirLocked), open_data_dir(tmp_path):
        raise AssertionError("one directory was held twice")
    with open_data_dir(tmp_path):
        pass


def test_a_second_process_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    with another_node(tmp_path, "8123") as process:
        with pytest.raises(DataDirLocked) as caught, open_data_dir(tmp_path):
            raise AssertionError("one directory was held twice")
        assert str(tmp_path) in caught.value.message
        assert f"process {process.pid}" in caught.value.message
        assert "http://127.0.0.1:8123" in caught.value.message
        assert "--data-dir" in caught.value.remedy


def test_a_node_whose_api_is_not_open_yet_is_named_by_its_process(tmp_path: Path) -> None:
    with another_node(tmp_path) as process:
        assert running_node(tmp_path) is None
        with pytest.raises(DataDirLocked, match=f"process {process.pid}"), open_data_dir(tmp_path):
            raise AssertionError("one directory was held twice")


def test_a_node_is_found_where_it_says_it_is(tmp_path: Path) -> None:
    assert running_node(tmp_path) is None
    with open_data_dir(tmp_path) as held:
        assert running_node(tmp_path) is None
        held.publish("127.0.0.1", 8080)
        assert running_node(tmp_path) == RunningNode(os.getpid(), "127.0.0.1", 8080)
        assert mode(tmp_path / lock.NOTE_FILE) == 0o600
        held.publish("127.0.0.1", 8081)
        assert running_node(tmp_path) == RunningNode(os.getpid(), "127.0.0.1", 8081)
        held.withdraw()
        assert running_node(tmp_path) is None
        held.publish("::", 8082)
        node = running_node(tmp_path)
        assert node is not None
        assert node.url == "http://[::1]:8082"
    assert running_node(tmp_path) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == [lock.LOCK_FILE]


@pytest.mark.parametrize(
    ("bind", "host"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1"), ("localhost", "localhost")],
)
def test_a_node_on_all_addresses_is_reached_on_this_machine(bind: str, host: str) -> None:
    assert lock.reachable(bind) == host


def test_what_a_killed_node_left_is_recognised(tmp_path: Path) -> None:
    with another_node(tmp_path, "8123") as process:
        assert running_node(tmp_path) == RunningNode(process.pid, "127.0.0.1", 8123)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (tmp_path / lock.NOTE_FILE).exists()
        assert running_node(tmp_path) is None
        with open_data_dir(tmp_path) as held:
            assert running_node(tmp_path) is None
            held.publish("127.0.0.1", 1)
            assert running_node(tmp_path) == RunningNode(os.getpid(), "127.0.0.1", 1)


def test_what_a_node_killed_while_publishing_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / "node.json.new").write_text("half")
    (tmp_path / "node.json.new").chmod(0)
    with open_data_dir(tmp_path) as held:
        held.publish("127.0.0.1", 1)
        assert running_node(tmp_path) == RunningNode(os.getpid(), "127.0.0.1", 1)


def test_the_directory_is_free_after_a_failure_inside(tmp_path: Path) -> None:

    def fail() -> None:
        with open_data_dir(tmp_path) as held:
            held.publish("127.0.0.1", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert running_node(tmp_path) is None
    with open_data_dir(tmp_path):
        pass


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"pid": 1}',
        b'{"pid": "x", "host": "a", "port": 1}',
        b"\xff" * 100,
        b"9" * 9000,
    ],
)
def test_a_note_that_is_none_counts_as_none(tmp_path: Path, note: bytes) -> None:
    with (tmp_path / lock.NOTE_FILE).open("wb") as file:
        file.write(note)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)  # as if a node held it
        assert running_node(tmp_path) is None


def test_a_note_that_is_a_pipe_or_directory_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / lock.NOTE_FILE)
    assert running_node(tmp_path) is None
    (tmp_path / lock.NOTE_FILE).unlink()
    (tmp_path / lock.NOTE_FILE).mkdir()
    assert running_node(tmp_path) is None


def test_where_there_is_no_directory_there_is_no_node(tmp_path: Path) -> None:
    assert running_node(tmp_path / "absent") is None
    (tmp_path / "file").touch()
    assert running_node(tmp_path / "file") is None


def refused(path: Path) -> CodexError:
    with pytest.raises(CodexError) as caught, open_data_dir(path):
        raise AssertionError("it was held")
    assert str(path) in caught.value.message
    assert "--data-dir" in caught.value.remedy
    return caught.value


def test_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        assert "not a directory" in refused(path).message
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert isinstance(refused(tmp_path / "dangling"), ConfigError)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert isinstance(refused(tmp_path / "circle"), ConfigError)


def test_a_directory_below_one_that_is_gone_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "is gone" in refused(Path("data")).message


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / lock.LOCK_FILE).symlink_to(target)
    assert "symbolic link" in refused(tmp_path / "data").message
    assert target.read_text() == "precious"


def test_a_lock_that_is_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(lock.LOCK_FILE)
        assert isinstance(refused(tmp_path), DiskFailed)


def test_a_note_that_is_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    data = tmp_path / "data"
    data.mkdir()
    (data / lock.NOTE_FILE).symlink_to(target)
    (data / "node.json.new").symlink_to(target)
    with open_data_dir(data) as held:
        held.publish("127.0.0.1", 1)
        assert json.loads((data / lock.NOTE_FILE).read_text())["port"] == 1
    assert target.read_text() == "precious"


def test_no_permission_is_said(unprivileged: Path) -> None:
    closed = unprivileged / "closed"
    closed.mkdir(mode=0o500)
    assert "no permission" in refused(closed / "data").message
    (unprivileged / "blind").mkdir(mode=0o000)
    assert "no permission" in refused(unprivileged / "blind" / "data").message
    with pytest.raises(ConfigError):
        running_node(unprivileged / "blind" / "data")


def test_a_directory_of_somebody_else_is_refused(unprivileged: Path) -> None:
    # The root directory is nobody's but root's, and has no mode 0700 anywhere.
    assert unprivileged.exists()
    assert isinstance(refused(Path("/")), ConfigError)


@pytest.mark.parametrize(
    ("number", "family", "word"),
    [
        (errno.EROFS, DiskFailed, "read-only"),
        (errno.ENOSPC, DiskFull, "no space"),
        (errno.EDQUOT, DiskFull, "no space"),
        (errno.ENOLCK, DiskFailed, "no locks"),
        (errno.EIO, DiskFailed, "Input/output error"),
    ],
)
def test_what_a_file_system_refuses_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, family: type[CodexError], word: str
) -> None:
    """A simulation: the kernel's answer is put in, since no test can fill or freeze a file system."""

    def refusing(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refusing)
    error = refused(tmp_path)
    assert type(error) is family
    assert word in error.message


@pytest.mark.soak
def test_of_many_processes_exactly_one_holds_at_any_time(tmp_path: Path) -> None:
    """Forty processes fight for a directory, and some are killed while they have it."""
    contender = """
import os, signal, sys
from pathlib import Path
from codex.errors import DataDirLocked
from codex.lock import open_data_dir, running_node
path, taken, wins = Path(sys.argv[1]), 0, int(sys.argv[2])
inside = path.parent / "inside"
while taken < wins:
    try:
        with open_data_dir(path) as held:
            alone = os.open(inside, os.O_CREAT | os.O_EXCL)
            os.close(alone)
            held.publish("127.0.0.1", 1)
            assert running_node(path).pid == os.getpid()
            os.unlink(inside)
            taken += 1
            if taken == wins and os.getpid() % 2:
                os.kill(os.getpid(), signal.SIGKILL)
    except DataDirLocked:
        os.sched_yield()
"""
    path = tmp_path / "data"
    processes = [
        subprocess.Popen([sys.executable, "-c", contender, str(path), "25"], stderr=subprocess.PIPE)
        for _ in range(40)
    ]
    for process in processes:
        _, said = process.communicate(timeout=200)
        assert process.returncode in (0, -signal.SIGKILL), said.decode()
    assert running_node(path) is None


def test_a_directory_that_others_use_is_not_closed_to_them(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    (shared / "somebody's file").touch()
    with pytest.raises(ConfigError, match="holds other things"), open_data_dir(shared):
        raise AssertionError("it was taken")
    assert stat.S_IMODE(shared.stat().st_mode) == 0o755
    assert [path.name for path in shared.iterdir()] == ["somebody's file"]
