"""A contract among whole nodes of a town, for tests: what people do in it, and what must be so in the end."""

from collections.abc import Awaitable, Callable

import trio

from codex.codec import Cid
from codex.data import BLOCK_SIZE
from codex.market import RequestId
from codex.node import JobState, Node, Terms
from codex.testing.content import noise

CONTENT = noise(4 * BLOCK_SIZE)
SLOT = 2 * BLOCK_SIZE
"""Bytes of a slot, where `CONTENT` is spread over as many nodes as `TERMS` say."""
TERMS = Terms(
    duration=600,
    proof_probability=1,
    price_per_byte_per_second=2,
    collateral_per_byte=3,
    expiry=300,
    nodes=3,
    tolerance=1,
)
COLLATERAL = SLOT * TERMS.collateral_per_byte


async def offer(node: Node, slots: int = 1, size: int = SLOT) -> None:
    """Offer room for so many slots, on terms that take any request with the collateral of `TERMS`."""
    await node.market.add_availability(
        total=slots * size, duration=10**8, price=1, collateral=slots * size * TERMS.collateral_per_byte
    )


async def buy(node: Node, cid: Cid, terms: Terms = TERMS) -> RequestId:
    """Have a dataset protected, and buy storage for it."""
    job = await node.request_storage(cid, terms)
    ended = await job.wait()
    assert ended.state is JobState.DONE, ended.error
    assert isinstance(ended.result, dict)
    return RequestId.parse(str(ended.result["purchaseId"]))


async def until(reached: Callable[[], Awaitable[bool]], seconds: float = 2000, *, every: float = 1) -> None:
    """Wait until something is so, looking every so many seconds, and for `seconds` at most."""
    with trio.fail_after(seconds):
        while not await reached():  # noqa: ASYNC110 - on virtual time, of what no event tells
            await trio.sleep(every)


async def stands(
    node: Node, id: RequestId, state: str, *, settled: bool = False, seconds: float = 2000, every: float = 1
) -> None:
    """Wait until a purchase stands so, and with `settled` until its money has come back; as `until`."""

    async def reached() -> bool:
        purchase = await node.market.purchase(id)
        assert purchase is not None
        return purchase.state.value == state and (purchase.over or not settled)

    await until(reached, seconds, every=every)


async def let_go(node: Node) -> bool:
    """Whether a host has let go of all slots: all its room is free again, and no block is left of them. What
    collateral was lost, was.
    """
    offered = await node.market.availabilities()
    space = await node.space()
    return (
        all(there.free == there.total and not there.held for there in offered)
        and space.quota_used == 0
        and space.quota_reserved == sum(there.total for there in offered)
        and not await node.market.sales()
    )


async def free(node: Node) -> bool:
    """Whether a host has let go of all slots and has lost nothing over them."""
    return await let_go(node) and not any(there.lost for there in await node.market.availabilities())
