"""Time as the chain has it: contracts know the timestamps of blocks, and no other time."""

import trio

from codex.chain.board import ChainBoard


class ChainClock:
    """The chain's time, in its unix seconds: that of the newest block, going on by this node's clock between
    blocks. It may jump, forwards or back, when a block comes with another time than was thought.
    """

    def __init__(self, board: ChainBoard) -> None:
        self._board = board

    async def now(self) -> float:
        """What time it is; waits until a block was seen, ever."""
        while (now := self._board.now()) is None:
            await self._board.next_head(None)
        return now

    async def until(self, moment: float) -> None:
        """Wait until it is `moment`, as far as can be told: the next block has this time, or a later one.

        Goes on with the clock of this node while no provider answers.
        """
        await trio.lowlevel.checkpoint()
        while (left := moment - await self.now()) > 0:
            with trio.move_on_after(left):
                await self._board.next_head(self._board.head)
