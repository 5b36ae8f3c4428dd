"""The lane of this account's transactions: one nonce after the other, each kept in sight until it is done.

A transaction goes out in the order in which it got its nonce. What is not in a block after a while is sent
again under the same nonce for more; what a reorganisation took out of its block is sent again as it was, but
for what had failed in it, of which only the nonce is used again. Whoever sent it waits for the receipt; when
nobody waits any more it is kept in sight all the same, because every later one waits for it.

So does every one of this life for what a former one has sent, or another program with the same key. That is
treated as if this life had sent it where the provider shows what it is. Where it does not, its turn is taken
after some blocks by a transaction that does nothing: proofs may wait behind it that cost a slot when they are
late, and this node looks how things stand before it does anything again. Another program has to do so, too.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import trio
from attrs import evolve

from codex.chain.board import ChainBoard
from codex.chain.fees import Fees
from codex.chain.jsonrpc import RpcError, data, hexed, number, quantity, shown
from codex.chain.link import LinkLost
from codex.chain.outgoing import Outgoing, is_known, is_nonce, is_underpriced
from codex.chain.refusals import translated
from codex.chain.values import Header, Receipt
from codex.chain.waiting import find_waiting, nothing
from codex.chain.wallet import Signer, Transaction
from codex.errors import (
    ChainFailed,
    ChainRefused,
    ChainUnreachable,
    CodexError,
    InsufficientFunds,
    TransactionUnsettled,
)
from codex.logs import get_logger
from codex.market import Address
from codex.market.ids import keccak256

STUCK_BLOCKS, STUCK_SECONDS = 3, 30.0
"""A transaction that is next in turn, and in none of so many blocks nor after so long, is replaced."""
OBSCURE = 10
"""Blocks after which the turn of one is taken that was not sent here and that no provider shows."""
HOPELESS = 50
"""Blocks after which whoever waits for a transaction is told that it is not done."""
KEPT = 16
"""Blocks for which a transaction that is done is kept, to be sent again should it be undone."""
_ATTEMPTS = 6  # at getting a transaction accepted, with another nonce or more fees each time

_log = get_logger("chain")


class Rpc(Protocol):
    """What the lane needs of the uplink."""

    async def call(self, method: str, *params: Any) -> Any: ...
    async def call_once(self, method: str, *params: Any) -> Any: ...
    def look(self) -> None: ...
    @property
    def connections(self) -> int: ...


class Lane:
    """Sends for one account. `run` is its task."""

    def __init__(self, rpc: Rpc, signer: Signer, board: ChainBoard, tip: int) -> None:
        """`tip` is what is offered to whoever makes the block, in wei a unit of gas."""
        self._rpc = rpc
        self._signer = signer
        self._board = board
        self._tip = tip
        self._turn = trio.Lock()
        self._pending: dict[int, Outgoing] = {}
        self._done: deque[Outgoing] = deque()
        self._next: int | None = None
        self._ahead = (-1, 0, 0.0)
        """The nonce of what was not sent here and is next in turn, and since which block and moment it is."""
        self._wake = trio.Event()

    async def send(
        self, to: Address, payload: bytes, margin: float, in_turn: Callable[[], bytes] | None = None
    ) -> Receipt:
        """Send a call of a contract, and return its receipt once it is in a block. `margin` is by how much
        more gas is allowed than the chain thinks it takes. `in_turn` is called when it has its turn, which
        is when everything that is done before it is known, and gives what is sent in place of `payload`.

        Raises what the contract refuses it with, before anything is sent where that can be known, and
        InsufficientFunds, ChainUnreachable, ChainFailed; TransactionUnsettled when it is not known what
        became of it. Who is cancelled once it was sent may find it done.
        """
        fees = await self._fees(self._board.head or await self._newest())
        gas = await self._gas(to, payload, margin, fees)
        async with self._turn:
            try:
                payload = payload if in_turn is None else in_turn()
                outgoing = await self._launch(Transaction(to, payload, gas, -1, fees))
            finally:
                self._wake.set()
        await outgoing.settled.wait()
        if outgoing.error is not None:
            raise outgoing.error
        assert outgoing.receipt is not None
        if not outgoing.receipt.succeeded:
            raise await self._why(outgoing.transaction, outgoing.receipt)
        return outgoing.receipt

    async def run(self) -> None:
        """Keep what was sent in sight, until cancelled."""
        head: Header | None = None
        connections = self._rpc.connections
        while True:
            try:
                if head is not None:
                    await self._look(head, again=self._rpc.connections > connections)
                    connections = self._rpc.connections
            except (RpcError, CodexError) as error:
                # Looked for again with the next block; what is wrong with the provider is told elsewhere.
                _log.debug("transactions could not be looked for", why=str(error))
            self._wake = trio.Event()
            previous, head = head, await self._next_look(head)
            if previous is not None and head != previous and head.parent != previous.hash:
                self._suspect(head)

    async def _next_look(self, head: Header | None) -> Header:
        """Wait for another block, or for something that was sent."""
        found = head
        async with trio.open_nursery() as nursery:

            async def woken() -> None:
                await self._wake.wait()
                nursery.cancel_scope.cancel()

            nursery.start_soon(woken)
            found = await self._board.next_head(head)
            nursery.cancel_scope.cancel()
        return found if found is not None else await self._board.next_head(None)

    # -- what it takes

    async def gas_price(self) -> int:
        """What is offered for a unit of gas at most, in wei, by what is sent now."""
        return (await self._fees(self._board.head or await self._newest())).most

    async def _newest(self) -> Header:
        try:
            return Header.from_json(await self._rpc.call("eth_getBlockByNumber", "latest", False))
        except RpcError as error:
            raise translated(error) from error

    async def _fees(self, head: Header) -> Fees:
        try:
            price = (
                number(await self._rpc.call("eth_gasPrice"), "the gas price") if head.base_fee is None else 0
            )
        except RpcError as error:
            raise translated(error) from error
        return Fees.at(head, self._tip, price)

    async def _gas(self, to: Address, payload: bytes, margin: float, fees: Fees) -> int:
        """The gas to allow. Raises for a call that would fail, and for an account that cannot pay for it."""
        account = str(self._signer.address)
        call = {"from": account, "to": str(to), "data": hexed(payload)}
        try:
            estimate = number(await self._rpc.call("eth_estimateGas", call, "pending"), "an estimate of gas")
            balance = number(await self._rpc.call("eth_getBalance", account, "latest"), "a balance")
        except RpcError as error:
            raise translated(error) from error
        gas = int(estimate * margin)
        if gas * fees.most > balance:
            raise InsufficientFunds(
                f"{account} has {balance} wei, and the transaction may take {gas * fees.most}",
                remedy="Send it some of the coin that this chain is paid with.",
            )
        return gas

    # -- sending

    async def _launch(self, transaction: Transaction) -> Outgoing:
        """Send with the next nonce. On return it is pending; on an error nothing is."""
        resync = self._next is None
        last: RpcError | None = None
        for _ in range(_ATTEMPTS):
            transaction = evolve(transaction, nonce=await self._nonce(resync))
            block = self._board.head.number if self._board.head is not None else 0
            outgoing = Outgoing(transaction, block, block, trio.current_time())
            self._next = transaction.nonce + 1
            try:
                await self._broadcast(outgoing)
                return outgoing
            except ChainUnreachable:
                # It may have been sent, and will be when a provider is back.
                return outgoing
            except trio.Cancelled:
                self._next = None  # it may have been sent: the provider knows, or it is in sight here
                raise
            except RpcError as error:
                self._pending.pop(transaction.nonce, None)
                last, resync = error, True
                if is_underpriced(error):
                    # Of this nonce there is one already, which another program sent, or fees went up.
                    transaction = evolve(transaction, fees=transaction.fees.raised())
                elif not is_nonce(error):
                    self._next = None
                    raise translated(error) from error
            except LinkLost as error:
                self._pending.pop(transaction.nonce, None)
                self._next = None
                raise TransactionUnsettled(
                    f"the provider was lost while it was to sign and send a transaction: {error}",
                    remedy="See on the chain whether it was done before it is sent again.",
                ) from error
            except CodexError:
                self._next = None
                raise
        assert last is not None
        self._next = None
        raise ChainFailed(
            f"the provider does not take a transaction: {shown(last.message)}",
            remedy="See whether another program uses this account; let it end, or use another account.",
        )

    async def _nonce(self, resync: bool) -> int:
        if self._next is not None and not resync:
            return self._next
        try:
            count = await self._rpc.call("eth_getTransactionCount", str(self._signer.address), "pending")
        except RpcError as error:
            raise translated(error) from error
        # A provider that has forgotten what was sent counts too few.
        return max(number(count, "a count of transactions"), *[nonce + 1 for nonce in self._pending], 0)

    async def _broadcast(self, outgoing: Outgoing) -> None:
        """Sign and send, and keep it in sight from before it is sent.

        Raises RpcError when the provider does not take it, ChainUnreachable when it is in sight and may not
        have been sent, and LinkLost when that is not known of one that the provider signs.
        """
        transaction, chain = outgoing.transaction, self._board.chain
        assert chain is not None
        raw = self._signer.sign(transaction, chain)
        outgoing.is_unsent = False
        outgoing.sent_at = trio.current_time()
        outgoing.sent_block = self._board.head.number if self._board.head is not None else 0
        if raw is None:
            sent = await self._rpc.call_once("eth_sendTransaction", self._as_json(transaction))
            outgoing.hashes.append(data(sent, "a transaction's hash", 32))
            self._pending[transaction.nonce] = outgoing
            return
        outgoing.raw = raw
        outgoing.hashes.append(keccak256(raw))
        # From here on it may be done, whatever becomes of this task.
        self._pending[transaction.nonce] = outgoing
        await self._resend(outgoing, raw)

    async def _resend(self, outgoing: Outgoing, raw: bytes) -> None:
        try:
            await self._rpc.call("eth_sendRawTransaction", hexed(raw))
        except BaseException as error:
            if not isinstance(error, RpcError) or not is_known(error):
                outgoing.adrift = True
                raise
        outgoing.adrift = False

    def _as_json(self, transaction: Transaction) -> dict[str, str]:
        return {
            "from": str(self._signer.address),
            "to": str(transaction.to),
            "data": hexed(transaction.data),
            "gas": quantity(transaction.gas),
            "nonce": quantity(transaction.nonce),
            **transaction.fees.as_json(),
            **({"value": quantity(transaction.value)} if transaction.value else {}),
        }

    # -- keeping in sight

    async def _look(self, head: Header, again: bool) -> None:
        """See what became of all that is pending. `again`: to a provider that may not have heard of it."""
        if not self._pending:
            return
        account = str(self._signer.address)
        count = number(await self._rpc.call("eth_getTransactionCount", account, "latest"), "a count")
        for nonce, outgoing in sorted(self._pending.items()):
            if nonce < count:
                await self._find(outgoing, head)
            elif outgoing.is_unsent or (nonce == count and self._is_stuck(outgoing, head)):
                await self._replace(outgoing, head)
            elif (again or outgoing.adrift) and outgoing.raw is not None:
                await self._resend(outgoing, outgoing.raw)
            if head.number - outgoing.block >= HOPELESS and not outgoing.settled.is_set():
                outgoing.settle(error=outgoing.unsettled(f"is in none of {HOPELESS} blocks"))
        while self._done and self._done[0].block < head.number - KEPT:
            self._done.popleft()
        if self._pending and count < min(self._pending):
            await self._make_way(count, head)

    async def _make_way(self, nonce: int, head: Header) -> None:
        """All that is pending waits for what was not sent here: bring that into a block."""
        now = trio.current_time()
        if self._ahead[0] != nonce:
            self._ahead = nonce, head.number, now
        _, block, since = self._ahead
        if head.number - block < STUCK_BLOCKS or now - since < STUCK_SECONDS or self._board.chain is None:
            return
        found = await find_waiting(self._rpc, self._signer.address, nonce, self._board.chain)
        if found is None and head.number - block < OBSCURE:
            return
        if found is None:
            _log.warning("a transaction of this account is stuck, and its turn is taken", nonce=nonce)
            doing = nothing(self._signer.address, nonce, await self._fees(head))
        else:
            doing = found.transaction
        outgoing = Outgoing(doing, head.number, head.number, now)
        if found is not None:
            outgoing.hashes.append(found.hash)
        await self._replace(outgoing, head)

    async def _find(self, outgoing: Outgoing, head: Header) -> None:
        """Its nonce is used: by one of the transactions that were sent with it, or by another program's."""
        for hash in reversed(outgoing.hashes):
            found = await self._rpc.call("eth_getTransactionReceipt", hexed(hash))
            if found is not None:
                receipt = Receipt.from_json(found)
                del self._pending[outgoing.transaction.nonce]
                outgoing.block = receipt.block
                outgoing.settle(receipt)
                self._done.append(outgoing)
                newest = self._board.head or head
                if receipt.block > newest.number:
                    self._rpc.look()  # there is a newer block, and nobody has told of it
                return
        outgoing.passed_over += 1
        # A provider of several machines may count a transaction before it has the receipt.
        if outgoing.passed_over > 3:
            del self._pending[outgoing.transaction.nonce]
            outgoing.settle(error=outgoing.unsettled("had its turn taken by another one of this account"))

    def _is_stuck(self, outgoing: Outgoing, head: Header) -> bool:
        return (
            head.number - outgoing.sent_block >= STUCK_BLOCKS
            and trio.current_time() - outgoing.sent_at >= STUCK_SECONDS
        )

    async def _replace(self, outgoing: Outgoing, head: Header) -> None:
        before, offer = outgoing.transaction, await self._fees(head)
        fees = before.fees.raised().at_least(offer)
        if fees.tip is None and offer.tip is not None:
            fees = Fees(fees.most, fees.most)  # of one price, which counts as both
        outgoing.transaction = evolve(before, fees=fees)
        _log.info("a transaction is sent again for more", nonce=before.nonce, most=fees.most)
        try:
            await self._broadcast(outgoing)
        except (RpcError, LinkLost) as error:
            # What was sent before stands; the next look finds it done, or tries again for more.
            _log.warning("a stuck transaction could not be replaced", nonce=before.nonce, why=str(error))

    def _suspect(self, head: Header) -> None:
        """Blocks were replaced, or not all were seen: what was done lately may be undone, and is pending
        until it is found again. What had failed is not to be done now: whoever sent it has been told, and
        has given it up. Only its turn is taken, for others come after it.
        """
        while self._done:
            outgoing = self._done.popleft()
            if outgoing.block >= head.number - KEPT:
                outgoing.passed_over, outgoing.adrift = 0, True
                outgoing.sent_block, outgoing.sent_at = head.number, trio.current_time()
                if outgoing.receipt is not None and not outgoing.receipt.succeeded:
                    before = outgoing.transaction
                    outgoing.transaction = nothing(self._signer.address, before.nonce, before.fees)
                    outgoing.raw, outgoing.is_unsent = None, True
                self._pending.setdefault(outgoing.transaction.nonce, outgoing)

    async def _why(self, transaction: Transaction, receipt: Receipt) -> CodexError:
        """Why a transaction in a block failed: the same call at that block says so, with luck."""
        call = {**self._as_json(transaction), "gas": quantity(transaction.gas)}
        del call["nonce"]
        for price in transaction.fees.fields():
            del call[price]
        try:
            await self._rpc.call("eth_call", call, quantity(receipt.block))
        except RpcError as error:
            return translated(error)
        return ChainRefused(
            f"transaction {hexed(receipt.transaction)} failed in block {receipt.block}, and would not now",
            remedy="Try again: what it met has changed meanwhile.",
        )
