"""The log: levels by topic, formats, what repeats itself, and that a failing stream stops nobody."""

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex import logs
from codex.config import LogConfig
from codex.errors import ConfigError, InvalidInput
from codex.logs import repeats


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@contextmanager
def opened(
    level: str = "info", format: str = "json", *, file: Path | None = None, time: Time | None = None
) -> Iterator[io.StringIO]:
    """Open the log on a stream in memory."""
    stream = io.StringIO()
    with logs.configured(LogConfig(level, format, file), stream=stream, monotonic=time or Time()):
        yield stream


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_logger_is_silent_until_the_log_is_open(capfd: pytest.CaptureFixture[str]) -> None:
    log = logs.get_logger("store")
    log.fatal("nobody hears this")
    assert not log.is_logged("fatal")
    with opened() as stream:
        log.info("now it is heard")
    log.info("and no longer")
    assert [line["event"] for line in lines(stream)] == ["now it is heard"]
    assert capfd.readouterr() == ("", "")


def test_importing_the_log_loads_no_library() -> None:
    code = """
import sys, codex.logs
codex.logs.get_logger("store").fatal("nobody hears this")
print({"structlog", "logging"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_method_logs_its_level() -> None:
    names = ["trace", "debug", "info", "notice", "warning", "error", "fatal"]
    with opened("trace") as stream:
        log = logs.get_logger("store")
        for name in names:
            getattr(log, name)("said", value=1)
    written = lines(stream)
    assert [line["level"] for line in written] == list(logs.LEVELS)
    assert {(line["topic"], line["event"], line["value"]) for line in written} == {("store", "said", 1)}
    assert all(str(line["timestamp"]).endswith("Z") for line in written)


@pytest.mark.parametrize("base", list(logs.LEVELS))
def test_what_is_below_the_level_is_left_out(base: str) -> None:
    with opened(base) as stream:
        log = logs.get_logger("store")
        for level in logs.LEVELS:
            getattr(log, {"warn": "warning"}.get(level, level))(level)
            assert log.is_logged(level) == (logs.LEVELS[level] >= logs.LEVELS[base])
    assert [line["event"] for line in lines(stream)] == [
        level for level in logs.LEVELS if logs.LEVELS[level] >= logs.LEVELS[base]
    ]


def test_topics_have_levels_of_their_own() -> None:
    with opened("warn; trace: store, api ;disabled:p2p") as stream:
        for topic in ("store", "api", "p2p", "node"):
            for level in ("trace", "fatal"):
                getattr(logs.get_logger(topic), level)(level)
    assert [(line["topic"], line["event"]) for line in lines(stream)] == [
        ("store", "trace"),
        ("store", "fatal"),
        ("api", "trace"),
        ("api", "fatal"),
        ("node", "fatal"),
    ]


def test_levels_change_while_the_log_is_open() -> None:
    log = logs.get_logger("store")
    logs.set_levels("trace")  # nothing is open: nothing to change
    assert logs.current_levels() is None
    with opened("error") as stream:
        log.info("first")
        logs.set_levels("INFO")
        log.info("second")
        with pytest.raises(InvalidInput):
            logs.set_levels("loud")
        log.info("third")
        logs.set_levels("info; error: store")
        log.info("fourth")
        assert logs.current_levels() == logs.parse_levels("info; error: store")
    assert [line["event"] for line in lines(stream)] == ["second", "third"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "loud",
        "info; debug",
        "info; debug:",
        "info; debug: a,,b",
        "info; loud: a",
        ";info",
        "info: a",
        "info; debug: a b",
    ],
)
def test_what_is_no_level_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        logs.parse_levels(text)
    assert "debug: store" in caught.value.remedy


def test_levels_are_read_in_any_case_and_spacing() -> None:
    levels = logs.parse_levels(" Debug ;; TRACE : a , b-c ; warn:d;")
    assert (levels.base, dict(levels.topics)) == (10, {"a": 5, "b-c": 5, "d": 30})
    assert levels.admit(5, "a")
    assert not levels.admit(5, "other")


def test_the_error_says_what_the_levels_are() -> None:
    with pytest.raises(InvalidInput) as caught:
        logs.parse_levels("loud")
    assert caught.value.message == "Please specify one of: trace, debug, info, notice, warn, error or fatal"


def test_a_bound_logger_adds_its_fields() -> None:
    with opened() as stream:
        logs.get_logger("store").bind(cid="a", size=1).info("stored", size=2)
    (line,) = lines(stream)
    assert (line["cid"], line["size"]) == ("a", 2)


def test_a_field_does_not_take_the_place_of_the_event() -> None:
    with opened() as stream:
        logs.get_logger("store").info("stored", level="x", topic="y")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["topic"]) == ("stored", "info", "store")


@pytest.mark.parametrize("format", ["json", "nocolors", "auto"])
def test_text_from_elsewhere_cannot_break_a_line(format: str) -> None:
    with opened(format=format) as stream:
        logs.get_logger("api").info("asked", name="a\nb\x1b[31mc", data=b"\n", number=1)
    assert stream.getvalue().count("\n") == 1
    assert "\x1b" not in stream.getvalue()


def test_colors_are_shown_when_asked_for_and_not_off_a_terminal() -> None:
    for format, colored in (("colors", True), ("auto", False), ("nocolors", False)):
        with opened(format=format) as stream:
            logs.get_logger("api").info("asked")
        assert ("\x1b[" in stream.getvalue()) == colored


@pytest.mark.parametrize("format", ["json", "nocolors"])
def test_an_exception_comes_with_its_traceback(format: str) -> None:
    with opened(format=format) as stream:
        try:
            raise ValueError("this went wrong")
        except ValueError as error:
            logs.get_logger("api").exception("failed", path="/x")
            logs.get_logger("api").error("failed too", exc_info=error)
    assert stream.getvalue().count("ValueError: this went wrong") == 2
    assert "test_logs.py" in stream.getvalue()


def test_none_writes_nothing_but_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "log"
    with opened(format="none", file=file) as stream:
        logs.get_logger("store").info("stored", name="\N{SNOWMAN}\udcff")
    assert stream.getvalue() == ""
    assert "stored" in file.read_text(encoding="utf-8")
    assert "\N{SNOWMAN}\\udcff" in file.read_text(encoding="utf-8")


def test_the_file_gets_every_line_and_is_appended_to(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for _ in range(2):
        with opened(format="json", file=file) as stream:
            logs.get_logger("store").info("stored")
        assert len(lines(stream)) == 1
    assert [json.loads(line)["event"] for line in file.read_text().splitlines()] == ["stored", "stored"]


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent"), opened(file=tmp_path / "absent" / "log"):
        raise AssertionError("the log opened")
    assert logs.current_levels() is None


def test_a_log_opened_inside_another_gives_way_again() -> None:
    log = logs.get_logger("store")
    with opened() as outer:
        with opened() as inner:
            log.info("inner")
        log.info("outer")
    assert [line["event"] for line in lines(inner)] == ["inner"]
    assert [line["event"] for line in lines(outer)] == ["outer"]


def test_what_was_withheld_is_told_with_whatever_comes_behind_its_window() -> None:
    time = Time()
    with opened("info", time=time) as stream:
        log = logs.get_logger("p2p")
        for _ in range(repeats.REPEATS + 5):
            log.info("refused")
        time.seconds += repeats.WINDOW / 2
        log.warning("another")
        assert not any("withheld" in line for line in lines(stream))
        time.seconds += repeats.WINDOW / 2
        log.warning("another")
        told = lines(stream)
        assert [(line["event"], line.get("withheld")) for line in told[-2:]] == [
            ("refused", 5),
            ("another", None),
        ]
        time.seconds += repeats.WINDOW
        log.warning("another")
    assert sum("withheld" in line for line in lines(stream)) == 1


def test_what_repeats_itself_is_withheld_and_counted() -> None:
    time = Time()
    with opened("debug", time=time) as stream:
        log = logs.get_logger("p2p")
        for number in range(repeats.REPEATS + 5):
            log.info("refused", number=number)
            log.warning("refused", number=number)
            log.debug("refused", number=number)
        log.info("another", number=0)
        time.seconds += repeats.WINDOW
        log.info("refused", number=-1)
        log.info("refused", number=-2)
    written = lines(stream)
    infos = [line for line in written if (line["event"], line["level"]) == ("refused", "info")]
    assert [line["number"] for line in infos] == [*range(repeats.REPEATS), -1, -2]
    assert [line.get("withheld") for line in infos] == [None] * repeats.REPEATS + [5, None]
    assert sum(line["event"] == "another" for line in written) == 1
    assert sum(line["level"] == "debug" for line in written) == repeats.REPEATS + 5
    # Of what does not come again it is told as well.
    warnings = [line.get("withheld") for line in written if line["level"] == "warn"]
    assert warnings == [None] * repeats.REPEATS + [5]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 5), st.integers(1, 150)), max_size=12))
def test_no_line_is_lost_uncounted_and_no_window_overfull(bursts: list[tuple[str, float, int]]) -> None:
    counter: repeats.Repeats[str] = repeats.Repeats()
    now = 0.0
    asked = dict.fromkeys("abc", 0)
    told = dict.fromkeys("abc", 0)
    passed: dict[str, list[float]] = {key: [] for key in "abc"}
    for key, pause, count in bursts:
        now += pause
        for _ in range(count):
            asked[key] += 1
            withheld = counter.admit(key, now)
            if withheld is not None:
                told[key] += 1 + withheld
                passed[key].append(now)
    for key, withheld in counter.drain():
        told[key] += withheld
    assert told == asked
    for times in passed.values():
        # Two windows may touch, so at most twice the number stands within the length of one.
        for start in set(times):
            assert sum(start <= time < start + repeats.WINDOW for time in times) <= 2 * repeats.REPEATS


def test_of_too_many_keys_the_first_is_forgotten() -> None:
    counter: repeats.Repeats[int] = repeats.Repeats()
    answers = [counter.admit(0, 0.0) for _ in range(repeats.REPEATS + 1)]
    assert answers == [0] * repeats.REPEATS + [None]
    assert all(counter.admit(key, 0.0) == 0 for key in range(1, repeats.KEYS))
    assert counter.admit(0, 0.0) is None
    counter.admit(repeats.KEYS, 0.0)
    assert counter.admit(0, 0.0) == 0


class Failing(io.StringIO):
    """A stream whose disk is full for a while."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


