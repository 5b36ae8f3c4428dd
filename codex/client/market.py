"""The marketplace's methods of the client. Their results are JSON objects as `protocol.md` has them: ids are
texts, amounts decimal texts.
"""

from abc import ABC, abstractmethod
from typing import Any

from codex.client.values import Job, value
from codex.codec import Cid

Object = dict[str, Any]


class MarketCalls(ABC):
    """What a client is asked for about the marketplace. On a node without one everything raises NotEnabled.

    Terms and changes are named as `protocol.md` names them; amounts may be whole numbers here.
    """

    @abstractmethod
    async def call(self, method: str, **params: Any) -> Any:
        """Call a method of the node."""

    async def request_storage(self, cid: Cid | str, **terms: int | str) -> Job:
        """Buy storage for a dataset in the background; the job, whose result has the `purchaseId`."""
        return value(Job, await self.call("requestStorage", cid=str(cid), **_texts(terms)))

    async def purchases(self, *, limit: int = 100) -> list[Object]:
        """The purchases, the newest first."""
        return list((await self.call("purchases", limit=limit))["purchases"])

    async def availabilities(self) -> list[Object]:
        """The room that is for sale, the oldest first."""
        return list((await self.call("availabilities"))["availabilities"])

    async def add_availability(self, **offer: int | str | bool) -> Object:
        """Offer room; what is offered then."""
        return dict(await self.call("addAvailability", **_texts(offer)))

    async def change_availability(self, id: str, **changes: int | str | bool) -> Object:
        """Change what is given. Raises AvailabilityNotFound."""
        return dict(await self.call("changeAvailability", id=id, **_texts(changes)))

    async def delete_availability(self, id: str) -> None:
        """Offer it no more. Raises AvailabilityNotFound, and InvalidInput while slots are in it."""
        await self.call("deleteAvailability", id=id)

    async def slots(self) -> list[Object]:
        """The slots that the chain says are the node's."""
        return list((await self.call("slots"))["slots"])

    async def sales(self) -> list[Object]:
        """Every slot that the node works on or holds."""
        return list((await self.call("sales"))["sales"])

    async def decisions(self, slot: str | None = None, *, limit: int = 100) -> list[Object]:
        """What was decided about a slot, or about all, the newest first."""
        return list((await self.call("decisions", slot=slot, limit=limit))["decisions"])

    async def balances(self) -> Object:
        """What the node's account has."""
        return dict(await self.call("balances"))


_AMOUNTS = (
    "proofProbability",
    "pricePerBytePerSecond",
    "collateralPerByte",
    "minPricePerBytePerSecond",
    "totalCollateral",
)


def _texts(params: Object) -> Object:
    """The parameters with amounts as texts."""
    return {name: str(given) if name in _AMOUNTS else given for name, given in params.items()}
