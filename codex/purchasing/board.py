"""What purchasing says of its own accord; made beside the service, and outliving each life of it."""

from attrs import frozen

from codex.purchasing.record import Purchase
from codex.runtime import Broadcast


@frozen
class PurchaseChanged:
    """A purchase has come to another state, or its money has come back."""

    purchase: Purchase


class PurchasingBoard:
    """News of purchases. Whoever has missed some asks for the present state."""

    def __init__(self) -> None:
        self.events: Broadcast[PurchaseChanged] = Broadcast()
