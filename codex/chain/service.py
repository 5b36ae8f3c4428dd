"""The chain as a service: one connection with a provider, one lane of transactions, and calls answered."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import trio

from codex.chain import abi, calls
from codex.chain.board import ChainBoard
from codex.chain.jsonrpc import RpcError, data, hexed, number, quantity, shown
from codex.chain.link import Link, LinkLost
from codex.chain.networks import marketplace_on
from codex.chain.refusals import translated
from codex.chain.sending import Lane
from codex.chain.spending import Purse
from codex.chain.uplink import Dial, Uplink
from codex.chain.values import BlockTag, ChainState, Connected, Disconnected, Header, Log, Receipt, Spending
from codex.chain.wallet import Signer, load_signer
from codex.config import MarketConfig
from codex.errors import ChainRefused, ConfigError, DecodeError, Problem
from codex.market import Address, MarketplaceConfig
from codex.runtime import Clock, Condition, Inbox, Offload, serve

LIMIT = 1024
"""Calls in work at once. Most wait for a transaction to be in a block; further ones wait with their askers.
"""
IN_PLACE = 2000
"""Logs read on the loop; 12 ms of work."""
BOOT = 10.0
"""Seconds that the first start waits for a provider, to see whether it is the right one."""


class ChainService:
    """The task behind `Chain`. One object is one life."""

    def __init__(
        self, config: MarketConfig, *, dial: Dial, board: ChainBoard, clock: Clock, offload: Offload
    ) -> None:
        self._config = config
        self._dial = dial
        self._board = board
        self._clock = clock
        self._offload = offload

    async def run(
        self, inbox: Inbox, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Answer until `inbox` ends.

        A provider that does not answer keeps nobody from starting. One without the marketplace does, by
        ConfigError, and so does a key that cannot be used; in a later life it is an outage.
        """
        first = self._board.account is None
        signer = await self._offload.run(load_signer, self._config)
        self._board.account = signer.address
        uplink = Uplink(
            self._config.providers,
            self._dial,
            board=self._board,
            clock=self._clock,
            offload=self._offload,
            check=partial(self._check, signer),
        )
        lane = Lane(uplink, signer, self._board, self._config.max_priority_fee_per_gas)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(uplink.run)
            with trio.move_on_after(BOOT):
                await uplink.tried.wait()
            if first and uplink.misfit is not None and not isinstance(self._board.state, Connected):
                raise uplink.misfit
            nursery.start_soon(lane.run)
            nursery.start_soon(self._tell_condition, inbox)
            desk = _Desk(uplink, lane, signer, self._offload)
            with trio.CancelScope() as scope:
                # Whoever waits for a block may wait long: who stops does not wait for it.
                nursery.start_soon(_cut, inbox.stopping, scope)
                await serve(inbox, desk.answer, limit=LIMIT, task_status=task_status)
            nursery.cancel_scope.cancel()

    async def _check(self, signer: Signer, link: Link) -> int:
        """See that a provider is of use: on the chain that the last one was on, up to date, with a
        marketplace and, where it is to sign, with the account. Returns the chain's id.
        """
        chain = number(await link.call("eth_chainId"), "the chain's id")
        if self._board.chain not in (None, chain):
            raise LinkLost(f"it is on chain {chain}, and not on {self._board.chain}")
        if await link.call("eth_syncing") is not False:
            raise LinkLost("it has not all blocks yet")
        await _check_marketplace(link, marketplace_on(chain, self._config), signer.address, chain)
        if self._config.private_key_file is None:
            kept = await link.call("eth_accounts")
            if not isinstance(kept, list) or str(signer.address) not in [str(one).lower() for one in kept]:
                raise ConfigError(
                    f"the provider does not keep the account {signer.address}",
                    remedy="Give the file of the account's key with --eth-private-key, or unlock it there.",
                )
        self._board.chain = chain
        return chain

    async def _tell_condition(self, inbox: Inbox) -> None:
        """Show an outage as what ails the service."""
        while True:
            inbox.condition = _condition(self._board.state)
            await self._board.next_state(self._board.state)


async def _check_marketplace(link: Link, address: Address, account: Address, chain: int) -> None:
    """See that there is a marketplace at `address`: a contract that has the configuration of one. Raises
    ConfigError.
    """
    remedy = (
        "Give the marketplace's address with --marketplace-address, or a provider of its chain with"
        " --eth-provider."
    )
    if not data(await link.call("eth_getCode", str(address), "latest"), "a contract's code"):
        raise ConfigError(f"there is no contract at {address} on chain {chain}", remedy=remedy)
    function = abi.MARKETPLACE["configuration"]
    asked = {"from": str(account), "to": str(address), "data": hexed(function.call())}
    wrong = f"the contract at {address} on chain {chain} is no marketplace of this network"
    try:
        answer = await link.call("eth_call", asked, "latest")
    except RpcError as error:
        if not isinstance(translated(error), ChainRefused):
            raise
        raise ConfigError(wrong, remedy=remedy) from error
    raw = data(answer, "a contract's answer")
    try:
        MarketplaceConfig.from_tuple(function.answer(raw))
    except DecodeError as error:
        raise ConfigError(wrong, remedy=remedy) from error


