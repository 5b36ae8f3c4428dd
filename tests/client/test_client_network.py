"""The client of a node that knows others: whom it knows, finding and connecting, datasets from afar."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from attrs import frozen

from codex.client import Client, PeerJoined, PeerLeft, open_client
from codex.errors import NotFound
from codex.node import Node
from codex.testing.content import noise
from codex.testing.neighbourhood import Neighbourhood, open_test_network

CONTENT = noise(500_000)
STRANGER = "16Uiu2HAmUfnXWqHZ7wZKpCb1u6HYFUcYyLYRRqHjtjuu6EUHLbYU"


@frozen
class Two:
    """Alice's node, and a client of bob's."""

    people: Neighbourhood
    alice: Node
    client: Client


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    async with open_test_network("alice", "bob", directory=tmp_path) as people:
        served = await people.serve("bob")
        async with open_client(served.address.url) as client:
            yield Two(people, people["alice"], client)


async def test_what_others_hold_comes_over_the_socket(two: Two) -> None:
    cid = await two.alice.store(CONTENT)
    async with two.client.retrieve(cid, offset=100_000) as dataset:
        assert await dataset.read() == CONTENT[100_000:]
    job = await two.client.fetch_dataset_async_task(cid)
    ended = await two.people["bob"].jobs.get(job.id).wait()
    assert (ended.kind, ended.state, ended.result) == ("fetch", "done", {"blocks": 1})


async def test_peers_come_and_go(two: Two) -> None:
    alice = two.alice.info()
    async with two.client.subscribe("peers") as events:
        await two.client.connect(str(alice.peer_id), alice.announced[0])
        assert await anext(events) == PeerJoined(str(alice.peer_id), alice.announced[0])
        [peer] = await two.client.peers()
        assert (peer.peer_id, peer.dialled, peer.agent) == (str(alice.peer_id), True, "Codex")
        await two.people.stop("alice")
        left = await anext(events)
        assert isinstance(left, PeerLeft)
        assert left.peer_id == str(alice.peer_id)


async def test_a_peer_is_found(two: Two) -> None:
    alice = two.alice.info()
    record = await two.client.find_peer(str(alice.peer_id))
    assert record.peer_id == str(alice.peer_id)
    assert alice.announced[0] in record.addresses
    for call in (two.client.find_peer, two.client.connect):
        with pytest.raises(NotFound, match=STRANGER):
            await call(STRANGER)
