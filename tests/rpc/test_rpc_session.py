"""A connection in memory: requests side by side, cancelled, refused; data both ways; how it ends."""

import io
import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from codex import logs
from codex.api.rpc import table
from codex.api.rpc.limits import DRAIN, FAREWELL, FRAME, MAX_REQUESTS, MAX_STREAMS, WINDOW
from codex.api.rpc.methods import Call
from codex.api.rpc.params import Nothing
from codex.api.rpc.table import Method
from codex.codec import Cid
from codex.config import LogConfig
from codex.errors import InvalidInput
from codex.node import JobKind, JobState, Node
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import damage, noise, pattern
from codex.testing.nodes import holdings

SPACE = {"jsonrpc": "2.0", "id": 1, "method": "space"}


class Held:
    """A method that is done when the test says so."""

    def __init__(self) -> None:
        self.waiting = 0
        self.go = trio.Event()

    async def do(self, call: Call, params: Nothing) -> str:
        """Wait."""
        self.waiting += 1
        try:
            await self.go.wait()
        finally:
            self.waiting -= 1
        return "done"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """A method `wait` on every connection."""
    held = Held()
    _add(monkeypatch, Method("wait", Nothing, str, held.do))
    return held


def _add(monkeypatch: pytest.MonkeyPatch, method: Method[Any]) -> None:
    monkeypatch.setitem(table.METHODS, method.name, method)  # type: ignore[arg-type]


def head(number: int) -> bytes:
    return number.to_bytes(4, "big")


async def store(peer: Any, content: bytes, **params: Any) -> Any:
    """Store as a client does that keeps to its credit; the reply."""
    await peer.ask("store", params)
    opened = await peer.told("opened")
    credit, rest = opened["window"], content
    while rest:
        if not credit:
            credit += (await peer.told("credit"))["bytes"]
        part = rest[: min(credit, FRAME)]
        await peer.say(head(opened["stream"]) + part)
        credit, rest = credit - len(part), rest[len(part) :]
    await peer.say(head(opened["stream"]))
    return await peer.reply()


async def test_a_page_watches_its_upload_and_cancels_it(
    node: Node, peer: Any, autojump_clock: MockClock
) -> None:
    await peer.call("subscribe", {"topics": ["jobs"]})
    before = await node.space()
    id = await peer.ask("store", {"filename": "a.bin", "size": 1 << 30})
    opened = await peer.told("opened")
    started = await peer.told("jobStarted")
    assert opened["job"] == started["job"]["id"]
    await peer.say(head(opened["stream"]) + bytes(200_000))
    progress = (await peer.told("jobProgressed"))["job"]
    assert (progress["id"], progress["bytesTotal"]) == (opened["job"], 1 << 30)
    assert progress["bytesDone"] > 0
    await peer.say({"jsonrpc": "2.0", "method": "cancelJob", "params": {"id": opened["job"]}})
    reply = await peer.reply()
    assert (reply["id"], reply["error"]["data"]["code"]) == (id, "job-cancelled")
    ended = (await peer.told("jobEnded"))["job"]
    assert (ended["id"], ended["state"]) == (opened["job"], "cancelled")
    assert await node.space() == before


@pytest.mark.parametrize("params", [{"mimetype": "nonsense"}, {"filename": "../../x"}, {"size": 1 << 60}])
async def test_an_upload_that_is_refused_is_not_opened(peer: Any, params: dict[str, Any]) -> None:
    error = await peer.fails("store", params)
    assert error["code"] in (-32602, -32004)
    assert peer.notifications == []


# -- requests


async def test_requests_are_answered_as_they_are_done(peer: Any, held: Held) -> None:
    await peer.ask("wait", id="slow")
    await peer.ask("space", id="fast")
    assert (await peer.reply())["id"] == "fast"
    held.go.set()
    assert await peer.reply() == {"jsonrpc": "2.0", "id": "slow", "result": "done"}


async def test_a_notification_is_done_and_not_answered(peer: Any, held: Held) -> None:
    await peer.tell("wait", {})
    await peer.tell("nothing", {})
    await peer.tell("exists", {"cid": 5})
    assert await peer.call("space")
    assert held.waiting == 1


