"""The figures of a node among others: its connections, and how discovery stands."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from codex.discovery import Stats
from codex.node import Node
from codex.p2p import SwitchStats

_Kind = type[CounterMetricFamily | GaugeMetricFamily]

# Kind of figure, end of its name, field of the stats, what it says.
_SWITCH: tuple[tuple[_Kind, str, str, str], ...] = (
    (GaugeMetricFamily, "streams", "streams", "Streams that are open to peers."),
    (CounterMetricFamily, "bytes_received", "bytes_in", "Bytes on the wire from peers that joined."),
    (CounterMetricFamily, "bytes_sent", "bytes_out", "Bytes on the wire to peers that joined."),
)
_DISCOVERY: tuple[tuple[_Kind, str, str, str], ...] = (
    (GaugeMetricFamily, "peers", "peers", "Nodes of the routing table that answer."),
    (GaugeMetricFamily, "table_nodes", "nodes", "Nodes in the routing table."),
    (GaugeMetricFamily, "waiting_nodes", "waiting", "Nodes that wait for a place in the routing table."),
    (GaugeMetricFamily, "searching", "searching", "1 while nobody answers, else 0."),
    (GaugeMetricFamily, "sessions", "sessions", "Nodes that keys are shared with."),
    (GaugeMetricFamily, "requests", "requests", "Requests of this node that are under way."),
    (GaugeMetricFamily, "contents", "contents", "Contents that others have told of."),
    (GaugeMetricFamily, "providers", "providers", "Nodes that others have named as providers."),
    (CounterMetricFamily, "lookups", "lookups", "Searches of the hash table."),
    (CounterMetricFamily, "hops", "hops", "Rounds of asking that all searches took."),
)
_PACKETS: tuple[tuple[str, str, str], ...] = (
    ("packets_received", "received", "Datagrams that came."),
    ("packets_sent", "sent", "Datagrams that were sent."),
    ("bytes_received", "received_bytes", "Bytes of the datagrams that came."),
    ("bytes_sent", "sent_bytes", "Bytes of the datagrams that were sent."),
    ("handshakes", "handshakes", "Sessions that were begun or renewed."),
)
_DROPPED = ("garbage", "unreadable", "repeated", "unsolicited", "limited", "refused")


def network_families(node: Node) -> list[Metric]:
    """What the node's connections and discovery have come to; nothing when it has no network. What concerns
    connections counts from the start of the node, the rest from that of its discovery service.
    """
    stats = node.network_stats()
    return [] if stats is None else [*_of_switch(stats.switch), *_of_discovery(stats.discovery)]


def _of_switch(stats: SwitchStats) -> Iterable[Metric]:
    peers = GaugeMetricFamily(
        "codex_p2p_peers", "Peers that are connected, by who has dialled.", labels=["direction"]
    )
    peers.add_metric(["outbound"], stats.dialled)
    peers.add_metric(["inbound"], stats.came)
    dials = CounterMetricFamily(
        "codex_p2p_dials", "Addresses that were dialled, and what came of it.", labels=["outcome"]
    )
    dials.add_metric(["joined"], stats.reached)
    dials.add_metric(["failed"], stats.failed)
    dropped = CounterMetricFamily(
        "codex_p2p_dropped",
        "Connections made to this node that came to nothing, and why.",
        labels=["reason"],
    )
    for reason, count in stats.dropped.items():
        dropped.add_metric([reason], count)
    yield from (peers, dials, dropped)
    for family, name, field, doc in _SWITCH:
        yield family(f"codex_p2p_{name}", doc, getattr(stats, field))


def _of_discovery(stats: Stats) -> Iterable[Metric]:
    for family, name, field, doc in _DISCOVERY:
        yield family(f"codex_discovery_{name}", doc, getattr(stats, field))
    for name, field, doc in _PACKETS:
        yield CounterMetricFamily(f"codex_discovery_{name}", doc, getattr(stats.packets, field))
    dropped = CounterMetricFamily(
        "codex_discovery_packets_dropped", "Datagrams that were of no use, and why.", labels=["reason"]
    )
    for reason in _DROPPED:
        dropped.add_metric([reason], getattr(stats.packets, reason))
    yield dropped
