"""From block roots to slot roots, and from those to the manifest that contracts commit to.

Block roots come as blocks are made or fetched, in any order. A builder keeps 33 bytes for each and no data:
4.3 MB for a slot of 8 GiB.
"""

from collections.abc import Sequence

from attrs import evolve

from codex.codec.cid import Cid, proving_root_cid, slot_root_cid
from codex.data import CELL_SIZE, Manifest, MerkleTree, Strategy, Verification
from codex.errors import InvalidInput
from codex.kernels.poseidon2_spec import ELEMENT_SIZE
from codex.slots.shape import SlotShape
from codex.slots.slot_tree import SlotTree
from codex.slots.trees import field_tree


class SlotBuilder:
    """Gathers the block roots of one slot. For one task at a time.

    Memory is taken as roots come: up to the last one that came.
    """

    def __init__(self, shape: SlotShape) -> None:
        self.shape = shape
        self._roots = bytearray()
        self._known = bytearray()
        self._count = 0

    @property
    def missing(self) -> int:
        """How many roots have not come."""
        return self.shape.block_count - self._count

    def put(self, position: int, roots: bytes) -> None:
        """Note the roots of the blocks from `position` on: 32 bytes each, one after the other.

        A root may come again. Raises InvalidInput, and takes nothing, for a half root, for a position that
        the slot does not have, and for a root that contradicts one that came before.
        """
        count, rest = divmod(len(roots), ELEMENT_SIZE)
        if rest:
            raise InvalidInput(f"block roots have {ELEMENT_SIZE} bytes each, and {len(roots)} bytes came")
        end = position + count
        if position < 0 or end > self.shape.block_count:
            raise InvalidInput(
                f"the slot has {self.shape.block_count} blocks, and roots came for {position} to {end - 1}"
            )
        if end > len(self._known):
            self._roots.extend(bytes(end * ELEMENT_SIZE - len(self._roots)))
            self._known.extend(bytes(end - len(self._known)))
        for at in range(position, end):
            new = roots[(at - position) * ELEMENT_SIZE :][:ELEMENT_SIZE]
            if self._known[at] and self._roots[at * ELEMENT_SIZE : (at + 1) * ELEMENT_SIZE] != new:
                raise InvalidInput(f"block {at} of the slot came with two different roots")
        self._roots[position * ELEMENT_SIZE : end * ELEMENT_SIZE] = roots
        self._count += count - sum(self._known[position:end])
        self._known[position:end] = b"\x01" * count

    def finish(self) -> SlotTree:
        """Build the tree, in about 6 µs a block. The builder can go on to be used.

        Raises InvalidInput while roots are missing, DecodeError when one is no field element.
        """
        if self.missing:
            first = self._known.find(0)
            raise InvalidInput(
                f"{self.missing} of the slot's {self.shape.block_count} block roots are missing, first that"
                f" of block {len(self._known) if first < 0 else first}"
            )
        return SlotTree.of(self.shape, bytes(self._roots))


class DatasetBuilder:
    """Gathers the block roots of all slots of a dataset, as an encoder makes the blocks.

    `slots` are the builders of its slots; their trees may be built by themselves, on several cores. For one
    task at a time. Memory is taken as by `SlotBuilder`.
    """

    def __init__(self, shape: SlotShape) -> None:
        self.shape = shape
        self.slots = tuple(SlotBuilder(shape) for _ in range(shape.slot_count))

    @property
    def missing(self) -> int:
        """How many roots have not come."""
        return sum(slot.missing for slot in self.slots)

    def put(self, index: int, root: bytes) -> None:
        """Note the root of the block at `index` of the dataset. Raises InvalidInput as `SlotBuilder.put`."""
        slot, position = self.shape.place(index)
        if len(root) != ELEMENT_SIZE:
            raise InvalidInput(f"a block root has {ELEMENT_SIZE} bytes, and {len(root)} came")
        self.slots[slot].put(position, root)

    def finish(self) -> tuple[bytes, ...]:
        """The slot roots, of trees built one after the other. Raises as `SlotBuilder.finish`."""
        return tuple(slot.finish().root for slot in self.slots)


def verifiable(
    manifest: Manifest,
    slot_roots: Sequence[bytes],
    *,
    cell_size: int = CELL_SIZE,
    strategy: Strategy = Strategy.LINEAR,
) -> Manifest:
    """The verifiable manifest of a protected dataset: the same with its slot roots and the root over those.

    A verification that the manifest has already is replaced. Raises InvalidInput when it is not protected,
    for another number of roots, and for slots or cells that cannot be; DecodeError when a root is no field
    element.
    """
    if manifest.protection is None:
        raise InvalidInput("the dataset is not protected: it has no slots")
    bare = evolve(manifest, protection=evolve(manifest.protection, verification=None))
    shape = SlotShape.of(bare, cell_size)
    if len(slot_roots) != shape.slot_count:
        raise InvalidInput(f"{len(slot_roots)} slot roots for {shape.slot_count} slots")
    verification = Verification(
        verify_root=verify_root_cid(_tree(slot_roots)),
        slot_roots=tuple(map(slot_root_cid, slot_roots)),
        cell_size=cell_size,
        strategy=strategy,
    )
    made = evolve(manifest, protection=evolve(manifest.protection, verification=verification))
    made.verify()
    return made


def dataset_tree(manifest: Manifest) -> MerkleTree:
    """The tree over the slot roots of a verifiable manifest: it proves that a slot is one of the dataset's.

    Raises InvalidInput when it is not verifiable, or when its roots do not lead to its verify root;
    DecodeError when one is no field element.
    """
    told = manifest.protection.verification if manifest.protection else None
    if told is None:
        raise InvalidInput("the dataset is not verifiable: it has no slot roots")
    tree = _tree([cid.digest for cid in told.slot_roots])
    if verify_root_cid(tree) != told.verify_root:
        raise InvalidInput(
            f"the slot roots lead to {verify_root_cid(tree)}, and the manifest says {told.verify_root}"
        )
    return tree


def verify_root_cid(tree: MerkleTree) -> Cid:
    """The name of the root over a dataset's slot roots."""
    return proving_root_cid(tree.root)


def _tree(slot_roots: Sequence[bytes]) -> MerkleTree:
    for root in slot_roots:
        if len(root) != ELEMENT_SIZE:
            raise InvalidInput(f"a slot root has {ELEMENT_SIZE} bytes, and {len(root)} came")
    return field_tree(b"".join(slot_roots))
