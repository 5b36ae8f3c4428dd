"""Requests that the contract would refuse are refused before, each with what is wrong."""

from typing import Any

import pytest
from attrs import evolve

from codex.errors import InvalidInput
from codex.market import MarketplaceConfig, StorageContent, StorageRequest, check_request

HUGE = 2**255


def test_a_request_in_order_passes(request_of_alice: StorageRequest, config: MarketplaceConfig) -> None:
    check_request(request_of_alice, config)


@pytest.mark.parametrize(
    ("ask", "request_", "message"),
    [
        ({}, {"expiry": 0}, "Expiry must be greater than zero and less than the request's duration"),
        ({}, {"expiry": 3600}, "Expiry must be greater than zero and less than the request's duration"),
        ({"duration": 0}, {}, "Expiry must be greater than zero"),
        ({"slots": 0}, {}, "must have slots"),
        ({"slot_size": 0}, {}, "must have bytes"),
        ({"max_slot_loss": 4}, {}, "Of 3 slots 4 cannot be lost"),
        ({"proof_probability": 0}, {}, "Proof probability must be greater than zero"),
        ({"collateral_per_byte": 0}, {}, "Collateral per byte must be greater than zero"),
        ({"price_per_byte_per_second": 0}, {}, "Price per byte per second must be greater than zero"),
        ({}, {"content": StorageContent(b"", bytes(32))}, "must name what is to be stored"),
        ({}, {"content": StorageContent(b"a", bytes(31))}, "32 bytes"),
        ({}, {"nonce": b""}, "32 bytes"),
        ({"duration": 30 * 86400 + 1}, {}, "Duration exceeds limit of 2592000 seconds"),
        ({"duration": 2**64}, {}, "The duration does not fit"),
        ({"slots": -1}, {}, "The number of slots does not fit"),
        ({"price_per_byte_per_second": HUGE}, {}, "The price of the whole request does not fit"),
        ({"collateral_per_byte": HUGE}, {}, "The collateral of a slot does not fit"),
        ({"proof_probability": 2**256}, {}, "The proof probability does not fit"),
    ],
)
def test_a_request_that_would_be_refused(
    request_of_alice: StorageRequest,
    config: MarketplaceConfig,
    ask: dict[str, int],
    request_: dict[str, Any],
    message: str,
) -> None:
    request = evolve(request_of_alice, ask=evolve(request_of_alice.ask, **ask), **request_)
    with pytest.raises(InvalidInput, match=message):
        check_request(request, config)


def test_the_limits_themselves_pass(request_of_alice: StorageRequest, config: MarketplaceConfig) -> None:
    ask = evolve(request_of_alice.ask, duration=30 * 86400, max_slot_loss=3)
    check_request(evolve(request_of_alice, ask=ask, expiry=30 * 86400 - 1), config)
