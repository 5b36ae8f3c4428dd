"""The calls about the node itself: who it is, whom it knows, how it is, how much it logs."""

from functools import cache
from importlib import resources

from quart import request

from codex import logs
from codex.api.objects import health_json, info_json, peers_json, ready_json, record_json, serves
from codex.api.problems import Refusal
from codex.api.routes import Reply, Route, as_json, as_text, nothing
from codex.errors import CodexError, DecodeError, InvalidInput, NotEnabled, NotFound, PeerUnreachable
from codex.node import Node
from codex.p2p import PeerId
from codex.runtime.lifecycle import State

_NO_PEER_ID = Refusal(400, "peerid: incorrect PeerId string", code="incorrect-peer-id")
_NO_LEVEL = Refusal(400, "Missing log level", code="missing-level", remedy="add ?level=debug, say")
_LEVELS = Refusal(
    500, "Please specify one of: trace, debug, info, notice, warn, error or fatal", code="incorrect-level"
)


@cache
def description() -> str:
    """The description of this API: an OpenAPI document in YAML."""
    return resources.files(__package__).joinpath("openapi.yaml").read_text("utf-8")


def _wants_text() -> bool:
    """Whether the highest-weighted type that the caller accepts is plain text."""
    accepted = request.accept_mimetypes
    best = max(accepted, key=lambda pair: pair[1], default=("*/*", 1.0))
    return str(best[0]).partition(";")[0].strip().lower() == "text/plain"


def _refused(status: int, text: str, error: CodexError) -> Refusal:
    """The reference's text; what was tried is for whoever asks for problem details."""
    return Refusal(status, text, error.code, error.remedy, detail=error.message)


def routes(node: Node) -> list[Route]:
    """The rows of this page, on `node`."""

    async def spr() -> Reply:
        text = node.info().spr
        return as_text(text) if _wants_text() else as_json({"spr": text})

    async def peer_id() -> Reply:
        text = str(node.info().peer_id)
        return as_text(text) if _wants_text() else as_json({"id": text})

    async def connect(peer: str) -> Reply | Refusal:
        try:
            parsed = PeerId.parse(peer)
        except DecodeError:
            return _NO_PEER_ID
        try:
            await node.connect(parsed, request.args.getlist("addrs"))
        except (PeerUnreachable, NotEnabled, InvalidInput) as error:
            return _refused(400, "Unable to dial peer", error)
        except NotFound as error:
            return _refused(400, "Unable to find Peer!", error)
        except CodexError as error:
            return _refused(500, "Unknown error dialling peer", error)
        return as_text("Successfully connected to peer")

    async def peer(peer: str) -> Reply | Refusal:
        try:
            parsed = PeerId.parse(peer)
        except DecodeError:
            return _NO_PEER_ID
        try:
            return as_json(record_json(await node.find_peer(parsed)))
        except (NotFound, NotEnabled) as error:
            return _refused(400, "Unable to find Peer!", error)

    async def peers() -> Reply:
        return as_json(peers_json(node.peers(), node.config.p2p))

    async def info() -> Reply:
        return as_json(info_json(node.info()), pretty=True)

    async def health() -> Reply:
        services = node.states()
        failed = any(
            service.state is State.FAILED or (service.state is State.RUNNING and not serves(service))
            for service in services
        )
        return as_json(health_json(services, node.info().version), 503 if failed else 200)

    async def ready() -> Reply:
        shown = ready_json(node.states())
        return as_json(shown, 200 if shown["ready"] else 503)

    async def log_level() -> Reply | Refusal:
        level = request.args.get("level")
        if level is None:
            return _NO_LEVEL
        try:
            logs.set_levels(level)
        except InvalidInput:
            return _LEVELS
        return nothing(200)

    async def openapi() -> Reply:
        return description(), 200, {"Content-Type": "application/yaml"}

    return [
        Route("GET", "/spr", spr),
        Route("GET", "/peerid", peer_id),
        Route("GET", "/node/peerid", peer_id),  # the published JavaScript client asks here
        Route("GET", "/connect/<peer>", connect),
        Route("GET", "/peers", peers),
        Route("GET", "/debug/info", info),
        Route("GET", "/debug/peer/<peer>", peer),
        Route("POST", "/debug/chronicles/loglevel", log_level),
        Route("GET", "/health", health),
        Route("GET", "/ready", ready),
        Route("GET", "/openapi.yaml", openapi),
    ]
