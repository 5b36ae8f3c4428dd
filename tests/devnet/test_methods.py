from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from codex.devnet.chain import Chain
from codex.devnet.errors import INVALID_PARAMS, METHOD_NOT_FOUND, REVERTED, Refused
from codex.devnet.methods import Methods
from codex.devnet.transactions import Account, sign
from codex.devnet.values import Message, keccak256

START = 1_700_000_000
ALICE, BOB = (Account.of(keccak256(name)) for name in (b"alice", b"bob"))
ALICES, BOBS = ("0x" + account.address.hex() for account in (ALICE, BOB))
SAYING = "0x60ff60005260aa60206000a15f5ff3"
REFUSING = "0x602a5f5260205ffd"
TOPIC = "0x" + "00" * 31 + "aa"

Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def chain() -> Chain:
    return Chain(lambda: START, accounts=[ALICE, BOB], funds=10**24)


@pytest.fixture
def ask(chain: Chain) -> Ask:
    methods = Methods(chain)

    async def ask(method: str, *params: Any) -> Any:
        return await methods.answer(method, list(params))

    return ask


async def say(ask: Ask) -> str:
    """A transaction that leaves a log; its hash."""
    return str(await ask("eth_sendTransaction", {"from": ALICES, "data": SAYING}))


async def test_what_the_chain_is(ask: Ask) -> None:
    assert await ask("eth_chainId") == "0x7a69"
    assert await ask("net_version") == "31337"
    assert (await ask("web3_clientVersion")).startswith("codex-devnet/")
    assert await ask("eth_syncing") is False
    assert await ask("net_listening") is True
    assert await ask("eth_accounts") == [ALICES, BOBS]
    assert await ask("eth_blockNumber") == "0x0"
    assert await ask("eth_gasPrice") == hex(2 * 10**9)
    assert await ask("eth_maxPriorityFeePerGas") == hex(10**9)


async def test_blocks_have_their_transactions_or_the_hashes(ask: Ask) -> None:
    hash = await say(ask)
    block = await ask("eth_getBlockByNumber", "latest")
    assert block["transactions"] == [hash]
    full = await ask("eth_getBlockByHash", block["hash"], True)
    assert full["transactions"] == [await ask("eth_getTransactionByHash", hash)]
    assert full == {**block, "transactions": full["transactions"]}
    assert await ask("eth_getBlockByNumber", "0x1") == block
    assert (await ask("eth_getBlockByNumber", "earliest"))["hash"] == block["parentHash"]
    assert await ask("eth_getBlockByNumber", "0x2") is None
    assert await ask("eth_getBlockByHash", "0x" + "00" * 32) is None
    assert await ask("eth_getBlockTransactionCountByNumber", "latest") == "0x1"
    # Who looks at blooms before asking for logs has to ask.
    assert set(block["logsBloom"][2:]) == {"f"}
    assert set((await ask("eth_getBlockByNumber", "earliest"))["logsBloom"][2:]) == {"0"}


async def test_the_block_to_come_has_no_hash(ask: Ask, chain: Chain) -> None:
    chain.set_next_timestamp(START + 77)
    block = await ask("eth_getBlockByNumber", "pending", True)
    assert (block["number"], block["hash"], block["timestamp"]) == ("0x1", None, hex(START + 77))


async def test_a_receipt_tells_what_became_of_a_transaction(ask: Ask) -> None:
    hash = await say(ask)
    receipt = await ask("eth_getTransactionReceipt", hash)
    assert (receipt["status"], receipt["blockNumber"], receipt["from"]) == ("0x1", "0x1", ALICES)
    assert receipt["to"] is None
    assert await ask("eth_getCode", receipt["contractAddress"]) == "0x"
    (log,) = receipt["logs"]
    assert log["topics"] == [TOPIC]
    assert log["removed"] is False
    assert await ask("eth_getLogs", {"address": receipt["contractAddress"], "fromBlock": "0x0"}) == [log]
    assert await ask("eth_getTransactionReceipt", "0x" + "00" * 32) is None


async def test_a_transaction_that_waits_has_no_block(ask: Ask, chain: Chain) -> None:
    await ask("evm_setAutomine", False)
    hash = await ask("eth_sendTransaction", {"from": ALICES, "to": BOBS, "value": "0x5"})
    assert await ask("eth_getTransactionReceipt", hash) is None
    waiting = await ask("eth_getTransactionByHash", hash)
    assert (waiting["blockNumber"], waiting["value"], waiting["nonce"]) == (None, "0x5", "0x0")
    assert await ask("eth_getTransactionCount", ALICES, "pending") == "0x1"
    assert await ask("eth_getTransactionCount", ALICES) == "0x0"
    assert await ask("eth_getBlockTransactionCountByNumber", "pending") == "0x1"
    assert await ask("evm_mine") == "0x0"
    assert (await ask("eth_getTransactionByHash", hash))["blockNumber"] == "0x1"
    assert await ask("eth_getTransactionCount", ALICES) == "0x1"
    assert await ask("eth_getTransactionByHash", "0x" + "00" * 32) is None


