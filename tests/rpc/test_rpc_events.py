"""Subscriptions: what was asked for, in order, bounded; and who is slow is told what it missed."""

import json
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from codex.api.rpc.events import EVENTS, Telling
from codex.api.rpc.hub import Hub
from codex.api.rpc.limits import MAX_QUEUE, MAX_SUBSCRIPTIONS
from codex.api.rpc.params import Topic
from codex.api.rpc.shapes import structure
from codex.node import (
    JobKind,
    ManifestDeleted,
    ManifestStored,
    Node,
    NodeEvent,
    ProofMarked,
    ProofMissed,
    ProofSent,
    PurchaseMoved,
    SlotLost,
    SlotMoved,
    SlotPaid,
    SlotSlashed,
)
from codex.runtime.broadcast import Lagged
from codex.testing.cancelling import cancel_at_every_checkpoint


def test_every_event_of_the_node_is_in_the_table() -> None:
    assert set(EVENTS) == {*NodeEvent.__args__, Lagged}
    assert len({event.name for event in EVENTS.values()}) == len(EVENTS)


@pytest.mark.parametrize(
    ("event", "name", "told"),
    [
        (PurchaseMoved("0x1", "errored", "no"), "purchaseMoved", {"state": "errored", "error": "no"}),
        (SlotMoved("0x1", "SaleProving"), "slotMoved", {"state": "SaleProving"}),
        (ProofSent("0x1", 7, 30), "proofSent", {"period": 7, "spare": 30}),
        (ProofMissed("0x1", 7, "late"), "proofMissed", {"period": 7, "why": "late"}),
        (SlotSlashed("0x1", 20, 10**20), "slotSlashed", {"amount": "20", "left": str(10**20)}),
        (SlotPaid("0x1", 10**20, 5), "slotPaid", {"reward": str(10**20), "collateral": "5"}),
        (SlotPaid("0x1", None, 5), "slotPaid", {"reward": None, "collateral": "5"}),
        (SlotLost("0x1"), "slotLost", {}),
        (ProofMarked("0x1", 7), "proofMarked", {"period": 7}),
    ],
)
def test_events_of_the_marketplace_have_their_form(event: NodeEvent, name: str, told: dict[str, Any]) -> None:
    said = json.loads(Telling(event).to(3))
    whose = "purchase" if isinstance(event, PurchaseMoved) else "slot"
    assert (said["method"], said["params"]) == (name, {"subscription": 3, whose: "0x1", **told})
    assert structure(EVENTS[type(event)].carries, said["params"])


async def test_jobs_are_told_from_their_beginning_to_their_end(node: Node, peer: Any) -> None:
    number = (await peer.call("subscribe", {"topics": ["jobs"]}))["subscription"]
    cid = await node.store(b"some file contents", filename="a.txt")
    started, ended = await peer.told("jobStarted"), await peer.told("jobEnded")
    assert started["subscription"] == ended["subscription"] == number
    assert (started["job"]["subject"], started["job"]["state"]) == ("a.txt", "running")
    assert (ended["job"]["state"], ended["job"]["result"]) == ("done", {"cid": str(cid)})
    for name, params in (("jobStarted", started), ("jobEnded", ended)):
        [event] = [event for event in EVENTS.values() if event.name == name]
        assert structure(event.carries, params)


async def test_progress_is_told(node: Node, peer: Any, autojump_clock: Any) -> None:
    await peer.call("subscribe", {"topics": ["jobs"]})
    async with node.jobs.track(JobKind.SCRUB, total=100) as job:
        job.bytes_done = 50
        await trio.sleep(1)
    told = await peer.told("jobProgressed")
    assert (told["job"]["id"], told["job"]["bytesDone"], told["job"]["bytesTotal"]) == (job.id, 50, 100)


async def test_manifests_are_told(node: Node, peer: Any) -> None:
    number = (await peer.call("subscribe", {"topics": ["manifests"]}))["subscription"]
    cid = await node.store(b"some file contents")
    await node.delete(cid)
    assert await peer.told("manifestStored") == {"subscription": number, "cid": str(cid)}
    assert await peer.told("manifestDeleted") == {"subscription": number, "cid": str(cid)}
    assert peer.notifications == []  # no jobs among them


async def test_topics_may_be_one_subscription_or_several(node: Node, peer: Any) -> None:
    both = (await peer.call("subscribe", {"topics": ["jobs", "manifests", "jobs"]}))["subscription"]
    one = (await peer.call("subscribe", {"topics": ["manifests"]}))["subscription"]
    await node.store(b"some file contents")
    await wait_all_tasks_blocked()
    await peer.call("space")
    told = [(said["method"], said["params"]["subscription"]) for said in peer.notifications]
    assert sorted(told) == sorted(
        [("jobStarted", both), ("jobEnded", both), ("manifestStored", both), ("manifestStored", one)]
    )


async def test_nothing_comes_before_the_reply_and_nothing_is_lost_behind_it(node: Node, peer: Any) -> None:
    await peer.ask("subscribe", {"topics": ["manifests"]}, id="s")
    cids = [str(await node.store(bytes([place]))) for place in range(3)]
    assert (await peer.hear())["id"] == "s"
    heard = [(await peer.told("manifestStored"))["cid"] for _ in range(3)]
    assert heard == cids


