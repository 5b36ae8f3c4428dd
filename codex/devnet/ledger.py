"""What a chain remembers: its blocks, what became of transactions, and the state after every block.

The machine holds one state, that after the last block. To look at an earlier one it goes back, and then runs
again what came since: the same transactions lead to the same state.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from attrs import frozen

from codex.devnet.errors import LIMIT_EXCEEDED, REFUSED, Refused
from codex.devnet.evm import Evm, Mark
from codex.devnet.transactions import read
from codex.devnet.values import (
    GAS_LIMIT,
    Block,
    Filter,
    Log,
    Message,
    Outcome,
    Receipt,
    Surroundings,
    Transaction,
    keccak256,
)

LOWEST_BASE_FEE = 10**9
"""Wei. A base fee does not fall below it, so that fees are seen in balances even on an idle chain."""
WEALTH = 10**40
"""Wei of the account that all others are funded from: more than anybody spends."""
LOGS = 10_000
"""Logs in one answer."""
FEE_RECIPIENT = keccak256(b"codex devnet: fees")[-20:]
_SOURCE = keccak256(b"codex devnet: source")[-20:]


@frozen
class Recorded:
    """What has to be known of a block to make it again.

    `transactions` are the bytes that were sent; `gifts` are accounts with the wei that each got while this
    block was the last.
    """

    timestamp: int
    branch: int
    transactions: tuple[bytes, ...]
    gifts: tuple[tuple[bytes, int], ...]


class Ledger:
    """The blocks of one chain, oldest first, and the machine in the state after the last of them."""

    def __init__(self, chain_id: int, timestamp: int) -> None:
        """A ledger of one empty block of that time. Raises NoEmbeddedChain."""
        self._chain_id = chain_id
        self._branch = 0
        self._evm = Evm(chain_id)
        self._evm.grant(_SOURCE, WEALTH)
        self._nonces: dict[bytes, int] = {}
        self._receipts: dict[bytes, Receipt] = {}
        self._numbers: dict[bytes, int] = {}
        self._blocks: list[Block] = []
        # The state after each block, to go back to.
        self._marks: list[Mark] = []
        # Wei that came or went between blocks: with which block it counts, whose, how many.
        self._gifts: dict[int, list[tuple[bytes, int]]] = {}
        self._append(self._sealed(self.around(timestamp), []))

    @classmethod
    def replayed(cls, chain_id: int, blocks: Iterable[Recorded]) -> "Ledger":
        """The ledger whose `recorded` are those blocks, of which there is one at least. Raises Refused."""
        first, *rest = blocks
        ledger = cls(chain_id, first.timestamp)
        ledger._get(first.gifts)
        for block in rest:
            ledger._branch = block.branch
            ledger.add(block.timestamp, map(read, block.transactions), lambda _: None)
            ledger._get(block.gifts)
        return ledger

    # What is.

    def recorded(self) -> Iterator[Recorded]:
        """Yield what `replayed` makes this ledger of."""
        for block in self._blocks:
            sent = tuple(receipt.transaction.raw for receipt in block.receipts)
            yield Recorded(block.timestamp, block.branch, sent, tuple(self._gifts.get(block.number, ())))

    @property
    def latest(self) -> Block:
        """The last block."""
        return self._blocks[-1]

    def block(self, number: int) -> Block:
        """The block of that number. Raises Refused."""
        if not 0 <= number < len(self._blocks):
            raise Refused(REFUSED, "header not found")
        return self._blocks[number]

    def number_of(self, hash: bytes) -> int | None:
        """The number of the block with that hash, as long as it is part of the chain."""
        return self._numbers.get(hash)

    def receipt(self, hash: bytes) -> Receipt | None:
        """What became of the transaction of that hash, once it is in a block."""
        return self._receipts.get(hash)

    def logs(self, wanted: Filter, first: int, last: int) -> list[Log]:
        """The logs of blocks `first` to `last` that `wanted` takes. Raises Refused for more than LOGS."""
        found: list[Log] = []
        for block in self._blocks[max(first, 0) : max(last + 1, 0)]:
            for receipt in block.receipts:
                found += [log for log in receipt.logs if wanted.takes(log.event)]
            if len(found) > LOGS:
                raise Refused(LIMIT_EXCEEDED, f"query returned more than {LOGS} results")
        return found

    def nonce(self, account: bytes, at: int | None = None) -> int:
        """How many transactions of the account are in blocks, up to number `at` (default: all)."""
        now = self._nonces.get(account, 0)
        if at is None:
            return now
        later = (receipt.transaction for block in self._blocks[at + 1 :] for receipt in block.receipts)
        return min((transaction.nonce for transaction in later if transaction.sender == account), default=now)

    def balance(self, account: bytes, at: int | None = None) -> int:
        """Wei of the account, after block `at` (default: the last)."""
        with self._state(at):
            return self._evm.balance(account)

    def code(self, account: bytes, at: int | None = None) -> bytes:
        """The account's code, after block `at`."""
        with self._state(at):
            return self._evm.code(account)

    def storage(self, account: bytes, index: int, at: int | None = None) -> int:
        """A word of the account's storage, after block `at`."""
        with self._state(at):
            return self._evm.storage(account, index)

    def ask(self, message: Message, around: Surroundings) -> Outcome:
        """Run `message` on the state as it is, without effect."""
        return self._evm.ask(message, around)

    def ask_at(self, message: Message, at: int) -> Outcome:
        """Run `message` after block `at` and as part of it, without effect."""
        with self._state(at):
            return self._evm.ask(message, _around_of(self._blocks[at]))

    def next_fee(self) -> int:
        """The base fee of the next block, in wei: the last one's, and up to an eighth more or less, as that
        block was full or empty.
        """
        if not self._blocks:
            return LOWEST_BASE_FEE
        last, target = self.latest, GAS_LIMIT // 2
        change = last.base_fee * (last.gas_used - target) // target // 8
        return max(last.base_fee + change, LOWEST_BASE_FEE)

    def around(self, timestamp: int) -> Surroundings:
        """What contracts see in a block after the last, of that time."""
        return Surroundings(len(self._blocks), timestamp, self.next_fee(), GAS_LIMIT, FEE_RECIPIENT)

    # What is done.

    def add(
        self, timestamp: int, transactions: Iterator[Transaction], taken: Callable[[Transaction], None]
    ) -> Block:
        """Add a block of that time with as many of `transactions` as find room, and return it.

        Of each that is not left for a later block `taken` is told before it runs; whoever gives them then
        gives what follows. One that cannot be paid any more, or that the machine does not begin, is in none.
        """
        around = self.around(timestamp)
        done: list[tuple[Transaction, Outcome]] = []
        room = GAS_LIMIT
        for transaction in transactions:
            if transaction.gas > room:
                break
            taken(transaction)
            # It could be paid when it came; something before it may have taken the money.
            if not self.can_pay(transaction):
                continue
            try:
                outcome = self._run(transaction, around)
            except Refused:
                # Code that is too long, a sender that is a contract: nothing has run, and nobody pays.
                continue
            done.append((transaction, outcome))
            room -= outcome.gas_used
        block = self._sealed(around, done)
        self._append(block)
        return block

    def cut(self, depth: int) -> list[Block]:
        """Take the last `depth` blocks off, and with them all that they led to. Returns them, oldest first.

        What comes after is another branch, whose blocks differ from these even with the same content.
        """
        self._branch += 1
        kept = len(self._blocks) - depth
        removed = self._blocks[kept:]
        del self._blocks[kept:]
        self._go_back(kept - 1)
        for block in reversed(removed):
            del self._numbers[block.hash]
            for receipt in reversed(block.receipts):
                del self._receipts[receipt.transaction.hash]
                self._nonces[receipt.transaction.sender] = receipt.transaction.nonce
        self._gifts = {number: gifts for number, gifts in self._gifts.items() if number < kept}
        return removed

    def can_pay(self, transaction: Transaction) -> bool:
        """Whether its sender has what it may cost."""
        return self._evm.balance(transaction.sender) >= transaction.cost

    def set_balance(self, account: bytes, amount: int) -> None:
        """Let the account have so many wei from now on."""
        self._get([(account, amount - self._evm.balance(account))])

    # How it is done.

    def _run(self, transaction: Transaction, around: Surroundings) -> Outcome:
        sender = transaction.sender
        message = Message(
            sender, transaction.to, transaction.data, transaction.value, transaction.gas, transaction.nonce
        )
        outcome = self._evm.run(message, around)
        self._evm.move(sender, FEE_RECIPIENT, outcome.gas_used * transaction.price(around.base_fee))
        self._nonces[sender] = transaction.nonce + 1
        return outcome

    def _sealed(self, around: Surroundings, done: Sequence[tuple[Transaction, Outcome]]) -> Block:
        """The block of those transactions, with its receipts."""
        parent = self._blocks[-1].hash if self._blocks else bytes(32)
        header = [around.number, around.timestamp, around.base_fee, self._branch, self._chain_id]
        hash = keccak256(
            parent
            + b"".join(number.to_bytes(32, "big") for number in header)
            + b"".join(transaction.hash for transaction, _ in done)
        )
        receipts: list[Receipt] = []
        gas = logs = 0
        for index, (transaction, outcome) in enumerate(done):
            gas += outcome.gas_used
            said = tuple(
                Log(event, around.number, hash, transaction.hash, index, number)
                for number, event in enumerate(outcome.events, start=logs)
            )
            logs += len(said)
            price = transaction.price(around.base_fee)
            receipts.append(Receipt(transaction, index, around.number, hash, outcome, gas, price, said))
        return Block(
            number=around.number,
            hash=hash,
            parent=parent,
            timestamp=around.timestamp,
            base_fee=around.base_fee,
            gas_limit=around.gas_limit,
            gas_used=gas,
            fee_recipient=around.fee_recipient,
            branch=self._branch,
            receipts=tuple(receipts),
        )

    def _append(self, block: Block) -> None:
        self._blocks.append(block)
        self._marks.append(self._evm.mark())
        self._numbers[block.hash] = block.number
        for receipt in block.receipts:
            self._receipts[receipt.transaction.hash] = receipt

    def _go_back(self, number: int) -> None:
        self._evm.back(self._marks[number])
        del self._marks[number:]
        self._marks.append(self._evm.mark())

    @contextmanager
    def _state(self, at: int | None) -> Iterator[None]:
        """Have the machine in the state after block `at` for the length of the block, then as it was."""
        if at is None or at >= self.latest.number:
            yield
            return
        self._go_back(at)
        try:
            yield
        finally:
            for block in self._blocks[at + 1 :]:
                for receipt in block.receipts:
                    self._run(receipt.transaction, _around_of(block))
                for account, gift in self._gifts.get(block.number, ()):
                    self._give(account, gift)
                self._marks.append(self._evm.mark())

    def _get(self, gifts: Iterable[tuple[bytes, int]]) -> None:
        for account, gift in gifts:
            self._gifts.setdefault(self.latest.number, []).append((account, gift))
            self._give(account, gift)
        self._marks[-1] = self._evm.mark()

    def _give(self, account: bytes, gift: int) -> None:
        giver, taker = (_SOURCE, account) if gift >= 0 else (account, _SOURCE)
        self._evm.move(giver, taker, abs(gift))


def _around_of(block: Block) -> Surroundings:
    return Surroundings(block.number, block.timestamp, block.base_fee, block.gas_limit, block.fee_recipient)
