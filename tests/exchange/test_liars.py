"""Peers that lie, flood, babble or say nothing: each is found out, and the data come from the honest."""

from contextlib import suppress

import pytest
import trio
from attrs import evolve

from codex.codec import Cid
from codex.config import ExchangeConfig
from codex.data import Block, LeafAddress
from codex.data.merkle import steps_of
from codex.errors import NotADataset, NotOnNetwork, PeerGone
from codex.exchange import ledger, service
from codex.exchange.messages import MAX_ENTRIES, PROTOCOL, Delivery, Entry, Message, Presence
from codex.exchange.peering import SEND_TIME
from codex.exchange.planning import LONGEST
from codex.exchange.wants import FORGIVING
from codex.exchange.writing import encode
from codex.testing.stores import make_dataset

WRONG = Block.of(b"wrong" * 200)


def asked_for(message: Message) -> list[LeafAddress]:
    return [entry.address for entry in message.entries if not entry.have and not entry.cancel]


def says_have(message: Message) -> tuple[Presence, ...]:
    return tuple(Presence(e.address, True) for e in message.entries if e.have and not e.cancel)


def truth(dataset, address: LeafAddress) -> Delivery:
    return Delivery(address, dataset.blocks[address.index], dataset.tree.proof(address.index))


def wrong_block(dataset, address):
    """Another block under its own name, with the proof of the right one: a reference takes it."""
    return evolve(truth(dataset, address), block=WRONG)


def wrong_proof(dataset, address):
    proof = dataset.tree.proof(address.index)
    return evolve(truth(dataset, address), proof=evolve(proof, steps=steps_of([b"x" * 32] * len(proof.path))))


def no_proof(dataset, address):
    return evolve(truth(dataset, address), proof=None)


def neighbours_block(dataset, address):
    other = (address.index + 1) % len(dataset.blocks)
    return Delivery(address, dataset.blocks[other], dataset.tree.proof(other))


def other_codec(dataset, address):
    """The right bytes under a name that is not that of a block."""
    block = dataset.blocks[address.index]
    return evolve(
        truth(dataset, address), block=Block(Cid(b"\x01\x55\x12\x20" + block.cid.digest), block.data)
    )


LIES = [wrong_block, wrong_proof, no_proof, neighbours_block, other_codec]


@pytest.mark.parametrize("lie", LIES)
async def test_the_data_come_from_the_honest_and_the_liar_is_sent_away(world, autojump_clock, lie):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(60)
    await alice.keep(dataset)

    def play(actor, message):
        lies = tuple(lie(dataset, address) for address in asked_for(message))
        return Message(presences=says_have(message), deliveries=lies)

    liar = world.actor("liar", play)
    world.join(liar, bob)
    # The liar is known to have it, the honest one is found later.
    bob.service._wants.hint(liar.peer_id, dataset.cid)
    world.announce(dataset.cid, alice)
    assert await bob.fetch(dataset) == dict(enumerate(dataset.blocks))
    leaves = await bob.store.leaves(dataset.cid, 0, 60)
    assert all(leaf.proof == dataset.tree.proof(leaf.index) for leaf in leaves)
    assert [peer for peer, _ in bob.switch.dropped] == [liar.peer_id]
    assert bob.idle()


@pytest.mark.parametrize("lie", LIES)
async def test_with_a_liar_alone_the_verdict_names_it(world, autojump_clock, lie):
    bob = await world.person("bob")
    dataset = world.dataset(8)

    def play(actor, message):
        lies = tuple(lie(dataset, address) for address in asked_for(message))
        return Message(presences=says_have(message), deliveries=lies)

    liar = world.actor("liar", play)
    world.join(liar, bob)
    start = trio.current_time()
    with pytest.raises(NotOnNetwork, match="1 sent what is not in it"):
        await bob.fetch(dataset)
    assert trio.current_time() - start < 15
    assert await bob.store.missing(dataset.cid, 0, 8) == 8
    # Back again, it is not asked for anything.
    world.join(liar, bob)
    liar.heard.clear()
    with pytest.raises(NotOnNetwork):
        await bob.fetch(dataset)
    assert liar.heard == []


