"""Storage requests for chains under measure: any number of them, each for three slots that nobody has."""

import os

from attrs import evolve

from codex.chain import abi
from codex.devnet import Devnet
from codex.devnet.methods import Methods
from codex.devnet.values import Message
from codex.devnet.wire import data
from codex.market import Address, SlotId, StorageAsk, StorageContent, StorageRequest

SLOTS = 3
DAYS = 24 * 3600

_GAS = 600_000
_ROOM = 2**255
_NOTHING = bytes(38)  # no CID: a host that looks at it closely need not search the network to decide

_ANY = StorageRequest(
    client=Address(bytes(20)),
    ask=StorageAsk(
        proof_probability=1,
        price_per_byte_per_second=1,
        collateral_per_byte=1,
        slots=SLOTS,
        slot_size=65536,
        duration=30 * DAYS,
        max_slot_loss=1,
    ),
    content=StorageContent(_NOTHING, bytes(32)),
    # A block takes a second of the chain's time at least: the first request is to be open after the last.
    expiry=20 * DAYS,
    nonce=bytes(32),
)


def request_of(client: Address) -> StorageRequest:
    """A request like no other."""
    return evolve(_ANY, client=client, nonce=os.urandom(32))


def send_directly(devnet: Devnet, account: int, count: int) -> SlotId | None:
    """Make `count` requests in the name of one of the chain's accounts, without a client between, each in a
    block of its own. The first slot of the last one, if there is one.
    """
    chain = devnet.chain
    _allow(devnet, account)
    request = None
    for _ in range(count):
        request, message = _message(devnet, account)
        chain.send(chain.sign(message))
    return None if request is None else request.slot(0).id


async def send_with_questions(devnet: Devnet, account: int, count: int) -> None:
    """As `send_directly`, with every question before and after that a node has about each: what the sender
    has, what may be taken of it, the gas; what became of it, and the newest block.
    """
    chain, methods = devnet.chain, Methods(devnet.chain)
    _allow(devnet, account)
    sender = devnet.accounts[account].address
    balance = {"to": devnet.token, "data": data(abi.TOKEN["balanceOf"].call(sender))}
    allowance = {"to": devnet.token, "data": data(abi.TOKEN["allowance"].call(sender, devnet.marketplace))}
    for _ in range(count):
        _, message = _message(devnet, account)
        for asked in (balance, allowance):
            await methods.answer("eth_call", [asked, "latest"])
        call = {"from": sender, "to": devnet.marketplace, "data": data(message.data)}
        await methods.answer("eth_estimateGas", [call, "pending"])
        await methods.answer("eth_getBalance", [sender, "latest"])
        hash = await methods.answer("eth_sendRawTransaction", [data(chain.sign(message))])
        await methods.answer("eth_getTransactionCount", [sender, "latest"])
        await methods.answer("eth_getTransactionReceipt", [hash])
        await methods.answer("eth_getBlockByNumber", ["latest", False])


def _allow(devnet: Devnet, account: int) -> None:
    sender, token = (bytes.fromhex(text[2:]) for text in (devnet.accounts[account].address, devnet.token))
    approve = abi.TOKEN["approve"].call(devnet.marketplace, _ROOM)
    devnet.chain.send(devnet.chain.sign(Message(sender, token, approve, gas=_GAS)))


def _message(devnet: Devnet, account: int) -> tuple[StorageRequest, Message]:
    sender, market = (
        bytes.fromhex(text[2:]) for text in (devnet.accounts[account].address, devnet.marketplace)
    )
    request = request_of(Address(sender))
    payload = abi.MARKETPLACE["requestStorage"].call(request.as_tuple())
    return request, Message(sender, market, payload, gas=_GAS)
