"""On what terms storage is bought, and what is wrong with terms, in the words of the network. Pure."""

from attrs import frozen

from codex.errors import InvalidInput
from codex.market import MarketplaceConfig

NODES, TOLERANCE = 3, 1
"""What a request has that does not say."""


@frozen(kw_only=True)
class Terms:
    """On what terms storage is wanted. Amounts are in the token's smallest unit, times in seconds.

    Of `nodes` slots any `nodes - tolerance` are enough to get the dataset back.
    """

    duration: int
    proof_probability: int
    price_per_byte_per_second: int
    collateral_per_byte: int
    expiry: int
    nodes: int = NODES
    tolerance: int = TOLERANCE

    @property
    def rows(self) -> int:
        """K: how many slots are enough."""
        return self.nodes - self.tolerance

    def check(self, config: MarketplaceConfig) -> None:
        """Raise InvalidInput for the first thing that is wrong, in the words and order of the network."""
        if not 0 < self.expiry < self.duration:
            raise InvalidInput(
                "Expiry must be greater than zero and less than the request's duration",
                remedy=f"give an expiry of 1 to {max(self.duration - 1, 1)} seconds, or a longer duration",
            )
        for amount, what in (
            (self.proof_probability, "Proof probability"),
            (self.collateral_per_byte, "Collateral per byte"),
            (self.price_per_byte_per_second, "Price per byte per second"),
        ):
            if amount < 1:
                raise InvalidInput(f"{what} must be greater than zero", remedy="give a number, 1 or more")
        if self.duration > config.duration_limit:
            raise InvalidInput(
                f"Duration exceeds limit of {config.duration_limit} seconds",
                remedy="ask for less, and again when that is over",
            )
        if self.tolerance < 1:
            raise InvalidInput(
                "Tolerance needs to be bigger then zero", remedy="tolerate the loss of 1 slot or more"
            )
        if self.tolerance > self.nodes:
            raise InvalidInput(
                "Invalid parameters: `tolerance` cannot be greater than `nodes`",
                remedy="spread it over more nodes, or tolerate less",
            )
        if not 1 < self.rows >= self.tolerance:
            raise InvalidInput(
                "Invalid parameters: parameters must satify `1 < (nodes - tolerance) ≥ tolerance`",
                remedy="take 3 nodes with tolerance 1, say",
            )
