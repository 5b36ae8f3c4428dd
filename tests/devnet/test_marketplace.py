from typing import Any

import pytest
from attrs import evolve

from codex.devnet.compiling import compiled
from codex.devnet.deploying import CONFIG, contract, creation

NEW, STARTED, CANCELLED, FINISHED, FAILED = range(5)
FREE, FILLED, SLOT_FINISHED, SLOT_FAILED, PAID, SLOT_CANCELLED, REPAIR = range(7)
PROOF = ((1, 2), ((3, 4), (5, 6)), (7, 8))
ZERO = ((0, 0), ((0, 0), (0, 0)), (0, 0))


# A judge of proofs that tells what it was asked, by reverting with it.
TELLING = """
# pragma version 0.4.3
struct Point:
    x: uint256
    y: uint256
struct Twist:
    x: Point
    y: Point
struct Proof:
    a: Point
    b: Twist
    c: Point
@external
@view
def verify(proof: Proof, input: DynArray[uint256, 3]) -> bool:
    raw_revert(abi_encode(input))
"""


def states(world: Any, request: bytes, *slots: bytes) -> tuple[int, ...]:
    asked = [world.market.ask("requestState", request)]
    return (*asked, *(world.market.ask("slotState", slot) for slot in slots))


# Requests.


def test_a_request_is_paid_for_and_told(world: Any, tools: Any) -> None:
    before, request = world.balance("alice"), world.request(slots=3, size=7, duration=50, expiry=20, price=2)
    time = world.time
    receipt = world.market.do("requestStorage", request, by="alice")
    price = 3 * 50 * 7 * 2
    assert before - world.balance("alice") == world.held() == price
    id = tools.request_id(request)
    assert world.market.ask("getRequest", id) == (
        "0x" + world.people["alice"].hex(),
        request[1],
        request[2],
        20,
        request[4],
    )
    assert world.market.ask("requestEnd", id) == time + 50
    assert world.market.ask("requestExpiry", id) == time + 20
    assert world.market.ask("myRequests", by="alice") == (id,)
    assert world.market.ask("myRequests", by="bob") == ()
    assert states(world, id) == (NEW,)
    assert world.market.said(receipt) == ["StorageRequested"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"expiry": 0}, "Marketplace_InvalidExpiry"),
        ({"expiry": 3600}, "Marketplace_InvalidExpiry"),
        ({"expiry": 0, "slots": 0}, "Marketplace_InvalidExpiry"),
        ({"duration": 0}, "Marketplace_InvalidExpiry"),
        ({"slots": 0, "loss": 9}, "Marketplace_InsufficientSlots"),
        ({"loss": 3, "probability": 0}, "Marketplace_InvalidMaxSlotLoss"),
        ({"probability": 0, "collateral": 0}, "Marketplace_InsufficientProofProbability"),
        ({"collateral": 0, "price": 0}, "Marketplace_InsufficientCollateral"),
        ({"price": 0, "cid": b""}, "Marketplace_InsufficientReward"),
        ({"cid": b"", "duration": 3_000_000}, "Marketplace_InvalidCid"),
        ({"duration": 30 * 24 * 3600 + 1}, "Marketplace_DurationExceedsLimit"),
        ({"price": 10**30}, "ERC20InsufficientBalance"),
        # What overflows is refused without a word.
        ({"price": 2**255, "size": 2}, ""),
        ({"slots": 2**63}, ""),
    ],
)
def test_a_request_that_makes_no_sense_is_refused(world: Any, changes: Any, error: str) -> None:
    assert world.market.refused("requestStorage", world.request(**changes), by="alice") == error


def test_a_request_is_made_once_and_for_oneself(world: Any) -> None:
    request = world.request()
    assert world.market.refused("requestStorage", request, by="bob") == "Marketplace_InvalidClientAddress"
    world.market.do("requestStorage", request, by="alice")
    assert world.market.refused("requestStorage", request, by="alice") == "Marketplace_RequestAlreadyExists"


