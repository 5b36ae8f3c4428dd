"""The embedded chain: a development chain in this process, without I/O.

It is a simulation of a chain around a real virtual machine: contracts run as they do elsewhere, but there are
no other nodes, a block's hash covers what it contains and not the state, roots and blooms say nothing, and a
contract that asks for the hash of a block gets one that follows from its number alone.

All methods are synchronous, and the same calls lead to the same chain; a clock is given.
"""

from collections.abc import Callable, Collection, Sequence

from attrs import evolve, frozen

from codex.devnet.errors import REFUSED, REVERTED, Refused
from codex.devnet.ledger import Ledger
from codex.devnet.pool import Pool
from codex.devnet.transactions import Account, fixed_gas, read, sign
from codex.devnet.values import GAS_LIMIT, Block, Message, Outcome, Transaction

CHAIN_ID = 31337
"""What development chains call themselves."""
TIP = 10**9
"""Wei that is suggested as a tip."""


@frozen
class Reorganised:
    """The end of the chain was replaced: `removed` is no longer part of it, `added` is. Oldest first."""

    removed: tuple[Block, ...]
    added: tuple[Block, ...]


News = Block | Reorganised


@frozen
class _Point:
    """Where a chain was when a snapshot was taken of it."""

    block: bytes
    lead: float


