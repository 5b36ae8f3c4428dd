"""A seeder that gives 10 KiB a second: the download takes its time, and comes to its end."""

import io
import json

import pytest
import trio
from trio.testing import MockClock

from codex.config import LogConfig
from codex.data import BLOCK_SIZE
from codex.logs import configured
from codex.testing.content import noise
from codex.testing.neighbourhood import Neighbourhood, open_test_network

RATE = 10 << 10  # bytes per second


async def add_seeder(people: Neighbourhood, name: str) -> None:
    await people.add(name, upload_limit=RATE)


@pytest.mark.parametrize("blocks", [3, 40])
async def test_what_a_slow_seeder_has_is_got_to_the_last_byte(autojump_clock: MockClock, blocks: int) -> None:
    log = io.StringIO()
    content = noise(blocks * BLOCK_SIZE - 5)
    with configured(LogConfig(level="info", format="json"), stream=log):
        async with open_test_network("alice") as people:
            await add_seeder(people, "bob")
            cid = await people["bob"].store(content)
            await trio.sleep(5)
            started, longest, last, got = trio.current_time(), 0.0, trio.current_time(), bytearray()
            async with people["alice"].retrieve(cid) as dataset:
                async for piece in dataset:
                    now = trio.current_time()
                    longest, last = max(longest, now - last), now
                    got += piece
            assert bytes(got) == content
            # Nearly nothing is sent twice, and what has come is handed on meanwhile.
            took = trio.current_time() - started
            assert 0.5 * len(content) / RATE < took < 1.3 * len(content) / RATE + 10
            assert longest < 90
            [peer] = people["alice"].peers()
            assert peer.trade.blocks_in == blocks + 1
    assert "sent away" not in log.getvalue()
    assert not [line for line in map(json.loads, log.getvalue().splitlines()) if line["level"] == "error"]


async def test_two_slow_seeders_share_the_work(autojump_clock: MockClock) -> None:
    content = noise(24 * BLOCK_SIZE)
    async with open_test_network("alice") as people:
        for name in ("bob", "carol"):
            await add_seeder(people, name)
            cid = await people[name].store(content)
        await trio.sleep(5)
        started = trio.current_time()
        async with people["alice"].retrieve(cid) as dataset:
            assert await dataset.read() == content
        assert trio.current_time() - started < 0.75 * len(content) / RATE
        assert all(peer.trade.blocks_in >= 6 for peer in people["alice"].peers())
