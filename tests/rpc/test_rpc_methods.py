"""Every method once, over a connection in memory: its result has the form that the table says, and is what
REST tells."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from codex import logs
from codex.api.objects import job_json
from codex.api.rpc import methods
from codex.api.rpc.limits import MAX_LIST
from codex.api.rpc.shapes import structure
from codex.api.rpc.table import METHODS
from codex.codec import Cid
from codex.config import LogConfig
from codex.data import Block
from codex.node import JobKind, Node
from codex.testing.content import pattern
from codex.testing.nodes import ServedNode, holdings

PEER = "16Uiu2HAkuRrsmdWN5NzAPhZbzrX1uVThYpkX4A9fC8hMFh6xQy9w"
ABSENT = "zDvZRwzm1cD1ndrXQp3km8FnTzYNm6mSgmYNvy9UF42XUGKoFMzG"
TERMS = {
    "duration": 100,
    "proofProbability": "100",
    "pricePerBytePerSecond": "1",
    "collateralPerByte": "1",
    "expiry": 10,
}

OFFER = {
    "totalSize": 1_000_000,
    "duration": 86_400,
    "minPricePerBytePerSecond": "1",
    "totalCollateral": "10",
}

Given = Callable[[Node, str], Awaitable[dict[str, Any]]]


async def nothing(node: Node, cid: str) -> dict[str, Any]:
    return {}


async def dataset(node: Node, cid: str) -> dict[str, Any]:
    return {"cid": cid}


async def pinned_dataset(node: Node, cid: str) -> dict[str, Any]:
    await node.pin(Cid.parse(cid))
    return {"cid": cid}


async def rows(node: Node, cid: str) -> dict[str, Any]:
    return {"cid": cid, "data": 1, "parity": 1}


async def copy(node: Node, cid: str) -> dict[str, Any]:
    return {"path": str(node.config.data_dir.parent / "copy")}


async def a_job(node: Node, cid: str) -> dict[str, Any]:
    return {"id": node.jobs.list()[0].id}


# What each method is given to succeed; the streams have tests of their own.
GIVEN: dict[str, Given] = {
    "retrieve": dataset,
    "fetchManifest": dataset,
    "delete": dataset,
    "iterateManifests": nothing,
    "exists": dataset,
    "pin": dataset,
    "unpin": pinned_dataset,
    "pinned": dataset,
    "pins": nothing,
    "space": nothing,
    "fetchDatasetAsyncTask": dataset,
    "protect": rows,
    "verify": dataset,
    "scrub": nothing,
    "backup": copy,
    "jobs": nothing,
    "job": a_job,
    "cancelJob": a_job,
    "info": nothing,
    "peers": nothing,
    "health": nothing,
    "setLogLevel": lambda node, cid: _level(),
    "subscribe": lambda node, cid: _topics(),
    "unsubscribe": lambda node, cid: _number(),
    "cancel": lambda node, cid: _id(),
}
# And what fails on a node without a network and a marketplace.
REFUSED: dict[str, dict[str, Any]] = {
    "findPeer": {"peerId": PEER},
    "connect": {"peerId": PEER, "addrs": ["/ip4/127.0.0.1/tcp/8070"]},
    "requestStorage": {"cid": ABSENT, **TERMS},
    "purchases": {},
    "availabilities": {},
    "addAvailability": OFFER,
    "changeAvailability": {"id": "12" * 32},
    "deleteAvailability": {"id": "12" * 32},
    "slots": {},
    "sales": {},
    "decisions": {},
    "balances": {},
}


async def _level() -> dict[str, Any]:
    return {"level": "info; debug: store"}


async def _topics() -> dict[str, Any]:
    return {"topics": ["jobs", "manifests", "peers"]}


async def _number() -> dict[str, Any]:
    return {"subscription": 5}


async def _id() -> dict[str, Any]:
    return {"id": "nobody"}


def test_every_method_is_tried() -> None:
    assert {*GIVEN, *REFUSED, "store", "credit"} == set(METHODS)


@pytest.mark.parametrize("name", GIVEN)
async def test_its_result_has_the_form_that_the_table_says(node: Node, peer: Any, name: str) -> None:
    cid = str(await node.store(b"some file contents", filename="hello.txt"))
    result = await peer.call(name, await GIVEN[name](node, cid))
    kind = METHODS[name].gives
    assert result is None if kind is None else structure(kind, result) is not None


@pytest.mark.parametrize("name", REFUSED)
async def test_what_the_node_has_not_is_told(peer: Any, name: str) -> None:
    error = await peer.fails(name, REFUSED[name])
    assert error["code"] == -32002
    assert error["data"]["code"] == "not-enabled"
    assert error["data"]["remedy"]


@pytest.mark.parametrize("name", ["fetchManifest", "pin", "unpin", "pinned", "verify", "retrieve"])
async def test_what_is_not_here_is_told(peer: Any, name: str) -> None:
    error = await peer.fails(name, {"cid": ABSENT})
    assert (error["code"], error["data"]["code"]) == (-32001, "block-not-found")


@pytest.mark.parametrize("name", METHODS)
async def test_what_cannot_be_meant_is_refused(peer: Any, name: str) -> None:
    error = await peer.fails(name, {"nonsense": 1})
    assert (error["code"], error["data"]["code"]) == (-32602, "invalid-params")


@pytest.mark.parametrize(
    ("name", "params", "path"),
    [
        ("space", {}, "/space"),
        ("info", {}, "/debug/info"),
        ("peers", {}, "/peers"),
        ("health", {}, "/health"),
    ],
)
async def test_it_is_what_rest_tells(
    served: ServedNode, open_session: Any, name: str, params: dict[str, Any], path: str
) -> None:
    await served.node.store(b"some file contents")
    async with open_session(served.node) as peer:
        assert await peer.call(name, params) == (await served.client.get(path)).json()


async def test_manifests_and_jobs_are_what_rest_tells(served: ServedNode, open_session: Any) -> None:
    cids = [await served.node.store(bytes([number]), filename=f"{number}.bin") for number in range(3)]
    async with open_session(served.node) as peer:
        listed = await peer.call("iterateManifests")
        assert listed["content"] == (await served.client.get("/data")).json()["content"]
        shown = await peer.call("fetchManifest", {"cid": str(cids[0])})
        assert shown == (await served.client.get(f"/data/{cids[0]}/network/manifest")).json()
        assert (await peer.call("jobs"))["jobs"] == (await served.client.get("/jobs")).json()["jobs"]
        job = served.node.jobs.list()[0]
        assert await peer.call("job", {"id": job.id}) == (await served.client.get(f"/jobs/{job.id}")).json()


# -- lists


async def test_datasets_come_in_pages(node: Node, peer: Any) -> None:
    cids = [str(await node.store(bytes([number]))) for number in range(7)]
    pages, after = [], None
    while True:
        page = await peer.call("iterateManifests", {"limit": 3, "after": after})
        pages.append([item["cid"] for item in page["content"]])
        after = page["next"]
        if after is None:
            break
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(cids) == sorted(cid for page in pages for cid in page)


async def test_a_page_that_is_just_full_is_the_last(node: Node, peer: Any) -> None:
    await node.store(b"one")
    await node.store(b"two")
    page = await peer.call("iterateManifests", {"limit": 2})
    assert (len(page["content"]), page["next"]) == (2, None)
    assert await peer.call("iterateManifests", {"after": page["content"][-1]["cid"]}) == {
        "content": [],
        "next": None,
    }


async def test_jobs_come_in_pages_the_newest_first(node: Node, peer: Any) -> None:
    for number in range(5):
        await node.store(bytes([number]), filename=f"{number}")
    first = await peer.call("jobs", {"limit": 2})
    assert [job["subject"] for job in first["jobs"]] == ["4", "3"]
    second = await peer.call("jobs", {"limit": 2, "after": first["next"]})
    assert [job["subject"] for job in second["jobs"]] == ["2", "1"]
    third = await peer.call("jobs", {"limit": 2, "after": second["next"]})
    assert ([job["subject"] for job in third["jobs"]], third["next"]) == (["0"], None)


async def test_jobs_are_chosen_by_kind_and_state(node: Node, peer: Any) -> None:
    await node.store(b"one")
    assert (await peer.call("jobs", {"kind": "verify"}))["jobs"] == []
    assert len((await peer.call("jobs", {"kind": "upload", "state": "done"}))["jobs"]) == 1
    assert (await peer.call("jobs", {"state": "running"}))["jobs"] == []


async def test_a_list_ends_before_it_is_too_long(node: Node, peer: Any) -> None:
    for _ in range(5):
        async with node.jobs.track(JobKind.VERIFY) as job:
            job.result = "x" * (MAX_LIST // 2)
    page = await peer.call("jobs")
    assert len(page["jobs"]) == 2
    assert page["next"] == page["jobs"][-1]["id"]
    rest = await peer.call("jobs", {"after": page["next"]})
    assert len(rest["jobs"]) == 2


async def test_a_list_of_datasets_does_so_too(node: Node, peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "MAX_LIST", 500)
    for number in range(5):
        await node.store(bytes([number]), filename=f"{number}.bin")
    page = await peer.call("iterateManifests")
    assert 2 <= len(page["content"]) <= 3
    assert page["next"] == page["content"][-1]["cid"]


# -- long work


async def test_a_job_is_watched_and_cancelled(node: Node, peer: Any) -> None:
    async with trio.open_nursery() as nursery:
        begun = trio.Event()

        async def forever(job: Any) -> None:
            begun.set()
            await trio.sleep_forever()

        job = node.jobs.start(JobKind.SCRUB, forever)
        await begun.wait()
        assert await peer.call("job", [job.id]) == job_json(job.snapshot())
        assert await peer.call("cancelJob", [job.id]) == {"cancelled": True}
        assert (await job.wait()).state == "cancelled"
        assert await peer.call("cancelJob", [job.id]) == {"cancelled": False}
        nursery.cancel_scope.cancel()
    assert (await peer.fails("cancelJob", ["nobody"]))["data"]["code"] == "not-found"


async def test_a_backup_is_made(node: Node, peer: Any, tmp_path: Path) -> None:
    await node.store(b"some file contents")
    job = await peer.call("backup", {"path": str(tmp_path / "copy")})
    assert (await node.jobs.get(job["id"]).wait()).state == "done"
    assert (tmp_path / "copy").is_dir()
    error = await peer.fails("backup", {"path": str(tmp_path / "copy")})
    assert (error["code"], error["data"]["code"]) == (-32602, "invalid-input")


async def test_a_dataset_is_pinned_and_let_go(node: Node, peer: Any) -> None:
    cid = str(await node.store(b"some file contents"))
    assert await peer.call("pinned", [cid]) == {"pinned": False}
    assert await peer.call("pin", [cid]) is None
    assert await peer.call("pinned", [cid]) == {"pinned": True}
    assert await peer.call("pins") == {"cids": [cid], "next": None}
    assert await peer.call("unpin", [cid]) is None
    assert await peer.call("pinned", [cid]) == {"pinned": False}


async def test_pinned_datasets_are_listed_page_by_page(node: Node, peer: Any) -> None:
    assert await peer.call("pins") == {"cids": [], "next": None}
    cids = [await node.store(bytes([place])) for place in range(6)]
    for cid in cids[:5]:
        await node.pin(cid)
    pinned = sorted(cids[:5], key=lambda cid: cid.raw)
    found: list[str] = []
    after = None
    for _ in range(3):
        page = await peer.call("pins", {"after": after, "limit": 2})
        found += page["cids"]
        after = page["next"]
    assert found == list(map(str, pinned))
    assert after is None


async def test_a_dataset_is_deleted(node: Node, peer: Any) -> None:
    before = await holdings(node)
    cid = str(await node.store(b"some file contents"))
    assert await peer.call("exists", [cid]) == {"exists": True}
    assert await peer.call("delete", [cid]) is None
    assert await peer.call("exists", [cid]) == {"exists": False}
    assert await peer.call("delete", [cid]) is None
    assert await holdings(node) == before


async def test_a_block_that_is_needed_is_not_deleted(node: Node, peer: Any) -> None:
    content = pattern(65_536)
    await node.store(content)
    error = await peer.fails("delete", [str(Block.of(content).cid)])
    assert (error["code"], error["data"]["code"]) == (-32000, "block-in-use")


async def test_the_log_is_turned_up_and_down(peer: Any) -> None:
    with logs.configured(LogConfig(format="none", level="INFO")):
        assert await peer.call("setLogLevel", {"level": "error; trace: store"}) is None
        assert logs.current_levels() == logs.parse_levels("error; trace: store")
        error = await peer.fails("setLogLevel", {"level": "loud"})
        assert error["code"] == -32602
        assert "trace, debug, info" in error["message"]
        assert logs.current_levels() == logs.parse_levels("error; trace: store")


async def test_a_page_of_jobs_behind_one_that_is_not_known_is_refused(peer: Any) -> None:
    error = await peer.fails("jobs", {"after": "nonsense"})
    assert (error["code"], error["data"]["code"]) == (-32001, "not-found")
    assert "beginning" in error["data"]["remedy"]


async def test_jobs_go_on_behind_one_that_is_wanted_no_more(node: Node, peer: Any) -> None:
    async with node.jobs.track(JobKind.SCRUB) as first, node.jobs.track(JobKind.VERIFY) as last:
        page = await peer.call("jobs", {"state": "running", "limit": 1})
        assert ([job["id"] for job in page["jobs"]], page["next"]) == ([last.id], last.id)
        async with node.jobs.track(JobKind.BACKUP) as ended:
            pass
        page = await peer.call("jobs", {"state": "running", "after": ended.id, "limit": 1})
        assert [job["id"] for job in page["jobs"]] == [last.id]
        page = await peer.call("jobs", {"state": "running", "after": last.id})
        assert ([job["id"] for job in page["jobs"]], page["next"]) == ([first.id], None)


async def test_a_fetch_that_needed_nothing_is_not_starting_any_more(node: Node, peer: Any) -> None:
    cid = await node.store(b"some file contents")
    job = await peer.call("fetchDatasetAsyncTask", [str(cid)])
    assert (job["state"], job["phase"]) != ("done", "starting")
