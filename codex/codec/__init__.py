"""Bytes to values and back, in the network's own formats. Pure: no clock, no I/O, no logging.

Every decoder here bounds what it reads and raises `codex.errors.DecodeError` and nothing else.
"""

from codex.codec.cid import (
    BLOCK_PREFIX,
    CODEX_BLOCK,
    CODEX_MANIFEST,
    CODEX_PROVING_ROOT,
    CODEX_ROOT,
    CODEX_SLOT_CELL,
    CODEX_SLOT_ROOT,
    EMPTY_BLOCK,
    IDENTITY,
    MANIFEST_PREFIX,
    ROOT_PREFIX,
    SHA2_256,
    Cid,
    block_cid,
    is_empty,
    manifest_cid,
    proving_root_cid,
    root_cid,
    slot_cell_cid,
    slot_root_cid,
)
from codex.codec.multiaddr import Multiaddr

__all__ = [
    "BLOCK_PREFIX",
    "CODEX_BLOCK",
    "CODEX_MANIFEST",
    "CODEX_PROVING_ROOT",
    "CODEX_ROOT",
    "CODEX_SLOT_CELL",
    "CODEX_SLOT_ROOT",
    "EMPTY_BLOCK",
    "IDENTITY",
    "MANIFEST_PREFIX",
    "ROOT_PREFIX",
    "SHA2_256",
    "Cid",
    "Multiaddr",
    "block_cid",
    "is_empty",
    "manifest_cid",
    "proving_root_cid",
    "root_cid",
    "slot_cell_cid",
    "slot_root_cid",
]