@pytest.mark.parametrize("wrong", [100, 1000, 1025, 2048])
async def test_a_dataset_whose_blocks_have_not_the_size_of_its_manifest_is_none(world, autojump_clock, wrong):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(6)
    dataset.blocks[4] = Block.of(b"x" * wrong)
    tree, manifest = make_dataset(dataset.blocks)
    dataset = evolve(dataset, tree=tree, manifest=manifest)
    await alice.keep(dataset, range(6))
    world.join(alice, bob)
    start = trio.current_time()
    with pytest.raises(NotADataset, match=f"block 4 of the dataset {dataset.cid} has {wrong} bytes"):
        await bob.fetch(dataset)
    assert trio.current_time() - start < 12
    # It is not stored, either, and nobody is to blame who has it.
    assert await bob.store.has_many([LeafAddress(dataset.cid, 4)]) == [False]
    assert bob.switch.dropped == []
    assert len(await bob.fetch(dataset, [0, 1, 2, 3, 5])) == 5
    assert bob.idle()


GARBAGE = [
    b"\x0b\x0c",
    b"\xff" * 50,
    b"\x0a\xff\xff\xff\x7f",
    b"".join(encode(Message(deliveries=(Delivery(WRONG.cid, Block(WRONG.cid, b"other")),)))),
]


@pytest.mark.parametrize("garbage", GARBAGE)
async def test_garbage_costs_its_own_stream_and_then_its_connection(world, autojump_clock, garbage):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(30)
    await alice.keep(dataset)
    babbler = world.actor("babbler", lambda actor, message: garbage)
    world.join(babbler, bob)
    world.join(alice, bob)
    assert len(await bob.fetch(dataset)) == 30
    for _ in range(3):
        if bob.peer_id in babbler.switch.links:
            await babbler.say(bob.peer_id, garbage)
            await trio.sleep(1)
    assert [peer for peer, _ in bob.switch.dropped] == [babbler.peer_id]
    assert len(await bob.fetch(world.dataset(30), range(3))) == 3


@pytest.mark.parametrize(
    "beginning", [b"\x0a\x80\x80\x80\x20", b"\x1a\x80\x80\x80\x20"], ids=["wants", "a block"]
)
async def test_a_message_that_grows_and_grows_is_cut(world, autojump_clock, beginning):
    bob = await world.person("bob")
    actor = world.actor("grower", lambda actor, message: None)
    world.join(actor, bob)
    stream = await actor.switch.open_stream(bob.peer_id, "/codex/blockexc/1.0.0")
    await stream.send_all(b"\x80\x80\x80\x30" + beginning)  # 100 MB are announced
    sent = 0

    async def send_on():
        nonlocal sent
        while sent < 50 << 20:
            await stream.send_all(bytes(1 << 18))
            sent += 1 << 18
            await trio.sleep(0.05)

    with pytest.raises(PeerGone, match="more than it was asked for"):
        await send_on()
    assert sent < 8 << 20


async def test_a_message_that_dribbles_is_cut(world, autojump_clock):
    bob = await world.person("bob")
    actor = world.actor("dribbler", lambda actor, message: None)
    world.join(actor, bob)
    stream = await actor.switch.open_stream(bob.peer_id, "/codex/blockexc/1.0.0")

    async def dribble():
        while trio.current_time() < 1000:
            await stream.send_all(b"\x7f")
            await trio.sleep(10)

    with pytest.raises(PeerGone, match="did not finish a message"):
        await dribble()
    assert trio.current_time() < 200


