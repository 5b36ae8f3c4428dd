"""What a node says when it is asked: pure rules over its table and what it knows of providers.

Every answer is a fixed number of packets, each below 1280 bytes, and goes to nodes only that have proved
where they are: asking in another's name yields nothing. Nodes are told of others only when these have
answered us, and not of nodes in a network that the asker is not in.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import islice

from codex.discovery.distance import MAX_DISTANCE
from codex.discovery.events import Asked
from codex.discovery.messages import (
    NODES_RECORDS,
    AddProvider,
    Answer,
    FindNode,
    FindNodeFast,
    GetProviders,
    Ping,
    Pong,
    Providers,
    TalkRequest,
    TalkResponse,
    nodes_answer,
)
from codex.discovery.nodes import MAX_RECORD, Node, neighbourhood, reach_of
from codex.discovery.providers import Providers as Known
from codex.discovery.table import Table
from codex.p2p import SignedPeerRecord

FAST_NODES = 6
"""Nodes in an answer to FindNodeFast."""
PROVIDERS_BYTES = 1100
"""Bytes of records in an answer to GetProviders, about five: it is one packet, and stays below 1280 bytes."""


class Answers:
    """Answers out of `table` and `providers`; `record` gives our own record in the table of others.

    `now` is unix seconds.
    """

    def __init__(self, table: Table, providers: Known, record: Callable[[], SignedPeerRecord]) -> None:
        self._table = table
        self._providers = providers
        self._record = record

    def to(self, asked: Asked, now: float) -> Sequence[Answer]:
        """The messages that answer, in order; none for what has no answer."""
        match asked.message:
            case Ping():
                return [Pong(self._record().record.seq, *asked.contact.address)]
            case FindNode(distances):
                return nodes_answer(self._at(distances, asked))
            case FindNodeFast(target):
                near = self._table.neighbours(target, len(self._table), good=True)
                return nodes_answer(_for(asked, near, FAST_NODES))
            case GetProviders(content):
                return [self._who_has(content, asked, now)]
            case AddProvider(content, record):
                self._believe(content, record, asked, now)
            case TalkRequest():
                return [TalkResponse(b"")]
        return []

    def _at(self, distances: Sequence[int], asked: Asked) -> Sequence[SignedPeerRecord]:
        if 0 in distances:
            return [self._record()]
        if any(distance > MAX_DISTANCE for distance in distances):
            return []
        nodes = self._table.at_distances(distances, len(self._table))
        return _for(asked, nodes, NODES_RECORDS)

    def _who_has(self, content: bytes, asked: Asked, now: float) -> Providers:
        """As many as fit. Where there are more, each question is given others: the request id is drawn by
        lot.
        """
        found = self._providers.get(content, now)
        start = int.from_bytes(asked.request_id) % len(found) if found else 0
        chosen: list[SignedPeerRecord] = []
        room = PROVIDERS_BYTES
        for record in found[start:] + found[:start]:
            room -= len(record.to_bytes()) + 4
            if room < 0:
                break
            chosen.append(record)
        return Providers(1, tuple(chosen))

    def _believe(self, content: bytes, record: SignedPeerRecord, asked: Asked, now: float) -> None:
        """Note a provider that speaks for itself. Nobody else may: records are public, and whoever could
        bring another's would send all who look for a content to a node that knows nothing of it.
        """
        if record.record.peer_id != asked.contact.public_key.peer_id or len(record.to_bytes()) > MAX_RECORD:
            return
        ip = asked.contact.address[0]
        self._providers.add(content, record, now, source=neighbourhood(ip) or ip)


def _for(asked: Asked, nodes: Iterable[Node], count: int) -> list[SignedPeerRecord]:
    """The records of the first `count` nodes that the asker may be told of and does not know: not itself."""
    asker = reach_of(asked.contact.address[0])
    told = (
        node.record
        for node in nodes
        if node.node_id != asked.contact.node_id and (asker is None or node.reach >= asker)
    )
    return list(islice(told, count))
