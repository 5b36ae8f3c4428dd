"""What an upload's headers may say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.api.uploads import (
    BadFilename,
    BadMediaType,
    filename,
    is_media_type,
    is_valid_filename,
    known_media_types,
    media_type,
)


def test_no_content_type_is_none() -> None:
    assert media_type(None) is None


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "IMAGE/PNG", "video/mp4"])
def test_a_known_type_is_stored_as_sent(kind: str) -> None:
    assert media_type(kind) == kind


@pytest.mark.parametrize("kind", ["text/plain; charset=utf-8", "text/html;charset=latin-1"])
def test_parameters_are_accepted(kind: str) -> None:
    assert media_type(kind) == kind


@pytest.mark.parametrize("kind", ["hello/world", "text", "", "text/", "/plain", "text/plain\0", "x" * 10_000])
def test_an_unknown_type_is_refused_by_name(kind: str) -> None:
    with pytest.raises(BadMediaType) as caught:
        media_type(kind)
    assert str(caught.value) == f"The MIME type '{kind}' is not valid."


def test_the_list_holds_the_networks_types() -> None:
    assert len(known_media_types()) >= 771
    assert {"application/vnd.lotus-1-2-3", "text/plain", "text/markdown"} <= known_media_types()
    assert "multipart/form-data" not in known_media_types()


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (None, None),
        ("attachment", None),
        ("attachment; filename=unquoted.txt", None),
        ('attachment; filename="example.txt"', "example.txt"),
        ('filename="x"', "x"),
        ('attachment; filename="dir/file.txt"', "dir/file.txt"),
        ('attachment; filename="größe.txt"', "größe.txt"),
        ('attachment; filename="  padded.txt"  ', "padded.txt"),
    ],
)
def test_the_quoted_form_names_the_file(header: str | None, name: str | None) -> None:
    assert filename(header) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a\x01b",
        "a:b",
        "a\\b",
        "a*b",
        "a?b",
        "a<b",
        "a>b",
        "a|b",
        "a^b",
        "CON",
        "nul.txt",
        "com1",
        "lpt9.log",
        "dir/ a",
        "a .txt",
        "a" * 260,
        "dir/",
        "..",
        ".",
        "../a",
        "../../etc/passwd",
        "dir/../../a",
        "/a",
        "/etc/passwd",
        "C:/a",
        "..\\a",
        "dir\\..\\../a",
        "a\nb",
        "a\x7fb",
        "a\u0085b",
        "größe" * 60,
        "ö" * 130,
        "a" * 256 + "文" * 2,
    ],
)
def test_names_that_some_system_cannot_hold_are_refused(name: str) -> None:
    assert not is_valid_filename(name)
    with pytest.raises(BadFilename, match="The filename is not valid"):
        filename(f'attachment; filename="{name}"')


@pytest.mark.parametrize("name", ["a" * 259, "ö" * 129 + "a", "文" * 86 + "a", "d/" * 129 + "a"])
def test_a_name_may_have_259_bytes(name: str) -> None:
    assert len(name.encode()) == 259
    assert filename(f'attachment; filename="{name}"') == name
    assert not is_valid_filename(name + "a")


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("größe.txt".encode(), "größe.txt"),
        ("größe.txt".encode("latin-1"), "größe.txt"),
        ("文件.bin".encode(), "文件.bin"),
        (b"caf\xe9 \xfc.txt", "café ü.txt"),
        ("grö\xdfe".encode()[:-2] + b"\xff.txt", "grÃ¶Ãÿ.txt"),  # neither; but bytes are not lost
        ("a👍.txt".encode(), "a👍.txt"),
    ],
)
def test_names_come_in_the_encodings_that_clients_use(sent: bytes, name: str) -> None:
    header = (b'attachment; filename="' + sent + b'"').decode("utf-8", "surrogateescape")
    assert filename(header) == name


def test_other_encodings_are_taken_for_latin_1_unless_that_makes_control_characters() -> None:
    def header(name: bytes) -> str:
        return (b'filename="' + name + b'"').decode("utf-8", "surrogateescape")

    assert filename(header("文件.bin".encode("gbk"))) == "ÎÄ¼þ.bin"
    with pytest.raises(BadFilename):
        filename(header("5 €.txt".encode("cp1252")))


@pytest.mark.parametrize("name", ["dir/file.txt", "a/b/c", "a//b", "./a", "dir.d/a", "a.b.c", ".a/.b"])
def test_names_may_have_directories_that_lead_down(name: str) -> None:
    assert filename(f'filename="{name}"') == name


def test_a_media_type_is_text() -> None:
    assert media_type("text/plain; x=größe") == "text/plain; x=größe"
    with pytest.raises(BadMediaType):
        media_type("text/plain; x=\udcff")


@given(st.text(max_size=400) | st.binary(max_size=80).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_header_gives_a_name_or_a_refusal(header: str) -> None:
    try:
        name = filename(header)
    except BadFilename:
        return
    assert name is None or is_valid_filename(name)


def test_a_surrogate_without_its_other_half_is_no_character() -> None:
    assert not is_valid_filename("a\ud800b")


@pytest.mark.parametrize(
    ("header", "yes"),
    [
        ("text/plain", True),
        ("hello/world", True),
        (" text/plain ;charset=utf-8", True),
        ("application/vnd.api+json", True),
        ("", False),
        ("foo", False),
        ("text/", False),
        ("/plain", False),
        ("text/plain/x", False),
        ("text /plain", False),
        ("text/plain x", False),
        ("größe/größe", False),
    ],
)
def test_what_has_the_form_of_a_media_type(header: str, yes: bool) -> None:
    assert is_media_type(header) == yes