def test_what_is_not_known_is_said_so(world: Any) -> None:
    unknown = bytes(31) + b"\1"
    for name in ("getRequest", "requestState", "requestEnd"):
        with pytest.raises(Exception, match="Marketplace_UnknownRequest"):
            world.market.ask(name, unknown)
    assert world.market.refused("fillSlot", unknown, 0, PROOF, by="carol") == "Marketplace_UnknownRequest"
    assert world.market.refused("withdrawFunds", unknown, by="alice") == "Marketplace_UnknownRequest"
    assert world.market.refused("submitProof", unknown, PROOF, by="carol") == "Marketplace_UnknownRequest"
    assert world.market.refused("freeSlot", unknown, by="carol") == "Marketplace_SlotIsFree"
    with pytest.raises(Exception, match="Marketplace_SlotIsFree"):
        world.market.ask("getActiveSlot", unknown)
    assert world.market.ask("slotState", unknown) == FREE
    assert world.market.ask("getHost", unknown) == "0x" + "00" * 20
    assert world.market.ask("requestExpiry", unknown) == 0
    assert world.market.ask("isProofRequired", unknown) is False


# Reservations and filling.


def test_three_may_reserve_a_slot_and_only_who_did_fills_it(world: Any, tools: Any) -> None:
    request = world.requested()
    said = [
        world.market.said(world.market.do("reserveSlot", request, 0, by=host))
        for host in ("carol", "dave", "erin")
    ]
    assert said == [[], [], ["SlotReservationsFull"]]
    assert world.market.ask("canReserveSlot", request, 0, by="frank") is False
    assert (
        world.market.refused("reserveSlot", request, 0, by="frank")
        == "SlotReservations_ReservationNotAllowed"
    )
    assert world.market.ask("canReserveSlot", request, 1, by="frank") is True
    assert (
        world.market.refused("fillSlot", request, 0, PROOF, by="frank") == "Marketplace_ReservationRequired"
    )
    assert world.market.refused("fillSlot", request, 2, PROOF, by="carol") == "Marketplace_InvalidSlot"
    assert world.market.refused("fillSlot", request, 0, ZERO, by="carol") == "Proofs_InvalidProof"
    before, held = world.balance("carol"), world.held()
    receipt = world.market.do("fillSlot", request, 0, PROOF, by="carol")
    assert world.market.said(receipt) == ["ProofSubmitted", "SlotFilled"]
    assert before - world.balance("carol") == world.held() - held == 1000
    slot = tools.slot_id(request, 0)
    assert world.market.ask("getHost", slot) == "0x" + world.people["carol"].hex()
    assert world.market.ask("currentCollateral", slot) == 1000
    assert world.market.ask("mySlots", by="carol") == (slot,)
    assert world.market.ask("getActiveSlot", slot) == (world.market.ask("getRequest", request), 0)
    assert states(world, request, slot) == (NEW, FILLED)
    assert world.market.refused("fillSlot", request, 0, PROOF, by="dave") == "Marketplace_SlotNotFree"


def test_a_slot_is_reserved_by_a_host_once(world: Any) -> None:
    request = world.requested()
    world.market.do("reserveSlot", request, 0, by="carol")
    assert (
        world.market.refused("reserveSlot", request, 0, by="carol")
        == "SlotReservations_ReservationNotAllowed"
    )


def test_a_slot_can_be_reserved_before_anybody_asks_for_it(world: Any) -> None:
    world.market.do("reserveSlot", bytes(32), 7, by="carol")
    assert world.market.ask("canReserveSlot", bytes(32), 7, by="carol") is False


def test_the_last_slot_starts_the_contract(world: Any) -> None:
    request = world.requested()
    world.filled(request, 0, "carol")
    world.market.do("reserveSlot", request, 1, by="carol")
    receipt = world.market.do("fillSlot", request, 1, PROOF, by="carol")
    assert world.market.said(receipt) == ["ProofSubmitted", "SlotFilled", "RequestFulfilled"]
    assert states(world, request) == (STARTED,)
    assert len(world.market.ask("mySlots", by="carol")) == 2


def test_an_expired_request_takes_no_host(world: Any) -> None:
    request = world.requested(expiry=60)
    world.market.do("reserveSlot", request, 0, by="carol")
    world.at(world.market.ask("requestExpiry", request) + 1)
    assert world.market.refused("fillSlot", request, 0, PROOF, by="carol") == "Marketplace_SlotNotFree"


# Proofs.


def test_one_proof_a_period_by_the_host(world: Any) -> None:
    slot = world.filled(world.requested(), 0, "carol")
    assert world.market.refused("submitProof", slot, PROOF, by="carol") == "Proofs_ProofAlreadySubmitted"
    world.to_period(world.period + 1)
    assert (
        world.market.refused("submitProof", slot, PROOF, by="dave") == "Marketplace_ProofNotSubmittedByHost"
    )
    assert world.market.refused("submitProof", slot, ZERO, by="carol") == "Proofs_InvalidProof"
    receipt = world.market.do("submitProof", slot, PROOF, by="carol")
    assert world.market.said(receipt) == ["ProofSubmitted"]
    assert receipt.logs[0].event.data == slot
    assert world.market.refused("submitProof", slot, PROOF, by="carol") == "Proofs_ProofAlreadySubmitted"


