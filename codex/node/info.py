"""Who a node is and where it listens, as one value."""

from pathlib import Path

from attrs import frozen

from codex.discovery import TableNode
from codex.node.wiring import Parts
from codex.p2p import PeerId, self_record
from codex.version import CONTRACTS, REVISION, VERSION


@frozen
class NodeInfo:
    """Who the node is and where it listens.

    Addresses are multiaddresses as text, but for `discovery_address`, which is host and port; `spr` is its
    signed peer record, `table` the nodes that discovery knows. A node without a network listens nowhere.
    """

    peer_id: PeerId
    node_id: bytes
    spr: str
    repo: Path
    addresses: tuple[str, ...] = ()
    announced: tuple[str, ...] = ()
    discovery_address: str | None = None
    table: tuple[TableNode, ...] = ()
    version: str = VERSION
    revision: str = REVISION
    contracts: str = CONTRACTS


def about(parts: Parts, repo: Path) -> NodeInfo:
    """What is to be told of a running node whose data directory is `repo`."""
    network, identity = parts.network, parts.identity
    if network is None:
        spr = self_record(identity, parts.started)
        return NodeInfo(peer_id=identity.peer_id, node_id=identity.node_id, spr=spr, repo=repo)
    return NodeInfo(
        peer_id=identity.peer_id,
        node_id=identity.node_id,
        spr=str(network.discovery.record()),
        repo=repo,
        addresses=tuple(str(address) for address in network.switch.listening()),
        announced=tuple(str(address) for address in network.switch.announced()),
        discovery_address=network.discovery_address(),
        table=tuple(network.discovery.table()),
    )
