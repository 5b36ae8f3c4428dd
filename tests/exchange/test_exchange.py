"""Flows between people: who has, who wants, and what comes of it."""

import pytest
import trio

from codex.errors import NotOnNetwork


async def test_a_dataset_comes_from_a_connected_peer(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(300)
    await alice.keep(dataset)
    world.join(alice, bob)
    got = await bob.fetch(dataset)
    assert got == dict(enumerate(dataset.blocks))
    assert bob.idle()
    leaves = await bob.store.leaves(dataset.cid, 0, 300)
    assert [leaf.cid for leaf in leaves] == [block.cid for block in dataset.blocks]
    assert all(leaf.proof == dataset.tree.proof(leaf.index) for leaf in leaves)


async def test_a_manifest_comes_and_is_kept(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(3)
    await alice.keep(dataset)
    world.join(alice, bob)
    block = await bob.exchange.fetch_block(dataset.manifest.cid)
    assert block.data == dataset.manifest.to_bytes()
    assert await bob.store.get_manifest(dataset.manifest.cid) == dataset.manifest
    assert bob.idle()


async def test_what_nobody_has_ends_soon(world, autojump_clock):
    bob = await world.person("bob")
    start = trio.current_time()
    with pytest.raises(NotOnNetwork, match="no peer was found"):
        await bob.exchange.fetch_block(world.dataset(1).manifest.cid)
    assert trio.current_time() - start < 10
    assert bob.idle()
