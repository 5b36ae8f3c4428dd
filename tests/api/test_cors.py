"""Cross-origin headers: none unless an origin is configured, and then the reference's."""

import pytest

from codex.api.cors import PREFIX, Cors

DATA = PREFIX + "/data"


def test_without_an_origin_nothing_is_said() -> None:
    cors = Cors(None)
    assert cors.reply(["https://alice.example"]) == []
    assert cors.reply([], error_method="GET") == []
    assert not cors.refuses(["a", "b"])


@pytest.mark.parametrize("path", [DATA, DATA + "/zabc", PREFIX + "/sales/availability/0x12"])
def test_without_an_origin_three_paths_know_options(path: str) -> None:
    answer = Cors(None).preflight(path)
    assert answer is not None
    assert (answer.status, answer.headers) == (204, [])


def test_without_an_origin_other_paths_do_not() -> None:
    assert Cors(None).preflight(PREFIX + "/space") is None


def test_preflight_of_an_upload() -> None:
    answer = Cors("*").preflight(DATA)
    assert answer is not None
    assert answer.status == 204
    assert dict(answer.headers) == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "POST, OPTIONS",
        "Access-Control-Allow-Headers": "content-type, content-disposition",
        "Access-Control-Max-Age": "86400",
    }


def test_preflight_of_a_download_names_its_methods() -> None:
    answer = Cors("*").preflight(DATA + "/zabc")
    assert answer is not None
    assert dict(answer.headers)["Access-Control-Allow-Methods"] == "GET,DELETE, OPTIONS"


def test_preflight_elsewhere_is_empty_and_ok() -> None:
    answer = Cors("*").preflight(PREFIX + "/space")
    assert answer is not None
    assert (answer.status, answer.headers) == (200, [])
    assert Cors("*").preflight("/elsewhere") is None


def test_a_matching_origin_is_let_in_and_another_is_not() -> None:
    cors = Cors("https://alice.example")
    assert cors.reply(["https://alice.example"]) == [
        ("Access-Control-Allow-Origin", "https://alice.example"),
        ("Vary", "Origin"),
    ]
    assert cors.reply(["https://bob.example"]) == []
    assert cors.reply([]) == []
    assert Cors("*").reply(["https://bob.example"]) == [("Access-Control-Allow-Origin", "*")]


def test_errors_carry_them_always() -> None:
    assert dict(Cors("*").reply([], error_method="GET"))["Access-Control-Allow-Methods"] == "GET, OPTIONS"


def test_two_origins_are_refused() -> None:
    assert Cors("*").refuses(["a", "b"])
    assert not Cors("*").refuses(["a"])
