"""What the contract demands of a storage request, said in words before money is spent on hearing its no."""

from codex.errors import InvalidInput
from codex.market.config import MarketplaceConfig
from codex.market.request import StorageRequest
from codex.units import duration_text

_U64, _U256 = 2**64 - 1, 2**256 - 1


def check_request(request: StorageRequest, config: MarketplaceConfig) -> None:
    """Raise InvalidInput for the first thing that the contract would refuse `request` for.

    What only the chain knows (that there is one of this name already, or not enough tokens) is not looked at.
    """
    ask = request.ask
    _fits(request)
    if not 0 < request.expiry < ask.duration:
        raise InvalidInput(
            "Expiry must be greater than zero and less than the request's duration",
            remedy=f"Give an expiry of 1 to {max(ask.duration - 1, 1)} seconds, or a longer duration.",
        )
    if ask.slots < 1:
        raise InvalidInput("A request must have slots", remedy="Give one slot or more.")
    if ask.slot_size < 1:
        raise InvalidInput("A slot must have bytes", remedy="Give a slot size of a block or more.")
    if ask.max_slot_loss > ask.slots:
        raise InvalidInput(
            f"Of {ask.slots} slots {ask.max_slot_loss} cannot be lost",
            remedy="Tolerate the loss of no more slots than there are.",
        )
    for value, what in (
        (ask.proof_probability, "Proof probability"),
        (ask.collateral_per_byte, "Collateral per byte"),
        (ask.price_per_byte_per_second, "Price per byte per second"),
    ):
        if value < 1:
            raise InvalidInput(f"{what} must be greater than zero", remedy="Give a whole number, 1 or more.")
    if not request.content.cid:
        raise InvalidInput("A request must name what is to be stored", remedy="Give the CID of a dataset.")
    if ask.duration > config.duration_limit:
        limit = config.duration_limit
        raise InvalidInput(
            f"Duration exceeds limit of {limit} seconds",
            remedy=f"Ask for {duration_text(limit)} or less, and again when that is over.",
        )


def _fits(request: StorageRequest) -> None:
    """Every number in the room that the contract has for it, those it works out included."""
    ask = request.ask
    for value, most, what in (
        (ask.proof_probability, _U256, "The proof probability"),
        (ask.price_per_byte_per_second, _U256, "The price per byte per second"),
        (ask.collateral_per_byte, _U256, "The collateral per byte"),
        (ask.slots, _U64, "The number of slots"),
        (ask.slot_size, _U64, "The size of a slot"),
        (ask.duration, _U64, "The duration"),
        (ask.max_slot_loss, _U64, "The number of slots that may be lost"),
        (request.expiry, _U64, "The expiry"),
        (ask.price, _U256, "The price of the whole request"),
        (ask.collateral_per_slot, _U256, "The collateral of a slot"),
    ):
        if not 0 <= value <= most:
            raise InvalidInput(
                f"{what} does not fit: {value}", remedy=f"Give numbers that keep it within 0 and {most}."
            )
    if len(request.content.merkle_root) != 32 or len(request.nonce) != 32:
        raise InvalidInput("A Merkle root and a nonce have 32 bytes each")
