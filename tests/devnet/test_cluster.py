"""Whole nodes over sockets on one chain: how its time runs, and what is left when one is killed."""

from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.devnet.cluster import HurriedClock, open_cluster
from codex.devnet.demo import SHORT
from codex.runtime import SystemClock


async def test_a_clock_in_a_hurry_starts_with_the_machine_s(autojump_clock: MockClock) -> None:
    clock = HurriedClock(8)
    begin = clock.now()
    assert abs(begin - SystemClock().now()) < 60
    await trio.sleep(10)
    assert clock.monotonic() == pytest.approx(80)
    assert clock.now() - begin == pytest.approx(80)


@pytest.mark.embedded_chain
async def test_members_are_nodes_of_their_own_that_can_be_killed(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with open_cluster(tmp_path, config=SHORT, block_time=0.25, pace=8) as cluster:
            alice, bob = await cluster.add("alice"), await cluster.add("bob")
            assert alice.account != bob.account
            assert alice.node.info().peer_id != bob.node.info().peer_id
            assert alice.directory == tmp_path / "alice"
            assert (alice.directory / "eth.key").stat().st_mode & 0o777 == 0o600
            assert cluster.addresses() == {"alice": alice.api.url, "bob": bob.api.url}
            balances = await bob.node.market.balances()
            assert balances.account == bob.account
            assert balances.tokens > 0
            cid = await alice.node.store(b"some content")
            assert (await bob.node.fetch_manifest(cid)).dataset_size == 12
            await bob.kill()
            assert cluster.addresses() == {"alice": alice.api.url}
            assert await alice.node.market.parts.marketplace.my_slots() == ()
