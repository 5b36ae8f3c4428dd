"""The client against a node that is served: every call, datasets both ways, and what is left when it goes."""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.api.rpc.limits import WINDOW as UPLOAD_WINDOW
from codex.api.rpc.table import METHODS
from codex.client import Client, Disconnected, Failed, Job, open_client
from codex.client.client import WINDOW
from codex.codec import Cid
from codex.errors import (
    BlockInUse,
    BlockNotFound,
    EmptyDataset,
    InvalidInput,
    NotEnabled,
    NotFound,
    UploadCut,
)
from codex.node import JobKind, JobState
from codex.testing.content import damage, noise, pattern
from codex.testing.nodes import ServedNode, holdings, store_of
from codex.testing.rows import protect

ABSENT = "zDvZRwzm1cD1ndrXQp3km8FnTzYNm6mSgmYNvy9UF42XUGKoFMzG"
PEER = "16Uiu2HAkuRrsmdWN5NzAPhZbzrX1uVThYpkX4A9fC8hMFh6xQy9w"


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), name)


def test_every_method_of_the_interface_is_there() -> None:
    inner = {"unsubscribe", "cancel", "credit"}  # what the client does by itself
    for name in METHODS.keys() - inner:
        assert inspect.isroutine(getattr(Client, snake(name))), name


# -- datasets


@pytest.mark.parametrize("size", [1, 65_536, UPLOAD_WINDOW + 1, WINDOW + 12_345, 3 * WINDOW])
async def test_what_is_stored_is_retrieved(served: ServedNode, client: Client, size: int) -> None:
    content = noise(size)
    cid = await client.store(content, filename="photo.jpg", mimetype="image/jpeg")
    assert cid == await served.node.store(content, filename="photo.jpg", mimetype="image/jpeg")
    async with client.retrieve(cid) as dataset:
        assert dataset.manifest is not None
        assert (dataset.size, dataset.manifest.filename) == (size, "photo.jpg")
        assert dataset.job is not None
        assert await dataset.read() == content


async def test_a_source_may_be_anything_that_gives_bytes(served: ServedNode, client: Client) -> None:
    content = noise(700_000)

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]
        yield b""

    cid = await client.store(pieces(), filename="a.bin", size=len(content))
    assert cid == await served.node.store(content, filename="a.bin")


async def test_a_part_and_a_block_are_retrieved(served: ServedNode, client: Client) -> None:
    content = pattern(200_000)
    cid = await served.node.store(content)
    async with client.retrieve(str(cid), offset=70_000, length=100_000, local=True) as part:
        assert (part.offset, part.size) == (70_000, 100_000)
        assert await part.read() == content[70_000:170_000]
    async with client.retrieve(await first_block(served, cid)) as block:
        assert block.manifest is None
        assert len(await block.read()) == 65_536


async def first_block(served: ServedNode, cid: Cid) -> Cid:
    manifest = await served.node.fetch_manifest(cid)
    [leaf] = await store_of(served.node).leaves(manifest.tree_cid, 0, 1)
    return leaf.cid


async def test_many_at_once(served: ServedNode, client: Client) -> None:
    contents = [noise(300_000 + number, f"{number}") for number in range(6)]
    cids: dict[int, Cid] = {}

    async def there_and_back(number: int) -> None:
        cids[number] = await client.store(contents[number])
        async with client.retrieve(cids[number]) as dataset:
            assert await dataset.read() == contents[number]

    async with trio.open_nursery() as nursery:
        for number in range(len(contents)):
            nursery.start_soon(there_and_back, number)
    listed = {dataset.cid async for dataset in client.iterate_manifests()}
    assert listed == set(cids.values())


async def test_a_slow_reader_is_no_burden_and_loses_nothing(served: ServedNode, client: Client) -> None:
    content = noise(3 * WINDOW)
    cid = await served.node.store(content)
    async with client.retrieve(cid) as dataset:
        first = await anext(dataset)
        for _ in range(20):
            await client.space()  # goes on meanwhile
        held = sum(map(len, dataset._call._pieces))
        assert held <= WINDOW
        assert first + await dataset.read() == content


async def test_datasets_are_looked_at_pinned_and_deleted(served: ServedNode, client: Client) -> None:
    cid = await client.store(b"some file contents", filename="hello.txt", mimetype="text/plain")
    dataset = await client.fetch_manifest(cid)
    assert (dataset.cid, dataset.manifest.dataset_size, dataset.manifest.mimetype) == (cid, 18, "text/plain")
    assert [dataset] == [one async for one in client.iterate_manifests()]
    assert await client.exists(cid)
    assert not await client.pinned(cid)
    await client.pin(cid)
    assert await client.pinned(cid)
    assert [pinned async for pinned in client.pins()] == [cid]
    await client.unpin(cid)
    assert (await client.space()).quota_used_bytes == (await served.node.space()).quota_used
    await client.delete(cid)
    assert not await client.exists(cid)


