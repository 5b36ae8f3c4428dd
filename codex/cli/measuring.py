"""The metrics of a node that runs: which figures there are, and the service that shows them.

Figures of a part stand on the page when the node has that part, and otherwise not at all: no zeros for a
network or a marketplace that is not there. The names that the reference node has too mean the same.
"""

from collections import Counter
from collections.abc import AsyncIterable, Callable, Iterable
from functools import partial

import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

from codex.cli.network_figures import network_families
from codex.cli.trading_figures import TradingFigures
from codex.config import MetricsConfig
from codex.metrics import MetricsService, Source
from codex.node import JobEnded, JobKind, JobState, Node, NodeEvent
from codex.runtime.broadcast import Lagged
from codex.runtime.mailbox import Inbox
from codex.runtime.measures import LoopFigures, service_families
from codex.runtime.stall import LoopWatch
from codex.runtime.supervisor import Policy

POLICY = Policy(restarts=5, window=60.0)
EVENTS = 8192  # held at once; a thousand jobs make four thousand a second at most

_ENDED = [state for state in JobState if state is not JobState.RUNNING]


# Kind of figure, end of its name, field of a peer's trade that is summed over all peers, what it says.
_TRADE: tuple[tuple[type[CounterMetricFamily | GaugeMetricFamily], str, str, str], ...] = (
    (CounterMetricFamily, "blocks_received", "blocks_in", "Blocks that others sent, wanted and sound."),
    (CounterMetricFamily, "blocks_sent", "blocks_out", "Blocks that others were sent."),
    (CounterMetricFamily, "bytes_received", "bytes_in", "Bytes of the blocks that others sent."),
    (CounterMetricFamily, "bytes_sent", "bytes_out", "Bytes of the blocks that others were sent."),
    (GaugeMetricFamily, "wants", "wants_ours", "Blocks that this node waits for from others."),
    (GaugeMetricFamily, "wanted", "wants_theirs", "Blocks that others wait for from this node."),
)


async def start_metrics(node: Node, config: MetricsConfig, on_listening: Callable[[str, int], None]) -> None:
    """Serve the metrics of `node` until it stops, and watch the steps of the loop from now on.

    Raises PortTaken or ConfigError when it cannot listen.
    """
    watch = LoopWatch()
    trio.lowlevel.add_instrument(watch)
    loop, jobs = LoopFigures(watch), JobFigures()

    sources: dict[str, Source] = {
        "store": partial(_space, node),
        "jobs": _at_once(lambda: jobs.families(job.kind for job in node.jobs.list(state=JobState.RUNNING))),
        "exchange": _at_once(lambda: exchange_families(node)),
        "network": _at_once(lambda: network_families(node)),
        "advertiser": partial(advertising_families, node),
        "services": _at_once(lambda: service_families(node.states())),
        "loop": _at_once(loop.families),
        "node": _at_once(lambda: [_build(node)]),
    }
    if node.config.market is not None:
        sources["market"] = partial(jobs.trading.families, node)
    page = MetricsService(config.address, config.port, sources, on_listening)
    await node.supervise("metrics", lambda: NodeMetrics(node, jobs, page), POLICY)


class NodeMetrics:
    """The service: the page, and beside it the counting of what ends."""

    def __init__(self, node: Node, jobs: "JobFigures", page: MetricsService) -> None:
        self._node = node
        self._jobs = jobs
        self._page = page

    async def run(self, inbox: Inbox, *, task_status: trio.TaskStatus[None]) -> None:
        """Count and serve until told to stop. Raises as `MetricsService.run`."""
        async with self._node.events(EVENTS) as events, trio.open_nursery() as nursery:
            nursery.start_soon(self._jobs.follow, events)
            await self._page.run(inbox, task_status=task_status)
            nursery.cancel_scope.cancel()


class JobFigures:
    """What became of the jobs since the metrics are on."""

    def __init__(self) -> None:
        self._ended: Counter[tuple[JobKind, JobState]] = Counter()
        self._missed = 0
        self.trading = TradingFigures()
        """What became of purchases, slots and proofs, which the same events tell."""

    async def follow(self, events: AsyncIterable[NodeEvent | Lagged]) -> None:
        """Count what the events tell, as long as there are any."""
        async for event in events:
            if isinstance(event, JobEnded):
                self._ended[event.job.kind, event.job.state] += 1
            elif isinstance(event, Lagged):
                self._missed += event.missed
            else:
                self.trading.note(event)

    def families(self, running: Iterable[JobKind]) -> list[Metric]:
        """The figures now, with the kinds of the jobs that run."""
        runs = Counter(running)
        now = GaugeMetricFamily("codex_jobs_running", "Jobs that run.", labels=["kind"])
        ended = CounterMetricFamily("codex_jobs_ended", "Jobs that ended, and how.", labels=["kind", "state"])
        for kind in JobKind:
            now.add_metric([kind], runs[kind])
            for state in _ENDED:
                ended.add_metric([kind, state], self._ended[kind, state])
        uploads = self._ended[JobKind.UPLOAD, JobState.DONE]
        downloads = self._ended[JobKind.DOWNLOAD, JobState.DONE]
        return [
            CounterMetricFamily("codex_api_uploads", "Uploads that were stored.", uploads),
            CounterMetricFamily("codex_api_downloads", "Downloads that came to their end.", downloads),
            now,
            ended,
            CounterMetricFamily(
                "codex_metrics_missed_events", "Events that came too fast to be counted.", self._missed
            ),
        ]


async def _space(node: Node) -> list[Metric]:
    space = await node.space()
    return [
        GaugeMetricFamily("codex_repostore_blocks", "Blocks that are stored.", space.total_blocks),
        GaugeMetricFamily("codex_repostore_bytes_used", "Bytes of the quota in use.", space.quota_used),
        GaugeMetricFamily("codex_repostore_bytes_reserved", "Bytes set aside.", space.quota_reserved),
        GaugeMetricFamily("codex_repostore_bytes_quota", "Bytes that both may take.", space.quota_max),
    ]


def exchange_families(node: Node) -> list[Metric]:
    """What went between this node and others since its exchange started; nothing when it has no network."""
    trades = node.trades()
    if trades is None:
        return []
    return [
        family(f"codex_block_exchange_{name}", doc, sum(getattr(trade, field) for trade in trades))
        for family, name, field, doc in _TRADE
    ]


async def advertising_families(node: Node) -> list[Metric]:
    """How far the node is with telling others what it has; nothing when it has no network."""
    stands = await node.advertising()
    if stands is None:
        return []
    return [
        GaugeMetricFamily("codex_advertiser_contents", "Contents that others are told of.", stands.contents),
        GaugeMetricFamily("codex_advertiser_due", "Announcements that are due and not made.", stands.due),
        GaugeMetricFamily(
            "codex_advertiser_lag_seconds", "For how long the oldest of them has been due.", stands.lag
        ),
        CounterMetricFamily("codex_advertiser_announced", "Announcements that got out.", stands.announced),
    ]


def _build(node: Node) -> Metric:
    info = node.info()
    facts = {"version": info.version, "revision": info.revision, "peer_id": str(info.peer_id)}
    return InfoMetricFamily("codex_build", "What runs here.", facts)


def _at_once(families: Callable[[], list[Metric]]) -> Source:
    """A source that has its figures at hand."""

    async def source() -> list[Metric]:
        await trio.lowlevel.checkpoint()
        return families()

    return source
