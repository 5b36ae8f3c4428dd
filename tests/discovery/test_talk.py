"""Talking: requests end for whoever asked, also when he is gone, and there are so many at once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import trio
from attrs import define, field
from trio.testing import MockClock

from codex.codec import Multiaddr
from codex.discovery import talk
from codex.discovery.events import Asked, Verified
from codex.discovery.messages import AddProvider, Answer, Ping, Pong, Request, TalkRequest, TalkResponse
from codex.discovery.messenger import Messenger
from codex.discovery.nodes import Node
from codex.discovery.talk import Talk
from codex.p2p import Identity, SignedPeerRecord
from codex.runtime import SeededEntropy
from codex.testing.network import MemoryNetwork


@define(eq=False)
class Person:
    """Somebody who answers every ping, and remembers what happened."""

    node: Node
    talk: Talk
    messenger: Messenger
    ended: list[tuple[Node, Request, Sequence[Answer] | None]] = field(factory=list)
    verified: list[Verified] = field(factory=list)


@asynccontextmanager
async def person(network: MemoryNetwork, name: str, ip: str) -> AsyncIterator[Person]:
    identity = Identity.generate(SeededEntropy(name))
    record = SignedPeerRecord.sign(identity, 1, [Multiaddr.parse(f"/ip4/{ip}/udp/8090")])
    messenger = Messenger(identity, lambda: record, entropy=SeededEntropy(name), known=lambda node_id: None)

    def answer(asked: Asked) -> Sequence[Answer]:
        return [Pong(1, *asked.contact.address)] if isinstance(asked.message, Ping) else []

    me: Person

    def ended(node: Node, message: Request, found: Sequence[Answer] | None) -> None:
        me.ended.append((node, message, found))

    def verified(event: Verified) -> None:
        me.verified.append(event)

    socket = network.host(ip).bind(8090)
    me = Person(
        Node.of(record), Talk(socket, messenger, answer=answer, ended=ended, verified=verified), messenger
    )
    async with trio.open_nursery() as nursery:
        nursery.start_soon(me.talk.run)
        yield me
        nursery.cancel_scope.cancel()
    socket.close()


async def test_a_question_is_answered_and_both_have_learned_of_each_other(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with person(network, "alice", "10.0.0.1") as alice, person(network, "bob", "10.0.0.2") as bob:
        answer = await alice.talk.ask(bob.node, Ping(1))
        assert answer == (Pong(1, "10.0.0.1", 8090),)
        assert trio.current_time() == pytest.approx(0.04)  # noise, challenge, handshake, answer
        assert alice.ended == [(bob.node, Ping(1), answer)]
        assert [event.record for event in bob.verified] == [alice.node.record]
        await alice.talk.ask(bob.node, Ping(1))
        assert trio.current_time() == pytest.approx(0.06)


async def test_what_has_no_answer_is_over_when_it_is_sent(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with person(network, "alice", "10.0.0.1") as alice, person(network, "bob", "10.0.0.2") as bob:
        await alice.talk.ask(bob.node, Ping(1))
        began = trio.current_time()
        assert await alice.talk.ask(bob.node, AddProvider(bytes(32), alice.node.record)) == ()
        assert trio.current_time() == began


async def test_silence_is_an_answer_after_a_second(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with person(network, "alice", "10.0.0.1") as alice:
        async with person(network, "bob", "10.0.0.2") as bob:
            pass
        assert await alice.talk.ask(bob.node, Ping(1)) is None
        assert trio.current_time() == pytest.approx(1.0)
        assert alice.ended == [(bob.node, Ping(1), None)]


async def test_who_asked_and_is_gone_leaves_nothing_and_the_end_is_told(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with person(network, "alice", "10.0.0.1") as alice, person(network, "bob", "10.0.0.2") as bob:
        for wait in (0.0, 0.01, 0.03, 0.039):
            with trio.move_on_after(wait):
                await alice.talk.ask(bob.node, Ping(1))
        await trio.sleep(2)
        assert len(alice.ended) == 4
        assert alice.talk._waiting == {}
        assert alice.messenger.requests == 0


async def test_there_are_so_many_questions_at_once_and_the_others_wait(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talk, "UNDER_WAY", 8)
    network = MemoryNetwork()
    most = 0
    async with person(network, "alice", "10.0.0.1") as alice, person(network, "bob", "10.0.0.2") as bob:
        found: list[Sequence[Answer] | None] = []

        async def ask() -> None:
            nonlocal most
            found.append(await alice.talk.ask(bob.node, Ping(1)))
            most = max(most, alice.messenger.requests)

        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(ask)
        assert all(found)
        assert len(found) == 50
        assert most <= 8


async def test_a_question_of_a_kind_without_an_answer_here_times_out(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with person(network, "alice", "10.0.0.1") as alice, person(network, "bob", "10.0.0.2") as bob:
        assert await alice.talk.ask(bob.node, TalkRequest(b"chess", b"e4")) is None
        assert not any(isinstance(one, TalkResponse) for _, _, answer in alice.ended for one in answer or ())
