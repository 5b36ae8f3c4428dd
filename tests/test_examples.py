"""Every example runs as it stands, and does what its head says."""

import re
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import trio

from codex.testing.content import noise
from codex.testing.nodes import open_served_node

EXAMPLES = Path(__file__).parent.parent / "examples"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
TESTED = [
    "list_and_delete.py",
    "protect_a_file.py",
    "share_a_file.py",
    "store_and_retrieve.py",
    "stream_a_file.py",
    "upload_with_http.py",
    "watch_jobs.py",
]


async def run(name: str, *words: str | Path) -> CompletedProcess[bytes]:
    """Run an example to its end."""
    with trio.fail_after(30):
        command = [sys.executable, str(EXAMPLES / name), *map(str, words)]
        return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


def lines(done: CompletedProcess[bytes]) -> list[str]:
    """What a run that went well has printed."""
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


def test_every_example_is_tested_here_and_short() -> None:
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == TESTED
    for name in TESTED:
        assert len((EXAMPLES / name).read_text("utf-8").splitlines()) < 55


async def test_store_and_retrieve(tmp_path: Path) -> None:
    for _ in range(2):
        assert lines(await run("store_and_retrieve.py", tmp_path / "node")) == [CID, "some file contents"]


async def test_protect_a_file(tmp_path: Path) -> None:
    content = noise(1_000_001)
    await trio.Path(tmp_path / "codex.bin").write_bytes(content)
    said = lines(await run("protect_a_file.py", tmp_path / "node", tmp_path / "codex.bin"))
    assert [line.partition(" ")[0] for line in said] == ["verifiable", *["row"] * 6, "read"]
    assert said[-1] == "read 1000001 bytes, equal to the file"
    await trio.Path(tmp_path / "short").write_bytes(content[:65_537])
    done = await run("protect_a_file.py", tmp_path / "node", tmp_path / "short")
    assert done.returncode == 1
    assert b"K = 4 rows are more than the dataset has blocks, which is 2. K is at most" in done.stderr
    assert b"Traceback" not in done.stderr


async def test_share_a_file(tmp_path: Path) -> None:
    content = noise(1_000_001)
    await trio.Path(tmp_path / "codex.bin").write_bytes(content)
    said = lines(await run("share_a_file.py", tmp_path, tmp_path / "codex.bin"))
    assert said[0].startswith("zDv")
    found = re.fullmatch(r"(\d+) bytes of blocks from 16Uiu2\w+ at /ip4/127.0.0.1/tcp/\d+", said[1])
    assert found
    assert int(found[1]) >= len(content)


async def test_stream_a_file(tmp_path: Path) -> None:
    content = noise(1_000_001)
    await trio.Path(tmp_path / "codex.bin").write_bytes(content)
    said = lines(await run("stream_a_file.py", tmp_path / "node", tmp_path / "codex.bin"))
    assert said[0].startswith("zDv")
    assert said[1] == content[500_000:500_016].hex()
    assert "bytes used" in said[2]


async def test_stream_a_file_that_is_empty(tmp_path: Path) -> None:
    await trio.Path(tmp_path / "empty").write_bytes(b"")
    done = await run("stream_a_file.py", tmp_path / "node", tmp_path / "empty")
    assert done.returncode == 1
    assert b"Empty leaves. send at least one byte" in done.stderr
    assert b"Traceback" not in done.stderr


async def test_upload_with_http(tmp_path: Path) -> None:
    content = noise(3_000_000)
    await trio.Path(tmp_path / "codex.bin").write_bytes(content)
    async with open_served_node(tmp_path / "node", threads=True) as served:
        done = await run(
            "upload_with_http.py", served.address.url, tmp_path / "codex.bin", tmp_path / "copy.bin"
        )
        [cid] = lines(done)
        [item] = (await served.client.get("/data")).json()["content"]
    assert item["cid"] == cid
    assert item["manifest"]["filename"] == "codex.bin"
    assert await trio.Path(tmp_path / "copy.bin").read_bytes() == content


async def test_list_and_delete(tmp_path: Path) -> None:
    async with open_served_node(tmp_path / "node", threads=True) as served:
        kept = await served.node.store(b"kept", filename="kept.txt")
        bare = await served.node.store(b"bare")
        gone = await served.node.store(b"gone", filename="gone.tmp")
        said = lines(await run("list_and_delete.py", served.address.url, ".tmp"))
        left = {cid async for cid, _ in served.node.iterate_manifests()}
        used = (await served.node.space()).quota_used
    assert f"deleted {gone} 4 gone.tmp" in said
    assert f"kept {kept} 4 kept.txt" in said
    assert said[-1] == f"{used} of {20 << 30} bytes used"
    assert left == {kept, bare}


async def test_watch_jobs(tmp_path: Path) -> None:
    content = noise(3_000_000)
    await trio.Path(tmp_path / "codex.bin").write_bytes(content)
    async with open_served_node(tmp_path / "node", threads=True) as served:
        said = lines(await run("watch_jobs.py", served.address.url, tmp_path / "codex.bin"))
        [cid] = [str(cid) async for cid, _ in served.node.iterate_manifests()]
    assert said[-1] == cid
    assert said[0] == "upload codex.bin running   0% 0 MB/s"
    assert said[-2].startswith("upload codex.bin done 100% ")


async def test_watch_jobs_of_what_cannot_be_stored(tmp_path: Path) -> None:
    await trio.Path(tmp_path / "empty").write_bytes(b"")
    async with open_served_node(tmp_path / "node", threads=True) as served:
        done = await run("watch_jobs.py", served.address.url, tmp_path / "empty")
    assert (done.returncode, done.stderr) == (1, b"Empty leaves. send at least one byte\n")


async def test_watch_jobs_where_no_node_runs(tmp_path: Path) -> None:
    await trio.Path(tmp_path / "codex.bin").write_bytes(b"some file contents")
    done = await run("watch_jobs.py", "http://127.0.0.1:1", tmp_path / "codex.bin")
    assert done.returncode == 1
    assert done.stderr.startswith(b"no node answers at 127.0.0.1:1. start one with `codex`")


@pytest.mark.parametrize("name", TESTED)
def test_an_example_says_how_it_is_run(name: str) -> None:
    assert f"python {name}" in (EXAMPLES / name).read_text("utf-8")


@pytest.mark.parametrize("name", TESTED)
@pytest.mark.parametrize("words", [(), ("a", "b", "c", "d")])
async def test_an_example_that_is_called_otherwise_says_so(name: str, words: tuple[str, ...]) -> None:
    done = await run(name, *words)
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"python {name}".encode() in done.stderr
    assert b"Traceback" not in done.stderr
