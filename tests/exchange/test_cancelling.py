"""Fetches that are given up, at every point where that can strike: nothing is left of them on either side."""

import trio

from codex.testing.cancelling import cancel_at_every_checkpoint


async def settled(world, alice, bob) -> None:
    """Assert that nothing is left of any fetch of bob's, once what was said has been heard."""
    assert bob.idle()
    await trio.sleep(100 * world.latency)
    assert alice.exchange.ledger()[bob.peer_id].wants_theirs == 0
    assert alice.service._ledger.bytes == 0
    assert bob.service._wants.plan(trio.current_time()) == []


async def test_a_download_cancelled_anywhere_leaves_no_want_behind(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(30)
    await alice.keep(dataset)
    world.join(alice, bob)
    await trio.sleep(1)
    done = []

    async def download():
        done.append(len(await bob.fetch(dataset, range(0, 30, 2))))

    async def check():
        await settled(world, alice, bob)

    cancelled = await cancel_at_every_checkpoint(download, check, own_only=True)
    assert cancelled >= 2
    assert done[-1] == 15


async def test_a_download_cancelled_at_any_step_of_anybody(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(6)
    await alice.keep(dataset)
    world.join(alice, bob)
    await trio.sleep(1)

    async def download():
        assert len(await bob.fetch(dataset)) == 6

    async def check():
        await settled(world, alice, bob)

    assert await cancel_at_every_checkpoint(download, check) > 50


async def test_a_block_cancelled_at_any_step(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(2)
    await alice.keep(dataset)
    world.join(alice, bob)
    await trio.sleep(1)

    async def fetch():
        await bob.exchange.fetch_block(dataset.manifest.cid)

    async def check():
        await settled(world, alice, bob)

    assert await cancel_at_every_checkpoint(fetch, check) > 20


async def test_a_block_left_early_withdraws_the_rest(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(400, 65536)
    await alice.keep(dataset)
    world.join(alice, bob)
    await trio.sleep(1)
    for _ in range(3):
        async with bob.exchange.fetch_leaves(dataset.cid, 400, range(400)) as arrivals:
            async for _ in arrivals:
                break
        await settled(world, alice, bob)


async def test_a_search_and_a_dial_that_are_cancelled(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(5)
    await alice.keep(dataset)
    world.announce(dataset.cid, alice)

    async def fetch():
        world.cut(alice, bob)
        await bob.exchange.fetch_block(dataset.manifest.cid)

    world.announce(dataset.manifest.cid, alice)

    async def check():
        assert bob.idle()

    assert await cancel_at_every_checkpoint(fetch, check, own_only=True) >= 1
