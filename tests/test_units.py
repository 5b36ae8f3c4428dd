"""Sizes and durations: what is read, what is refused, and that exact forms read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex import units
from codex.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("65536", 65536),
        ("1b", 1),
        ("1 byte", 1),
        ("12 bytes", 12),
        ("1k", 1024),
        ("2m", 2 * 1024**2),
        ("2MB", 2 * 1024**2),
        ("2MiB", 2 * 1024**2),
        ("2mib", 2 * 1024**2),
        ("20GiB", 20 * 1024**3),
        (" 20 GiB ", 20 * 1024**3),
        ("1.5k", 1536),
        ("0.5TiB", 1024**4 // 2),
        ("3p", 3 * 1024**5),
        ("7E", 7 * 1024**6),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "GiB",
        "-1",
        "+1",
        "1..5k",
        ".5k",
        "1.5",
        "0.3k",
        "1kk",
        "1kbyte",
        "1 k b",
        "1e3",
        "0x10",
        "1_000",
        "٣",
        "nan",
        "inf",
        "8E",
        "9223372036854775808",
        "9" * 5000,
        "1\n2",
    ],
)
def test_what_is_no_size_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        units.parse_size(text)
    assert units.SIZES_ACCEPTED in caught.value.remedy
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1s", 1),
        ("1m", 60),
        ("1h", 3600),
        ("1d", 86400),
        ("1w", 604800),
        ("30D", 2592000),
        ("1.5h", 5400),
        ("0.25", 0.25),
        ("2 d", 172800),
        ("36500d", 3153600000),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "1y", "1ms", "1d2h", "1e3", "nan", "36501d", "9" * 400])
def test_what_is_no_duration_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        units.parse_duration(text)
    assert units.DURATIONS_ACCEPTED in caught.value.remedy


@given(st.integers(0, units.MAX_SIZE) | st.integers(0, 2**20).map(lambda n: n * 1024**3))
def test_an_exact_size_reads_back(size: int) -> None:
    assert units.parse_size(units.size_text(size)) == size


@given(st.integers(0, units.MAX_DURATION))
def test_an_exact_duration_reads_back(seconds: int) -> None:
    assert units.parse_duration(units.duration_text(seconds)) == seconds


@given(st.integers(0, 10**15))
def test_a_fraction_of_a_second_reads_back_to_the_nanosecond(nanoseconds: int) -> None:
    seconds = nanoseconds / 1e9
    assert units.parse_duration(units.duration_text(seconds)) == pytest.approx(seconds, abs=1e-9)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (1, "1s"), (90, "90s"), (600, "10m"), (2592000, "30d"), (0.5, "0.5s")]
)
def test_durations_are_shown_in_the_largest_unit_that_fits(seconds: float, text: str) -> None:
    assert units.duration_text(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1, "1"), (1025, "1025"), (1024, "1KiB"), (20 * units.GIB, "20GiB")]
)
def test_sizes_are_shown_in_the_largest_unit_that_fits(size: int, text: str) -> None:
    assert units.size_text(size) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (18, "18 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (102400, "100 KiB"),
        (1024**2 - 1, "1.00 MiB"),
        (20 * 1024**3, "20.0 GiB"),
        (2**63 - 1, "8.00 EiB"),
        (-2048, "-2.00 KiB"),
    ],
)
def test_sizes_for_reading(size: int, text: str) -> None:
    assert units.human_size(size) == text


@given(st.integers(0, units.MAX_SIZE))
def test_a_size_for_reading_is_short_and_within_a_percent(size: int) -> None:
    number, unit = units.human_size(size).split()
    assert len(number) <= 4
    factor = 1024 ** ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB").index(unit)
    assert abs(float(number) * factor - size) <= size * 0.01
