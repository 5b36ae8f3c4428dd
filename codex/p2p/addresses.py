"""Which addresses to listen on, to announce and to dial: rules over multiaddresses, without any I/O.

Announced is what others can use: never a wildcard, never port 0. Dialled is plain TCP over IP or a name, the
most promising first. The `/p2p/<peer id>` that people and records put behind an address says who should be
there, and is taken off before anything else looks at it.
"""

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum

from attrs import frozen

from codex.codec import Multiaddr
from codex.errors import ConfigError, DecodeError
from codex.p2p.identity import PeerId

MAX_DIALLED = 16
"""Addresses of one peer that are tried; whoever lists a hundred is not to make us knock at them all."""

_HOSTS: dict[str, int | None] = {"ip4": 4, "ip6": 6, "dns4": 4, "dns6": 6, "dns": None}
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")
_LOOPBACK = {4: "127.0.0.1", 6: "::1"}


class Reach(IntEnum):
    """How far an address carries; the best first."""

    PUBLIC = 0
    PRIVATE = 1
    """Within one site: a home, an office, a data centre."""
    LOOPBACK = 2
    """Within one machine."""
    NOWHERE = 3
    """Wildcards, multicast and addresses that mean something only with a network interface beside them."""


@frozen
class Endpoint:
    """Where TCP connects to. `version` is that of IP, None for a name that may have either."""

    host: str
    port: int
    version: int | None
    named: bool = False


@frozen
class Announcement:
    """The addresses to tell others, and sentences for the log about how they came about."""

    addresses: tuple[Multiaddr, ...]
    notes: tuple[str, ...] = ()


def endpoint(address: Multiaddr) -> Endpoint | None:
    """Where an address of plain TCP leads; None for any other kind. A `/p2p` behind it is allowed."""
    parts = address.parts
    if len(parts) > 2 and parts[-1][0] == "p2p":
        parts = parts[:-1]
    if len(parts) != 2 or parts[0][0] not in _HOSTS or parts[1][0] != "tcp":
        return None
    protocol, host = parts[0]
    return Endpoint(str(host), int(str(parts[1][1])), _HOSTS[protocol], protocol.startswith("dns"))


def split_peer(address: Multiaddr) -> tuple[Multiaddr, PeerId | None]:
    """An address without its `/p2p`, and the peer it names. Raises DecodeError when nothing else is in it."""
    if address.parts[-1][0] != "p2p":
        return address, None
    if len(address.parts) == 1:
        raise DecodeError(f"{address} names a peer and not where it is")
    return Multiaddr(address.parts[:-1]), PeerId.parse(str(address.parts[-1][1]))


def reach(address: Multiaddr) -> Reach:
    """How far an address of plain TCP or UDP carries. Names are taken for public ones."""
    protocol, host = address.parts[0]
    if protocol not in ("ip4", "ip6"):
        return Reach.PUBLIC if protocol in _HOSTS else Reach.NOWHERE
    ip = ipaddress.ip_address(str(host))
    if isinstance(ip, ipaddress.IPv6Address):
        ip = ip.ipv4_mapped or ip
    # Link-local IPv4 needs no interface beside it, as a machine mostly has one; IPv6 does.
    if ip.is_unspecified or ip.is_multicast or ip == _BROADCAST or (ip.version == 6 and ip.is_link_local):
        return Reach.NOWHERE
    if ip.is_loopback:
        return Reach.LOOPBACK
    if ip.is_private or ip.is_link_local or not ip.is_global:
        return Reach.PRIVATE
    return Reach.PUBLIC


def dialable(address: Multiaddr) -> bool:
    """Whether a node can be dialled there, by its form."""
    target = endpoint(address)
    return target is not None and target.port > 0 and reach(address) is not Reach.NOWHERE


def to_dial(
    peer: PeerId, addresses: Iterable[Multiaddr], own: Sequence[Multiaddr] = ()
) -> tuple[Multiaddr, ...]:
    """The addresses at which to look for `peer`, the most promising first, each once and without `/p2p`.

    Left out are those that name another peer, that no connection can be made to, and where we would meet
    ourselves: `own` are the addresses that we listen on and announce. Of equal reach, the given order
    counts.
    """
    mine = {(end.host, end.port) for end in map(endpoint, own) if end is not None}
    # Whoever listens on all addresses listens on the machine's own, too.
    local = {
        end.port for address, end in zip(own, map(endpoint, own), strict=True) if end and _is_local(address)
    }
    found: dict[Multiaddr, None] = {}
    for address in addresses:
        bare, named = _split_or_none(address)
        if bare is None or named not in (None, peer) or not dialable(bare):
            continue
        target = endpoint(bare)
        if target is None or (target.host, target.port) in mine:
            continue
        if reach(bare) is Reach.LOOPBACK and target.port in local:
            continue
        found[bare] = None
    return tuple(sorted(found, key=reach)[:MAX_DIALLED])


def announced(listening: Iterable[Multiaddr], nat: str, route: Callable[[int], str | None]) -> Announcement:
    """What to announce for what is listened on.

    `nat` is as in the configuration: with `extip:<address>` all ports are announced at that address. Else
    each address is announced as it is, and a wildcard as the address that `route(version)` says this machine
    shows on its default route; on a machine without one, as loopback, which serves nodes on it. Ports are
    those listened on. Raises ConfigError for an unknown `nat`.
    """
    kind, _, external = nat.partition(":")
    if kind not in ("any", "none", "upnp", "pmp", "extip"):
        raise ConfigError(
            f"the NAT strategy {nat!r} is unknown", remedy="Give any, none, upnp, pmp or extip:ADDRESS."
        )
    found: dict[Multiaddr, None] = {}
    notes: list[str] = []
    for address in listening:
        target = endpoint(address)
        if target is None or target.version is None:
            continue
        if kind == "extip":
            found[_at(external, target.port)] = None
        elif not _is_wild(address):
            found[Multiaddr(address.parts[:2])] = None
        elif (host := route(target.version)) is not None:
            found[_at(host, target.port)] = None
        else:
            notes.append(f"this machine has no default route: {address} is announced to nodes on it only")
            found[_at(_LOOPBACK[target.version], target.port)] = None
    # Who is told of loopback addresses alone has been told so, or has asked for nothing else.
    if kind in ("any", "upnp", "pmp") and min(map(reach, found), default=None) is Reach.PRIVATE:
        notes.append(
            "no public address: nodes elsewhere reach this one only through a port of the router that leads "
            "here, which this version does not open by itself; --nat extip:ADDRESS announces it"
        )
    return Announcement(tuple(found), tuple(notes))


def source_of(address: Multiaddr) -> str:
    """Who counts as one source of connections: an IPv4 address, or the /64 of an IPv6 one, as a household
    has it.
    """
    protocol, host = address.parts[0]
    if protocol == "ip6":
        return str(ipaddress.IPv6Network((str(host), 64), strict=False))
    return str(host)


def _split_or_none(address: Multiaddr) -> tuple[Multiaddr | None, PeerId | None]:
    try:
        return split_peer(address)
    except DecodeError:
        return None, None


def _at(host: str, port: int) -> Multiaddr:
    return Multiaddr.of(("ip6" if ":" in host else "ip4", host), ("tcp", str(port)))


def _is_wild(address: Multiaddr) -> bool:
    return ipaddress.ip_address(str(address.parts[0][1])).is_unspecified


def _is_local(address: Multiaddr) -> bool:
    """Whether something that listens there is met at the machine's loopback address."""
    return address.parts[0][0] in ("ip4", "ip6") and (_is_wild(address) or reach(address) is Reach.LOOPBACK)