async def test_peers_can_be_asked_for_and_are_silent(node: Node, peer: Any) -> None:
    await peer.call("subscribe", {"topics": ["peers"]})
    await node.store(b"some file contents")
    await wait_all_tasks_blocked()
    await peer.call("space")
    assert peer.notifications == []


async def test_after_unsubscribing_nothing_comes(node: Node, peer: Any) -> None:
    number = (await peer.call("subscribe", {"topics": ["manifests"]}))["subscription"]
    assert await peer.call("unsubscribe", [number]) is None
    assert await peer.call("unsubscribe", [number]) is None
    await node.store(b"some file contents")
    await wait_all_tasks_blocked()
    await peer.call("space")
    assert peer.notifications == []


async def test_a_slow_connection_is_told_what_it_missed(node: Node, open_peer: Any) -> None:
    async with open_peer(room=0) as peer:
        await peer.call("subscribe", {"topics": ["manifests"], "size": 2})
        cids = []
        for place in range(6):
            cids.append(str(await node.store(bytes([place]))))
            await wait_all_tasks_blocked()
        heard = []
        for _ in range(5):
            said = await peer.hear()
            heard.append((said["method"], said["params"].get("cid") or said["params"]["missed"]))
        # One was being sent and one waited to be; of the other four, two were kept.
        assert heard == [
            ("manifestStored", cids[0]),
            ("manifestStored", cids[1]),
            ("lagged", 2),
            ("manifestStored", cids[4]),
            ("manifestStored", cids[5]),
        ]


async def test_what_was_not_asked_for_pushes_nothing_out(node: Node, open_peer: Any) -> None:
    async with open_peer(room=0) as peer:
        await peer.call("subscribe", {"topics": ["manifests"], "size": 1})
        cid = str(await node.store(b"some file contents"))
        for _ in range(50):
            async with node.jobs.track(JobKind.SCRUB):
                await wait_all_tasks_blocked()
        assert (await peer.told("manifestStored"))["cid"] == cid
        with trio.move_on_after(0.1):
            assert not await peer.hear()


async def test_even_a_loop_that_was_held_up_is_told_of(node: Node, nursery: trio.Nursery) -> None:
    hub = Hub(node)
    nursery.start_soon(hub.run)
    async with hub.listen(frozenset({Topic.MANIFESTS}), 10) as heard:
        cid = await node.store(b"some file contents")
        said = node._running.events
        for _ in range(MAX_QUEUE + 3):  # all in one step of the loop
            said.publish(ManifestDeleted(cid))
        got = [(await anext(heard)).event for _ in range(2)]
    assert ManifestStored(cid) in got or Lagged in map(type, got)
    assert any(isinstance(one, Lagged) for one in got)


async def test_there_is_a_limit_on_subscriptions(peer: Any) -> None:
    numbers = [
        (await peer.call("subscribe", {"topics": ["jobs"]}))["subscription"] for _ in range(MAX_SUBSCRIPTIONS)
    ]
    assert len(set(numbers)) == MAX_SUBSCRIPTIONS
    error = await peer.fails("subscribe", {"topics": ["jobs"]})
    assert (error["code"], error["data"]["code"]) == (-32003, "too-much-at-once")
    await peer.call("unsubscribe", [numbers[0]])
    assert (await peer.call("subscribe", {"topics": ["jobs"]}))["subscription"] not in numbers


@pytest.mark.parametrize(
    "params",
    [
        {"topics": []},
        {"topics": ["weather"]},
        {"topics": "jobs"},
        {"topics": ["jobs"], "size": 0},
        {"topics": ["jobs"], "size": MAX_QUEUE + 1},
        {},
    ],
)
async def test_what_cannot_be_subscribed_to_is_refused(peer: Any, params: dict[str, Any]) -> None:
    assert (await peer.fails("subscribe", params))["code"] == -32602


async def test_a_subscription_ends_with_its_connection(node: Node, open_peer: Any) -> None:
    async with open_peer() as peer:
        await peer.call("subscribe", {"topics": ["jobs"]})
        assert node._running.events.heard
    assert not node._running.events.heard


async def test_a_subscription_that_is_cancelled_is_none(node: Node, peer: Any) -> None:
    subscribe = {"jsonrpc": "2.0", "id": "s", "method": "subscribe", "params": [["jobs"]]}
    cancel = {"jsonrpc": "2.0", "method": "cancel", "params": ["s"]}
    for _ in range(3 * MAX_SUBSCRIPTIONS):
        await peer.say([subscribe, cancel])
        [reply] = await peer.reply()
        assert reply["error"]["code"] == -32800
    await wait_all_tasks_blocked()
    assert not node._running.events.heard


async def test_it_is_none_whenever_it_is_cancelled(node: Node, open_peer: Any) -> None:
    async with open_peer() as peer:

        async def subscribe() -> None:
            id = await peer.ask("subscribe", [["jobs"]])
            try:
                reply = await peer.reply()
            except trio.Cancelled:
                with trio.CancelScope(shield=True):
                    await peer.tell("cancel", [id])
                    reply = await peer.reply()
            if "result" in reply:
                with trio.CancelScope(shield=True):
                    await peer.call("unsubscribe", [reply["result"]["subscription"]])

        async def nobody_listens() -> None:
            await peer.call("space")
            await wait_all_tasks_blocked()
            assert not node._running.events.heard

        assert await cancel_at_every_checkpoint(subscribe, nobody_listens) > 5
