"""The figures of the network: what happens between nodes is on their pages."""

from pathlib import Path

import pytest
import trio
from attrs import fields
from trio.testing import MockClock

from codex.cli.network_figures import _DROPPED, _PACKETS, network_families
from codex.discovery.events import Counts
from codex.errors import PeerUnreachable
from codex.node import Node
from codex.testing.content import noise
from codex.testing.neighbourhood import open_test_network
from codex.testing.nodes import open_test_node
from codex.testing.switches import identity_of


def told(node: Node) -> dict[tuple[str, ...], float]:
    """Each figure by its name and the values of its labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in network_families(node)
        for sample in family.samples
    }


async def test_what_goes_on_between_nodes_is_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    content = noise(300_000)
    async with open_test_network("alice", "bob", directory=tmp_path) as people:
        alice, bob = people["alice"], people["bob"]
        cid = await alice.store(content)
        async with bob.retrieve(cid) as dataset:
            assert await dataset.read() == content
        with pytest.raises(PeerUnreachable):
            await bob.connect(identity_of("carol").peer_id, ["/ip4/10.9.9.9/tcp/1"])
        await trio.sleep(60)
        given, taken = told(alice), told(bob)
    for figures in (given, taken):
        assert sum(figures["codex_p2p_peers", one] for one in ("inbound", "outbound")) == 1
        assert figures["codex_discovery_peers",] == figures["codex_discovery_table_nodes",] == 1
        assert figures["codex_discovery_searching",] == 0
        assert figures["codex_discovery_packets_received_total",] > 0
        assert figures["codex_discovery_handshakes_total",] > 0
    dials = [figures["codex_p2p_dials_total", "joined"] for figures in (given, taken)]
    assert sum(dials) >= 1
    assert taken["codex_p2p_dials_total", "failed"] == 1
    assert 300_000 < taken["codex_p2p_bytes_received_total",] < 400_000
    assert 300_000 < given["codex_p2p_bytes_sent_total",] < 400_000
    assert given["codex_discovery_contents",] + taken["codex_discovery_contents",] > 0


async def test_a_node_without_a_network_has_no_such_figures(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node:
        assert network_families(node) == []


def test_everything_that_discovery_counts_is_on_the_page() -> None:
    assert {field for _, field, _ in _PACKETS} | set(_DROPPED) == {one.name for one in fields(Counts)}
