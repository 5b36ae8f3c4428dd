"""The calls about the node itself."""

from pathlib import Path

import pytest
import trio
import trio.testing

from codex import logs
from codex.config import LogConfig
from codex.p2p import PeerId
from codex.runtime.mailbox import Inbox
from codex.runtime.supervisor import Policy
from codex.testing.http import Client
from codex.testing.nodes import EPOCH, ServedNode, open_served_node

LEVEL = "/debug/chronicles/loglevel"


async def test_the_peer_id_is_the_nodes(served: ServedNode) -> None:
    reply = await served.client.get("/peerid")
    assert reply.header("content-type") == "application/json"
    assert reply.json() == {"id": str(served.node.info().peer_id)}
    assert reply.json()["id"].startswith("16Uiu2")


async def test_the_record_is_the_nodes(served: ServedNode) -> None:
    reply = await served.client.get("/spr")
    assert reply.header("content-type") == "application/json"
    assert reply.json() == {"spr": served.node.info().spr}
    assert reply.json()["spr"].startswith("spr:")


@pytest.mark.parametrize("path", ["/peerid", "/spr"])
@pytest.mark.parametrize(
    ("accept", "text"),
    [
        ("text/plain", True),
        ("TEXT/PLAIN", True),
        ("text/plain, application/json;q=0.9", True),
        ("text/plain;charset=utf-8", True),
        ("text/plain; charset=utf-8; q=0.9, */*;q=0.1", True),
        ("text/plain;q=0.1, application/json;q=0.9", False),
        ("application/json", False),
        ("*/*", False),
        ("text/html", False),
        ("garbage", False),
        ("", False),
    ],
)
async def test_who_prefers_text_gets_text(client: Client, path: str, accept: str, text: bool) -> None:
    plain = next(iter((await client.get(path)).json().values()))
    reply = await client.get(path, headers=[("Accept", accept)])
    assert reply.status == 200
    if text:
        assert (reply.header("content-type") or "").startswith("text/plain")
        assert reply.text == plain
    else:
        assert reply.header("content-type") == "application/json"
        assert list(reply.json().values()) == [plain]


async def test_the_published_client_asks_for_the_peer_id_elsewhere(client: Client) -> None:
    assert (await client.get("/node/peerid")).json() == (await client.get("/peerid")).json()


async def test_info_tells_what_tools_of_the_network_read(served: ServedNode, tmp_path: Path) -> None:
    reply = await served.client.get("/debug/info")
    info = reply.json()
    peer = (await served.client.get("/peerid")).json()["id"]
    spr = (await served.client.get("/spr")).json()["spr"]
    assert reply.header("content-type") == "application/json"
    assert b"\n" in reply.body  # pretty, as the reference's
    assert list(info) == ["id", "addrs", "repo", "spr", "announceAddresses", "table", "codex"]
    assert (info["id"], info["spr"], info["repo"]) == (peer, spr, str(tmp_path / "alice"))
    assert all(address.startswith("/ip4/") for address in info["addrs"] + info["announceAddresses"])
    local = info["table"]["localNode"]
    assert list(local) == ["nodeId", "peerId", "record", "address", "seen"]
    assert (local["peerId"], local["record"]) == (peer, spr)
    assert len(bytes.fromhex(local["nodeId"])) == 32
    assert info["table"]["nodes"] == []
    assert info["codex"]["version"]
    assert info["codex"]["revision"]
    assert info["codex"]["contracts"]


async def test_two_nodes_are_two(tmp_path: Path) -> None:
    async with (
        open_served_node(tmp_path / "alice", seed="alice") as alice,
        open_served_node(tmp_path / "bob", seed="bob") as bob,
    ):
        for path in ("/peerid", "/spr", "/debug/info"):
            assert (await alice.client.get(path)).json() != (await bob.client.get(path)).json()


async def test_a_node_stays_who_it_is(tmp_path: Path) -> None:
    async with open_served_node(tmp_path, seed="alice") as served:
        before = (await served.client.get("/peerid")).json()
    async with open_served_node(tmp_path, seed="someone else") as served:
        assert (await served.client.get("/peerid")).json() == before


# -- connecting: there is no network yet


@pytest.mark.parametrize("peer", ["garbage", "1", "%00", "z", "12D3KooWgarbage", "0OIl"])
async def test_what_is_no_peer_id_is_refused(client: Client, peer: str) -> None:
    reply = await client.get(f"/connect/{peer}")
    assert (reply.status, reply.text) == (400, "peerid: incorrect PeerId string")


