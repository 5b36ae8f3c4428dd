"""The demo: a client, five hosts and a validator on a development chain, and the whole life of one contract.

A file is stored, bought for in 3 + 2 slots, held and proved; a host is killed, its slot is freed and repaired
by another; the file is fetched back from the hosts alone and compared; the contract ends, everybody is paid,
and every account is compared with what the rules of the marketplace come to. Whatever is not as it must be
raises `DemoFailed`.

What is told of all this was read from the chain or from a node's store. What is simulated, and told as such:
the chain is this process's own, its time runs faster and is put forward once, and the proofs have the form of
proofs only, as the chain's verifier asks for no more.
"""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import trio
from attrs import evolve, field, frozen

from codex.codec import Cid
from codex.devnet.cluster import Cluster, Member
from codex.devnet.demo_ledger import (
    DemoFailed,
    Line,
    changes,
    check_content,
    check_ledger,
    check_same,
)
from codex.devnet.demo_watch import SlotRow, Watch, decided
from codex.devnet.deploying import CONFIG
from codex.devnet.opening import HOST
from codex.market import Address, MarketplaceConfig, RequestId, RequestState, SlotState, StorageRequest
from codex.node import JobState, Node, Terms
from codex.runtime import SystemEntropy

CLIENT, VALIDATOR = "client", "validator"
HOSTS = tuple(f"host-{number}" for number in range(1, 6))
PATIENCE = 60.0
"""Seconds that one thing may take, on a machine that is busy with others."""
SIZE = 1 << 20
"""Bytes at least of the file that is made up when none is given."""
PIECE = 1 << 18


SHORT = evolve(CONFIG, proofs=evolve(CONFIG.proofs, period=40, timeout=20, downtime=32))
"""The marketplace's numbers with periods of 40 seconds."""
TERMS = Terms(
    duration=3600,
    proof_probability=1,
    price_per_byte_per_second=2,
    collateral_per_byte=50,
    expiry=600,
    nodes=5,
    tolerance=2,
)


@frozen(kw_only=True)
class Plan:
    """The numbers of the demo. Seconds are the chain's, but for `block_time`."""

    pace: float = 8.0
    """How much faster than the clock the chain's time runs."""
    block_time: float = 0.25
    config: MarketplaceConfig = SHORT
    terms: Terms = TERMS


@frozen
class Began:
    """A phase of the demo begins: its name, and what it does in a sentence."""

    name: str
    text: str


@frozen
class Said:
    """Something is so."""

    text: str


@frozen
class Slots:
    """The slots of the request, as they stand on the chain now."""

    rows: tuple[SlotRow, ...]
    full: int = field(kw_only=True)
    """The whole collateral of a slot."""


@frozen
class Ledger:
    """The accounts, before and after."""

    lines: tuple[Line, ...]


Happening = Began | Said | Slots | Ledger
Tell = Callable[[Happening], None]


