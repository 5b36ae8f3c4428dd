"""Filters that are asked for what is new, for clients that come by HTTP and cannot be told.

A filter holds what happened since it was asked the last time, and is forgotten when that becomes too much.
"""

from attrs import define, field

from codex.devnet.chain import Chain, News, Reorganised
from codex.devnet.errors import REFUSED, Refused
from codex.devnet.values import Block, Filter, Log
from codex.devnet.wire import Json, data, json_log, quantity, read_quantity

HELD = 10_000
"""Items that a filter holds."""
FILTERS = 1000


@define
class _Polled:
    """A filter; without `wanted` it is for the hashes of blocks."""

    wanted: Filter | None
    first: int = 0
    news: list[Json] = field(factory=list)


class Polling:
    """The filters of one chain, by names that clients get. Everything raises Refused."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._filters: dict[int, _Polled] = {}
        self._named = 0
        chain.listeners.append(self._hear)

    def for_logs(self, wanted: Filter, first: int) -> Json:
        """A new filter for logs; its name. `all` gives those from block `first` on."""
        return self._new(_Polled(wanted, first))

    def for_blocks(self) -> Json:
        """A new filter for the hashes of blocks; its name."""
        return self._new(_Polled(None))

    def changes(self, name: Json) -> list[Json]:
        """What is new since the last time."""
        polled = self._find(name)
        news, polled.news = polled.news, []
        return news

    def all(self, name: Json) -> list[Json]:
        """Every log that the filter takes, new or not."""
        polled = self._find(name)
        if polled.wanted is None:
            raise Refused(REFUSED, "filter not found")
        logs = self._chain.ledger.logs(polled.wanted, polled.first, self._chain.latest.number)
        return [json_log(log) for log in logs]

    def end(self, name: Json) -> bool:
        """Forget a filter; whether there was one."""
        return self._filters.pop(read_quantity(name), None) is not None

    def _new(self, polled: _Polled) -> Json:
        if len(self._filters) >= FILTERS:
            raise Refused(REFUSED, f"more than {FILTERS} filters are not kept")
        self._named += 1
        self._filters[self._named] = polled
        return quantity(self._named)

    def _find(self, name: Json) -> _Polled:
        polled = self._filters.get(read_quantity(name))
        if polled is None:
            raise Refused(REFUSED, "filter not found")
        return polled

    def _hear(self, news: News) -> None:
        for name, polled in list(self._filters.items()):
            if polled.wanted is None:
                polled.news += [data(block.hash) for block in added(news)]
            else:
                polled.news += news_of(polled.wanted, news)
            if len(polled.news) > HELD:
                del self._filters[name]


def added(news: News) -> tuple[Block, ...]:
    """The blocks that are new."""
    return news.added if isinstance(news, Reorganised) else (news,)


def news_of(wanted: Filter, news: News) -> list[Json]:
    """The logs that `wanted` takes, as they are told: first those that no longer count."""

    def taken(blocks: tuple[Block, ...]) -> list[Log]:
        return [log for block in blocks for log in block.logs if wanted.takes(log.event)]

    gone = taken(news.removed) if isinstance(news, Reorganised) else []
    return [json_log(log, removed=True) for log in gone] + [json_log(log) for log in taken(added(news))]
