"""multistream-select: agreed on or refused, in any cut of the bytes, and nothing but lines is taken."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex.errors import DecodeError, ProtocolRefused
from codex.p2p.multistream import MAX_LINE, MAX_PROPOSALS, PROTOCOL, Dialer, Listener, line

GREETING = b"\x13/multistream/1.0.0\n"
NAMES = ("/codex/blockexc/1.0.0", "/ipfs/id/1.0.0")


def listener() -> Listener:
    return Listener(lambda name: name in NAMES, lambda: NAMES)


def test_the_bytes_of_the_network() -> None:
    dialer = Dialer(["/noise"])
    assert dialer.start() == GREETING + b"\x07/noise\n"
    assert dialer.feed(GREETING) == b""
    assert dialer.feed(b"\x07/noise\n") == b""
    assert dialer.chosen == "/noise"


def test_the_listener_repeats_what_it_speaks() -> None:
    side = listener()
    assert side.start() == b""
    assert side.feed(GREETING) == GREETING
    assert side.feed(line("/yamux/1.0.0")) == b"\x03na\n"
    assert side.feed(line(NAMES[1]) + b"rest") == line(NAMES[1])
    assert side.chosen == NAMES[1]
    assert (side.rest(), side.rest()) == (b"rest", b"")


def test_listing() -> None:
    side = listener()
    answer = side.feed(GREETING + line("ls"))
    names = b"".join(line(name) for name in NAMES) + b"\n"
    assert answer == GREETING + bytes([len(names)]) + names
    assert side.chosen is None


def converse(dialer: Dialer, side: Listener, cuts: list[int], behind: bytes) -> bytes:
    """Let both speak over a wire that is cut so, with `behind` sent after the agreement; what of that the
    dialer has not taken. Raises what either raises.
    """
    sizes = iter(cuts)
    to_listener, to_dialer, left = dialer.start(), b"", b""
    while to_listener or to_dialer:
        size = next(sizes, 100)
        piece, to_listener = to_listener[:size], to_listener[size:]
        if not side.done:
            to_dialer += side.feed(piece) + (behind if side.done else b"")
        size = next(sizes, 100)
        piece, to_dialer = to_dialer[:size], to_dialer[size:]
        if dialer.done:
            left += piece
        else:
            to_listener += dialer.feed(piece)
            left = dialer.rest() if dialer.done else b""
    return left


PROPOSALS = st.lists(st.sampled_from([*NAMES, "/a", "/b", "/c"]), min_size=1, max_size=5, unique=True)
CUTS = st.lists(st.integers(1, 60), max_size=60)


@given(PROPOSALS, CUTS, st.binary(max_size=20))
def test_the_first_proposal_that_is_spoken_is_taken(
    proposals: list[str], cuts: list[int], behind: bytes
) -> None:
    wanted = next((name for name in proposals if name in NAMES), None)
    dialer, side = Dialer(proposals), listener()
    if wanted is None:
        with pytest.raises(ProtocolRefused, match=" or ".join(proposals)):
            converse(dialer, side, cuts, behind)
    else:
        assert converse(dialer, side, cuts, behind) == behind
    assert dialer.chosen == side.chosen == wanted


@given(st.binary(max_size=200))
def test_garbage_is_no_agreement(data: bytes) -> None:
    for side in (Dialer(["/noise"]), listener()):
        try:
            side.feed(data)
        except DecodeError:
            continue
        assert not side.done


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x00", "1 to 1024"),
        (b"\x81\x08", "1 to 1024"),  # 1025
        (b"\xff\xff", "1 to 1024"),
        (b"\x03abc", "newline"),
        (b"\x03\xff\xfe\n", "UTF-8"),
        (b"\x06GET /\n", "does not begin"),
        (line("/noise"), "does not begin"),
    ],
)
def test_what_is_no_greeting(data: bytes, why: str) -> None:
    for side in (Dialer(["/noise"]), listener()):
        with pytest.raises(DecodeError, match=why):
            side.feed(data)


def test_the_longest_line() -> None:
    side = listener()
    assert side.feed(GREETING + line("x" * (MAX_LINE - 1))) == GREETING + line("na")
    with pytest.raises(ValueError, match="no line"):
        line("x" * MAX_LINE)
    with pytest.raises(ValueError, match="no line"):
        line("two\nlines")


def test_another_answer_than_the_proposal_or_na() -> None:
    dialer = Dialer(["/noise", "/tls"])
    with pytest.raises(DecodeError, match="neither"):
        dialer.feed(GREETING + line("/tls"))


def test_proposals_without_end_are_not_answered() -> None:
    side = listener()
    side.feed(GREETING + line("/no") * MAX_PROPOSALS)
    with pytest.raises(DecodeError, match="more than 64"):
        side.feed(line(PROTOCOL))
