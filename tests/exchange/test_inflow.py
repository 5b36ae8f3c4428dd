"""What peers begin to say and do not finish is bounded, and ends."""

import pytest
import trio

from codex.codec import varint
from codex.data import LeafAddress
from codex.errors import PeerGone
from codex.exchange import inflow
from codex.exchange.inflow import MESSAGE_TIME
from codex.exchange.messages import PROTOCOL, Delivery, Message, Presence
from codex.exchange.unpacking import MESSAGE_BYTES
from codex.exchange.wants import FORGIVING
from codex.exchange.writing import encode
from codex.testing.steps import watched_steps

BEGINNING = b"\xff\xff\x7f\x0a\xf0\xff\x7f"  # of a message of 2 MiB, which is a want list


async def begin(actor, person, size):
    """Begin a message on a new stream, `size` bytes of it."""
    stream = await actor.switch.open_stream(person.peer_id, PROTOCOL)
    await stream.send_all(BEGINNING, bytes(size - 4))  # four of them stand before the want list
    await trio.sleep(0.1)
    return stream


def is_open(stream):
    return stream.out.broken is None


@pytest.fixture
async def bob(world):
    """Somebody to whom things are said."""
    return await world.person("bob")


def unfinished(person):
    return person.service._peering.unfinished


async def test_all_together_hold_so_much_and_who_holds_most_loses_it(world, autojump_clock, bob, monkeypatch):
    monkeypatch.setattr(inflow, "SPARE_TOTAL", 1 << 20)
    alice, dataset = await world.person("alice"), world.dataset(40)
    await alice.keep(dataset)
    world.join(alice, bob)
    streams = []
    for number, size in enumerate([100_000, 400_000, 300_000, 300_000, 10_000]):
        beginner = world.actor(f"beginner {number}", lambda actor, message: None)
        world.join(beginner, bob)
        streams.append(await begin(beginner, bob, size))
        assert unfinished(bob).spare <= 1 << 20
    assert [is_open(stream) for stream in streams] == [True, False, True, True, True]
    assert unfinished(bob).spare == 710_000
    # Those who say whole messages, and send what was ordered, are not concerned.
    assert len(await bob.fetch(dataset)) == 40
    assert bob.switch.dropped == []


async def test_the_streams_of_a_peer_share_its_room(world, autojump_clock, bob, monkeypatch):
    monkeypatch.setattr(inflow, "SPARE_BYTES", 500_000)
    beginner = world.actor("beginner", lambda actor, message: None)
    world.join(beginner, bob)
    streams = [await begin(beginner, bob, 200_000) for _ in range(3)]
    assert [is_open(stream) for stream in streams] == [True, True, False]
    assert "more than it was asked for" in streams[2].out.broken
    assert unfinished(bob).spare == 400_000


async def test_a_message_that_stops_in_the_middle_is_given_up_and_counted(world, autojump_clock, bob):
    beginner = world.actor("beginner", lambda actor, message: None)
    world.join(beginner, bob)
    for last in (False, True):
        stream = await begin(beginner, bob, 1000)
        await trio.sleep(MESSAGE_TIME - 1)
        assert is_open(stream)
        await trio.sleep(10)
        assert not is_open(stream)
        assert unfinished(bob).spare == 0
        assert [peer for peer, _ in bob.switch.dropped] == [beginner.peer_id] * last


async def test_what_was_begun_is_let_go_of_when_its_stream_ends_or_it_is_whole(world, autojump_clock, bob):
    beginner = world.actor("beginner", lambda actor, message: None)
    world.join(beginner, bob)
    first, second = [await begin(beginner, bob, 1000) for _ in range(2)]
    assert unfinished(bob).spare == 2000
    first.reset("enough")
    await trio.sleep(1)
    assert unfinished(bob).spare == 1000
    await second.aclose()
    await trio.sleep(1)
    assert unfinished(bob).spare == 0
    third = await beginner.switch.open_stream(bob.peer_id, PROTOCOL)
    await third.send_all(b"\x04\x0a\x02")
    await trio.sleep(1)
    assert unfinished(bob).spare == 2
    await third.send_all(b"\x10\x00")
    await trio.sleep(MESSAGE_TIME + 10)
    assert is_open(third)
    assert unfinished(bob).spare == 0


def delivery(dataset, index):
    return Delivery(LeafAddress(dataset.cid, index), dataset.blocks[index], dataset.tree.proof(index))


