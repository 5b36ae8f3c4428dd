"""A marketplace on an embedded chain whose clock stands still, and people who use it.

What the chain needs has no wheel for Linux on aarch64, nor for Python 3.13 but on Windows; there these tests
say so.
"""

from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from codex.devnet.chain import Chain
from codex.devnet.deploying import CONFIG, Contract, contract, deploy
from codex.devnet.transactions import Account
from codex.devnet.values import Message, Receipt, keccak256
from codex.market import MarketplaceConfig

HERE = Path(__file__).parent
START = 1_700_000_000
TOKENS = 10**15
PEOPLE = ("owner", "alice", "bob", "carol", "dave", "erin", "frank", "grace")
PROOF = ((1, 2), ((3, 4), (5, 6)), (7, 8))
ZERO = ((0, 0), ((0, 0), (0, 0)), (0, 0))

WITHOUT_EVM = {"test_compiling.py", "test_pool.py", "test_transactions.py", "test_values.py", "test_wire.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        here = item.path.parent == HERE and item.path.name not in WITHOUT_EVM
        if here and "no_evm" not in item.name:
            item.add_marker(pytest.mark.embedded_chain)


class Reverted(Exception):
    """A contract refused, by the error of that name; "" when it did not say."""


def kind(entry: dict[str, Any]) -> str:
    """A type of an interface as text, tuples written out."""
    if not entry["type"].startswith("tuple"):
        return str(entry["type"])
    inner = ",".join(kind(part) for part in entry["components"])
    return f"({inner}){entry['type'].removeprefix('tuple')}"


def signature(entry: dict[str, Any]) -> str:
    """The text that a selector or a topic is the hash of."""
    return f"{entry['name']}({','.join(kind(part) for part in entry['inputs'])})"


class Caller:
    """One contract on the chain, for people: functions have names, and so have the errors it refuses with."""

    def __init__(self, chain: Chain, address: bytes, interface: Contract, people: dict[str, bytes]) -> None:
        self.chain = chain
        self.address = address
        self.people = people
        self.functions = {
            (entry["name"], len(entry["inputs"])): {
                "selector": keccak256(signature(entry).encode())[:4],
                "takes": [kind(part) for part in entry["inputs"]],
                "gives": [kind(part) for part in entry["outputs"]],
            }
            for entry in interface.abi
            if entry["type"] == "function"
        }
        self.events = {
            keccak256(signature(entry).encode()): entry for entry in interface.abi if entry["type"] == "event"
        }

    def data(self, name: str, *arguments: Any) -> bytes:
        from eth_abi.abi import encode

        entry = self.functions[name, len(arguments)]
        return entry["selector"] + encode(entry["takes"], arguments)

    def ask(self, name: str, *arguments: Any, by: str = "owner") -> Any:
        """Ask in the next block. Raises Reverted."""
        from eth_abi.abi import decode

        outcome = self.chain.call(Message(self.people[by], self.address, self.data(name, *arguments)))
        if outcome.failure:
            raise Reverted(named(outcome.output))
        values = decode(self.functions[name, len(arguments)]["gives"], outcome.output)
        return values[0] if len(values) == 1 else values

    def do(self, name: str, *arguments: Any, by: str) -> Receipt:
        """Do it in a block of its own. Raises Reverted."""
        message = Message(self.people[by], self.address, self.data(name, *arguments), gas=3_000_000)
        receipt = self.chain.ledger.receipt(self.chain.send(self.chain.sign(message)))
        assert receipt is not None
        if receipt.outcome.failure:
            raise Reverted(named(receipt.outcome.output))
        return receipt

    def refused(self, name: str, *arguments: Any, by: str) -> str:
        """The error with which it refuses to do that; that it does is asserted."""
        with pytest.raises(Reverted) as reverted:
            self.do(name, *arguments, by=by)
        return str(reverted.value)

    def said(self, receipt: Receipt) -> list[str]:
        """The names of the contract's events in a receipt."""
        events = (log.event for log in receipt.logs)
        return [self.events[event.topics[0]]["name"] for event in events if event.address == self.address]


ERRORS = {
    keccak256(signature(entry).encode())[:4]: entry["name"]
    for name in ("token", "marketplace")
    for entry in contract(name).abi
    if entry["type"] == "error"
}


def named(output: bytes) -> str:
    """The error that a contract reverted with; "" for none."""
    return ERRORS[output[:4]] if output else ""


class World:
    """A chain with the contracts, and people with tokens that the marketplace may take."""

    def __init__(self, config: MarketplaceConfig = CONFIG) -> None:
        self.config = config
        self.now = START
        accounts = [Account.of(keccak256(name.encode())) for name in PEOPLE]
        self.people = {name: account.address for name, account in zip(PEOPLE, accounts, strict=True)}
        self.names = {address: name for name, address in self.people.items()}
        self.chain = Chain(lambda: self.now, accounts=accounts, funds=10**24, behind=1000)
        self.deployed = deploy(self.chain, config, tokens=TOKENS)
        self.token = Caller(self.chain, self.deployed.token, contract("token"), self.people)
        self.verifier = Caller(self.chain, self.deployed.verifier, contract("verifier"), self.people)
        self.market = Caller(self.chain, self.deployed.marketplace, contract("marketplace"), self.people)
        for name in PEOPLE:
            self.token.do("approve", self.deployed.marketplace, 2**256 - 1, by=name)
        self.nonce = 0

    @property
    def time(self) -> int:
        """The time of the next block."""
        return self.chain.next_timestamp()

    @property
    def period(self) -> int:
        return self.time // self.config.proofs.period

    def at(self, timestamp: int) -> "World":
        """Let the next block have that time."""
        self.chain.set_next_timestamp(timestamp)
        return self

    def to_period(self, period: int, after: int = 1) -> "World":
        """Let the next block be so many seconds into a period."""
        return self.at(period * self.config.proofs.period + after)

    def balance(self, name: str) -> int:
        return int(self.token.ask("balanceOf", self.people[name]))

    def held(self) -> int:
        """Tokens that the marketplace has."""
        return int(self.token.ask("balanceOf", self.deployed.marketplace))

    def request(self, client: str = "alice", **changes: Any) -> tuple[Any, ...]:
        """A request as the contract takes it; of 2 slots with 100 bytes, unless `changes` says otherwise."""
        self.nonce += 1
        ask = {
            "probability": 1,
            "price": 1,
            "collateral": 10,
            "slots": 2,
            "size": 100,
            "duration": 3600,
            "loss": 1,
        }
        rest = {
            "cid": b"\x01\xcd",
            "root": bytes(32),
            "expiry": 600,
            "nonce": self.nonce.to_bytes(32, "big"),
        }
        assert changes.keys() <= ask.keys() | rest.keys()
        given = ask | rest | changes
        return (
            self.people[client],
            tuple(given[name] for name in ask),
            (given["cid"], given["root"]),
            given["expiry"],
            given["nonce"],
        )

    def requested(self, client: str = "alice", **changes: Any) -> bytes:
        """Request storage; returns the request's id."""
        request = self.request(client, **changes)
        self.market.do("requestStorage", request, by=client)
        return request_id(request)

    def filled(self, request: bytes, index: int, host: str) -> bytes:
        """Reserve and fill a slot; returns the slot's id."""
        self.market.do("reserveSlot", request, index, by=host)
        self.market.do("fillSlot", request, index, PROOF, by=host)
        return slot_id(request, index)

    def marked(self, slot: bytes, by: str = "grace") -> Receipt:
        """Let the next period pass without a proof, and mark it as missing."""
        period = self.period + 1
        return self.to_period(period + 1).market.do("markProofAsMissing", slot, period, by=by)


def request_id(request: tuple[Any, ...]) -> bytes:
    from eth_abi.abi import encode

    entry = next(entry for entry in contract("marketplace").abi if entry.get("name") == "requestStorage")
    return keccak256(encode([kind(entry["inputs"][0])], [request]))


def slot_id(request: bytes, index: int) -> bytes:
    return keccak256(request + index.to_bytes(32, "big"))


def quick(**proofs: Any) -> MarketplaceConfig:
    """A configuration without downtime: a proof is asked for in every period, whatever the block."""
    return evolve(CONFIG, proofs=evolve(CONFIG.proofs, downtime=0, **proofs))


@pytest.fixture(scope="session")
def one_world() -> World:
    return World(quick())


@pytest.fixture
def world(one_world: World) -> Any:
    """A marketplace without downtime. What a test does to it is undone."""
    snapshot = one_world.chain.snapshot()
    yield one_world
    assert one_world.chain.revert(snapshot)


@pytest.fixture(scope="session")
def worlds() -> Any:
    """Makes a world of another configuration."""
    return World


@pytest.fixture(scope="session")
def tools() -> Any:
    """What this file has, for tests that need more than a world."""
    import sys

    return sys.modules[__name__]
