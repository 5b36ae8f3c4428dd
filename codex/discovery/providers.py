"""Who has which content, as we were told: bounded, and forgotten after a day unless it is said again.

A node that holds content says so to those whose place on the ring is near the content's. Of each provider the
record with the highest number is kept, once, however many contents it has. What is here is only ever a hint:
whoever asks verifies the blocks that it gets.

When there is no room: a content has at most 64 providers, all contents together 100,000, and what comes from
one place on the internet (`source`) may be a quarter of that. Beyond, the oldest of the source that has the
most goes; so nobody can talk others out of here.

Times are unix seconds. Everything here works at once; `take_changes` tells what to write down.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from attrs import define, field, frozen

from codex.p2p import PeerId, SignedPeerRecord

TTL = 24 * 3600.0
"""Seconds that a provider is believed to have a content. Providers say it again every half hour."""


@frozen
class Bounds:
    """How much there may be."""

    entries: int = 100_000
    """Pairs of content and provider; one takes some 400 bytes of memory."""
    a_content: int = 64
    """Providers of one content. An answer carries about five."""
    providers: int = 4096
    """Records, of at most `nodes.MAX_RECORD` bytes each."""

    @property
    def a_source(self) -> int:
        """Pairs that one source may have brought."""
        return max(1, self.entries // 4)


@frozen
class Said:
    """What we were told, as it is written down: `provider` has `content` (32 bytes) until `expiry`."""

    content: bytes
    provider: PeerId
    expiry: float
    source: str


@frozen
class Changes:
    """What is new since the last time: lines, pairs that are gone, and records of providers."""

    said: tuple[Said, ...] = ()
    gone: tuple[tuple[bytes, PeerId], ...] = ()
    records: tuple[SignedPeerRecord, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.said or self.gone or self.records)


@define(eq=False, slots=True)
class _Entry:
    content: bytes
    provider: PeerId
    expiry: float
    source: str


@define(eq=False, slots=True)
class _Provider:
    record: SignedPeerRecord
    source: str
    """Where it was first heard of."""
    entries: dict[bytes, _Entry] = field(factory=dict)


class Providers:
    """Contents and their providers."""

    def __init__(self, bounds: Bounds | None = None) -> None:
        self._bounds = bounds or Bounds()
        self._contents: dict[bytes, dict[PeerId, _Entry]] = {}
        self._providers: dict[PeerId, _Provider] = {}
        # By source, in the order in which they were said last. Dicts, because they keep an order.
        self._sources: defaultdict[str, dict[_Entry, None]] = defaultdict(dict)
        self._crowd: Counter[str] = Counter()
        """Providers by source."""
        self._count = 0
        self._changed: dict[tuple[bytes, PeerId], _Entry | None] = {}
        self._renewed: dict[PeerId, None] = {}

    def __len__(self) -> int:
        """Pairs of content and provider, expired ones included until they are swept away."""
        return self._count

    @property
    def contents(self) -> int:
        """How many contents somebody has."""
        return len(self._contents)

    @property
    def providers(self) -> int:
        """How many nodes have something."""
        return len(self._providers)

    # -- changes

    def add(self, content: bytes, record: SignedPeerRecord, now: float, *, source: str = "") -> None:
        """Note that the node of `record` has `content` (32 bytes), for 24 hours from now.

        Its record is taken when it is the first, or newer than the one that is here.
        """
        self._put(content, record, now + TTL, source)

    def restore(self, lines: Iterable[Said], records: Iterable[SignedPeerRecord], now: float) -> None:
        """Take in what was written down, oldest first. What has expired, or has no record, is left out."""
        found = {record.record.peer_id: record for record in records}
        for line in lines:
            record = found.get(line.provider)
            if record is not None and now < line.expiry <= now + TTL:
                self._put(line.content, record, line.expiry, line.source)
        self._changed.clear()
        self._renewed.clear()

    def forget(self, provider: PeerId) -> None:
        """Drop all that a node has, for it was not there when it was called."""
        known = self._providers.get(provider)
        if known is not None:
            for entry in tuple(known.entries.values()):
                self._remove(entry)

    def sweep(self, now: float) -> None:
        """Drop what has expired."""
        for entries in tuple(self._sources.values()):
            for entry in [entry for entry in entries if entry.expiry <= now]:
                self._remove(entry)

    def take_changes(self) -> Changes:
        """What has changed since the last call, in the order in which it did."""
        changes = Changes(
            tuple(
                Said(entry.content, entry.provider, entry.expiry, entry.source)
                for entry in self._changed.values()
                if entry is not None
            ),
            tuple(pair for pair, entry in self._changed.items() if entry is None),
            tuple(self._providers[peer].record for peer in self._renewed if peer in self._providers),
        )
        self._changed.clear()
        self._renewed.clear()
        return changes

    def put_back(self, changes: Changes) -> None:
        """Let what could not be written down be among the changes once more."""
        pairs = [*((one.content, one.provider) for one in changes.said), *changes.gone]
        for content, peer in pairs:
            if (content, peer) not in self._changed:
                self._changed[(content, peer)] = self._contents.get(content, {}).get(peer)
        self._renewed.update(dict.fromkeys(record.record.peer_id for record in changes.records))

    def renew(self, record: SignedPeerRecord) -> None:
        """Take a newer record of a node that has something; of others nothing is kept."""
        provider = self._providers.get(record.record.peer_id)
        if provider is not None and record.record.seq > provider.record.record.seq:
            provider.record = record
            self._renewed[record.record.peer_id] = None

    # -- questions

    def record_of(self, provider: PeerId) -> SignedPeerRecord | None:
        """The record of a node that has something; None of any other."""
        known = self._providers.get(provider)
        return None if known is None else known.record

    def get(self, content: bytes, now: float) -> list[SignedPeerRecord]:
        """The records of those who have `content` now, who said so last first."""
        entries = self._contents.get(content, {}).values()
        return [self._providers[one.provider].record for one in reversed(entries) if now < one.expiry]

    # -- inside

    def _put(self, content: bytes, record: SignedPeerRecord, expiry: float, source: str) -> None:
        peer = record.record.peer_id
        known = self._providers.get(peer)
        newer = known is None or record.record.seq > known.record.record.seq
        if known is not None and content in known.entries:
            self._unlink(known.entries[content])
        self._make_room(content, peer, source)
        provider = self._providers.get(peer)
        if provider is None:
            provider = self._providers[peer] = _Provider(record, source)
            self._crowd[source] += 1
        if newer:
            provider.record = record
            self._renewed[peer] = None
        elif known is not None:
            provider.record = known.record
        entry = _Entry(content, peer, expiry, source)
        provider.entries[content] = entry
        self._contents.setdefault(content, {})[peer] = entry
        self._sources[source][entry] = None
        self._count += 1
        self._note(content, peer, entry)

    def _make_room(self, content: bytes, peer: PeerId, source: str) -> None:
        holders = self._contents.get(content, {})
        if len(holders) >= self._bounds.a_content:
            crowd = Counter(entry.source for entry in holders.values())
            [(crowded, _)] = crowd.most_common(1)
            self._remove(next(entry for entry in holders.values() if entry.source == crowded))
        if len(self._sources.get(source, ())) >= self._bounds.a_source:
            self._remove(next(iter(self._sources[source])))
        if self._count >= self._bounds.entries:
            largest = max(self._sources, key=lambda one: len(self._sources[one]))
            self._remove(next(iter(self._sources[largest])))
        if peer not in self._providers and len(self._providers) >= self._bounds.providers:
            crowded = max(self._crowd, key=lambda one: self._crowd[one])
            self.forget(next(name for name, one in self._providers.items() if one.source == crowded))

    def _remove(self, entry: _Entry) -> None:
        self._unlink(entry)
        self._note(entry.content, entry.provider, None)

    def _unlink(self, entry: _Entry) -> None:
        holders = self._contents[entry.content]
        del holders[entry.provider]
        if not holders:
            del self._contents[entry.content]
        provider = self._providers[entry.provider]
        del provider.entries[entry.content]
        if not provider.entries:
            del self._providers[entry.provider]
            self._crowd[provider.source] -= 1
            if not self._crowd[provider.source]:
                del self._crowd[provider.source]
        entries = self._sources[entry.source]
        del entries[entry]
        if not entries:
            del self._sources[entry.source]
        self._count -= 1

    def _note(self, content: bytes, peer: PeerId, entry: _Entry | None) -> None:
        # At the end, also when it had changed before: the order is that of the last change.
        self._changed.pop((content, peer), None)
        self._changed[(content, peer)] = entry
