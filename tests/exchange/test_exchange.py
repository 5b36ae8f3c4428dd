"""Flows between people: who has, who wants, and what comes of it."""

import hashlib
from itertools import pairwise

import pytest
import trio
from attrs import frozen

from codex.codec import EMPTY_BLOCK
from codex.config import ExchangeConfig, StoreConfig
from codex.data import BLOCK_SIZE, Block, LeafAddress, Manifest, MerkleTree
from codex.errors import InvalidInput, NotOnNetwork, PeerGone, QuotaExceeded, ServiceUnavailable
from codex.exchange import planning, service
from codex.exchange.fetching import SPAN
from codex.exchange.messages import Delivery, Entry, Message, Presence, decode
from codex.exchange.wants import LEAST
from codex.exchange.writing import encode
from codex.store import Leaf
from codex.testing.stores import make_dataset


@frozen
class Dataset:
    """Blocks, their tree and manifest."""

    blocks: list[Block]
    tree: MerkleTree
    manifest: Manifest

    @property
    def cid(self):
        return self.tree.root_cid


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


async def test_a_manifest_that_is_only_looked_at_is_not_kept(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(3)
    await alice.keep(dataset)
    world.join(alice, bob)
    block = await bob.exchange.fetch_block(dataset.manifest.cid, keep=False)
    assert block.data == dataset.manifest.to_bytes()
    assert await bob.store.has_many([dataset.manifest.cid]) == [False]
    assert bob.idle()


async def test_what_nobody_has_ends_soon(world, autojump_clock):
    bob = await world.person("bob")
    start = trio.current_time()
    with pytest.raises(NotOnNetwork, match="no peer was found"):
        await bob.exchange.fetch_block(world.dataset(1).manifest.cid)
    assert trio.current_time() - start < 10
    assert bob.idle()


async def test_providers_are_found_dialled_and_asked(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(50)
    await alice.keep(dataset)
    world.announce(dataset.cid, alice)
    assert await bob.fetch(dataset) == dict(enumerate(dataset.blocks))
    assert bob.switch.dialled == [alice.peer_id]


async def test_the_first_leaves_come_early_from_who_had_the_manifest(world, autojump_clock):
    world.latency = 0.1
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(100, 65536)
    await alice.keep(dataset)
    world.join(alice, bob)
    await bob.exchange.fetch_block(dataset.manifest.cid)
    start = trio.current_time()
    async with bob.exchange.fetch_leaves(dataset.cid, 100, range(100)) as arrivals:
        async for batch in arrivals:
            # One way there, one back: nobody asked first who has it.
            assert trio.current_time() - start < 0.25
            assert batch[0] == (0, dataset.blocks[0])
            break
    assert bob.idle()


async def test_several_seeders_all_take_part(world, autojump_clock):
    world.latency = 0.05
    people = [await world.person(name) for name in ("alice", "carol", "dave", "bob")]
    dataset = world.dataset(600, 16384)
    for person in people[:3]:
        await person.keep(dataset)
    world.join(*people)
    bob = people[-1]
    assert len(await bob.fetch(dataset)) == 600
    shares = [bob.exchange.ledger()[person.peer_id].blocks_in for person in people[:3]]
    assert sum(shares) == 600
    assert min(shares) > 60


async def test_halves_at_two_peers_make_a_whole(world, autojump_clock):
    alice, carol, bob = [await world.person(name) for name in ("alice", "carol", "bob")]
    dataset = world.dataset(200)
    await alice.keep(dataset, range(0, 200, 2))
    await carol.keep(dataset, range(1, 200, 2))
    world.join(alice, carol, bob)
    assert await bob.fetch(dataset) == dict(enumerate(dataset.blocks))


async def test_only_what_is_asked_for_comes_and_indices_are_drawn_as_needed(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(40)
    await alice.keep(dataset)
    world.join(alice, bob)
    drawn = []

    def lazily():
        for index in range(3, 40, 7):
            drawn.append(index)
            yield index

    got = await bob.fetch(dataset, lazily())
    assert sorted(got) == drawn == list(range(3, 40, 7))
    assert await bob.store.missing(dataset.cid, 0, 40) == 40 - len(drawn)


async def test_what_arrives_while_it_is_looked_for_is_delivered_at_once(world, autojump_clock, monkeypatch):
    alice, carol = await world.person("alice"), await world.person("carol")
    dataset = world.dataset(1)
    await carol.keep(dataset)
    came = []

    def play(actor, message):
        came.extend((trio.current_time(), delivery.block) for delivery in message.deliveries)

    bob = world.actor("bob", play)
    world.join(alice, bob, carol)
    find_leaves, looks = alice.store.find_leaves, []

    async def find_slowly(tree, indices):
        found = await find_leaves(tree, indices)
        looks.append([leaf and leaf.block for leaf in found])
        if len(looks) == 1:
            await trio.sleep(10)
        return found

    monkeypatch.setattr(alice.store, "find_leaves", find_slowly)
    await bob.say(alice.peer_id, Message((Entry(LeafAddress(dataset.cid, 0)),)))
    await alice.fetch(dataset)
    await trio.sleep(20)
    [(when, block)] = came
    assert block == dataset.blocks[0]
    assert when == pytest.approx(10, abs=0.1)
    assert looks == [[None], [dataset.blocks[0]]]


async def test_what_is_here_of_several_trees_comes_in_the_order_it_was_wanted_in(world, autojump_clock):
    alice = await world.person("alice")
    first, second = world.dataset(8), world.dataset(8, seed=1)
    await alice.keep(first)
    await alice.keep(second, [2, 3, 7])
    came, denied = [], []

    def play(actor, message):
        came.extend(message.deliveries)
        denied.extend(presence.address for presence in message.presences)

    bob = world.actor("bob", play)
    world.join(alice, bob)
    ones, others = ([LeafAddress(some.cid, i) for i in range(8)] for some in (first, second))
    wanted = [*ones[5:1:-1], *others[1:4], first.manifest.cid, ones[0], others[7], second.manifest.cid]
    await bob.say(alice.peer_id, Message(tuple(Entry(address, send_dont_have=True) for address in wanted)))
    await trio.sleep(1)
    assert [one.address for one in came] == [
        address for address in wanted if address not in (others[1], second.manifest.cid)
    ]
    assert set(denied) == {others[1], second.manifest.cid}
    for one in came:
        if isinstance(one.address, LeafAddress):
            some = first if one.address.tree == first.cid else second
            assert one.block == some.blocks[one.address.index]
            assert one.proof == some.tree.proof(one.address.index)
        else:
            assert (one.block.data, one.proof) == (first.manifest.to_bytes(), None)


async def test_who_has_a_holder_does_not_wait_behind_many_searches(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(20)
    await alice.keep(dataset)
    world.join(alice, bob)
    await trio.sleep(1)
    unknown, verdicts = world.dataset(300, seed=1), []

    async def ask(cid):
        with pytest.raises(NotOnNetwork):
            await bob.exchange.fetch_block(cid)
        verdicts.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        for block in unknown.blocks:
            nursery.start_soon(ask, block.cid)
        await trio.sleep(0.1)
        start = trio.current_time()
        assert await bob.fetch(dataset) == dict(enumerate(dataset.blocks))
        assert trio.current_time() - start < 0.5
    assert len(verdicts) == 300
    assert bob.idle()


async def test_waiting_for_its_turn_counts_as_waiting(world, autojump_clock, monkeypatch):
    monkeypatch.setattr(service, "LIMIT", 1)
    bob = await world.person("bob", config=ExchangeConfig(timeout=20))
    mute = world.actor("mute", lambda actor, message: None)
    world.join(mute, bob)
    await trio.sleep(1)
    start, verdicts = trio.current_time(), []

    async def ask(dataset):
        bob.service._wants.hint(mute.peer_id, dataset.cid)
        with pytest.raises(NotOnNetwork):
            await bob.fetch(dataset)
        verdicts.append(trio.current_time() - start)

    async with trio.open_nursery() as nursery:
        for seed in range(3):
            nursery.start_soon(ask, world.dataset(1, seed=seed))
    assert len(verdicts) == 3
    assert max(verdicts) < 22


async def test_a_padding_block_is_delivered(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    empty = Block(EMPTY_BLOCK, b"")
    tree, manifest = make_dataset([Block.of(b"x" * 64), empty, empty], block_size=64)
    dataset = Dataset([Block.of(b"x" * 64), empty, empty], tree, manifest)
    await alice.keep(dataset, range(3))
    world.join(alice, bob)
    assert await bob.fetch(dataset) == dict(enumerate(dataset.blocks))
    assert await bob.store.missing(tree.root_cid, 0, 3) == 0


async def test_leaves_come_with_their_proofs_and_are_kept_only_if_that_is_asked(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(30)
    await alice.keep(dataset)
    world.join(alice, bob)
    for keep in (False, True):
        got = {}
        async with bob.exchange.fetch_proved(
            dataset.cid, 30, range(5, 25), keep=keep, block_size=dataset.manifest.block_size
        ) as arrivals:
            async for batch in arrivals:
                got.update({leaf.index: (leaf, block) for leaf, block in batch})
        assert sorted(got) == list(range(5, 25))
        for index, (leaf, block) in got.items():
            assert leaf == Leaf(index, block.cid, dataset.tree.proof(index))
            assert block == dataset.blocks[index]
        assert len(await bob.store.leaves(dataset.cid, 0, 30)) == (20 if keep else 0)
        assert (await bob.store.space()).total_blocks == (20 if keep else 0)
        assert bob.idle()


async def test_the_empty_block_is_here_already(world, autojump_clock):
    bob = await world.person("bob")
    assert (await bob.exchange.fetch_block(EMPTY_BLOCK)).data == b""


async def test_who_fetches_serves_what_has_come(world, autojump_clock):
    alice, carol, bob = [await world.person(name) for name in ("alice", "carol", "bob")]
    dataset = world.dataset(120)
    await alice.keep(dataset)
    world.join(alice, carol)
    world.join(carol, bob)  # bob knows carol only
    async with trio.open_nursery() as nursery:
        got = {}

        async def fetch():
            got.update(await bob.fetch(dataset))

        nursery.start_soon(fetch)
        await trio.sleep(0.5)
        assert len(await carol.fetch(dataset)) == 120
    assert len(got) == 120


async def test_the_consumer_sets_the_pace_and_memory_is_bounded(world, autojump_clock, monkeypatch):
    window = 64 * BLOCK_SIZE
    monkeypatch.setattr(planning, "FETCH_WINDOW", window)
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(300, BLOCK_SIZE)
    await alice.keep(dataset)
    world.join(alice, bob)
    count = 0
    async with bob.exchange.fetch_leaves(dataset.cid, 300, range(300)) as arrivals:
        async for batch in arrivals:
            count += len(batch)
            await trio.sleep(100)  # longer than anybody's patience
            assert all(fetch.held <= window for fetch in bob.service._wants.fetches)
            assert bob.exchange.ledger()[alice.peer_id].blocks_in - count <= 64
    assert count == 300


async def test_blocks_of_a_few_bytes_that_nobody_takes_are_no_more_than_others_would_be(
    world, autojump_clock, monkeypatch
):
    window = 8 * BLOCK_SIZE
    monkeypatch.setattr(planning, "FETCH_WINDOW", window)
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(3000, 8)
    await alice.keep(dataset)
    world.join(alice, bob)
    count = 0
    fetch = bob.exchange.fetch_leaves(dataset.cid, 3000, range(3000), block_size=8)
    async with fetch as arrivals:
        async for batch in arrivals:
            count += len(batch)
            await trio.sleep(10)
            assert bob.exchange.ledger()[alice.peer_id].blocks_in - count <= window // LEAST + SPAN
    assert count == 3000


async def test_peers_that_come_later_are_asked(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob", config=ExchangeConfig(timeout=600))
    dataset = world.dataset(10)
    await alice.keep(dataset)
    mute = world.actor("mute", lambda actor, message: None)
    world.join(mute, bob)

    async with trio.open_nursery() as nursery:

        async def come():
            await trio.sleep(4)
            world.join(alice, bob)

        nursery.start_soon(come)
        assert len(await bob.fetch(dataset)) == 10


async def test_a_connection_that_breaks_in_the_middle_costs_nothing_but_time(world, autojump_clock):
    alice, carol, bob = [await world.person(name) for name in ("alice", "carol", "bob")]
    dataset = world.dataset(400, 65536)
    await alice.keep(dataset)
    await carol.keep(dataset)
    world.join(alice, carol, bob)
    got = {}
    async with bob.exchange.fetch_leaves(dataset.cid, 400, range(400)) as arrivals:
        async for batch in arrivals:
            got.update(batch)
            world.cut(alice, bob)
    assert len(got) == 400
    assert alice.service._ledger.bytes == 0


async def test_a_broken_stream_is_opened_again(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(400, 65536)
    await alice.keep(dataset)
    world.join(alice, bob)
    got = {}
    async with bob.exchange.fetch_leaves(dataset.cid, 400, range(400)) as arrivals:
        async for batch in arrivals:
            if not got:
                for stream in bob.switch.links[alice.peer_id].streams:
                    stream.reset("broken")
            got.update(batch)
    assert len(got) == 400


async def test_several_fetches_of_the_same_share_what_comes(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(200)
    await alice.keep(dataset)
    world.join(alice, bob)
    results = []
    async with trio.open_nursery() as nursery:

        async def fetch():
            results.append(await bob.fetch(dataset))

        for _ in range(3):
            nursery.start_soon(fetch)
    assert results == [dict(enumerate(dataset.blocks))] * 3
    assert alice.exchange.ledger()[bob.peer_id].blocks_out == 200


async def test_a_full_store_ends_the_fetch_and_nothing_else(world, autojump_clock):
    alice = await world.person("alice")
    bob = await world.person("bob", store=StoreConfig(quota=30_000))
    large, small = world.dataset(100), world.dataset(1, seed=1)
    await alice.keep(large)
    await alice.keep(small)
    world.join(alice, bob)
    with pytest.raises(QuotaExceeded):
        await bob.fetch(large)
    assert bob.idle()
    assert len(await bob.fetch(small)) == 1


async def test_an_index_beyond_the_tree_is_refused_behind_what_is_before_it(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(3)
    await alice.keep(dataset)
    world.join(alice, bob)
    with pytest.raises(InvalidInput, match="none at 3"):
        await bob.fetch(dataset, [0, 1, 3])
    assert bob.idle()


async def test_what_the_callers_own_iterable_raises_is_raised(world, autojump_clock):
    bob = await world.person("bob")

    def broken():
        yield 0
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bob.fetch(world.dataset(3), broken())
    assert bob.idle()


async def test_what_the_body_raises_is_raised(world, autojump_clock):
    bob = await world.person("bob")
    with pytest.raises(KeyError):
        async with bob.exchange.fetch_leaves(world.dataset(3).cid, 3, range(3)):
            raise KeyError
    assert bob.idle()


async def test_nobody_has_it_and_everybody_says_so(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(10)
    world.join(alice, bob)
    world.announce(dataset.cid, alice, world.nobody("carol"))
    start = trio.current_time()
    with pytest.raises(NotOnNetwork) as raised:
        await bob.fetch(dataset)
    assert trio.current_time() - start < 12
    text = raised.value.message
    assert "2 peers were found" in text
    assert f"1 does not have it ({alice.peer_id})" in text
    assert "1 could not be reached" in text
    assert len(bob.discovery.searched) >= 2
    assert bob.discovery.forgotten
    assert bob.idle()


async def test_a_peer_that_never_answers_delays_the_verdict_by_seconds_only(world, autojump_clock):
    bob = await world.person("bob")
    dataset = world.dataset(10)
    mute = world.actor("mute", lambda actor, message: None)
    world.join(mute, bob)
    start = trio.current_time()
    with pytest.raises(NotOnNetwork, match="1 did not answer"):
        await bob.fetch(dataset)
    assert trio.current_time() - start < 15


async def test_one_missing_leaf_ends_the_fetch_after_all_the_others(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(100)
    await alice.keep(dataset, [index for index in range(100) if index != 17])
    world.join(alice, bob)
    got = {}

    async def fetch():
        async with bob.exchange.fetch_leaves(dataset.cid, 100, range(100), block_size=1024) as arrivals:
            async for batch in arrivals:
                got.update(batch)

    with pytest.raises(NotOnNetwork, match="gave a part of it"):
        await fetch()
    assert sorted(got) == [index for index in range(100) if index != 17]
    assert bob.idle()
    assert alice.exchange.ledger()[bob.peer_id].wants_theirs == 0


async def test_three_that_have_a_part_do_not_delay_the_verdict(world, autojump_clock):
    people = [await world.person(name) for name in ("alice", "carol", "dave", "bob")]
    dataset = world.dataset(50)
    for person in people[:3]:
        await person.keep(dataset, range(30))
    world.join(*people)
    start = trio.current_time()
    with pytest.raises(NotOnNetwork, match="gave a part of it"):
        await people[-1].fetch(dataset)
    assert trio.current_time() - start < 20


async def test_leaves_far_apart_are_wanted_side_by_side(world, autojump_clock):
    world.latency = 0.1
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(12000, 64)
    wanted = range(5, 12000, 100)
    await alice.keep(dataset, wanted)
    world.join(alice, bob)
    start = trio.current_time()
    assert sorted(await bob.fetch(dataset, wanted)) == list(wanted)
    assert trio.current_time() - start < 5


async def test_a_service_that_stops_does_not_wait_for_fetches(world, autojump_clock):
    bob = await world.person("bob")
    stopped = []
    async with trio.open_nursery() as nursery:

        async def fetch():
            with pytest.raises(ServiceUnavailable):
                await bob.fetch(world.dataset(3))
            stopped.append(trio.current_time())

        nursery.start_soon(fetch)
        await trio.sleep(1)
        await bob.supervisor.stop()
    assert stopped[0] < 1.5


async def test_discovery_that_fails_is_told(world, autojump_clock):
    bob = await world.person("bob", config=ExchangeConfig(timeout=20))
    bob.discovery.error = ServiceUnavailable("no node of discovery answers")
    with pytest.raises(NotOnNetwork, match="discovery failed"):
        await bob.fetch(world.dataset(3))


async def test_a_crash_reaches_who_fetches_and_the_next_life_serves(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(4)  # that come in one message, so that it crashes once
    await alice.keep(dataset)
    world.join(alice, bob)
    crashed = False

    def crash(*args):
        nonlocal crashed
        crashed = True
        raise ZeroDivisionError

    bob.service._fetcher._stored = crash
    with pytest.raises(ServiceUnavailable):
        await bob.fetch(dataset)
    assert crashed
    await trio.sleep(2)
    assert isinstance(world.crashes.pop(), ZeroDivisionError)
    assert len(await bob.fetch(dataset)) == 4
    assert len(await alice.fetch(dataset)) == 4


async def test_the_recorded_conversation_from_our_side(world, autojump_clock, vectors):
    """What a node of the reference answered to each message, ours answers with the same bytes."""
    alice = await world.person("alice")
    content = b"some file contents".ljust(65536, b"\0")
    blocks = [Block.of(content)]
    tree, manifest = make_dataset(blocks)
    manifest = Manifest(tree_cid=tree.root_cid, dataset_size=18)
    await alice.keep(Dataset(blocks, tree, manifest))
    rows = vectors("blockexc")["live_exchange"]["messages"]
    peer = world.actor("peer", lambda actor, message: None)
    world.join(peer, alice)
    for row, answer in pairwise(rows[:13]):
        if row["from"] != "peer":
            continue
        peer.heard.clear()
        await peer.say(alice.peer_id, bytes.fromhex(row["hex"]))
        await trio.sleep(1)
        heard = [b"".join(encode(message)) for message in peer.heard]
        if answer["from"] == "reference":
            assert [hashlib.sha256(data).hexdigest() for data in heard] == [answer["sha256"]], row["what"]
        else:
            assert heard == []


async def test_the_recorded_conversation_from_their_side(world, autojump_clock, vectors):
    """A node that answers as the reference did, on its own stream and in its own words, gives us all."""
    bob = await world.person("bob")
    rows = vectors("blockexc")["live_exchange"]["messages"]
    content = Block.of(b"some file contents".ljust(65536, b"\0"))
    manifest = decode(bytes.fromhex(rows[3]["hex"])).deliveries[0]
    tree = Manifest.from_bytes(bytes(manifest.block.data)).tree_cid
    known = {
        manifest.address: manifest,
        LeafAddress(tree, 0): Delivery(
            LeafAddress(tree, 0), content, MerkleTree.of([content.cid.digest]).proof(0)
        ),
    }

    def play(actor, message):
        haves = [entry for entry in message.entries if entry.have and not entry.cancel]
        blocks = [known[e.address] for e in message.entries if not e.have and e.address in known]
        presences = [Presence(entry.address, entry.address in known) for entry in haves]
        return Message(presences=tuple(presences), deliveries=tuple(blocks))

    reference = world.actor("reference", play)
    world.join(reference, bob)
    assert (await bob.exchange.fetch_block(manifest.address)).data == manifest.block.data
    async with bob.exchange.fetch_leaves(tree, 1, [0]) as arrivals:
        async for batch in arrivals:
            assert batch == [(0, content)]
    # The bytes of what we say are those that the reference says and takes.
    said = [b"".join(encode(message)) for message in reference.heard]
    assert all(decode(data) == message for data, message in zip(said, reference.heard, strict=True))
    assert reference.heard[0].full
    assert reference.wants() == set(known)


async def test_nobody_is_looked_for_when_a_peer_that_is_connected_has_it(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(30)
    await alice.keep(dataset)
    world.join(alice, bob)
    assert len(await bob.fetch(dataset)) == 30
    assert bob.discovery.searched == []
    # Who is connected and lacks it delays the search by a moment only.
    other, carol = world.dataset(30, seed=1), await world.person("carol")
    await carol.keep(other)
    world.announce(other.cid, carol)
    start = trio.current_time()
    assert len(await bob.fetch(other)) == 30
    assert [at - start < 0.15 for at, _ in bob.discovery.searched] == [True]


async def test_blocks_wait_for_a_stream_that_does_not_come_about_at_once(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(3)
    await alice.keep(dataset)
    opened, refused = alice.switch.open_stream, []

    async def refuse_first(peer, *protocols):
        if len(refused) < 2:
            refused.append(peer)
            await trio.sleep(1)
            raise PeerGone("the peer did not answer")
        return await opened(peer, *protocols)

    alice.switch.open_stream = refuse_first
    world.join(alice, bob)
    await trio.sleep(0.1)
    start = trio.current_time()
    bob.service._wants.hint(alice.peer_id, dataset.cid)
    assert len(await bob.fetch(dataset)) == 3
    # Bob does not ask again before that: he thinks that they are on their way.
    assert trio.current_time() - start < 8
    assert len(refused) == 2