class _Desk:
    """Answers each call."""

    def __init__(self, uplink: Uplink, lane: Lane, signer: Signer, offload: Offload) -> None:
        self._uplink = uplink
        self._offload = offload
        self._lane = lane
        self._account = signer.address
        self._purse = Purse(signer.address, self)

    async def answer(self, call: Any) -> Any:
        """Whatever the call's class says; what a provider answers with is told as what it means."""
        try:
            return await self._answer(call)
        except RpcError as error:
            raise translated(error) from error

    async def _answer(self, call: Any) -> Any:
        match call:
            case calls.CallContract(to, payload, block):
                return await self.call(to, payload, block)
            case calls.Transact(to, payload, margin, None):
                return await self.send(to, payload, margin)
            case calls.Transact(to, payload, margin, Spending() as spending):
                async with self._purse.spend(spending, payload) as in_turn:
                    return await self.send(to, payload, margin, in_turn)
            case calls.GetChain():
                return number(await self._uplink.call("eth_chainId"), "the chain's id")
            case calls.GetHeader(block):
                at = "latest" if block is None else quantity(block)
                found = await self._uplink.call("eth_getBlockByNumber", at, False)
                header = None if found is None else Header.from_json(found)
                if block is not None and header is not None and header.number != block:
                    raise DecodeError(
                        f"asked for block {block}, the provider gave block {header.number}",
                        remedy="Use another provider.",
                    )
                return header
            case calls.GetLogs(address, first, last, topics):
                logs = await self._logs(address, topics, fromBlock=quantity(first), toBlock=quantity(last))
                return tuple([log for log in logs if first <= log.block <= last])
            case calls.GetLogsOf(address, block, topics):
                logs = await self._logs(address, topics, blockHash=hexed(block.hash))
                return tuple([log for log in logs if log.block_hash == block.hash])
            case calls.GetBalance(account):
                found = await self._uplink.call("eth_getBalance", str(account), "latest")
                return number(found, "a balance")
            case calls.GetGasPrice():
                return await self._lane.gas_price()
            case calls.CountWaiting():
                return max(0, await self._count("pending") - await self._count("latest"))
        raise TypeError(f"the chain has no answer to {type(call).__name__}")

    async def _count(self, at: BlockTag) -> int:
        found = await self._uplink.call("eth_getTransactionCount", str(self._account), at)
        return number(found, "a count of transactions")

    async def call(self, to: Address, payload: bytes, block: BlockTag) -> bytes:
        """What a contract answers."""
        # Contracts answer some questions by who asks.
        asked = {"from": str(self._account), "to": str(to), "data": hexed(payload)}
        at = block if isinstance(block, str) else quantity(block)
        return data(await self._uplink.call("eth_call", asked, at), "a contract's answer")

    async def send(
        self, to: Address, payload: bytes, margin: float, in_turn: Callable[[], bytes] | None = None
    ) -> Receipt:
        """Send a transaction."""
        return await self._lane.send(to, payload, margin, in_turn)

    async def _logs(self, address: Address, topics: Sequence[bytes], **where: str) -> tuple[Log, ...]:
        """What a contract said; what else a provider gives is not believed."""
        wanted = {"address": str(address), "topics": [[hexed(topic) for topic in topics]], **where}
        found = await self._uplink.call("eth_getLogs", wanted)
        if not isinstance(found, list):
            raise DecodeError(f"the provider gave no logs: {shown(found)}")
        if len(found) <= IN_PLACE:
            return _read_logs(found, address)
        return await self._offload.run(_read_logs, found, address)


def _read_logs(found: list[Any], address: Address) -> tuple[Log, ...]:
    return tuple([log for log in map(Log.from_json, found) if log.address == address])


def _condition(state: ChainState) -> Condition | None:
    if not isinstance(state, Disconnected):
        return None
    problem = Problem(
        "chain-unreachable",
        f"no provider of the chain answers: {state.why}",
        "Start it, or name one that runs with --eth-provider; the node tries again by itself.",
    )
    return Condition(problem, state.since, serves=True)


async def _cut(stopping: trio.Event, scope: trio.CancelScope) -> None:
    await stopping.wait()
    scope.cancel()
