"""A file protected in 4 + 2 rows, of which two are gone: it is read, and repaired; its names follow from the
rules of the network alone.
"""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from itertools import zip_longest

import pytest

from codex.codec import Cid
from codex.data import Manifest
from codex.erasure import Layout
from codex.kernels import leopard_spec, poseidon2_spec
from codex.node import Node
from codex.testing.content import noise
from codex.testing.nodes import open_test_node, store_of

K, M, BLOCK, CELL = 4, 2, 65_536, 2048
MIB = 1 << 20


async def protected(node: Node, source: AsyncIterator[bytes] | bytes, k: int, m: int) -> Manifest:
    """Store and protect a file; the verifiable manifest."""
    cid = await node.store(source)
    view = await (await node.protect(cid, k, m)).wait()
    assert isinstance(view.result, dict)
    return await node.fetch_manifest(Cid.parse(str(view.result["verifiableCid"])), local=True)


# -- what is left of it is enough


async def hand_over(giver: Node, taker: Node, manifest: Manifest, rows: Sequence[int]) -> None:
    """Let the taker have these rows and the manifest, and nothing else."""
    await store_of(taker).put_manifest(manifest.to_bytes())
    layout, tree = Layout.of(manifest), manifest.tree_cid
    for row in rows:
        leaves = layout.row(row)
        for first in range(leaves.start, leaves.stop, 64):
            count = min(64, leaves.stop - first)
            some = await store_of(giver).leaves(tree, first, count)
            blocks = await store_of(giver).get_many([leaf.cid for leaf in some])
            await store_of(taker).put_leaves(tree, some, blocks)


@pytest.mark.parametrize(
    "size", [3 * MIB - 5, pytest.param(256 * MIB, marks=pytest.mark.soak)], ids=["small", "256 MiB"]
)
async def test_two_rows_are_gone_and_come_back(size: int) -> None:
    hashed = hashlib.sha256()

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, size, MIB):
            part = noise(min(MIB, size - at), str(at))  # no block twice, or fewer rows could be spared
            hashed.update(part)
            yield part

    async with open_test_node(threads=True) as alice, open_test_node(threads=True) as bob:
        manifest = await protected(alice, pieces(), K, M)
        await hand_over(alice, bob, manifest, (1, 3, 4, 5))
        steps = Layout.of(manifest).steps

        async def verify(repair: bool) -> dict[str, object]:
            view = await (await bob.verify(manifest.cid, repair=repair)).wait()
            assert isinstance(view.result, dict)
            return dict(view.result)

        found = await verify(repair=False)
        assert (found["sound"], found["missingBlocks"], found["lostBytes"]) == (False, 2 * steps, 0)
        got = hashlib.sha256()
        async with bob.retrieve(manifest.cid, local=True) as whole:
            assert whole.size == size
            async for part in whole:
                got.update(part)
        assert got.digest() == hashed.digest()
        assert (await verify(repair=True))["sound"]
        found = await verify(repair=False)
        assert (found["sound"], found["missingBlocks"], found["spare"]) == (True, 0, M)


# -- its names


def root_of(leaves: Sequence[bytes], join: Callable[[bytes, bytes, int], bytes]) -> bytes:
    """The root of a tree as the network builds it: joints at the bottom are marked with 1, those with only
    one child with 2, which has zeros beside it.
    """
    layer, mark = list(leaves), 1
    while len(layer) > 1 or mark:
        pairs = zip_longest(layer[::2], layer[1::2])
        layer = [join(a, b or bytes(32), mark + 2 * (b is None)) for a, b in pairs]
        mark = 0
    return layer[0]


def by_sha256(left: bytes, right: bytes, mark: int) -> bytes:
    return hashlib.sha256(left + right + bytes([mark])).digest()


def by_poseidon2(left: bytes, right: bytes, mark: int) -> bytes:
    decode = poseidon2_spec.decode
    return poseidon2_spec.encode(poseidon2_spec.compress(decode(left), decode(right), mark))


@pytest.mark.parametrize(("k", "m", "blocks"), [(2, 1, 5), (3, 2, 6)])
async def test_its_names_are_those_of_an_independent_computation(k: int, m: int, blocks: int) -> None:
    content = noise(blocks * BLOCK - 99)
    padded = content + bytes(99)
    data = [padded[at : at + BLOCK] for at in range(0, len(padded), BLOCK)]
    steps = -(-blocks // k)
    data += [b""] * (k * steps - blocks)
    rows = list(data)
    columns = [
        leopard_spec.encode(
            leopard_spec.Shape(k, m), [data[row * steps + n] or bytes(BLOCK) for row in range(k)]
        )
        for n in range(steps)
    ]
    rows += [columns[n][row] for row in range(m) for n in range(steps)]
    tree = root_of([hashlib.sha256(block).digest() for block in rows], by_sha256)
    of_blocks = {block: poseidon2_spec.block_root(block or bytes(BLOCK), CELL) for block in {*rows, b""}}
    width = 1 << (steps - 1).bit_length()
    slots = []
    for row in range(k + m):
        leaves = [of_blocks[block] for block in rows[row * steps : (row + 1) * steps]]
        slots.append(root_of([*leaves, *[of_blocks[b""]] * (width - steps)], by_poseidon2))
    async with open_test_node(threads=True) as alice:
        made = await protected(alice, content, k, m)
    assert made.protection is not None
    verification = made.protection.verification
    assert verification is not None
    assert made.tree_cid.digest == tree
    assert [slot.digest for slot in verification.slot_roots] == slots
    assert verification.verify_root.digest == root_of(slots, by_poseidon2)
    original = root_of([hashlib.sha256(block).digest() for block in data[:blocks]], by_sha256)
    assert made.original_tree_cid.digest == original
