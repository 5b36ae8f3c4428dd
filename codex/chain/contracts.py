"""The contracts, as typed methods: the marketplace, and the token that it is paid with.

What a contract refuses is raised as ChainRefused, or one of its kinds; besides, every method raises what
`Chain.call` or `Chain.send` does.
"""

from collections import OrderedDict
from typing import Any, TypeVar

from codex.chain import abi
from codex.chain.events import Cursor, Follower
from codex.chain.handle import MARGIN, Chain
from codex.chain.networks import marketplace_on
from codex.chain.values import FARTHEST, BlockTag, Receipt, Spending
from codex.config import MarketConfig
from codex.errors import ChainRefused, DecodeError, UnknownRequest
from codex.market import (
    Address,
    Groth16Proof,
    MarketEvent,
    MarketplaceConfig,
    Period,
    RequestId,
    RequestState,
    Slot,
    SlotId,
    SlotState,
    StorageRequest,
    check_request,
    repair_collateral,
)

State = TypeVar("State", RequestState, SlotState)

# What changes from block to block is asked of the block in the making: that is where an answer to it will be.
_NOW: BlockTag = "pending"

_MARGINS = {"reserveSlot": 1.25, "fillSlot": 1.5, "markProofAsMissing": 1.5, "freeSlot": 3.0}
"""More gas is allowed where what is done in the same block makes a call dearer: whoever fills the last slot,
say, starts the request, too.
"""

_NOT_MARKABLE = ("Proofs_", "Marketplace_SlotNotAcceptingProofs", "Marketplace_SlotIsFree")


class Token:
    """A token, as far as the marketplace needs it. Amounts are in its smallest unit."""

    def __init__(self, chain: Chain, address: Address) -> None:
        self._chain = chain
        self.address = address

    async def balance_of(self, account: Address | None = None) -> int:
        """What an account has, by default this node's."""
        return int(await self._ask("balanceOf", str(account or self._chain.account)))

    async def allowance(self, spender: Address, owner: Address | None = None) -> int:
        """What a contract may take of an account, by default this node's."""
        return int(await self._ask("allowance", str(owner or self._chain.account), str(spender)))

    async def symbol(self) -> str:
        """How it is called, for reading."""
        return str(await self._ask("symbol"))[:32]

    async def decimals(self) -> int:
        """How many digits people write behind the point."""
        return int(await self._ask("decimals"))

    async def approve(self, spender: Address, amount: int) -> Receipt:
        """Let a contract take so much of this node's account, and no more. Sending with a `Spending` does
        this by itself.
        """
        return await self._send("approve", str(spender), amount)

    async def transfer(self, to: Address, amount: int) -> Receipt:
        """Give tokens of this node's account."""
        return await self._send("transfer", str(to), amount)

    async def _ask(self, name: str, *values: Any) -> Any:
        function = abi.TOKEN[name]
        return function.answer(await self._chain.call(self.address, function.call(*values)))

    async def _send(self, name: str, *values: Any) -> Receipt:
        return await self._chain.send(self.address, abi.TOKEN[name].call(*values))


