"""A `codex` process from start to stop: it says where it listens, serves commands, and leaves in order."""

import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
import trio

from codex.testing.content import noise

Start = Callable[..., Awaitable[Any]]
Run = Callable[..., Awaitable[CompletedProcess[bytes]]]

CONTENT = b"some file contents"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
MIB = 1 << 20


def options(data_dir: Path) -> list[str]:
    """Options of a node on `data_dir` whose API takes any free port."""
    return [f"--data-dir={data_dir}", "--api-port=0"]


async def test_a_node_starts_says_where_it_is_and_serves_the_commands(
    start: Start, run: Run, tmp_path: Path
) -> None:
    data, source = tmp_path / "alice", trio.Path(tmp_path / "codex.png")
    content = noise(3 * MIB + 1)
    await source.write_bytes(content)
    node = await start(*options(data))
    where = f"--data-dir={data}"

    stored = await run("put", where, str(source))
    assert (stored.returncode, stored.stderr) == (0, b"")
    cid = stored.stdout.decode().strip()
    manifest = (await node.client.get(f"/data/{cid}/network/manifest")).json()["manifest"]
    assert manifest["filename"] == "codex.png"
    assert manifest["mimetype"] == "image/png"
    assert manifest["datasetSize"] == len(content)

    piped = await run("put", where, "-", input=CONTENT)
    assert piped.stdout.decode() == CID + "\n"

    listed = await run("ls", where)
    assert listed.returncode == 0
    assert cid in listed.stdout.decode()
    assert "codex.png" in listed.stdout.decode()

    fetched = await run("get", where, cid, "-o", str(tmp_path / "copy"))
    assert (fetched.returncode, fetched.stderr) == (0, b"")
    assert await trio.Path(tmp_path / "copy").read_bytes() == content
    assert (await run("get", where, CID, "-o", "-")).stdout == CONTENT

    space = json.loads((await run("space", where, "--json")).stdout)
    assert space["totalBlocks"] == 49 + 1 + 2
    assert b"quota" in (await run("space", where)).stdout

    assert (await run("rm", where, cid, CID)).returncode == 0
    assert (await run("ls", where)).stdout == b""
    space = json.loads((await run("space", where, "--json")).stdout)
    assert (space["totalBlocks"], space["quotaUsedBytes"]) == (0, 0)

    gone = await run("get", where, cid, "-o", str(tmp_path / "again"))
    assert gone.returncode == 1
    assert b"no peer was found" in gone.stderr
    assert not await trio.Path(tmp_path / "again").exists()
    assert await node.end(signal.SIGTERM) == 0
    assert "Traceback" not in node.said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(
    start: Start, run: Run, tmp_path: Path, number: signal.Signals
) -> None:
    node = await start(*options(tmp_path / "alice"))
    note = trio.Path(tmp_path / "alice" / "node.json")
    assert json.loads(await note.read_text())["pid"] == node.process.pid
    async with node.client.link() as idle:
        assert (await idle.ask("POST", "/api/codex/v1/data", body=CONTENT)).text == CID
        begun = trio.current_time()
        assert await node.end(number) == 0
        assert trio.current_time() - begun < 4, "it waited for a connection that nobody uses"
    assert not await note.exists()
    assert "Traceback" not in node.said
    found = await run("ls", f"--data-dir={tmp_path / 'alice'}")
    assert found.returncode == 3
    assert b"no node is running" in found.stderr
    again = await start(*options(tmp_path / "alice"))
    assert (await again.client.get(f"/data/{CID}")).body == CONTENT


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_it_at_once(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    node = await start(*options(tmp_path / "alice"))
    async with node.client.link() as busy:
        await busy.send(b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        assert (await node.client.get("/space")).status == 200
        node.process.send_signal(signal.SIGTERM)
        await node.hear("stopping")
        begun = trio.current_time()
        assert await node.end(number) == 128 + number
        assert trio.current_time() - begun < 4
        assert "Traceback" not in node.said
    again = await start(*options(tmp_path / "alice"))
    assert (await again.client.get("/data")).json() == {"content": []}


async def test_a_signal_lets_an_upload_finish(start: Start, tmp_path: Path) -> None:
    node = await start(*options(tmp_path / "alice"))
    async with node.client.link() as busy:
        await busy.send(
            b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\n\r\n" + CONTENT[:9]
        )
        assert (await node.client.get("/space")).status == 200
        node.process.send_signal(signal.SIGTERM)
        await node.hear("stopping")
        await busy.send(CONTENT[9:])
        assert (await busy.reply("POST")).text == CID
        assert await node.end() == 0
    again = await start(*options(tmp_path / "alice"))
    assert (await again.client.get(f"/data/{CID}")).body == CONTENT


async def test_options_may_be_written_as_the_networks_nodes_take_them(start: Start, tmp_path: Path) -> None:
    node = await start(
        f"--data-dir:{tmp_path / 'alice'}",
        "--api-port:0",
        "--storage-quota:10000000",
        "--block-ttl:60",
        "--block-mi:10",
        "--log-level:TRACE",
        "--api-cors-origin:*",
        "--nat:none",
        "--disc-port:0",
    )
    assert (await node.client.get("/space")).json()["quotaMaxBytes"] == 10_000_000
    reply = await node.client.get("/space", headers=[("Origin", "https://alice.example")])
    assert reply.header("access-control-allow-origin") == "*"
    assert (await node.client.get("/debug/info")).json()["repo"] == str(tmp_path / "alice")
    assert await node.end(signal.SIGTERM) == 0


async def test_two_nodes_side_by_side(start: Start, tmp_path: Path) -> None:
    alice, bob = await start(*options(tmp_path / "alice")), await start(*options(tmp_path / "bob"))
    assert (await alice.client.get("/peerid")).json() != (await bob.client.get("/peerid")).json()
    await alice.client.post("/data", CONTENT)
    assert (await bob.client.get(f"/data/{CID}")).status == 404


async def test_a_default_port_that_is_taken_gives_way(start: Start, run: Run, tmp_path: Path) -> None:
    first = await start(f"--data-dir={tmp_path / 'alice'}")
    second = await start(f"--data-dir={tmp_path / 'bob'}")
    assert first.client.port != second.client.port
    assert second.client.port != 8080
    assert "8080" in second.said
    await second.client.post("/data", CONTENT)
    # Whoever names the data directory need not know where the node went.
    assert CID in (await run("ls", f"--data-dir={tmp_path / 'bob'}")).stdout.decode()
    assert CID not in (await run("ls", f"--data-dir={tmp_path / 'alice'}")).stdout.decode()
