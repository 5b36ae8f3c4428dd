"""What validation says of its own accord; made beside the service, and outliving each life of it."""

from attrs import frozen

from codex.market import SlotId
from codex.runtime import Broadcast


@frozen
class ProofMarked:
    """This node has marked the proof of a slot for a period as missing."""

    slot: SlotId
    period: int


class ValidationBoard:
    """News of validation."""

    def __init__(self) -> None:
        self.events: Broadcast[ProofMarked] = Broadcast()