async def test_a_batch_is_answered_together_and_in_order(peer: Any, held: Held) -> None:
    await peer.say([{**SPACE, "id": "a", "method": "wait"}, 1, SPACE, {"jsonrpc": "2.0", "method": "space"}])
    await peer.ask("space", id="other")
    assert (await peer.reply())["id"] == "other"
    held.go.set()
    batch = await peer.reply()
    assert [reply["id"] for reply in batch] == ["a", None, 1]
    assert [("result" in reply) for reply in batch] == [True, False, True]


async def test_a_batch_of_notifications_is_not_answered(peer: Any) -> None:
    await peer.say([{"jsonrpc": "2.0", "method": "space"}, {"jsonrpc": "2.0", "method": "nothing"}])
    assert (await peer.call("space"))["totalBlocks"] == 0


async def test_a_batch_of_mistakes_is_answered_at_once(peer: Any) -> None:
    await peer.say([1, {}])
    assert [reply["error"]["code"] for reply in await peer.reply()] == [-32600, -32600]


async def test_a_bug_is_told_and_harms_nobody_else(peer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(call: Call, params: Nothing) -> None:
        """Fail."""
        raise ZeroDivisionError("of all things")

    async def unspeakable(call: Call, params: Nothing) -> object:
        """Give what is no JSON."""
        return object()

    _add(monkeypatch, Method("fail", Nothing, None, fail))
    _add(monkeypatch, Method("unspeakable", Nothing, None, unspeakable))
    stream = io.StringIO()
    with logs.configured(LogConfig(format="json"), stream=stream):
        for name in ("fail", "unspeakable"):
            error = await peer.fails(name)
            assert (error["code"], error["data"]["code"]) == (-32603, "internal")
            assert "ZeroDivision" not in error["message"]
        assert await peer.call("space")
    said = stream.getvalue()
    assert said.count("a request failed over a bug") == 2
    assert "ZeroDivisionError: of all things" in said


async def test_there_is_a_limit_on_requests_under_way(peer: Any, held: Held) -> None:
    for number in range(MAX_REQUESTS):
        await peer.ask("wait", id=number)
    error = await peer.fails("space")
    assert (error["code"], error["data"]["code"]) == (-32003, "too-much-at-once")
    assert await peer.call("cancel", {"id": 3}) == {"cancelled": True}  # needs no place
    assert (await peer.reply())["error"]["code"] == -32800
    assert await peer.call("space")
    held.go.set()
    assert {(await peer.reply())["id"] for _ in range(MAX_REQUESTS - 1)} == {*range(MAX_REQUESTS)} - {3}


async def test_the_entries_of_a_batch_count(peer: Any, held: Held) -> None:
    for number in range(MAX_REQUESTS - 1):
        await peer.ask("wait", id=number)
    await peer.say([{**SPACE, "id": "a"}, {**SPACE, "id": "b"}])
    first, second = await peer.reply()
    assert ("result" in first, second["error"]["code"]) == (True, -32003)


async def test_an_id_is_used_once_at_a_time(peer: Any, held: Held) -> None:
    await peer.ask("wait", id="same")
    await peer.ask("space", id="same")
    assert (await peer.reply())["error"]["code"] == -32600
    held.go.set()
    assert (await peer.reply())["result"] == "done"
    await peer.ask("space", id="same")
    assert "result" in await peer.reply()


# -- cancelling


async def test_a_request_is_cancelled_by_its_id(peer: Any, held: Held) -> None:
    await peer.ask("wait", id="mine")
    assert await peer.call("cancel", ["mine"]) == {"cancelled": True}
    reply = await peer.reply()
    assert reply["id"] == "mine"
    assert (reply["error"]["code"], reply["error"]["data"]["code"]) == (-32800, "request-cancelled")
    assert held.waiting == 0
    assert await peer.call("cancel", ["mine"]) == {"cancelled": False}


async def test_cancelling_may_be_a_notification_and_part_of_a_batch(peer: Any, held: Held) -> None:
    await peer.ask("wait", id=7)
    await peer.tell("cancel", {"id": 7})
    assert (await peer.reply())["error"]["code"] == -32800
    cancel = {"jsonrpc": "2.0", "id": "c", "method": "cancel", "params": [8]}
    await peer.say([{**SPACE, "id": 8, "method": "wait"}, cancel])
    first, second = await peer.reply()
    assert (first["error"]["code"], second["result"]) == (-32800, {"cancelled": True})


async def test_a_request_that_is_cancelled_before_its_turn_is_not_begun(peer: Any, held: Held) -> None:
    await peer.say(
        [
            {**SPACE, "id": 8, "method": "wait"},
            {"jsonrpc": "2.0", "method": "cancel", "params": [8]},
        ]
    )
    assert [reply["error"]["code"] for reply in await peer.reply()] == [-32800]
    assert held.waiting == 0


@pytest.mark.parametrize(
    ("error", "number"), [(InvalidInput("too late"), -32602), (ZeroDivisionError("too late"), -32603)]
)
async def test_what_fails_while_it_is_cancelled_has_failed(
    peer: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, number: int
) -> None:
    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise error

    async def do(call: Call, params: Nothing) -> None:
        """Fail when it is cancelled, beside something that is just cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stubborn)
            nursery.start_soon(trio.sleep_forever)

    _add(monkeypatch, Method("stubborn", Nothing, None, do))
    id = await peer.ask("stubborn")
    await wait_all_tasks_blocked()
    await peer.tell("cancel", [id])
    assert (await peer.reply())["error"]["code"] == number
    assert await peer.call("space")


async def test_the_end_of_the_connection_cancels_everything(node: Node, open_peer: Any, held: Held) -> None:
    async with open_peer() as peer:
        for number in range(5):
            await peer.ask("wait", id=number)
        await wait_all_tasks_blocked()
        assert held.waiting == 5
    assert held.waiting == 0


# -- storing


@pytest.mark.parametrize("size", [1, 65_536, 65_537, WINDOW, 3 * WINDOW + 5])
async def test_a_dataset_is_stored(node: Node, peer: Any, size: int) -> None:
    content = noise(size)
    reply = await store(peer, content, filename="photo.jpg", mimetype="image/jpeg", size=size)
    cid = Cid.parse(reply["result"]["cid"])
    assert cid == await node.store(content, filename="photo.jpg", mimetype="image/jpeg")
    async with node.retrieve(cid) as retrieval:
        assert await retrieval.read() == content


async def test_nothing_is_stored_of_nothing(node: Node, peer: Any) -> None:
    before = await holdings(node)
    error = (await store(peer, b""))["error"]
    assert error["data"]["code"] == "empty-dataset"
    assert await holdings(node) == before


@pytest.mark.parametrize("declared", [0, 17, 19])
async def test_another_size_than_announced_stores_nothing(node: Node, peer: Any, declared: int) -> None:
    before = await holdings(node)
    error = (await store(peer, b"some file contents", size=declared))["error"]
    assert error["data"]["code"] == "upload-cut"
    assert await holdings(node) == before


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"filename": "a/b?c"}, "bad-filename"),
        ({"filename": ""}, "bad-filename"),
        ({"filename": "x" * 1000}, "bad-filename"),
        ({"filename": "../../etc/passwd\0"}, "bad-filename"),
        ({"filename": "\ud800"}, "invalid-params"),
        ({"mimetype": "nonsense"}, "bad-media-type"),
        ({"size": 1 << 60}, "quota-exceeded"),
    ],
)
async def test_what_cannot_be_stored_is_refused(
    node: Node, peer: Any, params: dict[str, Any], code: str
) -> None:
    before = await holdings(node)
    await peer.ask("store", params)
    reply = await peer.reply()
    assert reply["error"]["data"]["code"] == code
    for told in peer.notifications:  # a client that has begun to send does not know yet
        await peer.say(head(told["params"]["stream"]) + b"some file contents", head(told["params"]["stream"]))
    assert await peer.call("space")
    assert await holdings(node) == before


async def test_storing_needs_an_id(peer: Any) -> None:
    await peer.say({"jsonrpc": "2.0", "id": None, "method": "store"})
    assert (await peer.reply())["error"]["code"] == -32602


async def test_an_upload_is_cancelled_and_leaves_nothing(node: Node, peer: Any) -> None:
    before = await holdings(node)
    id = await peer.ask("store", {"filename": "a.bin"})
    stream = (await peer.told("opened"))["stream"]
    await peer.say(head(stream) + bytes(FRAME))
    [job] = node.jobs.list(JobKind.UPLOAD, JobState.RUNNING)
    assert await peer.call("cancel", [id]) == {"cancelled": True}
    assert (await peer.reply())["error"]["code"] == -32800
    await peer.say(head(stream) + bytes(FRAME), head(stream))  # was under way
    assert await peer.call("space")
    assert await holdings(node) == before
    assert job.state is JobState.CANCELLED


async def test_an_upload_is_cancelled_as_a_job(node: Node, peer: Any) -> None:
    before = await holdings(node)
    await peer.ask("store", {"filename": "a.bin"})
    await peer.told("opened")
    [job] = (await peer.call("jobs", {"kind": "upload"}))["jobs"]
    assert (job["subject"], job["state"]) == ("a.bin", "running")
    assert await peer.call("cancelJob", [job["id"]]) == {"cancelled": True}
    error = (await peer.reply())["error"]
    assert (error["code"], error["data"]["code"]) == (-32800, "job-cancelled")
    assert await holdings(node) == before


async def test_a_client_that_is_gone_leaves_nothing_of_its_upload(node: Node, open_peer: Any) -> None:
    content = pattern(5 * FRAME)
    before = await holdings(node)
    for pieces in range(6):
        async with open_peer() as peer:
            await peer.ask("store", {"size": len(content)})
            opened = await peer.told("opened")
            for place in range(min(pieces, WINDOW // FRAME)):
                part = content[place * FRAME : (place + 1) * FRAME]
                await peer.say(head(opened["stream"]) + part)
            await wait_all_tasks_blocked()
        assert await holdings(node) == before
        assert node.jobs.list(JobKind.UPLOAD, JobState.RUNNING) == ()


async def test_an_upload_leaves_nothing_wherever_it_is_cut(node: Node, open_peer: Any) -> None:
    before = await holdings(node)

    async def upload() -> None:
        async with open_peer() as peer:
            reply = await store(peer, b"some file contents" * 5000)
            assert "result" in reply
            await node.delete(Cid.parse(reply["result"]["cid"]))

    async def nothing_is_left() -> None:
        for cid in [cid async for cid, _ in node.iterate_manifests()]:
            await node.delete(cid)  # it was whole, or the cut came before its deletion
        assert await holdings(node) == before
        assert node.jobs.list(state=JobState.RUNNING) == ()

    assert await cancel_at_every_checkpoint(upload, nothing_is_left) > 20


async def test_an_upload_that_falls_silent_is_cut(node: Node, peer: Any, autojump_clock: MockClock) -> None:
    before = await holdings(node)
    await peer.ask("store")
    opened = await peer.told("opened")
    await peer.say(head(opened["stream"]) + b"some")
    assert (await peer.reply())["error"]["data"]["code"] == "upload-cut"
    assert await holdings(node) == before


async def test_a_slow_store_holds_back_its_client_and_nobody_else(
    node: Node, peer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(source: Any, **about: Any) -> Cid:
        await anext(source)
        await trio.sleep_forever()
        raise AssertionError

    monkeypatch.setattr(node, "store", slow)
    await peer.ask("store")
    stream = (await peer.told("opened"))["stream"]
    for _ in range(WINDOW // FRAME):
        await peer.say(head(stream) + bytes(FRAME))
    assert await peer.call("space")
    assert peer.notifications == []  # no credit
    await peer.say(head(stream) + b"x")
    closed = await peer.closed()
    assert (closed.code, closed.reason) == (1008, "stream 1 has 0 bytes of credit, and 1 came")


async def test_uploads_go_side_by_side(node: Node, peer: Any) -> None:
    streams = []
    for number in range(4):
        await peer.ask("store", {"filename": f"{number}"}, id=number)
        streams.append((await peer.told("opened"))["stream"])
    for place in range(3):
        for number, stream in enumerate(streams):
            await peer.say(head(stream) + bytes([number, place]) * 1000)
    for stream in reversed(streams):
        await peer.say(head(stream))
    replies = [await peer.reply() for _ in streams]
    cids = {reply["id"]: Cid.parse(reply["result"]["cid"]) for reply in replies}
    for number, cid in cids.items():
        async with node.retrieve(cid) as retrieval:
            whole = b"".join(bytes([number, place]) * 1000 for place in range(3))
            assert await retrieval.read() == whole


# -- retrieving


async def retrieve(peer: Any, **params: Any) -> Any:
    """Retrieve as a client does that gives credit as bytes come; what came, and the reply."""
    await peer.ask("retrieve", params)
    opened, got = await peer.told("opened"), []
    while True:
        message = await peer.hear()
        if not isinstance(message, bytes):
            assert got.count(b"") == 1, "the stream has one end"
            assert got[-1] == b""
            return opened, b"".join(got), message
        assert message[:4] == head(opened["stream"])
        got.append(message[4:])
        if len(message) > 4:
            await peer.tell("credit", {"stream": opened["stream"], "bytes": len(message) - 4})


@pytest.mark.parametrize("size", [1, 65_537, 3 * WINDOW + 5])
async def test_a_dataset_is_retrieved(node: Node, peer: Any, size: int) -> None:
    content = noise(size)
    cid = await node.store(content, filename="a.bin")
    opened, got, reply = await retrieve(peer, cid=str(cid))
    assert got == content
    assert reply["result"] == {"bytes": size}
    assert (opened["size"], opened["offset"], opened["manifest"]["filename"]) == (size, 0, "a.bin")
    assert node.jobs.get(opened["job"]).state is JobState.DONE


async def test_a_part_is_retrieved(node: Node, peer: Any) -> None:
    content = pattern(200_000)
    cid = str(await node.store(content))
    opened, got, _ = await retrieve(peer, cid=cid, offset=70_000, length=100_000, local=True, window=999)
    assert got == content[70_000:170_000]
    assert (opened["offset"], opened["size"], opened["window"]) == (70_000, 100_000, 999)
    assert (await retrieve(peer, cid=cid, offset=200_000))[1] == b""
    await peer.ask("retrieve", {"cid": cid, "offset": 200_001})
    assert (await peer.reply())["error"]["code"] == -32602


async def test_a_block_is_retrieved(node: Node, peer: Any) -> None:
    cid = await node.store(b"some file contents")
    opened, got, _ = await retrieve(peer, cid=str((await node.fetch_manifest(cid)).cid))
    assert (got, opened["manifest"]["datasetSize"]) == (b"some file contents", 18)


async def test_a_slow_reader_is_waited_for_and_others_go_on(node: Node, peer: Any) -> None:
    cid = str(await node.store(pattern(3 * WINDOW)))
    await peer.ask("retrieve", {"cid": cid}, id="slow")
    stream = (await peer.told("opened"))["stream"]
    assert await peer.call("space")
    await wait_all_tasks_blocked()
    assert await peer.call("space")
    assert sum(map(len, peer.pieces[stream])) == WINDOW
    await peer.tell("credit", {"stream": stream, "bytes": 10 * WINDOW})
    assert (await peer.reply())["result"] == {"bytes": 3 * WINDOW}
    assert sum(map(len, peer.pieces[stream])) == 3 * WINDOW


async def test_a_reader_that_has_stalled_is_given_up(
    node: Node, peer: Any, autojump_clock: MockClock
) -> None:
    cid = str(await node.store(pattern(2 * WINDOW)))
    await peer.ask("retrieve", {"cid": cid})
    assert (await peer.reply())["error"]["data"]["code"] == "stalled"
    assert node.jobs.list(JobKind.DOWNLOAD, JobState.RUNNING) == ()


async def test_a_download_is_cancelled_and_its_stream_has_no_end(node: Node, peer: Any) -> None:
    cid = str(await node.store(pattern(2 * WINDOW)))
    id = await peer.ask("retrieve", {"cid": cid})
    stream = (await peer.told("opened"))["stream"]
    await peer.tell("cancel", [id])
    assert (await peer.reply())["error"]["code"] == -32800
    assert b"" not in peer.pieces.get(stream, [])
    await peer.tell("credit", {"stream": stream, "bytes": 5})  # was under way
    assert await peer.call("space")
    assert node.jobs.list(JobKind.DOWNLOAD)[0].state is JobState.CANCELLED


async def test_a_download_that_meets_damage_says_so_and_has_no_end(node: Node, peer: Any) -> None:
    content = pattern(10 * 65_536)
    cid = str(await node.store(content))
    damage(node.config.data_dir, content[-65_536:])
    await peer.ask("retrieve", {"cid": cid, "local": True})
    reply = await peer.reply()
    assert (reply["error"]["code"], reply["error"]["data"]["code"]) == (-32000, "corrupt-data")
    [pieces] = peer.pieces.values()
    assert b"" not in pieces
    assert content.startswith(b"".join(pieces))


async def test_there_is_a_limit_on_streams(peer: Any) -> None:
    for _ in range(MAX_STREAMS):
        await peer.ask("store")
        await peer.told("opened")
    error = await peer.fails("store")
    assert (error["code"], error["data"]["code"]) == (-32003, "too-much-at-once")


# -- how it ends


@pytest.mark.parametrize(
    ("message", "code", "reason"),
    [
        (b"", 1003, "a binary message is never empty"),
        (b"abc", 1008, "a binary message begins with 4 bytes, the number of its stream"),
        (b'{"jsonrpc": "2.0", "id": 1, "method": "space"}', 1008, "there was never a stream 2065853043"),
        (head(0), 1008, "there was never a stream 0"),
        ('{"jsonrpc":"2.0","method":"credit","params":[5,5]}', 1008, "there was never a stream 5"),
        ('[{"jsonrpc":"2.0","method":"credit","params":[5,5]}]', 1008, "there was never a stream 5"),
    ],
)
async def test_a_mistake_that_nothing_can_follow_closes(
    peer: Any, message: str | bytes, code: int, reason: str
) -> None:
    await peer.say(message)
    closed = await peer.closed()
    assert (closed.code, closed.reason) == (code, reason)


async def test_what_was_answered_before_a_mistake_still_comes(peer: Any) -> None:
    await peer.say(json.dumps({**SPACE, "method": "nothing"}), b"abc")
    assert (await peer.hear())["id"] == 1
    assert (await peer.closed()).code == 1008


async def test_the_node_stops_and_says_so(open_peer: Any, autojump_clock: MockClock) -> None:
    stopping = trio.Event()
    async with open_peer(stopping=stopping) as peer:
        assert await peer.call("space")
        stopping.set()
        start = trio.current_time()
        closed = await peer.closed()
    assert (closed.code, closed.reason) == (1001, "the node is stopping")
    assert trio.current_time() == start


async def test_requests_under_way_may_finish_when_the_node_stops(
    open_peer: Any, held: Held, autojump_clock: MockClock
) -> None:
    stopping = trio.Event()
    async with open_peer(stopping=stopping) as peer:
        await peer.ask("wait", id="mine")
        await peer.call("space")
        stopping.set()
        error = await peer.fails("space")  # nothing new is begun
        assert (error["code"], error["message"]) == (-32003, "the node is stopping")
        await trio.sleep(DRAIN / 2)
        held.go.set()
        assert (await peer.reply())["result"] == "done"
        assert (await peer.closed()).code == 1001


async def test_they_are_cut_when_they_take_too_long(
    open_peer: Any, held: Held, autojump_clock: MockClock
) -> None:
    stopping = trio.Event()
    async with open_peer(stopping=stopping) as peer:
        await peer.ask("wait")
        await peer.call("space")
        stopping.set()
        start = trio.current_time()
        assert (await peer.closed()).code == 1001
        assert trio.current_time() - start == DRAIN
    assert held.waiting == 0


async def test_a_client_that_reads_nothing_is_left_behind(open_peer: Any, autojump_clock: MockClock) -> None:
    stopping = trio.Event()
    async with open_peer(room=0, stopping=stopping) as peer:
        for number in range(200):
            with trio.move_on_after(1):
                await peer.ask("space", id=number)
        start = trio.current_time()
        stopping.set()
        await trio.sleep(DRAIN + FAREWELL + 1)
        closed = await peer.closed()
        assert closed.code == 1001
        assert trio.current_time() - start <= DRAIN + FAREWELL + 1


async def test_a_client_that_reads_nothing_stops_being_read(
    open_peer: Any, autojump_clock: MockClock
) -> None:
    async with open_peer(room=0) as peer:
        asked = 0
        with trio.move_on_after(10):
            while True:
                await peer.say("nonsense")
                asked += 1
        assert asked <= 25
