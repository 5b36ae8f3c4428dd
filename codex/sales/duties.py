"""What a sale has done by the node: fetching a slot, proving it, keeping it, letting it go.

Sales stand below the node and know it by a mailbox only, which they are given. The node answers, each call in
a task of its own (`codex.runtime.serve`); a duty that fails raises its CodexError at the sale.
"""

from collections.abc import Collection

from attrs import frozen

from codex.market import Groth16Proof, Slot, SlotId
from codex.runtime import Call, Mailbox


@frozen
class OnLook(Call[None]):
    """See whether the slot is one that can be hosted: its manifest is fetched and compared with the request.
    Nothing of it is kept.

    Raises InvalidInput (DecodeError), NotADataset or NotAManifest where nobody ever can, and anything else
    where that cannot be told now.
    """

    slot: Slot


@frozen
class OnStore(Call[None]):
    """Have all blocks of the slot here, and keep them until `expiry` (unix seconds of this machine, whose
    clock need not be the chain's; NEVER for until they are cleared), with their tree.

    `repair`: another host has lost it, and blocks may have to be rebuilt from those of other slots. Room for
    blocks that are new comes out of `reservation`. May be asked again: what is here already is not fetched.
    Raises as OnLook, too.
    """

    slot: Slot
    expiry: float
    repair: bool
    reservation: str | None


@frozen
class OnProve(Call[Groth16Proof]):
    """Prove that the slot is here, for a challenge of 32 bytes."""

    slot: Slot
    challenge: bytes


@frozen
class OnExpiryUpdate(Call[None]):
    """Keep the slot until `expiry`, as OnStore, at least. Raises NotFound when it is not here."""

    slot: Slot
    expiry: float


@frozen
class OnClear(Call[None]):
    """The slot need not be kept any more. Nothing happens when it is not. Its request need not be known."""

    slot: SlotId


@frozen
class OnTidy(Call[None]):
    """Of the slots that are kept until they are cleared, clear all but these: nobody else will."""

    kept: frozenset[SlotId]


class Duties:
    """The asking side."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def on_look(self, slot: Slot) -> None:
        """As OnLook."""
        await self._mailbox.ask(OnLook(slot))

    async def on_store(self, slot: Slot, expiry: float, *, repair: bool, reservation: str | None) -> None:
        """As OnStore."""
        await self._mailbox.ask(OnStore(slot, expiry, repair, reservation))

    async def on_prove(self, slot: Slot, challenge: bytes) -> Groth16Proof:
        """As OnProve."""
        return await self._mailbox.ask(OnProve(slot, challenge))

    async def on_expiry_update(self, slot: Slot, expiry: float) -> None:
        """As OnExpiryUpdate."""
        await self._mailbox.ask(OnExpiryUpdate(slot, expiry))

    async def on_clear(self, slot: SlotId) -> None:
        """As OnClear."""
        await self._mailbox.ask(OnClear(slot))

    async def on_tidy(self, kept: Collection[SlotId]) -> None:
        """As OnTidy."""
        await self._mailbox.ask(OnTidy(frozenset(kept)))
