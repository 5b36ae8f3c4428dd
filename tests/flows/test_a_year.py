"""A contract of a year with a proof a day, on the embedded chain: a node that buys from itself."""

from functools import partial
from pathlib import Path

import pytest
from attrs import evolve
from trio.testing import MockClock

from codex.config import Config, MarketConfig, StoreConfig
from codex.devnet import open_devnet
from codex.devnet.deploying import CONFIG
from codex.devnet.town import way_to
from codex.market import SlotState
from codex.node import open_node
from codex.runtime import VirtualClock
from codex.testing.chain_service import key_file
from codex.testing.contracts import CONTENT, TERMS, buy, free, offer, stands, until
from codex.testing.nodes import EPOCH, simulated

pytestmark = [pytest.mark.embedded_chain, pytest.mark.soak]

HOUR = 3600
DAY = 24 * HOUR
YEAR = evolve(
    CONFIG,
    proofs=evolve(CONFIG.proofs, period=DAY, timeout=DAY // 2, downtime=32),
    duration_limit=400 * DAY,
)


async def test_a_year_with_a_proof_a_day(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nobody forgets a subscription here: a new block need not be looked for besides.
    monkeypatch.setattr("codex.chain.uplink.QUIET", float(DAY))
    async with open_devnet(port=None, clock=VirtualClock(EPOCH), block_time=6 * HOUR, config=YEAR) as devnet:
        market = MarketConfig(
            providers=("ws://one",),
            private_key_file=key_file(tmp_path, devnet.accounts[1].key.removeprefix("0x")),
            marketplace_address=devnet.marketplace,
        )
        config = Config(tmp_path, store=StoreConfig(maintenance_interval=DAY), market=market)
        async with open_node(config, seams=evolve(simulated(), dial=way_to(devnet.chain).dial)) as alice:
            before = (await alice.market.balances()).tokens
            cid = await alice.store(CONTENT)
            await offer(alice, 3)
            id = await buy(alice, cid, evolve(TERMS, duration=365 * DAY, expiry=20 * DAY))
            await stands(alice, id, "started", seconds=20 * DAY, every=HOUR)
            slots = await alice.market.slots()
            for stored in [stored async for stored, _ in alice.iterate_manifests()]:
                await alice.delete(stored)
            await stands(alice, id, "finished", settled=True, seconds=370 * DAY, every=HOUR)
            await until(partial(free, alice), 10 * DAY, every=HOUR)
            marketplace = alice.market.parts.marketplace
            assert [await marketplace.slot_state(slot.id) for slot in slots] == [SlotState.PAID] * 3
            assert [await marketplace.missing_proofs(slot.id) for slot in slots] == [0] * 3
            # Whoever buys from itself has in the end what it had before.
            assert (await alice.market.balances()).tokens == before
