"""Looking at a message that came: is it one, and do the leaves in it belong where they say? Off the loop,
where there is much to look at.
"""

from collections.abc import Mapping
from enum import Enum

from attrs import define, field

from codex.codec import BLOCK_PREFIX, Cid
from codex.data import LeafAddress
from codex.exchange.messages import Delivery, Message, decode, decode_deliveries
from codex.exchange.proving import ProvenTree
from codex.exchange.unpacking import WHOLE, Piece
from codex.runtime import Offload

IN_PLACE = 5 << 20
"""Bytes of deliveries that are looked at in place: 64 blocks, for instance. Hashing them takes 4 ms, or 15
where the processor has no instructions for it. A thread for that would take more from everything else: it
passes the interpreter's lock to and fro with every block."""


class Finding(Enum):
    """What there is to say about a delivery."""

    TRUE = "it belongs there"
    FALSE = "it does not belong there"
    UNFIT = "it belongs to a tree of another size than the one that is fetched, or to none that is"


Trees = Mapping[Cid, Mapping[int, tuple[ProvenTree, int]]]
"""The trees that are being fetched, by their root and their number of leaves."""


@define
class Heard:
    """What a peer has said, read and looked at."""

    deliveries: list[Delivery] = field(factory=list)
    findings: list[Finding] = field(factory=list)
    """What there is to say about each of them."""
    message: Message | None = None
    """All else that a message said, which has ended; its own deliveries are among those above."""

    @property
    def true(self) -> bool:
        """Whether all that came belongs where it says. What there is to say about anything else holds only
        as long as the same is fetched.
        """
        return self.findings.count(Finding.TRUE) == len(self.findings)

    def add(self, other: "Heard") -> None:
        """Add what was said next."""
        self.deliveries += other.deliveries
        self.findings += other.findings
        self.message = other.message


async def examine(piece: Piece, trees: Trees, offload: Offload) -> Heard:
    """Read a piece of a message, and look whether each delivery is what its address asks for.

    Raises DecodeError.
    """
    rest = len(piece.message) if piece.message is not None else 0
    if rest <= WHOLE and sum(map(len, piece.deliveries)) <= IN_PLACE:
        return _examine(piece, trees)
    return await offload.run(_examine, piece, trees)


def _examine(piece: Piece, trees: Trees) -> Heard:
    """May run in a thread: of `trees` it uses what is there."""
    message = decode(piece.message) if piece.message is not None else None
    deliveries = decode_deliveries(piece.deliveries)
    if message is not None:
        deliveries += message.deliveries
    return Heard(deliveries, [_find(delivery, trees) for delivery in deliveries], message)


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
