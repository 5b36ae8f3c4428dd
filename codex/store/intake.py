"""Taking in payload: many requests, one flush to the disk, one transaction.

A group of requests is first planned against the index and the quota; one that cannot be done is refused
alone, before any of its payload is written. Then the payload of all blocks that are new is appended, and
one change records everything. Nothing is acknowledged before that change is durable.
"""

from collections.abc import Sequence

from codex.codec import Cid
from codex.errors import CodexError
from codex.store import staging
from codex.store.holds import adopt
from codex.store.index import insert
from codex.store.ledger import Change, Ledger
from codex.store.lifetime import known_tree, want
from codex.store.planning import Entry, Plan, Request, admit, begin_plan
from codex.store.values import Verdict


def take_in(ledger: Ledger, requests: Sequence[Request]) -> list[Verdict]:
    """Do all requests that can be done; the verdict on each, in order.

    When the disk refuses, the requests are tried again one by one, so that each gets a verdict of its own.
    """
    try:
        return _take_in(ledger, requests)
    except CodexError as error:
        if len(requests) == 1:
            return [error]
    return [_take_in_one(ledger, request) for request in requests]


def _take_in_one(ledger: Ledger, request: Request) -> Verdict:
    try:
        return _take_in(ledger, [request])[0]
    except CodexError as error:
        return error


def _take_in(ledger: Ledger, requests: Sequence[Request]) -> list[Verdict]:
    verdicts: list[Verdict] = []
    with ledger.index.reading() as connection:
        plan = begin_plan(connection, ledger.quota, requests)
        for request in requests:
            try:
                admit(plan, request)
                verdicts.append(None)
            except CodexError as error:
                verdicts.append(error)
    if any(verdict is None for verdict in verdicts):
        _carry_out(ledger, plan)
    return verdicts


def _carry_out(ledger: Ledger, plan: Plan) -> None:
    entries = plan.entries
    fresh = [entries[raw] for raw in plan.fresh]
    mended = [entry for entry in plan.touched.values() if entry.payload is not None]
    written = fresh + mended
    places = ledger.append([entry.payload for entry in written if entry.payload is not None])
    for entry, place in zip(written, places, strict=True):
        entry.place = place
    for entry, row in zip(fresh, ledger.number_blocks(len(fresh)), strict=True):
        entry.row = row
    with ledger.change("record blocks") as change:
        _insert(change, plan)
        _update(change, plan, mended)
        _record_leaves(change, plan)
        staging.free(change, plan.freed)
        shares = {
            (entries[raw].row, ingest): n for (raw, ingest), n in plan.shares.items() if entries[raw].owner
        }
        staging.share(change, shares)
        change.tx.executemany(
            "UPDATE reservations SET bytes = bytes - ? WHERE id = ?",
            [(drawn, number) for number, drawn in plan.drawn.items()],
        )
        change.reserve(-sum(plan.drawn.values()))


def _insert(change: Change, plan: Plan) -> None:
    rows = []
    for raw in plan.fresh:
        entry = plan.entries[raw]
        place = entry.place
        assert place is not None
        rows.append(
            (entry.row, raw, place.segment, place.offset, entry.length, entry.refs, entry.expiry, entry.owner)
        )
        change.block(1, place.segment, entry.length)
        if entry.owner is not None:
            change.charge(entry.owner, 1, entry.length)
    insert(change.tx, "INSERT INTO blocks(id, cid, segment, offset, length, refs, expiry, staged_by)", rows)


def _update(change: Change, plan: Plan, mended: Sequence[Entry]) -> None:
    """Write down what has changed for blocks that were here before."""
    touched = plan.touched.values()
    change.tx.executemany(
        "UPDATE blocks SET refs = refs + ? WHERE id = ?",
        [(entry.refs, entry.row) for entry in touched if entry.refs],
    )
    change.tx.executemany(
        "UPDATE blocks SET expiry = ? WHERE id = ? AND expiry < ?",
        [(entry.expiry, entry.row, entry.expiry) for entry in touched if entry.expiry],
    )
    rows = []
    for entry in mended:
        place = entry.place
        assert place is not None
        rows.append((place.segment, place.offset, entry.length, entry.row))
        change.move(entry.length, entry.segment, place.segment)
    change.tx.executemany("UPDATE blocks SET segment = ?, offset = ?, length = ?, bad = 0 WHERE id = ?", rows)


def _record_leaves(change: Change, plan: Plan) -> None:
    tx = change.tx
    for ingest, runs in plan.staged.items():
        tree = staging.staging_tree(tx, ingest)
        for first, blocks in runs:
            cids = [block if isinstance(block, Cid) else block.cid for block in blocks]
            rows = [(tree, first + n, plan.row_of(cid)) for n, cid in enumerate(cids)]
            insert(tx, "INSERT INTO leaves(tree, idx, block)", rows)
            tx.execute("UPDATE trees SET leaves = leaves + ? WHERE id = ?", (len(rows), tree))
    for cid, leaves in plan.leaves.items():
        tree = known_tree(tx, cid)
        if cid in plan.claims:
            want(tx, tree, plan.claims[cid])
        insert(
            tx,
            "INSERT INTO leaves(tree, idx, block, proof)",
            [(tree, leaf.index, plan.row_of(leaf.cid), leaf.proof.to_bytes()) for leaf in leaves.values()],
        )
        tx.execute("UPDATE trees SET leaves = leaves + ? WHERE id = ?", (len(leaves), tree))
    for cid, hold, indices in plan.adopted:
        adopt(tx, known_tree(tx, cid), hold, indices)
