"""Everything that the store can be asked. What each call does and raises stands at the handle's method of
its name.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import field, frozen

from codex.codec import Cid
from codex.data import Block, BlockAddress, Manifest, MerkleTree
from codex.runtime import Call, Feed
from codex.store.availability import Availability, SlotReservation, Stage
from codex.store.manifests import Damage
from codex.store.records import Record
from codex.store.scrub import Checked, Scrubbed
from codex.store.values import Hold, Leaf, Progress, ProvedBlock, Reservation, SlotRoots, Space


def _how_many(items: Sequence[object]) -> str:
    return f"<{len(items)}>"


@frozen
class PutBlocks(Call[None]):
    blocks: Sequence[Block] = field(repr=_how_many)
    ttl: float | None
    reservation: str | None


@frozen
class FindBlocks(Call[list[Block | None]]):
    addresses: Sequence[BlockAddress] = field(repr=_how_many)


@frozen
class GetBlocks(Call[list[Block]]):
    addresses: Sequence[BlockAddress] = field(repr=_how_many)


@frozen
class FindLeaves(Call[list[ProvedBlock | None]]):
    tree: Cid
    indices: Sequence[int] = field(repr=_how_many)


@frozen
class ReadOn(Call[int]):
    tree: Cid
    first: int
    stop: int
    blocks: int
    feed: Feed[memoryview] = field(repr=False)
    block_size: int | None = None


@frozen
class HasBlocks(Call[list[bool]]):
    addresses: Sequence[BlockAddress] = field(repr=_how_many)


@frozen
class CountMissing(Call[int]):
    tree: Cid
    first: int
    count: int


@frozen
class DeleteBlock(Call[bool]):
    cid: Cid


@frozen
class GetLeaves(Call[list[Leaf]]):
    tree: Cid
    first: int
    count: int


@frozen
class PutLeavesOf(Call[None]):
    tree: Cid
    leaves: Sequence[Leaf] = field(repr=_how_many)
    blocks: Sequence[Block] = field(repr=_how_many)
    ttl: float | None
    reservation: str | None
    ingest: str | None = None
    hold: tuple[str, str] | None = None


@frozen
class BeginIngest(Call[str]):
    pass


@frozen
class StageBlocks(Call[None]):
    ingest: str
    first: int
    blocks: Sequence[Block | Cid] = field(repr=_how_many)
    reservation: str | None = None


@frozen
class StageSlotTrees(Call[None]):
    ingest: str
    slots: Sequence[SlotRoots] = field(repr=_how_many)


@frozen
class CommitIngest(Call[Cid]):
    ingest: str
    tree: MerkleTree
    manifest: Manifest
    ttl: float | None


@frozen
class AbortIngest(Call[None]):
    ingest: str


@frozen
class PutSlotTree(Call[None]):
    tree: Cid
    slot: SlotRoots


@frozen
class GetSlotTree(Call[bytes | None]):
    root: Cid


@frozen
class PutManifest(Call[Cid]):
    data: bytes
    ttl: float | None


@frozen
class GetManifest(Call[Manifest]):
    cid: Cid
    use: bool


@frozen
class ListManifests(Call[list[tuple[Cid, Manifest]]]):
    after: Cid | None
    limit: int


@frozen
class DeleteDataset(Call[bool]):
    manifest: Cid


@frozen
class Pin(Call[None]):
    manifest: Cid
    pinned: bool


@frozen
class IsPinned(Call[bool]):
    manifest: Cid


@frozen
class ListPins(Call[list[Cid]]):
    after: Cid | None
    limit: int


@frozen
class PutHold(Call[bool]):
    hold: Hold
    manifest: Block | None


@frozen
class KeepHold(Call[bool]):
    purpose: str
    key: str
    until: float
    filled: bool


@frozen
class DropHold(Call[bool]):
    purpose: str
    key: str


@frozen
class ListHolds(Call[list[Hold]]):
    purpose: str


@frozen
class EnsureExpiry(Call[None]):
    cids: Sequence[Cid]
    until: float


@frozen
class GetExpiry(Call[float]):
    cid: Cid


@frozen
class Reserve(Call[str]):
    size: int
    purpose: str


@frozen
class Release(Call[None]):
    reservation: str
    size: int | None


@frozen
class ListReservations(Call[list[Reservation]]):
    purpose: str


@frozen
class GetSpace(Call[Space]):
    pass


@frozen
class CheckRoom(Call[None]):
    size: int


@frozen
class Maintain(Call[None]):
    pass


@frozen
class ScrubBlocks(Call[Scrubbed]):
    after: int


@frozen
class ScrubManifests(Call[tuple[Damage, Cid | None]]):
    after: Cid | None


@frozen
class CheckLeaves(Call[Checked]):
    tree: Cid
    first: int
    count: int


@frozen
class CheckRoot(Call[None]):
    tree: Cid
    original: tuple[Cid, int] | None
    """Of a protected dataset: the tree over so many leaves, the first ones, which are the original's."""


@frozen
class CheckOriginal(Call[bool]):
    tree: Cid
    original: Cid
    count: int


@frozen
class BackUp(Call[None]):
    target: Path
    progress: Callable[[Progress], None] | None


# -- what the market keeps here: asked through `MarketBook`


@frozen
class ListAvailabilities(Call[list[Availability]]):
    pass


@frozen
class PutAvailability(Call[None]):
    availability: Availability


@frozen
class AlterAvailability(Call[Availability]):
    id: bytes
    total: int | None
    duration: int | None
    price: int | None
    collateral: int | None
    enabled: bool | None
    until: int | None


@frozen
class DeleteAvailability(Call[None]):
    id: bytes


@frozen
class TakeSlot(Call[SlotReservation]):
    availability: bytes
    id: bytes
    request: bytes
    slot: int
    size: int
    collateral: int
    until: int


@frozen
class AdvanceSlot(Call[SlotReservation]):
    id: bytes
    stage: Stage
    returned: int | None


@frozen
class GiveBack(Call[bool]):
    id: bytes
    collateral: int


@frozen
class ListSlotReservations(Call[list[SlotReservation]]):
    availability: bytes | None


@frozen
class PutRecords(Call[None]):
    kind: str
    entries: Sequence[tuple[bytes, bytes]] = field(repr=_how_many)
    keep: int


@frozen
class DropRecord(Call[None]):
    kind: str
    key: bytes


@frozen
class ListRecords(Call[list[Record]]):
    kind: str
    prefix: bytes
    before: int | None
    limit: int
