"""Content identifiers: which kind of content, which hash, and its digest, in a few bytes.

    CIDv1 = varint 1, varint content codec, multihash        CIDv0 = multihash (sha2-256 of a dag-pb node)
    multihash = varint hash code, varint length, digest

Codex names everything by CIDv1; blocks, dataset trees and manifests use sha2-256, which makes 38 bytes of
which only the digest varies. Text is multibase base58btc ("z…"), or bare base58 for version 0 ("Qm…").

`Cid(raw)` trusts its argument and is cheap: use it for identifiers that this node made or has checked.
Whatever came from outside goes through `Cid.from_bytes` or `Cid.parse`.
"""

import hashlib

import multihash
from attrs import frozen

from codex.codec import multibase, varint
from codex.errors import DecodeError

# Content codecs of Codex (private range of the multicodec table).
CODEX_MANIFEST = 0xCD01
CODEX_BLOCK = 0xCD02
CODEX_ROOT = 0xCD03
CODEX_SLOT_ROOT = 0xCD04
CODEX_PROVING_ROOT = 0xCD05
CODEX_SLOT_CELL = 0xCD06

# Content codecs of others that are met in passing.
RAW = 0x55
DAG_PB = 0x70
DAG_CBOR = 0x71
LIBP2P_KEY = 0x72
DAG_JSON = 0x0129
JSON = 0x0200

# Hash codes.
IDENTITY = 0x00
SHA2_256 = 0x12
SHA2_512 = 0x13
POSEIDON2_SPONGE = 0xCD10
POSEIDON2_MERKLE_2KB = 0xCD11
POSEIDON2_KEYED_COMPRESS = 0xCD12

CODECS = frozenset(
    {
        *(CODEX_MANIFEST, CODEX_BLOCK, CODEX_ROOT, CODEX_SLOT_ROOT, CODEX_PROVING_ROOT, CODEX_SLOT_CELL),
        *(RAW, DAG_PB, DAG_CBOR, LIBP2P_KEY, DAG_JSON, JSON),
        *(
            0x50,
            0x51,
            0x78,
            0x7B,
            0x7C,
            0x85,
            0xED,
        ),  # protobuf, cbor, git, torrent info and file, dag-jose, ed25519
        *range(0x90, 0x99),  # Ethereum: blocks, transactions, receipts, state
        *(
            0xB0,
            0xB1,
            0xC0,
            0xC1,
            0xD0,
            0xD1,
            0xE0,
            0xE1,
            0xF0,
            0xF1,
        ),  # other chains: block and transaction of each
    }
)
"""Content codecs that a foreign CID may carry."""

MAX_DIGEST = 128
"""Bytes of the longest digest; the largest hash of the multihash table has as many."""

MAX_BYTES = 160
"""Bytes of the longest CID: the digest, and four varints of which the last fits in two bytes."""

MAX_TEXT = 1 + 8 * MAX_BYTES
"""Characters of the longest CID as text, in base 2."""

DIGEST_SIZE = 32
"""Bytes of a sha2-256 digest, and of a field element."""

BLOCK_PREFIX = bytes.fromhex("01829a031220")
ROOT_PREFIX = bytes.fromhex("01839a031220")
MANIFEST_PREFIX = bytes.fromhex("01819a031220")
SLOT_ROOT_PREFIX = bytes.fromhex("01849a030020")
PROVING_ROOT_PREFIX = bytes.fromhex("01859a030020")
SLOT_CELL_PREFIX = bytes.fromhex("01869a03919a0320")

# Every CID of the daily kind is six bytes of these and 32 of digest: a look-up is check enough.
_COMMON = frozenset({BLOCK_PREFIX, ROOT_PREFIX, MANIFEST_PREFIX, SLOT_ROOT_PREFIX, PROVING_ROOT_PREFIX})
_SHA2_256 = frozenset({BLOCK_PREFIX, ROOT_PREFIX, MANIFEST_PREFIX})
_COMMON_SIZE = len(BLOCK_PREFIX) + DIGEST_SIZE

_V0_PREFIX = bytes((SHA2_256, DIGEST_SIZE))
_V0_SIZE = 34

# Hashes that the general table lacks, or that are met by the hundred in one manifest.
_OWN_HASHES = {
    SHA2_256: 32,
    SHA2_512: 64,
    POSEIDON2_SPONGE: 32,
    POSEIDON2_MERKLE_2KB: 32,
    POSEIDON2_KEYED_COMPRESS: 32,
}


