"""Nodes that hold rows of a protected dataset, and somebody who wants it: whole, though rows are gone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from codex.codec import Multiaddr
from codex.errors import NotOnNetwork
from codex.node import JobState, Node
from codex.p2p import SignedPeerRecord
from codex.testing.cancelling import cancel_at_every_checkpoint
from codex.testing.content import damage, noise
from codex.testing.liars import LIES, Content, open_liar
from codex.testing.neighbourhood import Neighbourhood, open_test_network
from codex.testing.network import MemoryNetwork
from codex.testing.nodes import holdings, store_of
from codex.testing.rows import Protected, protect

SIZE = 1024
DATASET = protect(noise(40 * SIZE - 9), 4, 2, SIZE)
STEPS = DATASET.layout.steps
TOTAL = DATASET.layout.total


@pytest.fixture
async def people() -> AsyncIterator[Neighbourhood]:
    """Alice and carol, who know each other."""
    async with open_test_network("alice", "carol") as people:
        await meet(people, "alice")
        yield people


async def meet(people: Neighbourhood, *names: str) -> None:
    """Connect carol to these."""
    for name in names:
        info = people[name].info()
        await people["carol"].connect(info.peer_id, info.announced)


async def give(people: Neighbourhood, dataset: Protected, **rows: tuple[int, ...]) -> None:
    """Let people have these rows and the manifest, and nothing else of the dataset."""
    for name, numbers in rows.items():
        await people[name].delete(dataset.cid)
        await dataset.keep(store_of(people[name]), sorted(dataset.leaves(*numbers)))


async def read(node: Node, dataset: Protected, offset: int = 0, length: int | None = None) -> bytes:
    async with node.retrieve(dataset.cid, offset=offset, length=length) as found:
        return await found.read()


async def here(node: Node, dataset: Protected) -> set[int]:
    leaves = await store_of(node).leaves(dataset.manifest.tree_cid, 0, dataset.layout.total)
    assert leaves == [dataset.leaf(leaf.index) for leaf in leaves]
    return {leaf.index for leaf in leaves}


def idle(node: Node) -> bool:
    """Whether the node wants nothing of others any more."""
    trades = node.trades()
    return trades is not None and not any(trade.wants_ours for trade in trades)


async def test_any_four_of_six_rows_are_enough(autojump_clock: MockClock) -> None:
    patterns = (
        ((0, 2), (3, 4)),
        ((1, 2, 3), (5,)),
        ((0, 1), (4, 5)),
        ((2, 3, 4, 5), ()),
        ((0, 1, 2), (2, 3)),
    )
    async with open_test_network() as people:
        await meet(people, "alice", "bob")
        for alice, bob in patterns:
            await give(people, DATASET, alice=alice, bob=bob, carol=())
            began = trio.current_time()
            assert await read(people["carol"], DATASET) == DATASET.content
            assert trio.current_time() - began < 60
            assert set(range(DATASET.layout.blocks)) <= await here(people["carol"], DATASET)
            assert idle(people["carol"])
        await people.stop("alice")
        await people.stop("bob")
        assert await read(people["carol"], DATASET) == DATASET.content


async def test_a_range_of_a_lost_row(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, DATASET, alice=(0, 1, 3, 5))
    offset = DATASET.layout.index(2, 3) * SIZE + 5
    assert await read(people["carol"], DATASET, offset, 1500) == DATASET.content[offset : offset + 1500]
    assert DATASET.leaves(2) <= await here(people["carol"], DATASET)


async def test_with_three_rows_the_verdict_says_what_is_lost(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, DATASET, alice=(0, 1, 5))
    began = trio.current_time()
    with pytest.raises(
        NotOnNetwork, match=r"column 0 takes K = 4 of its 6 blocks and has 3, for rows 2, 3, 4"
    ):
        await read(people["carol"], DATASET)
    assert trio.current_time() - began < 120
    assert await read(people["carol"], DATASET, 0, 2 * STEPS * SIZE) == DATASET.content[: 2 * STEPS * SIZE]
    assert idle(people["carol"])


async def test_a_fetch_is_done_although_rows_are_gone(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    await give(people, DATASET, alice=(0, 2, 3, 4))
    job = await people["carol"].fetch_dataset_async_task(DATASET.cid)
    view = await job.wait()
    assert (view.state, view.result) == (JobState.DONE, {"blocks": TOTAL})
    assert await here(people["carol"], DATASET) == set(range(TOTAL))
    assert view.bytes_done == view.bytes_total
    assert idle(people["carol"])


async def test_the_bytes_end_where_they_are_lost_and_not_before(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    # Of row 1 a leaf in column 2 is lost, which can be had again, and one in column 5, which cannot.
    lost = {DATASET.layout.index(row, column) for row, column in ((1, 2), (1, 5), (0, 5), (4, 5))}
    await give(people, DATASET, alice=())
    await DATASET.put(store_of(people["alice"]), DATASET.others(lost))
    got = bytearray()

    async def gather() -> None:
        async with people["carol"].retrieve(DATASET.cid, offset=STEPS * SIZE) as found:
            async for piece in found:
                got.extend(piece)

    with pytest.raises(NotOnNetwork, match="column 5 takes K = 4"):
        await gather()
    assert bytes(got) == DATASET.content[STEPS * SIZE : (STEPS + 5) * SIZE]


@pytest.mark.parametrize("lie", ["wrong blocks", "wrong proofs", "boast"])
async def test_rows_of_a_liar_count_as_lost(
    people: Neighbourhood, tmp_path: Path, lie: str, autojump_clock: MockClock
) -> None:
    await give(people, DATASET, alice=(0, 2, 4, 5))
    host = people.network.host("10.0.66.1")
    async with open_liar(
        lie,
        LIES[lie],
        Content(DATASET.blocks, DATASET.tree),
        transport=host.transport,
        open_socket=host.bind,
        address=Multiaddr.parse("/ip4/10.0.66.1/tcp/8070"),
        bootstrap=[SignedPeerRecord.parse(people["alice"].info().spr)],
        directory=tmp_path / "liar",
    ) as liar:
        await liar.discovery.wait_for_peers()
        await people["carol"].connect(liar.peer_id)
        began = trio.current_time()
        assert await read(people["carol"], DATASET) == DATASET.content
        assert trio.current_time() - began < 120
        assert liar.asked
    assert DATASET.leaves(0, 1, 2) <= await here(people["carol"], DATASET)
    assert idle(people["carol"])


async def test_a_repair_takes_rows_of_others(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, DATASET, alice=(0, 1), carol=(3, 4))
    view = await (await people["carol"].verify(DATASET.cid, repair=True)).wait()
    assert view.error is None
    assert isinstance(view.result, dict)
    assert (view.result["sound"], view.result["repaired"], view.result["spare"]) == (True, 4 * STEPS, 2)
    assert await here(people["carol"], DATASET) == set(range(TOTAL))


async def test_damaged_rows_count_as_lost(people: Neighbourhood, autojump_clock: MockClock) -> None:
    await give(people, DATASET, alice=(0, 1, 2, 3, 4, 5))
    for index in sorted(DATASET.leaves(1)):
        damage(people["alice"].config.data_dir, bytes(DATASET.blocks[index].data))
    assert await read(people["carol"], DATASET) == DATASET.content
    assert DATASET.leaves(1) <= await here(people["carol"], DATASET)


@pytest.mark.parametrize("silent", [True, False])
async def test_providers_that_vanish_midway(silent: bool, autojump_clock: MockClock) -> None:
    dataset = protect(noise(300 * SIZE), 3, 3, SIZE)
    network = MemoryNetwork(bandwidth=60_000)
    async with open_test_network(network=network) as people:
        await meet(people, "alice", "bob")
        await give(people, dataset, alice=(0, 1, 2), bob=(3, 4, 5))
        got, began = b"", trio.current_time()
        async with people["carol"].retrieve(dataset.cid) as found:
            async for piece in found:
                if not got:
                    network.crash(people.ip("alice"), silent=silent)
                    del people.nodes["alice"]
                got += piece
        assert got == dataset.content
        assert trio.current_time() - began < 120
        assert idle(people["carol"])
        # Alice never ends in good order: what is left of her ends with the test.
        people.nursery.cancel_scope.cancel()


async def test_cancelled_at_any_step_nothing_is_wanted_any_more(
    people: Neighbourhood, autojump_clock: MockClock
) -> None:
    dataset = protect(noise(2 * SIZE), 2, 1, SIZE)
    await give(people, dataset, alice=(0, 2))
    carol = people["carol"]
    before = await holdings(carol)

    async def retrieve() -> None:
        assert await read(carol, dataset) == dataset.content

    async def check() -> None:
        await trio.sleep(1)
        assert idle(carol)
        await carol.delete(dataset.cid)
        await store_of(carol).maintain()
        assert await holdings(carol) == before

    assert await cancel_at_every_checkpoint(retrieve, check, own_only=True) > 5


async def test_a_row_that_only_trickles_in_is_put_off(autojump_clock: MockClock) -> None:
    dataset = protect(noise(2000 * SIZE), 4, 2, SIZE)
    async with open_test_network("alice", "carol") as people:
        await people.add("bob", upload_limit=14_000)  # bytes a second: a row takes forty
        await meet(people, "alice", "bob")
        await dataset.keep(store_of(people["alice"]), sorted(dataset.leaves(1, 2, 3, 4, 5)))
        await dataset.keep(store_of(people["bob"]), sorted(dataset.leaves(0)))
        began = trio.current_time()
        view = await (await people["carol"].fetch_dataset_async_task(dataset.cid)).wait()
        assert view.state is JobState.DONE
        assert view.bytes_done == view.bytes_total
        assert trio.current_time() - began < 40
        assert await here(people["carol"], dataset) == set(range(dataset.layout.total))
