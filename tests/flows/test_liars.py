"""Those who lie among those who do not: whoever downloads gets the truth, and sends the liars away."""

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Cid, Multiaddr
from codex.config import ExchangeConfig, LogConfig
from codex.errors import NotOnNetwork
from codex.exchange.wants import FORGIVING
from codex.logs import configured
from codex.node import Node
from codex.p2p import SignedPeerRecord
from codex.testing.content import noise
from codex.testing.liars import LIES, Content, Liar, announce, open_liar
from codex.testing.neighbourhood import Neighbourhood, open_test_network

CONTENT = noise(40 * 65536)
CAUGHT = {"wrong blocks", "wrong proofs", "other blocks", "unasked", "garbage"}
"""Those whose lies show in what they send. Of the others nothing is to be seen but that nothing comes."""


@pytest.fixture
def logged() -> Iterator[Callable[[str], list[dict[str, str]]]]:
    """The lines of the log about an event."""
    stream = io.StringIO()

    def about(event: str) -> list[dict[str, str]]:
        return [line for line in map(json.loads, stream.getvalue().splitlines()) if line["event"] == event]

    with configured(LogConfig(level="info", format="json"), stream=stream):
        yield about


@asynccontextmanager
async def with_liars(
    people: Neighbourhood, directory: Path, lies: Sequence[str], cids: Sequence[Cid]
) -> AsyncIterator[list[Liar]]:
    """Liars that everybody can find, each on a host of its own, who are said to have `cids`."""
    boot = SignedPeerRecord.parse(next(iter(people.nodes.values())).info().spr)
    async with AsyncExitStack() as stack:
        liars = []
        for number, lie in enumerate(lies):
            ip = f"10.0.66.{number + 1}"
            host = people.network.host(ip)
            opened = open_liar(
                lie,
                LIES[lie],
                Content.of(CONTENT),
                transport=host.transport,
                open_socket=host.bind,
                address=Multiaddr.of(("ip4", ip), ("tcp", "8070")),
                bootstrap=[boot],
                directory=directory / f"liar {number}",
            )
            liars.append(await stack.enter_async_context(opened))
            await announce(liars[-1], *cids)
        yield liars


async def retrieved(node: Node, cid: Cid) -> bytes:
    async with node.retrieve(cid) as dataset:
        return await dataset.read()


async def acquainted(people: Neighbourhood, liars: Sequence[Liar]) -> None:
    """Connect everybody with the liars, and let pass the time in which what comes unasked may be late."""
    for node in people.nodes.values():
        for liar in liars:
            await node.connect(liar.peer_id)
    await trio.sleep(FORGIVING)


@pytest.mark.parametrize("lie", LIES)
async def test_with_one_honest_node_the_data_come_from_it(
    tmp_path: Path, autojump_clock: MockClock, logged: Callable[[str], list[dict[str, str]]], lie: str
) -> None:
    async with open_test_network("alice", "bob") as people:
        bob = people["bob"]
        cid = await people["alice"].store(CONTENT)
        tree = (await people["alice"].fetch_manifest(cid)).tree_cid
        async with with_liars(people, tmp_path, [lie], [cid, tree]) as [liar]:
            await acquainted(people, [liar])
            before = trio.lowlevel.current_statistics().tasks_living
            started = trio.current_time()
            assert await retrieved(bob, cid) == CONTENT
            assert trio.current_time() - started < 30
            assert liar.asked
            await trio.sleep(1)
            sent_away = [line for line in logged("a peer is sent away") if line["peer"] == str(liar.peer_id)]
            here = [peer.link.peer for peer in bob.peers()]
            if lie in CAUGHT:
                assert len(sent_away) == 1
                assert liar.peer_id not in here
            else:
                assert sent_away == []
            assert all(peer.trade.wants_ours == 0 for peer in bob.peers())
            # One connection more, to alice, or one less.
            assert trio.lowlevel.current_statistics().tasks_living - before <= 24
            space = await bob.space()
            assert space.total_blocks == 41


async def test_with_liars_alone_the_verdict_comes_soon_and_nothing_is_kept(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_test_network("alice", "bob", exchange=ExchangeConfig(timeout=30)) as people:
        cid = await people["alice"].store(CONTENT)
        manifest = await people["alice"].fetch_manifest(cid)
        await people["bob"].fetch_manifest(cid)
        async with with_liars(people, tmp_path, list(LIES), [manifest.tree_cid]) as liars:
            await acquainted(people, liars)
            await people.stop("alice")
            started = trio.current_time()
            with pytest.raises(NotOnNetwork) as verdict:
                await retrieved(people["bob"], cid)
            assert trio.current_time() - started < 180
            assert "sent what is not in it" in verdict.value.message
            assert (await people["bob"].space()).total_blocks == 1


@pytest.mark.parametrize("count", [10, pytest.param(30, marks=pytest.mark.soak)])
async def test_among_many_everybody_gets_it_and_the_liars_are_left_alone(
    tmp_path: Path, autojump_clock: MockClock, logged: Callable[[str], list[dict[str, str]]], count: int
) -> None:
    names = [f"node {number}" for number in range(count)]
    async with open_test_network(*names) as people:
        first, *others = people.nodes.values()
        cid = await first.store(CONTENT)
        tree = (await first.fetch_manifest(cid)).tree_cid
        async with with_liars(people, tmp_path, list(LIES), [cid, tree]) as liars:
            await acquainted(people, liars)

            async def get(node: Node) -> None:
                assert await retrieved(node, cid) == CONTENT

            started = trio.current_time()
            async with trio.open_nursery() as nursery:
                for node in others:
                    nursery.start_soon(get, node)
            assert trio.current_time() - started < 60
            await trio.sleep(10)
            told = [line["peer"] for line in logged("a peer is sent away")]
            known = {str(liar.peer_id) for liar in liars}
            assert set(told) <= known  # nobody honest is
            # Whoever was asked is found out; by each of them once at most.
            caught = {str(liar.peer_id) for liar, lie in zip(liars, LIES, strict=True) if lie in CAUGHT}
            assert set(told) & caught
            assert max(map(told.count, told)) <= count
            for node in people.nodes.values():
                assert all(peer.trade.wants_ours == 0 for peer in node.peers())
