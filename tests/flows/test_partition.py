"""A network that falls apart and comes together again, and a machine that loses power."""

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.config import ExchangeConfig
from codex.errors import NotOnNetwork
from codex.node import Node
from codex.testing.content import noise
from codex.testing.neighbourhood import open_test_network
from codex.testing.network import MemoryNetwork

CONTENT = noise(3_000_000)


async def retrieved(node: Node, cid: Cid) -> bytes:
    async with node.retrieve(cid) as dataset:
        return await dataset.read()


async def test_a_download_goes_on_when_the_network_is_whole_again(autojump_clock: MockClock) -> None:
    network = MemoryNetwork(bandwidth=1_000_000)
    async with open_test_network("alice", "bob", network=network) as people:
        cid = await people["alice"].store(CONTENT)
        got = bytearray()
        async with people["bob"].retrieve(cid) as dataset:
            got += await anext(dataset)
            network.partition([people.ip("alice")], [people.ip("bob")])
            await trio.sleep(10)
            network.heal()
            async for piece in dataset:
                got += piece
        assert bytes(got) == CONTENT


async def test_in_each_part_there_is_what_it_has(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    exchange = ExchangeConfig(timeout=20)
    async with open_test_network(network=network, exchange=exchange) as people:
        theirs = await people["alice"].store(CONTENT)
        ours = await people["carol"].store(noise(100_000, "carol"))
        await trio.sleep(5)
        network.partition([people.ip("alice"), people.ip("bob")], [people.ip("carol")])
        assert await retrieved(people["bob"], theirs) == CONTENT
        started = trio.current_time()
        with pytest.raises(NotOnNetwork):
            await retrieved(people["bob"], ours)
        assert trio.current_time() - started < 120
        network.heal()
        with trio.fail_after(15 * 60):
            while True:
                try:
                    assert await retrieved(people["bob"], ours) == noise(100_000, "carol")
                    break
                except NotOnNetwork:
                    await trio.sleep(10)


@pytest.mark.parametrize("count", [2, 10, pytest.param(30, marks=pytest.mark.soak)])
async def test_both_halves_go_on_and_have_everything_when_it_has_healed(
    autojump_clock: MockClock, count: int
) -> None:
    network = MemoryNetwork()
    names = [f"node {number}" for number in range(count)]
    left, right = names[0::2], names[1::2]
    files: dict[str, tuple[Cid, bytes]] = {}

    async def upload(name: str, title: str) -> None:
        content = noise(100_000, title)
        files[title] = await people[name].store(content), content

    async def everyone_gets(readers: list[str], titles: list[str]) -> None:
        """Each reads one, the first the first and so on."""

        async def get(name: str, title: str) -> None:
            cid, content = files[title]
            while True:
                try:
                    assert await retrieved(people[name], cid) == content
                    return
                except NotOnNetwork:
                    await trio.sleep(10)

        with trio.fail_after(15 * 60):
            async with trio.open_nursery() as nursery:
                for name, title in zip(readers, titles, strict=True):
                    nursery.start_soon(get, name, title)

    async def nobody_gets(readers: list[str], titles: list[str]) -> None:
        async def get(name: str, title: str) -> None:
            started = trio.current_time()
            with pytest.raises(NotOnNetwork, match="could not be had from the network"):
                await retrieved(people[name], files[title][0])
            assert trio.current_time() - started < 120

        async with trio.open_nursery() as nursery:
            for name, title in zip(readers, titles, strict=True):
                nursery.start_soon(get, name, title)

    async with open_test_network(*names, network=network, exchange=ExchangeConfig(timeout=20)) as people:
        for name in names:
            await upload(name, f"before {name}")
        await trio.sleep(5)
        network.partition(*[[people.ip(name) for name in half] for half in (left, right)])
        for name in names:
            await upload(name, f"during {name}")
        # Each half has what its own people have, and says so of the rest.
        for half, other in ((left, right), (right, left)):
            if len(half) > 1:
                following = half[1:] + half[:1]
                await everyone_gets(half, [f"before {name}" for name in following])
                await everyone_gets(half, [f"during {name}" for name in following])
            await nobody_gets(half, [f"before {name}" for name in other])
            await nobody_gets(half, [f"during {name}" for name in other])
        network.heal()
        for half, other in ((left, right), (right, left)):
            await everyone_gets(half, [f"before {name}" for name in other])
            await everyone_gets(half, [f"during {name}" for name in other])
        await trio.sleep(60)
        for node in people.nodes.values():
            assert all(peer.trade.wants_ours == peer.trade.wants_theirs == 0 for peer in node.peers())


async def test_a_machine_that_loses_power_comes_back_as_who_it_was(autojump_clock: MockClock) -> None:
    network = MemoryNetwork()
    async with open_test_network(network=network) as people:
        cid = await people["alice"].store(CONTENT)
        await (await people["bob"].fetch_dataset_async_task(cid)).wait()
        await trio.sleep(5)
        before = people["alice"].info().peer_id
        network.crash(people.ip("alice"), silent=True)
        await people.stop("alice")
        assert await retrieved(people["carol"], cid) == CONTENT
        alice = await people.add("alice", bootstrap=["bob"])
        assert alice.info().peer_id == before
        assert await retrieved(alice, cid) == CONTENT
