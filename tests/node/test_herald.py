"""The herald: who comes and goes is told on, what is new is announced, and where we are is kept true."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

import trio
from attrs import define, field
from trio.testing import MockClock

from codex.codec import Cid, Multiaddr
from codex.data import Manifest
from codex.errors import BlockNotFound, ServiceUnavailable
from codex.node.events import Events, PeerJoined, PeerLeft
from codex.node.herald import LOOK, MEETING, WAITING, Herald, udp_address
from codex.p2p import PeerEvent, PeerInfo, SignedPeerRecord, Switchboard
from codex.p2p import PeerJoined as Joined
from codex.p2p import PeerLeft as Left
from codex.runtime import Policy, open_supervisor
from codex.runtime.broadcast import Subscription
from codex.testing.content import noise
from codex.testing.elsewhere import Dataset
from codex.testing.switches import identity_of

HERE = Multiaddr.parse("/ip4/10.0.0.1/tcp/8070")
ELSEWHERE = Multiaddr.parse("/ip4/10.0.0.2/tcp/8071")
MANIFEST = Dataset(noise(100_000)).manifest
GONE = Cid.parse("zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ")


@define(eq=False)
class World:
    """Everything around a herald: a store with one manifest, a switch, discovery and an advertiser."""

    board: Switchboard = field(factory=lambda: Switchboard(identity_of("alice").peer_id))
    told: list[tuple[tuple[Multiaddr, ...], Multiaddr | None]] = field(factory=list)
    announcements: list[list[Cid]] = field(factory=list)
    here: list[PeerInfo] = field(factory=list)
    met: list[tuple[SignedPeerRecord, str]] = field(factory=list)
    free: trio.Event = field(factory=trio.Event)
    """Nobody is met before it is set."""
    addresses: tuple[Multiaddr, ...] = (HERE,)
    down: bool = False

    async def get_manifest(self, cid: Cid) -> Manifest:
        await trio.lowlevel.checkpoint()
        if cid != MANIFEST.cid:
            raise BlockNotFound("not here")
        return MANIFEST

    async def announce_addresses(self, tcp: Sequence[Multiaddr], udp: Multiaddr | None) -> None:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise ServiceUnavailable("discovery is down")
        self.told.append((tuple(tcp), udp))

    def peers(self) -> list[PeerInfo]:
        return self.here

    async def meet(self, record: SignedPeerRecord, host: str) -> bool:
        await self.free.wait()
        if self.down:
            raise ServiceUnavailable("discovery is down")
        self.met.append((record, host))
        return True

    async def announce(self, cids: Sequence[Cid]) -> None:
        await trio.lowlevel.checkpoint()
        if self.down:
            raise ServiceUnavailable("the advertiser is down")
        self.announcements.append(list(cids))

    def announced(self) -> tuple[Multiaddr, ...]:
        return self.addresses

    def events(self, size: int) -> AbstractAsyncContextManager[Subscription[PeerEvent]]:
        return self.board.subscribe(size)


def herald_of(world: World, events: Events) -> Herald:
    doors = dict.fromkeys(("store", "switch", "discovery", "advertiser"), world)
    return Herald(**doors, events=events, udp_port=lambda: 8090)  # type: ignore[arg-type]


async def test_who_comes_and_goes_is_told_on(autojump_clock: MockClock) -> None:
    world, events, bob = World(), Events(), identity_of("bob").peer_id
    async with open_supervisor() as supervisor:
        await supervisor.start("herald", lambda: herald_of(world, events), Policy())
        async with events.subscribe(8) as heard:
            world.board.publish(Joined(bob, ELSEWHERE))
            world.board.publish(Left(bob, "it was late"))
            assert await anext(heard) == PeerJoined(bob, str(ELSEWHERE))
            assert await anext(heard) == PeerLeft(bob, "it was late")


def shown(name: str, *, signed: bool = True) -> PeerInfo:
    """Somebody who is here, with the record that it shows."""
    identity = identity_of(name)
    record = SignedPeerRecord.sign(identity, 1, [Multiaddr.parse("/ip4/10.0.0.2/udp/8090")])
    return PeerInfo(
        peer=identity.peer_id,
        address=ELSEWHERE,
        dialled=True,
        agent="",
        protocols=(),
        since=0,
        bytes_in=0,
        bytes_out=0,
        latency=None,
        streams=0,
        record=record if signed else None,
    )


async def test_discovery_meets_who_joins(autojump_clock: MockClock) -> None:
    world, bob, carol, mute = World(), shown("bob"), shown("carol"), shown("mute", signed=False)
    async with open_supervisor() as supervisor:
        await supervisor.start("herald", lambda: herald_of(world, Events()), Policy())
        world.here = [mute, bob]
        world.free.set()
        for info in (carol, mute, bob):  # carol has left again
            world.board.publish(Joined(info.peer, info.address))
        await trio.sleep(1)
        assert world.met == [(bob.record, "10.0.0.2")]
        world.here, world.down = [carol], True
        world.board.publish(Joined(carol.peer, ELSEWHERE))
        await trio.sleep(1)
        world.down = False
        world.board.publish(Joined(carol.peer, ELSEWHERE))
        await trio.sleep(1)
        assert world.met[1:] == [(carol.record, "10.0.0.2")]


async def test_of_very_many_who_join_at_once_discovery_meets_some(autojump_clock: MockClock) -> None:
    world, bob, heard = World(), shown("bob"), 0
    world.here = [bob]
    events = Events()
    async with open_supervisor() as supervisor:
        await supervisor.start("herald", lambda: herald_of(world, events), Policy())
        async with events.subscribe(4 * MEETING) as news:
            for _ in range(2 * MEETING):
                world.board.publish(Joined(bob.peer, bob.address))
            # The others are told of all of them, however long discovery takes.
            with trio.move_on_after(1):
                async for _ in news:
                    heard += 1
        assert heard == 2 * MEETING
        world.free.set()
        await trio.sleep(2)
        assert MEETING <= len(world.met) <= MEETING + 1


async def test_what_is_new_here_is_announced_with_its_tree(autojump_clock: MockClock) -> None:
    world = World()
    herald = herald_of(world, Events())
    herald.stored(MANIFEST.cid)  # before it runs
    async with open_supervisor() as supervisor:
        await supervisor.start("herald", lambda: herald, Policy())
        herald.stored(GONE)
        herald.stored(MANIFEST.cid)
        await trio.sleep(1)
        assert world.announcements == [[MANIFEST.cid, MANIFEST.tree_cid]] * 2
        world.down = True
        herald.stored(MANIFEST.cid)
        await trio.sleep(1)
        world.down = False
        herald.stored(MANIFEST.cid)
        await trio.sleep(1)
        assert len(world.announcements) == 3


async def test_what_is_too_much_to_wait_is_left_to_the_advertiser() -> None:
    herald = herald_of(World(), Events())
    for _ in range(WAITING + 5):
        herald.stored(MANIFEST.cid)


async def test_where_we_are_is_told_at_the_start_and_when_it_changes(autojump_clock: MockClock) -> None:
    world = World()
    async with open_supervisor() as supervisor:
        await supervisor.start("herald", lambda: herald_of(world, Events()), Policy())
        assert world.told == [((HERE,), Multiaddr.parse("/ip4/10.0.0.1/udp/8090"))]
        world.addresses, world.down = (ELSEWHERE,), True
        await trio.sleep(LOOK + 1)
        world.down = False
        await trio.sleep(LOOK)
        assert world.told[-1] == ((ELSEWHERE,), Multiaddr.parse("/ip4/10.0.0.2/udp/8090"))


def test_discovery_is_reached_where_connections_are() -> None:
    six = Multiaddr.parse("/ip6/2001:db8::1/tcp/8070")
    assert udp_address([six, HERE], 9) == Multiaddr.parse("/ip4/10.0.0.1/udp/9")
    assert udp_address([six], 9) is None
    assert udp_address([HERE], None) is None
    assert udp_address([], 9) is None
