"""What the marketplace contract tells of: one value for each kind of event."""

from attrs import frozen

from codex.market.ids import RequestId, SlotId
from codex.market.request import StorageAsk


@frozen
class StorageRequested:
    """Somebody asks for storage. `expiry` is a moment here, and not counted from the request on."""

    request: RequestId
    ask: StorageAsk
    expiry: int


@frozen
class RequestFulfilled:
    """All slots of a request are filled: it has started."""

    request: RequestId


@frozen
class RequestFailed:
    """A request has lost more slots than it may."""

    request: RequestId


@frozen
class RequestCancelled:
    """The client of a request that was not filled in time has taken its tokens back. A request is cancelled
    from its expiry on, though, whether or not this is ever told.
    """

    request: RequestId


@frozen
class SlotFilled:
    request: RequestId
    index: int


@frozen
class SlotFreed:
    """A slot was taken from its host, or given up by it, and may be filled again."""

    request: RequestId
    index: int


@frozen
class SlotReservationsFull:
    """No further host may reserve a slot."""

    request: RequestId
    index: int


@frozen
class ProofSubmitted:
    slot: SlotId


MarketEvent = (
    StorageRequested
    | RequestFulfilled
    | RequestFailed
    | RequestCancelled
    | SlotFilled
    | SlotFreed
    | SlotReservationsFull
    | ProofSubmitted
)
