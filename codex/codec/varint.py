"""Unsigned LEB128: whole numbers of up to 64 bits as one to ten bytes, the low seven bits first.

Protobuf messages use the plain form, where a number may be written longer than it need be. Multiformats
(CIDs, multihashes, multiaddrs) allow only the shortest form: there, every value has exactly one encoding.
"""

from codex.errors import DecodeError

MAX_BYTES = 10
"""Bytes of the longest encoding: 64 bits in groups of seven."""

MAX_VALUE = 2**64 - 1

PATTERN = rb"[\x80-\xff]{0,8}[\x00-\x7f]"
"""A regular expression for a number in up to nine bytes, none of which can be out of range."""

_SHORT = tuple(bytes((n,)) for n in range(0x80))


def encode(n: int) -> bytes:
    """Return the shortest encoding of `n`. Raises ValueError outside 0 .. 2**64 - 1."""
    if 0 <= n < 0x80:
        return _SHORT[n]
    if 0x80 <= n < 0x4000:
        return bytes((n & 0x7F | 0x80, n >> 7))
    if 0x4000 <= n < 0x200000:
        return bytes((n & 0x7F | 0x80, n >> 7 & 0x7F | 0x80, n >> 14))
    if not 0 <= n <= MAX_VALUE:
        raise ValueError(f"{n} does not fit in 64 bits without a sign")
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def decode(data: bytes | memoryview, offset: int = 0, *, minimal: bool = False) -> tuple[int, int]:
    """Read the number that starts at `offset`; return it and the offset behind it.

    Looks at no more than ten bytes. With `minimal`, the shortest form is the only one. Raises DecodeError
    when the data ends inside the number, or the number needs more than 64 bits.
    """
    # Nearly every number of a message is a tag, the place of a leaf, or a length up to that of a block.
    if offset < (end := len(data)):
        if (first := data[offset]) < 0x80:
            return first, offset + 1
        if offset + 1 < end and 0 < (second := data[offset + 1]) < 0x80:
            return first & 0x7F | second << 7, offset + 2
        if offset + 2 < end and second >= 0x80 and 0 < (third := data[offset + 2]) < 0x80:
            return first & 0x7F | (second & 0x7F) << 7 | third << 14, offset + 3
    value = shift = 0
    for at in range(offset, min(len(data), offset + MAX_BYTES)):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value > MAX_VALUE:
                raise DecodeError("a varint has more than 64 bits")
            if minimal and byte == 0 and at > offset:
                raise DecodeError("a varint is longer than it need be")
            return value, at + 1
        shift += 7
    if len(data) - offset >= MAX_BYTES:
        raise DecodeError("a varint has more than 64 bits")
    raise DecodeError("the data ends inside a varint")
