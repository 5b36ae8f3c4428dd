"""The JSON calls of the REST API, as a quart-trio application under /api/codex/v1.

Every path, status and text of the reference node is kept; what goes beyond it has paths of its own. What
Quart would do by itself and the reference does not (HTML error pages, 405, automatic OPTIONS, limits on time)
is switched off here.
"""

from collections.abc import Awaitable, Callable, Collection
from functools import wraps
from http import HTTPStatus

from quart import Request, Response, Websocket, has_websocket_context, request, websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing.exceptions import WebsocketMismatch

from codex.api import bulk, data, debug, jobs, market
from codex.api.accept import wants_problem
from codex.api.access import Access
from codex.api.cors import PREFIX, Cors
from codex.api.problems import TWO_ORIGINS, Refusal, body, refusal
from codex.api.routes import Reply, Route, View
from codex.api.rpc import FULL, Sockets
from codex.errors import CodexError
from codex.logs import get_logger
from codex.node import Node

MAX_JSON = 1 << 20  # bytes of a request's body on the JSON calls; the largest sensible one has some hundred
BODY_TIMEOUT = 60.0  # seconds for the whole of it to come, once the head has

log = get_logger("api")


_ONLY_SOCKETS = Refusal(
    426,
    "This is a WebSocket",
    code="upgrade-required",
    remedy="open it with an upgrade to a WebSocket",
    headers=(("Upgrade", "websocket"), ("Connection", "Upgrade")),
)
_TOO_LARGE = Refusal(
    413, f"The body of a call has at most {MAX_JSON} bytes", code="too-large", remedy="send less"
)


def make_app(node: Node, cors: Cors, access: Access, sockets: Sockets) -> QuartTrio:
    """The application that serves every call but the bulk routes, and the WebSockets."""
    app = QuartTrio(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_JSON, BODY_TIMEOUT=BODY_TIMEOUT, RESPONSE_TIMEOUT=None)
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False
    routes = rows(node)
    for route in routes:
        app.add_url_rule(
            PREFIX + route.path,
            endpoint=_endpoint(route),
            view_func=_answering(route.view),
            methods=[route.method],
            provide_automatic_options=False,
        )
    app.add_websocket(PREFIX + "/ws", view_func=_serving(sockets))
    _answer_errors(app)
    _let_in(app, cors, access, {_endpoint(route) for route in routes if route.own_pages})
    return app


def rows(node: Node) -> list[Route]:
    """Every JSON call, on `node`."""
    return [*data.routes(node), *jobs.routes(node), *debug.routes(node), *market.routes(node)]


def _endpoint(route: Route) -> str:
    return f"{route.method} {route.path}"


def as_reply(said: Refusal) -> Reply:
    """A refusal as Quart takes it, in the form that the present request asks for."""
    made = body(said, _present().headers.getlist("Accept"))
    return made.data.decode("utf-8"), said.status, dict(made.headers)


def _present() -> Request | Websocket:
    """What is being answered. Errors are handled the same for calls and for WebSockets."""
    return websocket if has_websocket_context() else request


def _answering(view: View) -> Callable[..., Awaitable[Reply]]:
    @wraps(view)
    async def answer(**parts: str) -> Reply:
        said = await view(**parts)
        return as_reply(said) if isinstance(said, Refusal) else said

    return answer


def _serving(sockets: Sockets) -> Callable[[], Awaitable[Reply | None]]:
    async def serve() -> Reply | None:
        if sockets.full:
            return as_reply(FULL)
        await sockets.serve(websocket)
        return None

    return serve


def _answer_errors(app: QuartTrio) -> None:
    @app.errorhandler(HTTPException)
    async def not_routed(error: HTTPException) -> Reply:
        if isinstance(error, WebsocketMismatch):
            return as_reply(_no_such_call(()) if has_websocket_context() else _ONLY_SOCKETS)
        if error.code == 413:
            return as_reply(_TOO_LARGE)
        if error.code not in (404, 405, 308):
            status = HTTPStatus(error.code or 500)
            return as_reply(Refusal(status, status.phrase))
        methods = {*bulk.methods(_present().path)}
        if isinstance(error, MethodNotAllowed):
            methods.update(error.valid_methods or ())
        return as_reply(_no_such_call(methods - {"OPTIONS"}))

    @app.errorhandler(CodexError)
    async def refused(error: CodexError) -> Reply:
        return as_reply(refusal(error))

    @app.errorhandler(Exception)
    async def failed(error: Exception) -> Reply:
        log.exception("a call failed", path=_present().path)
        return as_reply(Refusal(500, "", code="internal", remedy="the node's log tells more"))


def _no_such_call(methods: Collection[str]) -> Refusal:
    # The reference knows no 405: a wrong method is a path that does not exist. Who asks for problem details
    # is no client of the reference's, and is told more.
    if methods and wants_problem(_present().headers.getlist("Accept")):
        allowed = ", ".join(sorted(methods))
        return Refusal(
            405, "", "wrong-method", f"use {allowed}", "no call has this method", (("Allow", allowed),)
        )
    return Refusal(
        404, "", "no-such-call", f"{PREFIX}/openapi.yaml describes all there are", "no call has this path"
    )


def _let_in(app: QuartTrio, cors: Cors, access: Access, for_own_pages: Collection[str]) -> None:
    @app.before_request
    async def check() -> Reply | None:
        if request.method == "OPTIONS":
            answer = cors.preflight(request.path)
            if answer is None:
                return as_reply(_no_such_call(()))
            return "", answer.status, dict([*answer.headers, ("Content-Type", "text/plain")])
        headers = request.headers
        said = TWO_ORIGINS if cors.refuses(headers.getlist("Origin")) else None
        said = said or access.refuses(request.method, request.path, headers.getlist("Authorization"))
        if request.endpoint in for_own_pages:
            said = said or cors.refuses_page(headers.getlist("Origin"), headers.getlist("Host"))
        return None if said is None else as_reply(said)

    @app.before_websocket
    async def check_websocket() -> Reply | None:
        headers = websocket.headers
        said = cors.refuses_page(headers.getlist("Origin"), headers.getlist("Host")) or (
            access.refuses_socket(headers.getlist("Authorization"), websocket.args.getlist("token"))
        )
        return None if said is None else as_reply(said)

    @app.after_request
    async def mark(response: Response) -> Response:
        if request.method != "OPTIONS":
            method = request.method if response.status_code >= 400 else None
            for name, value in cors.reply(request.headers.getlist("Origin"), error_method=method):
                if name == "Vary":
                    response.vary.add(value)
                else:
                    response.headers[name] = value
        return response
