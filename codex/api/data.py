"""The calls about datasets that move no bulk: list, look, delete, and how much room there is."""

from codex.api.routes import Reply, Route, as_json, as_text, nothing, parse_cid
from codex.codec import Cid
from codex.data import Manifest
from codex.errors import BlockInUse
from codex.node import Node


def manifest_json(manifest: Manifest) -> dict[str, object]:
    """A manifest as the API shows it: sizes in bytes; `verifiable` only beside a true `protected`."""
    shown: dict[str, object] = {
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


def content_json(cid: Cid, manifest: Manifest) -> dict[str, object]:
    """One item of the list of datasets."""
    return {"cid": str(cid), "manifest": manifest_json(manifest)}


def routes(node: Node) -> list[Route]:
    """The rows of this page, on `node`."""

    async def list_data() -> Reply:
        found = [content_json(cid, manifest) async for cid, manifest in node.iterate_manifests()]
        return as_json({"content": found})

    async def delete(cid: str) -> Reply:
        try:
            await node.delete(parse_cid(cid))
        except BlockInUse:
            return as_text("Directly deleting a block that is part of a dataset is not allowed.", 500)
        return nothing()

    async def fetch(cid: str) -> Reply:
        parsed = parse_cid(cid)
        manifest = await node.fetch_manifest(parsed)
        await node.fetch_dataset_async_task(parsed)
        return as_json(content_json(parsed, manifest))

    async def fetch_manifest(cid: str) -> Reply:
        parsed = parse_cid(cid)
        return as_json(content_json(parsed, await node.fetch_manifest(parsed)))

    async def exists(cid: str) -> Reply:
        return as_json({cid: await node.has(parse_cid(cid))})

    async def space() -> Reply:
        now = await node.space()
        return as_json(
            {
                "totalBlocks": now.total_blocks,
                "quotaMaxBytes": now.quota_max,
                "quotaUsedBytes": now.quota_used,
                "quotaReservedBytes": now.quota_reserved,
            }
        )

    return [
        Route("GET", "/data", list_data),
        # An empty CID is an incorrect one. (A rule that ends in a slash would redirect instead.)
        Route("DELETE", "/data/<string(minlength=0):cid>", delete),
        Route("POST", "/data/<cid>/network", fetch),
        Route("GET", "/data/<cid>/network/manifest", fetch_manifest),
        Route("GET", "/data/<cid>/exists", exists),
        Route("GET", "/space", space),
    ]
