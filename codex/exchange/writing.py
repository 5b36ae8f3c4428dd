"""The messages of block exchange as bytes, in parts: see `messages` for what stands in them.

The data of blocks are not copied: they are parts of their own.
"""

from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

from codex.codec import varint
from codex.data import Block, BlockAddress, LeafAddress
from codex.exchange.messages import PRICE_SIZE, Delivery, Message, Part, Presence

_NO_WANTS = bytes.fromhex("0a021000")
_NO_PAYMENT = bytes.fromhex("280032020a003a020a00")
_FREE = bytes.fromhex("1a20") + bytes(PRICE_SIZE)
_FALSE_TRUE = (b"\x00", b"\x01")
_MAX_UINT64 = 2**64 - 1

Proved: TypeAlias = tuple[Block, bytes | None]
"""A block, and of a leaf the proof, as `MerkleProof.to_bytes` writes it."""


def encode(message: Message) -> list[Part]:
    """The message as parts to be sent one after the other; the data of blocks are not copied."""
    entries = [
        _entry(one.address, _wish(one.have, one.cancel, one.send_dont_have, one.priority))
        for one in message.entries
    ]
    before = _want_list(entries, message.full) if entries or message.full else _NO_WANTS
    deliveries = message.deliveries
    parts = _deliveries(before, [one.address for one in deliveries], map(_proved, deliveries))
    if message.presences:
        parts.append(b"".join([_presence(presence) for presence in message.presences]))
    if message.pending_bytes or message.account or message.payment:
        account = b"\x0a" + _sized(message.account or b"")
        payment = b"\x0a" + _sized(message.payment)
        pending = b"\x28" + varint.encode(message.pending_bytes)
        parts.append(pending + b"\x32" + _sized(account) + b"\x3a" + _sized(payment))
    else:
        parts.append(_NO_PAYMENT)
    return parts


def encode_wants(
    addresses: Iterable[BlockAddress],
    *,
    have: bool = False,
    cancel: bool = False,
    send_dont_have: bool = False,
    full: bool = False,
) -> list[Part]:
    """A message with an entry for each of these addresses (see `Entry`) and nothing else, as `encode` gives
    it.
    """
    wish = _wish(have, cancel, send_dont_have)
    return [_want_list([_entry(address, wish) for address in addresses], full), _NO_PAYMENT]


def encode_blocks(addresses: Iterable[BlockAddress], blocks: Iterable[Proved]) -> list[Part]:
    """A message that brings a block to each of these addresses, and nothing else, as `encode` gives it."""
    return [*_deliveries(_NO_WANTS, addresses, blocks), _NO_PAYMENT]


def _sized(data: bytes) -> bytes:
    return varint.encode(len(data)) + data


def _want_list(entries: Iterable[bytes], full: bool) -> bytes:
    return b"\x0a" + _sized(b"".join([*entries, b"\x10", _FALSE_TRUE[full]]))


def _entry(address: BlockAddress, wish: bytes) -> bytes:
    if isinstance(address, LeafAddress):
        index = varint.encode(address.index)
        return _before_wanted(address.tree.raw, len(index), len(wish)) + index + wish
    return b"\x0a" + _sized(b"\x0a" + _address(address) + wish)


@lru_cache(maxsize=256)
def _before_wanted(tree: bytes, index: int, wish: int) -> bytes:
    """What stands in an entry before the index of a leaf; that and the wish have so many bytes."""
    place = _before_index(tree, index)
    return b"\x0a" + varint.encode(1 + len(place) + index + wish) + b"\x0a" + place


@lru_cache(maxsize=256)
def _wish(have: bool, cancel: bool, send_dont_have: bool, priority: int = 0) -> bytes:
    """What an entry says of its address."""
    said = b"\x10" + varint.encode(priority & _MAX_UINT64) + b"\x18" + _FALSE_TRUE[cancel]
    return said + b"\x20" + _FALSE_TRUE[have] + b"\x28" + _FALSE_TRUE[send_dont_have]


def _address(address: BlockAddress) -> bytes:
    """An address with its length in front."""
    if isinstance(address, LeafAddress):
        index = varint.encode(address.index)
        return _before_index(address.tree.raw, len(index)) + index
    return _sized(b"\x08\x00\x22" + _sized(address.raw))


@lru_cache(maxsize=256)
def _before_index(tree: bytes, size: int) -> bytes:
    """What stands before the index of a leaf, which has `size` bytes."""
    head = b"\x08\x01\x12" + _sized(tree) + b"\x18"
    return varint.encode(len(head) + size) + head


def _proved(delivery: Delivery) -> Proved:
    return delivery.block, None if delivery.proof is None else delivery.proof.to_bytes()


def _deliveries(before: bytes, addresses: Iterable[BlockAddress], blocks: Iterable[Proved]) -> list[Part]:
    """What stands before them, and between, in parts of its own, and the blocks' data."""
    parts: list[Part] = []
    for address, (block, proof) in zip(addresses, blocks, strict=True):
        data, cid, place = block.data, block.cid.raw, _address(address)
        if proof is None or not isinstance(address, LeafAddress):
            proof = b""
        head, tail, proved = _frame(len(cid), len(data), len(place), len(proof))
        parts += (b"".join((before, head, cid, tail)), data)
        before = b"".join((b"\x1a", place, proved, proof))
    parts.append(before)
    return parts


@lru_cache(maxsize=256)
def _frame(cid: int, data: int, place: int, proof: int) -> tuple[bytes, bytes, bytes]:
    """What stands before a delivery's CID, data and proof, which have so many bytes, as its address has: the
    same for nearly all of a dataset.
    """
    before_cid, before_data = b"\x0a" + varint.encode(cid), b"\x12" + varint.encode(data)
    before_proof = b"\x22" + varint.encode(proof) if proof else b""
    size = len(before_cid) + cid + len(before_data) + data + 1 + place + len(before_proof) + proof
    return b"\x1a" + varint.encode(size) + before_cid, before_data, before_proof


def _presence(presence: Presence) -> bytes:
    price = b"\x1a\x20" + presence.price.to_bytes(PRICE_SIZE) if presence.price else _FREE
    body = b"\x0a" + _address(presence.address) + b"\x10" + _FALSE_TRUE[not presence.have] + price
    return b"\x22" + _sized(body)
