"""A peer that means ill: a real switch and a real place in the hash table, with an exchange of its own.

For tests, in memory or as a process on real sockets. It finds nodes and is found as any node is; what it says
is one of `LIES`, which know the content that they lie about.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import trio
from attrs import evolve, frozen

from codex.codec import Cid, Multiaddr
from codex.config import DiscoveryConfig, P2pConfig
from codex.data import BLOCK_SIZE, Block, BlockAddress, LeafAddress, MerkleProof, MerkleTree
from codex.data.merkle import steps_of
from codex.discovery import Board, DatagramSocket, Discovery
from codex.discovery.service import DiscoveryService
from codex.errors import CodexError
from codex.exchange import (
    PROTOCOL,
    Delivery,
    Entry,
    Message,
    Presence,
    decode_message,
    encode_message,
)
from codex.p2p import (
    Handlers,
    MessageReader,
    PeerId,
    SignedPeerRecord,
    Stream,
    Switch,
    Transport,
    write_message,
)
from codex.runtime import Inline, Policy, SeededEntropy, VirtualClock, open_supervisor
from codex.testing.switches import EPOCH, open_switch

MAX_MESSAGE = 100 << 20  # bytes of the longest message that it reads
PUSHED = 20  # blocks that nobody asked for, one message each
WRONG = Block.of(b"wrong" * 200)


@frozen
class Content:
    """What is lied about: the blocks of a dataset, and their tree."""

    blocks: Sequence[Block]
    tree: MerkleTree

    @classmethod
    def of(cls, data: bytes) -> "Content":
        """As a node cuts it: blocks of 64 KiB, the last one filled up with zeros."""
        starts = range(0, len(data), BLOCK_SIZE)
        blocks = [Block.of(data[at : at + BLOCK_SIZE].ljust(BLOCK_SIZE, b"\0")) for at in starts]
        return cls(blocks, MerkleTree.of([block.cid.digest for block in blocks]))

    @property
    def cid(self) -> Cid:
        """The tree's."""
        return self.tree.root_cid

    def truth(self, address: BlockAddress) -> Delivery | None:
        """What an honest node sends; None for what is not in it."""
        if not isinstance(address, LeafAddress) or address.tree != self.cid:
            return None
        return Delivery(address, self.blocks[address.index], self.tree.proof(address.index))


Part = Message | bytes
Lie = Callable[[Content, Message], Iterator[Part]]
"""What is said to a message that has come: messages, or bytes in their place."""


def _wrong_blocks(content: Content, message: Message) -> Iterator[Part]:
    yield _answer(content, message, lambda right: evolve(right, block=WRONG))


def _wrong_proofs(content: Content, message: Message) -> Iterator[Part]:
    def forged(right: Delivery) -> Delivery:
        proof = right.proof
        assert isinstance(proof, MerkleProof)
        return evolve(right, proof=evolve(proof, steps=steps_of([b"x" * 32] * len(proof.path))))

    yield _answer(content, message, forged)


def _other_blocks(content: Content, message: Message) -> Iterator[Part]:
    """Right blocks with their proofs, at the place of their neighbours."""

    def moved(right: Delivery) -> Delivery:
        assert isinstance(right.address, LeafAddress)
        other = (right.address.index + 1) % len(content.blocks)
        return Delivery(right.address, content.blocks[other], content.tree.proof(other))

    yield _answer(content, message, moved)


def _unasked(content: Content, message: Message) -> Iterator[Part]:
    other = Content.of(bytes(range(256)) * 256 * PUSHED)
    for index in range(PUSHED):
        yield Message(deliveries=(_sure(other, index),))


def _garbage(content: Content, message: Message) -> Iterator[Part]:
    yield b"\xff" * 50


def _boast(content: Content, message: Message) -> Iterator[Part]:
    """Has everything, and sends nothing."""
    yield _answer(content, message, None)


