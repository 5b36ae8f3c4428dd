"""The door of the chain: typed methods over its mailbox, and what the board shows."""

from collections.abc import Sequence

from codex.chain import calls
from codex.chain.board import ChainBoard
from codex.chain.clock import ChainClock
from codex.chain.values import BlockTag, ChainState, Connected, Header, Log, Receipt, Spending
from codex.errors import ServiceUnavailable
from codex.market import Address
from codex.runtime import Mailbox

MARGIN = 1.1
"""Gas allowed for each unit that a transaction is thought to take. What is not used is not paid."""


class Chain:
    """A chain with contracts, read through a provider and written to with this node's account.

    While no provider answers, every method that asks one waits some seconds for it to come back, and then
    raises ChainUnreachable. An error of the provider's own is ChainFailed, and what it says that cannot be
    read is DecodeError.
    """

    def __init__(self, mailbox: Mailbox, board: ChainBoard) -> None:
        self._mailbox = mailbox
        self._board = board
        self.clock = ChainClock(board)

    @property
    def state(self) -> ChainState:
        """Whether a provider answers, since when, and if not, why."""
        return self._board.state

    @property
    def head(self) -> Header | None:
        """The newest block that was seen."""
        return self._board.head

    @property
    def account(self) -> Address:
        """The account that this node signs for. Raises ServiceUnavailable before the service has started."""
        if self._board.account is None:
            raise ServiceUnavailable("the chain service has not started yet")
        return self._board.account

    async def connected(self) -> Connected:
        """Wait, as long as it takes, until a provider answers."""
        return await self._board.connected()

    async def next_head(self, after: Header | None) -> Header:
        """Wait, as long as it takes, until the newest block is another than `after`."""
        return await self._board.next_head(after)

    async def call(self, to: Address, payload: bytes, block: BlockTag = "latest") -> bytes:
        """What a contract answers to a call, in this account's name and as of `block`; nothing is changed.

        Raises ChainRefused, or one of its kinds, when the contract refuses.
        """
        return await self._mailbox.ask(calls.CallContract(to, payload, block))

    async def send(
        self, to: Address, payload: bytes, *, margin: float = MARGIN, spending: Spending | None = None
    ) -> Receipt:
        """Call a contract in a transaction, and return its receipt once it is in a block.

        `spending` is what the contract takes of this account's tokens: that it may is seen to first, in a
        transaction of its own where needed. Transactions go out in the order in which this is called by one
        task. Gas and funds are checked before anything is sent.

        Raises ChainRefused, or one of its kinds, when the contract refuses, InsufficientFunds, and
        TransactionUnsettled when it is not known whether the transaction is done. Cancelling it after it was
        sent does not undo it.
        """
        return await self._mailbox.ask(calls.Transact(to, payload, margin, spending))

    async def chain_id(self) -> int:
        """The number by which the chain is known. It stays what it was when a provider first answered."""
        if self._board.chain is not None:
            return self._board.chain
        return await self._mailbox.ask(calls.GetChain())

    async def header(self, number: int | None = None) -> Header | None:
        """The block of this number, None when there is none yet; by default the newest one."""
        return await self._mailbox.ask(calls.GetHeader(number))

    async def logs(self, address: Address, first: int, last: int, topics: Sequence[bytes]) -> tuple[Log, ...]:
        """What a contract said in the blocks from `first` to `last`, both included, under any of `topics`.

        Raises ChainFailed also when that is more than the provider gives at once.
        """
        return await self._mailbox.ask(calls.GetLogs(address, first, last, tuple(topics)))

    async def logs_of(self, address: Address, block: Header, topics: Sequence[bytes]) -> tuple[Log, ...]:
        """What a contract said in one block, under any of `topics`.

        Raises ChainFailed also when whoever answers does not have this very block.
        """
        return await self._mailbox.ask(calls.GetLogsOf(address, block, tuple(topics)))

    async def balance(self, account: Address | None = None) -> int:
        """What an account, by default this node's, has for paying for transactions. In wei."""
        return await self._mailbox.ask(calls.GetBalance(account or self.account))

    async def gas_price(self) -> int:
        """What a transaction that is sent now offers for a unit of gas at most; the account must have it.
        In wei.
        """
        return await self._mailbox.ask(calls.GetGasPrice())

    async def waiting(self) -> int:
        """How many transactions of this account wait for a block, those of former lives too, as far as the
        provider knows.
        """
        return await self._mailbox.ask(calls.CountWaiting())

    async def block_at(self, moment: int) -> int:
        """The number of the first block of `moment` (chain time) or later; the one after the newest when
        there is none yet.
        """
        head = await self.header()
        low, high = 0, head.number + 1 if head is not None else 0
        while low < high:
            middle = (low + high) // 2
            header = await self.header(middle)
            if header is not None and header.timestamp < moment:
                low = middle + 1
            else:
                high = middle
        return low
