"""Where the blocks of a protected dataset stand.

The original's blocks, filled up with empty ones (padding) to a multiple of K, are cut into K rows of `steps`
consecutive blocks; M rows of parity follow. The leaves of the protected tree are these rows one after the
other, so that

    leaf index = row * steps + column        row 0..K+M-1, column 0..steps-1

A column, one block of each row, is a code word: any K of its K + M blocks give back the others. A row is what
one host holds. (In the reference this is the *stepped* strategy: a code word takes every steps-th block.)
"""

from collections.abc import Iterator, Sequence

from attrs import frozen

from codex.codec.cid import EMPTY_BLOCK, Cid
from codex.data import Manifest, Protection, Strategy
from codex.data.manifest import MAX_DATASET
from codex.errors import InvalidInput
from codex.kernels.leopard_spec import CHUNK, Shape


@frozen(slots=True)
class Layout:
    """How many blocks of the original there are, and how many rows of data (k) and parity (m) they make.

    The constructor does not check: `plan` makes one for a dataset that is to be protected, `of` one from a
    manifest that says how it was.
    """

    blocks: int
    k: int
    m: int

    @classmethod
    def plan(cls, original: Manifest, k: int, m: int) -> "Layout":
        """Lay out a dataset that is to be protected with k rows of data and m of parity.

        Raises InvalidInput, with the number and its limit, when that cannot be: more rows than blocks, more
        parity than data, a code word or a dataset that is too large, or one that has parity already.
        """
        if original.protection is not None:
            raise InvalidInput(
                "the dataset is protected already",
                remedy="Protect the original; its manifest is the one without parity.",
            )
        Shape(k, m)
        layout = cls(original.block_count, k, m)
        size = original.block_size
        if size % CHUNK:
            raise InvalidInput(f"blocks of {size} bytes cannot be coded: it takes a multiple of {CHUNK}")
        if k > layout.blocks:
            raise InvalidInput(
                f"K = {k} rows are more than the dataset has blocks, which is {layout.blocks}",
                remedy=f"K is at most the number of blocks: {k} rows take more than {(k - 1) * size} bytes.",
            )
        if layout.total * size > MAX_DATASET:
            raise InvalidInput(
                f"with parity the dataset would have {layout.total * size} bytes, more than {MAX_DATASET}"
            )
        return layout

    @classmethod
    def of(cls, manifest: Manifest) -> "Layout":
        """The layout that a protected manifest tells. Raises InvalidInput when it is not protected, or laid
        out in another way than all that are in use.
        """
        protection = manifest.protection
        if protection is None:
            raise InvalidInput("the dataset is not protected: it has no rows")
        if protection.strategy is not Strategy.STEPPED:
            raise InvalidInput(f"rows are laid out as {protection.strategy.name}; only STEPPED is known")
        return cls(manifest.original_block_count, protection.ec_k, protection.ec_m)

    @property
    def shape(self) -> Shape:
        """A column as a code word. Raises InvalidInput when there is no parity, or too much."""
        return Shape(self.k, self.m)

    @property
    def rows(self) -> int:
        """Rows of data and parity."""
        return self.k + self.m

    @property
    def steps(self) -> int:
        """Columns, which is blocks of a row."""
        return -(-self.blocks // self.k)

    @property
    def rounded(self) -> int:
        """Blocks of all rows of data: the original's and padding."""
        return self.steps * self.k

    @property
    def total(self) -> int:
        """Blocks of all rows."""
        return self.steps * self.rows

    @property
    def padding(self) -> range:
        """Leaves that are empty blocks and stand for zeros. Nobody has to hold or send them."""
        return range(self.blocks, self.rounded)

    @property
    def parity(self) -> range:
        """Leaves that are parity."""
        return range(self.rounded, self.total)

    def index(self, row: int, column: int) -> int:
        """The leaf at that place."""
        return row * self.steps + column

    def place(self, index: int) -> tuple[int, int]:
        """Row and column of a leaf. Raises InvalidInput when there is no such leaf."""
        if not 0 <= index < self.total:
            raise InvalidInput(f"there is no leaf {index}: the rows have {self.total} blocks")
        return divmod(index, self.steps)

    def row(self, row: int, columns: range | None = None) -> range:
        """The leaves of a row, or of its part in some consecutive columns."""
        columns = range(self.steps) if columns is None else columns
        return range(self.index(row, columns.start), self.index(row, columns.stop))

    def column(self, column: int) -> range:
        """The leaves of a column, by row."""
        return range(column, self.total, self.steps)

    def batches(self, columns: int) -> Iterator[range]:
        """All columns, that many at a time."""
        for first in range(0, self.steps, columns):
            yield range(first, min(first + columns, self.steps))

    def digests(self, original: Sequence[bytes], parity: Sequence[Sequence[bytes]]) -> list[bytes]:
        """The leaves of the protected tree, from digests of the original's blocks and of each parity row."""
        if len(original) != self.blocks or [len(row) for row in parity] != [self.steps] * self.m:
            raise InvalidInput(
                f"{len(original)} digests of data and {[len(row) for row in parity]} of parity"
                f" for {self.blocks} blocks and {self.m} rows of {self.steps}"
            )
        empty = [EMPTY_BLOCK.digest] * len(self.padding)
        return [*original, *empty, *(digest for row in parity for digest in row)]


def protected_manifest(original: Manifest, layout: Layout, tree_cid: Cid) -> Manifest:
    """Describe the dataset that `layout` makes of an original, by the root of its tree. Names are kept."""
    return Manifest(
        tree_cid=tree_cid,
        block_size=original.block_size,
        dataset_size=layout.total * original.block_size,
        codec=original.codec,
        hcodec=original.hcodec,
        version=original.version,
        filename=original.filename,
        mimetype=original.mimetype,
        protection=Protection(
            ec_k=layout.k,
            ec_m=layout.m,
            original_tree_cid=original.tree_cid,
            original_dataset_size=original.dataset_size,
        ),
    )