@pytest.mark.parametrize("fields", [{"gasPrice": 3 * 10**9}, {"gasPrice": 3 * 10**9, "chainId": 31337}])
async def test_signed_transactions_of_wallets_are_taken(ask: Ask, fields: dict[str, int]) -> None:
    from eth_account import Account as Wallet

    fields = {"nonce": 0, "to": BOB.address, "value": 5, "gas": 21_000, **fields}  # type: ignore[dict-item]
    raw = Wallet.sign_transaction(fields, ALICE.key).raw_transaction
    hash = await ask("eth_sendRawTransaction", "0x" + raw.hex())
    told = await ask("eth_getTransactionByHash", hash)
    assert told["type"] == "0x0"
    assert int(told["v"], 16) in ((27, 28) if "chainId" not in fields else (2 * 31337 + 35, 2 * 31337 + 36))


async def test_what_an_account_has(ask: Ask) -> None:
    before = int(await ask("eth_getBalance", BOBS), 16)
    await ask("eth_sendTransaction", {"from": ALICES, "to": BOBS, "value": "0x5"})
    assert int(await ask("eth_getBalance", BOBS, "latest"), 16) == before + 5
    assert int(await ask("eth_getBalance", BOBS, "0x0"), 16) == before
    assert await ask("eth_getTransactionCount", ALICES, "0x0") == "0x0"
    await ask("hardhat_setBalance", BOBS, "0x7")
    assert await ask("eth_getBalance", BOBS, "pending") == "0x7"
    assert await ask("eth_getStorageAt", BOBS, "0x0", "latest") == "0x" + "00" * 32


async def test_a_block_is_named_by_number_name_or_hash(ask: Ask, chain: Chain) -> None:
    await ask("evm_mine")
    number = "0x435f5260205ff3"

    async def seen(*at: Any) -> Any:
        # The creation's result is the number that the contract saw, as its code.
        return await ask("eth_call", {"from": ALICES, "data": "0x435f5260205ffd"}, *at)

    for at, wanted in (
        ("latest", 1),
        ("safe", 1),
        ("finalized", 1),
        ("pending", 2),
        ("earliest", 0),
        ("0x0", 0),
        (None, 1),
        ({"blockNumber": "0x0"}, 0),
        ({"blockHash": "0x" + chain.ledger.block(0).hash.hex()}, 0),
    ):
        with pytest.raises(Refused) as refused:
            await seen(at)
        assert refused.value.data == wanted.to_bytes(32, "big"), (at, number)
    for unknown in ("0x2", {"blockHash": "0x" + "00" * 32}, "yesterday", {}):
        with pytest.raises(Refused) as refused:
            await seen(unknown)
        assert refused.value.code != REVERTED


async def test_what_a_contract_says_when_it_refuses_is_in_the_error(ask: Ask) -> None:
    for method in ("eth_call", "eth_estimateGas"):
        with pytest.raises(Refused) as refused:
            await ask(method, {"from": ALICES, "data": REFUSING})
        assert (refused.value.code, refused.value.message) == (REVERTED, "execution reverted")
        assert refused.value.data == (42).to_bytes(32, "big")


async def test_transactions_of_the_chains_own_accounts(ask: Ask) -> None:
    given = {
        "from": ALICES,
        "to": BOBS,
        "gas": hex(50_000),
        "nonce": "0x0",
        "maxFeePerGas": hex(5 * 10**9),
        "maxPriorityFeePerGas": hex(2 * 10**9),
    }
    told = await ask("eth_getTransactionByHash", await ask("eth_sendTransaction", given))
    assert {name: told[name] for name in given} == given
    assert told["gasPrice"] == hex(3 * 10**9)
    with pytest.raises(Refused, match="unknown account"):
        await ask("eth_sendTransaction", {"from": "0x" + "00" * 20, "to": BOBS})


async def test_past_fees_are_told_with_the_next(ask: Ask) -> None:
    await ask("anvil_mine", "0x4")
    told = await ask("eth_feeHistory", "0x3", "latest", [25, 75])
    assert told["oldestBlock"] == "0x2"
    assert len(told["baseFeePerGas"]) == 4
    assert told["gasUsedRatio"] == [0.0] * 3
    assert told["reward"] == [[hex(10**9)] * 2] * 3
    told = await ask("eth_feeHistory", 9, "0x1")
    assert (told["oldestBlock"], len(told["baseFeePerGas"])) == ("0x0", 3)