async def test_more_datasets_than_a_page_has(served: ServedNode, client: Client) -> None:
    cids = [await served.node.store(f"{number}".encode()) for number in range(230)]
    assert [one.cid async for one in client.iterate_manifests()] == sorted(cids, key=lambda cid: cid.raw)
    assert len(await client.jobs(kind="upload")) == 200  # as many as are kept


# -- long work


async def test_jobs_are_begun_and_watched(served: ServedNode, client: Client, tmp_path: Path) -> None:
    cid = await client.store(b"some file contents")
    begins: list[Callable[[], Awaitable[Job]]] = [
        lambda: client.verify(cid),
        lambda: client.protect(cid, data=1, parity=1),
        client.scrub,
        lambda: client.backup(tmp_path / "copy"),
        lambda: client.fetch_dataset_async_task(cid),
    ]
    for begin in begins:
        job = await begin()
        await served.node.jobs.get(job.id).wait()
        now = await client.job(job.id)
        assert (now.state, now.error, now.running) == ("done", None, False)
    assert [job.kind for job in await client.jobs(state="done")] == [
        "fetch",
        "backup",
        "scrub",
        "protect",
        "verify",
        "upload",
    ]
    assert not await client.cancel_job(now.id)


async def test_damage_is_found(served: ServedNode, client: Client) -> None:
    content = pattern(65_536)
    cid = await client.store(content)
    damage(served.node.config.data_dir, content)
    job = await client.verify(cid)
    await served.node.jobs.get(job.id).wait()
    assert (await client.job(job.id)).result["sound"] is False


async def test_a_lost_row_is_brought_back(served: ServedNode, client: Client) -> None:
    dataset = protect(pattern(4000), 2, 1, 1024)
    await dataset.keep(store_of(served.node), dataset.others(dataset.leaves(1)))
    job = await client.verify(dataset.cid, repair=True)
    await served.node.jobs.get(job.id).wait()
    assert (await client.job(job.id)).result["repaired"] == 2


# -- the node


async def test_the_node_tells_of_itself(served: ServedNode, client: Client) -> None:
    info, there = await client.info(), served.node.info()
    assert (info.id, info.spr, info.repo) == (str(there.peer_id), there.spr, str(there.repo))
    assert info.more["codex"]["version"] == there.version
    health = await client.health()
    assert (health.state, {service.name for service in health.services}) == ("ok", {"store", "jobs", "api"})
    assert await client.peers() == []
    await client.set_log_level("info")
    assert await client.call("exists", cid=ABSENT) == {"exists": False}


# -- errors


async def test_errors_are_those_of_the_node(served: ServedNode, client: Client) -> None:
    with pytest.raises(BlockNotFound, match="could not be retrieved"):
        await client.fetch_manifest(ABSENT)
    with pytest.raises(BlockNotFound):
        async with client.retrieve(ABSENT):
            pass
    with pytest.raises(NotFound, match="there is no job nobody"):
        await client.job("nobody")
    with pytest.raises(InvalidInput, match="Please specify one of"):
        await client.set_log_level("loud")
    with pytest.raises(EmptyDataset):
        await client.store(b"")
    with pytest.raises(UploadCut, match="20 bytes were announced"):
        await client.store(_two(b"some ", b"file contents"), size=20)
    cid = await client.store(pattern(65_536))
    with pytest.raises(BlockInUse):
        await client.delete(await first_block(served, cid))
    for call in (client.find_peer(PEER), client.connect(PEER, "/ip4/127.0.0.1/tcp/1")):
        with pytest.raises(NotEnabled) as raised:
            await call
        assert raised.value.remedy
    terms = {"proofProbability": "1", "pricePerBytePerSecond": "1", "collateralPerByte": "1"}
    offer = {"totalSize": 10, "duration": 5, "minPricePerBytePerSecond": 1, "totalCollateral": 10**20}
    for asked in (
        client.request_storage(cid, duration=10, expiry=5, **terms),
        client.purchases(),
        client.availabilities(),
        client.add_availability(**offer),
        client.change_availability("12" * 32, totalCollateral=1),
        client.delete_availability("12" * 32),
        client.slots(),
        client.sales(),
        client.decisions(),
        client.balances(),
    ):
        with pytest.raises(NotEnabled):
            await asked


