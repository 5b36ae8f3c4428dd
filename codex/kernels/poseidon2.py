"""Poseidon2 over encoded field elements: whole layers of a tree, cells and blocks, one call each.

An element is 32 bytes, little endian, and below the field's prime. Computed by the kernel of this name, or by
`poseidon2_spec` where that cannot be had, some twenty times slower.

A block of 64 KiB takes about 7 ms: call this off the loop. Other threads go on meanwhile.
"""

from codex.errors import InvalidInput
from codex.kernels import poseidon2_spec as spec
from codex.kernels.engine import Instance, Kernel
from codex.kernels.poseidon2_constants import EXTERNAL, INTERNAL, PRIME
from codex.kernels.poseidon2_spec import ELEMENT_SIZE

PAIR_SIZE = 2 * ELEMENT_SIZE
"""Bytes of two elements that are compressed into one."""

BATCH_SIZE = 65536
"""Bytes that the kernel is given at once where there is more than one thing to do: some 10 ms of work."""

# Where the kernel's memory is the caller's. Below it are tables; poseidon2.wat says what stands where.
_FREE = 4096

_KEYS = range(256)


def _prepare(instance: Instance) -> None:
    """Write the kernel's tables."""
    radix = 1 << 256
    # What takes a number with these top five bits below PRIME + 2**251: a multiple of -PRIME, modulo 2**256.
    reductions = [-((top << 251) // PRIME) * PRIME % radix for top in range(32)]
    first, last = (sum(rounds, ()) for rounds in (EXTERNAL[:4], EXTERNAL[4:]))
    constants = [number * radix % PRIME for number in (*first, *INTERNAL, *last)]
    others = [radix * radix % PRIME, spec.sponge_start(2) * radix % PRIME, 0]
    tables = b"".join(
        [number.to_bytes(ELEMENT_SIZE, "little") for number in (*reductions, *constants, *others)]
    )
    instance.view()[: len(tables)] = tables


def _check(instance: Instance) -> bool:
    """Whether the kernel gives the well-known root of a block of zeros."""
    root = bytes.fromhex("c4638c643b8f7d69d575f4e4ae345f781bae975ccd6ed029b82c73d8701cbd08")
    return _block_root(instance, bytes(65536), 2048) == root


# Each has some 200 KiB, and every core of a machine may ask for one some thirty times a second.
_kernel = Kernel("poseidon2.wat", prepare=_prepare, check=_check, idle=32)


def fault() -> str:
    """Why Python computes instead of the kernel, or nothing when the kernel does. Loads it: some 20 ms."""
    return _kernel.fault


def compress_pairs(pairs: bytes | memoryview, key: int) -> bytes:
    """Compress pairs of elements, 64 bytes each, into as many elements. `key` is 0 to 255; a tree uses 0
    to 3.

    Raises InvalidInput for another key or half a pair, DecodeError when an element is not below the prime.
    """
    if len(pairs) % PAIR_SIZE:
        raise InvalidInput(
            f"pairs of field elements have {PAIR_SIZE} bytes each, and {len(pairs)} bytes came"
        )
    if key not in _KEYS:
        raise InvalidInput(f"{key} is no key of a compression: those are 0 to {_KEYS[-1]}")
    if _kernel.fault:
        return spec.compress_pairs(pairs, key)
    nodes, good = bytearray(), len(pairs)
    with _kernel.instance() as instance:
        for at in range(0, len(pairs), BATCH_SIZE):
            batch = pairs[at : at + BATCH_SIZE]
            elements = _compress_pairs(instance, batch, key, nodes)
            if elements * ELEMENT_SIZE < len(batch):
                good = at + elements * ELEMENT_SIZE
                break
    if good < len(pairs):
        # It is not below the prime, and reading it says so; an error further up would have cost the instance.
        spec.decode(pairs[good : good + ELEMENT_SIZE])
    return bytes(nodes)


def hash_cells(data: bytes | memoryview, cell_size: int) -> bytes:
    """Hash data cell by cell, an element for each. No data has no cells.

    Raises InvalidInput unless the data is a number of whole cells of at least one byte.
    """
    _check_cells(len(data), cell_size)
    if _kernel.fault:
        return spec.hash_cells(data, cell_size)
    step = max(1, BATCH_SIZE // cell_size) * cell_size
    batches = [data[at : at + step] for at in range(0, len(data), step)]
    with _kernel.instance() as instance:
        digests = [_hash_cells(instance, batch, cell_size) for batch in batches]
    return b"".join(digests)


def block_root(block: bytes | memoryview, cell_size: int) -> bytes:
    """Build the tree over the hashes of a block's cells, and return its root.

    Raises InvalidInput unless the block is a number of whole cells, and one at least.
    """
    _check_cells(len(block), cell_size)
    if not block:
        raise InvalidInput("a block without bytes has no cells, and no root")
    if _kernel.fault:
        return spec.block_root(block, cell_size)
    with _kernel.instance() as instance:
        return _block_root(instance, block, cell_size)


def _check_cells(size: int, cell_size: int) -> None:
    if cell_size < 1:
        raise InvalidInput(f"a cell cannot have {cell_size} bytes: it has 1 at least")
    if size % cell_size:
        raise InvalidInput(f"{size} bytes are no whole number of cells of {cell_size}")


def _compress_pairs(instance: Instance, pairs: bytes | memoryview, key: int, nodes: bytearray) -> int:
    """Append what the pairs become, and return how many of their elements are below the prime, up to the
    first that is not.
    """
    count = len(pairs) // PAIR_SIZE
    _put(instance, pairs, 0)
    good = instance.call("compress", _FREE, count, key, _FREE)
    nodes += instance.view()[_FREE : _FREE + count * ELEMENT_SIZE]
    return good


def _hash_cells(instance: Instance, data: bytes | memoryview, cell_size: int) -> bytes:
    count = len(data) // cell_size
    nodes = _put(instance, data, count * ELEMENT_SIZE)
    instance.call("cells", _FREE, count, cell_size, nodes)
    return bytes(instance.view()[nodes : nodes + count * ELEMENT_SIZE])


def _block_root(instance: Instance, block: bytes | memoryview, cell_size: int) -> bytes:
    count = len(block) // cell_size
    nodes = _put(instance, block, count * ELEMENT_SIZE)
    instance.call("block", _FREE, count, cell_size, nodes)
    return bytes(instance.view()[nodes : nodes + ELEMENT_SIZE])


def _put(instance: Instance, data: bytes | memoryview, room: int) -> int:
    """Write data into the kernel's memory, and return where `room` bytes are free behind it."""
    end = _FREE + len(data)
    instance.reserve(end + max(room, ELEMENT_SIZE))
    instance.view()[_FREE:end] = data
    return end
