"""Fifty lives of a whole node in one process leave no task, no thread and no file descriptor behind."""

from pathlib import Path

from codex.testing.content import noise
from codex.testing.counting import count, leak_check
from codex.testing.nodes import open_served_node

CONTENT = noise(200_000)


async def life(directory: Path, *, threads: bool) -> None:
    """Start a node with its API, use it, leave connections open, and stop it."""
    async with open_served_node(directory, threads=threads) as served:
        cid = (await served.client.post("/data", CONTENT)).text
        assert (await served.client.get(f"/data/{cid}")).body == CONTENT
        async with served.client.link() as idle, served.client.link() as busy:
            assert (await idle.ask("GET", "/api/codex/v1/space")).status == 200
            await busy.send(b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")


async def test_fifty_lives_leave_nothing_behind(tmp_path: Path) -> None:
    await life(tmp_path / "first", threads=False)  # what is loaded once is loaded now
    with leak_check():
        for number in range(40):
            await life(tmp_path / str(number % 4), threads=False)


async def test_lives_with_real_threads_leave_nothing_behind(tmp_path: Path) -> None:
    await life(tmp_path / "first", threads=True)
    with leak_check():
        for number in range(10):
            await life(tmp_path / str(number % 2), threads=True)
    assert count().idle_workers <= 32
