"""One connection: answers find their calls, and its end is told to all."""

import json
from math import inf
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock, wait_all_tasks_blocked

from codex.chain import LinkLost
from codex.chain.jsonrpc import Push, RpcError
from codex.chain.link import IN_FLIGHT, PATIENCE, SENDING, Link
from codex.runtime import Inline


class Wire:
    """Both ends of a connection, in this test's hands."""

    pushes = True

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.stuck = False
        self.takes = 0.0
        self._in, self._out = trio.open_memory_channel[str](inf)

    async def send(self, text: str) -> None:
        await trio.sleep(self.takes)
        if self.stuck:
            await trio.sleep_forever()
        self.sent.append(json.loads(text))

    async def receive(self) -> str:
        try:
            return await self._out.receive()
        except trio.EndOfChannel:
            raise LinkLost("reset by peer") from None

    def answer(self, id: int, **what: Any) -> None:
        self._in.send_nowait(json.dumps({"jsonrpc": "2.0", "id": id, **what}))

    def say(self, text: str) -> None:
        self._in.send_nowait(text)

    def end(self) -> None:
        self._in.close()


class World:
    """A link over such a wire, and what came of each call."""

    def __init__(self) -> None:
        self.wire = Wire()
        self.pushed: list[Push] = []
        self.link = Link(self.wire, Inline(), self.pushed.append)
        self.results: dict[str, Any] = {}

    async def call(self, method: str) -> None:
        try:
            self.results[method] = await self.link.call(method)
        except (LinkLost, RpcError) as error:
            self.results[method] = error


async def test_answers_find_their_calls_in_any_order(nursery: trio.Nursery) -> None:
    world = World()
    nursery.start_soon(world.link.run)
    for method in ("a", "b", "c"):
        nursery.start_soon(world.call, method)
    await wait_all_tasks_blocked()
    ids = {call["method"]: call["id"] for call in world.wire.sent}
    world.wire.answer(ids["c"], result="C")
    world.wire.answer(ids["a"], error={"code": 3, "message": "no", "data": "0x01"})
    world.wire.answer(99, result="to nobody")
    world.wire.answer(ids["b"], result="B")
    await wait_all_tasks_blocked()
    assert (world.results["b"], world.results["c"]) == ("B", "C")
    error = world.results["a"]
    assert isinstance(error, RpcError)
    assert (error.method, error.code, error.message, error.data) == ("a", 3, "no", "0x01")
    assert world.link.lost is None


async def test_what_is_pushed_is_told(nursery: trio.Nursery) -> None:
    world = World()
    nursery.start_soon(world.link.run)
    world.wire.say('{"method":"eth_subscription","params":{"subscription":"0x1","result":5}}')
    await wait_all_tasks_blocked()
    assert world.pushed == [Push("0x1", 5)]


async def test_the_end_is_told_to_all_who_wait_and_who_come_later(nursery: trio.Nursery) -> None:
    world = World()
    nursery.start_soon(world.link.run)
    nursery.start_soon(world.call, "a")
    nursery.start_soon(world.call, "b")
    await wait_all_tasks_blocked()
    world.wire.end()
    await wait_all_tasks_blocked()
    assert [str(world.results[name]) for name in "ab"] == ["reset by peer"] * 2
    with pytest.raises(LinkLost, match="reset by peer"):
        await world.link.call("c")


@pytest.mark.parametrize("text", ["}{", '{"id":null,"error":{"code":-32700,"message":"parse error"}}'])
async def test_nonsense_ends_it(nursery: trio.Nursery, text: str) -> None:
    world = World()
    nursery.start_soon(world.link.run)
    nursery.start_soon(world.call, "a")
    await wait_all_tasks_blocked()
    world.wire.say(text)
    await wait_all_tasks_blocked()
    assert isinstance(world.results["a"], LinkLost)
    assert "the provider" in str(world.results["a"])


async def test_a_provider_that_keeps_silent_is_given_up(autojump_clock: MockClock) -> None:
    world = World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.link.run)
        began = trio.current_time()
        with pytest.raises(LinkLost, match="no answer to eth_call in 30 s"):
            await world.link.call("eth_call")
        assert trio.current_time() - began == PATIENCE
        assert world.link.lost is not None
        nursery.cancel_scope.cancel()


async def test_a_provider_that_takes_nothing_is_given_up(autojump_clock: MockClock) -> None:
    world = World()
    world.wire.stuck = True
    began = trio.current_time()
    with pytest.raises(LinkLost, match="could not be sent"):
        await world.link.call("eth_call")
    assert trio.current_time() - began == SENDING


async def test_a_message_is_never_cut(autojump_clock: MockClock) -> None:
    world = World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.link.run)
        with trio.CancelScope() as scope:
            scope.cancel()
            await world.link.call("a")
        assert world.wire.sent == []
        world.wire.takes = 1
        with trio.move_on_after(0.5):
            await world.link.call("b")
        assert [call["method"] for call in world.wire.sent] == ["b"]
        nursery.start_soon(world.call, "c")
        await trio.sleep(2)
        world.wire.answer(world.wire.sent[-1]["id"], result=1)
        await trio.lowlevel.checkpoint()
        await wait_all_tasks_blocked()
        assert world.results["c"] == 1
        nursery.cancel_scope.cancel()


async def test_only_so_many_are_on_their_way(nursery: trio.Nursery) -> None:
    world = World()
    nursery.start_soon(world.link.run)
    for number in range(IN_FLIGHT + 5):
        nursery.start_soon(world.call, str(number))
    await wait_all_tasks_blocked()
    assert len(world.wire.sent) == IN_FLIGHT
    world.wire.answer(world.wire.sent[0]["id"], result=1)
    await wait_all_tasks_blocked()
    assert len(world.wire.sent) == IN_FLIGHT + 1


async def test_a_long_answer_is_read_too(nursery: trio.Nursery) -> None:
    world = World()
    nursery.start_soon(world.link.run)
    nursery.start_soon(world.call, "a")
    await wait_all_tasks_blocked()
    world.wire.answer(world.wire.sent[0]["id"], result="x" * 1_000_000)
    await wait_all_tasks_blocked()
    assert len(world.results["a"]) == 1_000_000
