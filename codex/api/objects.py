"""The JSON objects of the API, each made from a value of the node.

Pure. The objects that the network's nodes show have exactly their keys, in their order; what they do not tell
has objects of its own. Sizes are in bytes, points in time in unix seconds, durations in seconds.
"""

from collections.abc import Sequence

from codex.codec import Cid
from codex.config import P2pConfig
from codex.data import Manifest
from codex.errors import Problem
from codex.node import JobView, NodeInfo, PeerView
from codex.p2p import SignedPeerRecord
from codex.runtime.condition import Condition
from codex.runtime.lifecycle import State
from codex.runtime.supervisor import ServiceState
from codex.store import Space

Object = dict[str, object]


def manifest_json(manifest: Manifest) -> Object:
    """A manifest; `verifiable` is there only beside a true `protected`."""
    shown: Object = {
        "treeCid": str(manifest.tree_cid),
        "datasetSize": manifest.dataset_size,
        "blockSize": manifest.block_size,
        "filename": manifest.filename,
        "mimetype": manifest.mimetype,
        "protected": manifest.protected,
    }
    if manifest.protected:
        shown["verifiable"] = manifest.verifiable
    return shown


def content_json(cid: Cid, manifest: Manifest) -> Object:
    """One item of the list of datasets."""
    return {"cid": str(cid), "manifest": manifest_json(manifest)}


def space_json(space: Space) -> Object:
    """How much room there is, and how much of it is taken."""
    return {
        "totalBlocks": space.total_blocks,
        "quotaMaxBytes": space.quota_max,
        "quotaUsedBytes": space.quota_used,
        "quotaReservedBytes": space.quota_reserved,
    }


def info_json(info: NodeInfo) -> Object:
    """DebugInfo: who the node is and where it listens."""
    return {
        "id": str(info.peer_id),
        "addrs": list(info.addresses),
        "repo": str(info.repo),
        "spr": info.spr,
        "announceAddresses": list(info.announced),
        "table": {
            "localNode": {
                "nodeId": info.node_id.hex(),
                "peerId": str(info.peer_id),
                "record": info.spr,
                "address": info.discovery_address,
                "seen": False,
            },
            "nodes": [
                {
                    "nodeId": known.node_id.hex(),
                    "peerId": str(known.peer_id),
                    "record": known.record,
                    "address": known.address,
                    "seen": known.seen,
                }
                for known in info.table
            ],
        },
        "codex": {"version": info.version, "revision": info.revision, "contracts": info.contracts},
    }


def record_json(signed: SignedPeerRecord) -> Object:
    """What a node says of itself: where it listens, and the number of its record."""
    return {
        "peerId": str(signed.record.peer_id),
        "seqNo": signed.record.seq,
        "addresses": [str(address) for address in signed.record.addresses],
    }


def peers_json(peers: Sequence[PeerView], limits: P2pConfig) -> Object:
    """Whom the node is connected to, and the bounds on what passes to and from them all, in bytes a second;
    null is no bound.
    """
    return {
        "peers": [peer_json(peer) for peer in peers],
        "limits": {"upload": limits.upload_limit or None, "download": limits.download_limit or None},
    }


def peer_json(peer: PeerView) -> Object:
    """A peer that the node is connected to. `latency` is seconds, null until it was measured."""
    link, trade = peer.link, peer.trade
    return {
        "peerId": str(link.peer),
        "address": str(link.address),
        "dialled": link.dialled,
        "agent": link.agent,
        "protocols": list(link.protocols),
        "since": round(link.since, 3),
        "bytesIn": link.bytes_in,
        "bytesOut": link.bytes_out,
        "latency": None if link.latency is None else round(link.latency, 6),
        "streams": link.streams,
        "wants": trade.wants_theirs,
        "wanted": trade.wants_ours,
        "blockBytesIn": trade.bytes_in,
        "blockBytesOut": trade.bytes_out,
    }


def job_json(job: JobView) -> Object:
    """A job at one moment. `error` is there exactly when its state is failed."""
    return {
        "id": job.id,
        "kind": job.kind.value,
        "state": job.state.value,
        "phase": job.phase,
        "subject": job.subject,
        "bytesDone": job.bytes_done,
        "bytesTotal": job.bytes_total,
        "bytesPerSecond": round(job.bytes_per_second),
        "etaSeconds": None if job.eta_seconds is None else round(job.eta_seconds, 1),
        "started": round(job.started, 3),
        "ended": None if job.ended is None else round(job.ended, 3),
        "result": job.result,
        "error": None if job.error is None else problem_json(job.error),
    }


def problem_json(problem: Problem) -> Object:
    """An error: what is wrong, under a stable code, and what to do about it (perhaps empty)."""
    return {"code": problem.code, "message": problem.message, "remedy": problem.remedy}


def health_json(services: Sequence[ServiceState], version: str) -> Object:
    """How the node is: `state` is "ok" when every service runs and nothing ails it, else "degraded"."""
    well = all(service.state is State.RUNNING and service.condition is None for service in services)
    return {
        "state": "ok" if well else "degraded",
        "services": [
            {
                "name": service.name,
                "state": service.state.value,
                "since": round(service.since, 3),
                "restarts": service.restarts,
                "lastError": service.last_error or None,
                "condition": None if service.condition is None else condition_json(service.condition),
            }
            for service in services
        ],
        "version": version,
    }


def condition_json(condition: Condition) -> Object:
    """What ails a service that runs, since when, and whether it serves all the same."""
    since = round(condition.since, 3)
    return {**problem_json(condition.problem), "since": since, "serves": condition.serves}


def serves(service: ServiceState) -> bool:
    """Whether a service runs and can serve."""
    return service.state is State.RUNNING and (service.condition is None or service.condition.serves)


def ready_json(services: Sequence[ServiceState]) -> Object:
    """Whether the node can be worked with, and if not, the services that it is waiting for."""
    waiting = [service.name for service in services if not serves(service)]
    return {"ready": False, "waitingFor": waiting} if waiting else {"ready": True}
