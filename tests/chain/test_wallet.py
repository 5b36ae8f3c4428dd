"""Keys: where they may stand, what is refused, and that none of it shows."""

import json
import subprocess
import sys
import traceback
from pathlib import Path

import pytest
from attrs import evolve

from codex.chain.fees import Fees
from codex.chain.wallet import (
    KeySigner,
    ProviderSigner,
    Transaction,
    _accounts,
    load_signer,
    read_secret,
)
from codex.config import MarketConfig
from codex.devnet.transactions import read
from codex.errors import ConfigError
from codex.market import Address

# The key and its address are values that a widely used development chain prints.
KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ADDRESS = Address.parse("0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266")
TRANSACTION = Transaction(Address(b"\x11" * 20), b"\x01\x02", 50_000, 7, Fees(3 * 10**9, 10**9))


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", [KEY, "0x" + KEY, f"  0x{KEY.upper()}\n"])
def test_a_key_is_read_from_its_file(tmp_path: Path, text: str) -> None:
    signer = load_signer(MarketConfig(private_key_file=written(tmp_path / "key", text.replace("0X", "0x"))))
    assert isinstance(signer, KeySigner)
    assert signer.address == ADDRESS
    assert KEY not in repr(signer)
    assert KEY not in str(vars(signer))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660, 0o666])
def test_a_file_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = written(tmp_path / "key", KEY, mode)
    with pytest.raises(ConfigError, match="open to others") as caught:
        load_signer(MarketConfig(private_key_file=path))
    assert caught.value.remedy == f"Close it to them: chmod 600 {path}"


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "[]", "0x" + "zz" * 32, KEY + KEY, "null"])
def test_what_is_no_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="holds no key") as caught:
        load_signer(MarketConfig(private_key_file=written(tmp_path / "key", text)))
    assert not text or text not in "".join(traceback.format_exception(caught.value))
    assert "--eth-private-key" in caught.value.remedy


@pytest.mark.parametrize("key", ["00" * 32, "ff" * 32])
def test_a_number_that_is_no_key_is_refused_and_not_shown(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match="is no key") as caught:
        load_signer(MarketConfig(private_key_file=written(tmp_path / "key", key)))
    assert key not in "".join(traceback.format_exception(caught.value))


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path, Path("\0")):
        with pytest.raises(ConfigError, match="the key file"):
            load_signer(MarketConfig(private_key_file=path))
    with pytest.raises(ConfigError, match="more than"):
        load_signer(MarketConfig(private_key_file=written(tmp_path / "long", "a" * 70_000)))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    with pytest.raises(ConfigError, match="holds no text"):
        read_secret(tmp_path / "binary", "key", "how")


def keystore(tmp_path: Path) -> Path:
    made = _accounts().encrypt(KEY, "sesame", kdf="pbkdf2", iterations=2)
    return written(tmp_path / "keystore", json.dumps(made))


def test_an_encrypted_key_is_read_with_its_password(tmp_path: Path) -> None:
    config = MarketConfig(
        private_key_file=keystore(tmp_path), password_file=written(tmp_path / "password", "sesame\n")
    )
    assert load_signer(config).address == ADDRESS
    with pytest.raises(ConfigError, match="is encrypted") as caught:
        load_signer(evolve(config, password_file=None))
    assert "--eth-password-file" in caught.value.remedy
    wrong = evolve(config, password_file=written(tmp_path / "wrong", "open"))
    with pytest.raises(ConfigError, match="cannot be decrypted") as caught:
        load_signer(wrong)
    assert "sesame" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(ConfigError, match="open to others"):
        load_signer(evolve(config, password_file=written(tmp_path / "open", "sesame", 0o644)))


@pytest.mark.parametrize("text", ['{"version": 3}', '{"crypto": 5, "version": 3}', '{"a": []}'])
def test_a_keystore_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    config = MarketConfig(
        private_key_file=written(tmp_path / "keystore", text),
        password_file=written(tmp_path / "password", "sesame"),
    )
    with pytest.raises(ConfigError, match="cannot be decrypted"):
        load_signer(config)


def test_an_account_of_the_provider_signs_nothing_here() -> None:
    signer = load_signer(MarketConfig(account=str(ADDRESS)))
    assert signer == ProviderSigner(ADDRESS)
    assert signer.sign(TRANSACTION, 1) is None


def test_account_and_key_must_be_one(tmp_path: Path) -> None:
    config = MarketConfig(private_key_file=written(tmp_path / "key", KEY), account=str(ADDRESS).upper()[2:])
    assert load_signer(config).address == ADDRESS
    with pytest.raises(ConfigError, match="and not of"):
        load_signer(evolve(config, account="0x" + "11" * 20))
    with pytest.raises(ConfigError, match="needs an account"):
        load_signer(MarketConfig())


@pytest.mark.parametrize("fees", [Fees(3 * 10**9, 10**9), Fees(3 * 10**9, None), Fees(0, 0)])
@pytest.mark.parametrize(("data", "nonce"), [(b"\x01\x02", 0), (b"", 7), (bytes(600), 2**40)])
def test_a_chain_reads_what_was_signed(tmp_path: Path, fees: Fees, data: bytes, nonce: int) -> None:
    signer = load_signer(MarketConfig(private_key_file=written(tmp_path / "key", KEY)))
    raw = signer.sign(evolve(TRANSACTION, fees=fees, data=data, nonce=nonce), 31337)
    assert raw is not None
    there = read(raw)
    assert (there.kind, there.chain_id) == (0 if fees.tip is None else 2, 31337)
    assert (there.max_fee, there.max_tip) == (fees.most, fees.most if fees.tip is None else fees.tip)
    assert (there.sender, there.to) == (ADDRESS.raw, TRANSACTION.to.raw)
    assert (there.data, there.nonce, there.gas, there.value) == (data, nonce, TRANSACTION.gas, 0)


def test_signing_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    config = f"private_key_file=Path({str(keystore(tmp_path))!r}), password_file=Path('password')"
    written(tmp_path / "password", "sesame")
    probe = (
        "import sys; from pathlib import Path; from codex.chain.wallet import *;"
        "before = sys.getrecursionlimit();"
        f"signer = load_signer(MarketConfig({config}));"
        "signer.sign(Transaction(signer.address, b'', 1, 1, Fees(1, 1)), 1);"
        "print(sys.getrecursionlimit() == before, 'eth_account' in sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert said.stdout.split() == ["True", "True"]


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "eth_account", None)
    with pytest.raises(ConfigError, match="not installed: eth_account") as caught:
        load_signer(MarketConfig(private_key_file=written(tmp_path / "key", KEY)))
    assert caught.value.remedy == "Run: pip install 'codex-node[market]'"
