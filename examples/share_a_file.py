"""Two nodes in one program: alice stores a file, bob gets it by its CID and shows whom he got it from:
`python share_a_file.py DIRECTORY FILE`."""

import sys
from pathlib import Path

import trio

import codex
from codex.config import DiscoveryConfig, P2pConfig
from codex.errors import CodexError


def config(directory: Path, *bootstrap: str) -> codex.Config:
    """A node that only this machine reaches, on free ports; it asks the bootstrap nodes first."""
    p2p = P2pConfig(listen_addrs=("/ip4/127.0.0.1/tcp/0",), bootstrap_nodes=bootstrap)
    return codex.Config(directory, p2p=p2p, discovery=DiscoveryConfig(port=0))


async def main(directory: str, file: str) -> None:
    content = await trio.Path(file).read_bytes()
    home = Path(directory)
    async with (
        codex.open_node(config(home / "alice")) as alice,
        codex.open_node(config(home / "bob", alice.info().spr)) as bob,
    ):
        cid = await alice.store(content, filename=Path(file).name)
        print(cid)
        async with bob.retrieve(cid) as dataset:
            assert await dataset.read() == content
        for peer in bob.peers():
            print(f"{peer.trade.bytes_in} bytes of blocks from {peer.link.peer} at {peer.link.address}")


if len(sys.argv) != 3:
    sys.exit(__doc__)
try:
    trio.run(main, *sys.argv[1:])
except CodexError as error:
    sys.exit(f"{error}. {error.remedy}")
