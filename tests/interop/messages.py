"""Block exchange messages as py-libp2p's side writes and reads them: only what the checks need, and nothing
of the node's own code, so that two hands meet.

An address is ("leaf", tree, index) or ("block", cid), CIDs as bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence

Address = tuple[str, bytes, int] | tuple[str, bytes]
LIMIT = 100 << 20  # bytes of a message
TAIL = bytes.fromhex("280032020a003a020a00")  # nothing pending, no account, no payment


class Reader:
    """Takes messages, each behind its length, out of what a stream yields in whatever pieces."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> list[bytes]:
        self._buffer += piece
        whole = []
        while (found := self._next()) is not None:
            whole.append(found)
        return whole

    def _next(self) -> bytes | None:
        for end, byte in enumerate(self._buffer[:10]):
            if byte < 0x80:
                length, start = varint(self._buffer, 0)[0], end + 1
                if length > LIMIT:
                    raise ValueError(f"a message of {length} bytes")
                if len(self._buffer) < start + length:
                    return None
                message = bytes(self._buffer[start : start + length])
                del self._buffer[: start + length]
                return message
        return None


def framed(message: bytes) -> bytes:
    return number(len(message)) + message


def wants(addresses: Iterable[Address], *, block: bool) -> bytes:
    """Ask for blocks, or whether they are there."""
    entries = b"".join(
        part(1, part(1, address_bytes(a)) + bytes([0x10, 0, 0x18, 0, 0x20, 0 if block else 1, 0x28, 0]))
        for a in addresses
    )
    return part(1, entries + b"\x10\x00") + TAIL


def haves(addresses: Iterable[Address]) -> bytes:
    """Say that these are there."""
    present = b"".join(
        part(4, part(1, address_bytes(a)) + b"\x10\x00" + part(3, bytes(32))) for a in addresses
    )
    return part(1, b"\x10\x00") + present + TAIL


def deliveries(blocks: Sequence[bytes]) -> bytes:
    """Hand over blocks, each as `parse` gave it."""
    return part(1, b"\x10\x00") + b"".join(part(3, block) for block in blocks) + TAIL


class Message:
    """What a message holds: `wants` (address, whether it is the block that is wanted, whether it is a
    cancellation), `haves`, and `blocks`: raw deliveries by address, each verified against its CID's hash.
    """

    def __init__(self, data: bytes) -> None:
        self.wants: list[tuple[Address, bool, bool]] = []
        self.haves: list[Address] = []
        self.blocks: dict[Address, bytes] = {}
        for key, value in fields(data):
            if key == 1:
                self.wants += [want(entry) for name, entry in fields(value) if name == 1]
            elif key == 3:
                delivery = dict(fields(value))
                if hashlib.sha256(delivery[2]).digest() != delivery[1][-32:]:
                    raise ValueError("a block that is not what its CID says")
                self.blocks[address(delivery[3])] = value
            elif key == 4:
                self.haves.append(address(dict(fields(value))[1]))


def want(data: bytes) -> tuple[Address, bool, bool]:
    entry = dict(fields(data))
    return address(entry[1]), entry.get(4, 0) == 0, entry.get(3, 0) == 1


def address(data: bytes) -> Address:
    found = dict(fields(data))
    return ("leaf", found[2], found.get(3, 0)) if found.get(1) else ("block", found[4])


def address_bytes(of: Address) -> bytes:
    if of[0] == "leaf":
        return b"\x08\x01" + part(2, of[1]) + b"\x18" + number(of[2])
    return b"\x08\x00" + part(4, of[1])


# -- protobuf


def number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def part(key: int, value: bytes) -> bytes:
    return number(key << 3 | 2) + number(len(value)) + value


def varint(data: bytes | bytearray, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        value, at = varint(data, at)
        if key & 7 == 2:
            yield key >> 3, data[at : at + value]
            at += value
        elif key & 7 == 0:
            yield key >> 3, value
        else:
            raise ValueError(f"wire type {key & 7}")
