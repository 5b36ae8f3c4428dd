"""The way to the chain: transactions through the signer, blocks scanned for events, requests told at a start.

The embedded chain answers over its WebSocket on the loopback, in this process and on the same loop: its own
work is in every figure. The floor of transactions is the same ones signed and handed to it directly.
"""

import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import trio
from attrs import evolve
from harness import Bench, BenchFailed, Figure, Row

from codex.chain import Cursor, Marketplace, Told, abi, dial
from codex.config import MarketConfig
from codex.devnet import Devnet, open_devnet
from codex.devnet.values import Message
from codex.market import Address, StorageAsk, StorageContent, StorageRequest
from codex.runtime import SystemClock
from codex.testing.chain_service import key_file, open_chain

_SENDERS = 16  # transactions on their way at the same time
_GAS = 600_000
_ROOM = 2**255
_HOST, _RAW = 1, 2  # accounts of the chain

Reached = Mapping[str, list[float]]


def figures(bench: Bench) -> Iterator[Figure]:
    """Transactions a second, blocks a second, and the start of a host that finds many requests."""
    requests, blocks = bench.size(1000, 40), bench.size(20_000, 1000)
    bench.say(f"{requests} requests on an embedded chain")
    with bench.scratch("tmpfs") as directory:
        reached = trio.run(_measure, directory, requests, blocks, bench.rounds)
    yield Figure(
        f"the chain: {requests} storage requests, and {blocks} blocks without any",
        [
            Row("requests through the signer", "tx/s", reached["sent"]),
            Row("  the same signed by the chain itself", "tx/s", reached["raw"]),
            Row("blocks scanned by the cursor", "blocks/s", reached["scanned"]),
            Row(f"{requests} requests told to a host that starts", "ms", reached["told"]),
        ],
        notes=[f"{_SENDERS} transactions on their way at the same time; every one gets a block at once"],
    )


async def _measure(directory: Path, requests: int, blocks: int, rounds: int) -> Reached:
    reached: dict[str, list[float]] = {"sent": [], "raw": [], "scanned": [], "told": []}
    async with open_devnet() as devnet:
        config = MarketConfig(
            providers=(devnet.url,),
            private_key_file=key_file(directory, devnet.accounts[_HOST].key.removeprefix("0x")),
            marketplace_address=devnet.marketplace,
        )
        async with open_chain(dial, config, clock=SystemClock()) as opened:
            market = opened.marketplace
            await (await market.token()).approve(await market.address(), _ROOM)
            first = devnet.chain.latest.number + 1
            began = time.perf_counter()
            await _send(market, requests)
            reached["sent"].append(requests / (time.perf_counter() - began))
            last = devnet.chain.latest.number
            for _ in range(rounds):
                began = time.perf_counter()
                if await _told(market, first, last) != requests:
                    raise BenchFailed("not every request was told")
                reached["told"].append(1000 * (time.perf_counter() - began))
            reached["raw"].append(_send_directly(devnet, requests))
            devnet.chain.mine(blocks)
            end = devnet.chain.latest.number
            for _ in range(rounds):
                began = time.perf_counter()
                await _told(market, end - blocks + 1, end)
                reached["scanned"].append(blocks / (time.perf_counter() - began))
    return reached


async def _send(market: Marketplace, count: int) -> None:
    free = trio.CapacityLimiter(_SENDERS)

    async def one() -> None:
        async with free:
            await market.request_storage(_request(market.account))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)


def _send_directly(devnet: Devnet, count: int) -> float:
    """The floor: the same transactions without a client between; how many a second."""
    chain = devnet.chain
    sender, market = (bytes.fromhex(text[2:]) for text in (devnet.accounts[_RAW].address, devnet.marketplace))
    approve = abi.TOKEN["approve"].call(devnet.marketplace, _ROOM)
    chain.send(chain.sign(Message(sender, bytes.fromhex(devnet.token[2:]), approve, gas=_GAS)))
    began = time.perf_counter()
    for _ in range(count):
        payload = abi.MARKETPLACE["requestStorage"].call(_request(Address(sender)).as_tuple())
        chain.send(chain.sign(Message(sender, market, payload, gas=_GAS)))
    return count / (time.perf_counter() - began)


async def _told(market: Marketplace, first: int, last: int) -> int:
    events = await market.events(Cursor(first))
    count = 0
    while events.cursor.next <= last:
        item = await events.__anext__()
        if isinstance(item, Told):
            count += len(item.events)
    return count


def _request(client: Address) -> StorageRequest:
    return evolve(_ANY, client=client, nonce=os.urandom(32))


_ANY = StorageRequest(
    client=Address(bytes(20)),
    ask=StorageAsk(
        proof_probability=1,
        price_per_byte_per_second=1,
        collateral_per_byte=1,
        slots=3,
        slot_size=65536,
        duration=3600,
        max_slot_loss=1,
    ),
    content=StorageContent(bytes(38), bytes(32)),
    expiry=600,
    nonce=bytes(32),
)
