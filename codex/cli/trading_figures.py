"""The figures of a node that takes part in the marketplace: what became of its purchases, slots and proofs
since the metrics are on, and what stands now.
"""

from collections import Counter, OrderedDict

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from codex.node import (
    Node,
    ProofMarked,
    ProofMissed,
    ProofSent,
    PurchaseMoved,
    SlotLost,
    SlotPaid,
    SlotSlashed,
)

REMEMBERED = 10_000  # purchases whose state is known; further ones may be counted once too often

_STATES = ("pending", "submitted", "started", "finished", "cancelled", "failed", "errored", "unknown")
# The network's tools know this one by another word.
_NAMES = {"errored": "error"}

_COUNTED: dict[type, tuple[str, str]] = {
    ProofSent: ("codex_proofs_sent", "Proofs that the marketplace took."),
    ProofMissed: ("codex_proofs_missed", "Proofs that were asked for and not brought in time."),
    SlotSlashed: ("codex_slots_slashed", "Times that collateral was taken from a slot of this host."),
    SlotPaid: ("codex_slots_paid", "Slots that were held to their end and paid."),
    SlotLost: ("codex_slots_lost", "Slots that were taken from this host, with their collateral."),
    ProofMarked: ("codex_proofs_marked", "Missing proofs of others that this node has marked."),
}


class TradingFigures:
    """Counts what the node tells of the marketplace."""

    def __init__(self) -> None:
        self._reached: Counter[str] = Counter()
        self._counted: Counter[type] = Counter()
        self._stands: OrderedDict[str, str] = OrderedDict()

    def note(self, event: object) -> None:
        """Count an event, if it is of the marketplace."""
        if type(event) in _COUNTED:
            self._counted[type(event)] += 1
        elif isinstance(event, PurchaseMoved) and self._stands.get(event.purchase) != event.state:
            # It is also told of when nothing but its money has come back.
            self._reached[event.state] += 1
            self._stands[event.purchase] = event.state
            while len(self._stands) > REMEMBERED:
                self._stands.popitem(last=False)

    async def families(self, node: Node) -> list[Metric]:
        """The figures now, of a node that has a marketplace."""
        sales = Counter(sale.state.value for sale in await node.market.sales())
        now = GaugeMetricFamily("codex_slots", "Slots that this node works on.", labels=["state"])
        for state, count in sorted(sales.items()):
            now.add_metric([state], count)
        return [
            *(
                CounterMetricFamily(
                    f"codex_purchases_{_NAMES.get(state, state)}",
                    f"Purchases that came to be {state}.",
                    self._reached[state],
                )
                for state in _STATES
            ),
            *(
                CounterMetricFamily(name, says, self._counted[kind])
                for kind, (name, says) in _COUNTED.items()
            ),
            now,
        ]
