"""News of the marketplace: each kind is passed on, and none keeps the node from anything."""

import pytest
import trio

from codex.market import RequestId, SlotId
from codex.node import events as told
from codex.node.events import Events
from codex.node.news import WAITING, BoardNews, News
from codex.purchasing import Purchase, PurchaseChanged
from codex.purchasing import State as Purchased
from codex.runtime import Broadcast, Mailbox
from codex.sales import ProofMissed, ProofSent, SaleEvent, SaleMoved, SlotLost, SlotPaid, SlotSlashed, State
from codex.validation import ProofMarked

SLOT = SlotId(b"\x12" * 32)
NAME = "0x" + "12" * 32
ID = RequestId(b"\x34" * 32)
PURCHASE = Purchase(
    id=ID, request=None, state=Purchased.ERRORED, error="no funds", made=1, changed=2, withdrawn=False
)

PAIRS: list[tuple[BoardNews, told.NodeEvent]] = [
    (PurchaseChanged(PURCHASE), told.PurchaseMoved("0x" + "34" * 32, "errored", "no funds")),
    (SaleMoved(SLOT, State.PROVING), told.SlotMoved(NAME, "SaleProving")),
    (ProofSent(SLOT, 7, 30), told.ProofSent(NAME, 7, 30)),
    (ProofMissed(SLOT, 7, "late"), told.ProofMissed(NAME, 7, "late")),
    (SlotSlashed(SLOT, 20, 80), told.SlotSlashed(NAME, 20, 80)),
    (SlotPaid(SLOT, 7, 10**20), told.SlotPaid(NAME, 7, 10**20)),
    (SlotLost(SLOT), told.SlotLost(NAME)),
    (ProofMarked(SLOT, 7), told.ProofMarked(NAME, 7)),
]


@pytest.mark.parametrize(("news", "event"), PAIRS)
async def test_each_kind_is_passed_on(news: BoardNews, event: told.NodeEvent) -> None:
    events = Events()
    boards = Broadcast[PurchaseChanged](), Broadcast[SaleEvent](), Broadcast[ProofMarked]()
    mailbox = Mailbox("news")
    async with trio.open_nursery() as nursery, events.subscribe(WAITING) as heard:
        service = News(events, *boards)
        await nursery.start(lambda *, task_status: service.run(mailbox.inbox, task_status=task_status))
        match news:
            case PurchaseChanged():
                boards[0].publish(news)
            case ProofMarked():
                boards[2].publish(news)
            case _:
                boards[1].publish(news)
        assert await anext(heard) == event
        nursery.cancel_scope.cancel()
