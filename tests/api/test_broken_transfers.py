"""Transfers that do not come to their end: whoever breaks off, nothing is left and nobody else is harmed."""

import gc
import socket
import struct
import tracemalloc
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.api.service import GRACE
from codex.api.wire import STALL
from codex.config import StoreConfig
from codex.node import JobKind, JobState
from codex.store.index import Row
from codex.store.reads import Reader
from codex.testing.content import damage, noise
from codex.testing.http import Link, NoReply, chunk
from codex.testing.nodes import ServedNode, holdings, open_served_node, open_test_node

MIB = 1 << 20
POST = b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\n"
COUNTED = POST + b"Content-Length: %d\r\n\r\n" % (40 * MIB)
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    """Virtual time that leaves the loopback interface a moment to deliver before it jumps."""
    autojump_clock.autojump_threshold = 0.05
    return autojump_clock


async def settled() -> None:
    """Wait until the server has dealt with everything that was sent to it."""
    await wait_all_tasks_blocked(0.05)


def reset(link: Link) -> None:
    """Have the connection reset, instead of ended, when it is closed."""
    link.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# -- senders that stop


@pytest.mark.parametrize("sent", [1, 65_536, 20 * MIB + 1])
async def test_a_sender_that_ends_too_early_is_told(served: ServedNode, sent: int) -> None:
    before = await holdings(served.node)
    async with served.client.link() as link:
        await link.send(COUNTED + noise(sent))
        await link.stream.send_eof()
        reply = await link.reply("POST")
        assert (reply.status, reply.text) == (400, "Stream boundary is not reached yet")
        assert reply.header("connection") == "close"
        assert await link.rest() == b""
    assert await holdings(served.node) == before


@pytest.mark.parametrize("body", [b"4\r\nso", b"4\r\nsome\r\n", b"4\r\nsome", b"ffffff\r\nsome", b""])
async def test_chunks_that_end_too_early_are_no_dataset(served: ServedNode, body: bytes) -> None:
    before = await holdings(served.node)
    async with served.client.link() as link:
        await link.send(CHUNKED + body)
        await link.stream.send_eof()
        assert (await link.reply("POST")).status == 400
    assert await holdings(served.node) == before


async def test_an_upload_cut_anywhere_is_no_dataset(served: ServedNode) -> None:
    before = await holdings(served.node)
    chunks = [chunk(noise(size, str(size))) for size in (1, 65_535, 65_536, 65_537, 200_000)] + [chunk(b"")]
    whole = b"".join(chunks)
    borders = [sum(map(len, chunks[:count])) for count in range(len(chunks) + 1)]
    cuts = {border + by for border in borders for by in (-3, -2, -1, 0, 1, 2)}
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(whole)):
        async with served.client.link() as link:
            await link.send(CHUNKED + whole[:cut])
            await link.stream.send_eof()
            assert (await link.reply("POST")).status == 400, cut
        assert await holdings(served.node) == before
    assert all(job.state is JobState.FAILED for job in served.node.jobs.list(JobKind.UPLOAD))
    async with served.client.link() as link:
        await link.send(CHUNKED + whole)
        assert (await link.reply("POST")).status == 200


async def test_chunks_that_are_none_are_refused(served: ServedNode) -> None:
    before = await holdings(served.node)
    async with served.client.link() as link:
        await link.send(CHUNKED + chunk(b"some") + b"not a chunk\r\n")
        reply = await link.reply("POST")
        assert (reply.status, reply.text) == (400, "Incomplete chunk received")
    assert await holdings(served.node) == before


@pytest.mark.parametrize("head", [COUNTED, CHUNKED + b"2800000\r\n"])
@pytest.mark.parametrize("rough", [False, True])
async def test_a_sender_that_vanishes_leaves_nothing(served: ServedNode, head: bytes, rough: bool) -> None:
    before = await holdings(served.node)
    async with served.client.link() as link:
        await link.send(head + noise(20 * MIB))
        if rough:
            reset(link)
    await settled()
    assert await holdings(served.node) == before
    assert (await served.client.post("/data", noise(MIB))).status == 200


async def test_a_sender_that_falls_silent_is_given_up(served: ServedNode, clock: MockClock) -> None:
    before = await holdings(served.node)
    async with evolve(served.client, patience=10 * STALL).link() as link:
        await link.send(COUNTED + noise(MIB))
        begun = trio.current_time()
        reply = await link.reply("POST")
        assert reply.status == 400
        assert "no byte of the body arrived" in reply.text
        assert trio.current_time() - begun == pytest.approx(STALL, abs=1)
    assert await holdings(served.node) == before


async def test_a_sender_that_drips_is_let_to(served: ServedNode, clock: MockClock) -> None:
    async with served.client.link() as link:
        await link.send(POST + b"Content-Length: 18\r\n\r\n")
        for byte in b"some file contents":
            await trio.sleep(STALL - 1)
            await link.send(bytes([byte]))
        reply = await link.reply("POST")
    assert reply.text == "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"


