"""How fast py-libp2p moves one stream, between two processes on loopback; runs with py-libp2p's Python.

`rate.py listen MUXER` prints its address and serves until its input ends. `rate.py send MUXER ADDRESS MIB
KIB` sends so many MiB over one stream, so many KiB in each write, waits for the word that all has come, and
prints bytes a second.
"""

import sys
import time

import trio
from libp2p import new_host
from libp2p.abc import INetStream
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.peer.peerinfo import info_from_p2p_addr
from multiaddr import Multiaddr

PROTOCOL = TProtocol("/rate/1.0.0")
PIECE = 1 << 20  # bytes that are read at once
LOOPBACK = Multiaddr("/ip4/127.0.0.1/tcp/0")


async def listen(muxer: str) -> None:
    host = new_host(key_pair=create_new_key_pair(), muxer_preference=muxer)
    host.set_stream_handler(PROTOCOL, take)
    async with host.run(listen_addrs=[LOOPBACK]):
        print(next(address for address in host.get_addrs()), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def take(stream: INetStream) -> None:
    """Read as many bytes as the first eight announce, and answer with one."""
    head = b""
    while len(head) < 8:
        head += await stream.read(8 - len(head))
    left = int.from_bytes(head, "big")
    while left:
        left -= len(await stream.read(min(left, PIECE)))
    await stream.write(b"!")
    await stream.close()


async def send(muxer: str, address: str, size: int, written: int) -> None:
    host = new_host(key_pair=create_new_key_pair(), muxer_preference=muxer)
    piece = bytes(written)
    async with host.run(listen_addrs=[LOOPBACK]):
        peer = info_from_p2p_addr(Multiaddr(address))
        await host.connect(peer)
        stream = await host.new_stream(peer.peer_id, [PROTOCOL])
        begun = time.monotonic()
        await stream.write(size.to_bytes(8, "big"))
        for _ in range(size // written):
            await stream.write(piece)
        if await stream.read(1) != b"!":
            raise RuntimeError("the stream ended before all was there")
        print(size / (time.monotonic() - begun), flush=True)


def main() -> None:
    match sys.argv[1:]:
        case ["listen", muxer]:
            trio.run(listen, muxer)
        case ["send", muxer, address, mib, kib]:
            trio.run(send, muxer, address, int(mib) << 20, int(kib) << 10)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
