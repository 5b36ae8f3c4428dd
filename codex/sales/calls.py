"""Everything that the sales can be asked. What each call does and raises stands at the handle's method of its
name.
"""

from attrs import frozen

from codex.market import Slot, SlotId
from codex.runtime import Call
from codex.sales.deciding import Decision
from codex.sales.history import Held
from codex.sales.views import SaleView
from codex.store import Availability, SlotReservation


@frozen
class ListAvailabilities(Call[list[Availability]]):
    pass


@frozen
class AddAvailability(Call[Availability]):
    total: int
    duration: int
    price: int
    collateral: int
    enabled: bool
    until: int


@frozen
class ChangeAvailability(Call[Availability]):
    id: bytes
    total: int | None
    duration: int | None
    price: int | None
    collateral: int | None
    enabled: bool | None
    until: int | None


@frozen
class DeleteAvailability(Call[None]):
    id: bytes


@frozen
class ListReservations(Call[list[SlotReservation]]):
    availability: bytes


@frozen
class ListSlots(Call[list[Slot]]):
    pass


@frozen
class ListSales(Call[list[SaleView]]):
    pass


@frozen
class GetSale(Call[SaleView | None]):
    slot: SlotId


@frozen
class ListDecisions(Call[list[Decision]]):
    slot: SlotId | None
    limit: int


@frozen
class ListHeld(Call[list[Held]]):
    limit: int
