"""Uploads and downloads over a real socket: what goes in comes out, under the network's own CIDs."""

import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from codex.codec import Cid
from codex.config import StoreConfig
from codex.testing.content import noise, pattern
from codex.testing.http import Client, chunk
from codex.testing.nodes import ServedNode, holdings, open_served_node

CONTENT = b"some file contents"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
TREE = "zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL"
UNKNOWN = "zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ"
NOT_HERE = "The requested CID could not be retrieved (Block not found in local store)."
CHUNKED = [("Transfer-Encoding", "chunked")]


def content_of(row: dict[str, Any]) -> bytes:
    """The bytes that a row of the known datasets stands for."""
    size = row["dataset_size"]
    kind = row["content"]
    if kind.startswith("pattern"):
        return pattern(size)
    if kind.startswith("31-pattern"):
        return bytes((31 * i + 7) & 255 for i in range(size))
    if "zero bytes" in kind or kind == "the single byte 00":
        return bytes(size)
    return bytes(kind.partition(": ")[2], "utf-8")


def described(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The headers that a row was uploaded with."""
    headers = []
    if row["mimetype"] is not None:
        headers.append(("Content-Type", row["mimetype"]))
    if row["filename"] is not None:
        headers.append(("Content-Disposition", f'attachment; filename="{row["filename"]}"'))
    return headers


# -- what is stored


async def test_known_datasets_get_the_networks_cids(client: Client, vectors: Callable[[str], Any]) -> None:
    rows = vectors("cids")["datasets"]
    assert len(rows) > 30
    for row in rows:
        body = content_of(row)
        reply = await client.post("/data", body, headers=described(row))
        assert (reply.status, reply.text) == (200, row["manifest_cid"]), row["name"]
        manifest = (await client.get(f"/data/{reply.text}/network/manifest")).json()["manifest"]
        assert manifest == {
            "treeCid": row["tree_cid"],
            "datasetSize": row["dataset_size"],
            "blockSize": row["block_size"],
            "filename": row["filename"],
            "mimetype": row["mimetype"],
            "protected": False,
        }
        assert (await client.get(f"/data/{reply.text}")).body == body


async def test_an_upload_is_answered_with_its_cid_as_bare_text(client: Client) -> None:
    reply = await client.post("/data", CONTENT)
    assert reply.status == 200
    assert reply.header("content-type") == "text/plain"
    assert reply.body == CID.encode()


async def test_an_upload_is_answered_with_the_id_of_its_job(served: ServedNode) -> None:
    reply = await served.client.post("/data", CONTENT)
    [job] = served.node.jobs.list()
    assert (reply.header("x-job-id"), job.result) == (job.id, {"cid": reply.text})


async def test_what_an_upload_takes_is_one_block_and_its_manifest(client: Client) -> None:
    await client.post("/data", CONTENT)
    space = (await client.get("/space")).json()
    assert space["totalBlocks"] == 2
    assert space["quotaUsedBytes"] == 65_536 + 56
    assert space["quotaReservedBytes"] == 0


async def test_the_same_upload_again_changes_nothing(served: ServedNode) -> None:
    await served.client.post("/data", CONTENT)
    before = await holdings(served.node)
    assert (await served.client.post("/data", CONTENT)).text == CID
    assert await holdings(served.node) == before


async def test_a_type_with_parameters_is_stored_as_sent(client: Client) -> None:
    kind = "text/plain; charset=utf-8"
    cid = (await client.post("/data", CONTENT, headers=[("Content-Type", kind)])).text
    assert (await client.get(f"/data/{cid}")).header("content-type") == kind


async def test_a_type_keeps_its_case(client: Client) -> None:
    cid = (await client.post("/data", CONTENT, headers=[("Content-Type", "Text/Plain")])).text
    assert (await client.get("/data")).json()["content"][0]["manifest"]["mimetype"] == "Text/Plain"
    assert (await client.get(f"/data/{cid}")).header("content-type") == "Text/Plain"


@pytest.mark.parametrize("disposition", ["attachment", "attachment; filename=plain.txt", "inline"])
async def test_a_disposition_without_a_quoted_name_names_nothing(client: Client, disposition: str) -> None:
    reply = await client.post("/data", CONTENT, headers=[("Content-Disposition", disposition)])
    assert reply.text == CID


@pytest.mark.parametrize(
    ("header", "value", "said"),
    [
        ("Content-Type", "hello/world", "The MIME type 'hello/world' is not valid."),
        ("Content-Type", "hello/world; a=b", "The MIME type 'hello/world; a=b' is not valid."),
        ("Content-Disposition", 'attachment; filename="a*b.txt"', "The filename is not valid."),
        ("Content-Disposition", 'attachment; filename="CON"', "The filename is not valid."),
        ("Content-Disposition", 'attachment; filename=""', "The filename is not valid."),
    ],
)
async def test_a_name_or_type_that_cannot_be_is_refused(
    served: ServedNode, header: str, value: str, said: str
) -> None:
    before = await holdings(served.node)
    reply = await served.client.post("/data", CONTENT, headers=[(header, value)])
    assert (reply.status, reply.text) == (422, said)
    assert (reply.header("content-type") or "").startswith("text/plain")
    assert await holdings(served.node) == before


@pytest.mark.parametrize(
    "kind", ["", "foo", "text/", "/plain", "text plain", "a b/c", "<script>", "text/plain x"]
)
async def test_a_content_type_that_is_no_media_type_is_unsupported(client: Client, kind: str) -> None:
    reply = await client.post("/data", CONTENT, headers=[("Content-Type", kind)])
    assert (reply.status, reply.body) == (415, b"")


async def test_two_content_types_are_refused(client: Client) -> None:
    reply = await client.post("/data", CONTENT, headers=[("Content-Type", "text/plain")] * 2)
    assert (reply.status, reply.text) == (400, "Only a single Content-Type header must be specified")


async def test_content_is_not_decoded_and_so_not_taken_encoded(client: Client) -> None:
    reply = await client.post("/data", CONTENT, headers=[("Content-Encoding", "gzip")])
    assert (reply.status, reply.text) == (400, "The content encoding 'gzip' is not supported.")
    assert (await client.post("/data", CONTENT, headers=[("Content-Encoding", "Identity")])).text == CID


@pytest.mark.parametrize("headers", [[], [("Content-Length", "0")]])
async def test_an_upload_without_a_body_is_refused(client: Client, headers: list[tuple[str, str]]) -> None:
    reply = await client.post("/data", headers=headers)
    assert (reply.status, reply.text) == (500, "Request do not have body available")


async def test_an_empty_chunked_upload_is_refused(served: ServedNode) -> None:
    before = await holdings(served.node)
    async with served.client.link() as link:
        await link.send(b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\n")
        await link.send(b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b""))
        reply = await link.reply("POST")
    assert reply.status == 500
    assert reply.text.startswith("Empty leaves")
    assert await holdings(served.node) == before


@pytest.mark.parametrize("size", [16, 4095, 65_536, 100_001])
async def test_a_chunked_upload_is_one_dataset_however_it_is_cut(client: Client, size: int) -> None:
    body = pattern(200_000)
    async with client.link() as link:
        await link.send(b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n")
        await link.send(b'Content-Disposition: attachment; filename="codex.png"\r\n')
        await link.send(b"Transfer-Encoding: chunked\r\n\r\n")
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        await link.send(b"".join(map(chunk, pieces)) + chunk(b""))
        reply = await link.reply("POST")
    assert reply.text == "zDvZRwzmCWczbARcZ8tQzq3ivvR6bmhzBm5SrWWT1hJ6mbwRHDZn"


async def test_chunks_may_have_extensions_and_trailers(client: Client) -> None:
    async with client.link() as link:
        await link.send(b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        await link.send(b"4;name=value\r\nsome\r\ne\r\n file contents\r\n0\r\nTrailer: x\r\n\r\n")
        assert (await link.reply("POST")).text == CID


async def test_the_sender_is_asked_to_go_on_only_when_the_body_is_wanted(client: Client) -> None:
    head = b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\nContent-Length: 18\r\nExpect: 100-continue\r\n"
    async with client.link() as link:
        await link.send(head + b"\r\n")
        assert await link.stream.receive_some(9) == b"HTTP/1.1 "
        assert (await link.stream.receive_some(4096)).startswith(b"100 ")
        await link.send(CONTENT)
        assert (await link.reply("POST")).text == CID
    async with client.link() as link:
        await link.send(head + b"Content-Type: hello/world\r\n\r\n")
        reply = await link.reply("POST")
        assert (reply.status, reply.informational) == (422, ())


# -- what comes back


async def test_a_download_tells_what_the_upload_told(client: Client) -> None:
    headers = [("Content-Type", "image/png"), ("Content-Disposition", 'attachment; filename="codex.png"')]
    cid = (await client.post("/data", pattern(200_000), headers=headers)).text
    for path in (f"/data/{cid}", f"/data/{cid}/network/stream"):
        reply = await client.get(path)
        assert (reply.status, reply.body) == (200, pattern(200_000))
        assert reply.header("content-type") == "image/png"
        assert reply.header("content-disposition") == 'attachment; filename="codex.png"'
        assert reply.header("content-length") == "200000"
        assert reply.header("transfer-encoding") is None


async def test_a_download_without_name_and_type_is_an_octet_stream(client: Client) -> None:
    await client.post("/data", CONTENT)
    reply = await client.get(f"/data/{CID}")
    assert reply.body == CONTENT
    assert reply.header("content-type") == "application/octet-stream"
    assert reply.header("content-disposition") == "attachment"
    assert reply.header("access-control-expose-headers") is None


async def test_the_network_stream_lets_pages_read_the_name(client: Client) -> None:
    await client.post("/data", CONTENT)
    reply = await client.get(f"/data/{CID}/network/stream")
    assert reply.header("access-control-expose-headers") == "Content-Disposition"


async def test_a_name_outside_ascii_comes_back_as_its_bytes(client: Client) -> None:
    name = "größe-文件.bin"
    headers = [("Content-Disposition", f'attachment; filename="{name}"')]
    cid = (await client.post("/data", CONTENT, headers=headers)).text
    said = (await client.get(f"/data/{cid}")).header("content-disposition") or ""
    assert said.encode("latin-1").decode("utf-8") == f'attachment; filename="{name}"'


async def test_head_tells_the_same_without_the_body(client: Client) -> None:
    await client.post("/data", CONTENT)
    async with client.link() as link:
        reply = await link.ask("HEAD", f"/api/codex/v1/data/{CID}")
        assert (reply.status, reply.body, reply.header("content-length")) == (200, b"", "18")
        assert (await link.ask("GET", f"/api/codex/v1/data/{CID}")).body == CONTENT


async def test_the_calls_may_be_written_in_any_form_of_a_target(client: Client) -> None:
    base = f"http://{client.host}:{client.port}/api/codex/v1"
    async with client.link() as link:
        for target in (f"{base}/data", "/api/codex/v1/%64ata", "/%61pi/codex/v1/data?x=y"):
            assert (await link.ask("POST", target, body=CONTENT)).text == CID
        for target in (
            f"{base}/data/{CID}",
            f"HTTPS://else.where/api/codex/v1/data/{CID}",
            f"/api/codex/v1/%64ata/{CID}",
            f"/api/codex/v1/data/{CID}/%6eetwork/stream",
        ):
            assert (await link.ask("GET", target)).body == CONTENT
        for target in ("http://a", "http://", "*", f"/api/codex/v1/data%2F{CID}", "//api/codex/v1/data"):
            assert (await link.ask("POST", target, body=CONTENT)).status == 404


async def test_every_reply_has_a_date(client: Client) -> None:
    await client.post("/data", CONTENT)
    for method, path in (
        ("POST", "/data"),
        ("GET", f"/data/{CID}"),
        ("HEAD", f"/data/{CID}"),
        ("GET", "/data/z"),
    ):
        date = (await client.ask(method, path, body=CONTENT if method == "POST" else b"")).header("date")
        assert date is not None
        assert abs(parsedate_to_datetime(date).timestamp() - time.time()) < 60


@pytest.mark.parametrize("target", ["{}?x=y", "{}?", "%7a{}"])
async def test_a_cid_may_be_written_in_any_way_of_a_path(client: Client, target: str) -> None:
    await client.post("/data", CONTENT)
    text = target.format(CID[1:] if target.startswith("%") else CID)
    assert (await client.get(f"/data/{text}")).body == CONTENT


async def test_a_cid_may_be_written_in_another_base(client: Client) -> None:
    await client.post("/data", CONTENT)
    text = "bagazuaysebextc2bxmno5a4enyhzrqcdufthtgyagolydytmw4g7z5s3l3ypi"
    assert (await client.get(f"/data/{text}")).body == CONTENT


@pytest.mark.parametrize("tail", ["", "/network/stream"])
@pytest.mark.parametrize(
    "text", ["zDv", "z", "not-a-cid", "QmInvalid", "%00", "%ff", "..", CID[:-1], CID + "1"]
)
async def test_what_is_no_cid_is_refused(client: Client, text: str, tail: str) -> None:
    reply = await client.get(f"/data/{text}{tail}")
    assert (reply.status, reply.text) == (400, "Incorrect Cid")


@pytest.mark.parametrize("tail", ["", "/network/stream"])
@pytest.mark.parametrize("text", [UNKNOWN, TREE, "zb2rhheVmk3bLks5MgzTqyznLu1zqGH5jrfTA1eAZXrjx7Vob"])
async def test_what_is_not_here_is_not_found(client: Client, text: str, tail: str) -> None:
    reply = await client.get(f"/data/{text}{tail}")
    assert (reply.status, reply.text) == (404, NOT_HERE)
    assert (reply.header("content-type") or "").startswith("text/plain")


async def test_a_block_is_no_manifest(served: ServedNode) -> None:
    await served.client.post("/data", CONTENT)
    [block] = [Cid.parse("zDxWB8ED98hxJ51XwYaoQAwMdskCcmTaPR6Ce2wq88bjvjXRYuR9")]
    assert await served.node.has(block)
    reply = await served.client.get(f"/data/{block}")
    assert (reply.status, reply.text) == (404, "Unable to decode as manifest")


# -- what does not fit


async def test_an_upload_beyond_the_quota_leaves_nothing(tmp_path: Path) -> None:
    async with open_served_node(tmp_path, store=StoreConfig(quota=1 << 20)) as served:
        before = await holdings(served.node)
        body = noise(2 << 20)
        announced = await served.client.post("/data", body)
        async with served.client.link() as link:
            await link.send(b"POST /api/codex/v1/data HTTP/1.1\r\nHost: a\r\n")
            await link.send(b"Transfer-Encoding: chunked\r\n\r\n" + chunk(body) + chunk(b""))
            unannounced = await link.reply("POST")
        for reply in (announced, unannounced):
            assert reply.status == 500
            assert "quota" in reply.text
            assert (reply.header("content-type") or "").startswith("text/plain")
        assert await holdings(served.node) == before
        assert (await served.client.post("/data", body[: 1 << 19])).status == 200
