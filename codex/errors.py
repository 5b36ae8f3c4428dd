"""Every error that a caller of Codex may meet: one small tree, a sentence under each.

A `CodexError` is an *answer*: it crosses mailboxes, is raised at the caller, and becomes `{code, message,
remedy}` at the edges (REST, WebSocket, jobs, command line). Anything else that is raised inside a service is
a bug, and stops that service.

`code` is stable and machine-readable, `message` says what is wrong, `remedy` says what to do about it.
`fault` tells whose doing it is: the caller's ("caller"), this machine's ("local") or a peer's ("remote").
"""

from typing import ClassVar, Literal

from attrs import frozen

Fault = Literal["caller", "local", "remote"]


@frozen
class Problem:
    """An error as a value, for the edges. All three are text; `remedy` may be empty."""

    code: str
    message: str
    remedy: str = ""


class CodexError(Exception):
    """The root: something the caller is told, with a stable code and a remedy."""

    code: ClassVar[str] = "error"
    fault: ClassVar[Fault] = "local"

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.remedy))

    def as_problem(self) -> Problem:
        """This error as the object that edges show."""
        return Problem(self.code, self.message, self.remedy)


def _rebuild(kind: type[CodexError], message: str, remedy: str) -> CodexError:
    return kind(message, remedy=remedy)


class InvalidInput(CodexError):
    """What the caller gave cannot be meant: wrong form, out of range, contradictory."""

    code = "invalid-input"
    fault: ClassVar[Fault] = "caller"


class EmptyDataset(InvalidInput):
    """There is no byte to store, and a dataset has at least one."""

    code = "empty-dataset"


class DecodeError(InvalidInput):
    """Bytes or text that are not what they should be; the one family that every decoder raises."""

    code = "decode"
    fault: ClassVar[Fault] = "remote"


class ConfigError(InvalidInput):
    """An option, an environment variable or a line of the configuration file cannot be used."""

    code = "config"


class NotFound(CodexError):
    """What was asked for is not here, and where it was looked for is said."""

    code = "not-found"
    fault: ClassVar[Fault] = "caller"


class BlockNotFound(NotFound):
    """No such block, or no such leaf of a dataset, on this node."""

    code = "block-not-found"


class NotAManifest(NotFound):
    """The CID names something that is here but does not describe a dataset."""

    code = "not-a-manifest"


class NotADataset(NotFound):
    """A manifest and the blocks of its tree do not go together, whoever has them."""

    code = "not-a-dataset"
    fault: ClassVar[Fault] = "remote"

    @classmethod
    def of_size(cls, tree: object, index: int, size: int, expected: int) -> "NotADataset":
        """The block at `index` of a tree has `size` bytes, and not those that the manifest says."""
        return cls(
            f"block {index} of the dataset {tree} has {size} bytes, and {expected} by its manifest",
            remedy="ask whoever made the manifest for another one: this one describes no dataset",
        )


class BlockInUse(CodexError):
    """The block belongs to a dataset and cannot be deleted by itself."""

    code = "block-in-use"
    fault: ClassVar[Fault] = "caller"


class CorruptData(CodexError):
    """Bytes on this disk no longer have the hash they were stored under."""

    code = "corrupt-data"


class IndexDamaged(CorruptData):
    """The index of the block store does not make sense: nothing can be relied on until it is put back."""

    code = "index-damaged"


class WrongVersion(CodexError):
    """Data on this disk were written in a format that this version does not know."""

    code = "wrong-version"


class QuotaExceeded(CodexError):
    """The node's own storage quota has no room for this."""

    code = "quota-exceeded"


class DiskFull(CodexError):
    """The file system under the data directory has no space left."""

    code = "disk-full"


class DiskFailed(CodexError):
    """The disk refused to read, write or flush."""

    code = "disk-failed"


class DataDirLocked(CodexError):
    """Another node is running on this data directory."""

    code = "data-dir-locked"


