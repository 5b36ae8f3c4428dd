"""The machine that runs contracts: a thin wrapper around `pyrevm`, with states that one can go back to.

The library keeps the whole life of a chain in one journal, as if it were a single transaction. So going back
is cheap, and gas is not what a live chain takes: what was touched once stays warm, and a storage word that
was written before costs little; transactions use less here. The base fee that contracts see is always 0.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from attrs import frozen

from codex.devnet.errors import REFUSED, NoEmbeddedChain, Refused
from codex.devnet.values import GAS_LIMIT, Event, Message, Outcome, Surroundings

RULES = "CANCUN"
"""The fork whose rules the machine follows."""

_REVERT = re.compile(r"Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*) \}")
_HALT = re.compile(r"Halt \{ reason: (.+), gas_used: (\d+) \}")
_POOR = "LackOfFundForMaxFee"
"""The library's word for a sender without the value that is to be sent."""


@frozen
class Mark:
    """A state to go back to; good until the machine goes back to it or to an earlier one."""

    checkpoint: Any


class Evm:
    """Accounts, their code and storage, and what messages do to them. Not for two tasks at once."""

    def __init__(self, chain_id: int) -> None:
        """Raises NoEmbeddedChain where the library is missing."""
        try:
            import eth_abi  # noqa: F401 - other parts of the chain use these two: what is missing is said at once
            import pyrevm
            import rlp  # noqa: F401
        except ImportError as error:
            raise NoEmbeddedChain(
                f"the embedded chain is made of pyrevm, eth-abi and rlp, and one is not there ({error})",
                remedy="Install codex-node[market,devnet], with Python 3.11 or 3.12 on Linux (x86-64), "
                "macOS or Windows.",
            ) from error
        self._library = pyrevm
        self._machine = pyrevm.EVM(
            env=pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=chain_id)), spec_id=RULES, gas_limit=GAS_LIMIT
        )

    def run(self, message: Message, around: Surroundings) -> Outcome:
        """Run `message`; what it changed stays, unless it failed. Raises Refused where it could not start."""
        library, machine = self._library, self._machine
        machine.set_block_env(
            library.BlockEnv(
                number=around.number,
                timestamp=around.timestamp,
                basefee=around.base_fee,
                gas_limit=around.gas_limit,
                coinbase=_text(around.fee_recipient),
                prevrandao=around.number.to_bytes(32, "big"),
            )
        )
        created = None
        output = b""
        try:
            if message.to is None:
                self._count(message.sender, message.nonce)
                address = machine.deploy(
                    _text(message.sender), message.data, value=message.value, gas=message.gas
                )
                created = _address(address)
            else:
                output = bytes(
                    machine.message_call(
                        _text(message.sender),
                        _text(message.to),
                        calldata=message.data,
                        value=message.value,
                        gas=message.gas,
                    )
                )
        except RuntimeError as error:
            return _failure(str(error))
        finally:
            machine.reset_transient_storage()
        result = machine.result
        assert result is not None
        events = tuple(_event(log) for log in result.logs)
        return Outcome(result.gas_used, output, events=events, created=created)

    def ask(self, message: Message, around: Surroundings) -> Outcome:
        """Run `message` and forget what it changed. Raises Refused where it could not start."""
        with self._unseen():
            return self.run(message, around)

    def move(self, sender: bytes, receiver: bytes, amount: int) -> None:
        """Hand wei from one account to another, outside of any block; the sender has them."""
        self._machine.message_call(_text(sender), _text(receiver), value=amount)

    def grant(self, account: bytes, amount: int) -> None:
        """Make `amount` wei for `account` out of nothing. Nothing goes back behind it."""
        self._machine.set_balance(_text(account), amount)

    def balance(self, account: bytes) -> int:
        """The account's wei."""
        with self._unseen():
            return self._machine.get_balance(_text(account))

    def code(self, account: bytes) -> bytes:
        """The account's code; empty where there is no contract."""
        with self._unseen():
            return bytes(self._machine.get_code(_text(account)) or b"")

    def storage(self, account: bytes, index: int) -> int:
        """A word of the account's storage."""
        with self._unseen():
            return self._machine.storage(_text(account), index)

    def mark(self) -> Mark:
        """The state as it is now, to go back to."""
        checkpoint = self._machine.snapshot()
        # The library counts open checkpoints as call depth, and calls go only so deep. Closed they serve too.
        self._machine.commit()
        return Mark(checkpoint)

    def back(self, mark: Mark) -> None:
        """Put everything back to what it was at `mark`."""
        self._machine.snapshot()
        self._machine.revert(mark.checkpoint)

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """Leave no trace of what is done in the block: what was looked at would be warm and cost less gas."""
        mark = self.mark()
        try:
            yield
        finally:
            self.back(mark)

    def _count(self, account: bytes, nonce: int) -> None:
        # The library counts creations and no calls, and takes the address of what is created from its count.
        if self.code(account):
            raise Refused(REFUSED, "sender not an eoa")
        # Its description of itself leaves the balance out.
        info = self._library.AccountInfo(balance=self.balance(account), nonce=nonce)  # type: ignore[call-arg]
        self._machine.insert_account_info(_text(account), info)


def _failure(text: str) -> Outcome:
    if match := _REVERT.fullmatch(text):
        return Outcome(int(match[1]), bytes.fromhex(match[2]), failure="Revert")
    if match := _HALT.fullmatch(text):
        return Outcome(int(match[2]), b"", failure=match[1])
    if _POOR in text:
        raise Refused(REFUSED, "insufficient funds for gas * price + value")
    raise Refused(REFUSED, f"the message cannot run: {text}")


def _event(log: Any) -> Event:
    topics, data = log.data
    return Event(_address(log.address), tuple(bytes(topic) for topic in topics), bytes(data))


def _text(address: bytes) -> str:
    return "0x" + address.hex()


def _address(text: str) -> bytes:
    return bytes.fromhex(text[2:])
