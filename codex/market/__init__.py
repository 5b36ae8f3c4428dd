"""The words of the marketplace: requests, slots, ids, states, prices, periods and its rules. Pure.

Amounts are in the token's smallest unit, sizes in bytes, durations in seconds, moments in unix seconds of the
chain's own clock; all are integers, as on the chain.
"""

from codex.market.config import CollateralConfig, MarketplaceConfig, ProofConfig
from codex.market.events import (
    MarketEvent,
    ProofSubmitted,
    RequestCancelled,
    RequestFailed,
    RequestFulfilled,
    SlotFilled,
    SlotFreed,
    SlotReservationsFull,
    StorageRequested,
)
from codex.market.ids import Address, AvailabilityId, RequestId, SlotId
from codex.market.periods import Period, challenge_of, in_downtime, is_proof_due, pointer_of
from codex.market.prices import payout, repair_collateral, slashing, validator_reward
from codex.market.proof import G1, G2, ZERO_PROOF, Groth16Proof
from codex.market.request import Slot, StorageAsk, StorageContent, StorageRequest
from codex.market.rules import check_request
from codex.market.states import RequestState, SlotState

__all__ = [
    "G1",
    "G2",
    "ZERO_PROOF",
    "Address",
    "AvailabilityId",
    "CollateralConfig",
    "Groth16Proof",
    "MarketEvent",
    "MarketplaceConfig",
    "Period",
    "ProofConfig",
    "ProofSubmitted",
    "RequestCancelled",
    "RequestFailed",
    "RequestFulfilled",
    "RequestId",
    "RequestState",
    "Slot",
    "SlotFilled",
    "SlotFreed",
    "SlotId",
    "SlotReservationsFull",
    "SlotState",
    "StorageAsk",
    "StorageContent",
    "StorageRequest",
    "StorageRequested",
    "challenge_of",
    "check_request",
    "in_downtime",
    "is_proof_due",
    "payout",
    "pointer_of",
    "repair_collateral",
    "slashing",
    "validator_reward",
]
