"""A node that is killed in the middle of its work comes back with what it had promised, and nothing else."""

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from codex.testing.content import noise
from codex.testing.http import Link
from codex.testing.stores import audit

Start = Callable[..., Awaitable[Any]]

MIB = 1 << 20
HEAD = b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"


async def send_slowly(link: Link, content: bytes) -> None:
    """Send until the connection is gone."""
    try:
        await link.send(HEAD % (2 * len(content)) + content)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def kill_during_an_upload(start: Start, data: Path, at: int) -> None:
    """Kill a node when it has taken `at` bytes of an upload, and look at what the next one finds."""
    options = [f"--data-dir={data}", "--api-port=0"]
    node = await start(*options)
    first = noise(5 * MIB + 1, "first")
    cid = (await node.client.post("/data", first)).text
    before = (await node.client.get("/space")).json()
    async with node.client.link() as link, trio.open_nursery() as nursery:
        nursery.start_soon(send_slowly, link, noise(80 * MIB, "second"))
        used = before["quotaUsedBytes"]
        with trio.fail_after(30):
            while used - before["quotaUsedBytes"] < at:
                used = (await node.client.get("/space")).json()["quotaUsedBytes"]
        assert await node.end(signal.SIGKILL) == -signal.SIGKILL
    assert await trio.Path(data / "node.json").exists(), "a killed node cannot clear up"
    again = await start(*options)
    listed = (await again.client.get("/data")).json()["content"]
    assert [item["cid"] for item in listed] == [cid]
    assert (await again.client.get(f"/data/{cid}")).body == first
    assert (await again.client.get("/space")).json() == before
    second = noise(20 * MIB, "second")
    stored = (await again.client.post("/data", second)).text
    assert (await again.client.get(f"/data/{stored}")).body == second
    assert (await again.client.delete(f"/data/{stored}")).status == 204
    assert (await again.client.get("/space")).json() == before
    assert await again.end(signal.SIGTERM) == 0
    await trio.to_thread.run_sync(audit, data / "repo")


async def test_killed_in_the_middle_of_an_upload(start: Start, tmp_path: Path) -> None:
    await kill_during_an_upload(start, tmp_path / "alice", 20 * MIB)


@pytest.mark.soak
@pytest.mark.parametrize("at", [0, 1, 16 * MIB, 17 * MIB, 40 * MIB, 63 * MIB])
async def test_killed_at_other_moments_of_an_upload(start: Start, tmp_path: Path, at: int) -> None:
    await kill_during_an_upload(start, tmp_path / "alice", at)


async def test_killed_in_the_middle_of_protecting(start: Start, tmp_path: Path) -> None:
    options = [f"--data-dir={tmp_path / 'alice'}", "--api-port=0"]
    node = await start(*options)
    content = noise(8 * MIB)
    cid = (await node.client.post("/data", content)).text
    before = (await node.client.get("/space")).json()
    job = (await node.client.post(f"/data/{cid}/protect", b'{"data": 2, "parity": 2}')).json()
    with trio.fail_after(60):
        # Not before rows of parity are on the disk.
        while (await node.client.get("/space")).json() == before or not job["bytesDone"]:
            job = (await node.client.get(f"/jobs/{job['id']}")).json()
    assert job["state"] == "running"
    assert await node.end(signal.SIGKILL) == -signal.SIGKILL
    again = await start(*options)
    assert [item["cid"] for item in (await again.client.get("/data")).json()["content"]] == [cid]
    assert (await again.client.get("/space")).json() == before
    assert (await again.client.get(f"/data/{cid}")).body == content
    assert await again.end(signal.SIGTERM) == 0
    await trio.to_thread.run_sync(audit, tmp_path / "alice" / "repo")


async def test_killed_between_uploads(start: Start, tmp_path: Path) -> None:
    options = [f"--data-dir={tmp_path / 'alice'}", "--api-port=0"]
    promised: dict[str, bytes] = {}
    for life in range(3):
        node = await start(*options)
        for number in range(5):
            content = noise(300_000 + number, f"{life} {number}")
            promised[(await node.client.post("/data", content)).text] = content
        await node.end(signal.SIGKILL)
    node = await start(*options)
    listed = (await node.client.get("/data")).json()["content"]
    assert {item["cid"] for item in listed} == promised.keys()
    for cid, content in promised.items():
        assert (await node.client.get(f"/data/{cid}")).body == content
    assert (await node.client.get("/space")).json()["totalBlocks"] == 15 * 5 + 15


async def test_killed_in_the_middle_of_a_delete(start: Start, tmp_path: Path) -> None:
    options = [f"--data-dir={tmp_path / 'alice'}", "--api-port=0"]
    node = await start(*options)
    kept = (await node.client.post("/data", noise(MIB, "kept"))).text
    before = (await node.client.get("/space")).json()
    gone = (await node.client.post("/data", noise(64 * MIB, "gone"))).text
    async with node.client.link() as link:
        await link.send(f"DELETE /api/codex/v1/data/{gone} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await node.end(signal.SIGKILL)
    node = await start(*options)
    assert (await node.client.get(f"/data/{kept}")).body == noise(MIB, "kept")
    reply = await node.client.get(f"/data/{gone}")
    assert (reply.status == 200 and reply.body == noise(64 * MIB, "gone")) or reply.status == 404
    assert (await node.client.delete(f"/data/{gone}")).status == 204
    space = None
    with trio.fail_after(20):
        while space != before:  # what a delete left behind is removed behind the scenes
            space = (await node.client.get("/space")).json()
