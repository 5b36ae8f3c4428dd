"""Downloads by condition: parts of a dataset, tags, heads, and datasets that are not whole."""

from itertools import pairwise
from pathlib import Path

import pytest

from codex.codec import Cid
from codex.data import BLOCK_SIZE, Block, Manifest
from codex.node import JobKind, JobState, Node
from codex.runtime import Feed
from codex.testing.content import damage, noise
from codex.testing.http import Client, Reply
from codex.testing.nodes import BASE, ServedNode, open_served_node, store_of
from codex.testing.rows import protect

MIB = 1 << 20
CONTENT = noise(5 * BLOCK_SIZE + 1234)
TREE = "zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL"
PATHS = ["/data/{}", "/data/{}/network/stream"]


@pytest.fixture
async def cid(served: ServedNode) -> str:
    """A dataset of some blocks, the last of them short."""
    return str(await served.node.store(CONTENT, filename="codex.png", mimetype="image/png"))


async def ranged(client: Client, cid: str, wanted: str, *more: tuple[str, str]) -> Reply:
    """The reply to a request for a range of a dataset."""
    return await client.get(f"/data/{cid}", headers=[("Range", wanted), *more])


async def with_holes(node: Node, content: bytes, held: list[int]) -> Cid:
    """A dataset of which only the blocks with these numbers are on the node."""
    cid = await node.store(content)
    manifest = await node.fetch_manifest(cid)
    store = store_of(node)
    leaves = await store.leaves(manifest.tree_cid, 0, manifest.block_count)
    blocks = await store.get_many([leaf.cid for leaf in leaves])
    kept = [(leaves[at], Block(blocks[at].cid, bytes(blocks[at].data))) for at in held]
    await node.delete(cid)
    await store.put_manifest(manifest.to_bytes())
    await store.put_leaves(manifest.tree_cid, [leaf for leaf, _ in kept], [block for _, block in kept])
    return cid


# -- parts


@pytest.mark.parametrize("path", PATHS)
async def test_a_part_is_sent_with_its_place(client: Client, cid: str, path: str) -> None:
    reply = await client.get(path.format(cid), headers=[("Range", "bytes=65530-65545")])
    assert (reply.status, reply.body) == (206, CONTENT[65530:65546])
    assert reply.header("content-range") == f"bytes 65530-65545/{len(CONTENT)}"
    assert reply.header("content-length") == "16"
    assert reply.header("content-type") == "image/png"
    assert reply.header("content-disposition") == 'attachment; filename="codex.png"'
    assert reply.header("etag") == f'"{cid}"'
    assert reply.header("accept-ranges") == "bytes"


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-", 0, None),
        ("bytes=-1", -1, None),
        ("bytes=-70000", -70000, None),
        ("bytes=65536-131071", 65536, 131072),
        ("bytes=65535-65536", 65535, 65537),
        ("bytes=328900-999999999", 328900, None),
        ("bytes=-999999999", 0, None),
    ],
)
async def test_every_kind_of_range(
    client: Client, cid: str, wanted: str, start: int, end: int | None
) -> None:
    reply = await ranged(client, cid, wanted)
    assert (reply.status, reply.body) == (206, CONTENT[start:end])
    assert int(reply.header("content-length") or "") == len(CONTENT[start:end])


@pytest.mark.parametrize("cuts", [[1], [65_536], [65_535, 65_537], [2, 131_072, 328_913], [100_000, 200_000]])
async def test_parts_put_together_are_the_whole(served: ServedNode, cid: str, cuts: list[int]) -> None:
    edges = [0, *cuts, len(CONTENT)]
    pieces = []
    async with served.client.link() as link:
        for first, end in pairwise(edges):
            asked = [("Range", f"bytes={first}-{end - 1}")]
            pieces.append((await link.ask("GET", f"{BASE}/data/{cid}", headers=asked)).body)
    assert b"".join(pieces) == CONTENT


