"""The calls about datasets that move no bulk: list, look, pin, delete, and how much room there is."""

from codex.api.objects import content_json, space_json
from codex.api.problems import Refusal
from codex.api.routes import Reply, Route, as_json, as_json_text, nothing, parse_cid, to_text
from codex.errors import BlockInUse
from codex.node import Node

_IN_USE = "Directly deleting a block that is part of a dataset is not allowed."


def routes(node: Node) -> list[Route]:
    """The rows of this page, on `node`."""

    async def list_data() -> Reply:
        # Item by item, so that a long list is not made into text in one step of the loop.
        items = [to_text(content_json(cid, manifest)) async for cid, manifest in node.iterate_manifests()]
        return as_json_text(f'{{"content":[{",".join(items)}]}}')

    async def delete(cid: str) -> Reply | Refusal:
        try:
            await node.delete(parse_cid(cid))
        except BlockInUse as error:
            return Refusal(500, _IN_USE, error.code, error.remedy)
        return nothing()

    async def fetch(cid: str) -> Reply:
        parsed = parse_cid(cid)
        job = await node.fetch_dataset_async_task(parsed)
        manifest = await node.fetch_manifest(parsed, local=True)
        return as_json(content_json(parsed, manifest), headers={"X-Job-Id": job.id})

    async def fetch_manifest(cid: str) -> Reply:
        parsed = parse_cid(cid)
        return as_json(content_json(parsed, await node.fetch_manifest(parsed)))

    async def exists(cid: str) -> Reply:
        return as_json({cid: await node.has(parse_cid(cid))})

    async def pinned(cid: str) -> Reply:
        return as_json({"pinned": await node.is_pinned(parse_cid(cid))})

    async def pins() -> Reply:
        return as_json({"cids": [str(cid) async for cid in node.pins()]})

    async def pin(cid: str) -> Reply:
        await node.pin(parse_cid(cid))
        return nothing()

    async def unpin(cid: str) -> Reply:
        await node.unpin(parse_cid(cid))
        return nothing()

    async def space() -> Reply:
        return as_json(space_json(await node.space()))

    return [
        Route("GET", "/data", list_data),
        # An empty CID is an incorrect one. (A rule that ends in a slash would redirect instead.)
        Route("DELETE", "/data/<string(minlength=0):cid>", delete),
        Route("POST", "/data/<cid>/network", fetch),
        Route("GET", "/data/<cid>/network/manifest", fetch_manifest),
        Route("GET", "/data/<cid>/exists", exists),
        Route("GET", "/data/<cid>/pin", pinned),
        Route("GET", "/pins", pins),
        Route("PUT", "/data/<cid>/pin", pin),
        Route("DELETE", "/data/<cid>/pin", unpin),
        Route("GET", "/space", space),
    ]
