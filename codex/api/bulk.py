"""The bulk routes: `POST /data` takes a dataset in, `GET /data/{cid}` and `/data/{cid}/network/stream` give
one out, or a part of it.

They run on the bare connection (see `wire`), so that a slow disk slows the sender and a slow reader slows the
disk, with nothing in between that could grow.
"""

from collections.abc import Sequence
from urllib.parse import unquote_plus

from codex.api import downloads
from codex.api.access import Access
from codex.api.cors import PREFIX, Cors
from codex.api.problems import TWO_ORIGINS, Refusal, body, refusal
from codex.api.ranges import Unsatisfiable
from codex.api.routes import parse_cid
from codex.api.uploads import filename, media_type, unfit_types
from codex.api.wire import Exchange
from codex.errors import CodexError, JobCancelled, UploadCut
from codex.logs import get_logger
from codex.node import Node

log = get_logger("api")

ROWS = (
    ("POST", "/data"),
    ("GET", "/data/<cid>"),
    ("HEAD", "/data/<cid>"),
    ("GET", "/data/<cid>/network/stream"),
    ("HEAD", "/data/<cid>/network/stream"),
)
"""The calls that are served here: methods, and paths in the notation of the JSON calls."""

_DATA = [*PREFIX.split("/"), "data"]

_NO_BODY = Refusal(
    500, "Request do not have body available", code="empty-dataset", remedy="send at least one byte"
)


def methods(target: str) -> Sequence[str]:
    """The methods by which a path, or the target of a request, is a bulk route; none for most."""
    parts = _parts(target)
    if parts == _DATA:
        return ("POST",)
    return ("GET", "HEAD") if _wanted(parts) is not None else ()


class BulkRoutes:
    """Serves the bulk routes of one node."""

    def __init__(self, node: Node, cors: Cors, access: Access) -> None:
        self._node = node
        self._cors = cors
        self._access = access

    @staticmethod
    def matches(method: str, target: str) -> bool:
        """Whether a request with this method and target is one of the bulk routes."""
        return method in methods(target)

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request that `matches`. Raises PeerGone."""
        parts = _parts(exchange.target)
        said = TWO_ORIGINS if self._cors.refuses(exchange.headers("origin")) else None
        said = said or self._access.refuses(
            exchange.method, "/".join(parts), exchange.headers("authorization")
        )
        if said is not None:
            await self._refuse(exchange, said)
        elif exchange.method == "POST":
            await self._upload(exchange)
        else:
            wanted = _wanted(parts)
            assert wanted is not None, "matches() has let this target through"
            await self._download(exchange, *wanted)

    async def _upload(self, exchange: Exchange) -> None:
        said = _refused(exchange)
        if said is not None:
            await self._refuse(exchange, said)
            return
        job: list[str] = []
        try:
            mimetype = media_type(exchange.header("content-type"))
            name = filename(exchange.header("content-disposition"))
            cid = await self._node.store(
                exchange, filename=name, mimetype=mimetype, size=exchange.length, on_begun=job.append
            )
        except (UploadCut, JobCancelled) as error:
            log.info("an upload was cut short", reason=error.message)
            await self._refuse(exchange, refusal(error))
        except CodexError as error:
            log.warning("an upload was refused", reason=error.message, remedy=error.remedy)
            await self._refuse(exchange, refusal(error))
        else:
            text = str(cid).encode("ascii")
            headers = [
                ("Content-Type", "text/plain"),
                *self._cors.reply(exchange.headers("origin")),
                ("X-Job-Id", job[0]),
            ]
            if self._cors.origin is not None:
                headers.append(("Access-Control-Expose-Headers", "X-Job-Id"))
            await exchange.reply(200, headers, text)

    async def _download(self, exchange: Exchange, text: str, local: bool) -> None:
        try:
            await downloads.give(self._node, exchange, parse_cid(text), local=local, cors=self._cors)
        except Unsatisfiable as error:
            await self._refuse(exchange, _unsatisfiable(error.total))
        except CodexError as error:
            if exchange.started:
                # The head is out: a short body on a closed connection is how HTTP says that it failed.
                tell = log.info if isinstance(error, JobCancelled) else log.error
                tell("a download broke off", cid=text, reason=error.message, remedy=error.remedy)
            else:
                await self._refuse(exchange, refusal(error))

    async def _refuse(self, exchange: Exchange, said: Refusal) -> None:
        method = None if exchange.method == "POST" else "GET"
        made = body(said, exchange.headers("accept"))
        own = made.headers if made.data else said.headers
        headers = [*own, *self._cors.reply(exchange.headers("origin"), error_method=method)]
        await exchange.reply(said.status, headers, made.data)


def _parts(target: str) -> list[str]:
    """The parts of a request's path, in whichever of its forms it came (RFC 9112, section 3.2)."""
    path = target.partition("?")[0]
    if not path.startswith("/"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    return [unquote_plus(part) for part in path.split("/")]


def _wanted(parts: Sequence[str]) -> tuple[str, bool] | None:
    """The CID's text and whether only local data counts, when a path is that of a download."""
    match parts[: len(_DATA)] == _DATA, parts[len(_DATA) :]:
        case True, [text]:
            return text, True
        case True, [text, "network", "stream"]:
            return text, False
    return None


def _refused(exchange: Exchange) -> Refusal | None:
    """What is said to an upload whose head tells already that it cannot be."""
    refused = unfit_types(exchange.headers("content-type"))
    if refused is not None:
        return refused
    coding = exchange.header("content-encoding") or "identity"
    if coding.lower() != "identity":
        # Stored as it comes it would be other content than the sender means.
        return Refusal(
            400,
            f"The content encoding '{coding}' is not supported.",
            code="content-encoding",
            remedy="send the content as it is",
        )
    return None if exchange.chunked or exchange.length else _NO_BODY


def _unsatisfiable(total: int) -> Refusal:
    return Refusal(
        416,
        f"The range lies outside of the dataset, which has {total} bytes.",
        code="range-not-satisfiable",
        remedy=f"ask for bytes below {total}",
        headers=(("Content-Range", f"bytes */{total}"),),
    )
