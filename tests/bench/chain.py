"""The way to the chain: transactions through the signer, blocks scanned for events, requests told at a start.

The embedded chain answers over its WebSocket on the loopback, in this process and on the same loop: its own
work is in every figure. The floors are that work alone: the same transactions handed to it directly, and its
own search of the same blocks.
"""

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import trio
from asked import request_of, send_directly, send_with_questions
from harness import Bench, BenchFailed, Figure, Line, Row, quotients, seconds

from codex.chain import Cursor, Marketplace, Told, dial
from codex.chain.abi import events_by_topic
from codex.config import MarketConfig
from codex.devnet import Devnet, open_devnet
from codex.devnet.values import Filter
from codex.runtime import SystemClock
from codex.runtime.stall import LoopWatch
from codex.testing.chain_service import key_file, open_chain

LIMIT = 50.0  # milliseconds of the loop thread's own CPU time that a step may take

_SENDERS = 16  # transactions on their way at the same time
_ROOM = 2**255
_SCAN = 2048  # blocks of one scan, as the node does it
_HOST, _RAW = 1, 2  # accounts of the chain


def figures(bench: Bench) -> Iterator[Figure]:
    """Transactions a second, blocks a second, and the events that a host hears which starts."""
    requests, blocks = bench.size(1000, 40), bench.size(20_000, 1000)
    bench.say(f"{requests} requests on an embedded chain")
    with bench.scratch("tmpfs") as directory:
        watch = LoopWatch()
        measure = partial(_measure, directory, requests, blocks, bench.rounds, watch)
        reached = trio.run(measure, instruments=[watch])
    rows = [Row(label, unit, tuple(reached[label])) for label, unit in _ROWS.items()]
    shares = [sorted(quotients(rows[0], floor))[len(rows[0].samples) // 2] for floor in rows[1:3]]
    yield Figure(
        f"the chain: {requests} storage requests, and {blocks} blocks without any",
        rows,
        [Line("longest step, worst round", (max(reached[_STEP]),), LIMIT, at_most=True, unit="CPU ms")],
        [
            f"{_SENDERS} transactions on their way at the same time; every one gets a block at once",
            f"through the signer / a: {shares[0]:.2f}; / b: {shares[1]:.2f}",
        ],
    )


_SENT = "requests through the signer"
_ASKED = "  a: the same, and a node's questions about them, to the chain alone"
_SIGNED = "  b: the same to the chain alone, and no questions"
_SCANNED, _SEARCHED = "blocks scanned by the cursor", "  c: the same searched by the chain alone"
_HEARD, _FOUND = "requests told to a host that starts", "  d: their logs found by the chain alone"
_STEP = "longest step of the loop over the requests, the chain's in it"
_ROWS = {
    _SENT: "tx/s",
    _ASKED: "tx/s",
    _SIGNED: "tx/s",
    _STEP: "CPU ms",
    _SCANNED: "blocks/s",
    _SEARCHED: "blocks/s",
    _HEARD: "ms",
    _FOUND: "ms",
}


async def _measure(
    directory: Path, requests: int, blocks: int, rounds: int, watch: LoopWatch
) -> dict[str, list[float]]:
    reached: dict[str, list[float]] = {label: [] for label in _ROWS}
    async with open_devnet() as devnet:
        config = MarketConfig(
            providers=(devnet.url,),
            private_key_file=key_file(directory, devnet.accounts[_HOST].key.removeprefix("0x")),
            marketplace_address=devnet.marketplace,
        )
        async with open_chain(dial, config, clock=SystemClock()) as opened:
            market, chain = opened.marketplace, devnet.chain
            await (await market.token()).approve(await market.address(), _ROOM)
            first = chain.latest.number + 1
            part = requests // rounds
            for _ in range(rounds):
                await trio.lowlevel.checkpoint()  # a step of its own for what was before
                watch.reset()
                began = time.perf_counter()
                await _send(market, part)
                reached[_SENT].append(part / (time.perf_counter() - began))
                await trio.lowlevel.checkpoint()
                reached[_STEP].append(1000 * watch.worst_cpu)
                began = time.perf_counter()
                await send_with_questions(devnet, _RAW, part)
                reached[_ASKED].append(part / (time.perf_counter() - began))
                began = time.perf_counter()
                send_directly(devnet, _RAW, part)
                reached[_SIGNED].append(part / (time.perf_counter() - began))
            last = chain.latest.number
            for _ in range(rounds):
                began = time.perf_counter()
                if await _told(market, first, last) != 3 * part * rounds:
                    raise BenchFailed("not every request was told")
                reached[_HEARD].append(1000 * (time.perf_counter() - began))
                reached[_FOUND].append(1000 * seconds(partial(_found, devnet, first, last)))
            chain.mine(blocks)
            end = chain.latest.number
            for _ in range(rounds):
                began = time.perf_counter()
                await _told(market, end - blocks + 1, end)
                reached[_SCANNED].append(blocks / (time.perf_counter() - began))
                reached[_SEARCHED].append(blocks / seconds(partial(_found, devnet, end - blocks + 1, end)))
    return reached


async def _send(market: Marketplace, count: int) -> None:
    free = trio.CapacityLimiter(_SENDERS)

    async def one() -> None:
        async with free:
            await market.request_storage(request_of(market.account))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)


async def _told(market: Marketplace, first: int, last: int) -> int:
    events = await market.events(Cursor(first))
    count = 0
    while events.cursor.next <= last:
        item = await events.__anext__()
        if isinstance(item, Told):
            count += len(item.events)
    return count


def _found(devnet: Devnet, first: int, last: int) -> int:
    """The floor: how many logs the chain finds, without anybody who asks for them."""
    marketplace = frozenset([bytes.fromhex(devnet.marketplace[2:])])
    wanted = Filter(marketplace, (frozenset(events_by_topic()),))
    return sum(
        len(devnet.chain.ledger.logs(wanted, start, min(start + _SCAN - 1, last)))
        for start in range(first, last + 1, _SCAN)
    )
