"""Everything that purchasing can be asked. What each call does and raises stands at the handle's method of
its name.
"""

from attrs import frozen

from codex.market import RequestId, StorageRequest
from codex.purchasing.record import Purchase
from codex.runtime import Call


@frozen
class CheckRequest(Call[None]):
    request: StorageRequest


@frozen
class Buy(Call[Purchase]):
    request: StorageRequest


@frozen
class GetPurchase(Call[Purchase | None]):
    id: RequestId


@frozen
class ListPurchases(Call[list[Purchase]]):
    limit: int


@frozen
class ListIds(Call[list[RequestId]]):
    pass
