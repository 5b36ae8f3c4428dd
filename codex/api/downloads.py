"""One download: by the request's conditions the whole of a dataset is sent, a part, only the head, or word
that the caller has it already.
"""

from codex.api import ranges
from codex.api.cors import EXPOSED, Cors
from codex.api.ranges import Part
from codex.api.wire import Exchange
from codex.codec import Cid
from codex.data import Manifest
from codex.errors import BlockNotFound
from codex.node import Node, Retrieval

Headers = list[tuple[str, str]]

# What a CID names does not change, so that nobody need ask again.
_CACHING = "max-age=31536000, immutable"


async def give(node: Node, exchange: Exchange, cid: Cid, *, local: bool, cors: Cors) -> None:
    """Answer a GET or HEAD for a dataset. Nothing is promised that is known not to be here.

    Raises PeerGone; before anything is sent also Unsatisfiable and what the node says, later what ends it.
    """
    part: Part | None = None
    known, asked = exchange.headers("if-none-match"), exchange.headers("range")
    validators = [("ETag", f'"{cid}"'), ("Cache-Control", _CACHING), *_for_pages(exchange, local, cors)]
    if known or asked or exchange.method == "HEAD":
        # A plain download is spared this question to the store: it finds the manifest by itself.
        manifest = await node.fetch_manifest(cid, local=local)
        if ranges.is_known(known, str(cid)):
            await exchange.respond(304, validators, None)
            return
        if exchange.method == "HEAD":
            # Ranges are of GET alone (RFC 9110, section 14.2): what is told is of the whole.
            size = manifest.original_size
            await node.check_whole(manifest, 0, size, local=local)
            await exchange.respond(200, validators + _description(manifest, None), size)
            return
        if ranges.still_holds(exchange.headers("if-range"), str(cid)):
            part = ranges.part(asked, manifest.original_size)
    offset, length = (part.offset, part.length) if part else (0, None)
    async with node.retrieve(cid, offset=offset, length=length, local=local, manifest_only=True) as retrieval:
        manifest = _manifest(retrieval)
        first = await _first(node, manifest, retrieval, local)
        headers = validators + _description(manifest, part)
        job = retrieval.job_id
        if job:
            headers.append(("X-Job-Id", job))
        await exchange.respond(206 if part else 200, headers, retrieval.size)
        if first:
            await exchange.send(first)
        while parts := await retrieval.some():
            await exchange.send(*parts)


async def _first(node: Node, manifest: Manifest, retrieval: Retrieval, local: bool) -> bytes | memoryview:
    """The first piece; whatever is known to be missing behind it is told now, and not half-way through."""
    try:
        first = await anext(retrieval, b"")
    except BlockNotFound:
        await node.check_whole(manifest, retrieval.offset, retrieval.size, local=local)
        raise
    if len(first) < retrieval.size:
        await node.check_whole(manifest, retrieval.offset, retrieval.size, local=local)
    return first


def _manifest(retrieval: Retrieval) -> Manifest:
    assert retrieval.manifest is not None, "only a single block has none, and those are not given out"
    return retrieval.manifest


def _description(manifest: Manifest, part: Part | None) -> Headers:
    """What is sent, as the upload described it, and which part of it."""
    name = manifest.filename
    headers = [
        ("Content-Type", manifest.mimetype or "application/octet-stream"),
        ("Content-Disposition", f'attachment; filename="{name}"' if name else "attachment"),
        ("Accept-Ranges", "bytes"),
    ]
    if part:
        headers.append(("Content-Range", part.content_range))
    return headers


def _for_pages(exchange: Exchange, local: bool, cors: Cors) -> Headers:
    """What lets pages read the reply; a network download always lets them read its name, as the reference's
    does.
    """
    headers = cors.reply(exchange.headers("origin"), error_method="GET")
    if cors.origin is not None:
        headers.append(("Access-Control-Expose-Headers", EXPOSED))
    elif not local:
        headers.append(("Access-Control-Expose-Headers", "Content-Disposition"))
    return headers