class Slow:
    """Somebody who sends bob a message of blocks that were ordered, as a test will, and what came of it."""

    def __init__(self, world, bob):
        self.bob = bob
        self.dataset = world.dataset(20, 65536)
        self.peer = world.actor("slow", lambda actor, message: None)
        world.join(self.peer, bob)
        self.came = []

    async def fetch(self):
        fetch = self.bob.exchange.fetch_leaves
        async with fetch(self.dataset.cid, 20, range(20), block_size=65536) as arrivals:
            async for batch in arrivals:
                self.came.append((trio.current_time(), [index for index, _ in batch]))

    async def begin(self):
        """The length of a message is sent; on which stream, what is in it, and the rest of its bytes."""
        await trio.sleep(1)
        has = tuple([Presence(entry.address, True) for entry in self.peer.heard[0].entries])
        await self.peer.say(self.bob.peer_id, Message(presences=has))
        await trio.sleep(1)
        wanted = sorted(address.index for address in self.peer.wants())
        assert len(wanted) > 10
        deliveries = tuple([delivery(self.dataset, index) for index in wanted])
        data = b"".join(encode(Message(deliveries=deliveries)))
        stream = await self.peer.switch.open_stream(self.bob.peer_id, PROTOCOL)
        await stream.send_all(varint.encode(len(data)))
        return stream, wanted, data


async def cancelled_by(scope, task):
    with scope:
        await task()


@pytest.mark.parametrize("pause", [3, 12])
async def test_blocks_are_taken_while_the_rest_of_their_message_is_still_to_come(
    world, autojump_clock, bob, pause
):
    slow = Slow(world, bob)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.fetch)
        stream, wanted, data = await slow.begin()
        began, step = trio.current_time(), -(-len(data) // len(wanted))
        for at in range(0, len(data), step):
            await stream.send_all(data[at : at + step])
            await trio.sleep(pause)
        nursery.cancel_scope.cancel()
    assert [index for _, some in slow.came for index in some] == wanted
    assert max(len(some) for _, some in slow.came) <= 2
    assert slow.came[0][0] - began < 2 * pause + 1
    assert bob.switch.dropped == []


async def test_what_came_between_two_fetches_says_nothing_about_the_second(world, autojump_clock, bob):
    slow = Slow(world, bob)
    async with trio.open_nursery() as nursery:
        first = trio.CancelScope()
        nursery.start_soon(cancelled_by, first, slow.fetch)
        stream, _, data = await slow.begin()
        await stream.send_all(data[:70_000])
        await trio.sleep(0.01)
        first.cancel()
        await trio.sleep(0.01)
        await stream.send_all(data[70_000:200_000])
        await trio.sleep(0.01)
        nursery.start_soon(slow.fetch)
        await trio.sleep(1)
        [fetch] = bob.service._wants.fetches
        assert fetch.presumed == {slow.peer.peer_id}
        assert not any(want.lackers for want in fetch.wants)
        nursery.cancel_scope.cancel()


async def test_blocks_do_not_wait_for_a_peer_that_says_no_more(world, autojump_clock, bob):
    slow = Slow(world, bob)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(slow.fetch)
        stream, wanted, data = await slow.begin()
        for part in (data[:140_000], data[140_000:700_000]):
            await stream.send_all(part)
            await trio.sleep(0.01)
        await trio.sleep(1)
        assert [index for _, some in slow.came for index in some] == wanted[:10]
        nursery.cancel_scope.cancel()


SMALL = b"\x28\x01"  # the least that a field may be


@pytest.mark.parametrize(
    "wire",
    [bytes(20_000), varint.encode(200_000) + SMALL * 100_000, varint.encode(200_000) + b"\x1a\0" * 2000],
    ids=["messages", "fields", "deliveries"],
)
async def test_no_step_is_long_however_small_the_things_are_that_come(world, autojump_clock, bob, wire):
    peer = world.actor("small", lambda actor, message: None)
    world.join(peer, bob)
    stream = await peer.switch.open_stream(bob.peer_id, PROTOCOL)
    with watched_steps() as watch:
        await stream.send_all(wire)
        await trio.sleep(10)
    assert watch.worst_cpu < 0.05, watch.worst_cpu_task


async def test_a_message_of_blocks_that_nobody_asked_for_ends_early(world, autojump_clock, bob):
    dataset = world.dataset(200)
    pusher = world.actor("pusher", lambda actor, message: None)
    world.join(pusher, bob)
    await trio.sleep(FORGIVING + 1)
    stream = await pusher.switch.open_stream(bob.peer_id, PROTOCOL)
    await stream.send_all(varint.encode(MESSAGE_BYTES), b"\x0a\x02\x10\x00")
    sent = []

    async def push():
        for index in range(200):
            whole = b"".join(encode(Message(deliveries=(delivery(dataset, index),))))
            await stream.send_all(whole[4:-10])  # without its want list, and the fields of payment
            sent.append(index)
            await trio.sleep(1)

    with pytest.raises(PeerGone):
        await push()
    assert len(sent) < 50
    assert [peer for peer, _ in bob.switch.dropped] == [pusher.peer_id]
