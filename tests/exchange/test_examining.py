"""What is looked at in place, and what off the loop, and that it makes no difference."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import pytest
from attrs import evolve

from codex.codec import varint
from codex.data import Block, LeafAddress, MerkleTree
from codex.errors import DecodeError
from codex.exchange.examining import IN_PLACE, Finding, Heard, Trees, examine
from codex.exchange.messages import Delivery, Entry, Message, Presence, decode
from codex.exchange.proving import ProvenTree
from codex.exchange.unpacking import Piece, Unpacker
from codex.exchange.writing import encode
from codex.runtime import Inline, Offload
from codex.testing.content import noise

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LARGE = [Block.of(noise(1 << 16, str(seed))) for seed in range(64)]
SHORT = [Block.of(noise(512, str(seed))) for seed in range(200)]


class Elsewhere(Inline):
    """Counts how often it is given something to do."""

    runs = 0

    async def run(self, fn: Callable[[*Ts], T], *args: *Ts) -> T:
        self.runs += 1
        return await super().run(fn, *args)


def delivered(blocks: list[Block]) -> tuple[Message, MerkleTree]:
    """A message with these blocks, and the tree that they are in."""
    tree = MerkleTree.of([block.cid.digest for block in blocks])
    return Message(
        deliveries=tuple(
            Delivery(LeafAddress(tree.root_cid, index), block, tree.proof(index))
            for index, block in enumerate(blocks)
        )
    ), tree


ROOT = delivered(SHORT)[1].root_cid
MANY = [LeafAddress(ROOT, index) for index in range(2000)]


def pieces_of(data: bytes) -> list[Piece]:
    """What comes of a message that comes all at once."""
    unpacker, pieces = Unpacker(), []
    unpacker.feed([varint.encode(len(data)), data])
    while (piece := unpacker.next()) is not None:
        pieces.append(piece)
    return pieces


async def examined(data: bytes, trees: Trees, offload: Offload) -> Heard:
    """All of a message, looked at piece by piece."""
    heard = Heard()
    for piece in pieces_of(data):
        heard.add(await examine(piece, trees, offload))
    return heard


@pytest.mark.parametrize(
    ("message", "elsewhere"),
    [
        (delivered(LARGE)[0], 0),
        (delivered(SHORT[:60])[0], 0),
        (delivered(SHORT)[0], 0),
        (Message(entries=tuple(map(Entry, MANY[:500]))), 0),
        (Message(entries=tuple(map(Entry, MANY))), 1),
        (Message(presences=tuple(Presence(address, True) for address in MANY)), 1),
        (delivered([*LARGE, *LARGE[:20]])[0], 0),
        (delivered([Block.of(bytes(IN_PLACE))])[0], 1),
    ],
    ids=[
        "64 blocks",
        "small",
        "many",
        "few wants",
        "many wants",
        "many presences",
        "84 blocks",
        "huge block",
    ],
)
async def test_what_takes_long_is_looked_at_off_the_loop(message: Message, elsewhere: int) -> None:
    data, offload = b"".join(encode(message)), Elsewhere()
    heard = await examined(data, {}, offload)
    assert heard.message is not None
    assert evolve(heard.message, deliveries=tuple(heard.deliveries)) == decode(data)
    assert len(heard.findings) == len(message.deliveries)
    assert offload.runs == elsewhere


@pytest.mark.parametrize("blocks", [LARGE, SHORT])
async def test_wherever_it_is_looked_at_what_is_false_is_found(blocks: list[Block]) -> None:
    message, tree = delivered(blocks)
    moved = list(message.deliveries)
    moved[3:5] = [evolve(moved[4], address=moved[3].address), evolve(moved[3], address=moved[4].address)]
    data = b"".join(encode(Message(deliveries=tuple(moved))))
    count = len(blocks)
    trees = {tree.root_cid: {count: (ProvenTree(tree.root_cid, count), 1)}}
    findings = (await examined(data, trees, Elsewhere())).findings
    assert [n for n, finding in enumerate(findings) if finding is Finding.FALSE] == [3, 4]
    assert findings.count(Finding.TRUE) == count - 2
    with pytest.raises(DecodeError, match="are not those of"):
        await examined(data.replace(bytes(blocks[9].data[:64]), bytes(64)), trees, Elsewhere())


async def test_what_ends_with_a_message_that_was_handed_on_whole_is_looked_at_like_the_rest() -> None:
    message, tree = delivered(SHORT[:3])
    data = b"".join(encode(evolve(message, presences=(Presence(MANY[0], True),))))
    assert [piece.message for piece in pieces_of(data)] == [data]
    heard = await examined(data, {tree.root_cid: {3: (ProvenTree(tree.root_cid, 3), 1)}}, Elsewhere())
    assert heard.findings == [Finding.TRUE] * 3
    assert heard.message is not None
    assert heard.message.presences == (Presence(MANY[0], True),)
