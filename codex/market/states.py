"""The states that requests and slots have on the chain, with the numbers that it gives them."""

from enum import IntEnum


class RequestState(IntEnum):
    """Where a storage request stands."""

    NEW = 0
    """Slots are being filled."""
    STARTED = 1
    """Every slot was filled before the expiry."""
    CANCELLED = 2
    """The expiry passed with slots still free."""
    FINISHED = 3
    """Stored for as long as was asked."""
    FAILED = 4
    """More slots were lost than may be."""

    @property
    def over(self) -> bool:
        """Whether nothing will be stored for it any more."""
        return self in (RequestState.CANCELLED, RequestState.FINISHED, RequestState.FAILED)


class SlotState(IntEnum):
    """Where a slot of a request stands."""

    FREE = 0
    FILLED = 1
    FINISHED = 2
    FAILED = 3
    """The request failed; its hosts get nothing, and their collateral is lost."""
    PAID = 4
    CANCELLED = 5
    REPAIR = 6
    """Filled once and lost by its host; whoever fills it again pays less collateral."""

    @property
    def fillable(self) -> bool:
        """Whether a host may reserve and fill it."""
        return self in (SlotState.FREE, SlotState.REPAIR)