class Marketplace:
    """The marketplace contract, in the name of this node's account.

    What never changes (its configuration, its token, requests) is asked once and kept.
    """

    def __init__(self, chain: Chain, config: MarketConfig) -> None:
        self._chain = chain
        self._options = config
        self._config: MarketplaceConfig | None = None
        self._token: Token | None = None
        self._requests: OrderedDict[RequestId, StorageRequest] = OrderedDict()

    @property
    def chain(self) -> Chain:
        return self._chain

    @property
    def account(self) -> Address:
        """The account that this node buys and sells with."""
        return self._chain.account

    async def address(self) -> Address:
        """Where it is."""
        return marketplace_on(await self._chain.chain_id(), self._options)

    async def configuration(self) -> MarketplaceConfig:
        """The numbers it was set up with."""
        if self._config is None:
            self._config = MarketplaceConfig.from_tuple(await self._ask("configuration"))
        return self._config

    async def token(self) -> Token:
        """What it is paid with."""
        if self._token is None:
            self._token = Token(self._chain, Address.parse(await self._ask("token")))
        return self._token

    # -- requests

    async def request_storage(self, request: StorageRequest) -> Receipt:
        """Ask for storage, and pay the whole price in. Raises InvalidInput for what the contract would
        refuse, before anything is sent.
        """
        check_request(request, await self.configuration())
        return await self._send("requestStorage", request.as_tuple(), spending=request.ask.price)

    async def withdraw_funds(self, request: RequestId) -> Receipt:
        """Take back, for this node's account, what is left of the price of one of its requests."""
        return await self._send("withdrawFunds", request.raw)

    async def get_request(self, id: RequestId) -> StorageRequest | None:
        """A request; None when the contract knows none of this name."""
        if id in self._requests:
            self._requests.move_to_end(id)
            return self._requests[id]
        try:
            request = StorageRequest.from_tuple(await self._ask("getRequest", id.raw))
        except UnknownRequest:
            return None
        self._requests[id] = request
        while len(self._requests) > self._options.request_cache_size:
            self._requests.popitem(last=False)
        return request

    async def request_state(self, id: RequestId) -> RequestState | None:
        """How a request stands; None when the contract knows none of this name."""
        try:
            return _state(RequestState, await self._ask("requestState", id.raw, block=_NOW))
        except UnknownRequest:
            return None

    async def request_end(self, id: RequestId) -> int:
        """The moment at which a request ends, or did. Raises UnknownRequest."""
        return _moment(await self._ask("requestEnd", id.raw))

    async def request_expiry(self, id: RequestId) -> int:
        """The moment until which the slots of a request must be filled. Raises UnknownRequest."""
        return _moment(await self._ask("requestExpiry", id.raw))

    async def my_requests(self) -> tuple[RequestId, ...]:
        """The requests of this account that are not over, or not paid back yet."""
        return tuple([RequestId(raw) for raw in await self._ask("myRequests")])

    # -- slots

    async def my_slots(self) -> tuple[SlotId, ...]:
        """The slots that this account has filled and not given back."""
        return tuple([SlotId(raw) for raw in await self._ask("mySlots")])

    async def get_active_slot(self, id: SlotId) -> Slot | None:
        """The slot of this name; None when nobody has filled it."""
        try:
            request, index = await self._ask("getActiveSlot", id.raw)
        except ChainRefused as error:
            if error.reason == "Marketplace_SlotIsFree":
                return None
            raise
        return Slot(StorageRequest.from_tuple(request), index)

    async def get_host(self, id: SlotId) -> Address | None:
        """Who has filled a slot; None when nobody has."""
        host = Address.parse(await self._ask("getHost", id.raw))
        return None if host.is_none else host

    async def slot_state(self, id: SlotId) -> SlotState:
        """How a slot stands. One that was never filled is free, also of a request that nobody made."""
        return _state(SlotState, await self._ask("slotState", id.raw, block=_NOW))

    async def current_collateral(self, id: SlotId) -> int:
        """What is left of the collateral of whoever has filled a slot."""
        return int(await self._ask("currentCollateral", id.raw))

    async def can_reserve_slot(self, request: RequestId, index: int) -> bool:
        """Whether this account may reserve a slot."""
        return bool(await self._ask("canReserveSlot", request.raw, index))

    async def reserve_slot(self, request: RequestId, index: int) -> Receipt:
        """Reserve a slot. Raises SlotReservationNotAllowed."""
        return await self._send("reserveSlot", request.raw, index)

    async def collateral_for(self, slot: Slot) -> int:
        """What filling a slot now takes: less where it was lost by another host."""
        ask = slot.request.ask
        if await self.slot_state(slot.id) is SlotState.REPAIR:
            return repair_collateral(ask, (await self.configuration()).collateral)
        return ask.collateral_per_slot

    async def fill_slot(self, slot: Slot, proof: Groth16Proof) -> Receipt:
        """Fill a slot that this account has reserved, and pay the collateral in. Raises SlotStateMismatch
        when another host was first, and ProofInvalid.
        """
        return await self._send(
            "fillSlot",
            slot.request.id.raw,
            slot.index,
            proof.as_tuple(),
            spending=await self.collateral_for(slot),
        )

    async def free_slot(self, id: SlotId) -> int:
        """Give back a slot of this account: with what it has earned and the collateral when its request is
        over, and without anything when it is not. What was earned goes to the configured recipient, the
        collateral to the account. Returns what the marketplace has paid for it, both together.
        """
        if self._options.reward_recipient is None:
            return await self._paid(await self._send("freeSlot", id.raw))
        recipient = Address.parse(self._options.reward_recipient)
        payload = abi.FREE_SLOT_TO.call(id.raw, str(recipient), str(self.account))
        return await self._paid(
            await self._chain.send(await self.address(), payload, margin=_MARGINS["freeSlot"])
        )

    async def _paid(self, receipt: Receipt) -> int:
        """What the marketplace has paid in a transaction, as the token tells."""
        token, payer = (await self.token()).address, bytes(12) + (await self.address()).raw
        return sum(
            int.from_bytes(log.data[:32], "big")
            for log in receipt.logs
            if log.address == token and log.topics[:2] == (abi.TRANSFER, payer)
        )

    # -- proofs

    async def is_proof_required(self, id: SlotId) -> bool:
        """Whether a proof is asked of a slot in this period."""
        return bool(await self._ask("isProofRequired", id.raw, block=_NOW))

    async def will_proof_be_required(self, id: SlotId) -> bool:
        """Whether one will be, when the downtime of now is over."""
        return bool(await self._ask("willProofBeRequired", id.raw, block=_NOW))

    async def get_challenge(self, id: SlotId) -> bytes:
        """What a proof of a slot must answer now, 32 bytes."""
        return bytes(await self._ask("getChallenge", id.raw, block=_NOW))

    async def get_pointer(self, id: SlotId) -> int:
        """Where the pointer of a slot stands now, 0 to 255."""
        return int(await self._ask("getPointer", id.raw, block=_NOW))

    async def submit_proof(self, id: SlotId, proof: Groth16Proof) -> Receipt:
        """Prove that a slot is held, for this period. Raises ProofInvalid."""
        return await self._send("submitProof", id.raw, proof.as_tuple())

    async def missing_proofs(self, id: SlotId) -> int:
        """How many proofs of a slot were missed since it was filled."""
        return int(await self._ask("missingProofs", id.raw))

    async def can_mark_proof_as_missing(self, id: SlotId, period: Period) -> bool:
        """Whether the proof of a slot for a period can be marked as missing now."""
        try:
            await self._ask("canMarkProofAsMissing", id.raw, period.number, block=_NOW)
        except ChainRefused as error:
            if error.reason.startswith(_NOT_MARKABLE):
                return False
            raise
        return True

    async def mark_proof_as_missing(self, id: SlotId, period: Period) -> Receipt:
        """Mark the proof of a slot for a period as missing, and get the reward for it."""
        return await self._send("markProofAsMissing", id.raw, period.number)

    # -- events

    async def events(self, since: Cursor | int) -> Follower[MarketEvent]:
        """Everything that the marketplace tells, from a cursor on, or from the block of a number."""
        cursor = since if isinstance(since, Cursor) else Cursor(since)
        topics = tuple(abi.events_by_topic())
        return Follower(self._chain, await self.address(), topics, abi.event_of, cursor)

    # -- how

    async def _ask(self, name: str, *values: Any, block: BlockTag = "latest") -> Any:
        function = abi.MARKETPLACE[name]
        return function.answer(await self._chain.call(await self.address(), function.call(*values), block))

    async def _send(self, name: str, *values: Any, spending: int | None = None) -> Receipt:
        address = await self.address()
        takes = None
        if spending is not None:
            token = await self.token()
            takes = Spending(token=token.address, spender=address, amount=spending)
        payload = abi.MARKETPLACE[name].call(*values)
        return await self._chain.send(address, payload, margin=_MARGINS.get(name, MARGIN), spending=takes)


def _moment(value: int) -> int:
    if value >= FARTHEST:
        raise DecodeError(f"the marketplace gave a time that is beyond all there will be: {value}")
    return value


def _state(kind: type[State], value: int) -> State:
    try:
        return kind(value)
    except ValueError as error:
        raise DecodeError(f"the marketplace gave a state that there is not: {value}") from error
