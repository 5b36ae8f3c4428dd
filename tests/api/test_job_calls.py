"""The calls about long work: jobs are begun, looked at and cancelled."""

import json
from pathlib import Path

import pytest
from trio.testing import wait_all_tasks_blocked

from codex.api import jobs
from codex.node import JobKind, JobState, Node
from codex.testing.content import damage, noise
from codex.testing.http import Client, Reply, head
from codex.testing.nodes import BASE, EPOCH, ServedNode, holdings, open_served_node, store_of
from codex.testing.rows import protect

MIB = 1 << 20
CONTENT = b"some file contents"
CID = "zDvZRwzm1ePSzKSXt57D5YxHwcSDmsCyYN65wW4HT7fuX9HrzFXy"
UNKNOWN = "zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ"
BLOCK = "zDxWB8ED98hxJ51XwYaoQAwMdskCcmTaPR6Ce2wq88bjvjXRYuR9"
KEYS = [
    "id",
    "kind",
    "state",
    "phase",
    "subject",
    "bytesDone",
    "bytesTotal",
    "bytesPerSecond",
    "etaSeconds",
    "started",
    "ended",
    "result",
    "error",
]


async def begun(node: Node, reply: Reply) -> str:
    """The id of the job that a reply tells of, once it has ended well."""
    assert reply.status == 202
    assert reply.header("content-type") == "application/json"
    shown = reply.json()
    assert list(shown) == KEYS
    assert reply.header("location") == f"{BASE}/jobs/{shown['id']}"
    view = await node.jobs.get(shown["id"]).wait()
    assert view.state is JobState.DONE
    return str(shown["id"])


# -- the list


async def test_a_new_node_has_no_jobs(client: Client) -> None:
    reply = await client.get("/jobs")
    assert reply.header("content-type") == "application/json"
    assert reply.body == b'{"jobs":[]}'


async def test_transfers_are_jobs_the_newest_first(client: Client) -> None:
    headers = [("Content-Disposition", 'attachment; filename="größe.txt"')]
    cid = (await client.post("/data", CONTENT, headers=headers)).text
    await client.get(f"/data/{cid}")
    await client.get(f"/data/{cid}/network/stream", headers=[("Range", "bytes=5-8")])
    await client.post(f"/data/{cid}/network")
    fetch, part, download, upload = (await client.get("/jobs")).json()["jobs"]
    for job, kind in ((upload, "upload"), (download, "download"), (part, "download"), (fetch, "fetch")):
        assert list(job) == KEYS
        assert (job["kind"], job["state"], job["error"]) == (kind, "done", None)
    assert (upload["subject"], upload["result"]) == ("größe.txt", {"cid": cid})
    assert (upload["bytesDone"], upload["bytesTotal"]) == (18, 18)
    assert (download["subject"], download["bytesDone"]) == (cid, 18)
    assert (part["bytesDone"], part["bytesTotal"]) == (4, 4)
    assert upload["ended"] >= upload["started"] >= EPOCH


async def test_a_long_list_is_whole(served: ServedNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "STEP", 3)
    ids = []
    for _ in range(10):
        async with served.node.jobs.track(JobKind.FETCH) as job:
            ids.append(job.id)
    shown = (await served.client.get("/jobs")).json()["jobs"]
    assert [job["id"] for job in shown] == ids[::-1]


@pytest.mark.parametrize(
    ("query", "kinds"),
    [
        ("", ["scrub", "download", "upload"]),
        ("?kind=upload", ["upload"]),
        ("?kind=upload&state=done", ["upload"]),
        ("?state=done", ["scrub", "download", "upload"]),
        ("?state=failed", []),
        ("?kind=backup", []),
        ("?other=x", ["scrub", "download", "upload"]),
    ],
)
async def test_the_list_may_be_narrowed(served: ServedNode, query: str, kinds: list[str]) -> None:
    await served.client.post("/data", CONTENT)
    await served.client.get(f"/data/{CID}")
    await begun(served.node, await served.client.post("/scrub"))
    shown = (await served.client.get("/jobs" + query)).json()["jobs"]
    assert [job["kind"] for job in shown] == kinds


@pytest.mark.parametrize(
    "query", ["?kind=x", "?kind=", "?kind=Upload", "?state=x", "?state=%00", "?kind=upload&state=x"]
)
async def test_what_no_job_can_be_is_refused(client: Client, query: str) -> None:
    reply = await client.get("/jobs" + query)
    assert reply.status == 422
    assert "of a job" in reply.text


# -- one of them