@frozen(slots=True, eq=False, repr=False)
class Cid:
    """A content identifier: its bytes, and nothing else.

    Equal when the bytes are equal. All properties are read from the bytes when asked for; on a `raw` that is
    no CID they raise DecodeError or give nonsense, for the constructor does not look at it.
    """

    raw: bytes

    # Written out because CIDs fill large sets: the generated methods build a tuple each time, at several
    # times the cost.
    def __eq__(self, other: object) -> bool:
        return other.raw == self.raw if other.__class__ is Cid else NotImplemented

    def __hash__(self) -> int:
        return hash(self.raw)

    def __str__(self) -> str:
        text = multibase.BASE58BTC.encode(self.raw)
        return text if self.version == 0 else "z" + text

    def __repr__(self) -> str:
        return f"Cid({str(self)!r})"

    @classmethod
    def from_bytes(cls, raw: bytes | memoryview) -> "Cid":
        """Check and take the binary form of a foreign CID, version 0 or 1.

        Raises DecodeError for an unknown content codec or hash, a digest that is not as long as its hash, a
        varint that is not the shortest, and bytes after the end.
        """
        raw = bytes(raw) if len(raw) <= MAX_BYTES else b""
        if len(raw) == _COMMON_SIZE and raw[:6] in _COMMON:
            return cls(raw)
        if not raw:
            raise DecodeError(f"a CID has 1 to {MAX_BYTES} bytes")
        if len(raw) == _V0_SIZE and raw.startswith(_V0_PREFIX):
            return cls(raw)
        version, at = varint.decode(raw, 0, minimal=True)
        if version != 1:
            raise DecodeError(f"{version} is no version of CIDs")
        codec, at = varint.decode(raw, at, minimal=True)
        if codec not in CODECS:
            raise DecodeError(f"the content codec {codec:#x} of the CID is unknown")
        check_multihash(raw[at:])
        return cls(raw)

    @classmethod
    def parse(cls, text: str) -> "Cid":
        """Read a CID from text: version 0 as bare base58, version 1 in any base. Raises DecodeError."""
        if len(text) > MAX_TEXT:
            raise DecodeError(f"a CID has at most {MAX_TEXT} characters")
        if len(text) == 46 and text.startswith("Qm"):
            return cls.from_bytes(multibase.BASE58BTC.decode(text))
        raw = multibase.decode(text)
        if raw.startswith(_V0_PREFIX[:1]):
            raise DecodeError("a CID of version 0 has no multibase prefix")
        return cls.from_bytes(raw)

    @property
    def version(self) -> int:
        """0 or 1."""
        return 0 if len(self.raw) == _V0_SIZE and self.raw.startswith(_V0_PREFIX) else 1

    @property
    def codec(self) -> int:
        """What the content is, as a code of the multicodec table."""
        return DAG_PB if self.version == 0 else varint.decode(self.raw, 1)[0]

    @property
    def multihash(self) -> bytes:
        """The hash with its code and length in front."""
        return self.raw if self.version == 0 else self.raw[varint.decode(self.raw, 1)[1] :]

    @property
    def multihash_code(self) -> int:
        """Which hash, as a code of the multicodec table."""
        return varint.decode(self.multihash)[0]

    @property
    def digest(self) -> bytes:
        """The hash itself: 32 bytes for everything that Codex stores."""
        if len(self.raw) == _COMMON_SIZE and self.raw[:6] in _COMMON:
            return self.raw[6:]
        multihash = self.multihash
        return multihash[varint.decode(multihash, varint.decode(multihash)[1])[1] :]

    def matches(self, data: bytes | memoryview) -> bool:
        """Whether `data` has this hash. False for a hash that is not computed here: only sha2 and identity
        are.
        """
        if self.raw[:6] in _SHA2_256:
            return hashlib.sha256(data).digest() == self.raw[6:]
        match self.multihash_code:
            case 0x12:
                return hashlib.sha256(data).digest() == self.digest
            case 0x13:
                return hashlib.sha512(data).digest() == self.digest
            case 0x00:
                return data == self.digest
            case _:
                return False


def check_multihash(data: bytes) -> None:
    """Raise DecodeError unless `data` is exactly one multihash: known code, right length, nothing behind it.

    Looks at no more than `MAX_DIGEST` bytes of digest, and needs varints in their shortest form.
    """
    code, at = varint.decode(data, 0, minimal=True)
    length, at = varint.decode(data, at, minimal=True)
    if length != len(data) - at or length > MAX_DIGEST:
        raise DecodeError("the digest of a multihash is not as long as it says")
    if code == IDENTITY:
        return
    wanted = _OWN_HASHES.get(code)
    if wanted is None:
        # The library takes its application range (1 to 15) as known without knowing anything about it.
        if multihash.is_app_code(code) or not multihash.is_valid(data):
            raise DecodeError(f"the hash {code:#x} is unknown")
        wanted = multihash.constants.HASH_LENGTHS[code]
    if wanted is not None and length != wanted:
        raise DecodeError(f"the digest of hash {code:#x} has {length} bytes, not {wanted}")


def block_cid(digest: bytes) -> Cid:
    """Name a data or parity block by the sha2-256 digest (32 bytes) of its content."""
    return Cid(BLOCK_PREFIX + digest)


def root_cid(digest: bytes) -> Cid:
    """Name a dataset's tree by its root (32 bytes)."""
    return Cid(ROOT_PREFIX + digest)


def manifest_cid(data: bytes | memoryview) -> Cid:
    """Hash an encoded manifest and name it."""
    return Cid(MANIFEST_PREFIX + hashlib.sha256(data).digest())


def slot_root_cid(element: bytes) -> Cid:
    """Name a slot by its root, a field element of 32 bytes, little endian."""
    return Cid(SLOT_ROOT_PREFIX + element)


def proving_root_cid(element: bytes) -> Cid:
    """Name the tree over a dataset's slot roots by its root, a field element of 32 bytes, little endian."""
    return Cid(PROVING_ROOT_PREFIX + element)


def slot_cell_cid(element: bytes) -> Cid:
    """Name a leaf of a slot's tree by its value, a field element of 32 bytes, little endian."""
    return Cid(SLOT_CELL_PREFIX + element)


EMPTY_BLOCK = block_cid(hashlib.sha256().digest())
"""The block without data. It is never stored, always there, and stands for zeros where a whole block is
needed.
"""

_EMPTY_BLOCKS = frozenset(
    {EMPTY_BLOCK.raw, bytes.fromhex("01829a031340") + hashlib.sha512().digest()},
)


def is_empty(cid: Cid) -> bool:
    """Whether this is the block without data, by sha2-256 or by sha2-512."""
    return cid.raw in _EMPTY_BLOCKS
