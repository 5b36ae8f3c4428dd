"""The calls about other nodes and what they hold, between two nodes: the network's texts and statuses."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from attrs import frozen

from codex.config import ExchangeConfig, StoreConfig
from codex.data import BLOCK_SIZE
from codex.node import JobKind, JobState, Node
from codex.testing.content import noise
from codex.testing.http import Client
from codex.testing.neighbourhood import Neighbourhood, open_test_network
from codex.testing.nodes import store_of

BLOCKS = 9
CONTENT = noise((BLOCKS - 1) * BLOCK_SIZE + 17)
UNKNOWN = "zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ"
STRANGER = "16Uiu2HAmUfnXWqHZ7wZKpCb1u6HYFUcYyLYRRqHjtjuu6EUHLbYU"
PROBLEM = [("Accept", "application/problem+json")]


@frozen
class Two:
    """Alice's node, and bob's with its API."""

    people: Neighbourhood
    alice: Node
    bob: Node
    client: Client


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    exchange = ExchangeConfig(timeout=5)
    async with open_test_network("alice", "bob", directory=tmp_path, exchange=exchange) as people:
        served = await people.serve("bob")
        yield Two(people, people["alice"], served.node, served.client)


async def missing(node: Node, tree: str) -> int:
    [manifest] = [manifest async for _, manifest in node.iterate_manifests()]
    assert str(manifest.tree_cid) == tree
    return await store_of(node).missing(manifest.tree_cid, 0, manifest.block_count)


# -- what others hold


async def test_a_stream_from_the_network_is_as_the_local_one(two: Two) -> None:
    cid = await two.alice.store(CONTENT, filename="codex.png", mimetype="image/png")
    assert (await two.client.get(f"/data/{cid}")).status == 404
    far = await two.client.get(f"/data/{cid}/network/stream")
    near = await two.client.get(f"/data/{cid}")
    assert (far.status, far.body) == (near.status, near.body) == (200, CONTENT)
    for name in ("content-type", "content-disposition", "content-length", "etag", "accept-ranges"):
        assert far.header(name) == near.header(name)
    assert far.header("x-job-id") in [job.id for job in two.bob.jobs.list(JobKind.DOWNLOAD)]


async def test_what_has_no_room_here_is_refused_with_what_to_type(tmp_path: Path) -> None:
    store = StoreConfig(quota=16 * BLOCK_SIZE)
    async with open_test_network("alice", "bob", directory=tmp_path, store=store) as people:
        served = await people.serve("bob")
        cid = await people["alice"].store(CONTENT)
        mine = await served.node.store(noise(8 * BLOCK_SIZE, "bob"))
        for method, path in (("GET", f"/data/{cid}/network/stream"), ("POST", f"/data/{cid}/network")):
            refused = await served.client.ask(method, path, headers=PROBLEM)
            told = refused.json()
            assert (refused.status, told["code"]) == (500, "quota-exceeded")
            assert told["detail"].startswith(
                "576 KiB of the dataset are not on this node, and its quota of 1.00 MiB"
            )
            assert "--storage-quota=2MiB" in told["remedy"]
        [job] = served.node.jobs.list(JobKind.FETCH)
        assert job.state is JobState.FAILED
        # A part of it has room, and all of it once there is some.
        part = await served.client.get(f"/data/{cid}/network/stream", headers=[("Range", "bytes=0-9")])
        assert (part.status, part.body) == (206, CONTENT[:10])
        await served.node.delete(mine)
        assert (await served.client.get(f"/data/{cid}/network/stream")).body == CONTENT


async def test_of_a_range_only_what_it_needs_is_fetched(two: Two) -> None:
    cid = await two.alice.store(CONTENT)
    path = f"/data/{cid}/network/stream"
    head = await two.client.ask("HEAD", path)
    assert (head.status, head.header("content-length")) == (200, str(len(CONTENT)))
    tree = str((await two.alice.fetch_manifest(cid)).tree_cid)
    assert await missing(two.bob, tree) == BLOCKS
    part = await two.client.get(path, headers=[("Range", f"bytes={BLOCK_SIZE}-{2 * BLOCK_SIZE}")])
    assert (part.status, part.body) == (206, CONTENT[BLOCK_SIZE : 2 * BLOCK_SIZE + 1])
    assert part.header("content-range") == f"bytes {BLOCK_SIZE}-{2 * BLOCK_SIZE}/{len(CONTENT)}"
    assert await missing(two.bob, tree) == BLOCKS - 2
    known = await two.client.get(path, headers=[("If-None-Match", f'"{cid}"')])
    assert (known.status, known.body) == (304, b"")


async def test_a_manifest_alone_comes_without_its_blocks(two: Two) -> None:
    cid = await two.alice.store(CONTENT, filename="codex.png")
    reply = await two.client.get(f"/data/{cid}/network/manifest")
    assert reply.status == 200
    shown = reply.json()
    assert (shown["cid"], shown["manifest"]["filename"]) == (str(cid), "codex.png")
    assert await missing(two.bob, shown["manifest"]["treeCid"]) == BLOCKS
    assert (await two.client.get("/data")).json()["content"] == [shown]


async def test_a_dataset_is_fetched_in_the_background(two: Two) -> None:
    cid = await two.alice.store(CONTENT)
    reply = await two.client.post(f"/data/{cid}/network")
    assert (reply.status, reply.json()["cid"]) == (200, str(cid))
    job = two.bob.jobs.get(reply.header("x-job-id") or "")
    assert job.kind is JobKind.FETCH
    ended = await job.wait()
    assert (ended.state, ended.bytes_done) == ("done", BLOCKS * BLOCK_SIZE)
    await two.people.stop("alice")
    assert (await two.client.get(f"/data/{cid}")).body == CONTENT


async def test_what_nobody_has_is_404_with_what_was_tried(two: Two) -> None:
    replies = []

    async def ask(method: str, tail: str) -> None:
        replies.append(await two.client.ask(method, f"/data/{UNKNOWN}/{tail}"))

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, "POST", "network")
            nursery.start_soon(ask, "GET", "network/stream")
            nursery.start_soon(ask, "GET", "network/manifest")
    assert [reply.status for reply in replies] == [404] * 3
    for reply in replies:
        assert f"{UNKNOWN} could not be had from the network" in reply.text


# -- peers


async def test_a_peer_is_connected_to_and_shown(two: Two) -> None:
    alice = two.alice.info()
    unbounded = {"upload": None, "download": None}
    assert (await two.client.get("/peers")).json() == {"peers": [], "limits": unbounded}
    for _ in range(2):
        reply = await two.client.get(f"/connect/{alice.peer_id}?addrs=garbage&addrs={alice.announced[0]}")
        assert (reply.status, reply.text) == (200, "Successfully connected to peer")
    [peer] = (await two.client.get("/peers")).json()["peers"]
    assert (peer["peerId"], peer["address"]) == (str(alice.peer_id), alice.announced[0])
    assert (peer["dialled"], peer["agent"]) == (True, "Codex")
    assert "/codex/blockexc/1.0.0" in peer["protocols"]


async def test_a_peer_without_an_address_is_looked_up(two: Two) -> None:
    carol = (await two.people.add("carol")).info()
    assert (await two.client.get(f"/connect/{carol.peer_id}")).status == 200
    reply = await two.client.get(f"/debug/peer/{carol.peer_id}")
    assert reply.status == 200
    assert reply.json()["peerId"] == str(carol.peer_id)
    assert carol.announced[0] in reply.json()["addresses"]
    assert reply.json()["seqNo"] > 0


@pytest.mark.parametrize("path", ["/connect/{}", "/debug/peer/{}", "/connect/{}?addrs=garbage"])
async def test_a_stranger_is_not_found(two: Two, path: str) -> None:
    reply = await two.client.get(path.format(STRANGER))
    assert (reply.status, reply.text) == (400, "Unable to find Peer!")
    told = await two.client.get(path.format(STRANGER), headers=PROBLEM)
    assert STRANGER in told.json()["detail"]
    assert (await two.client.get(path.format("nobody"))).text == "peerid: incorrect PeerId string"


async def test_a_peer_that_does_not_answer_is_not_dialled(two: Two) -> None:
    carol = (await two.people.add("carol")).info()
    await two.people.stop("carol")
    path = f"/connect/{carol.peer_id}?addrs={carol.announced[0]}"
    reply = await two.client.get(path)
    assert (reply.status, reply.text) == (400, "Unable to dial peer")
    told = (await two.client.get(path, headers=PROBLEM)).json()
    assert (told["code"], carol.announced[0] in told["detail"]) == ("peer-unreachable", True)


async def test_a_node_tells_whom_discovery_knows(two: Two) -> None:
    info = (await two.client.get("/debug/info")).json()
    alice = two.alice.info()
    [known] = info["table"]["nodes"]
    assert list(known) == ["nodeId", "peerId", "record", "address", "seen"]
    assert (known["peerId"], known["nodeId"]) == (str(alice.peer_id), alice.node_id.hex())
    assert (known["address"], known["seen"]) == ("10.0.0.1:8090", True)
    assert info["table"]["localNode"]["address"] == "10.0.0.2:8090"
    assert info["addrs"][0].split("/")[-1] == "8070"
    assert len(info["announceAddresses"][0].split("/")) == 5
    assert info["spr"] == (await two.client.get("/spr")).json()["spr"]
