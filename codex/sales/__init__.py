"""The sales: storage of this host for tokens, slot by slot, and the record of why.

`Sales` is their door, `SalesService` (in service.py) the task behind it, and `Duties` what they ask of the
node, over a mailbox that they are given. How a sale goes is the table in states.py; what is done in each
state stands in steps.py and holding.py, and agent.py does it. Which slots there are is gathered by
openings.py and kept in order by queue.py, whether one is taken is decided in deciding.py; what
was decided is kept by journal.py, and what came of the slots that were held by history.py. From where on the
marketplace is heard in the next life, standing.py knows and bookmark.py keeps. What is set aside for a slot
is counted by the store (codex/store/availability.py).
"""

from codex.sales.bench import ProofMissed, ProofSent, SaleEvent, SaleMoved, SlotLost, SlotPaid, SlotSlashed
from codex.sales.board import SalesBoard
from codex.sales.deciding import Check, Decision, Verdict
from codex.sales.duties import Duties, OnClear, OnExpiryUpdate, OnLook, OnProve, OnStore, OnTidy
from codex.sales.handle import Sales
from codex.sales.history import Held
from codex.sales.states import SALE, State
from codex.sales.views import SaleView

__all__ = [
    "SALE",
    "Check",
    "Decision",
    "Duties",
    "Held",
    "OnClear",
    "OnExpiryUpdate",
    "OnLook",
    "OnProve",
    "OnStore",
    "OnTidy",
    "ProofMissed",
    "ProofSent",
    "SaleEvent",
    "SaleMoved",
    "SaleView",
    "Sales",
    "SalesBoard",
    "SlotLost",
    "SlotPaid",
    "SlotSlashed",
    "State",
    "Verdict",
]
