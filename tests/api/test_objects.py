"""The JSON objects of the API: their keys are the network's, in its order, or this node's own."""

import pytest
from attrs import evolve

from codex.api.objects import (
    content_json,
    health_json,
    job_json,
    manifest_json,
    problem_json,
    ready_json,
    serves,
    space_json,
)
from codex.codec import Cid
from codex.data import Manifest, Protection
from codex.errors import Problem
from codex.node import JobKind, JobState, JobView
from codex.runtime.condition import Condition
from codex.runtime.lifecycle import State
from codex.runtime.supervisor import ServiceState
from codex.store import Space

TREE = Cid.parse("zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL")
MANIFEST = Manifest(tree_cid=TREE, dataset_size=18, block_size=65_536, filename="größe.txt")
JOB = JobView(
    id="a1",
    kind=JobKind.UPLOAD,
    subject="codex.png",
    state=JobState.RUNNING,
    phase="reading",
    bytes_done=1_000,
    bytes_total=4_000,
    bytes_per_second=123.6,
    eta_seconds=24.27184,
    started=1_750_000_000.12345,
    ended=None,
    result=None,
    error=None,
)


def test_a_manifest() -> None:
    assert manifest_json(MANIFEST) == {
        "treeCid": str(TREE),
        "datasetSize": 18,
        "blockSize": 65_536,
        "filename": "größe.txt",
        "mimetype": None,
        "protected": False,
    }
    assert list(manifest_json(MANIFEST)) == [
        "treeCid",
        "datasetSize",
        "blockSize",
        "filename",
        "mimetype",
        "protected",
    ]
    assert content_json(MANIFEST.cid, MANIFEST) == {
        "cid": str(MANIFEST.cid),
        "manifest": manifest_json(MANIFEST),
    }


def test_only_a_protected_one_says_whether_it_is_verifiable() -> None:
    protection = Protection(ec_k=2, ec_m=1, original_tree_cid=TREE, original_dataset_size=18)
    shown = manifest_json(evolve(MANIFEST, dataset_size=3 * 65_536, protection=protection))
    assert (shown["protected"], shown["verifiable"]) == (True, False)
    assert list(shown)[-1] == "verifiable"


def test_room() -> None:
    assert list(space_json(Space(1, 2, 3, 4)).items()) == [
        ("totalBlocks", 1),
        ("quotaMaxBytes", 2),
        ("quotaUsedBytes", 3),
        ("quotaReservedBytes", 4),
    ]


def test_a_job_that_runs() -> None:
    assert list(job_json(JOB).items()) == [
        ("id", "a1"),
        ("kind", "upload"),
        ("state", "running"),
        ("phase", "reading"),
        ("subject", "codex.png"),
        ("bytesDone", 1_000),
        ("bytesTotal", 4_000),
        ("bytesPerSecond", 124),
        ("etaSeconds", 24.3),
        ("started", 1_750_000_000.123),
        ("ended", None),
        ("result", None),
        ("error", None),
    ]


def test_a_job_that_failed() -> None:
    problem = Problem("disk-full", "no space")
    ended = evolve(JOB, state=JobState.FAILED, eta_seconds=None, ended=1_750_000_009.0, error=problem)
    shown = job_json(ended)
    assert (shown["state"], shown["etaSeconds"], shown["ended"]) == ("failed", None, 1_750_000_009.0)
    assert shown["error"] == {"code": "disk-full", "message": "no space", "remedy": ""}
    assert problem_json(Problem("a", "b", "c")) == {"code": "a", "message": "b", "remedy": "c"}


def service(name: str, state: State, last_error: str = "") -> ServiceState:
    return ServiceState(name=name, state=state, since=1_750_000_000.4567, restarts=2, last_error=last_error)


@pytest.mark.parametrize("state", State)
def test_all_is_well_when_every_service_runs(state: State) -> None:
    services = [service("store", State.RUNNING), service("api", state, "it broke")]
    since = {"since": 1_750_000_000.457, "restarts": 2, "condition": None}
    shown = health_json(services, "v1")
    assert shown["state"] == ("ok" if state is State.RUNNING else "degraded")
    assert shown["services"] == [
        {"name": "store", "state": "running", **since, "lastError": None},
        {"name": "api", "state": state.value, **since, "lastError": "it broke"},
    ]
    assert shown["version"] == "v1"
    ready = {"ready": True} if state is State.RUNNING else {"ready": False, "waitingFor": ["api"]}
    assert ready_json(services) == ready


@pytest.mark.parametrize("can_serve", [True, False])
def test_a_service_that_runs_may_ail(can_serve: bool) -> None:
    problem = Problem("disk-full", "the disk is full", "make room")
    condition = Condition(problem, 1_750_000_005.1234, can_serve)
    services = [evolve(service("store", State.RUNNING), condition=condition), service("api", State.RUNNING)]
    shown = health_json(services, "v1")
    assert shown["state"] == "degraded"
    told = {**problem_json(problem), "since": 1_750_000_005.123, "serves": can_serve}
    assert [one["condition"] for one in shown["services"]] == [told, None]  # type: ignore[attr-defined]
    assert [serves(one) for one in services] == [can_serve, True]
    waiting = {"ready": True} if can_serve else {"ready": False, "waitingFor": ["store"]}
    assert ready_json(services) == waiting