class Chain:
    """One chain: a ledger, a pool of what waits for a block, and time.

    `listeners` are told of every block and every reorganisation, at once. With `automine` a transaction that
    can be mined is mined at once, in a block of its own; without, blocks come by `mine` only.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        accounts: Sequence[Account] = (),
        funds: int = 0,
        chain_id: int = CHAIN_ID,
        automine: bool = True,
        behind: int = 0,
        ledger: Ledger | None = None,
    ) -> None:
        """Begin a chain with `funds` wei on each of `accounts`, for which it signs.

        `now` tells seconds since 1970; the chain begins so many seconds `behind` it. With a `ledger` it goes
        on with that one, of the same chain id, and nobody gets funds. Raises NoEmbeddedChain where the
        machine is not installed.
        """
        self.chain_id = chain_id
        self.automine = automine
        self.accounts = {account.address: account for account in accounts}
        self.listeners: list[Callable[[News], None]] = []
        self.pool = Pool()
        self._now = now
        self.lead = -min(float(behind), now())
        """Seconds that the chain's time is ahead of the clock."""
        self._next_timestamp: int | None = None
        self._snapshots: list[_Point] = []
        self.ledger = ledger or Ledger(chain_id, int(now() + self.lead))
        for address in () if ledger else self.accounts:
            self.ledger.set_balance(address, funds)

    @property
    def latest(self) -> Block:
        """The last block."""
        return self.ledger.latest

    def transaction(self, hash: bytes) -> Transaction | None:
        """The transaction of that hash, whether in a block or waiting for one."""
        receipt = self.ledger.receipt(hash)
        return self.pool.find(hash) if receipt is None else receipt.transaction

    def pending_nonce(self, account: bytes) -> int:
        """The nonce for the account's next transaction, counting those that wait."""
        return self.pool.next_nonce(account, self.ledger.nonce(account))

    def next_timestamp(self) -> int:
        """The time of a block that were mined now: a second later than the last one's at least."""
        if self._next_timestamp is not None:
            return self._next_timestamp
        return max(int(self._now() + self.lead), self.latest.timestamp + 1)

    # What would be.

    def call(self, message: Message, at: int | None = None) -> Outcome:
        """Run `message` without effect: after block `at` and as part of it, or in the next block when `at` is
        None. What waits for a block is not part of the next one then. Raises Refused.
        """
        message = evolve(message, nonce=self.pending_nonce(message.sender))
        if at is None:
            return self.ledger.ask(message, self.ledger.around(self.next_timestamp()))
        return self.ledger.ask_at(message, at)

    def estimate(self, message: Message) -> int:
        """The least gas limit with which `message` succeeds in the next block, up to its own. Raises Refused
        when it fails with that.
        """
        outcome = self.call(message)
        raise_failure(outcome)
        # A call hands on at most 63 of 64 parts of what is left, and gas is given back in the end, so it may
        # need more than it uses: seldom, and seldom much more.
        high = max(outcome.gas_used, fixed_gas(message.data, message.to is None))
        low = high - 1
        more = high // 64 + 1
        while high < message.gas and self.call(evolve(message, gas=high)).failure:
            low, high = high, min(high + more, message.gas)
            more *= 2
        while low + 1 < high:
            middle = (low + high) // 2
            if self.call(evolve(message, gas=middle)).failure:
                low = middle
            else:
                high = middle
        return high

    # What is done.

    def send(self, raw: bytes) -> bytes:
        """Take a signed transaction and return its hash. Raises Refused."""
        transaction = read(raw)
        self._check(transaction)
        self.pool.add(transaction)
        if self.automine and transaction.nonce == self.ledger.nonce(transaction.sender):
            self.mine()
        return transaction.hash

    def sign(
        self, message: Message, *, nonce: int | None = None, max_fee: int = 0, max_tip: int = TIP
    ) -> bytes:
        """A transaction by one of the chain's own accounts, signed. Raises Refused for any other."""
        account = self.accounts.get(message.sender)
        if account is None:
            raise Refused(REFUSED, "unknown account")
        return sign(
            account,
            chain_id=self.chain_id,
            message=evolve(message, nonce=self.pending_nonce(message.sender) if nonce is None else nonce),
            max_fee=max_fee or 2 * self.ledger.next_fee() + max_tip,
            max_tip=max_tip,
        ).raw

    def mine(self, count: int = 1, interval: int = 1) -> list[Block]:
        """Add `count` blocks, `interval` seconds apart; the first of them take in what waits."""
        mined = []
        for number in range(count):
            timestamp = self.latest.timestamp + interval if number else self.next_timestamp()
            # The chain's time goes on from where it was put, and does not wait for the clock.
            if number:
                self.lead = max(self.lead, timestamp - self._now())
            elif self._next_timestamp is not None:
                self.lead = timestamp - self._now()
                self._next_timestamp = None
            mined.append(self._mined(timestamp))
            self._tell(mined[-1])
        return mined

    def follow_clock(self) -> None:
        """Let the chain's time be the clock's from now on, as soon as that is later than the last block's."""
        self.lead = 0.0

    def increase_time(self, seconds: float) -> None:
        """Let the chain's time run ahead by so much more from now on."""
        self.lead += seconds

    def set_next_timestamp(self, timestamp: int) -> None:
        """Let the next block have that time, and the chain's time go on from there. Raises Refused."""
        if timestamp <= self.latest.timestamp:
            raise Refused(REFUSED, f"timestamp {timestamp} is not later than the last block's")
        self._next_timestamp = timestamp

    def reorganise(self, depth: int, *, without: Collection[bytes] = ()) -> Reorganised:
        """Replace the last `depth` blocks by one block more, as if another branch had won.

        What was in them comes a block later, each time in the company that it was in, but for the
        transactions `without`, which are known no more. Raises Refused when there are not so many blocks.
        """
        if not 0 < depth <= self.latest.number:
            raise Refused(REFUSED, f"there are no {depth} blocks to replace")
        removed = self.ledger.cut(depth)
        added = [self._mined(removed[0].timestamp)]
        for block in removed:
            for receipt in block.receipts:
                if receipt.transaction.hash not in without:
                    self.pool.put_back(receipt.transaction)
            added.append(self._mined(max(block.timestamp, self.latest.timestamp + 1)))
        news = Reorganised(tuple(removed), tuple(added))
        self._tell(news)
        return news

    def snapshot(self) -> int:
        """Remember the chain as it is, and return what `revert` knows it by. What waits is not remembered."""
        self._snapshots.append(_Point(self.latest.hash, self.lead))
        return len(self._snapshots)

    def revert(self, snapshot: int) -> bool:
        """Put the chain back to how it was, and forget this snapshot, later ones and what waits.

        False when it knows no such snapshot, or the block is gone.
        """
        if not 0 < snapshot <= len(self._snapshots):
            return False
        point = self._snapshots[snapshot - 1]
        del self._snapshots[snapshot - 1 :]
        number = self.ledger.number_of(point.block)
        if number is None:
            return False
        removed = self.ledger.cut(self.latest.number - number)
        self.lead = point.lead
        self._next_timestamp = None
        self.pool = Pool()
        self._tell(Reorganised(tuple(removed), ()))
        return True

    # How it is done.

    def _check(self, transaction: Transaction) -> None:
        """Raise Refused for a transaction that can never be in a block, or cannot be paid."""
        ledger = self.ledger
        nonce = ledger.nonce(transaction.sender)
        if transaction.chain_id not in (None, self.chain_id):
            why = f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}"
        elif ledger.receipt(transaction.hash) is not None:
            why = "already known"
        elif transaction.nonce < nonce:
            why = f"nonce too low: next nonce {nonce}, tx nonce {transaction.nonce}"
        elif transaction.gas > GAS_LIMIT:
            why = "exceeds block gas limit"
        elif transaction.gas < fixed_gas(transaction.data, transaction.to is None):
            why = "intrinsic gas too low"
        elif not ledger.can_pay(transaction):
            has = ledger.balance(transaction.sender)
            why = f"insufficient funds for gas * price + value: balance {has}, tx cost {transaction.cost}"
        else:
            return
        raise Refused(REFUSED, why)

    def _mined(self, timestamp: int) -> Block:
        ready = self.pool.ready(self.ledger.nonce, self.ledger.next_fee())
        return self.ledger.add(timestamp, ready, self.pool.drop)

    def _tell(self, news: News) -> None:
        for listener in list(self.listeners):
            listener(news)


def raise_failure(outcome: Outcome) -> None:
    """Raise what clients are told of an outcome that is a failure: Refused, with what the contract said."""
    if outcome.failure == "Revert":
        raise Refused(REVERTED, "execution reverted", outcome.output)
    if outcome.failure:
        raise Refused(REFUSED, f"execution failed: {outcome.failure}")
