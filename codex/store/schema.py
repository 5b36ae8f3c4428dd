"""The tables of the index: every fact about every block, in one SQLite file.

Bytes are counted in the same transaction that makes them count: `totals` is always the sum of the rows, and
`segments.live` of the blocks in that segment. Times are unix seconds; 9e999 stands for "never".

`MIGRATIONS` is the whole history: an index whose `user_version` is n needs all scripts from the n-th on.
"""

APPLICATION_ID = 0x43645853
"""Marks an SQLite file as this index ("CdXS")."""

# States of a segment. GONE: nothing in it is wanted; its row stays until its file is known to be removed.
ACTIVE, SEALED, GONE = 0, 1, 2

# States of a tree; see lifetime.py.
STAGING, LIVE, HELD, DOOMED = 0, 1, 2, 3

NODES_PER_PAGE = 256
"""Merkle nodes in a row of `tree_nodes`: 8 KiB."""

TABLES = frozenset(
    (
        *("totals", "segments", "blocks", "trees", "leaves", "tree_nodes", "manifests", "holds"),
        *("ingests", "costaged", "reservations", "slot_trees", "slot_roots", "adopted"),
        *("availabilities", "slot_reservations", "records"),
    )
)
"""Without any of these a file is no index."""

MIGRATIONS = (
    """
    -- One row. `clean`: the store was closed in good order and nothing has been opened since.
    CREATE TABLE totals(
        id INTEGER PRIMARY KEY CHECK (id = 1),
        blocks INTEGER NOT NULL, used INTEGER NOT NULL, reserved INTEGER NOT NULL, clean INTEGER NOT NULL);
    INSERT INTO totals VALUES (1, 0, 0, 0, 1);

    -- Files of payload, each with a row from before its first byte until after it was removed; a number is
    -- never given twice. `length`: bytes that are durable, where the next block goes. `live`: bytes of
    -- blocks in it.
    CREATE TABLE segments(
        id INTEGER PRIMARY KEY AUTOINCREMENT, length INTEGER NOT NULL, live INTEGER NOT NULL,
        state INTEGER NOT NULL);

    -- `refs`: rows of `leaves` that name the block. `staged_by`: the ingest without which it would not be
    -- here; means something only while that ingest has a row. `bad`: its bytes no longer have its hash.
    CREATE TABLE blocks(
        id INTEGER PRIMARY KEY, cid BLOB NOT NULL UNIQUE,
        segment INTEGER NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL,
        refs INTEGER NOT NULL, expiry REAL NOT NULL, staged_by INTEGER, bad INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX blocks_by_place ON blocks(segment, offset);
    CREATE INDEX blocks_by_expiry ON blocks(expiry) WHERE refs = 0;

    -- `cid` is NULL while a tree is staged and once it is doomed. `leaves`: how many rows it has in `leaves`;
    -- `size`: how many leaves the whole tree has, known for those that were built here.
    -- `claim`: until when the tree is wanted for its own sake, 0 for not. `swept`: leaves before this index
    -- need no more looking at; NULL when nothing is to be removed.
    CREATE TABLE trees(
        id INTEGER PRIMARY KEY AUTOINCREMENT, cid BLOB, state INTEGER NOT NULL,
        leaves INTEGER NOT NULL DEFAULT 0, size INTEGER, claim REAL NOT NULL DEFAULT 0, swept INTEGER);
    CREATE UNIQUE INDEX trees_by_cid ON trees(cid) WHERE cid IS NOT NULL;
    CREATE INDEX trees_by_claim ON trees(claim) WHERE claim > 0;
    CREATE INDEX trees_to_sweep ON trees(id) WHERE swept IS NOT NULL;

    -- `block` is NULL for the empty block. `proof`: as it came from the network; NULL when `tree_nodes` has
    -- it.
    CREATE TABLE leaves(
        tree INTEGER NOT NULL, idx INTEGER NOT NULL, block INTEGER, proof BLOB,
        PRIMARY KEY (tree, idx)) WITHOUT ROWID;

    -- The nodes of trees that were built here, layer 0 being the leaves' digests.
    CREATE TABLE tree_nodes(
        tree INTEGER NOT NULL, layer INTEGER NOT NULL, page INTEGER NOT NULL, nodes BLOB NOT NULL,
        PRIMARY KEY (tree, layer, page));

    -- A dataset: what one manifest describes. `parity` mends `data`.
    CREATE TABLE manifests(
        id INTEGER PRIMARY KEY, cid BLOB NOT NULL UNIQUE, tree INTEGER NOT NULL,
        data BLOB NOT NULL, parity BLOB NOT NULL,
        expiry REAL NOT NULL, pinned INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX manifests_by_tree ON manifests(tree);
    CREATE INDEX manifests_by_expiry ON manifests(expiry) WHERE pinned = 0;

    -- Promises to keep a run of leaves, such as a slot, whatever becomes of the datasets.
    CREATE TABLE holds(
        purpose TEXT NOT NULL, key TEXT NOT NULL, tree INTEGER NOT NULL,
        first INTEGER NOT NULL, count INTEGER NOT NULL, expiry REAL NOT NULL,
        PRIMARY KEY (purpose, key)) WITHOUT ROWID;
    CREATE INDEX holds_by_tree ON holds(tree);
    CREATE INDEX holds_by_expiry ON holds(expiry);

    -- Datasets being written, and those given up whose leaves are not all removed yet (`open` = 0).
    -- `blocks` and `bytes`: what is here only because of this ingest.
    CREATE TABLE ingests(
        id INTEGER PRIMARY KEY AUTOINCREMENT, tree INTEGER NOT NULL UNIQUE, open INTEGER NOT NULL DEFAULT 1,
        blocks INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0);

    -- Blocks wanted by ingests other than the one in `staged_by`, and by how many leaves of each.
    CREATE TABLE costaged(
        block INTEGER NOT NULL, ingest INTEGER NOT NULL, leaves INTEGER NOT NULL,
        PRIMARY KEY (block, ingest)) WITHOUT ROWID;
    CREATE INDEX costaged_by_ingest ON costaged(ingest);

    -- Room promised but not yet filled.
    CREATE TABLE reservations(
        id INTEGER PRIMARY KEY AUTOINCREMENT, bytes INTEGER NOT NULL, purpose TEXT NOT NULL);
    """,
    """
    -- How many changes were made so far; see tally.py.
    ALTER TABLE totals ADD COLUMN changes INTEGER NOT NULL DEFAULT 0;
    """,
    """
    -- The slots of a protected dataset whose trees can be built again: see slot_trees.py. `root`: the CID of
    -- the slot, `blocks`: how many roots of blocks there are in `slot_roots`.
    CREATE TABLE slot_trees(
        tree INTEGER NOT NULL, slot INTEGER NOT NULL, root BLOB NOT NULL, blocks INTEGER NOT NULL,
        PRIMARY KEY (tree, slot)) WITHOUT ROWID;
    CREATE INDEX slot_trees_by_root ON slot_trees(root);

    -- The roots of a slot's blocks, 32 bytes each, in pages.
    CREATE TABLE slot_roots(
        tree INTEGER NOT NULL, slot INTEGER NOT NULL, page INTEGER NOT NULL, roots BLOB NOT NULL,
        PRIMARY KEY (tree, slot, page));
    """,
    """
    -- Room for sale, and what slots have taken of it: see availability.py. Amounts of tokens do not fit into
    -- SQLite's integers and are decimal text. What is `free` counts as reserved.
    CREATE TABLE availabilities(
        number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE,
        total INTEGER NOT NULL, free INTEGER NOT NULL CHECK (free >= 0 AND free <= total),
        duration INTEGER NOT NULL, price TEXT NOT NULL, collateral TEXT NOT NULL, remaining TEXT NOT NULL,
        lost TEXT NOT NULL, enabled INTEGER NOT NULL, until INTEGER NOT NULL);

    -- `room`: the row of `reservations` with what is not filled yet. `returned`: collateral that comes back.
    CREATE TABLE slot_reservations(
        id BLOB PRIMARY KEY, availability BLOB NOT NULL, request BLOB NOT NULL, slot INTEGER NOT NULL,
        size INTEGER NOT NULL, collateral TEXT NOT NULL, until INTEGER NOT NULL, stage INTEGER NOT NULL,
        returned TEXT, room INTEGER NOT NULL UNIQUE, UNIQUE (request, slot)) WITHOUT ROWID;

    -- Small values that other parts of the node want remembered: see records.py.
    CREATE TABLE records(
        number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL,
        UNIQUE (kind, key));
    CREATE INDEX records_by_kind ON records(kind, number);
    """,
    """
    -- Not `whole`: no dataset of its own, but kept for the sake of the holds that name it.
    ALTER TABLE manifests ADD COLUMN whole INTEGER NOT NULL DEFAULT 1;

    -- `manifest`: the one that stays as long as the hold. `slot`: which slot it is. `filling`: its leaves are
    -- on their way; it is no promise yet.
    ALTER TABLE holds ADD COLUMN manifest BLOB;
    ALTER TABLE holds ADD COLUMN slot INTEGER;
    ALTER TABLE holds ADD COLUMN filling INTEGER NOT NULL DEFAULT 0;
    UPDATE holds SET manifest = (SELECT min(cid) FROM manifests WHERE tree = holds.tree);
    CREATE INDEX holds_by_manifest ON holds(manifest) WHERE manifest IS NOT NULL;

    -- Runs of leaves that are here because a hold brought them; without `key`: of one that has ended, to be
    -- removed.
    CREATE TABLE adopted(
        tree INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, purpose TEXT, key TEXT);
    CREATE INDEX adopted_by_tree ON adopted(tree, first);
    CREATE INDEX adopted_by_hold ON adopted(purpose, key);
    """,
)
