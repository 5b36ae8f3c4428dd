"""The bulk routes: `POST /data` takes a dataset in, `GET /data/{cid}` and `/data/{cid}/network/stream` give
one out.

They run on the bare connection (see `wire`), so that a slow disk slows the sender and a slow reader slows the
disk, with nothing in between that could grow.
"""

from contextlib import AbstractAsyncContextManager
from urllib.parse import unquote_plus

from codex.api.cors import PREFIX, Cors
from codex.api.cors import Headers as HeaderList
from codex.api.problems import INCORRECT_CID, TEXT, Refusal, refusal
from codex.api.uploads import filename, media_type
from codex.api.wire import Exchange
from codex.codec import Cid
from codex.errors import CodexError, DecodeError, UploadCut
from codex.logs import get_logger
from codex.node import Node, Retrieval

log = get_logger("api")

_DATA = PREFIX + "/data"


class BulkRoutes:
    """Serves the bulk routes of one node."""

    def __init__(self, node: Node, cors: Cors) -> None:
        self._node = node
        self._cors = cors

    @staticmethod
    def matches(method: str, target: str) -> bool:
        """Whether a request with this method and target is one of the bulk routes."""
        path = target.partition("?")[0]
        if method == "POST":
            return path == _DATA
        return method in ("GET", "HEAD") and _download(path) is not None

    async def serve(self, exchange: Exchange) -> None:
        """Serve one request that `matches`. Raises PeerGone."""
        path = exchange.target.partition("?")[0]
        if self._cors.refuses(exchange.headers("origin")):
            await self._refuse(exchange, Refusal(400, "Only a single Origin header must be specified"))
        elif exchange.method == "POST":
            await self._upload(exchange)
        else:
            found = _download(path)
            assert found is not None, "matches() has let this target through"
            await self._download(exchange, *found)

    async def _upload(self, exchange: Exchange) -> None:
        if len(exchange.headers("content-type")) > 1:
            await self._refuse(exchange, Refusal(400, "Only a single Content-Type header must be specified"))
            return
        if exchange.header("content-type") == "":
            await self._refuse(exchange, Refusal(415, ""))
            return
        coding = exchange.header("content-encoding") or "identity"
        if coding.lower() != "identity":
            # Stored as it comes it would be other content than the sender means.
            await self._refuse(exchange, Refusal(400, f"The content encoding '{coding}' is not supported."))
            return
        if not exchange.chunked and not exchange.length:
            await self._refuse(exchange, Refusal(500, "Request do not have body available"))
            return
        try:
            mimetype = media_type(exchange.header("content-type"))
            name = filename(exchange.header("content-disposition"))
            cid = await self._node.store(exchange, filename=name, mimetype=mimetype, size=exchange.length)
        except UploadCut as error:
            log.info("an upload was cut short", reason=error.message)
            await self._refuse(exchange, Refusal(400, error.message))
        except CodexError as error:
            log.warning("an upload was refused", reason=error.message, remedy=error.remedy)
            await self._refuse(exchange, refusal(error))
        else:
            body = str(cid).encode("ascii")
            headers = [("Content-Type", "text/plain"), *self._cors.reply(exchange.headers("origin"))]
            await exchange.reply(200, headers, body)

    async def _download(self, exchange: Exchange, text: str, local: bool) -> None:
        try:
            cid = Cid.parse(text)
        except DecodeError:
            await self._refuse(exchange, INCORRECT_CID)
            return
        try:
            async with self._open(cid, local) as retrieval:
                await self._send(exchange, retrieval, expose=not local)
        except CodexError as error:
            if exchange.started:
                # The head is out: a short body on a closed connection is how HTTP says that it failed.
                log.error("a download broke off", cid=str(cid), reason=error.message, remedy=error.remedy)
            else:
                await self._refuse(exchange, refusal(error))

    def _open(self, cid: Cid, local: bool) -> AbstractAsyncContextManager[Retrieval]:
        return self._node.retrieve(cid, local=local, manifest_only=True)

    async def _send(self, exchange: Exchange, retrieval: Retrieval, *, expose: bool) -> None:
        first = None if exchange.method == "HEAD" else await anext(retrieval, None)
        await exchange.respond(200, self._download_headers(exchange, retrieval, expose), retrieval.size)
        if first is None:
            return
        await exchange.send(first)
        async for piece in retrieval:
            await exchange.send(piece)

    def _download_headers(self, exchange: Exchange, retrieval: Retrieval, expose: bool) -> HeaderList:
        manifest = retrieval.manifest
        kind = (manifest and manifest.mimetype) or "application/octet-stream"
        name = manifest and manifest.filename
        headers = [
            ("Content-Type", kind),
            ("Content-Disposition", f'attachment; filename="{name}"' if name else "attachment"),
            *self._cors.reply(exchange.headers("origin"), error_method="GET"),
        ]
        if expose:
            headers.append(("Access-Control-Expose-Headers", "Content-Disposition"))
        return headers

    async def _refuse(self, exchange: Exchange, said: Refusal) -> None:
        origins = exchange.headers("origin")
        method = None if exchange.method == "POST" else "GET"
        headers = [*self._cors.reply(origins, error_method=method)]
        if said.text:
            headers.insert(0, ("Content-Type", TEXT))
        await exchange.reply(said.status, headers, said.text.encode("utf-8"))


def _download(path: str) -> tuple[str, bool] | None:
    """The CID's text and whether only local data counts, when `path` is a download."""
    if not path.startswith(_DATA + "/"):
        return None
    parts = [unquote_plus(part) for part in path.removeprefix(_DATA + "/").split("/")]
    if len(parts) == 1:
        return parts[0], True
    if parts[1:] == ["network", "stream"]:
        return parts[0], False
    return None
