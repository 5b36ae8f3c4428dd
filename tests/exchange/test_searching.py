"""Whose search has its turn when many are wanted."""

import pytest
import trio

from codex.errors import NotOnNetwork
from codex.exchange import searching
from codex.exchange.searching import INTERVAL, MOST, PACE, SEARCHES, Turns


async def _ask_in_vain(person, cid):
    with pytest.raises(NotOnNetwork):
        await person.exchange.fetch_block(cid)


async def test_a_search_does_not_wait_behind_hundreds_in_vain(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset, unknown = world.dataset(5), world.dataset(300, seed=1)
    await alice.keep(dataset)
    world.announce(dataset.cid, alice)
    known, running, most = dataset.cid, 0, 0
    plain = bob.discovery.find_providers

    async def find_providers(cid):
        nonlocal running, most
        running += 1
        most = max(most, running)
        # What nobody has takes as long as a search may.
        world.search_delay = 0.2 if cid == known else 10.0
        try:
            return await plain(cid)
        finally:
            running -= 1

    bob.discovery.find_providers = find_providers
    async with trio.open_nursery() as nursery:
        for block in unknown.blocks:
            nursery.start_soon(_ask_in_vain, bob, block.cid)
        await trio.sleep(1)
        start = trio.current_time()
        assert await bob.fetch(dataset) == dict(enumerate(dataset.blocks))
        assert trio.current_time() - start < 2
        # More at once are taken on little by little, and not without bound.
        assert SEARCHES <= most <= SEARCHES + 30
        nursery.cancel_scope.cancel()
    assert bob.idle()
    assert bob.service._searcher.turns.running == 0


async def test_peers_that_cannot_be_reached_hold_no_search_up(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset, lost = world.dataset(5), world.dataset(SEARCHES * 3, seed=1)
    await alice.keep(dataset)
    world.announce(dataset.cid, alice)
    carol = world.nobody("carol")
    for block in lost.blocks:
        world.announce(block.cid, carol)
    plain = bob.switch.connect

    async def connect(peer, addresses=()):
        if peer == carol.peer_id:
            await trio.sleep(15)
        await plain(peer, addresses)

    bob.switch.connect = connect
    async with trio.open_nursery() as nursery:
        for block in lost.blocks:
            nursery.start_soon(_ask_in_vain, bob, block.cid)
        await trio.sleep(5)
        searched = {cid for _, cid in bob.discovery.searched}
        assert len(searched) == len(lost.blocks)
        start = trio.current_time()
        await bob.fetch(dataset)
        assert trio.current_time() - start < 2


async def test_what_is_announced_just_behind_the_first_search_is_found_soon(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    world.search_delay = 0.02
    dataset = world.dataset(5)
    await alice.keep(dataset)
    start = trio.current_time()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _announce():
            await trio.sleep(0.1)
            world.announce(dataset.cid, alice)

        assert await bob.fetch(dataset) == dict(enumerate(dataset.blocks))
    assert trio.current_time() - start < 1
    # It is not asked again and again all the same.
    assert len(bob.discovery.searched) <= 3


async def _enter(turns, order, name, again, release):
    async with turns.one(again=again):
        order.append(name)
        await release.wait()


async def test_turns_are_for_the_newest_the_oldest_and_the_repeated_by_and_by(nursery, autojump_clock):
    turns, order, release = Turns(), [], trio.Event()
    nursery.start_soon(turns.run)
    for i in range(SEARCHES):
        nursery.start_soon(_enter, turns, order, f"begun {i}", False, release)
    await trio.testing.wait_all_tasks_blocked()
    assert len(order) == SEARCHES
    for name in ("a", "b", "c", "d"):
        for again in (False, True):
            nursery.start_soon(_enter, turns, order, f"{name}{' again' if again else ''}", again, release)
            await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(7.5 * PACE)
    assert len(order) == SEARCHES + 7
    await trio.sleep(PACE)
    assert order[SEARCHES:] == ["a", "a again", "d", "b", "b again", "c", "c again", "d again"]


async def test_there_is_an_end_to_what_goes_on_at_once_and_who_goes_makes_room(nursery, autojump_clock):
    turns, order, release = Turns(), [], trio.Event()
    nursery.start_soon(turns.run)
    for i in range(2 * MOST):
        nursery.start_soon(_enter, turns, order, i, False, release)
    await trio.sleep(10 * MOST * PACE)
    assert len(order) == MOST
    release.set()
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(order) == list(range(2 * MOST))


async def test_who_gives_up_leaves_its_turn_to_others(nursery, autojump_clock):
    turns, order, release = Turns(), [], trio.Event()
    nursery.start_soon(turns.run)
    for i in range(SEARCHES):
        nursery.start_soon(_enter, turns, order, i, False, release)
    await trio.testing.wait_all_tasks_blocked()
    with trio.move_on_after(PACE / 2):
        async with turns.one(again=False):
            order.append("never")
    nursery.start_soon(_enter, turns, order, "last", False, release)
    await trio.sleep(2 * PACE)
    assert order[SEARCHES:] == ["last"]
    release.set()
    await trio.testing.wait_all_tasks_blocked()
    assert turns.running == 0


async def test_who_searches_for_the_same_again_says_so(world, autojump_clock):
    bob = await world.person("bob")
    turns, said = bob.service._searcher.turns, []
    plain = turns.one

    def one(*, again):
        said.append(again)
        return plain(again=again)

    turns.one = one
    for seed in range(2):
        await _ask_in_vain(bob, world.dataset(1, seed=seed).manifest.cid)
    first, second = said[: len(said) // 2], said[len(said) // 2 :]
    assert first == second == [False] + [True] * (len(first) - 1)
    assert len(first) > 1


async def test_of_very_many_who_are_said_to_have_it_only_so_many_are_called(
    world, autojump_clock, monkeypatch
):
    monkeypatch.setattr(searching, "MAX_PROVIDERS", 6)
    bob = await world.person("bob")
    dataset = world.dataset(5)
    world.announce(dataset.cid, *(world.nobody(f"nobody {number}") for number in range(10)))
    with pytest.raises(NotOnNetwork, match="6 could not be reached"):
        await bob.fetch(dataset)
    assert len(bob.discovery.searched) >= 2
    assert len(bob.switch.dialled) == 6 * len(bob.discovery.searched)


async def test_a_provider_that_is_not_where_it_was_is_looked_up_once_in_a_search(world, autojump_clock):
    bob, carol = await world.person("bob"), world.nobody("carol")
    dataset = world.dataset(5)
    world.announce(dataset.cid, carol)
    # What is no newer is not tried again.
    world.newest[carol.peer_id] = carol.record()
    with pytest.raises(NotOnNetwork) as caught:
        await bob.fetch(dataset)
    searches = len(bob.discovery.searched)
    assert searches >= 2
    assert len(bob.discovery.looked_up) <= searches
    assert bob.switch.dialled == [carol.peer_id] * searches
    assert "newest record" not in str(caught.value)


async def test_the_verdict_names_the_newest_record_that_did_not_help(world, autojump_clock):
    bob, carol = await world.person("bob"), world.nobody("carol")
    dataset = world.dataset(5)
    world.announce(dataset.cid, carol)
    world.newest[carol.peer_id] = carol.record(2)
    with pytest.raises(NotOnNetwork) as caught:
        await bob.fetch(dataset)
    assert bob.switch.dialled == [carol.peer_id] * 2 * len(bob.discovery.searched)
    first, second = (f"/ip4/10.0.0.{number}/tcp/8070: nobody is there" for number in (1, 2))
    told = f"({carol.peer_id}: {first}; by its newest record: {second})"
    assert f"1 could not be reached {told}" in str(caught.value)


async def test_many_that_look_for_the_same_provider_look_it_up_together(world, autojump_clock):
    bob, carol = await world.person("bob"), world.nobody("carol")
    lost = world.dataset(10)
    for block in lost.blocks:
        world.announce(block.cid, carol)
    async with trio.open_nursery() as nursery:
        for block in lost.blocks:
            nursery.start_soon(_ask_in_vain, bob, block.cid)
        await trio.sleep(2 * INTERVAL)
        assert len(bob.discovery.searched) >= 2 * len(lost.blocks)
        assert 1 <= len(bob.discovery.looked_up) <= 3
    assert bob.idle()
