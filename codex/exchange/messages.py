"""The messages of block exchange as values, and read from bytes; `writing` makes those.

A message holds a want list (always there, often empty), deliveries, presences, and three fields of payment
that the network carries along and does not use. Every field is written, zero and empty values included:
other implementations rely on it. Reading is bounded in counts and makes no copy of a block's data: it stays
a view of the message.

    message    1 want list, 3 delivery*, 4 presence*, 5 pending bytes, 6 {1 account}, 7 {1 payment}
    want list  1 entry*, 2 full
    entry      1 address, 2 priority, 3 cancel, 4 want type, 5 send don't-have
    address    1 is leaf; of a leaf 2 tree CID and 3 index, else 4 CID
    delivery   1 CID, 2 data, 3 address, 4 proof
    presence   1 address, 2 type, 3 price (256 bits, big endian)
"""

from collections.abc import Iterable, Iterator
from typing import TypeAlias

from attrs import frozen

from codex.codec import Cid, varint
from codex.codec.protobuf import FIXED32, FIXED64, LENGTH, VARINT
from codex.data import Block, BlockAddress, LeafAddress, MerkleProof
from codex.data.merkle import MAX_LEAVES, MAX_PROOF
from codex.errors import DecodeError
from codex.exchange.forms import DELIVERY_FIELDS, ENTRY_FIELDS, PRESENCE_FIELDS, Forms

PROTOCOL = "/codex/blockexc/1.0.0"

MAX_ENTRIES = 16384
"""Entries of a want list, and presences, in one message. Others send up to 1024 of either as a rule, and as
many as they have blocks on order when they ask for blocks."""

MAX_DELIVERIES = 2048
"""Deliveries in one message. Others send 20; old ones send all that was asked for."""

MAX_FIELDS = 16 * MAX_ENTRIES
"""Fields of one message with everything in it; an entry with all its parts has nine."""

MAX_DELIVERY_FIELDS = 64
"""Fields of a delivery that comes by itself; with all its parts it has eight."""

DELIVERY = 3
"""The field of a message that a delivery is in."""

ACCOUNT_SIZE = 20
PRICE_SIZE = 32

Part: TypeAlias = bytes | memoryview


@frozen(slots=True)
class Entry:
    """One line of a want list: tell whether you have it (`have`), send it, or forget it (`cancel`).

    With `send_dont_have` an answer is wanted also from who has it not.
    """

    address: BlockAddress
    have: bool = False
    cancel: bool = False
    send_dont_have: bool = False
    priority: int = 0


@frozen(slots=True)
class Delivery:
    """A block on its way to `address`; leaves come with their proof. Neither is checked to belong there."""

    address: BlockAddress
    block: Block
    proof: MerkleProof | None = None


@frozen(slots=True)
class Presence:
    """Whether the sender has the block at `address`, and what it asks for it."""

    address: BlockAddress
    have: bool
    price: int = 0


@frozen(slots=True)
class Message:
    """All that one message says. `full`: the entries are everything that is wanted, not additions."""

    entries: tuple[Entry, ...] = ()
    full: bool = False
    deliveries: tuple[Delivery, ...] = ()
    presences: tuple[Presence, ...] = ()
    pending_bytes: int = 0
    account: bytes | None = None
    """20 bytes, or None."""
    payment: bytes = b""


def decode(data: Part) -> Message:
    """Read a message, and check that every delivered block has the hash that its CID tells.

    Takes some 6 µs an entry or presence, and 50 µs a block of 64 KiB. Raises DecodeError for what no sound
    node sends: groups, cut fields, an unknown want type or presence, a delivery without data, data of another
    hash, a bad proof or CID, too many of anything.
    """
    return _Reader(data, MAX_FIELDS).message()


def decode_deliveries(contents: Iterable[Part]) -> list[Delivery]:
    """Read deliveries, each from the content of its field, as `decode` does."""
    reader = _Reader(b"", 0)
    return [reader.delivery(content) for content in contents]


