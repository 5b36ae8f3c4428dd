"""Sessions: the keys used last are kept, and of two keys to read with neither is lost too early."""

from hypothesis import given
from hypothesis import strategies as st

from codex.discovery.sessions import MAX_REMEMBERED, MAX_SESSIONS, Place, Sessions
from codex.p2p import Identity, PublicKey
from codex.runtime.clock import SeededEntropy

KEY = Identity.generate(SeededEntropy("alice")).public_key
OTHER = Identity.generate(SeededEntropy("bob")).public_key


def place(n: int, port: int = 8090) -> Place:
    return (n.to_bytes(32), (f"192.0.2.{n % 250}", port))


def keys(n: int) -> bytes:
    return n.to_bytes(16)


def begin(sessions: Sessions, n: int, key: PublicKey = KEY) -> None:
    sessions.agree(place(n), key, write=keys(n), read=keys(n + 1))


def test_a_session_is_with_a_node_at_an_address() -> None:
    sessions = Sessions()
    begin(sessions, 1)
    session = sessions.get(place(1))
    assert session is not None
    assert (session.write, session.read, session.read_before) == (keys(1), keys(2), None)
    assert session.public_key == KEY
    assert sessions.get(place(1, 8091)) is None
    assert sessions.get((place(2)[0], place(1)[1])) is None
    sessions.drop(place(1))
    sessions.drop(place(1))
    assert sessions.get(place(1)) is None
    assert len(sessions) == 0


def test_a_renewed_session_still_reads_with_the_key_before() -> None:
    sessions = Sessions()
    sessions.agree(place(1), KEY, write=keys(1), read=keys(2))
    session = sessions.agree(place(1), OTHER, write=keys(3), read=keys(4))
    assert session is sessions.get(place(1))
    assert (session.write, session.read, session.read_before) == (keys(3), keys(4), keys(2))
    assert session.public_key == OTHER
    session.swap()
    assert (session.write, session.read, session.read_before) == (keys(3), keys(2), keys(4))
    # The key that is in use is the one that stays.
    session = sessions.agree(place(1), KEY, write=keys(5), read=keys(6))
    assert (session.read, session.read_before) == (keys(6), keys(2))
    assert len(sessions) == 1


def test_the_same_key_again_does_not_push_out_the_other() -> None:
    sessions = Sessions()
    sessions.agree(place(1), KEY, write=keys(1), read=keys(2))
    sessions.agree(place(1), KEY, write=keys(3), read=keys(4))
    session = sessions.agree(place(1), KEY, write=keys(3), read=keys(4))
    assert (session.read, session.read_before) == (keys(4), keys(2))


def test_a_session_with_one_key_has_nothing_to_swap() -> None:
    session = Sessions().agree(place(1), KEY, write=keys(1), read=keys(2))
    session.swap()
    assert (session.read, session.read_before) == (keys(2), None)


def test_a_packet_is_known_when_it_comes_again() -> None:
    session = Sessions().agree(place(1), KEY, write=keys(1), read=keys(2))
    nonces = [n.to_bytes(12) for n in range(MAX_REMEMBERED)]
    assert not any(session.is_repeated(nonce) for nonce in nonces)
    assert all(session.is_repeated(nonce) for nonce in nonces)
    assert not session.is_repeated(b"one more")
    assert not session.is_repeated(nonces[0])  # forgotten by now


def test_keys_are_not_shown() -> None:
    session = Sessions().agree(place(1), KEY, write=b"w" * 16, read=b"r" * 16)
    session.read_before = b"b" * 16
    assert not any(shown in repr(session) for shown in ("www", "rrr", "bbb"))


@given(st.lists(st.integers(0, 12), max_size=60), st.integers(1, 8))
def test_the_sessions_used_last_are_kept(used: list[int], capacity: int) -> None:
    sessions = Sessions(capacity)
    order: list[int] = []
    for n in used:
        session = sessions.get(place(n))
        assert (session is not None) == (n in order)
        if session is None:
            begin(sessions, n)
        else:
            order.remove(n)
        order = [*order, n][-capacity:]
    assert len(sessions) == len(order)


def test_there_is_no_room_for_more_than_there_is() -> None:
    sessions = Sessions()
    for n in range(2 * MAX_SESSIONS):
        begin(sessions, n)
    assert len(sessions) == MAX_SESSIONS
    assert sessions.get(place(MAX_SESSIONS - 1)) is None
    assert sessions.get(place(MAX_SESSIONS)) is not None
