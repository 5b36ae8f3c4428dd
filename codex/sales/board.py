"""What the sales say of their own accord; made beside the service, and outliving each life of it."""

from codex.runtime import Broadcast
from codex.sales.bench import SaleEvent


class SalesBoard:
    """News of sales. Whoever has missed some asks for the present state."""

    def __init__(self) -> None:
        self.events: Broadcast[SaleEvent] = Broadcast()
