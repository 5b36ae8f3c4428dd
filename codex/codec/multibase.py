"""Multibase: bytes as text whose first character names the base.

Two families. In *bit* bases (2, 8, 16, 32, 64) every character is a fixed number of bits, and some forms are
filled up with "=". In *number* bases (10, 36, 58) the bytes are one large number, and each leading zero byte
is a leading zero digit.

Only canonical text is read: bits left over at the end are zero, and padding is there exactly where the base
has it. The upper or lower case of a base without case (16, 32, 36) is free, as in other implementations.
"""

from collections.abc import Mapping
from math import lcm
from types import MappingProxyType

from attrs import field, frozen

from codex.errors import DecodeError

MAX_TEXT = 8192
"""Characters that `decode` reads when not told otherwise. Number bases cost time with the square of the
length, and no identifier or record of the network has more than some hundred."""


@frozen
class Base:
    """One base: its prefix character and how it writes bytes. `bits` is 0 for a number base."""

    name: str
    prefix: str
    alphabet: str
    bits: int = 0
    padded: bool = False
    cased: bool = True
    _digits: Mapping[str, int] = field(init=False, repr=False, eq=False)
    _bits_of: Mapping[str, str] = field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        digits = {char: value for value, char in enumerate(self.alphabet)}
        if not self.cased:
            digits |= {char.swapcase(): value for char, value in digits.items()}
        bits_of = (
            {char: format(value, f"0{self.bits}b") for char, value in digits.items()} if self.bits else {}
        )
        object.__setattr__(self, "_digits", MappingProxyType(digits))
        object.__setattr__(self, "_bits_of", MappingProxyType(bits_of))

    _pairs: tuple[str, ...] = field(init=False, repr=False, eq=False)

    @_pairs.default
    def _each_two_digits(self) -> tuple[str, ...]:
        return () if self.bits else tuple(a + b for a in self.alphabet for b in self.alphabet)

    def encode(self, data: bytes) -> str:
        """Return `data` as text, without the prefix."""
        return self._encode_bits(data) if self.bits else self._encode_number(data)

    def decode(self, text: str) -> bytes:
        """Return the bytes of `text`, which has no prefix. Raises DecodeError. The length is the caller's to
        bound.
        """
        try:
            return self._decode_bits(text) if self.bits else self._decode_number(text)
        except KeyError:
            raise DecodeError(f"a character is not in {self.name}") from None

    def _encode_bits(self, data: bytes) -> str:
        if not data:
            return ""
        width = self.bits
        bits = format(int.from_bytes(data), f"0{8 * len(data)}b")
        bits += "0" * (-len(bits) % width)
        text = "".join([self.alphabet[int(bits[i : i + width], 2)] for i in range(0, len(bits), width)])
        return text + "=" * (-len(text) % self._group) if self.padded else text

    def _decode_bits(self, text: str) -> bytes:
        if self.padded:
            body = text.rstrip("=")
            if len(text) != len(body) + -len(body) % self._group:
                raise DecodeError(f"the padding is not that of {self.name}")
            text = body
        bits = "".join([format(self._digits[char], f"0{self.bits}b") for char in text])
        rest = len(bits) % 8
        if rest >= self.bits or "1" in bits[len(bits) - rest :]:
            raise DecodeError(f"bits are left over at the end of the {self.name} text")
        size = len(bits) // 8
        return int(bits[: 8 * size], 2).to_bytes(size) if size else b""

    @property
    def _group(self) -> int:
        """Characters after which the text stands on a byte boundary again."""
        return lcm(8, self.bits) // self.bits

    def _encode_number(self, data: bytes) -> str:
        zero, square = self.alphabet[0], len(self.alphabet) ** 2
        zeros = len(data) - len(data.lstrip(b"\0"))
        # Dividing a large number is slow: cut off eight digits at once, which fit in a machine word, then go
        # by twos.
        number, step, pairs = int.from_bytes(data), square**4, self._pairs
        text: list[str] = []
        while number:
            number, part = divmod(number, step)
            part, d = divmod(part, square)
            part, c = divmod(part, square)
            a, b = divmod(part, square)
            text.append(pairs[a] + pairs[b] + pairs[c] + pairs[d])
        text.reverse()
        return zero * zeros + "".join(text).lstrip(zero)

    def _decode_number(self, text: str) -> bytes:
        digits, radix = self._digits, len(self.alphabet)
        number = 0
        for start in range(0, len(text), 8):
            part = 0
            chunk = text[start : start + 8]
            for char in chunk:
                part = part * radix + digits[char]
            number = number * radix ** len(chunk) + part
        zeros = len(text) - len(text.lstrip(self.alphabet[0]))
        return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8)


_DIGITS = "0123456789"
_LOWER = "abcdefghijklmnopqrstuvwxyz"
_UPPER = _LOWER.upper()
_RFC32 = _LOWER + "234567"
_HEX32 = _DIGITS + _LOWER[:22]
_BTC58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_FLICKR58 = "123456789abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ"
_RFC64 = _UPPER + _LOWER + _DIGITS

BASE58BTC = Base("base58btc", "z", _BTC58)

_BASES = (
    BASE58BTC,
    Base("base58flickr", "Z", _FLICKR58),
    Base("base2", "0", "01", bits=1),
    Base("base8", "7", "01234567", bits=3),
    Base("base10", "9", _DIGITS),
    Base("base16", "f", _DIGITS + "abcdef", bits=4, cased=False),
    Base("base16upper", "F", _DIGITS + "ABCDEF", bits=4, cased=False),
    Base("base32", "b", _RFC32, bits=5, cased=False),
    Base("base32upper", "B", _RFC32.upper(), bits=5, cased=False),
    Base("base32pad", "c", _RFC32, bits=5, padded=True, cased=False),
    Base("base32padupper", "C", _RFC32.upper(), bits=5, padded=True, cased=False),
    Base("base32hex", "v", _HEX32, bits=5, cased=False),
    Base("base32hexupper", "V", _HEX32.upper(), bits=5, cased=False),
    Base("base32hexpad", "t", _HEX32, bits=5, padded=True, cased=False),
    Base("base32hexpadupper", "T", _HEX32.upper(), bits=5, padded=True, cased=False),
    Base("base32z", "h", "ybndrfg8ejkmcpqxot1uwisza345h769", bits=5),
    Base("base36", "k", _DIGITS + _LOWER, cased=False),
    Base("base36upper", "K", _DIGITS + _UPPER, cased=False),
    Base("base64", "m", _RFC64 + "+/", bits=6),
    Base("base64pad", "M", _RFC64 + "+/", bits=6, padded=True),
    Base("base64url", "u", _RFC64 + "-_", bits=6),
    Base("base64urlpad", "U", _RFC64 + "-_", bits=6, padded=True),
)

BASES: Mapping[str, Base] = MappingProxyType({base.name: base for base in _BASES})
"""The bases by name."""

_BY_PREFIX = {base.prefix: base for base in _BASES}


def encode(base: str, data: bytes) -> str:
    """Return `data` in the base of that name ("base58btc"), prefix included. Raises KeyError for an unknown
    name.
    """
    chosen = BASES[base]
    return chosen.prefix + chosen.encode(data)


def decode(text: str, *, limit: int = MAX_TEXT) -> bytes:
    """Return the bytes of a text with its prefix. Raises DecodeError, also over `limit` characters."""
    if len(text) > limit:
        raise DecodeError(f"the text has {len(text)} characters, more than {limit}")
    base = _BY_PREFIX.get(text[:1])
    if base is None:
        raise DecodeError("the text does not begin with the prefix of a known base")
    return base.decode(text[1:])