def test_challenge_and_pointer_follow_the_rules(world: Any, tools: Any) -> None:
    slot = world.filled(world.requested(), 0, "carol")
    for _ in range(20):
        number = world.chain.latest.number + 1
        pointer = (number + world.period * 97 + int.from_bytes(slot, "big")) % 256
        assert world.market.ask("getPointer", slot) == pointer
        # The machine's hash of a block is that of its number as text.
        block = tools.keccak256(str(number - 1 - pointer).encode())
        assert world.market.ask("getChallenge", slot) == tools.keccak256(block)
        world.chain.mine(7, 13)


def test_the_challenge_stays_the_same_within_a_period(world: Any) -> None:
    slot = world.filled(world.requested(), 0, "carol")
    world.to_period(world.period + 1).chain.mine()
    before = world.market.ask("getPointer", slot)
    challenges = set()
    for _ in range(min(80, 255 - before)):
        challenges.add(world.market.ask("getChallenge", slot))
        world.chain.mine()
    assert len(challenges) == 1


def test_proofs_are_asked_for_as_often_as_the_request_says(worlds: Any) -> None:
    """With a downtime of a quarter and one proof in 8 periods: one in 6, and not in downtime."""
    world = worlds(evolve(CONFIG, proofs=evolve(CONFIG.proofs, downtime=64, downtime_product=67)))
    slot = world.filled(world.requested(slots=1, probability=8, duration=300_000), 0, "carol")
    assert world.market.ask("slotProbability", slot) == 6
    due = later = 0
    for _ in range(300):
        world.to_period(world.period + 1).chain.mine()
        challenge = int.from_bytes(world.market.ask("getChallenge", slot), "big")
        downtime = world.market.ask("getPointer", slot) < 64
        assert world.market.ask("isProofRequired", slot) is (challenge % 6 == 0 and not downtime)
        assert world.market.ask("willProofBeRequired", slot) is (challenge % 6 == 0 and downtime)
        due += challenge % 6 == 0 and not downtime
        later += challenge % 6 == 0 and downtime
    # Of 300 periods 50 have a proof, 12.5 of them in downtime. Blocks' hashes are the same in every run.
    assert 20 <= due <= 60
    assert 4 <= later <= 25


def test_downtime_ends_with_the_block_at_its_number(worlds: Any) -> None:
    """Of 256 places of the pointer the first 64 are downtime, and the one of number 64 is not."""
    world = worlds(evolve(CONFIG, proofs=evolve(CONFIG.proofs, downtime=64, downtime_product=67)))
    slot = world.filled(world.requested(slots=1, duration=300_000), 0, "carol")
    world.to_period(world.period + 1)
    seen: dict[int, bool] = {}
    while not {63, 64} <= seen.keys():
        world.chain.mine()
        pointer = world.market.ask("getPointer", slot)
        required = world.market.ask("isProofRequired", slot)
        assert world.market.ask("willProofBeRequired", slot) is not required
        seen[pointer] = required
    assert all(required is (pointer >= 64) for pointer, required in seen.items())


def test_no_proof_is_asked_for_in_the_period_of_filling(world: Any) -> None:
    slot = world.filled(world.requested(), 0, "carol")
    assert world.market.ask("isProofRequired", slot) is False
    world.to_period(world.period + 1)
    assert world.market.ask("isProofRequired", slot) is True


