"""The command `codex demo`: it plays to its end, and whatever is wrong ends it with exit code 1."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from codex.cli.app import main
from codex.cli.exits import Exit, ending_signals
from codex.devnet import demo
from codex.devnet.demo_ledger import Course, DemoFailed, changes
from codex.market import Address, CollateralConfig, StorageAsk

PHASES = ["start", "store", "buy", "sell", "prove", "kill", "repair", "retrieve", "pay"]


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture(autouse=True)
def _hears_hangups() -> Iterator[None]:
    """Also where whoever runs the tests has them ignored (`nohup`)."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def told(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.embedded_chain
@pytest.mark.soak
def test_a_file_is_stored_repaired_and_paid_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "photo.jpg"
    file.write_bytes(bytes(range(256)) * 6000)
    assert main(["demo", str(file), "--json"]) == Exit.DONE
    events = told(capsys)
    assert [event["phase"] for event in events if event["event"] == "phase"] == PHASES
    assert events[-1]["event"] == "done"
    assert events[-1]["seconds"] < 60
    states = {slot["state"] for event in events if event["event"] == "slots" for slot in event["slots"]}
    assert {"free", "filled", "repair", "paid"} <= states
    (ledger,) = [event["accounts"] for event in events if event["event"] == "ledger"]
    assert all(line["change"] == line["expected"] for line in ledger)
    changed = {line["name"]: int(line["change"]) for line in ledger}
    assert changed["host-2"] < 0 < changed["host-1"]
    assert sum(changed.values()) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"], "nothing stays"


@pytest.mark.embedded_chain
@pytest.mark.soak
def test_a_payout_that_is_not_as_expected_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(
        ask: StorageAsk,
        config: CollateralConfig,
        course: Course,
        *,
        client: Address,
        validator: Address,
        marketplace: Address,
    ) -> dict[Address, int]:
        people = {"client": client, "validator": validator, "marketplace": marketplace}
        grown = changes(ask, config, course, **people)
        return {**grown, validator: grown[validator] + 1}

    monkeypatch.setattr(demo, "changes", wrong)
    assert main(["demo"]) == Exit.FAILED
    shown = capsys.readouterr()
    assert "WRONG" in shown.out
    assert "error: validator was paid wrongly" in shown.err
    (kept,) = tmp_path.iterdir()
    assert [path.name for path in kept.iterdir()] == ["log"]
    assert str(kept / "log") in shown.err


@pytest.mark.embedded_chain
@pytest.mark.parametrize("json", [False, True])
def test_what_is_wrong_is_told_and_the_log_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], json: bool
) -> None:
    async def perform(*_: object) -> None:
        raise DemoFailed("a byte is another")

    monkeypatch.setattr(demo, "perform", perform)
    assert main(["demo", *(["--json"] if json else [])]) == Exit.FAILED
    said = capsys.readouterr().err
    assert ('"code": "demo-failed"' if json else "error: a byte is another") in said
    (kept,) = tmp_path.iterdir()
    assert f"{kept}/log" in said


@pytest.mark.embedded_chain
def test_a_file_that_cannot_be_read_is_told_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", str(tmp_path / "none")]) == Exit.FAILED
    assert "none cannot be read: No such file" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.embedded_chain
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("keep", [False, True])
def test_nothing_stays_when_it_is_told_to_stop_or_its_terminal_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals, keep: bool
) -> None:
    async def perform(*_: object) -> None:
        assert await trio.to_thread.run_sync(lambda: list(tmp_path.iterdir()))
        os.kill(os.getpid(), number)
        if not keep:
            await trio.sleep_forever()

    monkeypatch.setattr(demo, "perform", perform)
    if keep or number == signal.SIGINT:
        assert main(["demo", *(["--keep"] if keep else [])]) == (Exit.DONE if keep else Exit.INTERRUPTED)
    else:
        with pytest.raises(SystemExit) as caught:
            main(["demo"])
        assert caught.value.code == 128 + number
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_stays_when_it_is_stopped_before_anything_has_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def run(*_: object) -> None:
        assert list(tmp_path.iterdir())
        signal.raise_signal(number)

    monkeypatch.setattr(trio, "run", run)
    with pytest.raises(SystemExit) as caught:
        main(["demo"])
    assert caught.value.code == 128 + number
    assert not list(tmp_path.iterdir())


def test_a_terminal_that_is_closed_is_let_be_where_that_was_asked_for() -> None:
    """As `nohup` does."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ending_signals() == (signal.SIGTERM,)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ending_signals() == (signal.SIGTERM, signal.SIGHUP)
