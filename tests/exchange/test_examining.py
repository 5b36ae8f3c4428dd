"""What is looked at in place, and what off the loop, and that it makes no difference."""

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

import pytest
from attrs import evolve

from codex.data import Block, LeafAddress, MerkleTree
from codex.errors import DecodeError
from codex.exchange.examining import IN_PLACE, SMALL, Finding, examine
from codex.exchange.messages import Delivery, Entry, Message, Presence, decode
from codex.exchange.proving import ProvenTree
from codex.exchange.writing import encode
from codex.runtime import Inline
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


@pytest.mark.parametrize(
    ("message", "elsewhere"),
    [
        (delivered(LARGE)[0], 0),
        (delivered(SHORT[:60])[0], 0),
        (delivered(SHORT)[0], 1),
        (Message(entries=tuple(map(Entry, MANY[:500]))), 0),
        (Message(entries=tuple(map(Entry, MANY))), 1),
        (Message(presences=tuple(Presence(address, True) for address in MANY)), 1),
        (delivered([*LARGE, *LARGE[:20]])[0], 1),
    ],
    ids=["64 blocks", "small", "many blocks", "few wants", "many wants", "many presences", "over the size"],
)
async def test_what_takes_long_is_looked_at_off_the_loop(message: Message, elsewhere: int) -> None:
    data, offload = b"".join(encode(message)), Elsewhere()
    found, findings = await examine(data, {}, offload)
    assert found == decode(data)
    assert len(findings) == len(message.deliveries)
    assert offload.runs == elsewhere
    if len(data) <= SMALL or len(data) > IN_PLACE:
        assert elsewhere == (len(data) > IN_PLACE)


@pytest.mark.parametrize("blocks", [LARGE, SHORT])
async def test_wherever_it_is_looked_at_what_is_false_is_found(blocks: list[Block]) -> None:
    message, tree = delivered(blocks)
    moved = list(message.deliveries)
    moved[3:5] = [evolve(moved[4], address=moved[3].address), evolve(moved[3], address=moved[4].address)]
    data = b"".join(encode(Message(deliveries=tuple(moved))))
    count = len(blocks)
    trees = {tree.root_cid: {count: (ProvenTree(tree.root_cid, count), 1)}}
    _, findings = await examine(data, trees, Elsewhere())
    assert [n for n, finding in enumerate(findings) if finding is Finding.FALSE] == [3, 4]
    assert findings.count(Finding.TRUE) == count - 2
    with pytest.raises(DecodeError, match="are not those of"):
        await examine(data.replace(bytes(blocks[9].data[:64]), bytes(64)), trees, Elsewhere())
