"""A process that is a liar: real sockets, the real protocol, and an exchange that means ill.

Arguments: the lie, the file with the content that it is about, the record of a node to ask first, a
directory, and the CIDs that it lets others believe it has. Says `announced` when they can find it, and goes
on until it is ended.
"""

import sys
from functools import partial
from pathlib import Path

import trio

from codex.codec import Cid, Multiaddr
from codex.discovery import open_udp
from codex.p2p import SignedPeerRecord, TcpTransport
from codex.testing.liars import LIES, Content, announce, open_liar


async def lie(kind: str, file: str, boot: str, directory: str, *cids: str) -> None:
    content = Content.of(await trio.Path(file).read_bytes())
    async with open_liar(
        f"liar of {kind}",
        LIES[kind],
        content,
        transport=TcpTransport(),
        open_socket=partial(open_udp, ip="127.0.0.1"),
        address=Multiaddr.parse("/ip4/127.0.0.1/tcp/0"),
        bootstrap=[SignedPeerRecord.parse(boot)],
        directory=Path(directory),
    ) as liar:
        await announce(liar, content.cid, *map(Cid.parse, cids))
        print(f"announced by {liar.peer_id}", file=sys.stderr, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(lie, *sys.argv[1:])
