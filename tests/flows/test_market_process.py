"""A `codex persistence` process on an embedded chain, over a real WebSocket: it buys, is stopped, and comes
back; and a chain that goes away is a state.
"""

import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from codex.data import BLOCK_SIZE
from codex.devnet import open_devnet
from codex.testing.content import noise

pytestmark = pytest.mark.embedded_chain

Start = Callable[..., Awaitable[Any]]

TERMS = {
    "duration": 600,
    "proofProbability": "1",
    "pricePerBytePerSecond": "1",
    "collateralPerByte": "1",
    "expiry": 500,
}
OFFER = {
    "totalSize": 100_000,
    "duration": 60,
    "minPricePerBytePerSecond": "1000000",
    "totalCollateral": "1",
}


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    with trio.fail_after(60):
        while not await reached():  # noqa: ASYNC110 - what another process comes to is asked for
            await trio.sleep(0.2)


async def test_a_process_buys_and_comes_back(start: Start, tmp_path: Path) -> None:
    async with open_devnet(block_time=1) as devnet:
        account = devnet.accounts[1]
        key = tmp_path / "alice.key"
        key.write_text(account.key)
        key.chmod(0o600)
        options = [
            f"--data-dir={tmp_path / 'alice'}",
            "--api-port=0",
            "persistence",
            f"--eth-provider={devnet.url}",
            f"--eth-private-key={key}",
            f"--marketplace-address={devnet.marketplace}",
            "--validator",
            "prover",
        ]
        node = await start(*options)
        client = node.client
        octets = [("Content-Type", "application/octet-stream")]
        cid = (await client.ask("POST", "/data", body=noise(2 * BLOCK_SIZE), headers=octets)).text
        assert (
            await client.ask("POST", "/sales/availability", body=json.dumps(OFFER).encode())
        ).status == 201
        bought = await client.ask("POST", f"/storage/request/{cid}", body=json.dumps(TERMS).encode())
        assert bought.status == 200, bought.text

        async def submitted() -> bool:
            purchase = (await client.get(f"/storage/purchases/{bought.text}")).json()
            assert purchase["state"] in ("pending", "submitted")
            return bool(purchase["state"] == "submitted")

        await until(submitted)
        balances = (await client.get("/market/balances")).json()
        assert balances["account"] == account.address
        assert int(balances["tokens"]) == 10**24 - 600 * 3 * BLOCK_SIZE

        async def decided() -> bool:
            found = (await client.get("/sales/decisions")).json()["decisions"]
            return {(one["verdict"], one["slotIndex"]) for one in found} == {
                ("unwanted", n) for n in range(3)
            }

        # Its own request is no more to it than another's: it pays too little.
        await until(decided)
        assert await node.end(signal.SIGTERM) == 0
        assert account.key.removeprefix("0x") not in node.said

        node = await start(*options)
        client = node.client
        await until(submitted)
        assert (await client.get("/storage/purchases")).json() == ["0x" + bought.text]
    # The chain is gone.

    async def told() -> bool:
        services = (await client.get("/health")).json()["services"]
        [chain] = [service for service in services if service["name"] == "chain"]
        return chain["condition"] is not None and chain["condition"]["code"] == "chain-unreachable"

    await until(told)
    assert (await client.get("/health")).status == 200
    assert len((await client.get("/sales/availability")).json()) == 1
    assert (await client.get(f"/data/{cid}")).body == noise(2 * BLOCK_SIZE)
    assert await node.end(signal.SIGTERM) == 0


async def test_a_provider_of_another_chain_is_told_at_the_start(start: Start, tmp_path: Path) -> None:
    async with open_devnet() as devnet:
        key = tmp_path / "alice.key"
        key.write_text(devnet.accounts[1].key)
        key.chmod(0o600)
        node = await start(
            f"--data-dir={tmp_path / 'alice'}",
            "--api-port=0",
            "persistence",
            f"--eth-provider={devnet.url}",
            f"--eth-private-key={key}",
            f"--marketplace-address=0x{'12' * 20}",
        )
        assert await node.end() == 2
        assert "there is no contract at 0x1212" in node.said
        assert "--marketplace-address" in node.said
        assert "Traceback" not in node.said
