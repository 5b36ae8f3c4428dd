"""Planning to take in payload: what many requests add up to, decided before anything is written.

A request is admitted to the plan or refused alone. The same block may be named several times, and may be here
already in any state: seen by all, staged by somebody, or bad. What is known of each CID is one `Entry`,
changed as the plan goes on. Nothing here changes the store.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from sqlite3 import Connection

from attrs import define, field, frozen

from codex.codec import Cid, is_empty
from codex.data import Block
from codex.errors import BlockNotFound, InvalidInput
from codex.store import staging
from codex.store.disk import Buffer
from codex.store.index import Row, select_in
from codex.store.ledger import no_room, space_of
from codex.store.lifetime import MAX_INDEX, tree_of
from codex.store.segments import Place
from codex.store.sense import counted, is_place
from codex.store.values import Leaf


@frozen(slots=True)
class Put:
    """Blocks that belong to nobody, and live until `expiry`. Room may come from a reservation."""

    blocks: Sequence[Block]
    expiry: float
    reservation: int | None = None


@frozen(slots=True)
class Stage:
    """Leaves `first`, `first + 1`, … of an ingest. A CID alone stands for a block that is on this node
    already. Room may come from a reservation.
    """

    ingest: int
    first: int
    blocks: Sequence[Block | Cid]
    reservation: int | None = None


@frozen(slots=True)
class PutLeaves:
    """Leaves of a tree, from the network, with proofs that the caller has verified; and those blocks that
    came along.

    The first leaf stored at an index stays. The tree is claimed until `claim`. Blocks that are staged by
    `ingest` are here, too, and seen by all from then on. With a `hold`, its purpose and key, the leaves are
    here for the sake of that, and nothing is claimed.
    """

    tree: Cid
    leaves: Sequence[Leaf]
    blocks: Sequence[Block]
    claim: float
    reservation: int | None = None
    ingest: int | None = None
    hold: tuple[str, str] | None = None


Request = Put | Stage | PutLeaves


def payload_bytes(request: Request) -> int:
    """Bytes of all blocks that come with a request."""
    return sum(len(block.data) for block in request.blocks if isinstance(block, Block))


class Entry:
    """What is known of one CID: the row as it is, if there is one, and what this group makes of it."""

    __slots__ = (
        "bad",
        "expiry",
        "length",
        "owner",
        "payload",
        "place",
        "refs",
        "row",
        "segment",
        "was_owned",
    )

    def __init__(self, row: int, length: int, segment: int, owner: int | None, bad: bool) -> None:
        self.row = row  # 0: not here before this group
        self.length = length
        self.segment = segment
        self.owner = owner  # the ingest it is staged by, None when it is seen by all
        self.was_owned = owner
        self.bad = bad
        self.refs = 0  # new references
        self.expiry = 0.0  # new expiry, if later than the old
        self.payload: Buffer | None = None  # to be written
        self.place: Place | None = None


@define
class Plan:
    """What a group adds up to so far."""

    connection: Connection  # for reading
    quota: int
    owners: dict[int, bool]
    available: int
    entries: dict[bytes, Entry] = field(factory=dict)
    touched: dict[bytes, Entry] = field(factory=dict)  # rows to update
    fresh: list[bytes] = field(factory=list)  # rows to insert, in the order of arrival
    shares: Counter[tuple[bytes, int]] = field(factory=Counter)  # leaves of ingests on others' blocks
    freed: list[tuple[int, int, int]] = field(factory=list)  # (row, length, owner): seen by all from now on
    drawn: dict[int, int] = field(factory=dict)  # bytes taken out of reservations
    reserved: dict[int, int] = field(factory=dict)  # bytes left in the reservations that are used
    staged: dict[int, list[tuple[int, Sequence[Block | Cid]]]] = field(factory=dict)
    leaves: dict[Cid, dict[int, Leaf]] = field(factory=dict)
    claims: dict[Cid, float] = field(factory=dict)
    adopted: list[tuple[Cid, tuple[str, str], list[int]]] = field(factory=list)  # leaves that holds bring

    def row_of(self, cid: Cid) -> int | None:
        """The row of a block of the plan, once those that are new have theirs; None for the empty block."""
        entry = self.entries.get(cid.raw)
        return None if entry is None else entry.row


def begin_plan(connection: Connection, quota: int, requests: Sequence[Request]) -> Plan:
    """An empty plan that knows everything the index knows about the blocks of these requests."""
    plan = Plan(connection, quota, staging.owners(connection), space_of(connection, quota).available)
    raws: set[bytes] = set()
    for request in requests:
        raws.update([(block if isinstance(block, Cid) else block.cid).raw for block in request.blocks])
        if isinstance(request, PutLeaves):
            raws.update([leaf.cid.raw for leaf in request.leaves])
    rows: Iterable[Row] = select_in(
        connection,
        "SELECT cid, id, length, segment, offset, staged_by, bad FROM blocks WHERE cid",
        list(raws),
    )
    for cid, row, length, segment, offset, staged_by, bad in rows:
        owner = staged_by if staged_by in plan.owners else None
        sane = is_place(segment, offset, length)
        plan.entries[cid] = Entry(row, counted(length), segment, owner, bool(bad) or not sane)
    return plan


def admit(plan: Plan, request: Request) -> None:
    """Add a request to the plan; raises without having changed it when the request cannot be done."""
    match request:
        case Put():
            _admit_put(plan, request)
        case Stage():
            _admit_stage(plan, request)
        case PutLeaves():
            _admit_leaves(plan, request)


def _admit_put(plan: Plan, request: Put) -> None:
    _draw(plan, _need(plan, request.blocks, None), request.reservation)
    for block in request.blocks:
        if not is_empty(block.cid):
            entry = _entry(plan, block, None)
            entry.expiry = max(entry.expiry, request.expiry)


def _admit_stage(plan: Plan, request: Stage) -> None:
    _check_stage(plan, request)
    ingest = request.ingest
    carried = [block for block in request.blocks if isinstance(block, Block)]
    _draw(plan, _need(plan, carried, ingest), request.reservation)
    for block in request.blocks:
        cid = block if isinstance(block, Cid) else block.cid
        if not is_empty(cid):
            entry = _entry(plan, block, ingest) if isinstance(block, Block) else _known(plan, cid.raw, ingest)
            entry.refs += 1
    plan.staged.setdefault(ingest, []).append((request.first, request.blocks))


def _admit_leaves(plan: Plan, request: PutLeaves) -> None:
    if request.hold is not None:
        _check_hold(plan, request.tree, request.hold)
    leaves = _new_leaves(plan, request)
    _draw(plan, _need(plan, request.blocks, None), request.reservation)
    for block in request.blocks:
        if not is_empty(block.cid):
            _entry(plan, block, None)
    for leaf in leaves:
        if not is_empty(leaf.cid):
            _known(plan, leaf.cid.raw, None).refs += 1
    plan.leaves.setdefault(request.tree, {}).update({leaf.index: leaf for leaf in leaves})
    if request.hold is None:
        plan.claims[request.tree] = max(request.claim, plan.claims.get(request.tree, 0.0))
    else:
        plan.adopted.append((request.tree, request.hold, sorted(leaf.index for leaf in leaves)))


def _check_hold(plan: Plan, tree: Cid, hold: tuple[str, str]) -> None:
    if not plan.connection.execute(
        "SELECT 1 FROM holds h JOIN trees t ON t.id = h.tree WHERE h.purpose = ? AND h.key = ? AND t.cid = ?",
        (*hold, tree.raw),
    ).fetchone():
        raise BlockNotFound(f"nothing of the dataset {tree} is held for the {hold[0]} {hold[1]} any more")


def _need(plan: Plan, blocks: Iterable[Block], ingest: int | None) -> int:
    """Bytes by which these blocks would raise what counts as used."""
    entries = plan.entries
    fresh: dict[bytes, int] = {}
    for block in blocks:
        raw = block.cid.raw
        entry = entries.get(raw)
        if entry is None:
            fresh[raw] = len(block.data)
        elif entry.owner is not None and entry.owner != ingest and not plan.owners[entry.owner]:
            fresh[raw] = entry.length  # left over from an ingest that was given up: not counted until now
    return sum(fresh.values())


def _draw(plan: Plan, need: int, reservation: int | None) -> None:
    """Find room for `need` bytes, out of the reservation first. Raises QuotaExceeded, InvalidInput."""
    drawn = 0
    if reservation is not None:
        if reservation not in plan.reserved:
            row = plan.connection.execute(
                "SELECT bytes FROM reservations WHERE id = ?", (reservation,)
            ).fetchone()
            if row is None:
                raise InvalidInput(f"there is no reservation {reservation}")
            plan.reserved[reservation] = row[0]
        drawn = min(need, plan.reserved[reservation])
    if need - drawn > plan.available:
        raise no_room(plan.quota, plan.available, need)
    plan.available -= need - drawn
    if drawn and reservation is not None:
        plan.reserved[reservation] -= drawn
        plan.drawn[reservation] = plan.drawn.get(reservation, 0) + drawn


def _check_stage(plan: Plan, request: Stage) -> None:
    connection = plan.connection
    tree = staging.staging_tree(connection, request.ingest)
    first, end = request.first, request.first + len(request.blocks)
    if first < 0 or end > MAX_INDEX:
        raise InvalidInput(f"{len(request.blocks)} leaves from {first} are no range of a tree")
    overlaps = any(
        first < other + len(blocks) and other < end for other, blocks in plan.staged.get(request.ingest, ())
    )
    if (
        overlaps
        or connection.execute(
            "SELECT 1 FROM leaves WHERE tree = ? AND idx >= ? AND idx < ? LIMIT 1", (tree, first, end)
        ).fetchone()
    ):
        raise InvalidInput(f"some of the leaves {first} to {end - 1} are staged already")
    for cid in request.blocks:
        if isinstance(cid, Cid) and not is_empty(cid):
            _check_here(plan, cid, request.ingest)


def _check_here(plan: Plan, cid: Cid, ingest: int | None) -> None:
    entry = plan.entries.get(cid.raw)
    if entry is None or (entry.bad and entry.payload is None) or entry.owner not in (None, ingest):
        raise BlockNotFound(f"the block {cid} is not on this node")


def _new_leaves(plan: Plan, request: PutLeaves) -> list[Leaf]:
    """The leaves of the request that are not here yet, each with a block that is here or comes along."""
    coming = {block.cid.raw for block in request.blocks}
    for leaf in request.leaves:
        if not 0 <= leaf.index < MAX_INDEX or leaf.proof.index != leaf.index:
            raise InvalidInput(f"the proof of the leaf {leaf.index} is for the leaf {leaf.proof.index}")
        if leaf.cid.raw not in coming and not is_empty(leaf.cid):
            _check_here(plan, leaf.cid, request.ingest)
    connection = plan.connection
    tree = tree_of(connection, request.tree)
    here: set[int] = set(plan.leaves.get(request.tree, ()))
    if tree is not None:
        numbers = [leaf.index for leaf in request.leaves]
        rows = select_in(connection, "SELECT idx FROM leaves WHERE idx", numbers, f"AND tree = {tree:d}")
        here.update(row[0] for row in rows)
    return list({leaf.index: leaf for leaf in reversed(request.leaves) if leaf.index not in here}.values())


def _entry(plan: Plan, block: Block, ingest: int | None) -> Entry:
    """The entry of a block that comes with its payload, on its way to being there for `ingest` or for all."""
    raw = block.cid.raw
    entry = plan.entries.get(raw)
    if entry is None:
        entry = plan.entries[raw] = Entry(0, len(block.data), 0, ingest, False)
        entry.payload = block.data
        plan.fresh.append(raw)
        return entry
    if entry.bad and entry.payload is None:
        entry.payload = block.data
        entry.length = len(block.data)  # that of the row may be what is damaged
    return _known(plan, raw, ingest)


def _known(plan: Plan, raw: bytes, ingest: int | None) -> Entry:
    """The entry of a block that is here or coming, wanted now by `ingest` or, when None, for good."""
    entry = plan.entries[raw]
    if entry.row:
        plan.touched[raw] = entry
    if entry.owner is not None and entry.owner != ingest:
        if ingest is None:
            if entry.row and entry.was_owned is not None:
                plan.freed.append((entry.row, entry.length, entry.owner))
            entry.owner = None
        else:
            plan.shares[raw, ingest] += 1
    return entry