async def test_logs_are_asked_for_by_range_or_by_block(ask: Ask, chain: Chain) -> None:
    for _ in range(3):
        await say(ask)

    async def blocks(**given: Any) -> list[int]:
        return [int(log["blockNumber"], 16) for log in await ask("eth_getLogs", given)]

    assert await blocks() == [3]
    assert await blocks(fromBlock="earliest") == [1, 2, 3]
    assert await blocks(fromBlock="0x2", toBlock="0x2") == [2]
    assert await blocks(fromBlock="0x0", toBlock="0xffff") == [1, 2, 3]
    assert await blocks(fromBlock="0x9") == []
    assert await blocks(fromBlock="0x0", topics=[TOPIC]) == [1, 2, 3]
    assert await blocks(fromBlock="0x0", topics=[[TOPIC], None]) == []
    assert await blocks(blockHash="0x" + chain.ledger.block(2).hash.hex()) == [2]
    with pytest.raises(Refused, match="unknown block"):
        await blocks(blockHash="0x" + "00" * 32)


async def test_filters_have_their_methods(ask: Ask, chain: Chain) -> None:
    await say(ask)
    logs = await ask("eth_newFilter", {"fromBlock": "0x0", "topics": [TOPIC]})
    blocks = await ask("eth_newBlockFilter")
    await say(ask)
    (log,) = await ask("eth_getFilterChanges", logs)
    assert log["blockNumber"] == "0x2"
    assert await ask("eth_getFilterChanges", blocks) == ["0x" + chain.latest.hash.hex()]
    assert len(await ask("eth_getFilterLogs", logs)) == 2
    assert await ask("eth_uninstallFilter", logs) is True


async def test_time_and_blocks_for_those_who_develop(ask: Ask, chain: Chain) -> None:
    assert await ask("evm_increaseTime", 1000) == 1000
    await ask("evm_mine")
    assert chain.latest.timestamp == START + 1000
    await ask("evm_setNextBlockTimestamp", hex(START + 2000))
    await ask("evm_mine")
    assert chain.latest.timestamp == START + 2000
    await ask("evm_mine", {"timestamp": START + 3000, "blocks": 2})
    assert (chain.latest.timestamp, chain.latest.number) == (START + 3001, 4)
    await ask("evm_mine", hex(START + 4000))
    assert chain.latest.timestamp == START + 4000
    await ask("hardhat_mine", "0xfa", "0x3c")
    assert (chain.latest.number, chain.latest.timestamp) == (255, START + 4001 + 249 * 60)
    await ask("anvil_mine", 0)
    assert chain.latest.number == 255
    with pytest.raises(Refused):
        await ask("anvil_mine", 10**9)


async def test_states_and_branches_for_those_who_develop(ask: Ask, chain: Chain) -> None:
    snapshot = await ask("evm_snapshot")
    await say(ask)
    await ask("anvil_reorg", 1)
    assert chain.latest.number == 2
    assert await ask("evm_revert", snapshot) is True
    assert chain.latest.number == 0
    assert await ask("evm_revert", snapshot) is False


async def test_what_is_no_method_and_what_is_not_its_to_take(ask: Ask) -> None:
    with pytest.raises(Refused) as refused:
        await ask("eth_mining")
    assert refused.value.code == METHOD_NOT_FOUND
    for method, params in (("eth_call", ()), ("eth_chainId", (1,)), ("eth_getBalance", ("0x",))):
        with pytest.raises(Refused) as refused:
            await ask(method, *params)
        assert refused.value.code == INVALID_PARAMS


async def test_a_raw_transaction_that_is_none_is_refused(ask: Ask) -> None:
    message = Message(ALICE.address, BOB.address, gas=21_000)
    raw = sign(ALICE, chain_id=1, message=message, max_fee=10**10, max_tip=1).raw
    with pytest.raises(Refused, match="invalid chain id"):
        await ask("eth_sendRawTransaction", "0x" + raw.hex())
    with pytest.raises(Refused, match="rlp"):
        await ask("eth_sendRawTransaction", "0x01")


FIELDS = [
    "from",
    "to",
    "data",
    "gas",
    "value",
    "fromBlock",
    "toBlock",
    "address",
    "topics",
    "blockHash",
    "blockNumber",
    "timestamp",
    "blocks",
    "nonce",
    "maxFeePerGas",
    "gasPrice",
]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 500)
    | st.floats(allow_nan=False)
    | st.sampled_from([ALICES, "latest", "pending", "0x", "0x1", "0xff", TOPIC, SAYING, "logs", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_whatever_is_asked_is_answered_or_refused(data: Any) -> None:
    methods = Methods(Chain(lambda: START, accounts=[ALICE, BOB], funds=10**24))

    async def all_of_them() -> None:
        for _ in range(5):
            method = data.draw(st.sampled_from(methods.names()))
            with suppress(Refused):
                await methods.answer(method, data.draw(st.lists(JSON, max_size=3)))

    trio.run(all_of_them)
