"""The node's figures: what happens on a node is what its page says, over the wire."""

import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from socket import create_server
from urllib.request import urlopen

import pytest
import trio
from attrs import evolve
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import MockClock

from codex.cli.exits import exit_code
from codex.cli.measuring import JobFigures, advertising_families, exchange_families, start_metrics
from codex.config import MetricsConfig, StoreConfig
from codex.errors import PortTaken
from codex.node import JobEnded, JobKind, JobState, JobView, Node
from codex.runtime.broadcast import Lagged
from codex.testing.content import noise
from codex.testing.http import Client
from codex.testing.neighbourhood import open_test_network
from codex.testing.nodes import ALONE, open_served_node, open_test_node

CONFIG = MetricsConfig(enabled=True, port=0)


async def measure(node: Node) -> Client:
    """Serve the metrics of a node that runs; a client for its page."""
    found: list[int] = []
    await start_metrics(node, CONFIG, lambda host, port: found.append(port))
    return Client("127.0.0.1", found[0])


async def figures(page: Client) -> dict[tuple[str, ...], float]:
    """Each sample of the page by its name and the values of its labels."""
    reply = await page.get("/metrics")
    assert reply.status == 200
    families = text_string_to_metric_families(reply.text)
    samples = [sample for family in families for sample in family.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


async def test_what_happens_over_the_api_is_on_the_page(tmp_path: Path) -> None:
    body = noise(300_000)
    async with open_served_node(tmp_path, store=StoreConfig(quota=1 << 20)) as served:
        page, client = await measure(served.node), served.client
        before = await figures(page)
        stored = await client.post("/data", body)
        assert (await client.get(f"/data/{stored.text}")).body == body
        assert (await client.get(f"/data/{stored.text}/network/stream")).body == body
        assert (await client.post("/data", noise(2 << 20))).status == 500
        after = await figures(page)
    assert before["codex_api_uploads_total",] == before["codex_api_downloads_total",] == 0
    assert before["codex_repostore_blocks",] == before["codex_repostore_bytes_used",] == 0
    assert after["codex_api_uploads_total",] == after["codex_jobs_ended_total", "upload", "done"] == 1
    assert after["codex_api_downloads_total",] == after["codex_jobs_ended_total", "download", "done"] == 2
    assert after["codex_jobs_ended_total", "upload", "failed"] == 1
    assert after["codex_jobs_running", "upload"] == 0
    assert after["codex_repostore_blocks",] == 6
    assert 5 * 65_536 < after["codex_repostore_bytes_used",] < 5 * 65_536 + 1000
    assert after["codex_repostore_bytes_quota",] == 1 << 20
    assert after["codex_repostore_bytes_reserved",] == 0
    for service in ("store", "jobs", "api", "metrics"):
        assert after["codex_service_running", service] == 1
        assert after["codex_service_restarts_total", service] == 0
    waited = "codex_mailbox_wait_seconds_count"
    assert after[waited, "store"] > before[waited, "store"]
    assert after["codex_mailbox_waiting", "store"] == 0
    assert after["codex_loop_steps_total",] > before["codex_loop_steps_total",] > 0
    assert after["codex_loop_longest_step_seconds", "wall"] > 0
    assert all(
        after["codex_metrics_source_up", source] == 1 for source in ("store", "jobs", "network", "loop")
    )
    assert after["codex_build_info", *_build(after)] == 1


def _build(page: dict[tuple[str, ...], float]) -> tuple[str, ...]:
    [labels] = [key[1:] for key in page if key[0] == "codex_build_info"]
    assert any(label.startswith("16Uiu2HA") for label in labels)
    return labels


async def test_an_upload_in_progress_runs_and_one_that_is_cut_has_failed(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        page = await measure(node)
        held = trio.Event()

        @asynccontextmanager
        async def uploading() -> AsyncIterator[None]:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_upload, node, held)
                await held.wait()
                yield
                nursery.cancel_scope.cancel()

        async with uploading():
            during = await figures(page)
        after = await figures(page)
    assert during["codex_jobs_running", "upload"] == 1
    assert during["codex_jobs_ended_total", "upload", "cancelled"] == 0
    assert after["codex_jobs_running", "upload"] == 0
    assert after["codex_jobs_ended_total", "upload", "cancelled"] == 1
    assert after["codex_api_uploads_total",] == 0


async def _upload(node: Node, held: trio.Event) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield noise(100_000)
        held.set()
        await trio.sleep_forever()

    await node.store(pieces())


async def test_there_are_no_figures_of_parts_that_the_node_does_not_have(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        names = {name for name, *_ in await figures(await measure(node))}
    assert not any(
        re.match("codex_(advertiser|block_exchange|p2p|discovery|purchases|sales|inflight)", name)
        for name in names
    )


async def test_how_far_the_announcements_are_behind_is_told(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def told(node: Node) -> dict[str, float]:
        families = await advertising_families(node)
        return {sample.name: sample.value for family in families for sample in family.samples}

    async with open_test_network("alice", "bob", directory=tmp_path) as people:
        alice = people["alice"]
        before = await told(alice)
        await alice.store(noise(100_000))
        await trio.sleep(60)
        after = await told(alice)
    assert before == dict.fromkeys(before, 0.0)
    assert after == {
        "codex_advertiser_contents": 2,
        "codex_advertiser_due": 0,
        "codex_advertiser_lag_seconds": 0,
        "codex_advertiser_announced_total": 2,
    }


async def test_blocks_that_went_between_nodes_are_counted(tmp_path: Path, autojump_clock: MockClock) -> None:
    def told(node: Node) -> dict[str, float]:
        return {sample.name: sample.value for family in exchange_families(node) for sample in family.samples}

    async with open_test_network("alice", "bob", directory=tmp_path) as people:
        alice, bob = people["alice"], people["bob"]
        assert told(bob) == dict.fromkeys(told(bob), 0.0)
        cid = await alice.store(noise(100_000))
        async with bob.retrieve(cid) as dataset:
            assert await dataset.read() == noise(100_000)
        given, taken = told(alice), told(bob)
    assert taken["codex_block_exchange_blocks_received_total"] == 3  # two blocks, and the manifest
    assert given["codex_block_exchange_blocks_sent_total"] == 3
    assert taken["codex_block_exchange_bytes_received_total"] > 2 * 65536
    assert (
        given["codex_block_exchange_bytes_sent_total"] == taken["codex_block_exchange_bytes_received_total"]
    )
    assert taken["codex_block_exchange_wants"] == given["codex_block_exchange_wanted"] == 0


async def test_events_that_were_missed_are_told() -> None:
    view = JobView(
        id="1",
        kind=JobKind.SCRUB,
        subject=None,
        state=JobState.DONE,
        phase="",
        bytes_done=0,
        bytes_total=None,
        bytes_per_second=0.0,
        eta_seconds=None,
        started=0.0,
        ended=1.0,
        result=None,
        error=None,
    )

    async def events() -> AsyncIterator[JobEnded | Lagged]:
        yield JobEnded(view)
        yield Lagged(7)
        yield JobEnded(evolve(view, state=JobState.FAILED))
        yield JobEnded(view)

    jobs = JobFigures()
    await jobs.follow(events())
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in jobs.families([JobKind.SCRUB, JobKind.SCRUB, JobKind.BACKUP])
        for sample in family.samples
    }
    assert found["codex_jobs_ended_total", "scrub", "done"] == 2
    assert found["codex_jobs_ended_total", "scrub", "failed"] == 1
    assert found["codex_jobs_running", "scrub"] == 2
    assert found["codex_jobs_running", "backup"] == 1
    assert found["codex_metrics_missed_events_total",] == 7


async def test_a_port_that_is_taken_is_refused_and_the_node_goes_on(tmp_path: Path) -> None:
    [taken] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with taken, open_test_node(tmp_path) as node:
        config = evolve(CONFIG, port=taken.socket.getsockname()[1])
        with pytest.raises(PortTaken):
            await start_metrics(node, config, lambda host, port: None)
        assert (await figures(await measure(node)))["codex_api_uploads_total",] == 0


# -- as the process runs it


def codex(data_dir: Path, *options: str) -> subprocess.Popen[str]:
    """`codex` on a data directory, with its API on a free port."""
    own = [f"--data-dir={data_dir}", "--api-port=0", "--log-level=warn", *ALONE]
    command = [sys.executable, "-m", "codex", *own, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_the_option_starts_the_page_and_says_where_it_is(tmp_path: Path) -> None:
    with codex(tmp_path, "--metrics", "--metrics-port=0") as process:
        try:
            assert process.stderr is not None
            said = process.stderr.readline() + process.stderr.readline()
            found = re.search(r"^The metrics are at (http://127\.0\.0\.1:\d+/metrics)$", said, re.MULTILINE)
            assert found, said
            with urlopen(found[1], timeout=10) as reply:
                assert b"codex_loop_steps_total" in reply.read()
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)
    assert process.returncode == 0


def test_a_taken_port_ends_the_start(tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with codex(tmp_path, "--metrics", f"--metrics-port={port}") as process:
            _, said = process.communicate(timeout=30)
    assert process.returncode == exit_code(PortTaken(""))
    last = said.splitlines()[-2:]
    assert f"port {port} on 127.0.0.1 is in use" in last[0]
    assert "--metrics-port" in last[1]


def test_a_node_without_metrics_does_not_load_their_library() -> None:
    probe = "import sys, codex.api, codex.cli.running; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