async def _two(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_an_error_that_is_not_known_is_told_all_the_same(client: Client) -> None:
    with pytest.raises(Failed, match="no method 'nonsense'") as raised:
        await client.call("nonsense")
    assert raised.value.as_problem().code == "no-such-method"
    with pytest.raises(Failed) as raised:
        await client.exists("zDv")
    assert raised.value.told == "invalid-params"


async def test_a_source_that_fails_stores_nothing(served: ServedNode, client: Client) -> None:
    before = await holdings(served.node)

    async def broken() -> AsyncIterator[bytes]:
        yield noise(500_000)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        await client.store(broken())
    assert await client.space()
    [job] = served.node.jobs.list(JobKind.UPLOAD)
    assert (await job.wait()).state is JobState.CANCELLED
    assert await holdings(served.node) == before


async def test_a_node_that_refuses_on_the_way_is_heard(served: ServedNode, client: Client) -> None:
    async def cancelled() -> AsyncIterator[bytes]:
        yield noise(500_000)
        [job] = served.node.jobs.list(JobKind.UPLOAD, JobState.RUNNING)
        served.node.jobs.cancel(job.id)
        while True:
            yield noise(500_000)

    with pytest.raises(Exception, match="was cancelled") as raised:
        await client.store(cancelled())
    assert raised.value.code == "job-cancelled"  # type: ignore[attr-defined]


# -- cancelling


async def test_who_stops_waiting_stops_the_node_too(served: ServedNode, client: Client) -> None:
    before = await holdings(served.node)

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield noise(100_000)
            await trio.sleep(0.01)

    with trio.move_on_after(0.1) as scope:
        await client.store(endless(), filename="endless")
    assert scope.cancelled_caught
    assert await client.space()
    [job] = served.node.jobs.list(JobKind.UPLOAD)
    assert (await job.wait()).state is JobState.CANCELLED
    assert await holdings(served.node) == before


async def test_a_download_that_is_left_is_ended_at_the_node(served: ServedNode, client: Client) -> None:
    cid = await served.node.store(noise(3 * WINDOW))
    async with client.retrieve(cid) as dataset:
        await anext(dataset)
    assert await client.space()
    job = served.node.jobs.list(JobKind.DOWNLOAD)[0]
    assert (await job.wait()).state is JobState.CANCELLED
    async with client.retrieve(cid, length=10) as dataset:
        assert len(await dataset.read()) == 10


async def test_a_call_that_is_cancelled_at_any_moment_harms_no_other(
    served: ServedNode, client: Client
) -> None:
    for delay in range(20):
        with trio.move_on_after(delay / 4000):
            await client.store(noise(200_000))
        assert (await client.space()).quota_max_bytes > 0
    for job in served.node.jobs.list(JobKind.UPLOAD, JobState.RUNNING):
        await job.wait()
    assert await client.health()


async def test_a_client_that_leaves_takes_its_upload_with_it(served: ServedNode) -> None:
    before = await holdings(served.node)

    async def forever() -> AsyncIterator[bytes]:
        yield noise(500_000)
        await trio.sleep_forever()

    async with open_client(served.address.url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.store, forever())
        while not served.node.jobs.list(JobKind.UPLOAD, JobState.RUNNING):
            await client.space()
        nursery.cancel_scope.cancel()
    [job] = served.node.jobs.list(JobKind.UPLOAD)
    assert (await job.wait()).state is JobState.CANCELLED
    assert await holdings(served.node) == before


async def test_an_upload_is_watched_and_cancelled_from_elsewhere(served: ServedNode, client: Client) -> None:
    """What a page does: see an upload begin, see how far it is, and end it."""
    before = await holdings(served.node)

    async def slowly() -> AsyncIterator[bytes]:
        while True:
            yield noise(50_000)
            await trio.sleep(0.05)

    async def upload() -> None:
        with pytest.raises(Exception, match="was cancelled"):
            await client.store(slowly(), filename="holiday.mp4", size=10_000_000)

    seen: list[Job] = []
    async with (
        open_client(served.address.url) as page,
        page.subscribe("jobs") as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(upload)
        async for event in events:
            seen.append(event.job)  # type: ignore[union-attr]
            if len(seen) == 3:
                await page.cancel_job(seen[0].id)
            if not seen[-1].running:
                break
    assert {job.subject for job in seen} == {"holiday.mp4"}
    assert seen[0].bytes_done < seen[1].bytes_done < seen[2].bytes_done
    assert (seen[1].bytes_total, seen[-1].state) == (10_000_000, "cancelled")
    assert await holdings(served.node) == before


# -- the end of the connection


async def test_when_the_node_stops_everybody_is_told(served: ServedNode, client: Client) -> None:
    told = 0

    async def forever() -> AsyncIterator[bytes]:
        yield b"x"
        await trio.sleep_forever()

    async def wait_for_news() -> None:
        nonlocal told
        async with client.subscribe("peers") as events:
            with pytest.raises(Disconnected, match="the node is stopping"):
                await anext(events)
            told += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_news)
        await trio.testing.wait_all_tasks_blocked(0.05)
        await served.node.stop()
        with pytest.raises(Disconnected, match="the node is stopping"):
            await client.space()
    assert told == 1


async def test_after_the_end_nothing_is_possible(served: ServedNode) -> None:
    async with open_client(served.address.url) as client:
        assert await client.space()
    with pytest.raises(Disconnected, match="the client was closed"):
        await client.space()
    with pytest.raises(Disconnected):
        async with client.subscribe("jobs"):
            pass


async def test_an_idle_client_stays_connected(served: ServedNode, autojump_clock: MockClock) -> None:
    async with open_client(served.address.url) as client:
        for _ in range(20):
            await trio.sleep(60)
        assert await client.space()
