"""The JSON objects of the marketplace have exactly the keys that are described."""

from typing import Any

import yaml
from attrs import evolve

from codex.api.debug import description
from codex.api.market_objects import held_json
from codex.market import RequestId, SlotId
from codex.sales import Held, Verdict

REQUEST = RequestId(bytes([9]) * 32)
HELD = Held(
    slot=SlotId.of(REQUEST, 3),
    name=bytes(32),
    request=REQUEST,
    index=3,
    availability=bytes([2]) * 32,
    filled=1000,
    at=5000,
    verdict=Verdict.FINISHED,
    reason="it is paid",
    collateral=2**200,
    returned=2**200 - 5,
    reward=2**199,
)


def described(name: str) -> dict[str, Any]:
    schema = yaml.safe_load(description())["components"]["schemas"][name]
    assert isinstance(schema, dict)
    assert schema["required"] == list(schema["properties"])
    return schema


def test_a_slot_that_was_held() -> None:
    shown = held_json(HELD)
    assert shown == {
        "slot": str(HELD.slot),
        "requestId": str(REQUEST),
        "slotIndex": 3,
        "filled": 1000,
        "at": 5000,
        "verdict": "finished",
        "reason": "it is paid",
        "collateral": str(2**200),
        "returned": str(2**200 - 5),
        "lost": "5",
        "reward": str(2**199),
        "availabilityId": "0x" + "02" * 32,
    }
    assert list(shown) == described("HeldSlot")["required"]
    held = held_json(evolve(HELD, returned=None, reward=None, availability=None))
    assert [held[key] for key in ("returned", "lost", "reward", "availabilityId")] == [None] * 4
