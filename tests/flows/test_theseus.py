"""The ship of Theseus: again and again the oldest node leaves and a new one joins, and the data stay."""

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid
from codex.node import Node
from codex.testing.content import noise
from codex.testing.neighbourhood import open_test_network

FILES = 3


async def check(node: Node, files: dict[Cid, bytes], *, local: bool = False) -> None:
    """Read every file on a node, from its own disk if `local`."""
    for cid, content in files.items():
        async with node.retrieve(cid, local=local) as dataset:
            assert await dataset.read() == content


@pytest.mark.parametrize(
    ("count", "size"),
    [(2, 1_500_000), (3, 1_500_000), (10, 200_000), pytest.param(30, 66_000, marks=pytest.mark.soak)],
)
async def test_the_data_outlive_every_node_that_they_began_on(
    autojump_clock: MockClock, count: int, size: int
) -> None:
    first = [f"node {number}" for number in range(count)]
    async with open_test_network(*first) as people:
        files = {await people[first[0]].store(content): content for content in parts(size)}
        await trio.sleep(5)
        for name in first[1:]:
            await check(people[name], files)
        for step in range(count):
            await trio.sleep(5)  # until those who got it have told that they have it
            oldest = next(iter(people.nodes))
            # Every third one loses its power instead, and nobody is told.
            await (people.crash if step % 3 == 2 else people.stop)(oldest)
            await check(await people.add(f"node {count + step}"), files)
            assert len(people.nodes) == count
        assert not set(first) & set(people.nodes)
        for node in people.nodes.values():
            await check(node, files, local=True)


def parts(size: int) -> list[bytes]:
    return [noise(size + number, f"file {number}") for number in range(FILES)]