async def test_a_job_can_be_looked_at(client: Client) -> None:
    await client.post("/data", CONTENT)
    [listed] = (await client.get("/jobs")).json()["jobs"]
    reply = await client.get(f"/jobs/{listed['id']}")
    assert reply.status == 200
    assert reply.json() == listed


@pytest.mark.parametrize("id", ["x", "0", "%00", "%ff", "a" * 1000, "..", "1%2f2"])
async def test_a_job_that_is_not_known_is_not_found(client: Client, id: str) -> None:
    for method in ("GET", "DELETE"):
        reply = await client.ask(method, f"/jobs/{id}")
        assert reply.status == 404
    assert (await client.get("/jobs/")).status == 404


async def test_a_job_that_has_ended_cannot_be_cancelled(client: Client) -> None:
    await client.post("/data", CONTENT)
    [job] = (await client.get("/jobs")).json()["jobs"]
    reply = await client.delete(f"/jobs/{job['id']}")
    assert (reply.status, reply.body) == (204, b"")
    assert (await client.get(f"/jobs/{job['id']}")).json() == job


async def test_an_upload_is_watched_and_cancelled(served: ServedNode) -> None:
    before = await holdings(served.node)
    async with served.client.link() as link:
        await link.send(
            f"POST {BASE}/data HTTP/1.1\r\nHost: a\r\nContent-Length: {40 * MIB}\r\n\r\n".encode()
        )
        await link.send(noise(20 * MIB))
        await wait_all_tasks_blocked(0.05)
        [job] = (await served.client.get("/jobs?kind=upload&state=running")).json()["jobs"]
        assert (job["phase"], job["bytesDone"], job["bytesTotal"]) == ("reading", 20 * MIB, 40 * MIB)
        assert (await served.client.delete(f"/jobs/{job['id']}")).status == 204
        reply = await link.reply("POST")
        assert reply.status == 409
        assert "cancelled" in reply.text
        assert reply.header("connection") == "close"
    ended = (await served.client.get(f"/jobs/{job['id']}")).json()
    assert (ended["state"], ended["error"], ended["result"]) == ("cancelled", None, None)
    assert await holdings(served.node) == before


async def test_an_upload_that_breaks_off_is_a_failed_job(served: ServedNode) -> None:
    async with served.client.link() as link:
        await link.send(head("POST", f"{BASE}/data", "a", length=100) + b"short")
        await link.stream.send_eof()
        assert (await link.reply("POST")).status == 400
    [job] = (await served.client.get("/jobs")).json()["jobs"]
    assert job["state"] == "failed"
    assert job["error"]["code"] == "upload-cut"
    assert job["error"]["message"] == "Stream boundary is not reached yet"


async def test_a_reader_that_goes_is_a_failed_job(served: ServedNode) -> None:
    cid = await served.node.store(noise(48 * MIB))
    async with served.client.link() as link:
        await link.send(head("GET", f"{BASE}/data/{cid}", "a"))
        await link.stream.receive_some(1)
    [job] = served.node.jobs.list(JobKind.DOWNLOAD)
    await job.wait()
    shown = (await served.client.get(f"/jobs/{job.id}")).json()
    assert (shown["state"], shown["error"]["code"]) == ("failed", "broken-off")
    assert "the reader has gone" in shown["error"]["message"]


async def test_more_jobs_than_may_run_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_served_node(tmp_path) as served:
        cid = await served.node.store(CONTENT)
        monkeypatch.setattr(served.node.jobs, "_limit", 0)
        for reply in (
            await served.client.post("/data", CONTENT),
            await served.client.get(f"/data/{cid}"),
            await served.client.post("/scrub"),
        ):
            assert reply.status == 503
            assert "no more may" in reply.text
        assert (await served.client.get("/space")).status == 200


# -- verify, scrub


async def test_a_dataset_is_verified(served: ServedNode) -> None:
    await served.client.post("/data", CONTENT)
    id = await begun(served.node, await served.client.post(f"/data/{CID}/verify"))
    shown = (await served.client.get(f"/jobs/{id}")).json()
    assert (shown["kind"], shown["subject"]) == ("verify", CID)
    assert shown["result"]["sound"] is True
    assert shown["bytesDone"] == shown["bytesTotal"]


