"""The table of the interface: every method, what it takes, what it gives, and who does it.

Dispatch, the documentation page and the tests all come from here. A new method is a row.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

from attrs import frozen

from codex.api.rpc import market, market_results, methods, params, results
from codex.api.rpc.methods import Call

P = TypeVar("P")


@frozen
class Method(Generic[P]):
    """One method.

    `takes` and `gives` are attrs classes; `gives` is None where the result is null. One that is `at_once` is
    done where it is read, before anything that came behind it, and needs no place among the requests.
    """

    name: str
    takes: type[P]
    gives: type | None
    do: Callable[[Call, P], Awaitable[Any]]
    at_once: bool = False

    @property
    def doc(self) -> str:
        """What it does, in a sentence or more."""
        return " ".join((self.do.__doc__ or "").split())


_ROWS: tuple[Method[Any], ...] = (
    Method("store", params.Store, results.Stored, methods.store),
    Method("retrieve", params.Retrieve, results.Retrieved, methods.retrieve),
    Method("fetchManifest", params.Dataset, results.Content, methods.fetch_manifest),
    Method("delete", params.Anything, None, methods.delete),
    Method("iterateManifests", params.Page, results.Contents, methods.iterate_manifests),
    Method("exists", params.Anything, results.Existence, methods.exists),
    Method("pin", params.Dataset, None, methods.pin),
    Method("unpin", params.Dataset, None, methods.unpin),
    Method("pinned", params.Dataset, results.Pinned, methods.pinned),
    Method("pins", params.Page, results.Pins, methods.pins),
    Method("space", params.Nothing, results.Space, methods.space),
    Method("fetchDatasetAsyncTask", params.Dataset, results.Job, methods.fetch_dataset_async_task),
    Method("protect", params.Protect, results.Job, methods.protect),
    Method("verify", params.Verify, results.Job, methods.verify),
    Method("scrub", params.Nothing, results.Job, methods.scrub),
    Method("backup", params.Backup, results.Job, methods.backup),
    Method("jobs", params.JobPage, results.Jobs, methods.jobs),
    Method("job", params.OneJob, results.Job, methods.job),
    Method("cancelJob", params.OneJob, results.Cancelled, methods.cancel_job),
    Method("info", params.Nothing, results.Info, methods.info),
    Method("peers", params.Nothing, results.Peers, methods.peers),
    Method("findPeer", params.Peer, results.PeerRecord, methods.find_peer),
    Method("connect", params.Dial, None, methods.connect),
    Method("requestStorage", params.StorageRequest, results.Job, market.request_storage),
    Method("purchases", params.Latest, market_results.Purchases, market.purchases),
    Method("availabilities", params.Nothing, market_results.Availabilities, market.availabilities),
    Method("addAvailability", params.Offer, market_results.Availability, market.add_availability),
    Method(
        "changeAvailability",
        params.AvailabilityChange,
        market_results.Availability,
        market.change_availability,
    ),
    Method("deleteAvailability", params.OneAvailability, None, market.delete_availability),
    Method("slots", params.Nothing, market_results.Slots, market.slots),
    Method("sales", params.Nothing, market_results.Sales, market.sales),
    Method("decisions", params.Decided, market_results.Decisions, market.decisions),
    Method("balances", params.Nothing, market_results.Balances, market.balances),
    Method("health", params.Nothing, results.Health, methods.health),
    Method("setLogLevel", params.Level, None, methods.set_log_level),
    Method("subscribe", params.Subscribe, results.Subscribed, methods.subscribe),
    Method("unsubscribe", params.Unsubscribe, None, methods.unsubscribe, at_once=True),
    Method("cancel", params.Cancel, results.Cancelled, methods.cancel, at_once=True),
    Method("credit", params.Credit, None, methods.credit, at_once=True),
)

METHODS: Mapping[str, Method[Any]] = {row.name: row for row in _ROWS}
"""Every method by its name, in the order in which the page shows them."""
