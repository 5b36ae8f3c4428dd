"""Places in the hash table and how far they are from each other.

Nodes, contents and hosts all have a place: 32 bytes, read as a number of 256 bits, big endian. The distance
of two places is the bit length of their exclusive or: 0 for the same place, 256 for the far half of them.
"""

from Crypto.Hash import keccak

from codex.codec import Cid

ID_BYTES = 32
MAX_DISTANCE = 256


def content_id(cid: Cid) -> bytes:
    """The place of a content: the keccak256 of its CID in binary."""
    return _keccak256(cid.raw)


def host_id(account: bytes) -> bytes:
    """The place of a host on the marketplace: the keccak256 of its Ethereum address, 20 bytes."""
    return _keccak256(account)


def log_distance(a: bytes, b: bytes) -> int:
    """How far `a` is from `b`, 0 to 256."""
    return (int.from_bytes(a) ^ int.from_bytes(b)).bit_length()


def id_at_distance(place: bytes, distance: int) -> bytes:
    """A place that is `distance` (0 to 256) away from `place`: the one that differs in a single bit."""
    flipped = 1 << distance - 1 if distance else 0
    return (int.from_bytes(place) ^ flipped).to_bytes(ID_BYTES)


def _keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()