@frozen
class Content:
    """The file: where it is, or what it is when it was made up."""

    path: Path | None
    made: bytes = b""

    @classmethod
    def random(cls) -> "Content":
        """A file that nobody has seen before."""
        return cls(None, SystemEntropy().token(SIZE + 4321))

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its bytes. Raises OSError."""
        if self.path is None:
            for start in range(0, len(self.made), PIECE):
                yield self.made[start : start + PIECE]
            return
        async with await trio.open_file(self.path, "rb") as file:
            while piece := await file.read(PIECE):
                yield piece


async def perform(cluster: Cluster, content: Content, plan: Plan, tell: Tell) -> None:
    """Play it on a cluster without nodes, whose chain was set up with the plan's configuration.

    Raises DemoFailed for whatever is not as it must be, OSError for the file, and what the nodes raise.
    """
    client, hosts = await _start(cluster, plan, tell)
    tell(Began("store", "The client stores the file"))
    digest, size, cid = await _store(client.node, content)
    tell(Said(f"{size:,} bytes as"))
    tell(Said(str(cid)))
    tell(Said(f"SHA-256 {digest.hex()}"))

    market = client.node.market.parts.marketplace
    people = {member.account: name for name, member in cluster.members.items()}
    contract = await market.address()
    accounts = {**people, contract: "marketplace"}
    before = await _balances(client, accounts)
    since = await market.chain.header()
    verifiable, request = await _buy(client, cid, plan, tell)

    def shown(rows: tuple[SlotRow, ...]) -> None:
        tell(Slots(rows, full=request.ask.collateral_per_slot))

    watch = Watch(market, request, people, shown)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run, since.number if since is not None else 0)
        await _offer(hosts, request, tell)
        await _filled(client, hosts, cid, verifiable, request, watch, tell)
        await _lose_a_host(hosts, request, watch, plan, tell)
        await _fetch(client, verifiable, digest, size, tell)
        await _end(cluster, client, hosts, request, watch, tell)
        nursery.cancel_scope.cancel()
    course = await watch.course()
    expected = changes(
        request.ask,
        plan.config.collateral,
        course,
        client=client.account,
        validator=cluster[VALIDATOR].account,
        marketplace=contract,
    )
    after = await _balances(client, accounts)
    lines = tuple(
        Line(name, account, before[account], after[account], expected.get(account, 0))
        for account, name in accounts.items()
    )
    tell(Ledger(lines))
    check_ledger(lines)


async def _start(cluster: Cluster, plan: Plan, tell: Tell) -> tuple[Member, dict[str, Member]]:
    tell(Began("start", "A chain, a client, five hosts and a validator start"))
    devnet = cluster.devnet
    tell(Said(f"chain at {devnet.url}"))
    tell(Said(f"simulated: its time runs {plan.pace:g} times as fast as the clock, and the"))
    tell(Said("proofs have no more than the form of proofs; all else is the real thing"))
    for name in (CLIENT, *HOSTS, VALIDATOR):
        member = await cluster.add(name, validator=name == VALIDATOR)
        peers = ", ".join(there.removeprefix(f"/ip4/{HOST}/") for there in member.node.info().addresses)
        account = str(member.account)
        tell(Said(f"{name:9}  API {member.api.url}  {peers}  {account[:6]}…{account[-4:]}"))
    return cluster[CLIENT], {name: cluster[name] for name in HOSTS}


async def _store(node: Node, content: Content) -> tuple[bytes, int, Cid]:
    digest, size = hashlib.sha256(), 0

    async def read() -> AsyncIterator[bytes]:
        nonlocal size
        async for piece in content.pieces():
            digest.update(piece)
            size += len(piece)
            yield piece

    cid = await node.store(read(), filename=None if content.path is None else content.path.name)
    return digest.digest(), size, cid


async def _buy(client: Member, cid: Cid, plan: Plan, tell: Tell) -> tuple[Cid, StorageRequest]:
    terms = plan.terms
    tell(Began("buy", f"The client buys {terms.rows} + {terms.tolerance} slots for {terms.duration} s"))
    job = await client.node.market.request_storage(cid, terms)
    ended = await job.wait()
    if ended.state is not JobState.DONE or not isinstance(ended.result, dict):
        raise DemoFailed(f"the request for storage is {ended.state.value}: {ended.error}")
    id = RequestId.parse(str(ended.result["purchaseId"]))
    purchase = await client.node.market.purchase(id)
    if purchase is None or purchase.request is None:
        raise DemoFailed(f"the client does not know its own purchase {id}")
    tell(Said(f"{purchase.request.ask.price:,} units are paid in for the request"))
    tell(Said(str(id)))
    return Cid.parse(str(ended.result["verifiableCid"])), purchase.request


async def _offer(hosts: dict[str, Member], request: StorageRequest, tell: Tell) -> None:
    ask = request.ask
    tell(Began("sell", f"Each host offers room for a slot, {ask.slot_size:,} bytes"))
    for member in hosts.values():
        await _offer_one(member.node, request)


async def _offer_one(node: Node, request: StorageRequest) -> None:
    ask = request.ask
    await node.market.add_availability(
        total=ask.slot_size,
        duration=ask.duration,
        price=ask.price_per_byte_per_second,
        collateral=ask.collateral_per_slot,
    )


async def _filled(
    client: Member,
    hosts: dict[str, Member],
    cid: Cid,
    verifiable: Cid,
    request: StorageRequest,
    watch: Watch,
    tell: Tell,
) -> None:
    slots = range(request.ask.slots)

    async def why() -> str:
        return await decided(_nodes(hosts), request, [index for index in slots if index not in watch.held])

    await watch.until("all slots filled", lambda: len(watch.held) == len(slots), PATIENCE, why)
    state = await watch.marketplace.request_state(request.id)
    check_same("the request", state, RequestState.STARTED)
    tell(Began("prove", "All slots are filled: the contract runs, and hosts prove in each period"))
    for name in (cid, verifiable):
        await client.node.delete(name)
    check_same("what the client still stores, in bytes,", (await client.node.space()).quota_used, 0)
    tell(Said("the client has deleted its file: only the hosts have it now"))
    await watch.until("a proof of every slot", lambda: all(watch.proofs(i) > 1 for i in slots), PATIENCE)


async def _lose_a_host(
    hosts: dict[str, Member], request: StorageRequest, watch: Watch, plan: Plan, tell: Tell
) -> None:
    victim = hosts[HOSTS[1]]
    index = next((index for index, fill in watch.held.items() if fill.host == victim.account), None)
    if index is None:
        raise DemoFailed(f"{victim.name} holds no slot")
    tell(Began("kill", f"{victim.name}, which holds slot {index}, is killed"))
    await victim.kill()
    del hosts[victim.name]

    def freed() -> bool:
        return any(fill.index == index and fill.host == victim.account for fill in watch.lost)

    await watch.until(f"slot {index} freed", freed, PATIENCE)
    slashes = plan.config.collateral.max_slashes
    tell(
        Began(
            "repair", f"{slashes} proofs were missing, slot {index} is taken away, and others may repair it"
        )
    )
    for member in hosts.values():
        await _offer_one(member.node, request)
    await watch.until(
        f"slot {index} repaired",
        lambda: index in watch.held,
        PATIENCE,
        partial(decided, _nodes(hosts), request, [index]),
    )
    other = watch.names.get(watch.held[index].host, "a stranger")
    if other not in hosts:
        raise DemoFailed(f"slot {index} was filled by {other}, which does not run")
    tell(Said(f"slot {index} was computed anew from the others, and filled by {other}"))


async def _fetch(client: Member, cid: Cid, digest: bytes, size: int, tell: Tell) -> None:
    tell(Began("retrieve", "The client fetches its file from the hosts"))
    found, length = hashlib.sha256(), 0
    async with client.node.retrieve(cid) as retrieval:
        async for piece in retrieval:
            found.update(piece)
            length += len(piece)
    check_content(digest, size, found.digest(), length)
    tell(Said(f"{length:,} bytes, the same"))
    tell(Said(f"SHA-256 {found.hexdigest()}"))


async def _end(
    cluster: Cluster,
    client: Member,
    hosts: dict[str, Member],
    request: StorageRequest,
    watch: Watch,
    tell: Tell,
) -> None:
    market = watch.marketplace
    left = await market.request_end(request.id) - await market.chain.clock.now()
    tell(Began("pay", f"Chain time leaps by {left:.0f} s to the contract's end, and all are paid"))
    cluster.devnet.chain.increase_time(max(left, 0) + 1)

    def paid() -> bool:
        return all(row.state is SlotState.PAID for row in watch.rows)

    await watch.until("all slots paid", paid, PATIENCE)
    check_same("the request", await market.request_state(request.id), RequestState.FINISHED)
    await _settled("the client has its change", partial(_over, client, request.id))
    for member in hosts.values():
        await _settled(f"{member.name} has let go of what it held", partial(_empty, member.node))
    tell(Said("the hosts have let go of the data, and have their room and collateral back"))


def _nodes(members: Mapping[str, Member]) -> dict[str, Node]:
    return {name: member.node for name, member in members.items()}


async def _settled(what: str, reached: Callable[[], Awaitable[bool]]) -> None:
    with trio.move_on_after(PATIENCE):
        while not await reached():  # noqa: ASYNC110 - of what no event tells
            await trio.sleep(0.1)
        return
    raise DemoFailed(f"after {PATIENCE:.0f} seconds it is not so that {what}")


async def _over(client: Member, id: RequestId) -> bool:
    purchase = await client.node.market.purchase(id)
    return purchase is not None and purchase.over


async def _empty(node: Node) -> bool:
    offered = await node.market.availabilities()
    back = all(there.free == there.total and there.remaining == there.collateral for there in offered)
    return back and not (await node.space()).quota_used and not await node.market.sales()


async def _balances(client: Member, accounts: dict[Address, str]) -> dict[Address, int]:
    token = await client.node.market.parts.marketplace.token()
    return {account: await token.balance_of(account) for account in accounts}
