"""What a `codex` process cannot do it says in a sentence, with an exit code, and without a traceback."""

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import trio

from codex.testing.content import noise

Start = Callable[..., Awaitable[Any]]
Run = Callable[..., Awaitable[CompletedProcess[bytes]]]


def refused(process: Any, code: int, *words: str) -> None:
    """Assert that a process has ended with `code`, and said all of `words` in plain sentences."""
    assert process.process.returncode == code, process.said
    assert "Traceback" not in process.said
    assert "error: " in process.said
    for word in words:
        assert word in process.said, process.said


async def test_a_second_node_on_a_directory_is_refused(start: Start, tmp_path: Path) -> None:
    options = [f"--data-dir={tmp_path / 'alice'}", "--api-port=0"]
    first = await start(*options)
    second = await start(*options)
    await second.end()
    refused(
        second, 1, "another node is running", str(tmp_path / "alice"), str(first.process.pid), "--data-dir"
    )
    assert (await first.client.get("/space")).status == 200


async def test_a_port_that_was_asked_for_and_is_taken_is_refused(start: Start, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        node = await start(f"--data-dir={tmp_path / 'alice'}", f"--api-port={port}")
        await node.end()
    refused(node, 1, f"port {port} on 127.0.0.1 is in use", "--api-port")
    again = await start(f"--data-dir={tmp_path / 'alice'}", "--api-port=0")
    assert (await again.client.get("/space")).status == 200


async def test_an_address_that_is_not_here_is_refused(start: Start, tmp_path: Path) -> None:
    node = await start(f"--data-dir={tmp_path / 'alice'}", "--api-port=0", "--api-bindaddr=192.0.2.1")
    await node.end()
    refused(node, 2, "192.0.2.1")


@pytest.mark.parametrize("place", ["{0}/file", "{0}/file/below", "/dev/null"])
async def test_a_directory_that_is_none_is_refused(start: Start, tmp_path: Path, place: str) -> None:
    await trio.Path(tmp_path / "file").write_text("no directory")
    node = await start(f"--data-dir={place.format(tmp_path)}", "--api-port=0")
    await node.end()
    refused(node, 2, "not a directory", "--data-dir")
    assert await trio.Path(tmp_path / "file").read_text() == "no directory"


async def test_a_directory_that_may_not_be_written_is_refused(start: Start, tmp_path: Path) -> None:
    closed = trio.Path(tmp_path / "closed")
    await closed.mkdir(mode=0o500)
    # Nothing is closed to the superuser but what the kernel itself keeps.
    place = closed / "alice" if os.geteuid() else trio.Path("/proc/alice")
    node = await start(f"--data-dir={place}", "--api-port=0")
    code = await node.end()
    assert code in (1, 2)
    refused(node, code, str(place), "--data-dir")


@pytest.mark.parametrize("content", [b"", b"short", bytes(32)])
async def test_a_key_that_is_none_is_refused(start: Start, tmp_path: Path, content: bytes) -> None:
    data = trio.Path(tmp_path / "alice")
    await data.mkdir(mode=0o700)
    await (data / "key").write_bytes(content)
    await (data / "key").chmod(0o600)
    node = await start(f"--data-dir={data}", "--api-port=0")
    code = await node.end()
    assert code in (1, 2)
    refused(node, code, "key")
    assert await (data / "key").read_bytes() == content


async def test_an_index_that_is_damaged_is_refused(start: Start, tmp_path: Path) -> None:
    options = [f"--data-dir={tmp_path / 'alice'}", "--api-port=0"]
    first = await start(*options)
    await first.client.post("/data", noise(200_000))
    await first.end(15)
    index = trio.Path(tmp_path / "alice" / "repo" / "index.sqlite")
    await index.write_bytes(b"garbage" * 1000)
    node = await start(*options)
    await node.end()
    refused(node, 1, "index", "backup")


async def test_a_key_of_the_marketplace_that_is_none(start: Start, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("not a key")
    key.chmod(0o600)
    node = await start(f"--data-dir={tmp_path / 'alice'}", "persistence", f"--eth-private-key={key}")
    await node.end()
    refused(node, 2, "holds no key", "--eth-private-key")


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ("--storage-quota=lots", "storage-quota"),
        ("--block-ttl=-1", "block-ttl"),
        ("--api-port=70000", "api-port"),
        ("--no-such-option=1", "no-such-option"),
        ("--log-level=loud", "log-level"),
        ("--config-file=/no/such/file", "/no/such/file"),
        ("--log-file=/no/such/directory/log", "/no/such/directory/log"),
    ],
)
async def test_an_option_that_cannot_be_meant_is_refused(
    start: Start, tmp_path: Path, option: str, word: str
) -> None:
    node = await start(f"--data-dir={tmp_path / 'alice'}", "--api-port=0", option)
    await node.end()
    assert node.process.returncode == 2
    assert "Traceback" not in node.said
    assert word in node.said


async def test_commands_without_a_node_say_so(run: Run, tmp_path: Path) -> None:
    await trio.Path(tmp_path / "file").write_text("x")
    for words in (["ls"], ["space"], ["put", "file"], ["get", "zDv"], ["rm", "zDv"]):
        done = await run(*words, f"--data-dir={tmp_path / 'alice'}")
        assert done.returncode == 3
        assert b"no node is running" in done.stderr
        assert b"Traceback" not in done.stderr


async def test_a_store_that_crashes_ends_the_process(start: Start, tmp_path: Path) -> None:
    # The same program, with a bug in its store.
    broken = (
        "import sys, codex.cli\n"
        "from codex.store.repo import Repo\n"
        "def begin(self): raise ZeroDivisionError('a bug in the store')\n"
        "Repo.begin = begin\n"
        "sys.exit(codex.cli.main())\n"
    )
    options = [f"--data-dir={tmp_path / 'alice'}", "--api-port=0"]
    node = await start(*options, program=("-c", broken))
    reply = await node.client.post("/data", b"some file contents")
    assert reply.status == 503
    assert await node.end() not in (0, None)
    assert "a bug in the store" in node.said
    again = await start(*options)
    assert (await again.client.post("/data", b"some file contents")).status == 200
