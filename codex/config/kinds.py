"""The kinds of value that an option can have: how each is read from text, and what a TOML file may hold
instead.

A kind reads text and raises InvalidInput, saying what is accepted. It does not know which option it is read
for.
"""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from attrs import frozen

from codex import logs, units
from codex.errors import InvalidInput

TEXT_LIMIT = 4096
"""Characters of any one value; the longest sensible ones are paths and signed peer records."""


@frozen
class Kind:
    """How the text of an option becomes its value."""

    name: str
    """What stands for the value in the help: SIZE, PORT, …"""
    parse: Callable[[str], Any]
    show: Callable[[Any], str] = str
    """The value as it would be written, for showing defaults."""
    toml: tuple[type, ...] = ()
    """What a TOML file may hold besides a string."""


def whole(low: int, high: int, name: str = "N", also: int | None = None) -> Kind:
    """An integer from `low` to `high`, or `also`."""
    accepted = f"a whole number from {low} to {high}" + (f", or {also}" if also is not None else "")

    def parse(text: str) -> int:
        # int() alone would take underscores, other scripts' digits, and any number of them.
        if re.fullmatch(r"[+-]?[0-9]{1,20}", text.strip()) is None:
            raise InvalidInput("not a whole number", remedy=f"Give {accepted}.")
        number = int(text)
        if number != also and not low <= number <= high:
            raise InvalidInput("out of range", remedy=f"Give {accepted}.")
        return number

    return Kind(name, parse, toml=(int,))


def size(low: int) -> Kind:
    """A number of bytes, `low` or more."""

    def parse(text: str) -> int:
        value = units.parse_size(text)
        if value < low:
            raise InvalidInput(
                "too small", remedy=f"Give {units.human_size(low)} or more: {units.SIZES_ACCEPTED}."
            )
        return value

    return Kind("SIZE", parse, units.size_text, toml=(int,))


def duration(low: float) -> Kind:
    """A number of seconds, `low` or more."""

    def parse(text: str) -> float:
        value = units.parse_duration(text)
        if value < low:
            least = units.duration_text(low)
            raise InvalidInput("too short", remedy=f"Give {least} or more: {units.DURATIONS_ACCEPTED}.")
        return value

    return Kind("DURATION", parse, units.duration_text, toml=(int, float))


def choice(*names: str) -> Kind:
    """One of some words, in any case."""

    def parse(text: str) -> str:
        if text.lower() not in names:
            raise InvalidInput("unknown value", remedy=f"Give one of {', '.join(names)}.")
        return text.lower()

    return Kind("|".join(names), parse)


def _flag(text: str) -> bool:
    match text.lower():
        case "true" | "1" | "yes" | "on":
            return True
        case "false" | "0" | "no" | "off":
            return False
    raise InvalidInput("neither true nor false", remedy="Give true or false.")


def _path(text: str) -> Path:
    if not text or "\0" in text:
        raise InvalidInput("not a path", remedy="Give the path of a file or directory.")
    return Path(text)


def _host(text: str) -> str:
    bare = text.removeprefix("[").removesuffix("]")
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        if re.fullmatch(r"(?!.*\.[0-9]+$)(?!-)[A-Za-z0-9.-]{1,253}(?<!-)", text) and not text.isdigit():
            return text
    raise InvalidInput(
        "not an address", remedy="Give an IP address (127.0.0.1, 0.0.0.0 for all, ::1) or a host name."
    )


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise InvalidInput(
            "not an IP address", remedy="Give an IP address, such as 127.0.0.1 or 0.0.0.0."
        ) from None


def _origin(text: str) -> str:
    if text == "*" or re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s,/?#\"]{1,300}", text):
        return text
    raise InvalidInput(
        "not an origin", remedy="Give one origin, such as https://app.example.org, or * for all."
    )


def _levels(text: str) -> str:
    logs.parse_levels(text)
    return text


def _agent(text: str) -> str:
    if not 1 <= len(text) <= 256 or not text.isprintable():
        raise InvalidInput("not usable as a name", remedy="Give 1 to 256 printable characters.")
    return text


def _nat(text: str) -> str:
    kind, _, address = text.partition(":")
    if kind in ("any", "none", "upnp", "pmp") and address == "" and ":" not in text:
        return text
    if kind == "extip":
        try:
            return f"extip:{ipaddress.IPv4Address(address)}"
        except ValueError:
            pass  # refused below, with the other forms
    raise InvalidInput(
        "unknown NAT strategy",
        remedy="Give any, none, upnp, pmp or extip: with an IPv4 address, as in extip:203.0.113.7.",
    )


def _listen_address(text: str) -> str:
    parts = re.fullmatch(r"/ip([46])/([0-9A-Fa-f.:]+)/tcp/([0-9]{1,5})", text)
    if parts is not None and int(parts[3]) <= 65535:
        try:
            address = ipaddress.ip_address(parts[2])
        except ValueError:
            pass  # refused below, with the other forms
        else:
            if address.version == int(parts[1]):
                return text
    raise InvalidInput(
        "not an address to listen on",
        remedy="Give /ip4/ADDRESS/tcp/PORT or /ip6/ADDRESS/tcp/PORT, as in /ip4/0.0.0.0/tcp/8070; "
        "port 0 takes any free one.",
    )


def _spr(text: str) -> str:
    # The signature is checked where the record is used; here a mistyped or cut text is caught.
    if re.fullmatch(r"spr:[A-Za-z0-9_-]{60,}", text):
        return text
    raise InvalidInput(
        "not a signed peer record",
        remedy="Give the whole text that starts with spr:, as the other node's /api/codex/v1/spr shows it.",
    )


def _eth_address(text: str) -> str:
    if re.fullmatch(r"(0x)?[0-9A-Fa-f]{40}", text):
        return "0x" + text.removeprefix("0x")
    raise InvalidInput("not an Ethereum address", remedy="Give 0x and 40 hexadecimal digits.")


def _is_provider(url: str) -> bool:
    try:
        parts = urlsplit(url)
        port = parts.port  # one that is out of range is found when it is asked for
    except ValueError:
        return False
    known = parts.scheme in ("ws", "wss", "http", "https")
    return known and bool(parts.hostname) and port != 0 and re.fullmatch(r"[!-~]+", url) is not None


def _providers(text: str) -> tuple[str, ...]:
    urls = tuple(text.split(","))
    if all(map(_is_provider, urls)):
        return urls
    raise InvalidInput(
        "not the URL of a provider",
        remedy="Give URLs that start with ws://, wss://, http:// or https://, with commas between several.",
    )


FLAG = Kind("BOOL", _flag, lambda value: str(value).lower(), toml=(bool,))
PATH = Kind("PATH", _path)
HOST = Kind("ADDRESS", _host)
IP = Kind("IP", _ip)
PORT = whole(0, 65535, "PORT")
ORIGIN = Kind("ORIGIN", _origin)
LEVELS = Kind("LEVELS", _levels)
AGENT = Kind("NAME", _agent)
NAT = Kind("any|none|upnp|pmp|extip:IP", _nat)
LISTEN_ADDRESS = Kind("MULTIADDRESS", _listen_address)
SPR = Kind("SPR", _spr)
ETH_ADDRESS = Kind("0xADDRESS", _eth_address)
PROVIDERS = Kind("URL,…", _providers, ",".join)
