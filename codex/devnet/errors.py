"""What the embedded chain refuses, as numbers and words that clients of a chain know."""

from codex.errors import InvalidInput, NotEnabled

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
REFUSED = -32000
"""The chain's own: a transaction that it does not take, a block that it does not have."""
LIMIT_EXCEEDED = -32005
REVERTED = 3


class Refused(Exception):
    """A request that the chain answers with an error: `code` and `message`, and `data` where there is some.

    `data` is what a contract said when it reverted; None where no contract had a say.
    """

    def __init__(self, code: int, message: str, data: bytes | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class NoEmbeddedChain(NotEnabled):
    """The libraries that the embedded chain is made of are not installed here."""

    code = "no-embedded-chain"


class WrongDump(InvalidInput):
    """A file that should hold a development chain, and does not."""

    code = "wrong-dump"
