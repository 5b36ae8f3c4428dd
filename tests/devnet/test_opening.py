import os
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import evolve
from trio.testing import MockClock

from codex.devnet import CONFIG, open_devnet
from codex.devnet.deploying import contract
from codex.devnet.errors import WrongDump
from codex.devnet.opening import TOKENS, account
from codex.runtime import VirtualClock

START = 1_700_000_000.0


async def test_all_is_there_when_it_is_open(tools: Any, autojump_clock: MockClock) -> None:
    async with open_devnet(port=None, clock=VirtualClock(START), accounts=3) as devnet:
        assert (devnet.url, devnet.http_url, devnet.chain_id) == ("", "", 31337)
        # All of it took time on the chain, and none of it lies in the future.
        assert devnet.chain.latest.timestamp == int(START)
        addresses = [bytes.fromhex(funded.address[2:]) for funded in devnet.accounts]
        people = dict(zip("abc", addresses, strict=True))
        token = tools.Caller(devnet.chain, bytes.fromhex(devnet.token[2:]), contract("token"), people)
        assert [token.ask("balanceOf", address, by="a") for address in people.values()] == [TOKENS] * 3
        assert token.ask("symbol", by="a") == "TST"
        for number, funded in enumerate(devnet.accounts):
            assert account(number).key.hex() == funded.key[2:]
            assert account(number).address.hex() == funded.address[2:]


async def test_blocks_come_in_their_time(autojump_clock: MockClock) -> None:
    async with open_devnet(port=None, clock=VirtualClock(START), block_time=2) as devnet:
        first = devnet.chain.latest
        assert not devnet.chain.automine
        await trio.sleep(11)
        assert devnet.chain.latest.number == first.number + 5
        assert devnet.chain.latest.timestamp == first.timestamp + 10


async def test_without_it_blocks_come_with_transactions_only(autojump_clock: MockClock) -> None:
    async with open_devnet(port=None, clock=VirtualClock(START)) as devnet:
        number = devnet.chain.latest.number
        await trio.sleep(1000)
        assert devnet.chain.latest.number == number
        assert devnet.chain.next_timestamp() == int(START) + 1000


async def test_a_configuration_can_be_chosen(autojump_clock: MockClock) -> None:
    config = evolve(CONFIG, duration_limit=366 * 24 * 3600, proofs=evolve(CONFIG.proofs, period=24 * 3600))
    async with open_devnet(port=None, config=config, clock=VirtualClock(START), chain_id=7) as devnet:
        assert devnet.chain.chain_id == devnet.chain_id == 7


async def test_a_branch_may_win(autojump_clock: MockClock) -> None:
    async with open_devnet(port=None, clock=VirtualClock(START)) as devnet:
        hash = devnet.chain.latest.receipts[0].transaction.hash
        news = devnet.reorganise(3, without=("0x" + hash.hex(),))
        assert (len(news.removed), len(news.added)) == (3, 4)
        assert devnet.chain.transaction(hash) is None


async def test_what_goes_wrong_inside_comes_out_as_it_is(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_devnet(clock=VirtualClock(START), block_time=1):
            raise ZeroDivisionError


async def test_a_chain_is_kept_where_one_wants_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    file = tmp_path / "chain"
    clock = VirtualClock(START)
    async with open_devnet(port=None, clock=clock, state=file) as devnet:
        devnet.chain.mine(5)
        last = devnet.chain.latest
    await trio.sleep(1000)
    async with open_devnet(port=None, clock=clock, state=file) as again:
        assert again.chain.latest == last
        assert again.marketplace == devnet.marketplace
        assert again.chain.next_timestamp() >= int(START) + 1000
        again.chain.mine()
    async with open_devnet(port=None, clock=clock, state=file) as devnet:
        assert devnet.chain.latest.number == last.number + 1
    assert os.listdir(tmp_path) == [file.name]


async def test_what_was_kept_stays_when_something_goes_wrong(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    file = tmp_path / "chain"
    async with open_devnet(port=None, clock=VirtualClock(START), state=file):
        pass
    kept = file.read_bytes()
    with pytest.raises(ZeroDivisionError):
        async with open_devnet(port=None, clock=VirtualClock(START), state=file) as devnet:
            raise ZeroDivisionError(devnet.chain.mine())
    assert file.read_bytes() == kept
    file.write_bytes(kept[:-1])
    with pytest.raises(WrongDump):
        async with open_devnet(port=None, clock=VirtualClock(START), state=file):
            pass
