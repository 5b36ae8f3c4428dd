"""Looking at a message that came: is it one, and do the leaves in it belong where they say? Off the loop, for
large ones.
"""

from collections.abc import Mapping
from enum import Enum

from codex.codec import BLOCK_PREFIX, Cid
from codex.data import LeafAddress
from codex.exchange.messages import Delivery, Message, Part, decode
from codex.exchange.proving import ProvenTree


class Finding(Enum):
    """What there is to say about a delivery."""

    TRUE = "it belongs there"
    FALSE = "it does not belong there"
    UNFIT = "it belongs to a tree of another size than the one that is fetched, or to none that is"


Trees = Mapping[Cid, Mapping[int, tuple[ProvenTree, int]]]
"""The trees that are being fetched, by their root and their number of leaves."""


def examine(data: Part, trees: Trees) -> tuple[Message, list[Finding]]:
    """Read a message, and say of each delivery whether it is what its address asks for.

    May run in a thread: of `trees` it uses what is there. Raises DecodeError.
    """
    message = decode(data)
    return message, [_find(delivery, trees) for delivery in message.deliveries]


def _find(delivery: Delivery, trees: Trees) -> Finding:
    address, cid, proof = delivery.address, delivery.block.cid, delivery.proof
    if not isinstance(address, LeafAddress):
        return Finding.TRUE if address == cid else Finding.FALSE
    if proof is None or not cid.raw.startswith(BLOCK_PREFIX):
        return Finding.FALSE
    tree, _ = trees.get(address.tree, {}).get(proof.leaf_count, (None, 0))
    if tree is None:
        true = proof.index == address.index and proof.verify(cid.digest, address.tree.digest)
        return Finding.UNFIT if true else Finding.FALSE
    return Finding.TRUE if tree.proves(address.index, cid.digest, proof) else Finding.FALSE