def test_a_failing_stream_stops_nobody_and_says_so_later() -> None:
    stream = Failing()
    with logs.configured(LogConfig(format="json"), stream=stream, monotonic=Time()):
        log = logs.get_logger("store")
        log.info("first")
        stream.full = True
        log.info("second")
        log.info("third")
        stream.full = False
        log.info("fourth")
        log.info("fifth")
    assert [(line["event"], line.get("lost_lines")) for line in lines(stream)] == [
        ("first", None),
        ("fourth", 2),
        ("fifth", None),
    ]


def test_a_closed_stream_stops_nobody() -> None:
    stream = io.StringIO()
    with logs.configured(LogConfig(format="json"), stream=stream, monotonic=Time()):
        stream.close()
        logs.get_logger("store").info("nobody reads this")


def test_warnings_of_libraries_come_out_as_lines() -> None:
    library = logging.getLogger("hypercorn.error")
    with opened() as stream:
        library.info("not this")
        library.warning("odd: %s", 1)
        library.error("bad")
        library.critical("worst")
    library.handle(library.makeRecord("hypercorn.error", 30, __file__, 1, "late", (), None))
    assert [(line["topic"], line["level"], line["said"]) for line in lines(stream)] == [
        ("hypercorn.error", "warn", "odd: 1"),
        ("hypercorn.error", "error", "bad"),
        ("hypercorn.error", "fatal", "worst"),
    ]
