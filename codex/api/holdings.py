"""What of a dataset is on this node: whether it is pinned, and whether a part of it is whole.

Asks the node's store itself, and takes a download's job from its retrieval; nothing else of the API does.
"""

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import BlockNotFound
from codex.node import Job, Node, Retrieval


async def is_pinned(node: Node, cid: Cid) -> bool:
    """Whether a dataset is kept from expiring. Raises BlockNotFound."""
    return await node._running.store.is_pinned(cid)


async def check_whole(node: Node, manifest: Manifest, offset: int, length: int) -> None:
    """Raise BlockNotFound, which says how many, when blocks with these bytes of a dataset are not here.

    Known damage counts; blocks are not read for it.
    """
    first = offset // manifest.block_size
    count = -(-(offset + length) // manifest.block_size) - first
    missing = await node._running.store.missing(manifest.tree_cid, first, count)
    if missing:
        raise BlockNotFound(
            f"The requested CID could not be retrieved ({missing} of the {count} blocks asked for are "
            "missing or damaged on this node).",
            remedy="store the same content again, which mends the dataset",
        )


def job_id(retrieval: Retrieval) -> str | None:
    """The id of the job that a download is."""
    job = retrieval._progress
    return job.id if isinstance(job, Job) else None
