"""The manifest: a small block that describes a dataset, and whose CID is what users pass around.

    manifest = { 1: header }
    header = { 1 tree CID, 2 block size, 3 dataset size, 4 codec, 5 hash codec, 6 CID version,
               7 protection (when protected), 8 filename (when set), 9 mimetype (when set) }

A *protected* dataset is the original one with parity blocks behind it: K rows of data and M rows of parity,
`steps` blocks each, of which any K give back the original. A *verifiable* one also names the roots over which
hosts prove that they hold a row (a slot). Both are whole manifests of their own; the original can be read
back from either.
"""

from attrs import field, frozen

from codex.codec import cid as cids
from codex.codec import protobuf
from codex.codec.cid import Cid
from codex.data.block import BLOCK_SIZE
from codex.data.protection import MAX_MANIFEST, MAX_SLOTS, Protection, has_form, read_cid, read_message
from codex.errors import DecodeError, InvalidInput

MAX_BLOCK_SIZE = protobuf.MAX_MESSAGE
"""Bytes of the largest block: a larger one fits in no message between nodes."""

MAX_DATASET = 2**63 - 1
"""Bytes of the largest dataset: what a signed 64-bit number counts, as stores and the reference do."""

# The wire has the ordinal of an enumeration that begins with "incorrect": version 0 is 1, version 1 is 2.
_VERSION_ORDINAL = 1


def _absent_if_empty(text: str | None) -> str | None:
    return text or None


