"""Events as the client has them: values, in order, bounded, and with their gaps told."""

import pytest
import trio
from trio.testing import MockClock

from codex.client import (
    Client,
    Disconnected,
    JobEnded,
    JobProgressed,
    JobStarted,
    Lagged,
    ManifestDeleted,
    ManifestStored,
    OtherEvent,
    open_client,
)
from codex.client.values import Job, event, value
from codex.errors import InvalidInput, Problem
from codex.node import JobKind
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.nodes import ServedNode


async def test_jobs_and_manifests_are_heard_of(served: ServedNode, client: Client) -> None:
    async with client.subscribe("jobs", "manifests") as events:
        cid = await served.node.store(b"some file contents", filename="a.txt")
        await served.node.delete(cid)
        heard = [await anext(events) for _ in range(4)]
    started, stored, ended, deleted = heard
    assert isinstance(started, JobStarted)
    assert isinstance(ended, JobEnded)
    assert (started.job.subject, ended.job.result) == ("a.txt", {"cid": str(cid)})
    assert (stored, deleted) == (ManifestStored(cid), ManifestDeleted(cid))


async def test_progress_is_heard_of(served: ServedNode, autojump_clock: MockClock) -> None:
    async with open_client(served.address.url) as client, client.subscribe("jobs") as events:
        async with served.node.jobs.track(JobKind.SCRUB, total=100) as job:
            job.bytes_done = 50
            await trio.sleep(1)
        await anext(events)
        progressed = await anext(events)
    assert isinstance(progressed, JobProgressed)
    assert (progressed.job.bytes_done, progressed.job.bytes_total) == (50, 100)


async def test_a_failure_is_heard_of(served: ServedNode, client: Client) -> None:
    async with client.subscribe("jobs") as events:
        with pytest.raises(InvalidInput):
            async with served.node.jobs.track(JobKind.SCRUB):
                raise InvalidInput("what is wrong", remedy="what to do")
        await anext(events)
        ended = await anext(events)
    assert isinstance(ended, JobEnded)
    assert ended.job.error == Problem("invalid-input", "what is wrong", "what to do")


async def test_several_subscriptions_hear_each_their_own(served: ServedNode, client: Client) -> None:
    async with client.subscribe("manifests") as alice, client.subscribe("manifests", "jobs") as bob:
        cid = await served.node.store(b"some file contents")
        assert await anext(alice) == ManifestStored(cid)
        assert isinstance(await anext(bob), JobStarted)


async def test_after_the_block_nothing_is_sent_any_more(served: ServedNode, client: Client) -> None:
    async with client.subscribe("jobs"):
        assert served.node._running.events.heard
    await client.space()
    await trio.testing.wait_all_tasks_blocked(0.02)
    assert not served.node._running.events.heard
    assert client._link._listeners == {}


async def test_who_takes_them_slowly_is_told_what_is_missing(served: ServedNode, client: Client) -> None:
    async with client.subscribe("manifests", size=2) as events:
        cids = [await served.node.store(bytes([number])) for number in range(10)]
        await client.space()
        heard = [await anext(events)]
        while ManifestStored(cids[-1]) not in heard:
            heard.append(await anext(events))
    missed = sum(one.missed for one in heard if isinstance(one, Lagged))
    assert missed
    assert missed + sum(isinstance(one, ManifestStored) for one in heard) >= 10
    assert len(heard) <= 4


async def test_what_cannot_be_subscribed_to_is_refused(client: Client) -> None:
    with pytest.raises(Exception, match=r"topics\[0\] must be one of"):
        async with client.subscribe("weather"):
            pass
    assert await client.space()


async def test_who_gives_up_subscribing_is_not_subscribed(served: ServedNode, client: Client) -> None:
    async def subscribe() -> None:
        async with client.subscribe("jobs"):
            pass

    async def nobody_listens() -> None:
        for _ in range(2):  # what was late is answered by then
            await client.space()
            await trio.testing.wait_all_tasks_blocked(0.001)
        assert not served.node._running.events.heard

    assert await cancel_at_every_checkpoint(subscribe, nobody_listens) > 5
    async with client.subscribe("jobs") as events:
        await served.node.store(b"some file contents")
        assert isinstance(await anext(events), JobStarted)


async def test_the_end_of_the_connection_is_no_end_of_the_events(served: ServedNode, client: Client) -> None:
    async with client.subscribe("manifests") as events:
        cid = await served.node.store(b"some file contents")
        await client.space()
        await served.node.stop()
        assert await anext(events) == ManifestStored(cid)
        with pytest.raises(Disconnected):
            await anext(events)


def test_what_a_newer_node_tells_is_kept_as_it_is() -> None:
    assert event("slotFilled", {"slot": 5}) == OtherEvent("slotFilled", {"slot": 5})
    assert event("lagged", {"missed": 5, "more": 1}) == Lagged(5)


def test_what_is_none_of_what_it_should_be_is_told() -> None:
    with pytest.raises(ValueError, match="something else than a Job"):
        value(Job, {"id": 5})
