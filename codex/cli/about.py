"""`codex info`, `codex peers`, `codex connect`: the node itself, and the nodes around it."""

import json
from typing import Any
from urllib.parse import quote, urlencode

from codex.cli.connection import ask, ask_json, read_text, understood
from codex.cli.finding import Target
from codex.cli.output import Column, moment, printable, table
from codex.units import human_size

_CONNECT_REMEDIES = {
    400: "Take the peer id and an address, /ip4/ADDRESS/tcp/PORT, from the other node's `codex info`."
}


def info(node: Target) -> dict[str, Any]:
    """What the node says about itself, by parts: `info`, `health`, `space` and `peers`, each as its API gives
    it.

    `health` and `peers` are None for a node that has no such call. Raises Failed, NoNode.
    """
    own = ask_json(node, "GET", "/debug/info", "the node's own words")
    with understood():
        own["codex"]["version"]  # who is no node is not asked further
    return {
        "info": own,
        "health": _health(node),
        "space": ask_json(node, "GET", "/space", "the node's space"),
        "peers": _peers(node),
    }


def _health(node: Target) -> dict[str, Any] | None:
    """The health of the node's services: an answer also when it is bad (503)."""
    with ask(node, "GET", "/health", headers={"Accept": "application/json"}) as reply:
        if reply.status not in (200, 503):
            return None
        text = reply.read().decode("utf-8", "replace")
    with understood():
        answer = json.loads(text)
        if not isinstance(answer["services"], list):
            raise TypeError
    return dict(answer)


def _peers(node: Target) -> dict[str, Any] | None:
    """Whom the node is connected to; None where it does not say."""
    with ask(node, "GET", "/peers") as reply:
        if reply.status != 200:
            return None
        text = reply.read().decode("utf-8", "replace")
    with understood():
        answer = json.loads(text)
        if not isinstance(answer["peers"], list):
            raise TypeError
    return dict(answer)


def info_table(node: Target, told: dict[str, Any], width: int | None = None) -> str:
    """That for reading; in lines of `width` characters the services' errors are shortened. What ails a
    service that runs stands in the place of its last error.
    """
    with understood():
        own, health, room = told["info"], told["health"], told["space"]
        quota, used, reserved = (int(room[f"quota{name}Bytes"]) for name in ("Max", "Used", "Reserved"))
        version = own["codex"]
        rows = [
            ["peer id", own["id"]],
            ["version", f"{version['version']}, revision {version['revision']}"],
            ["API", node.url],
            ["data", own["repo"]],
            *_each("listens on", own["addrs"]),
            *_each("announces", own["announceAddresses"]),
            ["discovery", _discovery(own["table"])],
            *([["peers", _connected(told["peers"])]] if told["peers"] is not None else []),
            ["space", f"{human_size(used)} of {human_size(quota)} used, {human_size(reserved)} reserved"],
            ["blocks", str(int(room["totalBlocks"]))],
        ]
        rows = [[str(word) for word in row] for row in rows]
        if health is not None:
            rows.append(["health", str(health["state"])])
        lines = table([Column(), Column()], [[printable(word) for word in row] for row in rows])
        if health is None:
            return lines
        return lines + "\n\n" + _services_table(health["services"], width)


def _discovery(known: dict[str, Any]) -> str:
    """Where discovery is reached, and how many nodes it knows."""
    nodes, seen = len(known["nodes"]), sum(bool(one["seen"]) for one in known["nodes"])
    address = known["localNode"]["address"]
    if address is None:
        return "-"
    return f"UDP {address}, knows {nodes} node{'' if nodes == 1 else 's'}, of which {seen} answer"


def _connected(told: dict[str, Any]) -> str:
    """How many peers there are, and the bounds on the traffic with them."""
    bounds = _bounds(told)
    return f"{len(told['peers'])} connected{f'; {bounds}' if bounds else ''}"


def _bounds(told: dict[str, Any]) -> str:
    """The bounds on the traffic with peers in words; empty where there are none."""
    limits = told.get("limits") or {}
    rates = {name: int(limits.get(name) or 0) for name in ("upload", "download")}
    words = [f"{human_size(rate)}/s {name}" for name, rate in rates.items() if rate]
    return f"at most {' and '.join(words)}" if words else ""


def _each(name: str, values: list[Any]) -> list[list[Any]]:
    """A row for each value, the name at the first."""
    return [[name if place == 0 else "", value] for place, value in enumerate(values or ["-"])]


def _services_table(services: list[dict[str, Any]], width: int | None) -> str:
    rows = [
        [
            str(service["name"]),
            str(service["state"]),
            moment(float(service["since"])),
            str(service["restarts"]),
            str((service.get("condition") or {}).get("message") or service["lastError"] or "-"),
        ]
        for service in services
    ]
    columns = [
        Column("SERVICE"),
        Column("STATE"),
        Column("SINCE"),
        Column("RESTARTS", right=True),
        Column("LAST ERROR", least=10),
    ]
    return table(columns, [[printable(word) for word in row] for row in rows], width)


def peers(node: Target) -> dict[str, Any]:
    """The nodes that it is connected to, as its API gives them. Raises Failed, NoNode."""
    return ask_json(node, "GET", "/peers", "the list of peers")


def peers_table(told: dict[str, Any], width: int | None = None) -> str:
    """Them for reading, a line for each; empty when there is none. On a narrow terminal what tells least is
    left out.
    """
    with understood():
        rows = [
            [
                str(peer["peerId"]),
                f"{'to' if peer['dialled'] else 'from'} {peer['address']}",
                str(peer["agent"]) or "-",
                human_size(int(peer["bytesIn"])),
                human_size(int(peer["bytesOut"])),
                "-" if peer["latency"] is None else f"{float(peer['latency']) * 1000:.1f} ms",
                _open(int(peer["wants"]), int(peer["wanted"])),
            ]
            for peer in told["peers"]
        ]
    columns = [
        Column("PEER", least=16),
        Column("CONNECTION", least=16),
        Column("AGENT", least=0),
        Column("RECEIVED", right=True),
        Column("SENT", right=True),
        Column("LATENCY", right=True),
        Column("BLOCKS OPEN", least=0),
    ]
    with understood():
        bounds = _bounds(told)
    if not rows:
        return ""
    lines = table(columns, [[printable(word) for word in row] for row in rows], width)
    return f"{lines}\n{bounds[0].upper()}{bounds[1:]}, of all together." if bounds else lines


def _open(wants: int, wanted: int) -> str:
    """How many blocks are still to come, each way."""
    words = [f"{count} {way}" for count, way in ((wanted, "from it"), (wants, "to it")) if count]
    return ", ".join(words) or "-"


def connect(node: Target, peer: str, addresses: tuple[str, ...]) -> str:
    """Have the node connect to `peer` at one of `addresses`; without any it looks the peer up. A `peer` may
    also be an address that ends in /p2p/ID. Its peer id. Raises Failed, NoNode.
    """
    address, _, named = peer.rpartition("/p2p/")
    if address:
        peer, addresses = named, (address, *addresses)
    query = f"?{urlencode([('addrs', address) for address in addresses])}" if addresses else ""
    with ask(node, "GET", f"/connect/{quote(peer, safe='')}{query}") as reply:
        read_text(reply, peer, remedies=_CONNECT_REMEDIES)
    return peer
