"""Who signs this node's transactions: a key in a file of this machine, or an account that the provider keeps.

A key is read once, from a file that only its owner may read, and shows nowhere: not in a text form, not in an
error, not in the log.
"""

import json
import os
import re
import stat
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from attrs import frozen

from codex.chain.fees import Fees
from codex.config import MarketConfig
from codex.errors import ConfigError, DecodeError
from codex.market import Address

_READ = 65536  # bytes; keystores have less than one thousand
_NEEDED = ("eth_abi", "eth_account")
_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_HOW = (
    "Name a file with the 64 hexadecimal digits of a key, or an encrypted keystore, with --eth-private-key."
)


@frozen
class Transaction:
    """A call of a contract, ready to be signed."""

    to: Address
    data: bytes
    gas: int
    nonce: int
    fees: Fees
    value: int = 0
    """Wei that go with it."""


class Signer(Protocol):
    """Signs for one account."""

    @property
    def address(self) -> Address:
        """The account."""
        ...

    def sign(self, transaction: Transaction, chain: int) -> bytes | None:
        """The transaction signed for the chain of id `chain`; None where the provider is to sign it."""
        ...


class KeySigner:
    """Signs with a key that is here: transactions of type 2 (EIP-1559), and where there is no base fee of the
    first kind, for one chain only (EIP-155).
    """

    def __init__(self, key: bytes) -> None:
        """Raises ValueError, which may have the key in it, for a number that is no key."""
        self._account = _accounts().from_key(key)
        self._address = Address.parse(self._account.address)

    def __repr__(self) -> str:
        return f"<KeySigner {self._address}>"

    @property
    def address(self) -> Address:
        return self._address

    def sign(self, transaction: Transaction, chain: int) -> bytes | None:
        fields = {
            "to": transaction.to.raw,
            "data": transaction.data,
            "value": transaction.value,
            "gas": transaction.gas,
            "nonce": transaction.nonce,
            "chainId": chain,
            **transaction.fees.fields(),
        }
        if transaction.fees.tip is not None:
            fields["type"] = 2
        return bytes(self._account.sign_transaction(fields).raw_transaction)


@frozen
class ProviderSigner:
    """Leaves it to the provider to sign, for an account that the provider keeps."""

    address: Address

    def sign(self, transaction: Transaction, chain: int) -> bytes | None:
        """None: the provider signs."""
        return None


def load_signer(config: MarketConfig) -> Signer:
    """The signer that the configuration asks for. Reads files, and decrypts what is encrypted, which takes
    seconds: call it off the loop.

    Raises ConfigError: neither account nor key is named, the key file is open to others or holds no key, or
    both are named and are not the same account; or what the marketplace needs is not installed.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the marketplace needs packages that are not installed: {', '.join(missing)}",
            remedy="Run: pip install 'codex-node[market]'",
        )
    if config.private_key_file is None:
        if config.account is None:
            raise ConfigError(
                "the marketplace needs an account",
                remedy="Name the file of its key with --eth-private-key, or the account with --eth-account "
                "where the provider keeps its key.",
            )
        return ProviderSigner(Address.parse(config.account))
    try:
        signer = KeySigner(_key(config.private_key_file, config.password_file))
    except ValueError:
        # What the library says may have the key in it.
        raise ConfigError(
            f"the key file {config.private_key_file} holds a number that is no key", remedy=_HOW
        ) from None
    if config.account is not None and Address.parse(config.account) != signer.address:
        raise ConfigError(
            f"the key in {config.private_key_file} is that of {signer.address}, and not of {config.account}",
            remedy="Name the account's own key file, or leave --eth-account out.",
        )
    return signer


def _key(path: Path, password: Path | None) -> bytes:
    text = read_secret(path, "key", _HOW)
    match = _KEY.fullmatch(text)
    if match is not None:
        return bytes.fromhex(match[1])
    try:
        keystore = json.loads(text)
    except (ValueError, RecursionError):
        keystore = None
    if not isinstance(keystore, dict):
        # What stands there instead is not shown: it may be most of a key.
        raise ConfigError(f"the key file {path} holds no key", remedy=_HOW)
    return _decrypted(keystore, path, password)


def _decrypted(keystore: dict[str, Any], path: Path, password: Path | None) -> bytes:
    if password is None:
        raise ConfigError(
            f"the key file {path} is encrypted",
            remedy="Name a file, mode 0600, with its password with --eth-password-file.",
        )
    secret = read_secret(password, "password", "Name the file with the password with --eth-password-file.")
    try:
        return bytes(_accounts().decrypt(keystore, secret))
    except (ValueError, KeyError, TypeError, NotImplementedError, AttributeError):
        # The library's own words are left out, with what they may quote. It raises all of these over a file
        # that is none of its kind: NotImplementedError for a version or a cipher that it does not know.
        raise ConfigError(
            f"the key file {path} cannot be decrypted: the password is wrong, or it is no keystore",
            remedy="Check the password in the file that --eth-password-file names.",
        ) from None


def signer_of(raw: bytes) -> Address:
    """Whose key has signed a transaction. Raises DecodeError."""
    from eth_keys.exceptions import BadSignature
    from eth_utils.exceptions import ValidationError

    try:
        return Address.parse(_accounts().recover_transaction(raw))
    except (BadSignature, ValidationError, ValueError, TypeError) as error:
        raise DecodeError("this is no signed transaction") from error


def _accounts() -> Any:
    """The library that knows accounts, which takes a second to load. Something it is made of lets the whole
    process recurse a hundred times deeper, so deep that nested input of strangers would crash it: that is
    taken back.
    """
    limit = sys.getrecursionlimit()
    try:
        from eth_account import Account
    finally:
        sys.setrecursionlimit(limit)
    return Account


def read_secret(path: Path, what: str, how: str) -> str:
    """The text in a file that nobody but its owner may read, without the blanks around it.

    Raises ConfigError, with `how` as what to do: it cannot be read, is no regular file, is open to group or
    others, or is longer than 64 KiB.
    """
    start = f"the {what} file {path}"
    try:
        # Without waiting, so that a pipe is refused below and does not hang the start.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)
            regular = stat.S_ISREG(status.st_mode)
            data = os.read(descriptor, _READ + 1) if regular else b""
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"{start} cannot be read: {why}", remedy=how) from error
    if not regular:
        raise ConfigError(f"{start} is no regular file", remedy=how)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        raise ConfigError(
            f"{start} is open to others (mode {mode:04o})", remedy=f"Close it to them: chmod 600 {path}"
        )
    if len(data) > _READ:
        raise ConfigError(f"{start} has more than {_READ} bytes", remedy=how)
    try:
        return data.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ConfigError(f"{start} holds no text", remedy=how) from None


def checked_address(text: str, option: str) -> Address:
    """The address that an option names. Raises ConfigError."""
    try:
        return Address.parse(text)
    except DecodeError as error:
        raise ConfigError(f"{option}: {error.message}", remedy=error.remedy) from error
