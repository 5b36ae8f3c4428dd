"""What a transaction offers to pay for its gas. In wei a unit of gas, all of it."""

from attrs import frozen

from codex.chain.jsonrpc import quantity
from codex.chain.values import Header

RAISE = 8
"""A replacement offers an eighth more, 12.5 per cent. Chains refuse less than a tenth more."""
_ROOM = 2
"""How many times the base fee of now is offered: it rises by an eighth a block at most, so that this holds
for five full blocks; what is not needed is not taken.
"""


@frozen
class Fees:
    """What is offered: `most` in all, of which `tip` goes to whoever makes the block. `tip` is None on a
    chain that has one price only.
    """

    most: int
    tip: int | None

    @classmethod
    def at(cls, head: Header, tip: int, gas_price: int) -> "Fees":
        """What to offer now. `gas_price` is what the provider names, for chains without a base fee."""
        if head.base_fee is None:
            return cls(gas_price, None)
        return cls(head.base_fee * _ROOM + tip, tip)

    def raised(self) -> "Fees":
        """Enough to replace a transaction that offers this."""
        return Fees(_more(self.most), None if self.tip is None else _more(self.tip))

    def at_least(self, other: "Fees") -> "Fees":
        """The higher of two offers, part by part."""
        if self.tip is None or other.tip is None:
            return Fees(max(self.most, other.most), None)
        return Fees(max(self.most, other.most), max(self.tip, other.tip))

    def fields(self) -> dict[str, int]:
        """The fields of a transaction that say it."""
        if self.tip is None:
            return {"gasPrice": self.most}
        return {"maxFeePerGas": self.most, "maxPriorityFeePerGas": self.tip}

    def as_json(self) -> dict[str, str]:
        return {name: quantity(value) for name, value in self.fields().items()}


def _more(price: int) -> int:
    return price + max(1, -(-price // RAISE))
