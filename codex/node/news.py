"""News of the marketplace, passed on to whoever listens to the node.

A task for each of the boards that the services of the marketplace write on. When full: the oldest news of a
board are dropped, which nobody is told; whoever wants the whole picture asks for the present state.
"""

import trio

from codex.logs import get_logger
from codex.node import events as told
from codex.node.events import Events
from codex.purchasing import PurchaseChanged
from codex.runtime import Broadcast, Inbox, Lagged
from codex.sales import ProofMissed, ProofSent, SaleEvent, SaleMoved, SlotLost, SlotPaid, SlotSlashed
from codex.validation import ProofMarked

WAITING = 1024
"""News of each board that wait to be passed on."""

BoardNews = PurchaseChanged | SaleEvent | ProofMarked

log = get_logger("node")


class News:
    """The task. One object for all lives."""

    def __init__(
        self,
        events: Events,
        purchases: Broadcast[PurchaseChanged],
        sales: Broadcast[SaleEvent],
        marks: Broadcast[ProofMarked],
    ) -> None:
        self._events = events
        self._purchases = purchases
        self._sales = sales
        self._marks = marks

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Pass on, until `inbox` is stopping."""
        async with trio.open_nursery() as nursery:
            for board in (self._purchases, self._sales, self._marks):
                await nursery.start(self._pass_on, board)
            task_status.started()
            await inbox.stopping.wait()
            nursery.cancel_scope.cancel()

    async def _pass_on(
        self,
        board: "Broadcast[PurchaseChanged] | Broadcast[SaleEvent] | Broadcast[ProofMarked]",
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        async with board.subscribe(WAITING) as news:
            task_status.started()
            async for event in news:
                if isinstance(event, Lagged):
                    log.debug("news of the marketplace were dropped", missed=event.missed)
                else:
                    self._events.publish(node_event(event))


def node_event(event: BoardNews) -> told.NodeEvent:
    """An event of the marketplace as the node tells it: names as text, and nothing that would be loaded for
    it.
    """
    match event:
        case PurchaseChanged(purchase):
            return told.PurchaseMoved(str(purchase.id), purchase.state.value, purchase.error)
        case SaleMoved(slot, state):
            return told.SlotMoved(str(slot), state.value)
        case ProofSent(slot, period, spare):
            return told.ProofSent(str(slot), period, spare)
        case ProofMissed(slot, period, why):
            return told.ProofMissed(str(slot), period, why)
        case SlotSlashed(slot, amount, left):
            return told.SlotSlashed(str(slot), amount, left)
        case SlotPaid(slot, reward, collateral):
            return told.SlotPaid(str(slot), reward, collateral)
        case SlotLost(slot):
            return told.SlotLost(str(slot))
        case ProofMarked(slot, period):
            return told.ProofMarked(str(slot), period)
