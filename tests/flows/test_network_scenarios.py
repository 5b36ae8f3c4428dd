"""What other people test nodes of this network with, as far as one node goes: against the real program."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from codex.testing.content import noise, pattern
from codex.testing.http import Client

Start = Callable[..., Awaitable[Any]]

CONTENT = b"some file contents"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
NAMED = [("Content-Type", "text/plain"), ("Content-Disposition", 'attachment; filename="example.txt"')]
MIB = 1 << 20


@pytest.fixture
async def node(start: Start, tmp_path: Path) -> AsyncIterator[Any]:
    """A node process, which must still run and must not have met a bug when the test ends."""
    process = await start(f"--data-dir={tmp_path / 'alice'}", "--api-port=0")
    yield process
    assert process.process.returncode is None
    assert await process.end(signal.SIGTERM) == 0
    assert "Traceback" not in process.said


@pytest.fixture
def client(node: Any) -> Client:
    """A client of that node."""
    found: Client = node.client
    return found


async def test_uploads_lists_and_room(client: Client) -> None:
    first = await client.post("/data", b"some file contents")
    second = await client.post("/data", b"some other contents")
    assert (first.status, second.status) == (200, 200)
    assert first.text != second.text
    listed = (await client.get("/data")).json()["content"]
    assert {item["cid"] for item in listed} == {first.text, second.text}
    await client.delete(f"/data/{second.text}")
    space = (await client.get("/space")).json()
    assert space == {
        "totalBlocks": 2,
        "quotaMaxBytes": 21_474_836_480,
        "quotaUsedBytes": 65_592,
        "quotaReservedBytes": 0,
    }


async def test_the_log_level_is_set_with_topics(client: Client) -> None:
    reply = await client.post("/debug/chronicles/loglevel?level=DEBUG;TRACE:codex")
    assert (reply.status, reply.body) == (200, b"")


async def test_names_and_types_are_kept_and_shown(client: Client) -> None:
    cid = (await client.post("/data", CONTENT, headers=NAMED)).text
    [item] = (await client.get("/data")).json()["content"]
    assert (item["manifest"]["filename"], item["manifest"]["mimetype"]) == ("example.txt", "text/plain")
    for path in (f"/data/{cid}", f"/data/{cid}/network/stream"):
        reply = await client.get(path)
        assert reply.body == CONTENT
        assert reply.header("content-type") == "text/plain"
        assert reply.header("content-disposition") == 'attachment; filename="example.txt"'
        assert reply.header("content-length") == "18"
    stream = await client.get(f"/data/{cid}/network/stream")
    assert stream.header("access-control-expose-headers") == "Content-Disposition"


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([("Content-Type", "hello/world")], "The MIME type 'hello/world' is not valid."),
        ([("Content-Disposition", 'attachment; filename="exam*ple.txt"')], "The filename is not valid."),
    ],
)
async def test_bad_names_and_types_are_refused(
    client: Client, headers: list[tuple[str, str]], said: str
) -> None:
    reply = await client.post("/data", CONTENT, headers=headers)
    assert (reply.status, reply.text) == (422, said)


async def test_a_deleted_dataset_is_not_found_and_an_absent_one_no_error(client: Client) -> None:
    await client.post("/data", CONTENT)
    assert (await client.get(f"/data/{CID}/exists")).json() == {CID: True}
    for _ in range(2):
        assert (await client.delete(f"/data/{CID}")).status == 204
    assert (await client.get(f"/data/{CID}")).status == 404
    assert (await client.get(f"/data/{CID}/exists")).json() == {CID: False}


async def test_an_aborted_download_is_survived(client: Client) -> None:
    cid = (await client.post("/data", noise(10 * MIB))).text
    for _ in range(5):
        async with client.link() as link:
            await link.send(f"GET /api/codex/v1/data/{cid} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await link.stream.receive_some(1)
    assert (await client.get(f"/data/{cid}")).body == noise(10 * MIB)


async def test_interrupted_uploads_are_survived(client: Client) -> None:
    before = (await client.get("/space")).json()

    async def interrupted(number: int) -> None:
        async with client.link() as link:
            head = b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: 300000000\r\n\r\n"
            await link.send(head + noise(5 * MIB, str(number)))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(interrupted, number)
    space = None
    with trio.fail_after(20):
        while space != before:  # the node sees that they are gone in its own time
            space = (await client.get("/space")).json()
    assert (await client.get("/data")).json() == {"content": []}
    assert (await client.post("/data", CONTENT)).text == CID


@pytest.mark.parametrize("size", [123_000, 1_000_000, 23_000_000])
async def test_local_files_are_listed_with_their_sizes(client: Client, size: int) -> None:
    cid = (await client.post("/data", pattern(size), headers=NAMED)).text
    [item] = (await client.get("/data")).json()["content"]
    assert item["cid"] == cid
    assert item["manifest"]["datasetSize"] == size
    assert item["manifest"]["protected"] is False
    assert (await client.get(f"/data/{cid}/network/stream")).body == pattern(size)


async def test_what_expires_is_gone_and_its_room_is_free(start: Start, tmp_path: Path) -> None:
    node = await start(
        f"--data-dir={tmp_path / 'bob'}", "--api-port=0", "--block-ttl=1", "--block-mi=1", "--block-mn=100000"
    )
    before = (await node.client.get("/space")).json()
    cid = (await node.client.post("/data", noise(3_000_000))).text
    status = 200
    with trio.fail_after(20):
        while status == 200:
            status = (await node.client.get(f"/data/{cid}")).status
        assert status == 404
        space = None
        while space != before:
            space = (await node.client.get("/space")).json()
    assert (await node.client.get("/data")).json() == {"content": []}


async def test_what_does_not_expire_yet_can_be_had(start: Start, tmp_path: Path) -> None:
    node = await start(f"--data-dir={tmp_path / 'bob'}", "--api-port=0", "--block-ttl=600", "--block-mi=1")
    cid = (await node.client.post("/data", noise(3_000_000))).text
    await node.end(signal.SIGTERM)
    again = await start(f"--data-dir={tmp_path / 'bob'}", "--api-port=0", "--block-ttl=600", "--block-mi=1")
    assert (await again.client.get(f"/data/{cid}")).body == noise(3_000_000)
