"""The calls about the node itself: who it is, where it listens, how much it logs."""

from quart import request

from codex import logs
from codex.api.routes import Reply, Route, as_json, as_text, nothing
from codex.errors import DecodeError, InvalidInput, NotEnabled
from codex.node import Node, NodeInfo
from codex.p2p import PeerId

_LEVELS = "Please specify one of: trace, debug, info, notice, warn, error or fatal"


def info_json(info: NodeInfo) -> dict[str, object]:
    """DebugInfo as the reference shows it."""
    return {
        "id": str(info.peer_id),
        "addrs": list(info.addresses),
        "repo": str(info.repo),
        "spr": info.spr,
        "announceAddresses": list(info.announced),
        "table": {
            "localNode": {
                "nodeId": info.node_id.hex(),
                "peerId": str(info.peer_id),
                "record": info.spr,
                "address": info.discovery_address,
                "seen": False,
            },
            "nodes": [],
        },
        "codex": {"version": info.version, "revision": info.revision, "contracts": info.contracts},
    }


def _wants_text() -> bool:
    """Whether the highest-weighted type that the caller accepts is plain text."""
    accepted = request.accept_mimetypes
    best = max(accepted, key=lambda pair: pair[1], default=("*/*", 1.0))
    return str(best[0]).lower() == "text/plain"


def routes(node: Node) -> list[Route]:
    """The rows of this page, on `node`."""

    async def spr() -> Reply:
        text = node.info().spr
        return as_text(text) if _wants_text() else as_json({"spr": text})

    async def peer_id() -> Reply:
        text = str(node.info().peer_id)
        return as_text(text) if _wants_text() else as_json({"id": text})

    async def connect(peer: str) -> Reply:
        try:
            parsed = PeerId.parse(peer)
        except DecodeError:
            return as_text("peerid: incorrect PeerId string", 400)
        try:
            await node.connect(parsed, request.args.getlist("addrs"))
        except NotEnabled as error:
            return as_text(f"Unable to dial peer: {error.message}", 400)
        return as_text("Successfully connected to peer")

    async def info() -> Reply:
        return as_json(info_json(node.info()), pretty=True)

    async def log_level() -> Reply:
        level = request.args.get("level")
        if level is None:
            return as_text("Missing log level", 400)
        try:
            logs.set_levels(level)
        except InvalidInput:
            return as_text(_LEVELS, 500)
        return nothing(200)

    return [
        Route("GET", "/spr", spr),
        Route("GET", "/peerid", peer_id),
        Route("GET", "/node/peerid", peer_id),  # the published JavaScript client asks here
        Route("GET", "/connect/<peer>", connect),
        Route("GET", "/debug/info", info),
        Route("POST", "/debug/chronicles/loglevel", log_level),
    ]
