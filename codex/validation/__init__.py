"""Validation: marking proofs that hosts of the marketplace did not bring, for a reward.

`Validation` is its door, `ValidationService` (in service.py) the task behind it; rounds.py decides which
slots are watched.
"""

from codex.validation.board import ProofMarked, ValidationBoard
from codex.validation.calls import Validated
from codex.validation.handle import Validation
from codex.validation.rounds import Share

__all__ = ["ProofMarked", "Share", "Validated", "Validation", "ValidationBoard"]
