"""The hub: however many listen, the node is heard once, an event is rendered once, and steps stay short."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from codex.api.rpc.events import EVENTS, Telling
from codex.api.rpc.hub import REACH, TURNS, Hub, Listener
from codex.api.rpc.params import Topic
from codex.node import JobKind, ManifestDeleted, ManifestStored, Node
from codex.runtime.broadcast import Lagged
from codex.testing.nodes import open_test_node

MANY = 200
MANIFESTS = frozenset({Topic.MANIFESTS})
JOBS = frozenset({Topic.JOBS})


@pytest.fixture
async def hub(node: Node) -> AsyncIterator[Hub]:
    """A hub that runs."""
    hub = Hub(node)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        yield hub
        nursery.cancel_scope.cancel()


async def told(
    hub: Hub, topics: frozenset[Topic], texts: list[str], number: int, *, task_status: Any
) -> None:
    """Listen, and put down what is told, as a subscription of that number."""
    async with hub.listen(topics, 100) as heard:
        task_status.started()
        async for telling in heard:
            texts.append(telling.to(number))  # noqa: PERF401 - each when it comes


async def listen(nursery: trio.Nursery, hub: Hub, count: int, topics: frozenset[Topic]) -> list[str]:
    """Have so many listen, numbered from 0; what they are told."""
    texts: list[str] = []

    async def one(number: int, task_status: Any) -> None:
        await told(hub, topics, texts, number, task_status=task_status)

    for number in range(count):
        await nursery.start(one, number)
    return texts


class Rounds(trio.abc.Instrument):
    """How much longer a list has become in each round of the loop."""

    def __init__(self, watched: list[Any]) -> None:
        self.steps: list[int] = []
        self._watched = watched
        self._before = len(watched)

    def before_io_wait(self, timeout: float) -> None:
        self.steps.append(len(self._watched) - self._before)
        self._before = len(self._watched)


@contextmanager
def rounds(watched: list[Any]) -> Iterator[list[int]]:
    """Watch a list for the length of the block."""
    instrument = Rounds(watched)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield instrument.steps
    finally:
        trio.lowlevel.remove_instrument(instrument)


def counted(monkeypatch: pytest.MonkeyPatch, kind: type) -> list[Any]:
    """The events of a kind that are rendered from now on."""
    rendered: list[Any] = []
    show = EVENTS[kind].show

    def counting(event: Any) -> Any:
        rendered.append(event)
        return show(event)

    monkeypatch.setitem(EVENTS, kind, attrs.evolve(EVENTS[kind], show=counting))
    return rendered


async def test_an_event_is_rendered_once_for_all_who_listen(
    node: Node, hub: Hub, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = counted(monkeypatch, ManifestStored)
    texts = await listen(nursery, hub, MANY, MANIFESTS)
    cid = await node.store(b"some file contents")
    await wait_all_tasks_blocked()
    assert rendered == [ManifestStored(cid)]
    params = sorted((json.loads(text) for text in texts), key=lambda said: said["params"]["subscription"])
    assert params == [
        {
            "jsonrpc": "2.0",
            "method": "manifestStored",
            "params": {"subscription": number, "cid": str(cid)},
        }
        for number in range(MANY)
    ]


async def test_what_nobody_asked_for_is_not_rendered(
    node: Node, hub: Hub, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = counted(monkeypatch, ManifestStored)
    texts = await listen(nursery, hub, 3, JOBS)
    await node.store(b"some file contents")
    await wait_all_tasks_blocked()
    assert len(texts) == 2 * 3
    assert rendered == []


async def test_what_is_kept_for_whoever_takes_nothing_is_not_rendered(
    node: Node, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendered = counted(monkeypatch, ManifestStored)
    async with hub.listen(MANIFESTS, 10):
        await node.store(b"some file contents")
        await wait_all_tasks_blocked()
    assert rendered == []


async def test_the_node_is_heard_once_however_many_listen(
    node: Node, hub: Hub, nursery: trio.Nursery
) -> None:
    assert not node._running.events.heard
    await listen(nursery, hub, MANY, JOBS)
    assert node._running.events._listeners == 1
    nursery.cancel_scope.cancel()


async def test_others_have_their_turn_between_a_few_events(
    node: Node, hub: Hub, nursery: trio.Nursery
) -> None:
    texts = await listen(nursery, hub, MANY, MANIFESTS)
    cid = await node.store(b"some file contents")
    await wait_all_tasks_blocked()
    texts.clear()
    with rounds(texts) as steps:
        for _ in range(3):
            node._running.events.publish(ManifestDeleted(cid))
        await wait_all_tasks_blocked()
    assert max(steps) <= TURNS
    assert sum(steps) == 3 * MANY


async def test_an_event_is_put_before_a_portion_of_the_listeners_in_a_step(
    node: Node, hub: Hub, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    put: list[Telling] = []
    really = Listener._put

    def counting(listener: Listener, telling: Telling) -> None:
        put.append(telling)
        really(listener, telling)

    monkeypatch.setattr(Listener, "_put", counting)
    await listen(nursery, hub, MANY, JOBS)
    with rounds(put) as steps:
        async with node.jobs.track(JobKind.SCRUB):
            await wait_all_tasks_blocked()
    assert max(steps) == REACH


async def test_events_come_in_their_order_and_lag_is_told_in_its_place(node: Node, hub: Hub) -> None:
    async with hub.listen(MANIFESTS, 2) as heard:
        cids = [await node.store(bytes([place])) for place in range(5)]
        await wait_all_tasks_blocked()
        got = [(await anext(heard)).event for _ in range(3)]
    assert got == [Lagged(3), ManifestStored(cids[3]), ManifestStored(cids[4])]


async def test_who_listens_again_hears_again(node: Node, hub: Hub) -> None:
    for place in range(3):
        async with hub.listen(MANIFESTS, 2) as heard:
            cid = await node.store(bytes([place]))
            assert (await anext(heard)).event == ManifestStored(cid)
    for place in range(3):
        # One leaves and the next comes before the hub has had time to do anything.
        async with hub.listen(MANIFESTS, 2):
            pass
        async with hub.listen(MANIFESTS, 2) as heard:
            cid = await node.store(bytes([10 + place]))
            assert (await anext(heard)).event == ManifestStored(cid)
    await wait_all_tasks_blocked()
    assert not node._running.events.heard


async def test_a_listener_that_gave_up_waiting_misses_nothing(node: Node, hub: Hub) -> None:
    async with hub.listen(MANIFESTS, 5) as heard:
        for _ in range(3):
            with trio.CancelScope() as scope:
                scope.cancel()
                await anext(heard)
        cids = [await node.store(bytes([place])) for place in range(2)]
        with trio.CancelScope() as scope:
            scope.cancel()  # in line already
            await anext(heard)
        got = [(await anext(heard)).event for _ in range(2)]
    assert got == [ManifestStored(cid) for cid in cids]


async def test_listening_ends_with_the_node_when_all_was_told(tmp_path: Any) -> None:
    async with trio.open_nursery() as nursery:
        async with open_test_node(tmp_path / "bob") as node:
            hub = Hub(node)
            nursery.start_soon(hub.run)
            texts = await listen(nursery, hub, 3, MANIFESTS)
            async with hub.listen(MANIFESTS, 5) as late:
                cid = await node.store(b"some file contents")
                await node.stop()
                assert [telling.event async for telling in late] == [ManifestStored(cid)]
        async with hub.listen(MANIFESTS, 5) as over:
            assert [telling async for telling in over] == []
        await wait_all_tasks_blocked()
        assert len(texts) == 3
        nursery.cancel_scope.cancel()