async def test_a_part_of_a_large_dataset_reads_only_its_blocks(
    served: ServedNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = noise(32 * MIB)
    cid = await served.node.store(content)
    handed = 0
    real = Feed.offer

    def count(feed: Feed[memoryview], piece: memoryview) -> bool:
        nonlocal handed
        handed += len(piece)
        return real(feed, piece)

    monkeypatch.setattr(Feed, "offer", count)
    reply = await ranged(served.client, str(cid), f"bytes={16 * MIB + 5}-{17 * MIB + 4}")
    assert reply.body == content[16 * MIB + 5 : 17 * MIB + 5]
    assert handed == 17 * BLOCK_SIZE


async def test_a_broken_download_is_resumed(served: ServedNode) -> None:
    content = noise(24 * MIB)
    cid = await served.node.store(content)
    async with served.client.link() as link:
        await link.send(f"GET {BASE}/data/{cid} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        got = bytearray()
        while len(got) < 5 * MIB:
            got += await link.stream.receive_some(MIB)
    _, _, body = bytes(got).partition(b"\r\n\r\n")
    asked = [("Range", f"bytes={len(body)}-"), ("If-Range", f'"{cid}"')]
    reply = await served.client.get(f"/data/{cid}", headers=asked)
    assert reply.status == 206
    assert body + reply.body == content


@pytest.mark.parametrize(
    "wanted", ["bytes=0-1,5-6", "items=0-1", "bytes=5-2", "bytes", "", "0-5", "bytes=0-1, "]
)
async def test_what_is_no_single_range_gets_everything(client: Client, cid: str, wanted: str) -> None:
    reply = await ranged(client, cid, wanted)
    assert (reply.status, reply.body) == (200, CONTENT)
    assert reply.header("content-range") is None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("wanted", [f"bytes={len(CONTENT)}-", "bytes=-0", "bytes=99999999999999999999999-"])
async def test_a_range_outside_is_refused(client: Client, cid: str, path: str, wanted: str) -> None:
    async with client.link() as link:
        target = BASE + path.format(cid)
        reply = await link.ask("GET", target, headers=[("Range", wanted)])
        assert reply.status == 416
        assert reply.header("content-range") == f"bytes */{len(CONTENT)}"
        assert (reply.header("content-type") or "").startswith("text/plain")
        assert (await link.ask("GET", target)).body == CONTENT


async def test_an_empty_dataset_has_no_parts(served: ServedNode) -> None:
    manifest = Manifest(tree_cid=Cid.parse(TREE), dataset_size=0, block_size=BLOCK_SIZE)
    cid = await store_of(served.node).put_manifest(manifest.to_bytes())
    whole = await served.client.get(f"/data/{cid}")
    assert (whole.status, whole.body) == (200, b"")
    assert (await ranged(served.client, str(cid), "bytes=0-")).status == 416
    assert (await ranged(served.client, str(cid), "bytes=0-0,1-1")).status == 200


async def test_the_condition_on_a_range_is_the_tag(client: Client, cid: str) -> None:
    for condition, status in (
        (f'"{cid}"', 206),
        (f'W/"{cid}"', 200),
        ('"something else"', 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 200),
    ):
        reply = await ranged(client, cid, "bytes=0-9", ("If-Range", condition))
        assert (reply.status, reply.body) == (status, CONTENT[:10] if status == 206 else CONTENT)


# -- tags and heads


@pytest.mark.parametrize("path", PATHS)
async def test_a_download_may_be_kept_for_ever(client: Client, cid: str, path: str) -> None:
    reply = await client.get(path.format(cid))
    assert reply.header("etag") == f'"{cid}"'
    assert reply.header("cache-control") == "max-age=31536000, immutable"
    assert reply.header("accept-ranges") == "bytes"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tags", ['"{}"', 'W/"{}"', '"a", "{}"', "*"])
async def test_what_is_known_is_not_sent(client: Client, cid: str, method: str, tags: str) -> None:
    async with client.link() as link:
        asked = [("If-None-Match", tags.format(cid)), ("Range", "bytes=0-5")]
        reply = await link.ask(method, f"{BASE}/data/{cid}", headers=asked)
        assert (reply.status, reply.body) == (304, b"")
        assert reply.header("etag") == f'"{cid}"'
        assert reply.header("content-length") is None
        assert (await link.ask("GET", f"{BASE}/data/{cid}")).body == CONTENT


async def test_what_is_not_known_is_sent(client: Client, cid: str) -> None:
    reply = await client.get(f"/data/{cid}", headers=[("If-None-Match", '"something else"')])
    assert (reply.status, reply.body) == (200, CONTENT)


async def test_the_tag_is_the_same_in_every_base(client: Client, cid: str) -> None:
    text = "f" + Cid.parse(cid).raw.hex()
    assert (await client.get(f"/data/{text}")).header("etag") == f'"{cid}"'


async def test_what_is_not_here_is_not_known_either(client: Client, cid: str) -> None:
    await client.delete(f"/data/{cid}")
    reply = await client.get(f"/data/{cid}", headers=[("If-None-Match", f'"{cid}"')])
    assert reply.status == 404
    assert reply.header("etag") is None


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("more", [[], [("Range", "bytes=10-19")], [("Range", f"bytes={len(CONTENT)}-")]])
async def test_a_head_tells_what_a_download_of_the_whole_would(
    client: Client, cid: str, path: str, more: list[tuple[str, str]]
) -> None:
    looked = await client.ask("HEAD", path.format(cid), headers=more)
    got = await client.get(path.format(cid))
    assert (looked.status, looked.body) == (200, b"")
    assert [pair for pair in got.headers if pair[0] not in ("x-job-id", "date")] == [
        pair for pair in looked.headers if pair[0] != "date"
    ]


# -- jobs


async def test_a_download_names_its_job(served: ServedNode, cid: str) -> None:
    reply = await served.client.get(f"/data/{cid}")
    [job] = served.node.jobs.list(JobKind.DOWNLOAD)
    assert reply.header("x-job-id") == job.id
    assert (await job.wait()).state is JobState.DONE
    assert (job.subject, job.bytes_done, job.bytes_total) == (cid, len(CONTENT), len(CONTENT))


async def test_looking_is_no_job(served: ServedNode, cid: str) -> None:
    looked = await served.client.ask("HEAD", f"/data/{cid}")
    await served.client.get(f"/data/{cid}", headers=[("If-None-Match", "*")])
    assert looked.header("x-job-id") is None
    assert served.node.jobs.list(JobKind.DOWNLOAD) == ()


async def test_a_download_that_is_cancelled_is_cut(served: ServedNode) -> None:
    cid = await served.node.store(noise(64 * MIB))
    async with served.client.link() as link:
        await link.send(f"GET {BASE}/data/{cid} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await link.stream.receive_some(1)
        [job] = served.node.jobs.list(JobKind.DOWNLOAD)
        assert (await served.client.delete(f"/jobs/{job.id}")).status == 204
        assert (await job.wait()).state is JobState.CANCELLED
        assert len(await link.rest()) < 64 * MIB


# -- datasets that are not whole


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("held", [[], [0, 1, 2, 3, 4, 5, 6, 7, 8], [1, 2, 3, 4, 5, 6, 7, 8, 9]])
async def test_missing_blocks_are_told_at_once(served: ServedNode, path: str, held: list[int]) -> None:
    content = noise(10 * BLOCK_SIZE)
    cid = await with_holes(served.node, content, held)
    for method in ("GET", "HEAD"):
        reply = await served.client.ask(method, path.format(cid))
        assert reply.status == 404
        assert reply.header("etag") is None
    reply = await served.client.get(path.format(cid))
    assert f"{10 - len(held)} of the 10 blocks" in reply.text


async def test_the_parts_that_are_here_can_be_had(served: ServedNode) -> None:
    content = noise(10 * BLOCK_SIZE)
    cid = str(await with_holes(served.node, content, [3, 4, 9]))
    last = 10 * BLOCK_SIZE - 1
    for first, end in ((3 * BLOCK_SIZE, 5 * BLOCK_SIZE - 1), (9 * BLOCK_SIZE + 5, last)):
        reply = await ranged(served.client, cid, f"bytes={first}-{end}")
        assert (reply.status, reply.body) == (206, content[first : end + 1])
    for first, end in ((3 * BLOCK_SIZE - 1, 4 * BLOCK_SIZE), (5 * BLOCK_SIZE, last), (0, 0)):
        reply = await ranged(served.client, cid, f"bytes={first}-{end}")
        assert reply.status == 404
    assert "4 of the 5 blocks" in (await ranged(served.client, cid, f"bytes={5 * BLOCK_SIZE}-{last}")).text


@pytest.mark.parametrize("path", PATHS)
async def test_lost_rows_of_a_protected_dataset_are_given_all_the_same(served: ServedNode, path: str) -> None:
    dataset = protect(noise(20 * 1024), 4, 2, 1024)
    store = store_of(served.node)
    path = path.format(dataset.cid)
    await dataset.keep(store, dataset.leaves(0, 3, 5))
    for method in ("GET", "HEAD"):
        assert (await served.client.ask(method, path)).status == 404
    assert "10 of the 20 blocks" in (await served.client.get(path)).text
    await dataset.put(store, dataset.leaves(2))
    assert (await served.client.ask("HEAD", path)).status == 200
    reply = await served.client.get(path, headers=[("Range", "bytes=7000-8999")])
    assert (reply.status, reply.body) == (206, dataset.content[7000:9000])
    assert (await served.client.get(path)).body == dataset.content


async def test_damage_that_is_known_is_told_at_once(tmp_path: Path) -> None:
    content = noise(16 * MIB)
    async with open_served_node(tmp_path) as served:
        cid = str(await served.node.store(content))
        damage(tmp_path, content[13 * MIB : 13 * MIB + BLOCK_SIZE])
        cut = await served.client.get(f"/data/{cid}")
        assert (cut.status, cut.complete) == (200, False)  # nobody could have known
        again = await served.client.get(f"/data/{cid}")
        assert again.status == 404
        assert "1 of the 256 blocks" in again.text
        sound = await ranged(served.client, cid, f"bytes=0-{4 * MIB}")
        assert sound.body == content[: 4 * MIB + 1]
