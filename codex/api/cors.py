"""Which pages may call: the cross-origin headers of a reply, the answer to a preflight, and the rule for what
browsers do across origins without asking: open WebSockets, and POST.

Pure. Without a configured origin no reply has such a header, and OPTIONS exists on three paths only. What is
said there is what the reference says; on all other paths it answers a preflight with nothing, which lets no
page in, and this node says what a page needs.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import frozen

from codex.api.problems import Refusal

PREFIX = "/api/codex/v1"
MAX_AGE = "86400"  # seconds a browser may remember a preflight

Headers = list[tuple[str, str]]

EXPOSED = "Content-Disposition, Content-Range, ETag, X-Job-Id"  # of a download, for pages to read
FOREIGN_PAGE = Refusal(
    403,
    "This page may not do that",
    code="foreign-page",
    remedy="start the node with --api-cors-origin and the page's origin",
)

_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_HEADERS = "authorization, content-type, if-none-match, if-range, range"


@frozen
class Preflight:
    """The answer to an OPTIONS request: a status without a body."""

    status: int
    headers: Headers


@frozen
class Cors:
    """The rules for one configured origin; None switches them off, "*" allows everybody.

    `guarded` says that calls bear a token: then pages must be allowed to send one.
    """

    origin: str | None
    guarded: bool = False

    def preflight(self, path: str) -> Preflight | None:
        """The reply to OPTIONS on `path`, or None where there is no such call."""
        methods = _preflight_methods(path)
        if self.origin is None:
            return None if methods is None else Preflight(204, [])
        if not path.startswith(PREFIX + "/"):
            return None
        headers = [
            ("Access-Control-Allow-Origin", self.origin),
            ("Access-Control-Allow-Methods", methods or _METHODS),
        ]
        if path == PREFIX + "/data":
            more = ", authorization" if self.guarded else ""
            headers.append(("Access-Control-Allow-Headers", "content-type, content-disposition" + more))
        elif methods is None or self.guarded:
            headers.append(("Access-Control-Allow-Headers", _HEADERS))
        headers.append(("Access-Control-Max-Age", MAX_AGE))
        return Preflight(200 if methods is None else 204, headers)

    def reply(self, origins: Sequence[str], *, error_method: str | None = None) -> Headers:
        """Headers for a normal reply to a request with these Origin headers.

        `error_method` is the request's method when the reply is an error (or a download): those always carry
        them.
        """
        if self.origin is None:
            return []
        headers: Headers = []
        if error_method is not None or (len(origins) == 1 and self._matches(origins[0])):
            headers.append(("Access-Control-Allow-Origin", self.origin))
            if self.origin != "*":
                headers.append(("Vary", "Origin"))
        if error_method is not None:
            headers.append(("Access-Control-Allow-Methods", f"{error_method}, OPTIONS"))
            headers.append(("Access-Control-Max-Age", MAX_AGE))
        return headers

    def refuses(self, origins: Sequence[str]) -> bool:
        """Whether the request is refused for carrying more than one Origin."""
        return self.origin is not None and len(origins) > 1

    def refuses_page(self, origins: Sequence[str], hosts: Sequence[str]) -> Refusal | None:
        """What is said to a call with these Origin and Host headers that pages must be asked about, or None
        when it may be made.

        Programs that are no browsers send no Origin. A page may when it is of the configured origin, or was
        itself served from where it connects to, by an IP address or as localhost: under any other name that
        could be a page whose name was made to lead here.
        """
        if not origins or (self.origin is not None and len(origins) == 1 and self._matches(origins[0])):
            return None
        return None if _is_own_page(origins, hosts) else FOREIGN_PAGE

    def _matches(self, origin: str) -> bool:
        return self.origin == "*" or origin == self.origin


def _is_own_page(origins: Sequence[str], hosts: Sequence[str]) -> bool:
    if len(origins) != 1 or len(hosts) != 1:
        return False
    try:
        page = urlsplit(origins[0])
        if page.scheme not in ("http", "https") or page.netloc.lower() != hosts[0].strip().lower():
            return False
        if page.hostname != "localhost":
            ip_address(page.hostname or "")
    except ValueError:
        return False
    return True


def _preflight_methods(path: str) -> str | None:
    if path == PREFIX + "/data":
        return "POST, OPTIONS"
    parts = path.removeprefix(PREFIX + "/").split("/")
    if len(parts) == 2 and parts[0] == "data":
        return "GET,DELETE, OPTIONS"
    if len(parts) == 3 and parts[:2] == ["sales", "availability"]:
        return "PATCH, OPTIONS"
    return None
