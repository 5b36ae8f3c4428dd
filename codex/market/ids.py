"""Names of things on the chain: accounts, requests and slots.

A request is named by the hash of all that is in it, a slot by the hash of its request's name and its index,
so that both are known before the chain has heard of them.
"""

import re
from typing import Self

from attrs import field, frozen
from Crypto.Hash import keccak

from codex.errors import DecodeError

MAX_SLOT_INDEX = 2**64 - 1


def keccak256(data: bytes) -> bytes:
    """The hash of the Ethereum world, 32 bytes."""
    return bytes(keccak.new(data=data, digest_bits=256).digest())


@frozen(slots=True, repr=False, order=True)
class _Name:
    """Some bytes, of a length that the kind says. Written as 0x and hexadecimal digits in lower case."""

    raw: bytes = field()

    @raw.validator
    def _check(self, _: object, raw: bytes) -> None:
        if len(raw) != self._size():
            raise DecodeError(f"{self._kind()} has {self._size()} bytes, and not {len(raw)}")

    @classmethod
    def _size(cls) -> int:
        return 32

    @classmethod
    def _kind(cls) -> str:
        return "an id"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read hexadecimal digits, with 0x in front or without. Raises DecodeError."""
        digits = text.removeprefix("0x")
        if re.fullmatch(r"[0-9A-Fa-f]*", digits) is None or len(digits) != 2 * cls._size():
            raise DecodeError(
                f"this is not {cls._kind()}: {text[:80]!r}",
                remedy=f"Give {2 * cls._size()} hexadecimal digits, with or without 0x in front.",
            )
        return cls(bytes.fromhex(digits))

    @property
    def hex(self) -> str:
        """The digits alone, without 0x."""
        return self.raw.hex()

    def __str__(self) -> str:
        return "0x" + self.raw.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self})"


class Address(_Name):
    """An account or a contract: 20 bytes. Capital letters in the text, which some use as a check sum, are
    read as small ones."""

    __slots__ = ()

    @classmethod
    def _size(cls) -> int:
        return 20

    @classmethod
    def _kind(cls) -> str:
        return "an address"

    @property
    def is_none(self) -> bool:
        """Whether this is the zero address, by which the contract says "nobody"."""
        return self == NOBODY


class RequestId(_Name):
    """The name of a storage request, and of the purchase that made it: 32 bytes."""

    __slots__ = ()

    @classmethod
    def _kind(cls) -> str:
        return "a request id"


class AvailabilityId(_Name):
    """The name of room for sale, which only the host that offers it knows: 32 bytes."""

    __slots__ = ()

    @classmethod
    def _kind(cls) -> str:
        return "an availability id"


class SlotId(_Name):
    """The name of one slot of a request: 32 bytes."""

    __slots__ = ()

    @classmethod
    def _kind(cls) -> str:
        return "a slot id"

    @classmethod
    def of(cls, request: RequestId, index: int) -> "SlotId":
        """The name of slot `index` of `request`. Raises DecodeError for an index beyond 64 bits."""
        if not 0 <= index <= MAX_SLOT_INDEX:
            raise DecodeError(f"a slot index is a number of 64 bits, and not {index}")
        return cls(keccak256(request.raw + index.to_bytes(32, "big")))

    def group(self, groups: int) -> int:
        """Which of `groups` groups of validators watches this slot, from 0."""
        return int.from_bytes(self.raw[:8], "big") % groups


NOBODY = Address(bytes(20))