class _Reader:
    """Reads one message; counts its fields, wherever in it they stand."""

    __slots__ = ("_data", "_fields_left", "_forms")

    def __init__(self, data: Part, max_fields: int) -> None:
        self._data = data
        self._forms = Forms(data)
        self._fields_left = max_fields

    def delivery(self, data: Part) -> Delivery:
        """Turn to another piece of the message, a delivery's content, and read it."""
        self._data, self._fields_left = data, MAX_DELIVERY_FIELDS
        self._forms.turn(data)
        return self._delivery(0, len(data))

    def message(self) -> Message:
        entries: list[Entry] = []
        deliveries: list[Delivery] = []
        presences: list[Presence] = []
        full, pending, account, payment = False, 0, b"", b""
        for number, wire, value, end in self._fields(0, len(self._data)):
            if wire == LENGTH:
                if number == 1:
                    # As for every field that may stand there once, the last one counts.
                    entries, full = self._want_list(value, end)
                elif number == DELIVERY:
                    _check_count(len(deliveries), MAX_DELIVERIES, "deliveries")
                    deliveries.append(self._delivery(value, end))
                elif number == 4:
                    _check_count(len(presences), MAX_ENTRIES, "presences")
                    presences.append(self._presence(value, end))
                elif number == 6:
                    account = self._only_bytes(value, end)
                elif number == 7:
                    payment = self._only_bytes(value, end)
            elif wire == VARINT and number == 5:
                pending = value
        known = account if len(account) == ACCOUNT_SIZE else None
        return Message(tuple(entries), full, tuple(deliveries), tuple(presences), pending, known, payment)

    def _fields(self, at: int, end: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield (number, wire type, value, 0) of a number, and (number, LENGTH, start, end) of bytes."""
        data = self._data
        while at < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise DecodeError("the message has too many fields")
            tag = data[at]
            at += 1
            if tag >= 0x80:
                tag, at = varint.decode(data, at - 1)
            number, wire = tag >> 3, tag & 7
            if number == 0:
                raise DecodeError("a field of the message has the number 0")
            if wire in (VARINT, LENGTH):
                value, at = varint.decode(data, at)
                if wire == VARINT:
                    if at > end:
                        raise DecodeError("the message ends inside a field")
                    yield number, wire, value, 0
                    continue
            elif wire == FIXED64:
                value = 8
            elif wire == FIXED32:
                value = 4
            else:
                raise DecodeError(f"a field of the message has the wire type {wire}")
            start, at = at, at + value
            if at > end:
                raise DecodeError("the message ends inside a field")
            yield number, wire, start, at

    def _count(self, fields: int) -> None:
        self._fields_left -= fields
        if self._fields_left < 0:
            raise DecodeError("the message has too many fields")

    def _bytes(self, start: int, end: int) -> bytes:
        return bytes(self._data[start:end])

    def _only_bytes(self, start: int, end: int) -> bytes:
        """The bytes that field 1 of a small message holds."""
        found = b""
        for number, wire, at, after in self._fields(start, end):
            if number == 1 and wire == LENGTH:
                found = self._bytes(at, after)
        return found

    def _want_list(self, start: int, end: int) -> tuple[list[Entry], bool]:
        entries: list[Entry] = []
        full = False
        for number, wire, value, after in self._fields(start, end):
            if number == 1 and wire == LENGTH:
                _check_count(len(entries), MAX_ENTRIES, "wants")
                entries.append(self._entry(value, after))
            elif number == 2 and wire == VARINT:
                full = value != 0
        return entries, full

    def _entry(self, start: int, end: int) -> Entry:
        usual = self._forms.entry(start, end)
        if usual is not None:
            self._count(ENTRY_FIELDS)
            leaf, cancelled, have, deny = usual
            return Entry(leaf, have, cancelled, deny)
        address: BlockAddress | None = None
        priority = cancel = want = dont = 0
        for number, wire, value, after in self._fields(start, end):
            if number == 1 and wire == LENGTH:
                address = self._address(value, after)
            elif wire == VARINT:
                if number == 2:
                    priority = value & 0xFFFFFFFF
                    priority -= priority >> 31 << 32
                elif number == 3:
                    cancel = value
                elif number == 4:
                    want = value
                elif number == 5:
                    dont = value
        if want > 1:
            raise DecodeError(f"there is no want type {want}")
        if address is None:
            raise DecodeError("a want has no address")
        return Entry(address, want == 1, cancel != 0, dont != 0, priority)

    def _address(self, start: int, end: int) -> BlockAddress:
        leaf, tree, index, cid = 0, b"", 0, b""
        for number, wire, value, after in self._fields(start, end):
            if wire == LENGTH:
                if number == 2:
                    tree = self._bytes(value, after)
                elif number == 4:
                    cid = self._bytes(value, after)
            elif wire == VARINT:
                if number == 1:
                    leaf = value
                elif number == 3:
                    index = value
        if not leaf:
            return Cid.from_bytes(cid)
        if index >= MAX_LEAVES:
            raise DecodeError(f"no dataset has a block {index}")
        return LeafAddress(Cid.from_bytes(tree), index)

    def _delivery(self, start: int, end: int) -> Delivery:
        usual = self._forms.delivery(start, end)
        if usual is not None:
            self._count(DELIVERY_FIELDS)
            name, begin, after, leaf, proved = usual
            _check_count(end - proved - 1, MAX_PROOF, "bytes of a proof")
            block = _verified(name, memoryview(self._data)[begin:after])
            return Delivery(leaf, block, MerkleProof.from_bytes(self._bytes(proved, end)))
        address: BlockAddress | None = None
        cid: bytes = b""
        data: memoryview | None = None
        proof: bytes | None = None
        for number, wire, value, after in self._fields(start, end):
            if wire != LENGTH:
                continue
            if number == 1:
                cid = self._bytes(value, after)
            elif number == 2:
                data = memoryview(self._data)[value:after]
            elif number == 3:
                address = self._address(value, after)
            elif number == 4:
                _check_count(after - value - 1, MAX_PROOF, "bytes of a proof")
                proof = self._bytes(value, after)
        if data is None or address is None:
            raise DecodeError("a delivery lacks its data or its address")
        block = _verified(cid, data)
        if proof is None or not isinstance(address, LeafAddress):
            return Delivery(address, block)
        return Delivery(address, block, MerkleProof.from_bytes(proof))

    def _presence(self, start: int, end: int) -> Presence:
        usual = self._forms.presence(start, end)
        if usual is not None:
            self._count(PRESENCE_FIELDS)
            return Presence(*usual)
        address: BlockAddress | None = None
        kind = price = 0
        for number, wire, value, after in self._fields(start, end):
            if number == 1 and wire == LENGTH:
                address = self._address(value, after)
            elif number == 2 and wire == VARINT:
                kind = value
            elif number == 3 and wire == LENGTH and after - value <= PRICE_SIZE:
                price = int.from_bytes(self._bytes(value, after))
        if kind > 1:
            raise DecodeError(f"there is no presence of type {kind}")
        if address is None:
            raise DecodeError("a presence has no address")
        return Presence(address, kind == 0, price)


def _verified(cid: bytes, data: memoryview) -> Block:
    """A block that has the hash that its CID tells. Raises DecodeError."""
    block = Block(Cid.from_bytes(cid), data)
    if not block.verify():
        raise DecodeError(f"a delivery's data are not those of {block.cid}")
    return block


def _check_count(count: int, limit: int, what: str) -> None:
    if count >= limit:
        raise DecodeError(f"the message has more than {limit} {what}")
