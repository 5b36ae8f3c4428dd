"""Two nodes that know each other: what one holds the other gets, and says how it went when it does not."""

import trio
from trio.testing import MockClock

from codex.testing.content import noise
from codex.testing.neighbourhood import open_test_network

CONTENT = noise(40 * 65536 + 17)


async def test_what_alice_holds_bob_gets(autojump_clock: MockClock) -> None:
    async with open_test_network("alice", "bob") as people:
        cid = await people["alice"].store(CONTENT, filename="codex.png")
        started = trio.current_time()
        async with people["bob"].retrieve(cid) as dataset:
            assert await dataset.read() == CONTENT
        print("took", trio.current_time() - started)
        async with people["bob"].retrieve(cid, local=True) as dataset:
            assert await dataset.read() == CONTENT
