"""Everything that the chain's service can be asked. What each call does and raises stands at the handle's
method of its name.
"""

from attrs import frozen

from codex.chain.values import BlockTag, Header, Log, Receipt, Spending
from codex.market import Address
from codex.runtime import Call


@frozen
class CallContract(Call[bytes]):
    to: Address
    payload: bytes
    block: BlockTag


@frozen
class Transact(Call[Receipt]):
    to: Address
    payload: bytes
    margin: float
    spending: Spending | None


@frozen
class GetChain(Call[int]):
    pass


@frozen
class GetHeader(Call[Header | None]):
    number: int | None


@frozen
class GetLogs(Call[tuple[Log, ...]]):
    address: Address
    first: int
    last: int
    topics: tuple[bytes, ...]


@frozen
class GetLogsOf(Call[tuple[Log, ...]]):
    address: Address
    block: Header
    topics: tuple[bytes, ...]


@frozen
class GetBalance(Call[int]):
    account: Address


@frozen
class GetGasPrice(Call[int]):
    pass


@frozen
class CountWaiting(Call[int]):
    pass
