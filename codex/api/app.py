"""The JSON calls of the REST API, as a quart-trio application under /api/codex/v1.

Every path, status and text is the reference node's. What Quart would do by itself and the reference does not
(HTML error pages, 405, automatic OPTIONS, limits on time) is switched off here.
"""

from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from codex.api import data, debug, market
from codex.api.cors import PREFIX, Cors
from codex.api.problems import TEXT, Refusal, refusal
from codex.errors import CodexError
from codex.logs import get_logger
from codex.node import Node

MAX_JSON = 1 << 20  # bytes of a request's body on the JSON calls; the largest sensible one has some hundred

log = get_logger("api")

Reply = tuple[str, int, dict[str, str]]


def make_app(node: Node, cors: Cors) -> QuartTrio:
    """The application that serves every call but the bulk routes."""
    app = QuartTrio(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=MAX_JSON, BODY_TIMEOUT=60, RESPONSE_TIMEOUT=None)
    app.url_map.strict_slashes = True
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False
    for routes in (data.routes(node), debug.routes(node), market.routes()):
        for route in routes:
            app.add_url_rule(
                PREFIX + route.path,
                endpoint=f"{route.method} {route.path}",
                view_func=route.view,
                methods=[route.method],
                provide_automatic_options=False,
            )
    _answer_errors(app)
    _answer_cross_origin(app, cors)
    return app


def _answer_errors(app: QuartTrio) -> None:
    @app.errorhandler(HTTPException)
    async def not_routed(error: HTTPException) -> Reply:
        # The reference knows no 405: a wrong method is a path that does not exist.
        status = 404 if error.code in (404, 405, 308) else error.code or 500
        return "", status, {"Content-Type": TEXT}

    @app.errorhandler(CodexError)
    async def refused(error: CodexError) -> Reply:
        return as_reply(refusal(error))

    @app.errorhandler(Exception)
    async def failed(error: Exception) -> Reply:
        log.exception("a call failed", path=request.path)
        return "", 500, {"Content-Type": TEXT}


def _answer_cross_origin(app: QuartTrio, cors: Cors) -> None:
    @app.before_request
    async def check() -> Reply | None:
        if request.method == "OPTIONS":
            answer = cors.preflight(request.path)
            if answer is None:
                return "", 404, {"Content-Type": TEXT}
            return "", answer.status, dict(answer.headers)
        if cors.refuses(request.headers.getlist("Origin")):
            return as_reply(Refusal(400, "Only a single Origin header must be specified"))
        return None

    @app.after_request
    async def mark(response: Response) -> Response:
        if request.method != "OPTIONS":
            method = request.method if response.status_code >= 400 else None
            for name, value in cors.reply(request.headers.getlist("Origin"), error_method=method):
                response.headers[name] = value
        return response


def as_reply(said: Refusal) -> Reply:
    """A refusal as Quart takes it."""
    return said.text, said.status, {"Content-Type": TEXT}
