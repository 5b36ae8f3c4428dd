"""The marketplace's calls on a node that runs without one: each says so before it looks at its input."""

from codex.api.problems import Refusal
from codex.api.routes import Route

NOT_ENABLED = Refusal(
    503,
    "Persistence is not enabled",
    code="not-enabled",
    remedy="store and retrieve without it: the marketplace is not part of this version",
)

_CALLS = (
    ("GET", "/sales/slots"),
    ("GET", "/sales/slots/<_id>"),
    ("GET", "/sales/availability"),
    ("POST", "/sales/availability"),
    ("PATCH", "/sales/availability/<_id>"),
    ("GET", "/sales/availability/<_id>/reservations"),
    ("POST", "/storage/request/<_id>"),
    ("GET", "/storage/purchases"),
    ("GET", "/storage/purchases/<_id>"),
)


def routes() -> list[Route]:
    """The rows of this page."""

    async def not_enabled(**_: str) -> Refusal:
        return NOT_ENABLED

    return [Route(method, path, not_enabled) for method, path in _CALLS]
