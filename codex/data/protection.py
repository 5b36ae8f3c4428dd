"""How a dataset was protected: rows of data and parity, and the roots over which hosts prove to hold a row.

    protection = { 1 K, 2 M, 3 original tree CID, 4 original dataset size, 5 strategy,
                   6 verification (when set) }
    verification = { 1 verify root CID, 2 slot root CID (each), 3 cell size, 4 strategy }

Both are parts of a manifest. Whether their numbers fit the dataset is the manifest's to check.
"""

from enum import IntEnum

from attrs import field, frozen

from codex.codec import cid as cids
from codex.codec import protobuf
from codex.codec.cid import Cid
from codex.errors import DecodeError

MAX_MANIFEST = 256 * 1024
"""Bytes of the largest manifest. A slot root takes 40 of them, so this holds 6500 slots: 25 times as many as
a proof can address, and few enough to be decoded on the event loop in some 15 ms."""

# Nothing that occurs often in a manifest is shorter than a slot root.
_MAX_FIELDS = MAX_MANIFEST // 32

MAX_SLOTS = 65536
"""Rows (K + M) that the erasure code can make."""

CELL_SIZE = 2048
"""Bytes of a cell, the piece of a slot that a proof looks at."""


class Strategy(IntEnum):
    """How indices are grouped: LINEAR takes neighbours together, STEPPED every n-th one."""

    LINEAR = 0
    STEPPED = 1


@frozen(slots=True)
class Verification:
    """What hosts prove against: a root for each slot, and the root over those."""

    verify_root: Cid
    slot_roots: tuple[Cid, ...] = field(repr=lambda roots: f"<{len(roots)} roots>")
    cell_size: int = CELL_SIZE
    strategy: Strategy = Strategy.LINEAR

    def encoder(self) -> protobuf.Writer:
        """Return the encoded form, as a message to put into another."""
        out = protobuf.Writer().bytes(1, self.verify_root.raw)
        for root in self.slot_roots:
            out.bytes(2, root.raw)
        return out.varint(3, self.cell_size).varint(4, self.strategy)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Verification":
        """Decode. Raises DecodeError when malformed, or without a verify root."""
        message = read_message(data)
        return cls(
            verify_root=read_cid(message, 1, "verify root"),
            slot_roots=tuple(Cid.from_bytes(root) for root in message.repeated(2)),
            cell_size=message.uint32(3),
            strategy=_read_strategy(message, 4),
        )

    def broken(self, slot_count: int) -> str:
        """What keeps it from being the verification of that many slots, or nothing."""
        if len(self.slot_roots) != slot_count:
            return f"{len(self.slot_roots)} slot roots for {slot_count} slots"
        if not 0 < self.cell_size < 2**32:
            return f"a cell cannot have {self.cell_size} bytes"
        if not has_form(self.verify_root, cids.PROVING_ROOT_PREFIX):
            return "the verify root CID names no proving root"
        if not all(has_form(root, cids.SLOT_ROOT_PREFIX) for root in self.slot_roots):
            return "a slot root CID names no slot root"
        return ""


@frozen(slots=True)
class Protection:
    """How a dataset was made from its original: `ec_k` rows of data, `ec_m` rows of parity. Sizes in bytes.

    The last `ec_m` rows are parity. Any `ec_k` rows give back the others.
    """

    ec_k: int
    ec_m: int
    original_tree_cid: Cid
    original_dataset_size: int
    strategy: Strategy = Strategy.STEPPED
    verification: Verification | None = None

    @property
    def slot_count(self) -> int:
        """Rows: K + M. Each is a slot that one host holds."""
        return self.ec_k + self.ec_m

    def encoder(self) -> protobuf.Writer:
        """Return the encoded form, as a message to put into another."""
        out = (
            protobuf.Writer()
            .varint(1, self.ec_k)
            .varint(2, self.ec_m)
            .bytes(3, self.original_tree_cid.raw)
            .varint(4, self.original_dataset_size)
            .varint(5, self.strategy)
        )
        return out if self.verification is None else out.message(6, self.verification.encoder())

    @classmethod
    def from_bytes(cls, data: bytes) -> "Protection":
        """Decode. Raises DecodeError when malformed, or without an original tree."""
        message = read_message(data)
        verification = message.bytes(6)
        return cls(
            ec_k=message.uint32(1),
            ec_m=message.uint32(2),
            original_tree_cid=read_cid(message, 3, "original tree"),
            original_dataset_size=message.varint(4),
            strategy=_read_strategy(message, 5),
            verification=Verification.from_bytes(verification) if verification else None,
        )


def read_message(data: bytes | memoryview) -> protobuf.Message:
    """Read a manifest, or a message inside one. Raises DecodeError, also over the bounds of a manifest."""
    return protobuf.Message(data, limit=MAX_MANIFEST, max_fields=_MAX_FIELDS)


def read_cid(message: protobuf.Message, number: int, what: str) -> Cid:
    """Read the field that holds the CID of `what`. Raises DecodeError when it is missing or no CID."""
    raw = message.bytes(number)
    if raw is None:
        raise DecodeError(f"broken manifest: the {what} CID is missing")
    return Cid.from_bytes(raw)


def has_form(cid: Cid, prefix: bytes) -> bool:
    """Whether the CID is this prefix with 32 bytes of digest."""
    return cid.raw.startswith(prefix) and len(cid.raw) == len(prefix) + cids.DIGEST_SIZE


def _read_strategy(message: protobuf.Message, number: int) -> Strategy:
    try:
        return Strategy(message.varint(number))
    except ValueError:
        raise DecodeError(f"broken manifest: strategy {message.varint(number)} is unknown") from None