async def test_no_peer_can_be_dialled_without_a_network(served: ServedNode) -> None:
    peer = served.node.info().peer_id
    assert PeerId.parse(str(peer)) == peer
    for query in ("", "?addrs=/ip4/127.0.0.1/tcp/8070", "?addrs=garbage", "?addrs=a&addrs=b"):
        reply = await served.client.get(f"/connect/{peer}{query}")
        assert reply.status == 400
        assert reply.text.startswith("Unable to ")


async def test_without_a_network_there_are_no_peers(client: Client) -> None:
    reply = await client.get("/peers")
    assert (reply.status, reply.body) == (200, b'{"peers":[],"limits":{"upload":null,"download":null}}')


# -- health


async def test_a_node_that_runs_is_well_and_ready(served: ServedNode) -> None:
    health = await served.client.get("/health")
    assert health.status == 200
    assert health.header("content-type") == "application/json"
    shown = health.json()
    assert list(shown) == ["state", "services", "version"]
    assert (shown["state"], shown["version"]) == ("ok", served.node.info().version)
    assert [service["name"] for service in shown["services"]] == ["store", "jobs", "api"]
    for service in shown["services"]:
        assert list(service) == ["name", "state", "since", "restarts", "lastError", "condition"]
        assert (service["state"], service["restarts"], service["lastError"]) == ("running", 0, None)
        assert service["since"] >= EPOCH
    ready = await served.client.get("/ready")
    assert (ready.status, ready.body) == (200, b'{"ready":true}')


class Failing:
    """A service that crashes when it is told to."""

    def __init__(self, crash: trio.Event) -> None:
        self._crash = crash

    async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await self._crash.wait()
        raise ZeroDivisionError("a bug in the gate")


@pytest.mark.parametrize(("restarts", "state", "status"), [(0, "failed", 503), (1, "restarting", 200)])
async def test_a_service_that_has_crashed_is_told(
    served: ServedNode, restarts: int, state: str, status: int
) -> None:
    crash = trio.Event()
    policy = Policy(restarts=restarts, window=60.0, backoff_min=30.0)
    await served.node.supervise("gate", lambda: Failing(crash), policy)
    assert (await served.client.get("/ready")).json() == {"ready": True}
    crash.set()
    await trio.testing.wait_all_tasks_blocked(0.01)
    health = await served.client.get("/health")
    assert health.status == status
    assert health.json()["state"] == "degraded"
    gate = next(service for service in health.json()["services"] if service["name"] == "gate")
    assert gate["state"] == state
    assert "a bug in the gate" in gate["lastError"]
    ready = await served.client.get("/ready")
    assert (ready.status, ready.json()) == (503, {"ready": False, "waitingFor": ["gate"]})
    assert (await served.client.get("/space")).status == 200


# -- levels


@pytest.mark.parametrize("level", ["TRACE", "debug", "Info", "NOTICE", "WARN", "ERROR", "FATAL"])
async def test_the_log_level_can_be_set(client: Client, level: str) -> None:
    with logs.configured(LogConfig(format="none", level="INFO")):
        reply = await client.post(f"{LEVEL}?level={level}")
        assert (reply.status, reply.body) == (200, b"")
        assert (reply.header("content-type") or "").startswith("text/plain")
        assert logs.current_levels() == logs.parse_levels(level)


async def test_topics_get_their_own_level(client: Client) -> None:
    with logs.configured(LogConfig(format="none", level="INFO")):
        await client.post(f"{LEVEL}?level=ERROR;TRACE:store,api")
        assert logs.get_logger("store").is_logged("trace")
        assert logs.get_logger("api").is_logged("trace")
        assert not logs.get_logger("node").is_logged("warn")


@pytest.mark.parametrize("query", ["", "?", "?leve=INFO", "?LEVEL=INFO"])
async def test_a_level_that_is_not_given_is_missed(client: Client, query: str) -> None:
    reply = await client.post(LEVEL + query)
    assert (reply.status, reply.text) == (400, "Missing log level")


@pytest.mark.parametrize("level", ["loud", "", "%00", "INFO:", "DEBUG;TRACE", "DEBUG;loud:store"])
async def test_a_level_that_is_none_is_refused(client: Client, level: str) -> None:
    with logs.configured(LogConfig(format="none", level="INFO")):
        before = str(logs.current_levels())
        reply = await client.post(f"{LEVEL}?level={level}")
        assert reply.status == 500
        assert reply.text == "Please specify one of: trace, debug, info, notice, warn, error or fatal"
        assert str(logs.current_levels()) == before