def test_another_judge_of_proofs_takes_the_place_and_is_asked_with_the_public_inputs(
    world: Any, tools: Any
) -> None:
    """Entropy is 31 bytes of the challenge, the root all of its own, both little endian; then the index."""
    owner, chain = world.people["owner"], world.chain
    made: list[Any] = []
    for code in (
        bytes.fromhex(compiled(TELLING)["bytecode"][2:]),
        lambda: creation(world.config, world.deployed.token, made[0]),
    ):
        message = tools.Message(owner, None, code if isinstance(code, bytes) else code(), gas=8_000_000)
        made.append(chain.ledger.receipt(chain.send(chain.sign(message))).outcome.created)
    market = tools.Caller(chain, made[1], contract("marketplace"), world.people)
    world.token.do("approve", made[1], 2**256 - 1, by="alice")
    root = bytes(range(32))
    request = world.request(root=root)
    market.do("requestStorage", request, by="alice")
    id = tools.request_id(request)
    market.do("reserveSlot", id, 1, by="carol")
    challenge = market.ask("getChallenge", tools.slot_id(id, 1))
    fill = market.data("fillSlot", id, 1, PROOF)
    outcome = chain.call(tools.Message(world.people["carol"], made[1], fill))
    assert outcome.failure == "Revert"
    words = [int.from_bytes(outcome.output[at : at + 32], "big") for at in range(0, 5 * 32, 32)]
    assert words == [32, 3, int.from_bytes(challenge[:31], "little"), int.from_bytes(root, "little"), 1]


def test_a_missing_proof_is_marked_in_its_time_and_once(world: Any) -> None:
    slot = world.filled(world.requested(), 0, "carol")
    period = world.period + 1
    mark = ("markProofAsMissing", slot)
    world.to_period(period, 50)
    assert world.market.refused(*mark, period, by="grace") == "Proofs_PeriodNotEnded"
    assert world.market.refused(*mark, period - 1, by="grace") == "Proofs_ValidationTimedOut"
    # The very second of the end is not after it.
    world.to_period(period + 1, 0)
    assert world.market.refused(*mark, period, by="grace") == "Proofs_PeriodNotEnded"
    world.to_period(period + 1)
    assert world.market.ask("canMarkProofAsMissing", slot, period) == ()
    before, held = world.balance("grace"), world.held()
    world.market.do(*mark, period, by="grace")
    # 20 % of the collateral, of which 20 % go to who marks it.
    assert world.market.ask("currentCollateral", slot) == 800
    assert world.balance("grace") - before == held - world.held() == 40
    assert world.market.ask("missingProofs", slot) == 1
    assert world.market.refused(*mark, period, by="grace") == "Proofs_ProofAlreadyMarkedMissing"
    world.market.do("submitProof", slot, PROOF, by="carol")
    world.to_period(period + 2)
    assert world.market.refused(*mark, period + 1, by="grace") == "Proofs_ProofNotMissing"
    world.to_period(period + 3, 30)
    assert world.market.refused(*mark, period + 2, by="grace") == "Proofs_ValidationTimedOut"


def test_only_what_was_asked_for_is_missing(world: Any, tools: Any) -> None:
    slot = world.filled(world.requested(), 0, "carol")
    period = world.period
    world.to_period(period + 1)
    assert world.market.refused("markProofAsMissing", slot, period, by="grace") == "Proofs_ProofNotMissing"
    free = tools.slot_id(world.requested(), 0)
    error = "Marketplace_SlotNotAcceptingProofs"
    assert world.market.refused("markProofAsMissing", free, period, by="grace") == error
    # Periods before a slot was filled ask for nothing; the slot of another request is filled just now.
    world.to_period(world.period + 1)
    other = world.filled(world.requested(), 0, "dave")
    assert (
        world.market.refused("markProofAsMissing", other, world.period - 1, by="grace")
        == "Proofs_ProofNotRequired"
    )


# Slashing, repair and failure.


def test_two_missing_proofs_free_the_slot_and_repair_costs_less(world: Any, tools: Any) -> None:
    request = world.requested(slots=3)
    slot = world.filled(request, 0, "carol")
    for index, host in ((1, "dave"), (2, "erin")):
        world.filled(request, index, host)
    world.marked(slot)
    receipt = world.marked(slot)
    assert world.market.said(receipt) == ["SlotFreed"]
    assert states(world, request, slot) == (STARTED, REPAIR)
    assert world.market.ask("currentCollateral", slot) == 0
    assert world.market.ask("missingProofs", slot) == 0
    assert world.market.ask("getHost", slot) == "0x" + "00" * 20
    assert world.market.ask("mySlots", by="carol") == ()
    assert world.market.refused("freeSlot", slot, by="carol") == "Marketplace_InvalidSlotHost"
    # Who had reserved it has to do so again.
    assert (
        world.market.refused("fillSlot", request, 0, PROOF, by="carol") == "Marketplace_ReservationRequired"
    )
    before = world.balance("frank")
    world.to_period(world.period + 1)
    assert world.filled(request, 0, "frank") == slot
    assert before - world.balance("frank") == 900
    assert world.market.ask("currentCollateral", slot) == 1000
    assert states(world, request, slot) == (STARTED, FILLED)