async def test_rows_are_verified_and_repaired(served: ServedNode) -> None:
    dataset = protect(noise(4000), 2, 1, 1024)
    await dataset.keep(store_of(served.node), dataset.others(dataset.leaves(0)))
    found = []
    for query in ("", "?repair=0", "?repair=1", "?repair=false"):
        id = await begun(served.node, await served.client.post(f"/data/{dataset.cid}/verify{query}"))
        found.append((await served.client.get(f"/jobs/{id}")).json()["result"])
    assert [(one["sound"], one["spare"], one["rows"][0]["missing"]) for one in found] == [
        (False, 0, 2),
        (False, 0, 2),
        (True, 1, 0),
        (True, 1, 0),
    ]
    assert [one.get("repaired") for one in found] == [None, None, 2, None]
    reply = await served.client.post(f"/data/{dataset.cid}/verify?repair=yes")
    assert (reply.status, "repair is 1 or 0" in reply.text) == (422, True)
    await served.client.post("/data", CONTENT)
    reply = await served.client.post(f"/data/{CID}/verify?repair=1")
    assert (reply.status, "is not protected" in reply.text) == (422, True)


async def test_a_dataset_is_protected(served: ServedNode) -> None:
    content = noise(300_000)
    cid = (await served.client.post("/data", content)).text
    id = await begun(
        served.node, await served.client.post(f"/data/{cid}/protect", b'{"data": 2, "parity": 1, "more": 1}')
    )
    shown = (await served.client.get(f"/jobs/{id}")).json()
    assert (shown["kind"], shown["subject"]) == ("protect", cid)
    assert shown["bytesDone"] == shown["bytesTotal"] == 8 * 65_536
    result = shown["result"]
    assert list(result) == ["verifiableCid", "protectedCid", "treeCid", "verifyRoot", "slotRoots"]
    assert len(result["slotRoots"]) == 3
    listed = (await served.client.get("/data")).json()["content"]
    [made] = [item for item in listed if item["cid"] != cid]
    assert made["cid"] == result["verifiableCid"]
    assert made["manifest"]["treeCid"] == result["treeCid"]
    assert (made["manifest"]["protected"], made["manifest"]["verifiable"]) == (True, True)
    assert (await served.client.get(f"/data/{made['cid']}")).body == content


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 400, "JSON"),
        (b"[]", 400, "object"),
        (b"{}", 422, "'data' is missing"),
        (b'{"data": 2}', 422, "'parity' is missing"),
        (b'{"data": null, "parity": 1}', 422, "'data' is missing"),
        (b'{"data": "2", "parity": 1}', 400, "not text"),
        (b'{"data": 2.0, "parity": 1}', 400, "fraction"),
        (b'{"data": true, "parity": 1}', 400, "true or false"),
        (b'{"data": 2, "parity": 0}', 422, "1 at least"),
        (b'{"data": -2, "parity": 1}', 422, "1 at least"),
        (b'{"data": 1, "parity": 2}', 422, "M = 2"),
        (b'{"data": 2, "parity": 1}', 422, "blocks, which is 1"),
        (b'{"data": 1' + b"0" * 5000 + b', "parity": 1}', 400, "JSON"),
    ],
)
async def test_what_cannot_be_protected_so_is_refused(
    client: Client, body: bytes, status: int, says: str
) -> None:
    await client.post("/data", CONTENT)
    reply = await client.post(f"/data/{CID}/protect", body)
    assert reply.status == status
    assert says in reply.text
    assert len((await client.get("/jobs")).json()["jobs"]) == 1


@pytest.mark.parametrize("call", ["verify", "protect"])
@pytest.mark.parametrize(
    ("text", "status"), [(UNKNOWN, 404), (BLOCK, 404), ("zDv", 400), ("%00", 400), (CID[:-1], 400)]
)
async def test_only_a_dataset_can_be_verified_or_protected(
    client: Client, text: str, status: int, call: str
) -> None:
    await client.post("/data", CONTENT)
    reply = await client.post(f"/data/{text}/{call}", b'{"data": 1, "parity": 1}')
    assert reply.status == status
    assert len((await client.get("/jobs")).json()["jobs"]) == 1


async def test_a_scrub_finds_damage(tmp_path: Path) -> None:
    async with open_served_node(tmp_path) as served:
        content = noise(300_000)
        await served.client.post("/data", content)
        damage(tmp_path, content[65_536:131_072])
        id = await begun(served.node, await served.client.post("/scrub"))
        shown = (await served.client.get(f"/jobs/{id}")).json()
        assert (shown["kind"], shown["subject"]) == ("scrub", None)
        assert (shown["result"]["sound"], shown["result"]["corruptBlocks"]) == (False, 1)


# -- backup


async def test_a_backup_is_made(served: ServedNode, tmp_path: Path) -> None:
    await served.client.post("/data", CONTENT)
    target = tmp_path / "größe"
    body = json.dumps({"path": str(target), "more": 1}).encode()
    id = await begun(served.node, await served.client.post("/backup", body))
    shown = (await served.client.get(f"/jobs/{id}")).json()
    assert shown["result"]["path"] == str(target)
    assert shown["result"]["bytes"] >= 65_536
    assert target.is_dir()


