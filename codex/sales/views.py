"""How a sale looks from outside."""

from attrs import frozen

from codex.market import RequestId, SlotId, StorageRequest
from codex.sales.agent import Agent
from codex.sales.states import State
from codex.store import SlotReservation


@frozen
class SaleView:
    """A slot that an agent works on. `request` is None until it was read from the chain, `reservation` until
    something is set aside; `reason` says what went wrong last, and may be empty.
    """

    slot: SlotId
    request_id: RequestId
    index: int
    state: State
    request: StorageRequest | None
    reservation: SlotReservation | None
    reason: str

    @classmethod
    def of(cls, agent: Agent) -> "SaleView":
        """As it is now."""
        sale = agent.sale
        reason = sale.trouble or sale.reason
        return cls(
            sale.slot, sale.request_id, sale.index, agent.state, sale.request, sale.reservation, reason
        )
