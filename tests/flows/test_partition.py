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
