"""Make a file durable on a node in this program: any four of its six rows are enough to read it.
`python protect_a_file.py DIRECTORY FILE`."""

import sys
from pathlib import Path

import trio

import codex
from codex.codec import Cid
from codex.errors import CodexError

DATA, PARITY = 4, 2  # rows that the file is cut into, and rows that are added


async def protect(node: codex.Node, cid: Cid) -> Cid:
    """The CID of the verifiable dataset, which is made in the background."""
    ended = await (await node.protect(cid, DATA, PARITY)).wait()
    if ended.error is not None:
        sys.exit(f"{ended.error.message}. {ended.error.remedy}")
    assert isinstance(ended.result, dict)
    return Cid.parse(str(ended.result["verifiableCid"]))


async def main(directory: str, file: str) -> None:
    content = await trio.Path(file).read_bytes()
    async with codex.open_node(codex.Config(Path(directory))) as node:
        original = await node.store(content, filename=Path(file).name)
        cid = await protect(node, original)
        print("verifiable", cid)
        protection = (await node.fetch_manifest(cid)).protection
        assert protection is not None
        assert protection.verification is not None
        for number, root in enumerate(protection.verification.slot_roots):
            print("row", number, "is proved by", root)
        await node.delete(original)  # its blocks stay: the verifiable dataset has them too
        async with node.retrieve(cid) as dataset:
            assert await dataset.read() == content
        print(f"read {len(content)} bytes, equal to the file")


if len(sys.argv) != 3:
    sys.exit(__doc__)
try:
    trio.run(main, *sys.argv[1:])
except CodexError as error:
    sys.exit(f"{error}. {error.remedy}")
