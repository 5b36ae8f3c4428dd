"""A peer made of py-libp2p, which carries a dataset from one node to another; runs with py-libp2p's Python.

Says who it is and where it listens, then takes one task a line and tells what came of it, all as JSON. The
task {"dial", "manifest", "tree", "leaves"} dials a node (a multiaddress with /p2p), waits until it is
identified, pings it, and takes the manifest and all leaves from it. Whoever dials this peer is then
served them; the task {"sent"} asks how large its largest message was. Ends with its input.
"""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.secp256k1 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.host.ping import PingService
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import info_from_p2p_addr
from messages import Address, Message, Reader, deliveries, framed, haves, wants
from multiaddr import Multiaddr

EXCHANGE = TProtocol("/codex/blockexc/1.0.0")
PER_MESSAGE = 20  # blocks, as the reference sends them: over 1 MiB
PATIENCE = 30  # seconds for each thing that is waited for


class Peer:
    def __init__(self, host: IHost) -> None:
        self.host = host
        self.blocks: dict[Address, bytes] = {}
        self.largest = 0  # bytes of the largest message that came
        self.sent = 0  # bytes of the largest message that went
        self.came = trio.Event()
        self.outbound: dict[ID, INetStream] = {}
        self.turn = trio.Lock()  # one message at a time goes out

    async def serve(self, stream: INetStream) -> None:
        """Read a stream that a node opened. What is answered goes over a stream of our own."""
        who = stream.muxed_conn.peer_id
        reader = Reader()
        while piece := await stream.read(1 << 16):
            for data in reader.feed(piece):
                self.largest = max(self.largest, len(data))
                await self.take(who, Message(data))

    async def take(self, who: ID, message: Message) -> None:
        self.blocks |= message.blocks
        self.came.set()
        self.came = trio.Event()
        wanted = [(a, block) for a, block, cancel in message.wants if not cancel and a in self.blocks]
        if present := [a for a, block in wanted if not block]:
            await self.send(who, haves(present))
        blocks = [self.blocks[a] for a, block in wanted if block]
        for first in range(0, len(blocks), PER_MESSAGE):
            await self.send(who, deliveries(blocks[first : first + PER_MESSAGE]))

    async def send(self, who: ID, message: bytes) -> None:
        # Nothing may read this stream: a read that waits would hold up every write on it.
        async with self.turn:
            if who not in self.outbound:
                self.outbound[who] = await self.host.new_stream(who, [EXCHANGE])
            await self.outbound[who].write(framed(message))
            self.sent = max(self.sent, len(message))

    async def fetch(self, task: dict[str, str]) -> dict[str, object]:
        """Dial, look, ping, and take the dataset."""
        node = info_from_p2p_addr(Multiaddr(task["dial"]))
        with trio.fail_after(PATIENCE):
            await self.host.connect(node)
        store = self.host.get_peerstore()
        with trio.fail_after(PATIENCE):
            # py-libp2p tells nobody when it has identified a peer.
            while EXCHANGE not in (protocols := list(store.get_protocols(node.peer_id))):  # noqa: ASYNC110
                await trio.sleep(0.05)
        with trio.fail_after(PATIENCE):
            [millis] = await PingService(self.host).ping(node.peer_id)
        tree = bytes.fromhex(task["tree"])
        await self.want(node.peer_id, [("block", bytes.fromhex(task["manifest"]))])
        await self.want(node.peer_id, [("leaf", tree, index) for index in range(int(task["leaves"]))])
        return {
            "protocols": protocols,
            "ping": millis,
            "largest": self.largest,
            "blocks": len(self.blocks),
        }

    async def want(self, who: ID, addresses: Sequence[Address]) -> None:
        await self.send(who, wants(addresses, block=True))
        with trio.fail_after(PATIENCE):
            while any(address not in self.blocks for address in addresses):
                await self.came.wait()


@asynccontextmanager
async def open_peer() -> AsyncIterator[Peer]:
    host = new_host(key_pair=create_new_key_pair(), muxer_preference="MPLEX")
    peer = Peer(host)
    host.set_stream_handler(EXCHANGE, peer.serve)
    async with host.run(listen_addrs=[Multiaddr("/ip4/127.0.0.1/tcp/0")]):
        yield peer


async def main() -> None:
    async with open_peer() as peer:
        tell(id=str(peer.host.get_id()), address=str(peer.host.get_addrs()[0]))
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            task = json.loads(line)
            tell(**(await peer.fetch(task) if "dial" in task else {"sent": peer.sent}))


def tell(**what: object) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    trio.run(main)
