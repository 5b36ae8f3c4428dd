"""What the node does for its sales, also where a request and its manifest do not go together."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from attrs import evolve

from codex.codec import Cid
from codex.data import Manifest
from codex.errors import (
    BlockNotFound,
    CodexError,
    DecodeError,
    NotADataset,
    NotEnabled,
    ServiceUnavailable,
)
from codex.market import Address, Slot, StorageAsk, StorageContent, StorageRequest
from codex.node import Node
from codex.node.duties import DutiesService, checked
from codex.proofs import PlaceholderProver, Prover
from codex.runtime import Inline, Mailbox
from codex.sales import Duties
from codex.slots import SlotShape
from codex.store import NEVER
from codex.testing.content import noise
from codex.testing.nodes import EPOCH, open_test_node

CHALLENGE = bytes(range(32))


async def request_of(node: Node) -> tuple[Manifest, StorageRequest]:
    """A verifiable dataset on the node, and a request for it."""
    job = await node.protect(await node.store(noise(4 * 65536)), 2, 1)
    ended = await job.wait()
    assert isinstance(ended.result, dict)
    cid = Cid.parse(str(ended.result["verifiableCid"]))
    manifest = await node.fetch_manifest(cid)
    assert manifest.protection is not None
    assert manifest.protection.verification is not None
    shape = SlotShape.of(manifest)
    ask = StorageAsk(
        proof_probability=1,
        price_per_byte_per_second=1,
        collateral_per_byte=1,
        slots=shape.slot_count,
        slot_size=shape.slot_size,
        duration=600,
        max_slot_loss=1,
    )
    content = StorageContent(cid.raw, manifest.protection.verification.verify_root.digest)
    return manifest, StorageRequest(
        client=Address(bytes(20)), ask=ask, content=content, expiry=300, nonce=bytes(32)
    )


async def placeholder() -> Prover:
    await trio.lowlevel.checkpoint()
    return PlaceholderProver(Inline())


async def broken() -> Prover:
    await trio.lowlevel.checkpoint()
    raise RuntimeError("a bug")


async def nobody() -> Prover:
    await trio.lowlevel.checkpoint()
    raise NotEnabled("nobody proves here", remedy="somewhere else they do")


@asynccontextmanager
async def on_duty(node: Node, prover: Callable[[], Awaitable[Prover]] = placeholder) -> AsyncIterator[Duties]:
    """The duties of a node, asked as sales do."""
    parts, mailbox = node._running, Mailbox("duties")
    service = DutiesService(parts.finder, parts.hosting, prover)
    async with trio.open_nursery() as nursery:
        await nursery.start(lambda *, task_status: service.run(mailbox.inbox, task_status=task_status))
        yield Duties(mailbox)
        nursery.cancel_scope.cancel()


async def test_a_slot_is_kept_proved_and_let_go(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node, on_duty(node) as duties:
        _, request = await request_of(node)
        slot, until = request.slot(1), int(EPOCH) + 500
        await duties.on_look(slot)
        with pytest.raises(BlockNotFound):
            await duties.on_expiry_update(slot, until)
        await duties.on_store(slot, until, repair=False, reservation=None)
        first = await duties.on_prove(slot, CHALLENGE)
        assert first == await duties.on_prove(slot, CHALLENGE)
        assert first != await duties.on_prove(slot, bytes(32))
        assert first != await duties.on_prove(request.slot(2), CHALLENGE)
        await duties.on_expiry_update(slot, until + 100)
        [hold] = await node._running.store.holds("slot")
        assert (hold.key, hold.expiry) == (str(slot.id), until + 100)
        await duties.on_clear(slot.id)
        await duties.on_clear(slot.id)
        assert await node._running.store.holds("slot") == []


async def test_what_nobody_looks_after_goes(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node, on_duty(node) as duties:
        _, request = await request_of(node)
        for index, expiry in enumerate((NEVER, NEVER, EPOCH + 500)):
            await duties.on_store(request.slot(index), expiry, repair=False, reservation=None)
        await duties.on_tidy([request.slot(1).id])
        held = {hold.key for hold in await node._running.store.holds("slot")}
        assert held == {str(request.slot(index).id) for index in (1, 2)}


def other_terms(request: StorageRequest) -> list[tuple[StorageRequest, str]]:
    ask, content = request.ask, request.content
    return [
        (evolve(request, ask=evolve(ask, slots=4)), "4 slots, and its manifest 3"),
        (evolve(request, ask=evolve(ask, slot_size=1)), "1 bytes a slot"),
        (evolve(request, content=evolve(content, merkle_root=bytes(32))), "as its root"),
    ]


async def test_a_request_that_is_not_that_of_its_manifest_is_not_served(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node, on_duty(node) as duties:
        manifest, request = await request_of(node)
        assert checked(manifest, request.slot(0)) is manifest
        with pytest.raises(NotADataset, match="has no slots"):
            checked(manifest.as_original(), request.slot(0))
        for other, text in other_terms(request):
            with pytest.raises(NotADataset, match=text):
                await duties.on_look(other.slot(0))
            with pytest.raises(NotADataset, match=text):
                await duties.on_store(other.slot(0), int(EPOCH) + 9, repair=False, reservation=None)
            with pytest.raises(NotADataset, match=text):
                await duties.on_prove(other.slot(0), CHALLENGE)
        assert await node._running.store.holds("slot") == []


@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 300])
async def test_a_request_that_names_nothing_is_told_apart(tmp_path: Path, content: bytes) -> None:
    async with open_test_node(tmp_path) as node, on_duty(node) as duties:
        _, request = await request_of(node)
        slot = Slot(evolve(request, content=StorageContent(content, bytes(32))), 0)
        with pytest.raises(DecodeError, match="the request names no manifest: "):
            await duties.on_look(slot)
        with pytest.raises(DecodeError):
            await duties.on_store(slot, int(EPOCH) + 9, repair=False, reservation=None)
        await duties.on_clear(slot.id)


async def test_nothing_is_fetched_that_nobody_could_prove(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node, on_duty(node, nobody) as duties:
        _, request = await request_of(node)
        for call in (
            lambda: duties.on_look(request.slot(0)),
            lambda: duties.on_store(request.slot(0), int(EPOCH) + 9, repair=False, reservation=None),
            lambda: duties.on_prove(request.slot(0), CHALLENGE),
        ):
            with pytest.raises(CodexError) as caught:
                await call()
            assert isinstance(caught.value, NotEnabled)
        assert await node._running.store.holds("slot") == []


async def test_a_bug_over_one_slot_costs_no_other(tmp_path: Path) -> None:
    async with open_test_node(tmp_path) as node, on_duty(node, broken) as duties:
        _, request = await request_of(node)
        for _ in range(10):
            with pytest.raises(ServiceUnavailable, match="OnProve failed over a bug of the node"):
                await duties.on_prove(request.slot(0), CHALLENGE)
        await duties.on_clear(request.slot(0).id)
