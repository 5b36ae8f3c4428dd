"""Store a file of any size without having it in memory, and read some bytes from its middle:
`python stream_a_file.py DIRECTORY FILE`."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import trio

import codex
from codex.errors import CodexError

PIECE = 256 * 1024  # bytes read at once; any size will do


async def pieces(path: trio.Path) -> AsyncIterator[bytes]:
    async with await path.open("rb") as file:
        while piece := await file.read(PIECE):
            yield piece


async def main(directory: str, file: str) -> None:
    path = trio.Path(file)
    size = (await path.stat()).st_size
    async with codex.open_node(codex.Config(data_dir=Path(directory))) as node:
        cid = await node.store(pieces(path), filename=path.name, size=size)
        print(cid)
        async with node.retrieve(cid, offset=size // 2, length=min(16, size // 2)) as middle:
            async for piece in middle:
                print(piece.hex())
        space = await node.space()
        print(f"{space.quota_used} bytes used, {space.available} left")


if len(sys.argv) != 3:
    sys.exit(__doc__)
try:
    trio.run(main, *sys.argv[1:])
except CodexError as error:
    sys.exit(f"{error}. {error.remedy}")
