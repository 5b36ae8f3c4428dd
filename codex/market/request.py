"""A storage request: who wants what stored, for how long, for how much; and one slot of it."""

from functools import cached_property

from attrs import field, frozen

from codex.market.ids import Address, RequestId, SlotId, keccak256

ABI = "(address,(uint256,uint256,uint256,uint64,uint64,uint64,uint64),(bytes,bytes32),uint64,bytes32)"
"""How the contract has a request, in the notation of its interface."""
ASK_ABI = "(uint256,uint256,uint256,uint64,uint64,uint64,uint64)"


@frozen(slots=True, kw_only=True)
class StorageAsk:
    """What is asked of hosts, for each slot alike."""

    proof_probability: int
    """A proof is asked for in one of so many periods, on average."""
    price_per_byte_per_second: int
    collateral_per_byte: int
    slots: int
    """How many slots there are; each may have another host."""
    slot_size: int
    """Bytes of one slot, those that only fill it up included."""
    duration: int
    """Seconds from the request on."""
    max_slot_loss: int
    """Slots that may be lost at the same time without the request failing."""

    @property
    def price_per_slot_per_second(self) -> int:
        return self.price_per_byte_per_second * self.slot_size

    @property
    def price_per_slot(self) -> int:
        """What a host earns that fills its slot in the moment of the request."""
        return self.price_per_slot_per_second * self.duration

    @property
    def price(self) -> int:
        """What the client pays in, and at most pays: all slots for the whole duration."""
        return self.price_per_slot * self.slots

    @property
    def collateral_per_slot(self) -> int:
        return self.collateral_per_byte * self.slot_size

    def as_tuple(self) -> tuple[int, ...]:
        """The numbers in the order of the contract's interface."""
        return (
            self.proof_probability,
            self.price_per_byte_per_second,
            self.collateral_per_byte,
            self.slots,
            self.slot_size,
            self.duration,
            self.max_slot_loss,
        )

    @classmethod
    def from_tuple(cls, numbers: tuple[int, ...]) -> "StorageAsk":
        """The reverse of `as_tuple`."""
        probability, price, collateral, slots, slot_size, duration, loss = numbers
        return cls(
            proof_probability=probability,
            price_per_byte_per_second=price,
            collateral_per_byte=collateral,
            slots=slots,
            slot_size=slot_size,
            duration=duration,
            max_slot_loss=loss,
        )


@frozen(slots=True)
class StorageContent:
    """What is to be stored."""

    cid: bytes
    """The CID of the verifiable manifest as bytes. On the chain it may be any bytes at all."""
    merkle_root: bytes
    """The root over the slots' trees: a field element, 32 bytes, the least significant first."""


@frozen(kw_only=True)
class StorageRequest:
    """A request as it stands on the chain. Everything in it is part of its name."""

    client: Address
    ask: StorageAsk
    content: StorageContent
    expiry: int
    """Seconds from the request on within which all slots must be filled."""
    nonce: bytes = field(repr=bytes.hex)
    """32 bytes that make two requests for the same thing two."""

    @cached_property
    def id(self) -> RequestId:
        """Its name: the hash of its encoding."""
        # Costs a quarter of a second the first time, which only nodes with a marketplace spend.
        from eth_abi.abi import encode

        return RequestId(keccak256(encode([ABI], [self.as_tuple()])))

    def slot(self, index: int) -> "Slot":
        """One slot of it, from 0."""
        return Slot(self, index)

    def as_tuple(self) -> tuple[object, ...]:
        """The values in the order of the contract's interface."""
        content = (self.content.cid, self.content.merkle_root)
        return (str(self.client), self.ask.as_tuple(), content, self.expiry, self.nonce)

    @classmethod
    def from_tuple(cls, values: tuple[object, ...]) -> "StorageRequest":
        """The reverse of `as_tuple`, for what was decoded by the interface's types."""
        client, ask, content, expiry, nonce = values
        assert isinstance(client, str)
        assert isinstance(ask, tuple)
        assert isinstance(content, tuple)
        assert isinstance(expiry, int)
        assert isinstance(nonce, bytes)
        return cls(
            client=Address.parse(client),
            ask=StorageAsk.from_tuple(ask),
            content=StorageContent(*content),
            expiry=expiry,
            nonce=nonce,
        )


@frozen
class Slot:
    """One slot of a request."""

    request: StorageRequest
    index: int

    @cached_property
    def id(self) -> SlotId:
        return SlotId.of(self.request.id, self.index)
