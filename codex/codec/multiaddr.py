"""Multiaddresses: how a peer is reached, as a path of protocols, "/ip4/192.0.2.1/tcp/8070".

Each part is a protocol and, for most, a value. In binary it is the protocol's code as a varint, then the
value: of fixed length, or with its length in front as a varint, or nothing.
"""

import ipaddress
from collections.abc import Callable
from types import MappingProxyType
from typing import TypeAlias

from attrs import frozen

from codex.codec import multibase, varint
from codex.codec.cid import IDENTITY, LIBP2P_KEY, SHA2_256, Cid, check_multihash
from codex.errors import DecodeError

MAX_BYTES = 1024
"""Bytes of the longest address. Two peers, a relay between them and a host name need less than 500."""

MAX_TEXT = 4096
"""Characters of the longest address as text."""

_MAX_NAME = 255

Part: TypeAlias = tuple[str, str | None]
"""The name of a protocol and its value as text, or None for one without."""


@frozen
class _Protocol:
    """How one protocol's value is written. `size` is in bytes, or None when the length is written in
    front.
    """

    name: str
    code: int
    size: int | None = 0
    pack: Callable[[str], bytes] = str.encode
    unpack: Callable[[bytes], str] = bytes.decode


def _pack_ip4(text: str) -> bytes:
    return ipaddress.IPv4Address(text).packed


def _unpack_ip4(data: bytes) -> str:
    return str(ipaddress.IPv4Address(data))


def _pack_ip6(text: str) -> bytes:
    address = ipaddress.IPv6Address(text)
    if address.scope_id is not None:
        raise DecodeError("the zone of an ip6 address is a part of its own: /ip6zone/<zone>/ip6/<address>")
    return address.packed


def _unpack_ip6(data: bytes) -> str:
    return str(ipaddress.IPv6Address(data))


def _pack_port(text: str) -> bytes:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 0xFFFF):
        raise DecodeError("a port is a number from 0 to 65535")
    return int(text).to_bytes(2)


def _unpack_port(data: bytes) -> str:
    return str(int.from_bytes(data))


def _pack_name(text: str) -> bytes:
    data = text.encode()
    _check_name(text, data)
    return data


def _unpack_name(data: bytes) -> str:
    text = data.decode()
    _check_name(text, data)
    return text


def _check_name(text: str, data: bytes) -> None:
    # A name ends up in logs and in the text form: what would break either is no name.
    if not data or len(data) > _MAX_NAME or "/" in text or not text.isprintable():
        raise DecodeError(f"a name has 1 to {_MAX_NAME} printable bytes and no slash")


def _pack_path(text: str) -> bytes:
    _check_path(text)
    return text.encode()


def _unpack_path(data: bytes) -> str:
    text = data.decode()
    _check_path(text)
    return text


def _check_path(text: str) -> None:
    if not text.startswith("/") or text.endswith("/") or not text.isprintable():
        raise DecodeError("a path begins with a slash, ends with a name, and is printable")


def _pack_peer(text: str) -> bytes:
    # Bare base58 is the customary form, and the two kinds of peer ids begin with "Qm" and "1" in it. The
    # newer form is the CID of a key.
    if text.startswith(("Qm", "1")) and len(text) <= MAX_TEXT:
        return _checked_peer(multibase.BASE58BTC.decode(text))
    cid = Cid.parse(text)
    if cid.codec != LIBP2P_KEY:
        raise DecodeError("the CID of a peer is that of a key")
    return _checked_peer(cid.multihash)


def _unpack_peer(data: bytes) -> str:
    return multibase.BASE58BTC.encode(_checked_peer(data))


def _checked_peer(data: bytes) -> bytes:
    check_multihash(data)
    if data[0] not in (IDENTITY, SHA2_256):
        raise DecodeError("a peer id is a key, or its sha2-256")
    return data


_PROTOCOLS = (
    _Protocol("ip4", 0x04, 4, _pack_ip4, _unpack_ip4),
    _Protocol("tcp", 0x06, 2, _pack_port, _unpack_port),
    _Protocol("ip6", 0x29, 16, _pack_ip6, _unpack_ip6),
    _Protocol("ip6zone", 0x2A, None, _pack_name, _unpack_name),
    _Protocol("dns", 0x35, None, _pack_name, _unpack_name),
    _Protocol("dns4", 0x36, None, _pack_name, _unpack_name),
    _Protocol("dns6", 0x37, None, _pack_name, _unpack_name),
    _Protocol("dnsaddr", 0x38, None, _pack_name, _unpack_name),
    _Protocol("udp", 0x0111, 2, _pack_port, _unpack_port),
    _Protocol("p2p-circuit", 0x0122),
    _Protocol("unix", 0x0190, None, _pack_path, _unpack_path),
    _Protocol("p2p", 0x01A5, None, _pack_peer, _unpack_peer),
    _Protocol("tls", 0x01C0),
    _Protocol("noise", 0x01C6),
    _Protocol("quic", 0x01CC),
    _Protocol("quic-v1", 0x01CD),
    _Protocol("ws", 0x01DD),
    _Protocol("wss", 0x01DE),
)
_BY_NAME = MappingProxyType({protocol.name: protocol for protocol in _PROTOCOLS})
_BY_CODE = MappingProxyType({protocol.code: protocol for protocol in _PROTOCOLS})