def _nothing(content: Content, message: Message) -> Iterator[Part]:
    yield from ()


LIES: Mapping[str, Lie] = MappingProxyType(
    {
        "wrong blocks": _wrong_blocks,
        "wrong proofs": _wrong_proofs,
        "other blocks": _other_blocks,
        "unasked": _unasked,
        "garbage": _garbage,
        "boast": _boast,
        "nothing": _nothing,
    }
)


def _answer(content: Content, message: Message, bend: Callable[[Delivery], Delivery] | None) -> Message:
    """Says that it has whatever is asked for; and to what is wanted of the content, bent truth."""
    asked = [entry for entry in message.entries if not entry.cancel]
    wanted = [entry.address for entry in asked if not entry.have]
    truths = [right for address in wanted if (right := content.truth(address)) is not None]
    return Message(
        presences=tuple(Presence(entry.address, True) for entry in asked if entry.have),
        deliveries=() if bend is None else tuple(map(bend, truths)),
    )


def _sure(content: Content, index: int) -> Delivery:
    right = content.truth(LeafAddress(content.cid, index))
    assert right is not None
    return right


@frozen(eq=False)
class Liar:
    """A liar that runs. Made by `open_liar`."""

    peer_id: PeerId
    discovery: Discovery
    asked: list[Entry]
    """What it was asked for, all peers together."""
    victims: set[PeerId]
    """Those that it has said something to."""


@asynccontextmanager
async def open_liar(
    name: str,
    lie: Lie,
    content: Content,
    *,
    transport: Transport,
    open_socket: Callable[[int], DatagramSocket],
    address: Multiaddr,
    bootstrap: Sequence[SignedPeerRecord],
    directory: Path,
) -> AsyncIterator[Liar]:
    """Run a liar for the length of the block. `address` is where it listens: an IP address and a TCP port."""
    handlers, clock = Handlers(), VirtualClock(EPOCH)
    asked: list[Entry] = []
    victims: set[PeerId] = set()
    switch: Switch | None = None

    async def listen(stream: Stream) -> None:
        assert switch is not None
        reader = MessageReader(stream, MAX_MESSAGE)
        answers: Stream | None = None
        while (data := await reader.receive()) is not None:
            message = decode_message(data)
            asked.extend(message.entries)
            for part in lie(content, message):
                victims.add(stream.peer)
                parts = [part] if isinstance(part, bytes) else encode_message(part)
                try:
                    if answers is None:
                        answers = await switch.open_stream(stream.peer, PROTOCOL)
                    await write_message(answers, *parts)
                except CodexError:
                    return  # it has had enough of us

    handlers.add(PROTOCOL, listen)
    config = P2pConfig(listen_addrs=(str(address),), nat="none")
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(
            open_switch(transport, name, config=config, handlers=handlers)
        )
        switch = opened.switch
        board = Board.of(opened.identity, clock.now())
        supervisor = await stack.enter_async_context(open_supervisor(clock=clock))

        def discovery_service() -> DiscoveryService:
            return DiscoveryService(
                DiscoveryConfig(0),
                opened.identity,
                board=board,
                open_socket=open_socket,
                directory=directory,
                bootstrap=bootstrap,
                clock=clock,
                entropy=SeededEntropy(name),
                offload=Inline(),
            )

        discovery = Discovery(await supervisor.start("discovery", discovery_service, Policy()), board)
        ip = address.parts[0]
        udp = Multiaddr.of(ip, ("udp", str(board.port)))
        await discovery.announce_addresses(switch.listening(), udp)
        yield Liar(opened.identity.peer_id, discovery, asked, victims)


async def announce(liar: Liar, *cids: Cid) -> None:
    """Have it found as one who has these, once it knows anybody."""
    await liar.discovery.wait_for_peers()
    async with trio.open_nursery() as nursery:
        for cid in cids:
            nursery.start_soon(liar.discovery.provide, cid)
