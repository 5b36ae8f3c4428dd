"""From bare bytes to sealed ones: agreements run to their end, and batches are sealed and opened again."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from codex.errors import DecodeError
from codex.p2p.multistream import Dialer, line
from codex.p2p.noise import KEY_SIZE, MAX_PLAIN, OVERHEAD, Cipher
from codex.p2p.upgrade import FRAMES_AT_ONCE, EndedEarly, Sealed, run

GREETING = line("/multistream/1.0.0")


def sealed_pair() -> tuple[Sealed, Sealed]:
    one, other = bytes(KEY_SIZE), bytes(range(KEY_SIZE))
    return Sealed(Cipher(one), Cipher(other)), Sealed(Cipher(other), Cipher(one))


@given(st.lists(st.lists(st.lists(st.binary(max_size=30), max_size=4), max_size=5), max_size=5))
def test_batches_are_opened_again(batches: list[list[list[bytes]]]) -> None:
    alice, bob = sealed_pair()
    wire = b"".join(bytes(alice.seal(batch)) for batch in batches)
    opened = [plain for at in range(0, len(wire), 11) for plain in bob.open(wire[at : at + 11])]
    assert opened == [b"".join(parts) for batch in batches for parts in batch]


def test_what_comes_together_is_opened_into_one_piece_of_memory_but_not_too_much() -> None:
    alice, bob = sealed_pair()
    messages = [bytes([n % 256]) * 100 for n in range(2 * FRAMES_AT_ONCE + 1)]
    opened = list(bob.open(bytes(alice.seal([[message] for message in messages]))))
    assert [len(plain) for plain in opened] == [100 * FRAMES_AT_ONCE] * 2 + [100]
    assert b"".join(opened) == b"".join(messages)


def test_memory_for_sealing_is_kept_until_it_is_released() -> None:
    alice, bob = sealed_pair()
    assert alice.room == 0
    large = [[bytes(MAX_PLAIN)]] * 3
    first = alice.seal(large)
    assert len(first) == 3 * (MAX_PLAIN + OVERHEAD) <= alice.room < 5 * MAX_PLAIN
    assert b"".join(bob.open(bytes(first))) == bytes(3 * MAX_PLAIN)
    room = alice.room
    assert list(bob.open(bytes(alice.seal([[b"small"]])))) == [b"small"]
    assert alice.room == room
    alice.release()
    assert alice.room == 0
    assert list(bob.open(bytes(alice.seal([[b"again"]])))) == [b"again"]


def test_what_was_changed_on_the_way_does_not_open() -> None:
    alice, bob = sealed_pair()
    wire = bytearray(alice.seal([[b"hello"]]))
    wire[-1] ^= 1
    with pytest.raises(DecodeError, match="does not decrypt"):
        list(bob.open(bytes(wire)))
    # What came before it in the same piece is not believed either: the connection is over.
    alice, bob = sealed_pair()
    wire = bytearray(alice.seal([[b"hello"], [b"again"]]))
    wire[-1] ^= 1
    with pytest.raises(DecodeError, match="does not decrypt"):
        list(bob.open(bytes(wire)))


async def test_an_agreement_runs_to_its_end() -> None:
    answers = [GREETING, line("na"), line("/b")]
    sent: list[bytes] = []

    async def receive() -> bytes:
        await trio.lowlevel.checkpoint()
        if not answers:
            raise EndedEarly
        return answers.pop(0)

    async def send(data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(data)

    agreement = Dialer(["/a", "/b"])
    await run(agreement, receive, send)
    assert agreement.chosen == "/b"
    assert sent == [GREETING + line("/a"), line("/b")]
    with pytest.raises(EndedEarly):
        await run(Dialer(["/a"]), receive, send)


async def test_what_came_already_counts() -> None:
    async def nothing() -> bytes:
        raise EndedEarly

    sent: list[bytes] = []

    async def send(data: bytes) -> None:
        sent.append(data)

    agreement = Dialer(["/a"])
    await run(agreement, nothing, send, GREETING + line("/a") + b"rest")
    assert agreement.rest() == b"rest"
    assert sent == [GREETING + line("/a")]
