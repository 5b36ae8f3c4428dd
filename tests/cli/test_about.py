"""`codex info`, `codex peers`, `codex connect` against a stand-in."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from codex.cli import about
from codex.cli.exits import Failed
from codex.cli.finding import Target

Run = Callable[..., subprocess.CompletedProcess[bytes]]
INFO = {
    "id": "16Uiu2HAm5YSE74cT6wwuMzk55U8VmuXGEBoHMiRt93B8wxzkFT3B",
    "addrs": ["/ip4/192.0.2.1/tcp/8070", "/ip4/127.0.0.1/tcp/8070"],
    "repo": "/srv/codex",
    "spr": "spr:abc",
    "announceAddresses": [],
    "table": {
        "localNode": {"address": "192.0.2.1:8090"},
        "nodes": [{"seen": True}, {"seen": False}, {"seen": True}],
    },
    "codex": {"version": "v1.2.3", "revision": "abcdef", "contracts": "none"},
}
SPACE = {"totalBlocks": 3, "quotaMaxBytes": 20 << 30, "quotaUsedBytes": 5 << 20, "quotaReservedBytes": 0}
SERVICE = {"name": "store", "state": "running", "since": 1795378590.2, "restarts": 0, "lastError": None}
LATER = {"name": "api", "state": "waiting", "since": 1795378591.0, "restarts": 2, "lastError": "it\nbroke"}
PEERS = {"peers": [5, 6], "limits": {"upload": 102400, "download": None}}
HEALTH = {"state": "degraded", "services": [SERVICE, LATER], "version": "v1.2.3"}


@pytest.fixture
def telling(node: Any) -> Any:
    """A stand-in that tells who it is."""
    node.json("GET /debug/info", INFO)
    node.json("GET /space", SPACE)
    node.json("GET /health", HEALTH)
    node.json("GET /peers", PEERS)
    return node


def test_a_node_is_shown_with_its_parts(codex: Run, telling: Any) -> None:
    done = codex("info", port=telling.port, env={"TZ": "UTC"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        f"peer id     {INFO['id']}",
        "version     v1.2.3, revision abcdef",
        f"API         http://127.0.0.1:{telling.port}",
        "data        /srv/codex",
        "listens on  /ip4/192.0.2.1/tcp/8070",
        "            /ip4/127.0.0.1/tcp/8070",
        "announces   -",
        "discovery   UDP 192.0.2.1:8090, knows 3 nodes, of which 2 answer",
        "peers       2 connected; at most 100 KiB/s upload",
        "space       5.00 MiB of 20.0 GiB used, 0 B reserved",
        "blocks      3",
        "health      degraded",
        "",
        "SERVICE  STATE    SINCE                RESTARTS  LAST ERROR",
        "store    running  2026-11-22 20:16:30         0  -",
        "api      waiting  2026-11-22 20:16:31         2  it\ufffdbroke",
    ]
    told = json.loads(codex("info", "--json", port=telling.port).stdout)
    assert told == {"info": INFO, "health": HEALTH, "space": SPACE, "peers": PEERS}


def test_what_ails_a_service_that_runs_stands_beside_it(codex: Run, telling: Any) -> None:
    late = {**SERVICE, "name": "advertiser", "condition": {"message": "3 of 9 announcements are due"}}
    telling.json("GET /health", {**HEALTH, "services": [late, {**SERVICE, "condition": None}]})
    shown = codex("info", port=telling.port).stdout.decode().splitlines()
    assert shown[-2].startswith("advertiser  running")
    assert shown[-2].endswith("0  3 of 9 announcements are due")
    assert shown[-1].endswith("0  -")


def test_bad_health_is_an_answer(codex: Run, telling: Any) -> None:
    telling.json("GET /health", HEALTH, status=503)
    assert b"waiting" in codex("info", port=telling.port).stdout


def test_a_node_without_health_is_shown_without_it(codex: Run, telling: Any) -> None:
    del telling.replies["GET /health"]
    done = codex("info", port=telling.port)
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[-1] == "blocks      3"
    assert json.loads(codex("info", "--json", port=telling.port).stdout)["health"] is None


def test_on_a_narrow_terminal_a_long_error_is_shortened() -> None:
    long = {**HEALTH, "services": [{**LATER, "lastError": "why " * 100}]}
    told = {"info": INFO, "health": long, "space": SPACE, "peers": None}
    shown = about.info_table(Target("127.0.0.1", 1), told, 80).splitlines()
    assert max(map(len, shown)) <= 80
    assert "…" in shown[-1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"info": {}},
        {"info": {**INFO, "codex": None}},
        {"space": {}},
        {"peers": {}},
        {"peers": {"peers": [], "limits": {"upload": "much"}}},
        {"peers": {"peers": [], "limits": 5}},
        {"health": {"state": "ok", "services": [{}]}},
        {"health": {"state": "ok", "services": [{**SERVICE, "since": "x"}]}},
        {"health": {"state": "ok", "services": [{**SERVICE, "since": 1e300}]}},
        {"health": {"state": "ok", "services": 5}},
    ],
)
def test_an_answer_of_another_shape_is_refused(wrong: dict[str, Any]) -> None:
    told = {"info": INFO, "health": HEALTH, "space": SPACE, "peers": PEERS, **wrong}
    with pytest.raises(Failed, match="not that of a Codex node"):
        about.info_table(Target("127.0.0.1", 1), told)


def test_a_node_that_does_not_tell_of_peers_or_bounds_is_shown_without_them(codex: Run, telling: Any) -> None:
    telling.json("GET /peers", {"peers": []})
    assert b"peers       0 connected\n" in codex("info", port=telling.port).stdout
    del telling.replies["GET /peers"]
    done = codex("info", port=telling.port)
    assert (done.returncode, b"connected" in done.stdout) == (0, False)
    assert json.loads(codex("info", "--json", port=telling.port).stdout)["peers"] is None
    for answer in ("[]", "{}", '{"peers": 5}', "nonsense"):
        telling.replies["GET /peers"] = (200, {}, answer.encode())
        assert codex("info", port=telling.port).returncode == 1


def test_a_health_that_is_none_is_refused(codex: Run, telling: Any) -> None:
    for answer in ("[]", "{}", '{"services": 5}'):
        telling.replies["GET /health"] = (200, {}, answer.encode())
        assert codex("info", port=telling.port).returncode == 1


PEER = {
    "peerId": "16Uiu2A",
    "address": "/ip4/192.0.2.1/tcp/1",
    "dialled": True,
    "agent": "Codex",
    "protocols": ["/codex/blockexc/1.0.0"],
    "since": 1795378590.0,
    "bytesIn": 1536,
    "bytesOut": 3 << 20,
    "latency": 0.0123,
    "streams": 2,
    "wants": 0,
    "wanted": 7,
    "blockBytesIn": 0,
    "blockBytesOut": 0,
}


def test_peers_are_listed(codex: Run, node: Any) -> None:
    other = {**PEER, "peerId": "16Uiu2B", "dialled": False, "agent": "c\x1bx", "latency": None, "wants": 3}
    node.json("GET /peers", {"peers": [PEER, other]})
    done = codex("peers", port=node.port)
    assert done.stdout.decode().splitlines() == [
        "PEER     CONNECTION                 AGENT  RECEIVED      SENT  LATENCY  BLOCKS OPEN",
        "16Uiu2A  to /ip4/192.0.2.1/tcp/1    Codex  1.50 KiB  3.00 MiB  12.3 ms  7 from it",
        "16Uiu2B  from /ip4/192.0.2.1/tcp/1  c\ufffdx    1.50 KiB  3.00 MiB        -  7 from it, 3 to it",
    ]
    assert json.loads(codex("peers", "--json", port=node.port).stdout) == {"peers": [PEER, other]}
    node.json("GET /peers", {"peers": []})
    assert codex("peers", port=node.port).stdout == b""
    for answer in ({}, {"peers": 5}, {"peers": [5]}, {"peers": [{**PEER, "latency": "x"}]}):
        with pytest.raises(Failed):
            about.peers_table(answer)


def test_the_bounds_on_traffic_are_shown_below_the_peers() -> None:
    limits = {"upload": 102400, "download": 1 << 20}
    lines = about.peers_table({"peers": [PEER], "limits": limits}).splitlines()
    assert len(lines) == 3
    assert lines[2] == "At most 100 KiB/s upload and 1.00 MiB/s download, of all together."
    for none in ({"upload": None, "download": None}, {}, None):
        assert len(about.peers_table({"peers": [PEER], "limits": none}).splitlines()) == 2


def test_peers_fit_a_narrow_terminal() -> None:
    shown = about.peers_table({"peers": [{**PEER, "peerId": "16Uiu2HAkxqXa6T5ATbu4QE4hMDxwTaNrj9"}]}, 79)
    assert max(map(len, shown.splitlines())) <= 79
    assert "16Uiu2H" in shown
    assert "AGENT" not in shown


def test_a_peer_is_connected_to(codex: Run, node: Any) -> None:
    asked = "GET /connect/16U%2F?addrs=%2Fip4%2F192.0.2.1%2Ftcp%2F1&addrs=b"
    node.replies[asked] = (200, {}, b"Successfully connected to peer")
    node.replies["GET /connect/16U"] = (400, {}, b"Unable to find Peer!")
    done = codex("connect", "16U/", "/ip4/192.0.2.1/tcp/1", "b", port=node.port)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    done = codex("connect", "16U", port=node.port)
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: 16U: Unable to find Peer!\n")
    assert b"`codex info`" in done.stderr


def test_an_address_with_a_peer_id_says_both(codex: Run, node: Any) -> None:
    asked = "GET /connect/16Uiu2A?addrs=%2Fip4%2F192.0.2.1%2Ftcp%2F1"
    node.replies[asked] = (200, {}, b"Successfully connected to peer")
    node.json("GET /peers", {"peers": [{**PEER, "peerId": "16Uiu2B"}, PEER]})
    done = codex("connect", "/ip4/192.0.2.1/tcp/1/p2p/16Uiu2A", "--json", port=node.port)
    assert (done.returncode, json.loads(done.stdout)) == (0, PEER)
    assert node.asked[0] == asked
