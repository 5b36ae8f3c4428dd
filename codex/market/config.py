"""What a marketplace was set up with: the numbers that its contract tells as its configuration."""

from attrs import frozen

from codex.errors import DecodeError
from codex.market.periods import Period


@frozen(slots=True, kw_only=True)
class CollateralConfig:
    """What becomes of collateral. All are per cent of a slot's full collateral, but where said."""

    repair_reward: int
    """Taken off what a host pays that fills a lost slot again."""
    max_slashes: int
    """So many missed proofs, and the slot is taken from its host."""
    slash: int
    """Taken from the host for each missed proof."""
    validator_reward: int
    """Per cent of what is slashed: what goes to whoever marks the proof as missing."""


@frozen(slots=True, kw_only=True)
class ProofConfig:
    """When proofs are asked for."""

    period: int
    """Seconds of a period."""
    timeout: int
    """Seconds after a period's end in which a proof can be marked as missing."""
    downtime: int
    """Blocks out of 256 in which no proof is asked for."""
    downtime_product: int
    """By how many blocks the downtime moves from one period to the next."""
    zkey_hash: str
    """Names the proving key that proofs must be made with."""

    def period_at(self, moment: int) -> Period:
        """The period that a moment is in."""
        return Period.at(moment, self.period)


@frozen(slots=True, kw_only=True)
class MarketplaceConfig:
    """The configuration of a marketplace contract. It never changes."""

    collateral: CollateralConfig
    proofs: ProofConfig
    max_reservations: int
    """Hosts that may reserve one slot at the same time."""
    duration_limit: int
    """Seconds that a request may last at most."""

    @classmethod
    def from_tuple(
        cls, values: tuple[tuple[int, ...], tuple[object, ...], tuple[int], int]
    ) -> "MarketplaceConfig":
        """From what was decoded by the types of the contract's interface. Raises DecodeError for numbers that
        no marketplace works with.
        """
        collateral, proofs, (reservations,), limit = values
        repair, slashes, slash, reward = collateral
        period, timeout, downtime, product, zkey = proofs
        assert isinstance(period, int)
        assert isinstance(timeout, int)
        assert isinstance(downtime, int)
        assert isinstance(product, int)
        if period == 0:
            raise DecodeError("the marketplace has periods of no length")
        return cls(
            collateral=CollateralConfig(
                repair_reward=repair, max_slashes=slashes, slash=slash, validator_reward=reward
            ),
            proofs=ProofConfig(
                period=period,
                timeout=timeout,
                downtime=downtime,
                downtime_product=product,
                zkey_hash=str(zkey),
            ),
            max_reservations=reservations,
            duration_limit=limit,
        )
