"""The JSON-RPC methods of the embedded chain: one table from a method's name to what it does.

Subscriptions are not here: they belong to a connection.
"""

from collections.abc import Callable
from inspect import signature

import trio
from attrs import evolve

from codex.devnet.chain import TIP, Chain, raise_failure
from codex.devnet.errors import INVALID_PARAMS, METHOD_NOT_FOUND, REFUSED, Refused
from codex.devnet.polling import Polling
from codex.devnet.values import GAS_LIMIT, Block
from codex.devnet.wire import (
    Json,
    data,
    json_block,
    json_log,
    json_next,
    json_receipt,
    json_transaction,
    quantity,
    read_address,
    read_data,
    read_filter,
    read_hash,
    read_message,
    read_quantity,
)
from codex.version import VERSION

BLOCKS_AT_ONCE = 1_000_000
"""Blocks that one call may mine."""
BATCH = 100
"""Blocks between two looks at what else there is to do."""
_NAMED = {"latest", "safe", "finalized", "pending"}


class Methods:
    """What can be asked of a chain. `answer` raises Refused, and nothing else for whatever is asked."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self._polling = Polling(chain)
        self._table: dict[str, Callable[..., Json]] = {
            "web3_clientVersion": lambda: f"codex-devnet/{VERSION}",
            "net_version": lambda: str(chain.chain_id),
            "net_listening": lambda: True,
            "eth_syncing": lambda: False,
            "eth_chainId": lambda: quantity(chain.chain_id),
            "eth_blockNumber": lambda: quantity(chain.latest.number),
            "eth_gasPrice": lambda: quantity(chain.ledger.next_fee() + TIP),
            "eth_maxPriorityFeePerGas": lambda: quantity(TIP),
            "eth_feeHistory": self._fee_history,
            "eth_accounts": lambda: [data(address) for address in chain.accounts],
            "eth_getBlockByNumber": self._block_by_number,
            "eth_getBlockByHash": self._block_by_hash,
            "eth_getBlockTransactionCountByNumber": self._count_by_number,
            "eth_getBalance": lambda account, at="latest": quantity(
                chain.ledger.balance(read_address(account), self._number(at))
            ),
            "eth_getCode": lambda account, at="latest": data(
                chain.ledger.code(read_address(account), self._number(at))
            ),
            "eth_getStorageAt": self._storage,
            "eth_getTransactionCount": self._transaction_count,
            "eth_getTransactionByHash": self._transaction,
            "eth_getTransactionReceipt": self._receipt,
            "eth_call": self._call,
            "eth_estimateGas": self._estimate,
            "eth_sendRawTransaction": lambda raw: data(chain.send(read_data(raw))),
            "eth_sendTransaction": self._send,
            "eth_getLogs": self._logs,
            "eth_newFilter": self._new_filter,
            "eth_newBlockFilter": self._polling.for_blocks,
            "eth_getFilterChanges": self._polling.changes,
            "eth_getFilterLogs": self._polling.all,
            "eth_uninstallFilter": self._polling.end,
            "evm_increaseTime": self._increase_time,
            "evm_setNextBlockTimestamp": self._set_next_timestamp,
            "evm_setAutomine": self._set_automine,
            "evm_snapshot": lambda: quantity(chain.snapshot()),
            "evm_revert": lambda snapshot: chain.revert(read_quantity(snapshot)),
            "hardhat_setBalance": self._set_balance,
            "anvil_setBalance": self._set_balance,
            "anvil_reorg": self._reorganise,
        }
        # What takes longer than a step may.
        self._slow: dict[str, Callable[..., tuple[int, int]]] = {
            "evm_mine": self._mine_to,
            "hardhat_mine": self._mine_many,
            "anvil_mine": self._mine_many,
        }
        # Worked out once: it takes as long as a simple answer.
        self._takes = {name: signature(doing) for name, doing in [*self._table.items(), *self._slow.items()]}

    def names(self) -> list[str]:
        """Every method there is."""
        return sorted([*self._table, *self._slow])

    async def answer(self, method: str, params: list[Json]) -> Json:
        """What `method` leads to; a checkpoint where it takes long."""
        doing = self._table.get(method) or self._slow.get(method)
        if doing is None:
            raise Refused(METHOD_NOT_FOUND, f"the method {method} does not exist/is not available")
        try:
            given = self._takes[method].bind(*params)
        except TypeError as error:
            raise Refused(INVALID_PARAMS, f"wrong number of arguments for {method}: {len(params)}") from error
        done = doing(*given.args)
        if method in self._slow:
            count, interval = done
            return await self._mine(count, interval)
        return done

    # Blocks.

    def _block(self, hash: bytes) -> Block | None:
        number = self.chain.ledger.number_of(hash)
        return None if number is None else self.chain.ledger.block(number)

    def _number(self, at: Json) -> int | None:
        """The block that `at` names; None for the one to come."""
        if at is None:
            return self.chain.latest.number
        if isinstance(at, dict):
            if "blockHash" in at:
                block = self._block(read_hash(at["blockHash"]))
                if block is None:
                    raise Refused(REFUSED, "header for hash not found")
                return block.number
            at = at.get("blockNumber")
        if at == "pending":
            return None
        if at == "earliest":
            return 0
        if isinstance(at, str) and at in _NAMED:
            return self.chain.latest.number
        return self.chain.ledger.block(read_quantity(at)).number

    def _block_by_number(self, at: Json, full: Json = False) -> Json:
        chain = self.chain
        if at == "pending":
            latest = chain.latest
            return json_next(latest.number + 1, latest.hash, chain.next_timestamp(), chain.ledger.next_fee())
        if (
            not (isinstance(at, str) and at in {*_NAMED, "earliest"})
            and read_quantity(at) > chain.latest.number
        ):
            return None
        number = self._number(at)
        assert number is not None
        return json_block(chain.ledger.block(number), full=bool(full))

    def _block_by_hash(self, hash: Json, full: Json = False) -> Json:
        block = self._block(read_hash(hash))
        return None if block is None else json_block(block, full=bool(full))

    def _count_by_number(self, at: Json) -> Json:
        number = self._number(at)
        return quantity(len(self.chain.pool if number is None else self.chain.ledger.block(number).receipts))

    def _fee_history(self, count: Json, newest: Json = "latest", percentiles: Json = None) -> Json:
        number = self._number(newest)
        last = self.chain.latest.number if number is None else number
        first = max(last - min(read_quantity(count), 1024) + 1, 0)
        blocks = [self.chain.ledger.block(number) for number in range(first, last + 1)]
        after = (
            self.chain.ledger.next_fee()
            if last == self.chain.latest.number
            else self.chain.ledger.block(last + 1).base_fee
        )
        told = {
            "oldestBlock": quantity(first),
            "baseFeePerGas": [*(quantity(block.base_fee) for block in blocks), quantity(after)],
            "gasUsedRatio": [block.gas_used / block.gas_limit for block in blocks],
        }
        if percentiles:
            told["reward"] = [[quantity(TIP)] * len(percentiles) for _ in blocks]
        return told

    # Accounts.

    def _storage(self, account: Json, index: Json, at: Json = "latest") -> Json:
        word = self.chain.ledger.storage(read_address(account), read_quantity(index), self._number(at))
        return data(word.to_bytes(32, "big"))

    def _transaction_count(self, account: Json, at: Json = "latest") -> Json:
        number = self._number(at)
        address = read_address(account)
        if number is None:
            return quantity(self.chain.pending_nonce(address))
        return quantity(self.chain.ledger.nonce(address, number))

    def _set_balance(self, account: Json, amount: Json) -> Json:
        self.chain.ledger.set_balance(read_address(account), read_quantity(amount))
        return True

    # Messages and transactions.

    def _call(self, message: Json, at: Json = "latest", _overrides: Json = None) -> Json:
        outcome = self.chain.call(read_message(message, GAS_LIMIT), self._number(at))
        raise_failure(outcome)
        return data(outcome.output)

    def _estimate(self, message: Json, _at: Json = "latest") -> Json:
        return quantity(self.chain.estimate(read_message(message, GAS_LIMIT)))

    def _send(self, given: Json) -> Json:
        message = read_message(given, GAS_LIMIT)
        if message.sender not in self.chain.accounts:
            raise Refused(REFUSED, "unknown account")
        if given.get("gas") is None:
            message = evolve(message, gas=self.chain.estimate(message))
        fee, tip = given.get("maxFeePerGas") or given.get("gasPrice"), given.get("maxPriorityFeePerGas")
        nonce = given.get("nonce")
        raw = self.chain.sign(
            message,
            nonce=None if nonce is None else read_quantity(nonce),
            max_fee=0 if fee is None else read_quantity(fee),
            max_tip=TIP if tip is None else read_quantity(tip),
        )
        return data(self.chain.send(raw))

    def _transaction(self, hash: Json) -> Json:
        found = self.chain.transaction(read_hash(hash))
        return None if found is None else json_transaction(found, self.chain.ledger.receipt(found.hash))

    def _receipt(self, hash: Json) -> Json:
        receipt = self.chain.ledger.receipt(read_hash(hash))
        return None if receipt is None else json_receipt(receipt)

    # Logs.

    def _range(self, given: Json) -> tuple[int, int]:
        latest = self.chain.latest.number
        first, last = (self._bound(given.get(name)) for name in ("fromBlock", "toBlock"))
        return (latest if first is None else first), (latest if last is None else last)

    def _bound(self, at: Json) -> int | None:
        """A block number as the end of a range, where there need not be a block."""
        if isinstance(at, str) and (at in _NAMED or at == "earliest"):
            return 0 if at == "earliest" else None
        return None if at is None else read_quantity(at)

    def _logs(self, given: Json) -> Json:
        wanted = read_filter(given)
        if given.get("blockHash") is not None:
            block = self._block(read_hash(given["blockHash"]))
            if block is None:
                raise Refused(REFUSED, "unknown block")
            first = last = block.number
        else:
            first, last = self._range(given)
        return [json_log(log) for log in self.chain.ledger.logs(wanted, first, last)]

    def _new_filter(self, given: Json) -> Json:
        return self._polling.for_logs(read_filter(given), self._range(given)[0])

    # Blocks and time, for those who develop.

    def _increase_time(self, seconds: Json) -> Json:
        self.chain.increase_time(read_quantity(seconds))
        return seconds

    def _set_next_timestamp(self, timestamp: Json) -> Json:
        self.chain.set_next_timestamp(read_quantity(timestamp))
        return timestamp

    def _set_automine(self, automine: Json) -> Json:
        self.chain.automine = bool(automine)
        return True

    def _reorganise(self, depth: Json, _transactions: Json = None) -> Json:
        self.chain.reorganise(read_quantity(depth))

    def _mine_to(self, given: Json = None) -> tuple[int, int]:
        if isinstance(given, dict):
            timestamp, count = given.get("timestamp"), read_quantity(given.get("blocks", 1))
        else:
            timestamp, count = given, 1
        if timestamp is not None:
            self.chain.set_next_timestamp(read_quantity(timestamp))
        return count, 1

    def _mine_many(self, count: Json = 1, interval: Json = 1) -> tuple[int, int]:
        return read_quantity(count), read_quantity(interval)

    async def _mine(self, count: int, interval: int) -> Json:
        if count > BLOCKS_AT_ONCE:
            raise Refused(INVALID_PARAMS, f"more than {BLOCKS_AT_ONCE} blocks are not mined at once")
        first = True
        for start in range(0, count, BATCH):
            if not first:
                self.chain.set_next_timestamp(self.chain.latest.timestamp + max(interval, 1))
            self.chain.mine(min(BATCH, count - start), max(interval, 1))
            first = False
            await trio.lowlevel.checkpoint()
        return "0x0"
