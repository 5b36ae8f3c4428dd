"""What peers begin to say and do not finish is bounded, and ends."""

import pytest
import trio

from codex.exchange import inflow
from codex.exchange.inflow import MESSAGE_TIME
from codex.exchange.messages import PROTOCOL

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