def test_too_many_lost_slots_fail_the_request(world: Any) -> None:
    request = world.requested(slots=2, loss=0)
    first, second = world.filled(request, 0, "carol"), world.filled(request, 1, "dave")
    price = 2 * 3600 * 100
    receipt = world.market.do("freeSlot", first, by="carol")
    assert world.market.said(receipt) == ["SlotFreed", "RequestFailed"]
    assert states(world, request, first, second) == (FAILED, SLOT_FAILED, SLOT_FAILED)
    assert world.market.ask("requestEnd", request) == world.chain.latest.timestamp - 1
    # The host that kept its slot gets neither pay nor collateral, the client all of the price.
    before = world.balance("dave")
    world.market.do("freeSlot", second, by="dave")
    assert world.balance("dave") == before
    assert world.market.ask("mySlots", by="dave") == ()
    before = world.balance("alice")
    world.market.do("withdrawFunds", request, by="alice")
    assert world.balance("alice") - before == price
    assert world.market.refused("withdrawFunds", request, by="alice") == "Marketplace_NothingToWithdraw"
    assert world.held() == 2000


def test_a_request_that_has_not_started_does_not_fail(world: Any) -> None:
    request = world.requested(slots=2, loss=0)
    slot = world.filled(request, 0, "carol")
    world.market.do("freeSlot", slot, by="carol")
    assert states(world, request, slot) == (NEW, REPAIR)


# The end.


def test_a_finished_contract_pays_everybody_to_the_unit(world: Any) -> None:
    request = world.requested(slots=2, duration=3600, price=3)
    begun = world.chain.latest.timestamp
    slots, filled = [], []
    for index, host in enumerate(("carol", "dave")):
        slots.append(world.filled(request, index, host))
        filled.append(world.chain.latest.timestamp)
        world.chain.mine(5, 11)
    end = begun + 3600
    assert world.market.refused("withdrawFunds", request, by="alice") == "Marketplace_InvalidState"
    # The second of the end belongs to the contract.
    world.at(end)
    assert states(world, request) == (STARTED,)
    world.at(end + 1)
    assert states(world, request, *slots) == (FINISHED, SLOT_FINISHED, SLOT_FINISHED)
    paid = 0
    for slot, host, since in zip(slots, ("carol", "dave"), filled, strict=True):
        before = world.balance(host)
        world.market.do("freeSlot", slot, by=host)
        assert world.balance(host) - before == (end - since) * 300 + 1000
        paid += (end - since) * 300
        assert world.market.ask("slotState", slot) == PAID
        assert world.market.refused("freeSlot", slot, by=host) == "Marketplace_AlreadyPaid"
        assert world.market.ask("mySlots", by=host) == ()
    assert world.market.ask("myRequests", by="alice") == ()
    before = world.balance("alice")
    world.market.do("withdrawFunds", request, by="alice")
    assert world.balance("alice") - before == 2 * 3600 * 300 - paid
    assert world.market.refused("withdrawFunds", request, by="alice") == "Marketplace_NothingToWithdraw"
    assert world.held() == 0
    assert world.market.ask("requestEnd", request) == end


def test_a_cancelled_request_pays_until_its_expiry(world: Any) -> None:
    request = world.requested(slots=2, duration=3600, expiry=600)
    expiry = world.chain.latest.timestamp + 600
    slot = world.filled(request, 0, "carol")
    filled = world.chain.latest.timestamp
    world.at(expiry)
    assert states(world, request) == (NEW,)
    world.at(expiry + 1)
    assert states(world, request, slot) == (CANCELLED, SLOT_CANCELLED)
    assert world.market.ask("requestEnd", request) == expiry
    assert world.market.refused("withdrawFunds", request, by="bob") == "Marketplace_InvalidClientAddress"
    before = world.balance("alice")
    receipt = world.market.do("withdrawFunds", request, by="alice")
    assert world.market.said(receipt) == ["RequestCancelled"]
    pay = (expiry - filled) * 100
    assert world.balance("alice") - before == 2 * 3600 * 100 - pay
    assert world.market.refused("withdrawFunds", request, by="alice") == "Marketplace_NothingToWithdraw"
    before = world.balance("carol")
    world.market.do("freeSlot", slot, by="carol")
    assert world.balance("carol") - before == pay + 1000
    assert world.held() == 0


