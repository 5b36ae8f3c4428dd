"""Store a few bytes on a node of your own, and get them back: `python store_and_retrieve.py DIRECTORY`."""

import sys
from pathlib import Path

import trio

import codex


async def main(directory: str) -> None:
    async with codex.open_node(codex.Config(data_dir=Path(directory))) as node:
        cid = await node.store(b"some file contents")
        print(cid)
        async with node.retrieve(cid) as dataset:
            print((await dataset.read()).decode())


if len(sys.argv) != 2:
    sys.exit("usage: python store_and_retrieve.py DIRECTORY")
trio.run(main, sys.argv[1])
