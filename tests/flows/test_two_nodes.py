"""Two nodes that know each other, and a third: what one holds the others get, and are told why when not."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.config import ExchangeConfig
from codex.data import BLOCK_SIZE
from codex.errors import InvalidInput, NotAManifest, NotFound, NotOnNetwork, PeerUnreachable
from codex.node import JobKind, JobState, ManifestStored, Node, PeerJoined, PeerLeft
from codex.testing.content import noise
from codex.testing.neighbourhood import LISTEN, Neighbourhood, open_test_network
from codex.testing.network import MemoryNetwork
from codex.testing.nodes import store_of
from codex.units import DAY

BLOCKS = 41
CONTENT = noise((BLOCKS - 1) * BLOCK_SIZE + 17)
UNKNOWN = Cid.parse("zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ")


@pytest.fixture
async def people() -> AsyncIterator[Neighbourhood]:
    """Alice and bob, who know each other; bob knows her from the start."""
    async with open_test_network("alice", "bob") as people:
        yield people


async def retrieved(node: Node, cid: Cid, *, local: bool = False) -> bytes:
    async with node.retrieve(cid, local=local) as dataset:
        return await dataset.read()


async def missing(node: Node, cid: Cid) -> int:
    manifest = await node.fetch_manifest(cid, local=True)
    return await store_of(node).missing(manifest.tree_cid, 0, manifest.block_count)


async def test_what_alice_holds_bob_gets_and_keeps(people: Neighbourhood, autojump_clock: MockClock) -> None:
    cid = await people["alice"].store(CONTENT, filename="codex.png")
    assert not await people["bob"].has(cid)
    assert await retrieved(people["bob"], cid) == CONTENT
    await people.stop("alice")
    assert await retrieved(people["bob"], cid, local=True) == CONTENT
    assert (await people["bob"].fetch_manifest(cid)).filename == "codex.png"


async def test_a_single_block_is_got_by_its_cid(people: Neighbourhood, autojump_clock: MockClock) -> None:
    cid = await people["alice"].store(CONTENT)
    manifest = await people["alice"].fetch_manifest(cid)
    [leaf] = await store_of(people["alice"]).leaves(manifest.tree_cid, 3, 1)
    # Nobody announces single blocks: whoever is connected is asked.
    alice = people["alice"].info()
    await people["bob"].connect(alice.peer_id, alice.announced)
    assert await retrieved(people["bob"], leaf.cid) == CONTENT[3 * BLOCK_SIZE : 4 * BLOCK_SIZE]


async def test_of_a_range_only_the_blocks_arrive_that_it_lies_in(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    cid = await people["alice"].store(CONTENT)
    offset, length = 10 * BLOCK_SIZE - 1, 2 * BLOCK_SIZE + 2
    async with people["bob"].retrieve(cid, offset=offset, length=length) as part:
        assert await part.read() == CONTENT[offset : offset + length]
    assert await missing(people["bob"], cid) == BLOCKS - 4
    assert (await people["bob"].space()).total_blocks == 1 + 4


async def test_the_first_bytes_are_there_long_before_the_last(autojump_clock: MockClock) -> None:
    slow = MemoryNetwork(bandwidth=1_000_000)
    async with open_test_network("alice", "bob", network=slow) as people:
        content = noise(100 * BLOCK_SIZE)
        cid = await people["alice"].store(content)
        started = trio.current_time()
        async with people["bob"].retrieve(cid) as dataset:
            first = await anext(dataset)
            begun = trio.current_time() - started
            assert bytes(first) + await dataset.read() == content
        # Those of the first message, which is a fifth of the whole.
        assert begun < 0.3 * (trio.current_time() - started)


async def test_what_is_missing_here_is_got_and_only_that(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    cid = await people["alice"].store(CONTENT)
    async with people["bob"].retrieve(cid, offset=0, length=20 * BLOCK_SIZE) as half:
        await half.read()
    [before] = people["bob"].peers()
    assert await retrieved(people["bob"], cid) == CONTENT
    [after] = people["bob"].peers()
    assert after.trade.bytes_in - before.trade.bytes_in == (BLOCKS - 20) * BLOCK_SIZE


async def read_in_part(bob: Node, cid: Cid) -> None:
    async with bob.retrieve(cid, length=BLOCK_SIZE) as part:
        await part.read()


async def fetch(bob: Node, cid: Cid) -> None:
    await (await bob.fetch_dataset_async_task(cid)).wait()


@pytest.mark.parametrize("get", [read_in_part, fetch])
async def test_what_is_got_late_stays_as_long_as_what_is_stored_now(
    people: Neighbourhood, autojump_clock: MockClock, get: Callable[[Node, Cid], Awaitable[None]]
) -> None:
    cid = await people["alice"].store(CONTENT)
    bob = people["bob"]
    await bob.fetch_manifest(cid)
    before = await store_of(bob).expiry(cid)
    await trio.sleep(DAY)
    await get(bob, cid)
    after = await store_of(bob).expiry(cid)
    assert before + DAY <= after <= before + DAY + 60
    await get(bob, cid)
    assert await store_of(bob).expiry(cid) == after


# -- what nobody has


async def test_what_nobody_has_ends_with_a_verdict(people: Neighbourhood, autojump_clock: MockClock) -> None:
    started = trio.current_time()
    for call in (people["bob"].fetch_manifest, people["bob"].fetch_dataset_async_task):
        with pytest.raises(NotOnNetwork, match="could not be had from the network"):
            await call(UNKNOWN)
    with pytest.raises(NotOnNetwork):
        await retrieved(people["bob"], UNKNOWN)
    assert trio.current_time() - started < 3 * 60
    assert people["bob"].jobs.list(state=JobState.RUNNING) == ()


async def test_the_bytes_end_when_the_only_one_who_has_the_rest_is_gone(autojump_clock: MockClock) -> None:
    slow = MemoryNetwork(bandwidth=1_000_000)
    config = ExchangeConfig(timeout=20)
    async with open_test_network("alice", "bob", network=slow, exchange=config) as people:
        cid = await people["alice"].store(CONTENT)
        got = bytearray()
        started = trio.current_time()

        async def gather() -> None:
            async with people["bob"].retrieve(cid) as dataset:
                async for piece in dataset:
                    if not got:
                        slow.crash(people.ip("alice"), silent=True)
                    got.extend(piece)

        with pytest.raises(NotOnNetwork):
            await gather()
        assert CONTENT.startswith(bytes(got))
        assert trio.current_time() - started < 60
        assert [peer.trade.wants_ours for peer in people["bob"].peers()] in ([], [0])


async def test_what_cannot_be_a_manifest_is_refused_at_once(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    started = trio.current_time()
    tree = Cid.parse("zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL")
    with pytest.raises(NotAManifest, match="invalid content type"):
        await people["bob"].fetch_manifest(tree)
    assert trio.current_time() - started < 0.1


# -- in the background


async def test_a_dataset_is_fetched_as_a_job(people: Neighbourhood, autojump_clock: MockClock) -> None:
    cid = await people["alice"].store(CONTENT)
    async with people["bob"].events(64) as events:
        job = await people["bob"].fetch_dataset_async_task(cid)
        assert job.snapshot().bytes_total == BLOCKS * BLOCK_SIZE
        ended = await job.wait()
        assert (ended.kind, ended.state, ended.error) == (JobKind.FETCH, JobState.DONE, None)
        assert (ended.bytes_done, ended.result) == (BLOCKS * BLOCK_SIZE, {"blocks": BLOCKS})
        while await anext(events) != ManifestStored(cid):
            pass
    assert await missing(people["bob"], cid) == 0


async def test_there_is_one_job_for_a_dataset(autojump_clock: MockClock) -> None:
    slow = MemoryNetwork(bandwidth=1_000_000)
    async with open_test_network("alice", "bob", network=slow) as people:
        cid = await people["alice"].store(CONTENT)
        job = await people["bob"].fetch_dataset_async_task(cid)
        assert await people["bob"].fetch_dataset_async_task(cid) is job
        people["bob"].jobs.cancel(job.id)
        assert (await job.wait()).state is JobState.CANCELLED
        again = await people["bob"].fetch_dataset_async_task(cid)
        assert again is not job
        assert (await again.wait()).state is JobState.DONE


async def test_a_cancelled_fetch_leaves_no_want(autojump_clock: MockClock) -> None:
    slow = MemoryNetwork(bandwidth=1_000_000)
    async with open_test_network("alice", "bob", network=slow) as people:
        cid = await people["alice"].store(CONTENT)
        job = await people["bob"].fetch_dataset_async_task(cid)
        await trio.sleep(1.5)  # of nearly three
        assert 0 < await missing(people["bob"], cid) < BLOCKS
        assert people["bob"].peers()[0].trade.wants_ours > 0
        people["bob"].jobs.cancel(job.id)
        await job.wait()
        assert people["bob"].peers()[0].trade.wants_ours == 0
        await trio.sleep(5)
        assert people["alice"].peers()[0].trade.wants_theirs == 0
        assert 0 < await missing(people["bob"], cid) < BLOCKS


async def test_a_fetch_ends_with_the_verdict_as_its_error(autojump_clock: MockClock) -> None:
    slow = MemoryNetwork(bandwidth=1_000_000)
    async with open_test_network("alice", "bob", network=slow, exchange=ExchangeConfig(timeout=20)) as people:
        cid = await people["alice"].store(CONTENT)
        job = await people["bob"].fetch_dataset_async_task(cid)
        slow.crash(people.ip("alice"), silent=True)
        ended = await job.wait()
        assert ended.state is JobState.FAILED
        assert ended.error is not None
        assert ended.error.code == "not-on-network"


async def test_what_was_fetched_whole_is_announced(people: Neighbourhood, autojump_clock: MockClock) -> None:
    carol = await people.add("carol")
    cid = await people["alice"].store(CONTENT)
    await (await people["bob"].fetch_dataset_async_task(cid)).wait()
    await trio.sleep(2)
    await people.stop("alice")
    assert await retrieved(carol, cid) == CONTENT


# -- whom they know


async def test_who_comes_and_goes_is_told(people: Neighbourhood, autojump_clock: MockClock) -> None:
    alice, bob = people["alice"].info(), people["bob"]
    async with bob.events(16) as events:
        await bob.connect(alice.peer_id, alice.announced)
        assert await anext(events) == PeerJoined(alice.peer_id, alice.announced[0])
        [peer] = bob.peers()
        link = peer.link
        assert (link.peer, str(link.address), link.dialled) == (alice.peer_id, alice.announced[0], True)
        assert link.agent == "Codex"
        assert "/codex/blockexc/1.0.0" in link.protocols
        await bob.disconnect(alice.peer_id)
        left = await anext(events)
        assert isinstance(left, PeerLeft)
        assert left.peer_id == alice.peer_id
    assert bob.peers() == []


async def test_a_peer_is_found_and_connected_to_by_its_name_alone(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    carol = await people.add("carol")
    bob = people["bob"].info()
    record = (await carol.find_peer(bob.peer_id)).record
    assert record.peer_id == bob.peer_id
    await carol.connect(bob.peer_id)
    assert bob.peer_id in [peer.link.peer for peer in carol.peers()]
    await carol.connect(bob.peer_id, ["garbage"])


async def test_who_cannot_be_found_or_reached_is_told(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    carol = (await people.add("carol")).info()
    await people.stop("carol")
    with pytest.raises(PeerUnreachable, match=re.escape("/ip4/10.0.0.3/tcp/8070")):
        await people["bob"].connect(carol.peer_id, carol.announced)
    with pytest.raises(InvalidInput, match="itself"):
        await people["bob"].connect(people["bob"].info().peer_id)


async def test_a_node_tells_where_it_is(people: Neighbourhood, autojump_clock: MockClock) -> None:
    alice, bob = people["alice"].info(), people["bob"].info()
    assert alice.addresses == (LISTEN,)
    assert alice.announced == ("/ip4/10.0.0.1/tcp/8070",)
    assert (alice.discovery_address, bob.discovery_address) == ("10.0.0.1:8090", "10.0.0.2:8090")
    [known] = bob.table
    assert (known.peer_id, known.node_id, known.address) == (alice.peer_id, alice.node_id, "10.0.0.1:8090")
    assert known.seen


async def test_a_node_by_itself_finds_nobody(autojump_clock: MockClock) -> None:
    async with open_test_network("alice") as people:
        started = trio.current_time()
        with pytest.raises(NotOnNetwork, match="no peer was found"):
            await people["alice"].fetch_manifest(UNKNOWN)
        assert trio.current_time() - started < 30
        with pytest.raises(NotFound):
            await people["alice"].find_peer((await people.add("bob", bootstrap=())).info().peer_id)
