"""A whole development chain, for the length of a block: chain, contracts, funded accounts and a server."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import frozen

from codex.devnet.chain import CHAIN_ID, Chain, Reorganised
from codex.devnet.deploying import BLOCKS_BEFORE, CONFIG, CONTRACTS, Deployed, deploy
from codex.devnet.dumping import dump, restore
from codex.devnet.methods import Methods
from codex.devnet.server import Server, listening
from codex.devnet.transactions import Account
from codex.devnet.values import keccak256
from codex.market import MarketplaceConfig
from codex.runtime import Clock, SystemClock, unwrapped

HOST = "127.0.0.1"
ACCOUNTS = 10
FUNDS = 10_000 * 10**18
"""Wei of each account."""
TOKENS = 1_000_000 * 10**18
"""Units of the token of each account."""


@frozen
class Funded:
    """An account with wei and tokens to spend. Everybody knows its key: nothing of value belongs there."""

    address: str
    key: str
    """The secret key, in hexadecimal with 0x."""


@frozen(eq=False)
class Devnet:
    """A running development chain.

    `chain` is the chain itself: to mine, to let time pass, to reorganise. All addresses are text with 0x.
    """

    chain: Chain
    server: Server
    url: str
    """Over WebSocket; "" when it does not listen."""
    http_url: str
    chain_id: int
    token: str
    marketplace: str
    verifier: str
    accounts: tuple[Funded, ...]

    def reorganise(self, depth: int, *, without: tuple[str, ...] = ()) -> Reorganised:
        """Replace the last `depth` blocks by one more, as if another branch had won. What was in them comes a
        block later, but for the transactions with the hashes `without`, which are known no more.
        """
        return self.chain.reorganise(depth, without=[bytes.fromhex(hash[2:]) for hash in without])


def account(number: int) -> Account:
    """The chain's account of that number, always the same."""
    return Account.of(keccak256(b"codex devnet: account %d" % number))


@asynccontextmanager
async def open_devnet(
    *,
    port: int | None = 0,
    host: str = HOST,
    block_time: float | None = None,
    config: MarketplaceConfig = CONFIG,
    accounts: int = ACCOUNTS,
    chain_id: int = CHAIN_ID,
    clock: Clock | None = None,
    state: Path | None = None,
) -> AsyncIterator[Devnet]:
    """Run a development chain with the marketplace's contracts for the length of the block.

    With `block_time` there is a block every so many seconds of trio's clock; without, every transaction gets
    a block at once and there are no others. Its time is that of `clock` (the system's). With `port` 0 it
    listens on any free port, with None on none.

    Nothing is kept, unless `state` names a file: then the chain goes on from what is in it, whatever `config`
    and `chain_id` say, and is written to it in the end. Raises NoEmbeddedChain, PortTaken, WrongDump, and
    OSError for the file.
    """
    keys = [account(number) for number in range(accounts)]
    now = (clock or SystemClock()).now
    kept = _kept(state)
    if kept is None:
        # A block takes a second at least: the chain begins in the past, and has caught up when all is there.
        behind = BLOCKS_BEFORE + CONTRACTS + accounts
        chain = Chain(now, accounts=keys, funds=FUNDS, chain_id=chain_id, behind=behind)
        deployed = deploy(chain, config, tokens=TOKENS)
        chain.follow_clock()
    else:
        chain, deployed = restore(kept, now, keys)
    chain.automine = block_time is None
    server = Server(Methods(chain))
    with unwrapped():
        async with trio.open_nursery() as nursery:
            if block_time is not None:
                nursery.start_soon(_mine, chain, block_time)
            if port is None:
                yield _told(chain, server, deployed, keys, "")
            else:
                async with listening(server, host, port) as bound:
                    yield _told(chain, server, deployed, keys, f"{host}:{bound}")
            nursery.cancel_scope.cancel()
    if state is not None:
        _keep(state, dump(chain, deployed))


def _kept(state: Path | None) -> bytes | None:
    return state.read_bytes() if state is not None and state.exists() else None


def _keep(state: Path, data: bytes) -> None:
    # Beside the old one first: a disk that is full does not cost the chain that was there.
    fresh = state.with_name(state.name + ".new")
    fresh.write_bytes(data)
    fresh.replace(state)


async def _mine(chain: Chain, block_time: float) -> None:
    # From the last moment on, and not from now: else blocks would come later and later.
    due = trio.current_time()
    while True:
        due += block_time
        await trio.sleep_until(due)
        chain.mine()


def _told(chain: Chain, server: Server, deployed: Deployed, keys: list[Account], bound: str) -> Devnet:
    return Devnet(
        chain=chain,
        server=server,
        url=bound and f"ws://{bound}",
        http_url=bound and f"http://{bound}",
        chain_id=chain.chain_id,
        token="0x" + deployed.token.hex(),
        marketplace="0x" + deployed.marketplace.hex(),
        verifier="0x" + deployed.verifier.hex(),
        accounts=tuple(Funded("0x" + key.address.hex(), "0x" + key.key.hex()) for key in keys),
    )
