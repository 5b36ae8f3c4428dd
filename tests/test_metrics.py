"""The metrics page: what sources give is on it, and its small server keeps to HTTP whoever talks to it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from codex.errors import ConfigError, PortTaken, ServiceUnavailable
from codex.metrics import IDLE_LIMIT, MAX_CONNECTIONS, MAX_HEAD, SOURCE_LIMIT, MetricsService, Source, render
from codex.runtime.supervisor import CRITICAL, ServiceEvent, open_supervisor
from codex.testing.counting import leak_check
from codex.testing.http import Client, Link


def parsed(page: bytes) -> dict[tuple[str, ...], float]:
    """Each sample by its name and the values of its labels."""
    families = text_string_to_metric_families(page.decode("utf-8"))
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


class Pantry:
    """A source with figures that change."""

    def __init__(self) -> None:
        self.jars = 3
        self.eaten = 0

    async def figures(self) -> list[Metric]:
        await trio.lowlevel.checkpoint()
        jars = GaugeMetricFamily("codex_jars", 'Jars on the "upper" shelf.', labels=["of"])
        jars.add_metric(['plum\n"jam"'], self.jars)
        return [jars, CounterMetricFamily("codex_eaten", "Jars no longer there.", self.eaten)]


async def down() -> list[Metric]:
    await trio.lowlevel.checkpoint()
    raise ServiceUnavailable("the cellar is locked")


async def busy() -> list[Metric]:
    await trio.sleep_forever()
    raise AssertionError


async def broken() -> list[Metric]:
    await trio.lowlevel.checkpoint()
    raise ZeroDivisionError


def quiet(event: ServiceEvent) -> None:
    assert event.service == "metrics"


@asynccontextmanager
async def served(sources: Mapping[str, Source] | None = None) -> AsyncIterator[Client]:
    """Serve the page of these sources on a free port for the length of the block."""
    found: list[int] = []

    def listening(host: str, port: int) -> None:
        assert host == "127.0.0.1"
        found.append(port)

    service = MetricsService("127.0.0.1", 0, sources or {}, listening)
    async with open_supervisor(on_event=quiet) as supervisor:
        await supervisor.start("metrics", lambda: service, CRITICAL)
        yield Client("127.0.0.1", found[0], patience=10_000.0)


@pytest.fixture
def clock(autojump_clock: MockClock) -> MockClock:
    """Virtual time that leaves the loopback interface a moment to deliver before it jumps."""
    autojump_clock.autojump_threshold = 0.05
    return autojump_clock


# -- the page


async def test_the_page_shows_what_sources_say_at_that_moment() -> None:
    pantry = Pantry()
    async with served({"pantry": pantry.figures}) as client:
        first = await client.get("/metrics")
        pantry.jars, pantry.eaten = 1, 2
        second = await client.get("/metrics?name=value")
    assert first.status == second.status == 200
    assert first.header("content-type") == "text/plain; version=0.0.4; charset=utf-8"
    before, after = parsed(first.body), parsed(second.body)
    assert before["codex_jars", 'plum\n"jam"'] == 3
    assert after["codex_jars", 'plum\n"jam"'] == 1
    assert (before["codex_eaten_total",], after["codex_eaten_total",]) == (0, 2)
    assert before["codex_metrics_source_up", "pantry"] == 1
    # pytest is far above these, and far below what would not be bytes and a count of files.
    assert 10 << 20 < before["process_resident_memory_bytes",] < 8 << 30
    assert 3 < before["process_open_fds",] < 1000


async def test_a_page_of_no_sources_is_that_of_the_process() -> None:
    names = {name for name, *_ in parsed(await render({}))}
    assert "process_cpu_seconds_total" in names
    assert all(name.startswith("process_") for name in names)


async def test_a_source_that_is_down_or_busy_is_left_out_and_the_others_are_there(
    autojump_clock: MockClock,
) -> None:
    page = parsed(await render({"cellar": down, "kitchen": busy, "pantry": Pantry().figures}))
    assert page["codex_metrics_source_up", "cellar"] == 0
    assert page["codex_metrics_source_up", "kitchen"] == 0
    assert page["codex_metrics_source_up", "pantry"] == 1
    assert page["codex_eaten_total",] == 0
    assert trio.current_time() == SOURCE_LIMIT


async def test_a_bug_in_a_source_ends_the_service() -> None:
    async def scrape() -> None:
        async with served({"pantry": broken}) as client, client.link() as link:
            await link.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
            await trio.sleep_forever()

    with pytest.raises(ZeroDivisionError):
        await scrape()


# -- the exchange


async def test_one_connection_carries_many_scrapes() -> None:
    async with served() as client, client.link() as link:
        for _ in range(3):
            assert (await link.ask("GET", "/metrics")).status == 200
        looked = await link.ask("HEAD", "/metrics")
        absent = await link.ask("GET", "/")
        refused = await link.ask("POST", "/metrics", body=b"x" * 100_000)
        assert (await link.ask("GET", "/metrics", body=b"a body is of no use here")).status == 200
    assert (looked.status, looked.body) == (200, b"")
    assert int(looked.header("content-length") or 0) > 500
    assert (absent.status, absent.text) == (404, "The metrics are at /metrics.\n")
    assert (refused.status, refused.header("allow")) == (405, "GET, HEAD")


async def test_scrapes_that_are_sent_ahead_are_answered_in_turn() -> None:
    async with served() as client, client.link() as link:
        await link.send(
            b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 3 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert [(await link.reply()).status for _ in range(4)] == [200, 200, 200, 404]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /metrics HTTP/1.0\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", b"200"),
        (b"GET /metrics HTTP/1.1\r\n\r\n", b"400"),  # no Host
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2 * MAX_HEAD, b"431"),
        (b"GET /metrics HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
    ],
)
async def test_what_ends_a_connection_is_answered_first(sent: bytes, status: bytes) -> None:
    async with served() as client, client.link() as link:
        await link.send(sent)
        reply = await link.rest()
        assert reply.startswith(b"HTTP/1.1 " + status)
        assert b"Connection: close\r\n" in reply
        assert (await client.get("/metrics")).status == 200


async def test_who_leaves_or_stays_away_harms_nobody(clock: MockClock) -> None:
    with leak_check():
        async with served() as client:
            for sent in (b"", b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"):
                async with client.link() as link:
                    await link.send(sent)
            async with client.link() as link:
                before = trio.current_time()
                await link.send(b"GET /metrics HTTP/1.1\r\n")
                assert await link.rest() == b""
                assert IDLE_LIMIT <= trio.current_time() - before < IDLE_LIMIT + 5
            assert (await client.get("/metrics")).status == 200


async def test_connections_have_a_limit() -> None:
    async with served() as client, trio.open_nursery() as nursery:
        links: list[Link] = []
        for _ in range(MAX_CONNECTIONS):
            link = await nursery.start(partial(_hold, client))
            assert (await link.ask("GET", "/metrics")).status == 200
            links.append(link)
        async with client.link() as link:
            assert await link.rest() == b""
        await links.pop().close()
        while not await _gets_a_page(client):  # the server has yet to see that the link is closed
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def _hold(client: Client, *, task_status: trio.TaskStatus[Link]) -> None:
    async with client.link() as link:
        task_status.started(link)
        await trio.sleep_forever()


async def _gets_a_page(client: Client) -> bool:
    async with client.link() as link:
        try:
            await link.send(b"GET /metrics HTTP/1.0\r\n\r\n")
        except trio.BrokenResourceError:
            return False
        return (await link.rest()).startswith(b"HTTP/1.1 200 OK\r\n")


# -- its life


async def test_stopping_does_not_wait_for_connections() -> None:
    with leak_check(), trio.fail_after(5):
        async with served({"kitchen": busy}) as client, client.link() as idle, client.link() as asking:
            assert (await idle.ask("GET", "/")).status == 404
            await asking.send(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")


async def test_a_port_that_is_taken_is_said() -> None:
    async with served() as client:
        again = MetricsService("127.0.0.1", client.port, {}, _unheard)
        with pytest.raises(PortTaken, match=f"port {client.port} on 127.0.0.1 is in use") as raised:
            async with open_supervisor(on_event=quiet) as supervisor:
                await supervisor.start("metrics", lambda: again, CRITICAL)
    assert "--metrics-port" in raised.value.remedy


async def test_an_address_of_another_machine_is_said() -> None:
    service = MetricsService("192.0.2.1", 0, {}, _unheard)
    with pytest.raises(ConfigError, match=r"cannot be served on 192\.0\.2\.1:0") as raised:
        async with open_supervisor(on_event=quiet) as supervisor:
            await supervisor.start("metrics", lambda: service, CRITICAL)
    assert "--metrics-address" in raised.value.remedy


def _unheard(host: str, port: int) -> None:
    raise AssertionError((host, port))