class PortTaken(CodexError):
    """An address that the node was told to listen on is in use."""

    code = "port-taken"


class NotEnabled(CodexError):
    """This node was started without the part that could do this."""

    code = "not-enabled"


class ServiceUnavailable(CodexError):
    """A part of the node crashed or is stopping; the call was not done, and may be tried again."""

    code = "service-unavailable"


class UploadCut(CodexError):
    """The sender ended before the whole body had arrived; nothing was stored."""

    code = "upload-cut"
    fault: ClassVar[Fault] = "remote"


class GaveUp(CodexError):
    """A part of the node crashed more often than it may, and the node does not go on without it."""

    code = "gave-up"


class JobCancelled(CodexError):
    """The job that this work was for has been cancelled; what it had begun was undone."""

    code = "job-cancelled"
    fault: ClassVar[Fault] = "caller"


class TooManyJobs(ServiceUnavailable):
    """As many jobs run as may; this one was not begun."""

    code = "too-many-jobs"


class PeerUnreachable(NotFound):
    """No connection to a peer came about; each address that was tried is named, with what happened there."""

    code = "peer-unreachable"
    fault: ClassVar[Fault] = "remote"


class PeerGone(CodexError):
    """The connection to a peer, or the stream on it, ended before the work on it was done."""

    code = "peer-gone"
    fault: ClassVar[Fault] = "remote"


class HandshakeFailed(CodexError):
    """A connection was not made safe: the other side is somebody else, or does not speak as the network
    does.
    """

    code = "handshake-failed"
    fault: ClassVar[Fault] = "remote"


class ProtocolRefused(CodexError):
    """The peer speaks none of the protocols it was asked for, or takes no more streams."""

    code = "protocol-refused"
    fault: ClassVar[Fault] = "remote"


class NotOnNetwork(BlockNotFound):
    """The network does not give it; the peers that were found, reached and asked are told, and what they
    did.
    """

    code = "not-on-network"
    fault: ClassVar[Fault] = "remote"


class AvailabilityNotFound(NotFound):
    """No storage of that name is for sale here."""

    code = "availability-not-found"


class ChainUnreachable(ServiceUnavailable):
    """No provider of the chain answers; since when, and what each said, is told."""

    code = "chain-unreachable"
    fault: ClassVar[Fault] = "remote"


class ChainFailed(CodexError):
    """A provider of the chain answered, and with an error that has nothing to do with a contract."""

    code = "chain-failed"
    fault: ClassVar[Fault] = "remote"


class ChainRefused(CodexError):
    """A contract refused a call or a transaction; `reason` is its own name for why, where it gave one."""

    code = "chain-refused"
    fault: ClassVar[Fault] = "caller"

    def __init__(self, message: str, *, remedy: str = "", reason: str = "") -> None:
        super().__init__(message, remedy=remedy)
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.remedy), {"reason": self.reason})


class UnknownRequest(ChainRefused):
    """The marketplace has no storage request of that name."""

    code = "unknown-request"


class SlotStateMismatch(ChainRefused):
    """A slot is not in the state that this needs: somebody else was first, or it is free."""

    code = "slot-state-mismatch"


class SlotReservationNotAllowed(ChainRefused):
    """A slot is reserved by as many hosts as may, or by this one already."""

    code = "slot-reservation-not-allowed"


class ProofInvalid(ChainRefused):
    """The marketplace does not accept a proof: it is wrong, or made for another challenge."""

    code = "proof-invalid"


class InsufficientFunds(CodexError):
    """An account has less than a transaction takes, in tokens or in what the chain itself is paid with."""

    code = "insufficient-funds"
    fault: ClassVar[Fault] = "caller"


class TransactionUnsettled(CodexError):
    """A transaction was sent, and is neither done nor refused; it may be done still."""

    code = "transaction-unsettled"
    fault: ClassVar[Fault] = "remote"
