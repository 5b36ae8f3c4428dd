"""Error-correcting bytes beside small precious records, so that bit rot in them can be mended.

A record is dealt out byte by byte over as many Reed-Solomon code words as it needs, so a damaged run of
neighbouring bytes is spread thin. Each word of at most 200 data bytes gets parity of a quarter of its
length: a tenth of all bytes, parity included, may be wrong anywhere in each word. The parity is kept apart
from the record, which stays readable as it is. This code is for this disk only; it is no part of the
network's erasure coding.
"""

from functools import lru_cache

from reedsolo import ReedSolomonError, RSCodec

WORD_DATA = 200
"""Data bytes of a code word; with parity 250 of the 255 that the field of 256 elements allows."""

MIN_PARITY = 8
"""Parity bytes of the shortest word: four wrong bytes of any kind."""


def parity_of(data: bytes) -> bytes:
    """Return the parity to keep beside `data`, of at least one byte. Takes some 4 ms a KiB."""
    words, parity = _shape(len(data))
    codec = _codec(parity)
    return b"".join(bytes(codec.encode(data[word::words])[-parity:]) for word in range(words))


def mend(data: bytes, parity: bytes) -> bytes | None:
    """Return what `data` was, or None when too much of it and its parity is wrong.

    The caller must compare the result with a hash: far beyond its reach, the code may mend to something else.
    """
    words, size = _shape(len(data))
    if len(parity) != words * size:
        return None
    codec = _codec(size)
    mended = bytearray(len(data))
    for word in range(words):
        try:
            mended[word::words] = codec.decode(data[word::words] + parity[word * size : (word + 1) * size])[0]
        except ReedSolomonError:
            return None
    return bytes(mended)


def _shape(length: int) -> tuple[int, int]:
    """How many code words a record of `length` bytes has, and how many parity bytes each of them."""
    words = max(1, -(-length // WORD_DATA))
    longest = -(-length // words)
    return words, max(MIN_PARITY, 2 * -(-longest // 8))


@lru_cache(maxsize=64)
def _codec(parity: int) -> RSCodec:
    return RSCodec(parity)
