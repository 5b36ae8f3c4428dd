"""The ship of Theseus: again and again the oldest node leaves and a new one joins, and the data stay."""

import pytest
import trio
from trio.testing import MockClock

from codex.testing.content import noise
from codex.testing.neighbourhood import open_test_network

CONTENT = noise(1_500_000)
STEPS = 5


@pytest.mark.parametrize("remaining", [1, 2])
async def test_the_data_outlive_every_node_that_they_began_on(
    remaining: int, autojump_clock: MockClock
) -> None:
    first = [f"node {number}" for number in range(remaining + 1)]
    async with open_test_network(*first) as people:
        cid = await people[first[0]].store(CONTENT)
        for number in range(remaining + 1, remaining + 1 + STEPS):
            for node in people.nodes.values():
                async with node.retrieve(cid) as dataset:
                    assert await dataset.read() == CONTENT
            await trio.sleep(5)  # until they have told that they have it
            await people.stop(next(iter(people.nodes)))
            await people.add(f"node {number}")
        assert not set(first) & set(people.nodes)
        for node in people.nodes.values():
            async with node.retrieve(cid) as dataset:
                assert await dataset.read() == CONTENT