async def test_a_refused_sender_sees_why_while_it_still_sends(tmp_path: Path) -> None:
    async def keep_sending(link: Link, start: bytes, framed: Callable[[bytes], bytes]) -> None:
        try:
            await link.send(start)
            for at in range(40):
                await link.send(framed(content[at * MIB :][:MIB]))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the server has closed, as it may

    content = noise(40 * MIB)
    bad_type = POST + b"Content-Type: hello/world\r\nContent-Length: %d\r\n\r\n" % (40 * MIB)
    async with open_served_node(tmp_path, store=StoreConfig(quota=8 * MIB)) as served:
        before = await holdings(served.node)
        for start, framed, status in (
            (COUNTED, bytes, 500),  # refused before its first byte is read
            (CHUNKED, chunk, 500),  # refused when the quota is full
            (bad_type, bytes, 422),
        ):
            async with served.client.link() as link, trio.open_nursery() as nursery:
                nursery.start_soon(keep_sending, link, start, framed)
                reply = await link.reply("POST")
                assert (reply.status, reply.complete) == (status, True)
                assert reply.header("connection") == "close"
                nursery.cancel_scope.cancel()
            await settled()
            assert await holdings(served.node) == before


# -- readers that stop


async def test_a_reader_that_stops_costs_little_and_holds_up_nobody(tmp_path: Path, clock: MockClock) -> None:
    async with open_served_node(tmp_path) as served:
        cid = str(await served.node.store(noise(96 * MIB)))
        async with served.client.link() as link:
            # Small buffers, so that most of the dataset waits on the node's side.
            link.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            tracemalloc.start()
            try:
                await link.send(f"GET /api/codex/v1/data/{cid} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                await link.stream.receive_some(1000)
                await settled()
                assert (await served.client.get("/space")).status == 200
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert peak < 24 * MIB, "a reader that has stopped is read ahead for without end"
            begun = trio.current_time()
            await served.node.stop()
        assert trio.current_time() - begun <= GRACE + 1


@pytest.mark.parametrize("rough", [False, True])
async def test_a_download_that_is_cut_harms_no_other(served: ServedNode, rough: bool) -> None:
    content = noise(24 * MIB)
    cid = (await served.client.post("/data", content)).text
    before = await holdings(served.node)
    get = f"GET /api/codex/v1/data/{cid} HTTP/1.1\r\nHost: a\r\n\r\n".encode()
    async with served.client.link() as kept:
        await kept.send(get)
        for _ in range(3):
            async with served.client.link() as cut:
                await cut.send(get)
                await cut.stream.receive_some(1000)
                if rough:
                    reset(cut)
        assert (await kept.reply()).body == content
    assert await holdings(served.node) == before
    assert (await served.client.get(f"/data/{cid}")).body == content


# -- a node that stops


async def test_a_node_that_stops_does_not_wait_for_an_idle_connection(
    tmp_path: Path, clock: MockClock
) -> None:
    async with open_served_node(tmp_path) as served:
        cid = await served.node.store(b"some file contents")
        async with served.client.link() as fresh, served.client.link() as json, served.client.link() as bulk:
            assert (await json.ask("GET", "/api/codex/v1/space")).status == 200
            assert (await bulk.ask("GET", f"/api/codex/v1/data/{cid}")).status == 200
            begun = trio.current_time()
            await served.node.stop()
            assert trio.current_time() - begun < 1
            for link in (fresh, json, bulk):
                assert await link.rest() == b""


async def test_a_node_that_stops_lets_a_transfer_finish(tmp_path: Path, clock: MockClock) -> None:
    content = noise(MIB)
    async with open_served_node(tmp_path) as served, served.client.link() as link:
        await link.send(POST + b"Content-Length: %d\r\n\r\n" % len(content) + content[:-1])
        await settled()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served.node.stop)
            await trio.sleep(GRACE / 2)
            await link.send(content[-1:])
            cid = (await link.reply("POST")).text
    async with open_test_node(tmp_path) as node:
        assert [str(found) async for found, _ in node.iterate_manifests()] == [cid]


async def test_a_node_that_stops_cuts_a_transfer_that_lasts(tmp_path: Path, clock: MockClock) -> None:
    async with open_served_node(tmp_path) as served, served.client.link() as link:
        before = await holdings(served.node)
        await link.send(COUNTED + noise(20 * MIB))
        await settled()
        begun = trio.current_time()
        await served.node.stop()
        assert trio.current_time() - begun == pytest.approx(GRACE, abs=1)
        with pytest.raises(NoReply):
            await link.reply("POST")
    async with open_test_node(tmp_path) as node:
        assert await holdings(node) == before


# -- damaged data


async def test_a_damaged_block_at_the_start_is_an_error(tmp_path: Path) -> None:
    async with open_served_node(tmp_path) as served:
        content = noise(300_000)
        cid = (await served.client.post("/data", content)).text
        damage(tmp_path, content[:65_536])
        reply = await served.client.get(f"/data/{cid}")
        assert reply.status == 500
        assert "is damaged" in reply.text