async def test_who_claims_to_have_and_sends_nothing_is_passed_over(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(100)
    await alice.keep(dataset)
    boaster = world.actor("boaster", lambda actor, message: Message(presences=says_have(message)))
    world.join(boaster, bob)
    world.announce(dataset.cid, alice)
    start = trio.current_time()
    assert len(await bob.fetch(dataset)) == 100
    assert trio.current_time() - start < 20
    assert boaster.wants() == set()


async def test_who_was_sent_away_is_not_called_again(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(60)
    await alice.keep(dataset)

    def play(actor, message):
        lies = tuple(wrong_block(dataset, address) for address in asked_for(message))
        return Message(presences=says_have(message), deliveries=lies)

    liar = world.actor("liar", play)
    world.announce(dataset.cid, liar)
    with pytest.raises(NotOnNetwork, match="1 sent what is not in it"):
        await bob.fetch(dataset)
    assert bob.switch.dialled == [liar.peer_id]
    world.announce(dataset.cid, alice)
    assert len(await bob.fetch(dataset)) == 60
    assert bob.switch.dialled == [liar.peer_id, alice.peer_id]


@pytest.mark.parametrize("count", [1, 3, 6])
async def test_however_many_boast_others_are_looked_for(world, autojump_clock, count):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(100)
    await alice.keep(dataset)
    for number in range(count):
        boaster = world.actor(
            f"boaster {number}", lambda actor, message: Message(presences=says_have(message))
        )
        world.join(boaster, bob)
        bob.service._wants.hint(boaster.peer_id, dataset.cid)
    world.announce(dataset.cid, alice)
    start = trio.current_time()
    assert len(await bob.fetch(dataset)) == 100
    assert trio.current_time() - start < 12
    assert bob.idle()


async def test_a_boaster_alone_is_sent_away_in_the_end(world, autojump_clock):
    bob = await world.person("bob")
    dataset = world.dataset(10)
    boaster = world.actor("boaster", lambda actor, message: Message(presences=says_have(message)))
    world.join(boaster, bob)
    start = trio.current_time()
    with pytest.raises(NotOnNetwork):
        await bob.fetch(dataset)
    assert trio.current_time() - start < 90
    assert [peer for peer, _ in bob.switch.dropped] == [boaster.peer_id]


async def test_blocks_that_nobody_asked_for_are_dropped_and_counted(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset, other = world.dataset(30), world.dataset(30, seed=1)
    await alice.keep(dataset)
    pusher = world.actor("pusher", lambda actor, message: None)
    world.join(pusher, bob)
    world.join(alice, bob)
    await trio.sleep(FORGIVING)
    for index in range(10):
        if bob.peer_id in pusher.switch.links:
            unasked = (
                truth(other, LeafAddress(other.cid, index)),
                truth(dataset, LeafAddress(dataset.cid, index)),
            )
            await pusher.say(bob.peer_id, Message(deliveries=unasked))
            await trio.sleep(0.1)
    assert [peer for peer, _ in bob.switch.dropped] == [pusher.peer_id]
    assert bob.exchange.ledger()[pusher.peer_id].blocks_in == 0
    assert await bob.store.missing(other.cid, 0, 30) == 30
    assert len(await bob.fetch(dataset)) == 30


async def test_answers_that_come_twice_or_late_are_no_fault(world, autojump_clock):
    bob = await world.person("bob")
    dataset = world.dataset(50)

    def play(actor, message):
        answers = tuple(truth(dataset, address) for address in asked_for(message))
        return Message(presences=says_have(message), deliveries=answers)

    eager = world.actor("eager", play)
    world.join(eager, bob)
    async with bob.exchange.fetch_leaves(dataset.cid, 50, range(50), block_size=1024) as arrivals:
        async for _ in arrivals:
            break
    await trio.sleep(5)
    assert len(await bob.fetch(dataset)) == 50
    assert bob.switch.dropped == []


async def test_a_flood_of_wants_is_bounded_and_ends(world, autojump_clock, monkeypatch):
    monkeypatch.setattr(ledger, "FLOOD", 3 * MAX_ENTRIES)
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(30)
    await alice.keep(dataset)
    flooder = world.actor("flooder", lambda actor, message: None)
    world.join(alice, bob)
    world.join(alice, flooder)
    flood = MAX_ENTRIES
    for number in range(6):
        if alice.peer_id not in flooder.switch.links:
            break
        entries = tuple(Entry(LeafAddress(dataset.cid, number * flood + i)) for i in range(flood))
        await flooder.say(alice.peer_id, Message(entries))
        await trio.sleep(0.1)
        assert alice.exchange.ledger()[flooder.peer_id].wants_theirs <= MAX_ENTRIES
        if number == 1:
            assert len(await bob.fetch(dataset)) == 30
    assert [peer for peer, _ in alice.switch.dropped] == [flooder.peer_id]


async def test_a_peer_that_does_not_read_holds_nobody_up(world, autojump_clock):
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(200, 65536)
    await alice.keep(dataset)
    switch = world.actor("deaf", lambda actor, message: None).switch

    async def never_read(stream):
        await trio.sleep_forever()

    switch.handlers["/codex/blockexc/1.0.0"] = never_read
    world.link(switch, alice.switch)
    world.join(alice, bob)
    stream = await switch.open_stream(alice.peer_id, "/codex/blockexc/1.0.0")
    parts = encode(Message(tuple(Entry(LeafAddress(dataset.cid, i)) for i in range(200))))
    size = sum(map(len, parts))
    await stream.send_all(bytes([size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]), *parts)
    await trio.sleep(5)
    most = ledger.PEER_BATCHES * ledger.BATCH_BYTES
    assert 0 < alice.service._ledger.bytes <= most < ledger.TOTAL_BYTES // 4
    assert len(await bob.fetch(dataset)) == 200
    assert trio.current_time() < 30
    # What waits for it is given up after a while, and so is the peer that takes nothing.
    await trio.sleep(SEND_TIME + 5)
    assert 0 < alice.service._ledger.bytes <= most
    assert switch.links[alice.peer_id].streams[1].out.broken is not None
    await trio.sleep(9 * SEND_TIME)
    assert alice.service._ledger.bytes == 0


async def test_a_tree_of_another_size_is_no_fault_of_the_peer(world, autojump_clock):
    """A manifest may lie about how many blocks its tree has; then honest proofs do not fit."""
    alice, bob = await world.person("alice"), await world.person("bob")
    dataset = world.dataset(10)
    await alice.keep(dataset)
    world.join(alice, bob)
    got = []

    async def fetch():
        async with bob.exchange.fetch_leaves(dataset.cid, 11, range(10)) as arrivals:
            got.extend([batch async for batch in arrivals])

    with pytest.raises(NotOnNetwork):
        await fetch()
    assert got == []
    assert bob.switch.dropped == []
    assert len(await bob.fetch(dataset)) == 10


@pytest.mark.parametrize("what", ["block", "leaves"])
@pytest.mark.parametrize(("timeout", "count"), [(5.0, 1), (5.0, 5), (60.0, 20)])
async def test_those_who_say_that_they_have_it_and_then_only_chat_prolong_nothing(
    world, autojump_clock, nursery, timeout, count, what
):
    bob = await world.person("bob", config=ExchangeConfig(timeout=timeout))
    dataset = world.dataset(8)

    def play(actor, message):
        return Message(presences=says_have(message)) if says_have(message) else None

    async def chat(actor):
        while bob.peer_id in actor.switch.links:
            await actor.say(bob.peer_id, Message())
            await trio.sleep(1)

    for number in range(count):
        chatter = world.actor(f"chatter {number}", play)
        world.join(chatter, bob)
        nursery.start_soon(chat, chatter)
    start = trio.current_time()
    with pytest.raises(NotOnNetwork, match=f"{count} said (it has|they have) it and sent nothing"):
        await (bob.fetch(dataset) if what == "leaves" else bob.exchange.fetch_block(dataset.blocks[0].cid))
    assert trio.current_time() - start <= timeout + 2
    assert bob.idle()


async def test_those_who_dribble_a_message_prolong_a_fetch_by_a_minute_together(
    world, autojump_clock, nursery
):
    bob = await world.person("bob", config=ExchangeConfig(timeout=5.0))
    dataset = world.dataset(8)

    def play(actor, message):
        return Message(presences=says_have(message)) if says_have(message) else None

    async def dribble(actor):
        stream = await actor.switch.open_stream(bob.peer_id, PROTOCOL)
        await stream.send_all(b"\xff\x7f")
        with suppress(PeerGone):
            while True:
                await stream.send_all(b"\x1a")
                await trio.sleep(1)

    for number in range(5):
        dribbler = world.actor(f"dribbler {number}", play)
        world.join(dribbler, bob)
        nursery.start_soon(dribble, dribbler)
    start = trio.current_time()
    with pytest.raises(NotOnNetwork):
        await bob.fetch(dataset)
    assert 60 < trio.current_time() - start <= 5 + LONGEST + 2
    nursery.cancel_scope.cancel()


async def test_who_says_it_has_everything_and_sends_nothing_is_not_said_to_lack_it(world, autojump_clock):
    bob = await world.person("bob")
    dataset = world.dataset(40)
    mute = world.actor("mute", lambda actor, message: Message(presences=says_have(message)))
    world.join(mute, bob)
    with pytest.raises(NotOnNetwork, match="1 said it has it and sent nothing") as verdict:
        await bob.fetch(dataset)
    assert "does not have it" not in verdict.value.message


async def test_a_peer_that_takes_no_questions_is_not_asked_more_and_more(world, autojump_clock, monkeypatch):
    monkeypatch.setattr(service, "OUTBOX_BYTES", 20_000)
    bob = await world.person("bob")
    deaf = world.actor("deaf", lambda actor, message: None)
    world.join(deaf, bob)

    async def never_open(peer, *protocols):
        await trio.sleep_forever()

    bob.switch.open_stream = never_open
    dataset = world.dataset(100)
    async with trio.open_nursery() as nursery:
        for part in range(5):
            nursery.start_soon(bob.fetch, dataset, range(20 * part, 20 * part + 20))
            await trio.sleep(0.1)
        session = bob.service._peering.session(deaf.peer_id)
        for number in range(20):
            nursery.start_soon(bob.fetch, world.dataset(32, seed=1 + number))
            await trio.sleep(0.1)
            # One message of 32 questions may come on top.
            assert session.notes_bytes < 20_000 + 32 * 80
        assert session.notes_bytes > 20_000
        nursery.cancel_scope.cancel()