async def test_a_backup_is_asked_for_with_any_type(served: ServedNode, tmp_path: Path) -> None:
    for number, kind in enumerate(
        ("application/json", "text/plain", "application/x-www-form-urlencoded", "x")
    ):
        body = json.dumps({"path": str(tmp_path / f"copy {number}")}).encode()
        await begun(served.node, await served.client.post("/backup", body, headers=[("Content-Type", kind)]))


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"/tmp/x"', 400),
        (b'{"path": 5}', 400),
        (b'{"path": ["/tmp/x"]}', 400),
        (b'{"path": NaN}', 400),
        (b'{"path": "\xff"}', 400),
        (b"[" * 100_000, 400),
        (b"{}", 422),
        (b'{"path": ""}', 422),
        (b'{"path": null}', 422),
        (b'{"path": "relative"}', 422),
        (b'{"path": "../x"}', 422),
        (b'{"path": "/"}', 422),
        (b'{"path": "/no/such/directory/x"}', 422),
        (b'{"path": "/tmp/a\\u0000b"}', 422),
        (b'{"path": "/tmp/\\ud800"}', 422),
        (b'{"path": "/' + b"a" * 100_000 + b'"}', 422),
        (b'{"path": "' + b"/a" * 50_000 + b'"}', 422),
        (b'{"path": "/dev/null"}', 422),
        (b'{"path": "/proc/self/x"}', 422),
        (b'{"path": "' + b"a" * (1 << 20) + b'"}', 413),
    ],
)
async def test_a_backup_that_cannot_be_is_refused(client: Client, body: bytes, status: int) -> None:
    async with client.link() as link:
        reply = await link.ask("POST", f"{BASE}/backup", body=body)
    assert reply.status == status
    assert (reply.header("content-type") or "").startswith("text/plain")
    assert (await client.get("/jobs")).json() == {"jobs": []}


async def test_nothing_is_backed_up_over_something(served: ServedNode, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    for path in (tmp_path / "there", tmp_path / "alice" / "copy", tmp_path / "x" / ".." / "there"):
        reply = await served.client.post("/backup", json.dumps({"path": str(path)}).encode())
        assert reply.status == 422
        assert str(tmp_path) in reply.text


# -- pins


async def test_a_dataset_is_pinned_and_let_go(client: Client) -> None:
    await client.post("/data", CONTENT)
    path = f"/data/{CID}/pin"
    assert (await client.get(path)).json() == {"pinned": False}
    for method, pinned in (("PUT", True), ("PUT", True), ("DELETE", False), ("DELETE", False)):
        reply = await client.ask(method, path)
        assert (reply.status, reply.body) == (204, b"")
        assert (await client.get(path)).json() == {"pinned": pinned}
        assert (await client.get("/pins")).json() == {"cids": [CID] if pinned else []}


@pytest.mark.parametrize(("text", "status"), [(UNKNOWN, 404), (BLOCK, 404), ("zDv", 400), ("%ff", 400)])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_only_a_dataset_can_be_pinned(client: Client, method: str, text: str, status: int) -> None:
    await client.post("/data", CONTENT)
    assert (await client.ask(method, f"/data/{text}/pin")).status == status


# -- pages


@pytest.mark.parametrize("path", [f"/data/{CID}/protect", f"/data/{CID}/verify", "/scrub", "/backup"])
async def test_a_foreign_page_begins_nothing(served: ServedNode, path: str, tmp_path: Path) -> None:
    await served.node.store(CONTENT)
    body = json.dumps({"path": str(tmp_path / "copy"), "data": 1, "parity": 1}).encode()
    for origin in ("https://mallory.example", "null", f"http://mallory.example:{served.client.port}"):
        reply = await served.client.post(path, body, headers=[("Origin", origin)])
        assert (reply.status, reply.text) == (403, "This page may not do that")
    assert [job.kind for job in served.node.jobs.list()] == [JobKind.UPLOAD]
    own = f"http://{served.client.host}:{served.client.port}"
    await begun(served.node, await served.client.post(path, body, headers=[("Origin", own)]))


async def test_a_page_that_is_let_in_may_begin_work(tmp_path: Path) -> None:
    async with open_served_node(tmp_path, cors_origin="https://alice.example") as served:
        reply = await served.client.post("/scrub", headers=[("Origin", "https://alice.example")])
        assert reply.status == 202
        assert reply.header("access-control-allow-origin") == "https://alice.example"
        assert (await served.client.post("/scrub", headers=[("Origin", "https://bob.example")])).status == 403
