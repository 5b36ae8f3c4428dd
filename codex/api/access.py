"""Who may call: the bearer token that guards every call, when the node was given one.

Pure. Calls over HTTP bear it in their Authorization header; a WebSocket may also name it in its query, since
pages cannot set headers there. How a node is, and whether it is ready, is told to anybody.
"""

import hmac
from collections.abc import Sequence
from hashlib import sha256

from attrs import field, frozen

from codex.api.cors import PREFIX
from codex.api.problems import Refusal

OPEN_PATHS = frozenset({PREFIX + "/health", PREFIX + "/ready"})
CHALLENGE = ("WWW-Authenticate", 'Bearer realm="codex"')

UNAUTHORIZED = Refusal(
    401,
    "A valid token is required",
    code="unauthorized",
    remedy="send the header Authorization: Bearer TOKEN, with the token of the file that the node was "
    "given by --api-token-file",
    headers=(CHALLENGE,),
)


def _digest(token: str | None) -> bytes | None:
    return None if token is None else sha256(token.encode("utf-8", "surrogateescape")).digest()


@frozen
class Access:
    """The rule for one token; None lets everybody in. Only the token's hash is kept."""

    _token: bytes | None = field(default=None, converter=_digest, repr=False)

    @property
    def guarded(self) -> bool:
        """Whether a token is asked for at all."""
        return self._token is not None

    def refuses(self, method: str, path: str, authorization: Sequence[str]) -> Refusal | None:
        """What is said to a call with these Authorization headers, or None when it may go on."""
        if self._token is None or method == "OPTIONS" or path in OPEN_PATHS:
            return None
        return None if self._admits(_borne(authorization)) else UNAUTHORIZED

    def refuses_socket(self, authorization: Sequence[str], tokens: Sequence[str]) -> Refusal | None:
        """What is said to a WebSocket with these Authorization headers and these `token`s in its query."""
        if self._token is None:
            return None
        offered = _borne(authorization) if authorization else tokens[0] if len(tokens) == 1 else None
        return None if self._admits(offered) else UNAUTHORIZED

    def _admits(self, offered: str | None) -> bool:
        # Hashes are compared, so that the time taken tells nothing, not even of the token's length.
        return (
            self._token is not None
            and offered is not None
            and hmac.compare_digest(_digest(offered) or b"", self._token)
        )


def _borne(authorization: Sequence[str]) -> str | None:
    """The token that the only Authorization header bears."""
    if len(authorization) != 1:
        return None
    scheme, _, token = authorization[0].strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
