"""Keys agreed on with other nodes, kept as long as there is room.

A session is with a node at an address. It has one key to write with and two to read with: when both sides
begin a handshake at once, or the last packet of one gets lost, neither knows which of two keys the other
will write with. Whatever is forgotten costs one more handshake and nothing else.
"""

from collections import OrderedDict, deque
from typing import TypeAlias

from attrs import define, field

from codex.p2p import PublicKey

Address: TypeAlias = tuple[str, int]
"""An IP address and a UDP port."""
Place: TypeAlias = tuple[bytes, Address]
"""A node, by its id, at an address."""

MAX_SESSIONS = 256
MAX_REMEMBERED = 64
"""Packets per session that are known when they come a second time."""


@define(eq=False)
class Session:
    """The keys shared with one node at one address, and the nonces of its latest packets."""

    public_key: PublicKey
    """The other node's; what it signed the handshake with, or what we agreed with."""
    write: bytes = field(repr=False)
    read: bytes = field(repr=False)
    read_before: bytes | None = field(default=None, repr=False)
    _seen: deque[bytes] = field(factory=lambda: deque(maxlen=MAX_REMEMBERED), init=False, repr=False)

    def swap(self) -> None:
        """Try the other key to read with first, from now on: it is what the other side uses."""
        if self.read_before is not None:
            self.read, self.read_before = self.read_before, self.read

    def is_repeated(self, nonce: bytes) -> bool:
        """Whether a packet with that nonce was read lately; if not, it counts as read now."""
        if nonce in self._seen:
            return True
        self._seen.append(nonce)
        return False


class Sessions:
    """The sessions used last, at most `capacity` of them."""

    def __init__(self, capacity: int = MAX_SESSIONS) -> None:
        self._capacity = capacity
        self._by_place: OrderedDict[Place, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._by_place)

    def get(self, place: Place) -> Session | None:
        """The session, which is then the one used last."""
        session = self._by_place.get(place)
        if session is not None:
            self._by_place.move_to_end(place)
        return session

    def agree(self, place: Place, public_key: PublicKey, *, write: bytes, read: bytes) -> Session:
        """Begin a session, or renew one: the key that was read with is kept as the other one. The session
        used longest ago makes room.
        """
        session = self.get(place)
        if session is None:
            session = self._by_place[place] = Session(public_key, write, read)
            if len(self._by_place) > self._capacity:
                self._by_place.popitem(last=False)
            return session
        if read != session.read:
            session.read, session.read_before = read, session.read
        session.write, session.public_key = write, public_key
        return session

    def drop(self, place: Place) -> None:
        """Forget a session, if there is one."""
        self._by_place.pop(place, None)
