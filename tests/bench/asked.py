"""Storage requests for chains under measure: any number of them, each for three slots that nobody has."""

import os

from attrs import evolve

from codex.chain import abi
from codex.codec import Cid
from codex.devnet import Devnet
from codex.devnet.values import Message
from codex.market import Address, SlotId, StorageAsk, StorageContent, StorageRequest

SLOTS = 3
DAYS = 24 * 3600

_GAS = 600_000
_ROOM = 2**255
_NOWHERE = Cid.parse("zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ")

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
    content=StorageContent(_NOWHERE.raw, bytes(32)),
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
    sender = bytes.fromhex(devnet.accounts[account].address[2:])
    market, token = (bytes.fromhex(text[2:]) for text in (devnet.marketplace, devnet.token))
    approve = abi.TOKEN["approve"].call(devnet.marketplace, _ROOM)
    chain.send(chain.sign(Message(sender, token, approve, gas=_GAS)))
    request = None
    for _ in range(count):
        request = request_of(Address(sender))
        payload = abi.MARKETPLACE["requestStorage"].call(request.as_tuple())
        chain.send(chain.sign(Message(sender, market, payload, gas=_GAS)))
    return None if request is None else request.slot(0).id
