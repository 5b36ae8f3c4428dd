"""The node's desk for the marketplace: where nobody proves, while no provider answers, and who validates."""

from pathlib import Path

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.chain import Connected, Disconnected
from codex.codec import Cid
from codex.data import BLOCK_SIZE
from codex.devnet.town import FAST, open_town
from codex.errors import ChainUnreachable, ConfigError, InsufficientFunds, InvalidInput, NotEnabled
from codex.node import Node, Terms
from codex.runtime.lifecycle import State
from codex.testing.content import noise

pytestmark = pytest.mark.embedded_chain

ALONE = ["store", "chain", "p2p", "discovery", "exchange", "advertiser", "herald", "jobs"]
TRADING = ["duties", "news", "purchasing", "sales"]
TERMS = Terms(
    duration=600, proof_probability=1, price_per_byte_per_second=1, collateral_per_byte=1, expiry=300
)


async def offer(node: Node) -> None:
    await node.market.add_availability(total=1_000_000, duration=600, price=1, collateral=10)


async def test_the_services_of_a_node_that_trades(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice") as town:
        await town.add("victor", validator=True)
        names = {name: [service.name for service in town[name].states()] for name in ("alice", "victor")}
        assert names == {"alice": [*ALONE, *TRADING], "victor": [*ALONE, *TRADING, "validation"]}
        assert await town["alice"].market.validated() is None
        validated = await town["victor"].market.validated()
        assert validated is not None
        assert (validated.watched, validated.marked) == ((), 0)


async def test_where_a_proving_key_is_wanted_nothing_is_sold(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = evolve(FAST, proofs=evolve(FAST.proofs, zkey_hash="1234abcd"))
    async with open_town(tmp_path, "alice", config=config) as town:
        alice = town["alice"]
        with pytest.raises(NotEnabled, match="proving key 1234abcd") as caught:
            await offer(alice)
        assert "codex devnet" in caught.value.remedy
        assert await alice.market.availabilities() == []
        # Buying goes all the same.
        cid = await alice.store(noise(2 * BLOCK_SIZE))
        assert await alice.market.buy_storage(cid, TERMS) in [
            purchase.id for purchase in await alice.market.purchases()
        ]


async def test_an_outage_is_a_state(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice") as town:
        alice, provider = town["alice"], town.providers["alice"]
        assert isinstance(alice.market.chain_state, Connected)
        provider.go_down()
        await trio.sleep(5)
        assert isinstance(alice.market.chain_state, Disconnected)
        [chain] = [service for service in alice.states() if service.name == "chain"]
        assert chain.state is State.RUNNING
        assert chain.condition is not None
        assert (chain.condition.problem.code, chain.condition.serves) == ("chain-unreachable", True)
        await offer(alice)
        assert len(await alice.market.availabilities()) == 1
        with pytest.raises(ChainUnreachable):
            await alice.market.slots()
        cid = await alice.store(noise(2 * BLOCK_SIZE))
        with pytest.raises(ChainUnreachable):
            await alice.request_storage(cid, evolve(TERMS, duration=700))
        provider.up = True
        with trio.fail_after(300):
            await alice.market.parts.chain.connected()
        assert await alice.market.slots() == []


async def test_nothing_is_encoded_that_cannot_be_bought(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_town(tmp_path, "alice") as town:
        alice = town["alice"]
        cid = await alice.store(noise(2 * BLOCK_SIZE))
        before = await alice.space()
        with pytest.raises(InsufficientFunds):
            await alice.request_storage(cid, evolve(TERMS, price_per_byte_per_second=10**30))
        with pytest.raises(InvalidInput, match="does not fit"):
            await alice.request_storage(cid, evolve(TERMS, price_per_byte_per_second=2**256 - 1))
        ledger, account = town.devnet.chain.ledger, alice.market.account.raw
        wei = ledger.balance(account)
        ledger.set_balance(account, 10**6)
        with pytest.raises(InsufficientFunds, match="wei for gas"):
            await alice.request_storage(cid, TERMS)
        ledger.set_balance(account, wei)
        small = await alice.store(b"small")
        with pytest.raises(InvalidInput, match="need at least 131072 bytes"):
            await alice.request_storage(small, TERMS)
        await alice.delete(small)
        assert await alice.space() == before
        assert await alice.market.purchases() == []


async def test_what_is_encoded_already_is_bought_from_its_original(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town(tmp_path, "alice") as town:
        alice = town["alice"]
        ended = await (await alice.protect(await alice.store(noise(2 * BLOCK_SIZE)), 2, 1)).wait()
        assert isinstance(ended.result, dict)
        encoded = Cid.parse(str(ended.result["verifiableCid"]))
        before = await alice.space()
        bought = await (await alice.request_storage(encoded, TERMS)).wait()
        assert isinstance(bought.result, dict)
        assert bought.result["verifiableCid"] == str(encoded)
        assert await alice.space() == before


async def test_a_chain_that_has_no_marketplace_there_is_refused(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_town(tmp_path, "alice") as town:
        town.devnet = evolve(town.devnet, marketplace="0x" + "12" * 20)
        with pytest.raises(ConfigError, match="no contract at"):
            await town.add("bob")