@pytest.mark.parametrize("path", ["{}", "{}/network/stream"])
async def test_a_damaged_block_further_on_cuts_the_download(tmp_path: Path, path: str) -> None:
    async with open_served_node(tmp_path) as served:
        content = noise(16 * MIB)
        cid = (await served.client.post("/data", content)).text
        damage(tmp_path, content[13 * MIB : 13 * MIB + 65_536])
        async with served.client.link() as link:
            reply = await link.ask("GET", f"/api/codex/v1/data/{path.format(cid)}")
            assert (reply.status, reply.complete) == (200, False)
            assert reply.header("content-length") == str(len(content))
            assert content.startswith(reply.body)
            assert len(reply.body) <= 13 * MIB
            assert await link.rest() == b""
        assert (await served.client.delete(f"/data/{cid}")).status == 204
        assert (await served.client.get("/space")).json()["quotaUsedBytes"] == 0


async def test_storing_again_mends_a_damaged_block(tmp_path: Path) -> None:
    async with open_served_node(tmp_path) as served:
        content = noise(300_000)
        cid = (await served.client.post("/data", content)).text
        damage(tmp_path, content[65_536 : 2 * 65_536])
        assert (await served.client.get(f"/data/{cid}")).body != content
        assert (await served.client.post("/data", content)).text == cid
        assert (await served.client.get(f"/data/{cid}")).body == content


# -- side by side


async def test_transfers_side_by_side_do_not_mix(served: ServedNode) -> None:
    contents = [noise(3 * MIB + 7 * who, f"bob {who % 4}") for who in range(8)]
    cids: dict[int, str] = {}

    async def there_and_back(who: int) -> None:
        cids[who] = (await served.client.post("/data", contents[who])).text
        assert (await served.client.get(f"/data/{cids[who]}")).body == contents[who]

    async with trio.open_nursery() as nursery:
        for who in range(8):
            nursery.start_soon(there_and_back, who)
    assert len(set(cids.values())) == 8


async def test_the_same_content_uploaded_side_by_side_is_one_dataset(served: ServedNode) -> None:
    content = noise(5 * MIB + 3)
    replies = []

    async def upload() -> None:
        replies.append((await served.client.post("/data", content)).text)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(upload)
        async with served.client.link() as cut:
            await cut.send(POST + b"Content-Length: %d\r\n\r\n" % len(content) + content[: 2 * MIB])
    await settled()
    assert len(set(replies)) == 1
    space, cids = await holdings(served.node)
    assert [str(cid) for cid in cids] == replies[:1]
    assert space.total_blocks == 81 + 1
    assert (await served.client.get(f"/data/{replies[0]}")).body == content


# -- what they leave in memory


@pytest.fixture
def no_collections() -> Iterator[None]:
    """A test in which garbage is not collected, so that what lies in circles stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Bytes(bytearray):
    """Bytes that can be watched."""


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> "list[weakref.ref[Bytes]]":
    """Everything that is read from a disk."""
    found: list[weakref.ref[Bytes]] = []
    real = Reader._read

    def read(self: Reader, run: Sequence[Row]) -> memoryview | None:
        data = real(self, run)
        assert data is not None
        copied = Bytes(data)
        found.append(weakref.ref(copied))
        return memoryview(copied)

    monkeypatch.setattr(Reader, "_read", read)
    return found


@pytest.mark.parametrize("path", ["/data/{}", "/data/{}/network/stream"])
@pytest.mark.parametrize("how", ["close", "reset", "cancel"])
async def test_a_download_that_breaks_off_leaves_nothing_in_memory(
    served: ServedNode, no_collections: None, watched: "list[weakref.ref[Bytes]]", path: str, how: str
) -> None:
    cid = await served.node.store(noise(24 * MIB))
    async with served.client.link() as link:
        link.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await link.send(f"GET /api/codex/v1{path.format(cid)} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await link.stream.receive_some(1000)
        await settled()
        assert sum(buffer() is not None for buffer in watched) > 2
        if how == "reset":
            reset(link)
        elif how == "cancel":
            [job] = served.node.jobs.list(JobKind.DOWNLOAD, JobState.RUNNING)
            served.node.jobs.cancel(job.id)
            await settled()
    await settled()
    assert [len(buffer() or b"") for buffer in watched] == [0] * len(watched)


@pytest.mark.parametrize("how", ["close", "reset", "cancel", "garbage"])
async def test_an_upload_that_breaks_off_leaves_nothing_in_memory(
    served: ServedNode, no_collections: None, how: str
) -> None:
    async def cut(size: int) -> None:
        async with served.client.link() as link:
            await link.send(CHUNKED + chunk(noise(size)))
            await settled()
            if how == "reset":
                reset(link)
            elif how == "garbage":
                await link.send(b"garbage\r\n")
            elif how == "cancel":
                [job] = served.node.jobs.list(JobKind.UPLOAD, JobState.RUNNING)
                served.node.jobs.cancel(job.id)
            await settled()
        await settled()

    await cut(1000)  # what is made once is made now
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        await cut(12 * MIB)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < MIB
