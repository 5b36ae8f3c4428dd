"""The figures of the marketplace: what is told is counted once, and what stands now is shown."""

from pathlib import Path

import pytest
from prometheus_client.core import Metric
from trio.testing import MockClock

from codex.cli import trading_figures
from codex.cli.trading_figures import TradingFigures
from codex.devnet.town import open_town
from codex.node import (
    JobKind,
    ProofMarked,
    ProofMissed,
    ProofSent,
    PurchaseMoved,
    SlotLost,
    SlotMoved,
    SlotPaid,
    SlotSlashed,
)

pytestmark = pytest.mark.embedded_chain


def figures(families: list[Metric]) -> dict[str, float]:
    """Those that are not zero."""
    return {sample.name: sample.value for family in families for sample in family.samples if sample.value}


async def test_what_is_told_is_counted(tmp_path: Path, autojump_clock: MockClock) -> None:
    counted = TradingFigures()
    for event in (
        PurchaseMoved("0x1", "pending", None),
        PurchaseMoved("0x1", "submitted", None),
        PurchaseMoved("0x2", "pending", None),
        PurchaseMoved("0x2", "errored", "no funds"),
        PurchaseMoved("0x1", "finished", None),
        PurchaseMoved("0x1", "finished", None),  # its money has come back
        ProofSent("0x3", 7, 9),
        ProofSent("0x3", 8, 9),
        ProofMissed("0x3", 9, "late"),
        SlotSlashed("0x4", 2, 8),
        SlotPaid("0x3", None, 5),
        SlotLost("0x4"),
        ProofMarked("0x5", 7),
        SlotMoved("0x3", "SaleProving"),
        JobKind.SCRUB,
    ):
        counted.note(event)
    async with open_town(tmp_path, "alice") as town:
        assert figures(await counted.families(town["alice"])) == {
            "codex_purchases_pending_total": 2,
            "codex_purchases_submitted_total": 1,
            "codex_purchases_finished_total": 1,
            "codex_purchases_error_total": 1,
            "codex_proofs_sent_total": 2,
            "codex_proofs_missed_total": 1,
            "codex_slots_slashed_total": 1,
            "codex_slots_paid_total": 1,
            "codex_slots_lost_total": 1,
            "codex_proofs_marked_total": 1,
        }


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading_figures, "REMEMBERED", 2)
    counted = TradingFigures()
    for number in range(5):
        counted.note(PurchaseMoved(f"0x{number}", "pending", None))
    assert list(counted._stands) == ["0x3", "0x4"]
