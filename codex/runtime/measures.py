"""The runtime's own figures for a metrics page: the steps of the loop, the services and their mailboxes.

Not imported by the package's face, for the library that makes pages takes time to load and a node without
metrics does without it.
"""

from collections.abc import Iterable
from itertools import accumulate

import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from codex.runtime.lifecycle import State
from codex.runtime.stall import LoopWatch
from codex.runtime.supervisor import ServiceState
from codex.runtime.waits import BOUNDS, Queue

HOLD = 60.0
"""Seconds that a longest step is shown at least, so that everybody who looks once a minute gets to see it."""

_BUCKETS = [*(str(bound) for bound in BOUNDS), "+Inf"]


class LoopFigures:
    """The steps of the loop, by a `watch` that is its own from here on: it is reset now and then."""

    def __init__(self, watch: LoopWatch) -> None:
        self._watch = watch
        self._since = trio.current_time()
        self._longest = (0.0, 0.0)
        self._steps = self._long = 0

    def families(self) -> list[Metric]:
        """The figures now. The longest step is that of the last minute, or of somewhat more."""
        watch = self._watch
        seen = (watch.worst_wall, watch.worst_cpu)
        shown = [max(pair) for pair in zip(self._longest, seen, strict=True)]
        steps, long = self._steps + watch.steps, self._long + watch.over
        now = trio.current_time()
        if now - self._since >= HOLD:
            self._since, self._longest, self._steps, self._long = now, seen, steps, long
            watch.reset()
        longest = GaugeMetricFamily(
            "codex_loop_longest_step_seconds",
            "The longest that one task kept all others waiting of late, by the clock and in CPU time.",
            labels=["time"],
        )
        for time, seconds in zip(("wall", "cpu"), shown, strict=True):
            longest.add_metric([time], seconds)
        return [
            longest,
            CounterMetricFamily("codex_loop_steps", "What tasks did between two checkpoints.", steps),
            CounterMetricFamily(
                "codex_loop_long_steps", f"Steps of more than {watch.threshold:g} seconds of CPU time.", long
            ),
        ]


def service_families(services: Iterable[ServiceState]) -> list[Metric]:
    """How services and their mailboxes stand. A mailbox that nobody has asked has no figures: some services
    take no calls.
    """
    by = ["service"]
    running = GaugeMetricFamily("codex_service_running", "1 when the service runs, else 0.", labels=by)
    ails = GaugeMetricFamily(
        "codex_service_condition",
        "1 while the service runs and cannot do all that it is there for, for that reason.",
        labels=["service", "code"],
    )
    restarts = CounterMetricFamily("codex_service_restarts", "Lives after the first.", labels=by)
    waiting = GaugeMetricFamily("codex_mailbox_waiting", "Calls that wait to be taken up.", labels=by)
    oldest = GaugeMetricFamily(
        "codex_mailbox_oldest_wait_seconds", "How long the first of them has waited.", labels=by
    )
    waits = HistogramMetricFamily(
        "codex_mailbox_wait_seconds", "How long calls waited that wait no longer.", labels=by
    )
    for service in services:
        name, queue = [service.name], service.queue
        running.add_metric(name, int(service.state is State.RUNNING))
        restarts.add_metric(name, service.restarts)
        if service.condition is not None:
            ails.add_metric([service.name, service.condition.problem.code], 1)
        if queue == Queue():
            continue
        waiting.add_metric(name, queue.waiting)
        oldest.add_metric(name, queue.oldest)
        waits.add_metric(name, list(zip(_BUCKETS, accumulate(queue.ended), strict=True)), queue.seconds)
    return [running, ails, restarts, waiting, oldest, waits]
