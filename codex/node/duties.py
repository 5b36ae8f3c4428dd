"""What the node does for its sales: has a slot here, proves it, keeps it, lets it go.

The only way from sales to the node, which stands above them: they ask over a mailbox that they are given.
What the chain says is not believed: a request is served only where its terms are those of its manifest.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import trio
from attrs import frozen

from codex.codec import Cid
from codex.data import Block, Manifest
from codex.errors import CodexError, DecodeError, InvalidInput, NotADataset, ServiceUnavailable
from codex.logs import get_logger
from codex.market import Groth16Proof, Slot
from codex.node.finding import Finder
from codex.node.hosting import Hosting
from codex.node.hosting import Slot as HostedSlot
from codex.node.proving import slot_inputs
from codex.proofs import Prover
from codex.runtime import Inbox, serve
from codex.sales import OnClear, OnExpiryUpdate, OnLook, OnProve, OnStore, OnTidy
from codex.slots import SlotShape

LIMIT = 64
"""Duties in work at once: each slot has at most one, and few are busy at a time."""

log = get_logger("node")


@frozen
class DutiesService:
    """The task behind `codex.sales.Duties`. `prover` gives who proves, and raises NotEnabled where nobody
    can.

    Holds no state: what is hosted stands in the store.
    """

    finder: Finder
    hosting: Hosting
    prover: Callable[[], Awaitable[Prover]]

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer until `inbox` ends."""
        await serve(inbox, self._answer, limit=LIMIT, task_status=task_status)

    async def _answer(self, call: Any) -> Any:
        """Do a duty. A bug over one slot must not cost the others: it is told to the one sale alone."""
        try:
            return await self._do(call)
        except CodexError:
            raise
        except Exception as error:
            log.exception("a duty failed over a bug", duty=type(call).__name__)
            raise ServiceUnavailable(
                f"{type(call).__name__} failed over a bug of the node: {type(error).__name__}",
                remedy="the node's log tells more",
            ) from error

    async def _do(self, call: Any) -> Any:
        match call:
            case OnLook(slot):
                return await self._look(slot)
            case OnStore(slot, expiry, repair, reservation):
                return await self._store(slot, expiry, repair, reservation)
            case OnProve(slot, challenge):
                return await self._prove(slot, challenge)
            case OnExpiryUpdate(slot, expiry):
                return await self.hosting.extend(_hosted(slot), expiry)
            case OnClear(slot):
                await self.hosting.clear(str(slot))
                return None
            case OnTidy(kept):
                return await self.hosting.tidy({str(slot) for slot in kept})
        raise TypeError(f"the node has no duty {type(call).__name__}")

    async def _look(self, slot: Slot) -> None:
        hosted = _hosted(slot)
        await self.prover()  # what could not be proved need not be looked at

        await self.hosting.look(hosted, partial(self._find, hosted, slot))

    async def _store(self, slot: Slot, expiry: float, repair: bool, reservation: str | None) -> None:
        await self.prover()  # what could not be proved is not fetched
        hosted = _hosted(slot)
        network = self.finder.network
        await self.hosting.fill(
            hosted,
            expiry,
            find=partial(self._find, hosted, slot),
            network=None if network is None else network.leaves(),
            repair=repair,
            reservation=reservation,
        )
        if network is not None:
            network.stored(hosted.cid)

    async def _find(self, hosted: HostedSlot, slot: Slot) -> tuple[Manifest, Block]:
        manifest, block = await self.finder.look(hosted.cid)
        return checked(manifest, slot), block

    async def _prove(self, slot: Slot, challenge: bytes) -> Groth16Proof:
        prover = await self.prover()
        manifest = checked(await self.finder.find(_hosted(slot).cid, local=True), slot)
        hosting = self.hosting
        return await prover.prove(
            await slot_inputs(hosting.store, hosting.offload, manifest, slot.index, challenge)
        )


def _hosted(slot: Slot) -> HostedSlot:
    """The slot by its manifest. Raises DecodeError for a request that names none."""
    try:
        cid = Cid.from_bytes(slot.request.content.cid)
    except DecodeError as error:
        raise DecodeError(f"the request names no manifest: {error.message}") from error
    return HostedSlot(cid, slot.index, str(slot.id))


def checked(manifest: Manifest, slot: Slot) -> Manifest:
    """The manifest, which is that of the slot's request. Raises NotADataset when it is not."""
    ask, content = slot.request.ask, slot.request.content
    verification = manifest.protection.verification if manifest.protection else None
    if verification is None:
        raise NotADataset("the request's manifest has no slots", remedy="whoever made the request is wrong")
    try:
        shape = SlotShape.of(manifest)
    except InvalidInput as error:
        raise NotADataset(f"the request's manifest makes no sense: {error.message}") from error
    for what, wanted, found in (
        ("slots", ask.slots, shape.slot_count),
        ("bytes a slot", ask.slot_size, shape.slot_size),
        ("as its root", content.merkle_root.hex(), verification.verify_root.digest.hex()),
    ):
        if wanted != found:
            raise NotADataset(
                f"the request has {wanted} {what}, and its manifest {found}",
                remedy="nobody can host it: whoever made the request has to make another one",
            )
    return manifest