# The former name of "p2p", still met in text.
_ALIASES = {"ipfs": "p2p"}


@frozen(slots=True)
class Multiaddr:
    """One address. Equal to another when both are made of the same parts.

    Values stand in `parts` in their customary form (ports without leading zeros, short ip6), so addresses
    that mean the same are equal. Make it with `parse`, `from_bytes` or `of`; the constructor trusts.
    """

    parts: tuple[Part, ...]

    @classmethod
    def of(cls, *parts: Part) -> "Multiaddr":
        """Make an address of parts: `Multiaddr.of(("ip4", "192.0.2.1"), ("tcp", "8070"))`. Raises
        DecodeError.
        """
        if not parts:
            raise DecodeError("an address has at least one part")
        address = cls(tuple(_normal(name, value) for name, value in parts))
        if len(address.to_bytes()) > MAX_BYTES:
            raise DecodeError(f"an address has at most {MAX_BYTES} bytes")
        return address

    @classmethod
    def parse(cls, text: str) -> "Multiaddr":
        """Read the text form. Raises DecodeError for an unknown protocol, and a value that is not of it."""
        if len(text) > MAX_TEXT:
            raise DecodeError(f"an address has at most {MAX_TEXT} characters")
        if not text.startswith("/"):
            raise DecodeError("an address begins with a slash")
        words = text.rstrip("/").split("/")[1:]
        parts: list[Part] = []
        while words:
            protocol = _by_name(words.pop(0))
            if protocol.size == 0:
                parts.append((protocol.name, None))
            elif not words:
                raise DecodeError(f"the address has {protocol.name} without a value")
            elif protocol.name == "unix":
                # A path takes all the rest.
                parts.append((protocol.name, "/" + "/".join(words)))
                words = []
            else:
                parts.append((protocol.name, words.pop(0)))
        return cls.of(*parts)

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "Multiaddr":
        """Read the binary form. Raises DecodeError, also over `MAX_BYTES` bytes."""
        if not 0 < len(data) <= MAX_BYTES:
            raise DecodeError(f"an address has 1 to {MAX_BYTES} bytes")
        parts: list[Part] = []
        at = 0
        while at < len(data):
            code, at = varint.decode(data, at, minimal=True)
            protocol = _BY_CODE.get(code)
            if protocol is None:
                raise DecodeError(f"the protocol {code:#x} of the address is unknown")
            size = protocol.size
            if size is None:
                size, at = varint.decode(data, at, minimal=True)
            if size > len(data) - at:
                raise DecodeError(f"the address ends inside the value of {protocol.name}")
            parts.append((protocol.name, _unpack(protocol, bytes(data[at : at + size]))))
            at += size
        return cls(tuple(parts))

    def to_bytes(self) -> bytes:
        """Return the binary form."""
        out = bytearray()
        for name, value in self.parts:
            protocol = _BY_NAME[name]
            packed = protocol.pack(value) if value is not None else b""
            out += varint.encode(protocol.code)
            if protocol.size is None:
                out += varint.encode(len(packed))
            out += packed
        return bytes(out)

    def __str__(self) -> str:
        return "".join([_text(name, value) for name, value in self.parts])

    @property
    def protocols(self) -> tuple[str, ...]:
        """The names of the protocols, in order."""
        return tuple(name for name, _ in self.parts)

    def get(self, protocol: str) -> str | None:
        """The value of the first part with that protocol; None when there is none, or it has no value."""
        return next((value for name, value in self.parts if name == protocol), None)

    def join(self, *parts: Part) -> "Multiaddr":
        """This address with more parts behind it. Raises DecodeError as `of` does."""
        return Multiaddr.of(*self.parts, *parts)


def _by_name(name: str) -> _Protocol:
    protocol = _BY_NAME.get(_ALIASES.get(name, name))
    if protocol is None:
        raise DecodeError(f"the protocol {name[:32]!r} of the address is unknown")
    return protocol


def _normal(name: str, value: str | None) -> Part:
    """Check a part, and bring its value into the customary form."""
    protocol = _by_name(name)
    if (value is None) != (protocol.size == 0):
        raise DecodeError(f"{protocol.name} {'has no' if value is not None else 'needs a'} value")
    if value is None:
        return (protocol.name, None)
    try:
        packed = protocol.pack(value)
    except (ValueError, UnicodeError):
        raise DecodeError(f"{value[:64]!r} is no value of {protocol.name}") from None
    return (protocol.name, _unpack(protocol, packed))


def _unpack(protocol: _Protocol, data: bytes) -> str | None:
    if protocol.size == 0:
        return None
    try:
        return protocol.unpack(data)
    except UnicodeError:
        raise DecodeError(f"the value of {protocol.name} in the address is not text") from None


def _text(name: str, value: str | None) -> str:
    if value is None:
        return f"/{name}"
    return f"/{name}{value}" if value.startswith("/") else f"/{name}/{value}"
