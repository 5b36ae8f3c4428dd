"""The demo as people run it, phase by phase: `codex demo --json` in its own process, by its own times."""

import json
from collections.abc import Iterator
from itertools import pairwise

from children import running
from harness import Bench, Figure, Line, Row, seconds
from nodes import PROGRAM

from codex.devnet.demo import Plan

LIMIT = 60.0  # seconds

_ROUNDS = 3
_LONGEST = 120.0  # seconds between two lines of it


def figures(bench: Bench) -> Iterator[Figure]:
    """How long each phase takes, and the whole."""
    rounds = bench.size(min(bench.rounds, _ROUNDS), 1)
    phases: dict[str, list[float]] = {}
    whole = []
    for number in range(1, rounds + 1):
        bench.say(f"round {number} of {rounds}: codex demo")
        whole.append(seconds(lambda: _perform(phases)))
    plan = Plan()
    periods = plan.config.collateral.max_slashes * plan.config.proofs.period / plan.pace
    yield Figure(
        "codex demo, phase by phase",
        [
            *[Row(name, "s", tuple(found)) for name, found in phases.items()],
            Row("from process start to its end", "s", tuple(whole)),
            Row("a: the periods that a host misses until its slot is lost (kill)", "s", (periods,)),
        ],
        [Line("from process start to its end, worst round", (max(whole),), LIMIT, at_most=True, unit="s")],
        [
            "each phase lasts until the next one begins, pay until the accounts are compared",
            f"simulated: the chain's time runs {plan.pace:g} times as fast as the clock",
        ],
    )


def _perform(phases: dict[str, list[float]]) -> None:
    """Run it, and add what each of its phases took."""
    began: list[tuple[float, str]] = []
    with running(*PROGRAM, "demo", "--json") as child:
        while True:
            told = json.loads("{" + child.line("{", _LONGEST))
            if told["event"] == "phase":
                began.append((told["at"], told["phase"]))
            elif told["event"] == "ledger":
                began.append((told["at"], ""))
            elif told["event"] == "done":
                break
        child.wait()
    for (start, name), (end, _) in pairwise(began):
        phases.setdefault(name, []).append(end - start)
