"""Many nodes, each a process on real sockets: swarm, Theseus, one that falls silent, and one that lies."""

import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from codex.testing.content import noise

# What the fixtures of this directory are; see conftest.py.
Start = Callable[..., Awaitable[Any]]

SIZE = 1_000_000
LYING = str(Path(__file__).with_name("lying.py"))


async def spr(node: Any) -> str:
    """The record of a node, for others to ask it first."""
    return str((await node.client.get("/spr")).json()["spr"])


async def join(start: Start, home: Path, *others: Any, options: tuple[str, ...] = ()) -> Any:
    """A node that knows those others, and nobody else."""
    boot = [f"--bootstrap-node={await spr(other)}" for other in others]
    return await start(f"--data-dir={home}", "--api-port=0", *boot, *options)


async def put(node: Any, content: bytes) -> str:
    reply = await node.client.post("/data", content)
    assert reply.status == 200, reply.text
    return str(reply.text)


async def get(node: Any, cid: str) -> bytes:
    """A dataset from wherever it is, to the last byte."""
    reply = await node.client.get(f"/data/{cid}/network/stream")
    assert reply.status == 200, reply.text
    return bytes(reply.body)


async def refused(node: Any, cid: str) -> str:
    """What is said of a dataset that cannot be had."""
    reply = await node.client.get(f"/data/{cid}/network/stream")
    assert reply.status == 404
    return str(reply.text)


@pytest.mark.parametrize("count", [5, pytest.param(10, marks=pytest.mark.soak)])
async def test_everyone_gets_what_everyone_has(start: Start, tmp_path: Path, count: int) -> None:
    nodes = [await join(start, tmp_path / "node0")]

    async def another(number: int) -> None:
        nodes.append(await join(start, tmp_path / f"node{number}", nodes[0]))

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for number in range(1, count):
                nursery.start_soon(another, number)
        contents = [noise(SIZE, str(number)) for number in range(count)]
        files = {await put(node, content): content for node, content in zip(nodes, contents, strict=True)}

        async def download(node: Any, order: list[str]) -> None:
            for cid in order:
                assert await get(node, cid) == files[cid]

        chance = random.Random(1)
        async with trio.open_nursery() as nursery:
            for node in nodes:
                nursery.start_soon(download, node, chance.sample(list(files), count))
        for node in nodes:
            listed = (await node.client.get("/data")).json()["content"]
            assert {item["cid"] for item in listed} == set(files)
            assert "Traceback" not in node.said


@pytest.mark.parametrize("count", [2, pytest.param(5, marks=pytest.mark.soak)])
async def test_the_data_outlive_every_process_that_they_began_in(
    start: Start, tmp_path: Path, count: int
) -> None:
    first = [await join(start, tmp_path / "node0")]
    for number in range(1, count):
        first.append(await join(start, tmp_path / f"node{number}", first[0]))
    files = {
        await put(node, content): content for node, content in zip(first, contents_of(count), strict=True)
    }
    for node in first:
        for cid, content in files.items():
            assert await get(node, cid) == content
    nodes = list(first)
    for number in range(count, 2 * count):
        # A new one joins by the youngest, gets everything, and the oldest leaves.
        fresh = await join(start, tmp_path / f"node{number}", nodes[-1])
        oldest = nodes.pop(0)
        assert await oldest.end(signal.SIGTERM) == 0
        assert "Traceback" not in oldest.said
        nodes.append(fresh)
        for cid, content in files.items():
            assert await get(fresh, cid) == content
    assert not set(first) & set(nodes)


def contents_of(count: int) -> list[bytes]:
    return [noise(SIZE // 2, f"file {number}") for number in range(count)]


async def test_one_that_falls_silent_holds_nobody_up_and_is_found_again(start: Start, tmp_path: Path) -> None:
    options = ("--fetch-timeout=4s",)
    alice = await join(start, tmp_path / "alice")
    bob = await join(start, tmp_path / "bob", alice, options=options)
    carol = await join(start, tmp_path / "carol", alice, bob, options=options)
    shared, only, mine = noise(SIZE, "shared"), noise(SIZE, "only"), noise(SIZE, "mine")
    both, hers, his = await put(alice, shared), await put(alice, only), await put(bob, mine)
    assert await get(bob, both) == shared
    alice.process.send_signal(signal.SIGSTOP)
    with trio.fail_after(60):
        # The others go on among themselves, also with what was had of the one who is silent.
        assert await get(carol, his) == mine
        assert await get(carol, both) == shared
        assert "could not be had from the network" in await refused(carol, hers)
    alice.process.send_signal(signal.SIGCONT)
    with trio.fail_after(60):
        reply = await carol.client.get(f"/data/{hers}/network/stream")
        while reply.status != 200:  # each verdict takes its time
            reply = await carol.client.get(f"/data/{hers}/network/stream")
    assert reply.body == only
    for node in (alice, bob, carol):
        assert await node.end(signal.SIGTERM) == 0
        assert "Traceback" not in node.said


@pytest.mark.parametrize(
    "lie",
    [
        "wrong blocks",
        *(pytest.param(lie, marks=pytest.mark.soak) for lie in ("wrong proofs", "other blocks", "boast")),
    ],
)
async def test_though_a_process_lies_the_truth_arrives_and_the_liar_is_sent_away(
    start: Start, tmp_path: Path, lie: str
) -> None:
    content = noise(SIZE)
    await trio.Path(tmp_path / "content").write_bytes(content)
    alice = await join(start, tmp_path / "alice")
    cid = await put(alice, content)
    words = (lie, str(tmp_path / "content"), await spr(alice), str(tmp_path / "liar"), cid)
    liar = await start(*words, program=(LYING,), says="announced")
    bob = await join(start, tmp_path / "bob", alice)
    name = liar.said.partition("announced by ")[2].split()[0]
    assert (await bob.client.get(f"/connect/{name}")).status == 200
    assert (await bob.client.get(f"/data/{cid}/network/manifest")).status == 200

    async def download() -> None:
        assert await get(bob, cid) == content

    async with trio.open_nursery() as nursery:
        if lie != "boast":  # whoever only boasts is passed over
            # Whoever is fast would have given everything before the liar has said a word.
            alice.process.send_signal(signal.SIGSTOP)
        nursery.start_soon(download)
        if lie != "boast":
            await bob.hear("sent away")
            alice.process.send_signal(signal.SIGCONT)
    told = [line for line in bob.said.splitlines() if "sent away" in line]
    assert [name in line for line in told] == [True] * (lie != "boast")
    assert liar.process.returncode is None
    assert await bob.end(signal.SIGTERM) == 0
    assert "Traceback" not in bob.said + liar.said
