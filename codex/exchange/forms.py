"""What messages say of leaves, in the form that every implementation gives it: read in one go.

Nearly all that passes between nodes is about the leaves of one dataset, and has its fields in the same order
and all of them. Such a piece is recognised as a whole here; any other is None, and for `messages` to read
field by field, which gives the same for both. Nothing here judges what was read but the CID of the tree.
"""

import re
from typing import TypeAlias

from codex.codec import Cid, varint
from codex.codec.cid import BLOCK_PREFIX, DIGEST_SIZE
from codex.data import LeafAddress
from codex.data.merkle import MAX_LEAVES

_CID_SIZE = len(BLOCK_PREFIX) + DIGEST_SIZE
_NUMBERS = {b"n": varint.PATTERN, b"cid": _CID_SIZE}
# An address with its length in front: it is a leaf, of which tree, at which place.
_ADDRESS = rb"(.)\x08\x01\x12\x26(.{%(cid)d})\x18(%(n)s)" % _NUMBERS

_ENTRY = re.compile(rb"\x0a" + _ADDRESS + rb"\x10\x00\x18([\0\1])\x20([\0\1])\x28([\0\1])", re.DOTALL)
_PRESENCE = re.compile(rb"\x0a" + _ADDRESS + rb"\x10([\0\1])\x1a\x20(.{32})", re.DOTALL)
_BLOCK = re.compile(rb"\x0a\x26(.{%(cid)d})\x12(%(n)s)" % _NUMBERS, re.DOTALL)
_PLACE = re.compile(rb"\x1a" + _ADDRESS + rb"\x22(%(n)s)" % _NUMBERS, re.DOTALL)

ENTRY_FIELDS = 8
"""Fields of an entry, and of its address."""
PRESENCE_FIELDS = 6
"""Fields of a presence, and of its address."""
DELIVERY_FIELDS = 7
"""Fields of a delivery, and of its address; those of the proof are not counted."""

_Buffer: TypeAlias = bytes | memoryview


class Forms:
    """Reads pieces of one message, which have few trees among them: each is looked at once."""

    __slots__ = ("_data", "_raw", "_tree")

    def __init__(self, data: _Buffer) -> None:
        self._data = data
        self._raw = b""
        self._tree: Cid | None = None

    def turn(self, data: _Buffer) -> None:
        """Read from another piece from now on."""
        self._data = data

    def entry(self, start: int, end: int) -> tuple[LeafAddress, bool, bool, bool] | None:
        """The address, and whether it is cancelled, only asked about, and to be denied. Raises DecodeError
        for a tree that has no CID.
        """
        found = _ENTRY.fullmatch(self._data, start, end)
        if found is None:
            return None
        size, tree, number, cancel, have, deny = found.groups()
        address = self._address(size, tree, number)
        if address is None:
            return None
        return address, cancel == b"\1", have == b"\1", deny == b"\1"

    def presence(self, start: int, end: int) -> tuple[LeafAddress, bool, int] | None:
        """The address, whether it is there, and the price. Raises DecodeError as above."""
        found = _PRESENCE.fullmatch(self._data, start, end)
        if found is None:
            return None
        size, tree, number, lacking, price = found.groups()
        address = self._address(size, tree, number)
        if address is None:
            return None
        return address, lacking == b"\0", int.from_bytes(price)

    def delivery(self, start: int, end: int) -> tuple[bytes, int, int, LeafAddress, int] | None:
        """The block's CID, where its data begin and end, the address, and where the proof begins, which ends
        with the delivery. Raises DecodeError as above.
        """
        head = _BLOCK.match(self._data, start, end)
        if head is None:
            return None
        begin = head.end()
        after = begin + varint.decode(head[2])[0]
        place = _PLACE.match(self._data, after, end) if after <= end else None
        if place is None or varint.decode(place[4])[0] != end - place.end():
            return None
        address = self._address(*place.group(1, 2, 3))
        if address is None:
            return None
        return head[1], begin, after, address, place.end()

    def _address(self, size: bytes, tree: bytes, number: bytes) -> LeafAddress | None:
        """The address in its parts; None when they are not as long as it says, or there is no such leaf."""
        index, _ = varint.decode(number)
        if size[0] != _CID_SIZE + 5 + len(number) or index >= MAX_LEAVES:
            return None
        if self._tree is None or tree != self._raw:
            self._tree, self._raw = Cid.from_bytes(tree), tree
        return LeafAddress(self._tree, index)
