"""The JSON calls about datasets: list, look, delete, and how much room there is."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.config import StoreConfig
from codex.data import Manifest, Protection
from codex.node import node
from codex.testing.content import noise
from codex.testing.http import Client
from codex.testing.nodes import ServedNode, holdings, open_served_node, store_of

CONTENT = b"some file contents"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
TREE = "zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL"
BLOCK = "zDxWB8ED98hxJ51XwYaoQAwMdskCcmTaPR6Ce2wq88bjvjXRYuR9"
EMPTY_BLOCK = "zDxWB8EDDsokSpiTXNRpv1jS2LXjEdLgTiDfxFd7Eo8CSPKVj93r"
UNKNOWN = "zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ"
RAW = "zb2rhheVmk3bLks5MgzTqyznLu1zqGH5jrfTA1eAZXrjx7Vob"
NOT_HERE = "The requested CID could not be retrieved (Block not found in local store)."
BAD_CIDS = ["zDv", "z", "not-a-cid", "QmInvalid", "%00", "%ff", CID[:-1], "+", "a" * 4000]


# -- the list


async def test_a_new_node_has_nothing(client: Client) -> None:
    reply = await client.get("/data")
    assert reply.header("content-type") == "application/json"
    assert reply.body == b'{"content":[]}'


async def test_the_list_describes_every_dataset(client: Client) -> None:
    headers = [("Content-Type", "text/plain"), ("Content-Disposition", 'attachment; filename="größe.txt"')]
    named = (await client.post("/data", CONTENT, headers=headers)).text
    bare = (await client.post("/data", noise(200_000))).text
    listed = {item["cid"]: item["manifest"] for item in (await client.get("/data")).json()["content"]}
    assert listed.keys() == {named, bare}
    assert listed[named] == {
        "treeCid": TREE,
        "datasetSize": 18,
        "blockSize": 65_536,
        "filename": "größe.txt",
        "mimetype": "text/plain",
        "protected": False,
    }
    assert listed[bare]["datasetSize"] == 200_000
    assert listed[bare]["filename"] is None
    assert listed[bare]["mimetype"] is None


@pytest.mark.parametrize("count", [6, 7, 8, 14, 20])
async def test_the_list_is_whole_over_all_its_pages(
    client: Client, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    monkeypatch.setattr(node, "LIST_PAGE", 7)
    stored = {(await client.post("/data", bytes([number]))).text for number in range(count)}
    listed = [item["cid"] for item in (await client.get("/data")).json()["content"]]
    assert len(listed) == count
    assert set(listed) == stored


async def test_a_protected_dataset_says_so(served: ServedNode) -> None:
    tree = Cid.parse(TREE)
    protection = Protection(ec_k=2, ec_m=1, original_tree_cid=tree, original_dataset_size=18)
    manifest = Manifest(tree_cid=tree, dataset_size=3 * 65_536, block_size=65_536, protection=protection)
    await store_of(served.node).put_manifest(manifest.to_bytes())
    [item] = (await served.client.get("/data")).json()["content"]
    assert item["cid"] == str(manifest.cid)
    assert item["manifest"]["protected"] is True
    assert item["manifest"]["verifiable"] is False


# -- one of them


@pytest.mark.parametrize("path", ["/data/{}/network/manifest", "/data/{}/network"])
async def test_a_manifest_that_is_here_is_shown(client: Client, path: str) -> None:
    await client.post("/data", CONTENT)
    method = "GET" if path.endswith("manifest") else "POST"
    reply = await client.ask(method, path.format(CID))
    assert reply.status == 200
    assert reply.header("content-type") == "application/json"
    assert reply.json() == {
        "cid": CID,
        "manifest": {
            "treeCid": TREE,
            "datasetSize": 18,
            "blockSize": 65_536,
            "filename": None,
            "mimetype": None,
            "protected": False,
        },
    }


@pytest.mark.parametrize("cid", [CID, BLOCK, EMPTY_BLOCK, TREE, UNKNOWN, RAW])
async def test_what_is_here_exists(client: Client, cid: str) -> None:
    await client.post("/data", CONTENT)
    reply = await client.get(f"/data/{cid}/exists")
    assert reply.status == 200
    assert reply.json() == {cid: cid in (CID, BLOCK, EMPTY_BLOCK)}


async def test_existence_is_told_under_the_text_that_was_asked(client: Client) -> None:
    await client.post("/data", CONTENT)
    text = "bagazuaysebextc2bxmno5a4enyhzrqcdufthtgyagolydytmw4g7z5s3l3ypi"
    assert (await client.get(f"/data/{text}/exists")).json() == {text: True}


@pytest.mark.parametrize("text", BAD_CIDS)
async def test_what_is_no_cid_is_refused_everywhere(client: Client, text: str) -> None:
    for method, tail in (
        ("GET", "/exists"),
        ("GET", "/network/manifest"),
        ("POST", "/network"),
        ("DELETE", ""),
    ):
        reply = await client.ask(method, f"/data/{text}{tail}")
        assert (reply.status, reply.text) == (400, "Incorrect Cid")
        assert (reply.header("content-type") or "").startswith("text/plain")


@pytest.mark.parametrize("cid", [UNKNOWN, TREE, RAW])
async def test_what_is_not_here_is_not_found(client: Client, cid: str) -> None:
    for method, tail in (("GET", "/network/manifest"), ("POST", "/network")):
        reply = await client.ask(method, f"/data/{cid}{tail}")
        assert (reply.status, reply.text) == (404, NOT_HERE)


async def test_a_block_is_no_manifest(client: Client) -> None:
    await client.post("/data", CONTENT)
    for method, tail in (("GET", "/network/manifest"), ("POST", "/network")):
        reply = await client.ask(method, f"/data/{BLOCK}{tail}")
        assert (reply.status, reply.text) == (404, "Unable to decode as manifest")


async def test_a_dataset_with_holes_cannot_be_completed_without_a_network(served: ServedNode) -> None:
    cid = (await served.client.post("/data", noise(300_000))).text
    manifest = await served.node.fetch_manifest(Cid.parse(cid))
    await served.client.delete(f"/data/{cid}")
    await store_of(served.node).put_manifest(manifest.to_bytes())
    reply = await served.client.post(f"/data/{cid}/network")
    assert reply.status == 503
    assert "5 blocks" in reply.text
    missing = await served.client.get(f"/data/{cid}")
    assert missing.status == 404


# -- delete


async def test_a_deleted_dataset_is_gone_and_its_room_is_free(client: Client) -> None:
    await client.post("/data", CONTENT)
    reply = await client.delete(f"/data/{CID}")
    assert (reply.status, reply.body) == (204, b"")
    assert (await client.get(f"/data/{CID}")).status == 404
    assert (await client.get(f"/data/{CID}/exists")).json() == {CID: False}
    assert (await client.get(f"/data/{BLOCK}/exists")).json() == {BLOCK: False}
    assert (await client.get("/data")).json() == {"content": []}
    space = (await client.get("/space")).json()
    assert (space["totalBlocks"], space["quotaUsedBytes"]) == (0, 0)


@pytest.mark.parametrize("cid", [UNKNOWN, BLOCK, EMPTY_BLOCK, RAW, TREE])
async def test_deleting_what_is_not_here_is_no_error(client: Client, cid: str) -> None:
    reply = await client.delete(f"/data/{cid}")
    assert (reply.status, reply.body) == (204, b"")


async def test_a_block_of_a_dataset_cannot_be_deleted(served: ServedNode) -> None:
    await served.client.post("/data", CONTENT)
    before = await holdings(served.node)
    reply = await served.client.delete(f"/data/{BLOCK}")
    assert reply.status == 500
    assert reply.text == "Directly deleting a block that is part of a dataset is not allowed."
    assert await holdings(served.node) == before


async def test_deleting_one_of_two_names_leaves_the_other_whole(client: Client) -> None:
    content = noise(300_000)
    bare = (await client.post("/data", content)).text
    named = (await client.post("/data", content, headers=[("Content-Type", "text/plain")])).text
    assert bare != named
    assert (await client.delete(f"/data/{bare}")).status == 204
    assert (await client.get(f"/data/{named}")).body == content
    assert (await client.delete(f"/data/{named}")).status == 204
    assert (await client.get("/space")).json()["quotaUsedBytes"] == 0


async def test_a_dataset_that_shares_blocks_with_a_deleted_one_stays_whole(client: Client) -> None:
    content = noise(300_000)
    longer = (await client.post("/data", content)).text
    shorter = (await client.post("/data", content[:131_072])).text
    assert (await client.delete(f"/data/{longer}")).status == 204
    assert (await client.get(f"/data/{shorter}")).body == content[:131_072]


# -- room


async def test_room_is_told_in_bytes(tmp_path: Path) -> None:
    async with open_served_node(tmp_path, store=StoreConfig(quota=1_000_000)) as served:
        empty = await served.client.get("/space")
        await served.client.post("/data", CONTENT)
        await store_of(served.node).reserve(12, "sales")
        filled = await served.client.get("/space")
    assert empty.header("content-type") == "application/json"
    assert empty.json() == {
        "totalBlocks": 0,
        "quotaMaxBytes": 1_000_000,
        "quotaUsedBytes": 0,
        "quotaReservedBytes": 0,
    }
    assert filled.json() == {
        "totalBlocks": 2,
        "quotaMaxBytes": 1_000_000,
        "quotaUsedBytes": 65_592,
        "quotaReservedBytes": 12,
    }


async def test_the_quota_of_a_new_node_is_the_networks(client: Client) -> None:
    assert (await client.get("/space")).json()["quotaMaxBytes"] == 21_474_836_480


# -- how long things stay


async def test_a_dataset_stays_until_its_time_is_over(tmp_path: Path, autojump_clock: MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    config = StoreConfig(block_ttl=60, maintenance_interval=10, maintenance_blocks=100_000)
    async with open_served_node(tmp_path, store=config) as served:
        before = await holdings(served.node)
        cid = (await served.client.post("/data", noise(3_000_000))).text
        await trio.sleep(50)
        assert (await served.client.get(f"/data/{cid}")).body == noise(3_000_000)
        await trio.sleep(30)
        assert (await served.client.get(f"/data/{cid}")).status == 404
        assert await holdings(served.node) == before


async def test_an_upload_again_gives_a_dataset_new_time(tmp_path: Path, autojump_clock: MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with open_served_node(tmp_path, store=StoreConfig(block_ttl=60, maintenance_interval=10)) as served:
        for _ in range(4):
            assert (await served.client.post("/data", CONTENT)).text == CID
            await trio.sleep(50)
        assert (await served.client.get(f"/data/{CID}")).body == CONTENT
        await trio.sleep(20)
        assert (await served.client.get(f"/data/{CID}")).status == 404
