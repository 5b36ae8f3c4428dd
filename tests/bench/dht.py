"""The hash table at size: how many lookups in a network find what is there, in how many hops, how fast.

Nodes run discovery as it is, on a network in memory and on virtual time, no two alike in what they know. Each
content is announced by one node and looked for by another. What a hop is: an answer that led to a node that
was closer. Time is virtual but for the row that says so.
"""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import trio
import trio.testing
from attrs import frozen
from harness import Bench, Figure, Line, Row

from codex.codec import manifest_cid
from codex.testing.dht import DhtNode, open_dht

LATENCY = 0.01  # seconds one way
CALM = 60.0  # seconds after the last node joined


@frozen
class Found:
    """What one network did: whether each search found its provider, with hops and seconds; and CPU time."""

    success: tuple[bool, ...]
    hops: tuple[int, ...]
    seconds: tuple[float, ...]
    cpu: float
    known: tuple[int, ...]


def figures(bench: Bench) -> Iterator[Figure]:
    """Networks of two sizes, whole and with a quarter of the nodes gone without a word."""
    searches = bench.size(100, 20)
    for size in (bench.size(50, 10), bench.size(200, 30)):
        bench.say(f"a hash table of {size} nodes")
        with bench.scratch("tmpfs") as directory:
            whole, torn = trio.run(
                _measure, directory, size, searches, clock=trio.testing.MockClock(autojump_threshold=0)
            )
        bound = math.log2(size)
        hops = Row("hops of a lookup", "hops", tuple(map(float, whole.hops)))
        yield Figure(
            f"the hash table, {size} nodes, {searches} contents announced and looked for (virtual time)",
            [
                Row("searches that found it", "%", (_percent(whole.success),)),
                hops,
                Row("  log2 of the nodes", "hops", (bound,)),
                Row("a search", "ms", tuple(1000 * one for one in whole.seconds)),
                Row("nodes that a node knows", "nodes", tuple(map(float, whole.known))),
                Row("searches that found it, a quarter gone", "%", (_percent(torn.success),)),
                Row("a search, a quarter gone", "ms", tuple(1000 * one for one in torn.seconds)),
                Row("CPU time of two announcements and a search", "ms", (1000 * whole.cpu / searches,)),
            ],
            [
                Line("searches that found it", (_percent(whole.success),), 100.0, unit="%"),
                Line("searches that found it, a quarter gone", (_percent(torn.success),), 99.0, unit="%"),
                Line("hops / log2 of the nodes", (max(hops.samples) / bound,), 1.0, at_most=True),
            ],
            [f"{LATENCY * 1000:g} ms one way; CPU time is that of all nodes, and the only real time"],
        )


async def _measure(directory: Path, size: int, searches: int) -> tuple[Found, Found]:
    async with open_dht(directory, latency=LATENCY) as world:
        nodes: list[DhtNode] = []
        for number in range(size):
            boot = [nodes[0].record] if nodes else []
            nodes.append(await world.join(f"10.0.{number // 200}.{number % 200 + 1}", boot))
            await trio.sleep(0.2)
        await trio.sleep(CALM)
        # Those of the first half have something, so that nothing is lost with those who go.
        givers = nodes[: size // 2]
        whole = await _search(givers, nodes, searches, "before")
        for node in nodes[size // 2 :: 2]:
            await world.die(node)
        torn = await _search(givers, world.nodes, searches, "before", provide=False)
        for node in tuple(world.nodes):
            await world.die(node)
        return whole, torn


async def _search(
    givers: Sequence[DhtNode], nodes: Sequence[DhtNode], searches: int, name: str, *, provide: bool = True
) -> Found:
    """Have contents announced, unless they are, and looked for, one after the other."""
    success, hops, seconds = [], [], []
    began = time.process_time()
    for number in range(searches):
        cid = manifest_cid(f"{name} {number}".encode())
        giver, finder = givers[number * 7 % len(givers)], nodes[(number * 13 + 5) % len(nodes)]
        if finder is giver:
            finder = nodes[(number * 13 + 6) % len(nodes)]
        if provide:
            await giver.discovery.provide(cid)
            await trio.sleep(2 * LATENCY)
        started = trio.current_time()
        providers = await finder.discovery.find_providers(cid)
        seconds.append(trio.current_time() - started)
        success.append(any(record.record.peer_id == giver.peer_id for record in providers))
        hops.append(await _hops(finder, f"{name} {number}"))
    cpu = time.process_time() - began
    known = tuple(node.discovery.stats().nodes for node in nodes)
    return Found(tuple(success), tuple(hops), tuple(seconds), cpu, known)


async def _hops(finder: DhtNode, name: str) -> int:
    """How many answers in a row a lookup of a place like that one takes: one for its own sake, to the end."""
    before = finder.discovery.stats()
    await finder.discovery.provide(manifest_cid(f"{name}, looked up".encode()))
    return finder.discovery.stats().hops - before.hops


def _percent(success: tuple[bool, ...]) -> float:
    return 100 * sum(success) / len(success)
