"""The sentence that is left when something was not to be had."""

import pytest

from codex.exchange.verdict import MAX_PEERS, Tried
from codex.p2p import PeerId

ALICE, BOB, CAROL = (PeerId(name.encode()) for name in ("alice", "bob", "carol"))


def test_nobody():
    tried = Tried(searches=2)
    assert tried.sentence("the block X") == (
        "the block X could not be had from the network: no peer was found that announces it,"
        " none is connected that could be asked"
    )


def test_discovery_that_failed_is_named_and_only_when_it_never_answered():
    tried = Tried(failed_search="no node answers")
    assert tried.sentence("X").endswith("could be asked, discovery failed (no node answers)")
    tried.searches = 1
    assert tried.sentence("X").endswith("could be asked")


def test_who_is_connected_is_told_apart_from_who_announces_it():
    tried = Tried(searches=1)
    tried.of(ALICE).asked = True
    tried.of(ALICE).lacks = True
    assert tried.sentence("X").endswith(f"no peer was found that announces it, 1 does not have it ({ALICE})")
    tried.of(BOB).found = True
    tried.of(BOB).refused = "nobody is there"
    assert tried.sentence("X").endswith(
        f": 1 peer was found that announces it, 1 could not be reached ({BOB}: nobody is there),"
        f" 1 does not have it ({ALICE})"
    )


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"found": True, "refused": "10.0.0.1 refuses"}, "1 could not be reached ({peer}: 10.0.0.1 refuses)"),
        # Whose name stands before it need not be named again.
        (
            {"found": True, "refused": f"{ALICE} cannot be reached: /ip4/10.0.0.1/tcp/8070: no answer"},
            "1 could not be reached ({peer}: /ip4/10.0.0.1/tcp/8070: no answer)",
        ),
        (
            {"refused": "no answer", "elsewhere": f"{ALICE} cannot be reached: refused"},
            "1 could not be reached ({peer}: no answer; by its newest record: refused)",
        ),
        ({"asked": True}, "1 did not answer ({peer})"),
        ({"asked": True, "left": True}, "1 left ({peer})"),
        ({"asked": True, "lacks": True}, "1 does not have it ({peer})"),
        ({"asked": True, "lacks": True, "left": True}, "1 does not have it ({peer})"),
        ({"asked": True, "has": True}, "1 said it has it and sent nothing ({peer})"),
        ({"asked": True, "has": True, "lacks": True}, "1 said it has it and sent nothing ({peer})"),
        ({"asked": True, "has": True, "left": True}, "1 left ({peer})"),
        (
            {"asked": True, "has": True, "stalled": True, "left": True},
            "1 said it has it and sent nothing ({peer})",
        ),
        ({"asked": True, "has": True, "gave": 3}, "1 gave a part of it and no more ({peer})"),
        ({"asked": True, "gave": 3, "lied": 1}, "1 sent what is not in it ({peer})"),
    ],
)
def test_what_became_of_a_peer(fields, text):
    tried = Tried()
    story = tried.of(ALICE)
    for name, value in fields.items():
        setattr(story, name, value)
    assert tried.sentence("X").endswith(text.format(peer=ALICE))


def test_everybody_is_in_one_place_and_few_are_named():
    tried = Tried()
    for number in range(10):
        story = tried.of(PeerId(bytes([number])))
        story.found, story.asked, story.lacks = True, True, number < 6
    sentence = tried.sentence("X")
    assert "10 peers were found that announce it" in sentence
    assert "6 do not have it" in sentence
    assert "and 3 more" in sentence
    assert "4 did not answer" in sentence


def test_what_peers_make_it_keep_is_bounded():
    tried = Tried()
    for number in range(MAX_PEERS + 100):
        tried.of(PeerId(number.to_bytes(4, "big"))).refused = "x" * 10_000
    assert len(tried.peers) == MAX_PEERS
    assert len(tried.sentence("X")) < 2000
