"""The flow *request*: its job from beginning to end, and cut short."""

from pathlib import Path

import pytest
from attrs import evolve
from trio.testing import MockClock

from codex.data import BLOCK_SIZE
from codex.devnet.town import open_town
from codex.node import JobKind, JobState, Terms
from codex.testing.content import noise

pytestmark = pytest.mark.embedded_chain

TERMS = Terms(
    duration=600, proof_probability=1, price_per_byte_per_second=1, collateral_per_byte=1, expiry=300
)


async def test_a_request_is_a_job_with_all_its_bytes(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice") as town:
        alice = town["alice"]
        cid = await alice.store(noise(4 * BLOCK_SIZE))
        job = await alice.request_storage(cid, TERMS)
        assert (job.kind, job.subject) == (JobKind.REQUEST, str(cid))
        ended = await job.wait()
        assert (ended.state, ended.phase) == (JobState.DONE, "buying")
        assert ended.bytes_done == ended.bytes_total == 6 * BLOCK_SIZE
        [purchase] = await alice.market.purchases()
        assert isinstance(ended.result, dict)
        assert ended.result["purchaseId"] == str(purchase.id)
        assert purchase.request is not None
        ask = purchase.request.ask
        assert (ask.slots, ask.slot_size, ask.max_slot_loss) == (3, 2 * BLOCK_SIZE, 1)
        # Two requests for the same are two.
        other = await alice.market.buy_storage(cid, evolve(TERMS))
        assert other != purchase.id
        assert len(await alice.market.purchases()) == 2


async def test_one_that_is_cancelled_leaves_and_spends_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town(tmp_path, "alice") as town:
        alice = town["alice"]
        cid = await alice.store(noise(4 * BLOCK_SIZE))
        before, balances = await alice.space(), await alice.market.balances()
        job = await alice.request_storage(cid, TERMS)
        assert alice.jobs.cancel(job.id)
        assert (await job.wait()).state is JobState.CANCELLED
        assert await alice.space() == before
        assert await alice.market.purchases() == []
        assert await alice.market.balances() == balances