@frozen(slots=True, kw_only=True)
class Manifest:
    """A dataset's description. Sizes are in bytes.

    `dataset_size` is what was stored, without the zeros that fill the last block; for a protected dataset it
    is all its blocks, parity too, and the real size is `original_size`. An empty filename or mimetype is an
    absent one.

    The constructor does not check. `verify` does, and so do `to_bytes` and `from_bytes`: a manifest that was
    decoded is consistent, its numbers can be computed with, and its CIDs have 32-byte digests.
    """

    tree_cid: Cid
    block_size: int = BLOCK_SIZE
    dataset_size: int
    codec: int = cids.CODEX_BLOCK
    hcodec: int = cids.SHA2_256
    version: int = 1
    filename: str | None = field(default=None, converter=_absent_if_empty)
    mimetype: str | None = field(default=None, converter=_absent_if_empty)
    protection: Protection | None = None

    @classmethod
    def of_upload(
        cls, tree_cid: Cid, dataset_size: int, filename: str | None = None, mimetype: str | None = None
    ) -> "Manifest":
        """Describe a dataset of ordinary blocks, as an upload makes it. `dataset_size` is in real bytes."""
        return cls(tree_cid=tree_cid, dataset_size=dataset_size, filename=filename, mimetype=mimetype)

    @property
    def protected(self) -> bool:
        """Whether the dataset has parity blocks."""
        return self.protection is not None

    @property
    def verifiable(self) -> bool:
        """Whether the dataset has slot roots."""
        return self.protection is not None and self.protection.verification is not None

    @property
    def block_count(self) -> int:
        """Blocks of this dataset: data, padding and parity."""
        return -(-self.dataset_size // self.block_size)

    @property
    def original_size(self) -> int:
        """Bytes that were stored in the first place, and that a download gives."""
        return self.protection.original_dataset_size if self.protection else self.dataset_size

    @property
    def original_tree_cid(self) -> Cid:
        """The tree over the data alone."""
        return self.protection.original_tree_cid if self.protection else self.tree_cid

    @property
    def original_block_count(self) -> int:
        """Blocks of data, without padding and parity."""
        return -(-self.original_size // self.block_size)

    @property
    def rounded(self) -> int:
        """Blocks of data and padding: a multiple of K. Raises InvalidInput when not protected, as the next
        three.
        """
        return self.steps * self._protection.ec_k

    @property
    def steps(self) -> int:
        """Blocks of a row, which is also the number of code words."""
        return -(-self.original_block_count // self._protection.ec_k)

    @property
    def slot_count(self) -> int:
        """Rows: K + M."""
        return self._protection.slot_count

    @property
    def slot_block_count(self) -> int:
        """Blocks of a slot, without the empty ones that fill its tree up. As many as `steps`."""
        return -(-self.block_count // self.slot_count)

    @property
    def cid(self) -> Cid:
        """The name of this manifest as it is encoded here. Raises InvalidInput as `to_bytes` does.

        One that was decoded may have been encoded in another way, with unknown fields say: it keeps the CID
        under which it was found.
        """
        return cids.manifest_cid(self.to_bytes())

    def as_original(self) -> "Manifest":
        """Describe the data alone, without parity. An unprotected manifest is its own original."""
        if self.protection is None:
            return self
        return Manifest(
            tree_cid=self.protection.original_tree_cid,
            dataset_size=self.protection.original_dataset_size,
            block_size=self.block_size,
            codec=self.codec,
            hcodec=self.hcodec,
            version=self.version,
            filename=self.filename,
            mimetype=self.mimetype,
        )

    def verify(self) -> None:
        """Raise InvalidInput, saying what is wrong, unless all fields make sense together."""
        if broken := self._broken():
            raise InvalidInput(f"broken manifest: {broken}")

    def to_bytes(self) -> bytes:
        """Encode, with exactly the bytes that the reference would write.

        Raises InvalidInput for a broken manifest, and for one of more than `MAX_MANIFEST` bytes.
        """
        self.verify()
        header = (
            protobuf.Writer()
            .bytes(1, self.tree_cid.raw)
            .varint(2, self.block_size)
            .varint(3, self.dataset_size)
            .varint(4, self.codec)
            .varint(5, self.hcodec)
            .varint(6, self.version + _VERSION_ORDINAL)
        )
        if self.protection is not None:
            header.message(7, self.protection.encoder())
        if self.filename is not None:
            header.bytes(8, _utf8(self.filename))
        if self.mimetype is not None:
            header.bytes(9, _utf8(self.mimetype))
        data = protobuf.Writer().message(1, header).finish()
        if len(data) > MAX_MANIFEST:
            raise InvalidInput(f"the manifest has {len(data)} bytes, more than {MAX_MANIFEST}")
        return data

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "Manifest":
        """Decode and check. Raises DecodeError: over `MAX_MANIFEST` bytes, malformed, or broken as in
        `verify`.

        A name that is not UTF-8 is taken all the same, with U+FFFD for what cannot be read.
        """
        outer = read_message(data).bytes(1)
        if outer is None:
            raise DecodeError("not a manifest: the header is missing")
        header = read_message(outer)
        protection = header.bytes(7)
        manifest = cls(
            tree_cid=read_cid(header, 1, "tree"),
            dataset_size=header.varint(3),
            block_size=header.uint32(2),
            codec=header.uint32(4),
            hcodec=header.uint32(5),
            version=header.uint32(6) - _VERSION_ORDINAL,
            filename=_read_name(header, 8),
            mimetype=_read_name(header, 9),
            protection=Protection.from_bytes(protection) if protection else None,
        )
        if broken := manifest._broken():
            raise DecodeError(f"broken manifest: {broken}")
        return manifest

    @property
    def _protection(self) -> Protection:
        if self.protection is None:
            raise InvalidInput("the dataset is not protected: it has no rows")
        return self.protection

    def _broken(self) -> str:
        """What is wrong, or nothing. Looks first at what the later sums divide by."""
        if self.version != 1:
            return "its CIDs are not of version 1"
        if self.codec != cids.CODEX_BLOCK or self.hcodec != cids.SHA2_256:
            return "the blocks are not Codex blocks named by sha2-256"
        if not 0 < self.block_size <= MAX_BLOCK_SIZE:
            return f"a block cannot have {self.block_size} bytes"
        if not 0 <= self.dataset_size <= MAX_DATASET:
            return f"a dataset cannot have {self.dataset_size} bytes"
        if not has_form(self.tree_cid, cids.ROOT_PREFIX):
            return "the tree CID names no tree"
        return self._broken_protection(self.protection) if self.protection else ""

    def _broken_protection(self, protection: Protection) -> str:
        if protection.ec_k < 1 or protection.ec_m < 0 or self.slot_count > MAX_SLOTS:
            return f"K = {protection.ec_k} and M = {protection.ec_m} rows cannot be coded"
        if not 0 <= protection.original_dataset_size <= MAX_DATASET:
            return f"a dataset cannot have {protection.original_dataset_size} bytes"
        if not has_form(protection.original_tree_cid, cids.ROOT_PREFIX):
            return "the original tree CID names no tree"
        if self.block_count != self.steps * self.slot_count:
            return (
                f"{self.original_block_count} blocks with K = {protection.ec_k} and M = {protection.ec_m}"
                f" do not make {self.block_count}"
            )
        return protection.verification.broken(self.slot_count) if protection.verification else ""


def _utf8(name: str) -> bytes:
    try:
        return name.encode()
    except UnicodeEncodeError:
        raise InvalidInput("a filename or mimetype has characters that are not Unicode text") from None


def _read_name(message: protobuf.Message, number: int) -> str | None:
    raw = message.bytes(number)
    # Names come from request headers, which other nodes pass on as they are.
    return None if raw is None else raw.decode(errors="replace")