def test_others_may_get_what_is_paid_out(world: Any) -> None:
    request = world.requested(slots=1, loss=0)
    slot = world.filled(request, 0, "carol")
    filled = world.chain.latest.timestamp
    bob, grace = world.people["bob"], world.people["grace"]
    world.at(world.market.ask("requestEnd", request) + 1)
    end = world.market.ask("requestEnd", request)
    before = {name: world.balance(name) for name in ("alice", "bob", "carol", "grace")}
    world.market.do("freeSlot", slot, bob, grace, by="carol")
    world.market.do("withdrawFunds", request, grace, by="alice")
    gained = {name: world.balance(name) - amount for name, amount in before.items()}
    pay = (end - filled) * 100
    assert gained == {"alice": 0, "bob": pay, "carol": 0, "grace": 1000 + 3600 * 100 - pay}


def test_the_form_between_is_nobodys_interface(world: Any, tools: Any) -> None:
    slot = world.filled(world.requested(slots=1, loss=0), 0, "carol")
    selector = tools.keccak256(b"freeSlot(bytes32,address)")[:4]
    message = tools.Message(
        world.people["carol"], world.deployed.marketplace, selector + slot + bytes(12) + world.people["carol"]
    )
    outcome = world.chain.call(message)
    assert (outcome.failure, outcome.output) == ("Revert", b"")


def test_collateral_of_a_slot_filled_in_the_second_of_expiry_is_lost(world: Any) -> None:
    """The network has it so, and hosts have to know: that slot has no pay, and freeing it fails."""
    request = world.requested(expiry=60)
    world.market.do("reserveSlot", request, 0, by="carol")
    expiry = world.market.ask("requestExpiry", request)
    world.at(expiry)
    world.market.do("fillSlot", request, 0, PROOF, by="carol")
    (slot,) = world.market.ask("mySlots", by="carol")
    world.at(expiry + 1)
    assert world.market.refused("freeSlot", slot, by="carol") == "Marketplace_StartNotBeforeExpiry"


def test_a_slot_cannot_be_repaired_in_the_second_of_the_end(world: Any) -> None:
    request = world.requested(slots=1)
    slot = world.filled(request, 0, "carol")
    world.market.do("freeSlot", slot, by="carol")
    world.market.do("reserveSlot", request, 0, by="dave")
    world.at(world.market.ask("requestEnd", request))
    assert (
        world.market.refused("fillSlot", request, 0, PROOF, by="dave") == "Marketplace_StartNotBeforeExpiry"
    )


def test_lists_of_what_is_open_lose_what_is_over_and_keep_the_rest(world: Any) -> None:
    requests = [world.requested(slots=1, expiry=100 + 100 * (n % 2)) for n in range(5)]
    slots = [world.filled(request, 0, "carol") for request in requests]
    assert world.market.ask("myRequests", by="alice") == tuple(requests)
    assert world.market.ask("mySlots", by="carol") == tuple(slots)
    world.market.do("freeSlot", slots[1], by="carol")
    # What is last takes the place of what goes.
    assert world.market.ask("mySlots", by="carol") == (slots[0], slots[4], slots[2], slots[3])
    world.market.do("freeSlot", slots[3], by="carol")
    assert world.market.ask("mySlots", by="carol") == (slots[0], slots[4], slots[2])


def test_a_year_of_daily_proofs_is_paid_to_the_unit(worlds: Any, tools: Any) -> None:
    day, year = 24 * 3600, 365 * 24 * 3600
    config = tools.quick(period=day, timeout=3600)
    world = worlds(evolve(config, duration_limit=366 * day))
    request = world.requested(slots=1, loss=0, duration=year, expiry=day)
    begun = world.chain.latest.timestamp
    slot = world.filled(request, 0, "carol")
    filled = world.chain.latest.timestamp
    proved = 0
    while (world.period + 1) * day < begun + year:
        world.to_period(world.period + 1, 60)
        assert world.market.ask("isProofRequired", slot) is True
        world.market.do("submitProof", slot, PROOF, by="carol")
        proved += 1
    assert proved == 365
    world.at(begun + year + 1)
    before = world.balance("carol")
    world.market.do("freeSlot", slot, by="carol")
    assert world.balance("carol") - before == (begun + year - filled) * 100 + 1000
    world.market.do("withdrawFunds", request, by="alice")
    assert world.held() == 0


def test_what_is_stored_of_a_request_has_bounds(world: Any) -> None:
    world.requested(cid=bytes(512))
    assert world.market.refused("requestStorage", world.request(cid=bytes(513)), by="alice") == ""
