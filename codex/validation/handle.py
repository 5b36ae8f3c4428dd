"""The door of validation."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

from codex.runtime import Lagged, Mailbox
from codex.validation.board import ProofMarked, ValidationBoard
from codex.validation.calls import GetValidated, Validated


class Validation:
    """Marks proofs that hosts did not bring, for a reward."""

    def __init__(self, mailbox: Mailbox, board: ValidationBoard) -> None:
        self._mailbox = mailbox
        self._board = board

    async def validated(self) -> Validated:
        """What is watched, and what was found."""
        return await self._mailbox.ask(GetValidated())

    def events(self, size: int) -> AbstractAsyncContextManager[AsyncIterator[ProofMarked | Lagged]]:
        """Proofs that were marked, for the length of the block; at most `size` wait to be taken."""
        return self._board.events.subscribe(size)
