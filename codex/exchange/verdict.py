"""What was tried to get something from the network, and what came of it: in the end, a sentence."""

from collections.abc import Sequence

from attrs import define, field

from codex.p2p import PeerId

MAX_PEERS = 1024
"""Peers whose story is kept; more are only counted."""
NAMED = 3
"""Peers that the sentence names of each kind."""
_SHOWN = 160  # characters of a reason, which may come from far away


@define(eq=False)
class Story:
    """How it went with one peer. `refused` says why no connection came about, `elsewhere` why none did either
    where a newer record says that it is; the others count or mark.

    `has` and `lacks`: it said so of some of what is wanted. `stalled`: it let orders lie until they
    were taken back.
    """

    found: bool = False
    refused: str = ""
    elsewhere: str = ""
    asked: bool = False
    has: bool = False
    lacks: bool = False
    stalled: bool = False
    gave: int = 0
    lied: int = 0
    left: bool = False


@define(eq=False)
class Tried:
    """The peers that were tried for one fetch. Whoever learns something writes it down here."""

    searches: int = 0
    """How often discovery was asked, with an answer."""
    failed_search: str = ""
    """Why discovery had no answer the last time it had none."""
    unlisted: int = 0
    peers: dict[PeerId, Story] = field(factory=dict)

    def of(self, peer: PeerId) -> Story:
        """The story of one peer, to be added to."""
        story = self.peers.get(peer)
        if story is None:
            story = Story()
            if len(self.peers) < MAX_PEERS:
                self.peers[peer] = story
            else:
                self.unlisted += 1
        return story

    def sentence(self, what: str) -> str:
        """Say that `what` was not to be had, and what became of each kind of peer."""
        found = sum(story.found for story in self.peers.values()) + self.unlisted
        if found:
            parts = [_plural(found, "peer was found that announces it", "peers were found that announce it")]
        else:
            parts = ["no peer was found that announces it"]
        parts += [text for kind in _KINDS if (text := self._kind(*kind))]
        if not self.peers:
            parts.append("none is connected that could be asked")
        if self.failed_search and not self.searches:
            parts.append(f"discovery failed ({self.failed_search[:_SHOWN]})")
        return f"{what} could not be had from the network: {', '.join(parts)}"

    def _kind(self, kind: str, one: str, many: str) -> str:
        peers = [(peer, story) for peer, story in self.peers.items() if _kind_of(story) == kind]
        if not peers:
            return ""
        return f"{_plural(len(peers), one, many)} ({_names(peers)})"


_KINDS = (
    ("refused", "could not be reached", "could not be reached"),
    ("lied", "sent what is not in it", "sent what is not in it"),
    ("kept", "said it has it and sent nothing", "said they have it and sent nothing"),
    ("lacks", "does not have it", "do not have it"),
    ("gave", "gave a part of it and no more", "gave a part of it and no more"),
    ("left", "left", "left"),
    ("silent", "did not answer", "did not answer"),
)


def _kind_of(story: Story) -> str:
    """The one word for what became of a peer; empty when it was only found or connected, and never asked."""
    if story.lied:
        return "lied"
    if story.gave:
        return "gave"
    if story.has:
        # One that let orders lie may have been sent away for it.
        return "left" if story.left and not story.stalled else "kept"
    if story.lacks:
        return "lacks"
    if story.left:
        return "left"
    if story.asked:
        return "silent"
    return "refused" if story.refused else ""


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _names(peers: Sequence[tuple[PeerId, Story]]) -> str:
    named = []
    for peer, story in peers[:NAMED]:
        reason = _reason(peer, story) if _kind_of(story) == "refused" else ""
        named.append(f"{peer}: {reason}" if reason else str(peer))
    rest = len(peers) - len(named)
    return "; ".join(named) + (f"; and {rest} more" if rest else "")


def _reason(peer: PeerId, story: Story) -> str:
    # The sentence that a dial ends with begins with the peer, who is named already.
    name = f"{peer} cannot be reached: "
    refused, elsewhere = (why.removeprefix(name)[:_SHOWN] for why in (story.refused, story.elsewhere))
    return f"{refused}; by its newest record: {elsewhere}" if elsewhere else refused
