"""Which cross-origin headers a reply carries, and how a preflight is answered: the reference node's rules.

Pure. Without a configured origin no reply has such a header, and OPTIONS exists on three paths only.
"""

from collections.abc import Sequence

from attrs import frozen

PREFIX = "/api/codex/v1"
MAX_AGE = "86400"  # seconds a browser may remember a preflight

Headers = list[tuple[str, str]]


@frozen
class Preflight:
    """The answer to an OPTIONS request: a status without a body."""

    status: int
    headers: Headers


@frozen
class Cors:
    """The rules for one configured origin; None switches them off, "*" allows everybody."""

    origin: str | None

    def preflight(self, path: str) -> Preflight | None:
        """The reply to OPTIONS on `path` (below the API's prefix or not), or None where there is no such
        call."""
        methods = _preflight_methods(path)
        if self.origin is None:
            return None if methods is None else Preflight(204, [])
        if methods is None:
            return Preflight(200, []) if path.startswith(PREFIX + "/") else None
        headers = [("Access-Control-Allow-Origin", self.origin), ("Access-Control-Allow-Methods", methods)]
        if path == PREFIX + "/data":
            headers.append(("Access-Control-Allow-Headers", "content-type, content-disposition"))
        headers.append(("Access-Control-Max-Age", MAX_AGE))
        return Preflight(204, headers)

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

    def _matches(self, origin: str) -> bool:
        return self.origin == "*" or origin == self.origin


def _preflight_methods(path: str) -> str | None:
    if path == PREFIX + "/data":
        return "POST, OPTIONS"
    parts = path.removeprefix(PREFIX + "/").split("/")
    if len(parts) == 2 and parts[0] == "data":
        return "GET,DELETE, OPTIONS"
    if len(parts) == 3 and parts[:2] == ["sales", "availability"]:
        return "PATCH, OPTIONS"
    return None
