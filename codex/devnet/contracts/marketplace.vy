# pragma version 0.4.3
# pragma evm-version cancun
"""
@title  The marketplace for storage
@notice Clients request storage and pay in advance, hosts fill slots and put up collateral, and prove period by
        period that they have the data; who misses proofs is slashed and in the end replaced. To a caller it is the
        marketplace of the Codex network: same functions, events, errors, ids, states and amounts.
        It differs in having bounds where the language asks for them (CID, key hash, requests and slots of one
        account), and in saying nothing when a number overflows.
        Whether a proof proves anything is not judged here: the verifier gets it with the challenge's entropy, the
        dataset's root and the slot's index. The verifier that comes with this contract looks at none of the three, so
        that with it a proof of other data, of another slot or for another challenge passes. A verifier that checks the
        pairing is given to the constructor in its place, and nothing else changes.
@dev    What is owed is kept in three places: `returnable` of a request (to its client), the pay of each filled slot
        (from its filling to the end, to its host), and the collateral of each filled slot (to its host). Collateral
        that was slashed and not handed to a validator belongs to nobody and stays here.
"""

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

interface Verifier:
    def verify(proof: Groth16Proof, input: DynArray[uint256, 3]) -> bool: view

struct G1Point:
    x: uint256
    y: uint256

struct Fp2Element:
    real: uint256
    imag: uint256

struct G2Point:
    x: Fp2Element
    y: Fp2Element

struct Groth16Proof:
    a: G1Point
    b: G2Point
    c: G1Point

struct Ask:
    proofProbability: uint256  # one proof in so many periods, before downtime
    pricePerBytePerSecond: uint256
    collateralPerByte: uint256
    slots: uint64
    slotSize: uint64  # bytes
    duration: uint64  # seconds
    maxSlotLoss: uint64

struct Content:
    cid: Bytes[CID_BOUND]
    merkleRoot: bytes32  # a field element, little endian

struct Request:
    client: address
    ask: Ask
    content: Content
    expiry: uint64  # seconds after the request is made
    nonce: bytes32

struct ActiveSlot:
    request: Request
    slotIndex: uint64

struct CollateralConfig:
    repairRewardPercentage: uint8
    maxNumberOfSlashes: uint8
    slashPercentage: uint8
    validatorRewardPercentage: uint8  # of what is slashed

struct ProofConfig:
    period: uint64  # seconds
    timeout: uint64  # seconds after a period in which a missing proof can be marked
    downtime: uint8  # blocks
    downtimeProduct: uint8  # blocks by which the pointer moves from period to period
    zkeyHash: String[HASH_BOUND]

struct SlotReservationsConfig:
    maxReservations: uint8

struct MarketplaceConfig:
    collateral: CollateralConfig
    proofs: ProofConfig
    reservations: SlotReservationsConfig
    requestDurationLimit: uint64  # seconds

# What becomes of a request after it was made.
struct Course:
    state: uint8
    returnable: uint256  # units that the client gets back as things stand; 0 once they were given back
    slotsFilled: uint64
    endsAt: uint64
    expiresAt: uint64

struct Slot:
    state: uint8
    requestId: bytes32
    filledAt: uint64
    slotIndex: uint64
    currentCollateral: uint256
    host: address

event StorageRequested:
    requestId: bytes32
    ask: Ask
    expiry: uint64

event RequestFulfilled:
    requestId: indexed(bytes32)

event RequestFailed:
    requestId: indexed(bytes32)

event RequestCancelled:
    requestId: indexed(bytes32)

event SlotFilled:
    requestId: indexed(bytes32)
    slotIndex: uint64

event SlotFreed:
    requestId: indexed(bytes32)
    slotIndex: uint64

event SlotReservationsFull:
    requestId: indexed(bytes32)
    slotIndex: uint64

event ProofSubmitted:
    id: bytes32

CID_BOUND: constant(uint256) = 512
HASH_BOUND: constant(uint256) = 256
# Ids that one account can have open at a time. Past it a request or a filling is refused.
IDS_BOUND: constant(uint256) = 16384
# As many as the type of maxReservations can say.
RESERVATIONS_BOUND: constant(uint256) = 255

NEW: constant(uint8) = 0
STARTED: constant(uint8) = 1
CANCELLED: constant(uint8) = 2
FINISHED: constant(uint8) = 3
FAILED: constant(uint8) = 4

SLOT_FREE: constant(uint8) = 0
SLOT_FILLED: constant(uint8) = 1
SLOT_FINISHED: constant(uint8) = 2
SLOT_FAILED: constant(uint8) = 3
SLOT_PAID: constant(uint8) = 4
SLOT_CANCELLED: constant(uint8) = 5
SLOT_REPAIR: constant(uint8) = 6

TOKEN: immutable(Token)
VERIFIER: immutable(Verifier)
PERIOD: immutable(uint64)
TIMEOUT: immutable(uint64)
DOWNTIME: immutable(uint8)
DOWNTIME_PRODUCT: immutable(uint8)
REPAIR_REWARD: immutable(uint8)
MAX_SLASHES: immutable(uint8)
SLASH: immutable(uint8)
VALIDATOR_REWARD: immutable(uint8)
MAX_RESERVATIONS: immutable(uint8)
DURATION_LIMIT: immutable(uint64)

config: MarketplaceConfig
requests: HashMap[bytes32, Request]
courses: HashMap[bytes32, Course]
slots: HashMap[bytes32, Slot]
reservations: HashMap[bytes32, DynArray[address, RESERVATIONS_BOUND]]

slotStarts: HashMap[bytes32, uint64]
missed: HashMap[bytes32, uint64]
received: HashMap[bytes32, HashMap[uint64, bool]]
missing: HashMap[bytes32, HashMap[uint64, bool]]

requestsOf: HashMap[address, DynArray[bytes32, IDS_BOUND]]
slotsOf: HashMap[address, DynArray[bytes32, IDS_BOUND]]
# Where in its owner's list an id stands, counted from 1; 0 when it is not in it. An id is in one list at most.
placeOfRequest: HashMap[bytes32, uint256]
placeOfSlot: HashMap[bytes32, uint256]


@deploy
def __init__(config: MarketplaceConfig, token_: address, verifier: address):
    if config.proofs.period == 0:
        raw_revert(method_id("Periods_InvalidSecondsPerPeriod()"))
    # A challenge is the hash of one of the last 256 blocks.
    if block.number <= 256:
        raw_revert(method_id("Proofs_InsufficientBlockHeight()"))
    if config.collateral.repairRewardPercentage > 100:
        raw_revert(method_id("Marketplace_RepairRewardPercentageTooHigh()"))
    if config.collateral.slashPercentage > 100:
        raw_revert(method_id("Marketplace_SlashPercentageTooHigh()"))
    if config.collateral.maxNumberOfSlashes * config.collateral.slashPercentage > 100:
        raw_revert(method_id("Marketplace_MaximumSlashingTooHigh()"))
    TOKEN = Token(token_)
    VERIFIER = Verifier(verifier)
    PERIOD = config.proofs.period
    TIMEOUT = config.proofs.timeout
    DOWNTIME = config.proofs.downtime
    DOWNTIME_PRODUCT = config.proofs.downtimeProduct
    REPAIR_REWARD = config.collateral.repairRewardPercentage
    MAX_SLASHES = config.collateral.maxNumberOfSlashes
    SLASH = config.collateral.slashPercentage
    VALIDATOR_REWARD = config.collateral.validatorRewardPercentage
    MAX_RESERVATIONS = config.reservations.maxReservations
    DURATION_LIMIT = config.requestDurationLimit
    self.config = config


# What everybody may ask.


@external
@view
def configuration() -> MarketplaceConfig:
    return self.config


@external
@view
def token() -> address:
    return TOKEN.address


@external
@view
def currentCollateral(slotId: bytes32) -> uint256:
    return self.slots[slotId].currentCollateral


@external
@view
def getRequest(requestId: bytes32) -> Request:
    self._known(requestId)
    return self.requests[requestId]


@external
@view
def getActiveSlot(slotId: bytes32) -> ActiveSlot:
    self._taken(slotId)
    return ActiveSlot(
        request=self.requests[self.slots[slotId].requestId], slotIndex=self.slots[slotId].slotIndex
    )


@external
@view
def getHost(slotId: bytes32) -> address:
    return self.slots[slotId].host


@external
@view
def myRequests() -> DynArray[bytes32, IDS_BOUND]:
    return self.requestsOf[msg.sender]


@external
@view
def mySlots() -> DynArray[bytes32, IDS_BOUND]:
    return self.slotsOf[msg.sender]


@external
@view
def requestState(requestId: bytes32) -> uint8:
    return self._requestState(requestId)


@external
@view
def slotState(slotId: bytes32) -> uint8:
    return self._slotState(slotId)


@external
@view
def requestEnd(requestId: bytes32) -> uint64:
    state: uint8 = self._requestState(requestId)
    if state == NEW or state == STARTED:
        return self.courses[requestId].endsAt
    if state == CANCELLED:
        return self.courses[requestId].expiresAt
    return min(self.courses[requestId].endsAt, self._now())


@external
@view
def requestExpiry(requestId: bytes32) -> uint64:
    return self.courses[requestId].expiresAt


@external
@view
def missingProofs(slotId: bytes32) -> uint64:
    return self.missed[slotId]


@external
@view
def isProofRequired(id: bytes32) -> bool:
    return self._isProofRequired(id, self._period())


@external
@view
def willProofBeRequired(id: bytes32) -> bool:
    required: bool = False
    pointer: uint8 = 0
    required, pointer = self._requirement(id, self._period())
    return required and pointer < DOWNTIME


@external
@view
def getChallenge(id: bytes32) -> bytes32:
    return self._challenge(self._pointer(id, self._period()))


@external
@view
def getPointer(id: bytes32) -> uint8:
    return self._pointer(id, self._period())


@external
@view
def slotProbability(slotId: bytes32) -> uint256:
    return self._probability(slotId)


@external
@view
def canReserveSlot(requestId: bytes32, slotIndex: uint64) -> bool:
    return self._canReserve(self._slotId(requestId, slotIndex))


@external
@view
def canMarkProofAsMissing(slotId: bytes32, period: uint64):
    self._markable(slotId, period)


# What a client does.


@external
def requestStorage(request: Request):
    """
    @notice Ask for storage and pay for all of it, in the sender's tokens.
    """
    id: bytes32 = keccak256(abi_encode(request))
    if request.client != msg.sender:
        raw_revert(method_id("Marketplace_InvalidClientAddress()"))
    if self.requests[id].client != empty(address):
        raw_revert(method_id("Marketplace_RequestAlreadyExists()"))
    if request.expiry == 0 or request.expiry >= request.ask.duration:
        raw_revert(method_id("Marketplace_InvalidExpiry()"))
    if request.ask.slots == 0:
        raw_revert(method_id("Marketplace_InsufficientSlots()"))
    if request.ask.maxSlotLoss > request.ask.slots:
        raw_revert(method_id("Marketplace_InvalidMaxSlotLoss()"))
    if request.ask.duration == 0:
        raw_revert(method_id("Marketplace_InsufficientDuration()"))
    if request.ask.proofProbability == 0:
        raw_revert(method_id("Marketplace_InsufficientProofProbability()"))
    if request.ask.collateralPerByte == 0:
        raw_revert(method_id("Marketplace_InsufficientCollateral()"))
    if request.ask.pricePerBytePerSecond == 0:
        raw_revert(method_id("Marketplace_InsufficientReward()"))
    if len(request.content.cid) == 0:
        raw_revert(method_id("Marketplace_InvalidCid()"))
    if request.ask.duration > DURATION_LIMIT:
        raw_revert(method_id("Marketplace_DurationExceedsLimit()"))

    price: uint256 = self._price(request.ask)
    expiresAt: uint64 = self._now() + request.expiry
    self.requests[id] = request
    self.courses[id] = Course(
        state=NEW,
        returnable=price,
        slotsFilled=0,
        endsAt=self._now() + request.ask.duration,
        expiresAt=expiresAt,
    )
    self.requestsOf[msg.sender].append(id)
    self.placeOfRequest[id] = len(self.requestsOf[msg.sender])
    self._collect(msg.sender, price)
    log StorageRequested(requestId=id, ask=request.ask, expiry=expiresAt)


@external
def withdrawFunds(requestId: bytes32, withdrawRecipient: address = msg.sender):
    """
    @notice Take back what was not spent on a request that is over. Only its client may, and once.
    """
    self._known(requestId)
    ask: Ask = self.requests[requestId].ask
    if self.requests[requestId].client != msg.sender:
        raw_revert(method_id("Marketplace_InvalidClientAddress()"))
    state: uint8 = self._requestState(requestId)
    if state != CANCELLED and state != FAILED and state != FINISHED:
        raw_revert(method_id("Marketplace_InvalidState()"))
    course: Course = self.courses[requestId]
    amount: uint256 = course.returnable
    if amount == 0:
        raw_revert(method_id("Marketplace_NothingToWithdraw()"))

    if state == CANCELLED:
        self.courses[requestId].state = CANCELLED
        log RequestCancelled(requestId=requestId)
        # Hosts were to be paid until the end, and are paid until the expiry.
        unserved: uint256 = self._pay(ask, course.expiresAt, course.endsAt)
        amount += convert(course.slotsFilled, uint256) * unserved
    elif state == FAILED:
        # Hosts of a failed request get nothing, so all of it goes back.
        amount = self._price(ask)
    else:
        self.courses[requestId].state = FINISHED

    self._forgetRequest(msg.sender, requestId)
    self.courses[requestId].returnable = 0
    self._send(withdrawRecipient, amount)


# What a host does.


@external
def reserveSlot(requestId: bytes32, slotIndex: uint64):
    """
    @notice Take one of the few permissions to fill a slot.
    """
    slotId: bytes32 = self._slotId(requestId, slotIndex)
    if not self._canReserve(slotId):
        raw_revert(method_id("SlotReservations_ReservationNotAllowed()"))
    self.reservations[slotId].append(msg.sender)
    if len(self.reservations[slotId]) == convert(MAX_RESERVATIONS, uint256):
        log SlotReservationsFull(requestId=requestId, slotIndex=slotIndex)


@external
def fillSlot(requestId: bytes32, slotIndex: uint64, proof: Groth16Proof):
    """
    @notice Become the host of a slot, by a first proof and collateral.
    """
    self._known(requestId)
    ask: Ask = self.requests[requestId].ask
    if slotIndex >= ask.slots:
        raw_revert(method_id("Marketplace_InvalidSlot()"))
    slotId: bytes32 = self._slotId(requestId, slotIndex)
    if msg.sender not in self.reservations[slotId]:
        raw_revert(method_id("Marketplace_ReservationRequired()"))
    # A slot that nobody filled yet knows no request, and could not tell that its request is over.
    self.slots[slotId].requestId = requestId
    state: uint8 = self._slotState(slotId)
    if state != SLOT_FREE and state != SLOT_REPAIR:
        raw_revert(method_id("Marketplace_SlotNotFree()"))

    collateral: uint256 = self._collateral(ask)
    self.slots[slotId] = Slot(
        state=SLOT_FILLED,
        requestId=requestId,
        filledAt=self._now(),
        slotIndex=slotIndex,
        currentCollateral=collateral,
        host=msg.sender,
    )
    self.slotStarts[slotId] = self._now()
    self._receive(slotId, proof)

    course: Course = self.courses[requestId]
    course.slotsFilled += 1
    course.returnable -= self._pay(ask, self._now(), course.endsAt)
    self.courses[requestId].slotsFilled = course.slotsFilled
    self.courses[requestId].returnable = course.returnable
    self.slotsOf[msg.sender].append(slotId)
    self.placeOfSlot[slotId] = len(self.slotsOf[msg.sender])

    # Who repairs puts up less than he holds, and so is paid for it when all of it is returned.
    due: uint256 = collateral
    if state == SLOT_REPAIR:
        due -= collateral * convert(REPAIR_REWARD, uint256) // 100
    self._collect(msg.sender, due)
    log SlotFilled(requestId=requestId, slotIndex=slotIndex)

    if course.slotsFilled == ask.slots and course.state == NEW:
        self.courses[requestId].state = STARTED
        log RequestFulfilled(requestId=requestId)


@external
def submitProof(id: bytes32, proof: Groth16Proof):
    """
    @notice Prove in this period that a slot's data is there. Allowed when no proof is asked for, too.
    """
    self._known(self.slots[id].requestId)
    if msg.sender != self.slots[id].host:
        raw_revert(method_id("Marketplace_ProofNotSubmittedByHost()"))
    self._receive(id, proof)


@external
def freeSlot(
    slotId: bytes32, rewardRecipient: address = msg.sender, collateralRecipient: address = msg.sender
):
    """
    @notice Leave a slot: with pay and collateral when its request is finished or cancelled, else without both.
    """
    # Either both recipients are named or none: the form between is nobody's interface.
    assert len(msg.data) != 68
    self._taken(slotId)
    slot: Slot = self.slots[slotId]
    if slot.host != msg.sender:
        raw_revert(method_id("Marketplace_InvalidSlotHost()"))
    state: uint8 = self._slotState(slotId)
    if state == SLOT_PAID:
        raw_revert(method_id("Marketplace_AlreadyPaid()"))

    if state == SLOT_FINISHED or state == SLOT_CANCELLED:
        ask: Ask = self.requests[slot.requestId].ask
        until: uint64 = self.courses[slot.requestId].endsAt
        if state == SLOT_FINISHED:
            self.courses[slot.requestId].state = FINISHED
            self._forgetRequest(self.requests[slot.requestId].client, slot.requestId)
        else:
            until = self.courses[slot.requestId].expiresAt
        self._forgetSlot(slot.host, slotId)
        pay: uint256 = self._pay(ask, slot.filledAt, until)
        self.slots[slotId].state = SLOT_PAID
        self._send(rewardRecipient, pay)
        self._send(collateralRecipient, slot.currentCollateral)
    elif state == SLOT_FAILED:
        self._forgetSlot(slot.host, slotId)
    elif state == SLOT_FILLED:
        self._expel(slotId)


# What a validator does.


@external
def markProofAsMissing(slotId: bytes32, period: uint64):
    """
    @notice Slash the host of a slot for a proof that was asked for and did not come; the sender gets a share.
    """
    self._markable(slotId, period)
    self.missing[slotId][period] = True
    self.missed[slotId] += 1

    ask: Ask = self.requests[self.slots[slotId].requestId].ask
    slashed: uint256 = self._collateral(ask) * convert(SLASH, uint256) // 100
    self.slots[slotId].currentCollateral -= slashed
    if self.missed[slotId] >= convert(MAX_SLASHES, uint64):
        self._expel(slotId)
    self._send(msg.sender, slashed * convert(VALIDATOR_REWARD, uint256) // 100)


# States.


@internal
@view
def _known(requestId: bytes32):
    if self.requests[requestId].client == empty(address):
        raw_revert(method_id("Marketplace_UnknownRequest()"))


@internal
@view
def _taken(slotId: bytes32):
    if self.slots[slotId].state == SLOT_FREE:
        raw_revert(method_id("Marketplace_SlotIsFree()"))


@internal
@view
def _requestState(requestId: bytes32) -> uint8:
    self._known(requestId)
    state: uint8 = self.courses[requestId].state
    if state == NEW and self._now() > self.courses[requestId].expiresAt:
        return CANCELLED
    if (state == NEW or state == STARTED) and self._now() > self.courses[requestId].endsAt:
        return FINISHED
    return state


@internal
@view
def _slotState(slotId: bytes32) -> uint8:
    requestId: bytes32 = self.slots[slotId].requestId
    if requestId == empty(bytes32):
        return SLOT_FREE
    if self.slots[slotId].state == SLOT_PAID:
        return SLOT_PAID
    state: uint8 = self._requestState(requestId)
    if state == CANCELLED:
        return SLOT_CANCELLED
    if state == FINISHED:
        return SLOT_FINISHED
    if state == FAILED:
        return SLOT_FAILED
    return self.slots[slotId].state


@internal
@view
def _canReserve(slotId: bytes32) -> bool:
    state: uint8 = self._slotState(slotId)
    if state != SLOT_FREE and state != SLOT_REPAIR:
        return False
    if len(self.reservations[slotId]) >= convert(MAX_RESERVATIONS, uint256):
        return False
    return msg.sender not in self.reservations[slotId]


@internal
def _expel(slotId: bytes32):
    """
    @notice Make a slot free for somebody who repairs it. Its host loses the collateral and the pay.
    """
    slot: Slot = self.slots[slotId]
    course: Course = self.courses[slot.requestId]
    ask: Ask = self.requests[slot.requestId].ask
    course.returnable += self._pay(ask, slot.filledAt, course.endsAt)
    course.slotsFilled -= 1
    self._forgetSlot(slot.host, slotId)
    self.reservations[slotId] = []
    self.missed[slotId] = 0
    self.slots[slotId] = Slot(
        state=SLOT_REPAIR,
        requestId=slot.requestId,
        filledAt=0,
        slotIndex=slot.slotIndex,
        currentCollateral=0,
        host=empty(address),
    )
    log SlotFreed(requestId=slot.requestId, slotIndex=slot.slotIndex)
    if course.state == STARTED and ask.slots - course.slotsFilled > ask.maxSlotLoss:
        course.state = FAILED
        course.endsAt = self._now() - 1
        log RequestFailed(requestId=slot.requestId)
    self.courses[slot.requestId] = course


@internal
def _forgetRequest(client: address, requestId: bytes32):
    place: uint256 = self.placeOfRequest[requestId]
    if place == 0:
        return
    last: bytes32 = self.requestsOf[client].pop()
    if last != requestId:
        self.requestsOf[client][place - 1] = last
        self.placeOfRequest[last] = place
    self.placeOfRequest[requestId] = 0


@internal
def _forgetSlot(host: address, slotId: bytes32):
    place: uint256 = self.placeOfSlot[slotId]
    if place == 0:
        return
    last: bytes32 = self.slotsOf[host].pop()
    if last != slotId:
        self.slotsOf[host][place - 1] = last
        self.placeOfSlot[last] = place
    self.placeOfSlot[slotId] = 0


# Proofs.


@internal
@view
def _now() -> uint64:
    return convert(block.timestamp, uint64)


@internal
@view
def _period() -> uint64:
    return self._now() // PERIOD


@internal
@view
def _pointer(id: bytes32, period: uint64) -> uint8:
    """
    @notice How many blocks back the challenge lies. It moves with the chain, so that it names one block all period.
    """
    moved: uint256 = convert(period * convert(DOWNTIME_PRODUCT, uint64), uint256)
    return convert((block.number + moved % 256 + convert(id, uint256) % 256) % 256, uint8)


@internal
@view
def _challenge(pointer: uint8) -> bytes32:
    return keccak256(abi_encode(blockhash(block.number - 1 - convert(pointer, uint256))))


@internal
@view
def _probability(slotId: bytes32) -> uint256:
    # In downtime nothing is asked for, so it is asked for more often in the rest.
    ask: Ask = self.requests[self.slots[slotId].requestId].ask
    return ask.proofProbability * (256 - convert(DOWNTIME, uint256)) // 256


@internal
@view
def _requirement(id: bytes32, period: uint64) -> (bool, uint8):
    """
    @notice Whether the period asks for a proof, and the pointer, which says whether it is in downtime.
    """
    if self._slotState(id) != SLOT_FILLED or period <= self.slotStarts[id] // PERIOD:
        return False, 0
    pointer: uint8 = self._pointer(id, period)
    probability: uint256 = self._probability(id)
    if probability == 0:
        return True, pointer
    return convert(self._challenge(pointer), uint256) % probability == 0, pointer


@internal
@view
def _isProofRequired(id: bytes32, period: uint64) -> bool:
    required: bool = False
    pointer: uint8 = 0
    required, pointer = self._requirement(id, period)
    return required and pointer >= DOWNTIME


@internal
def _receive(id: bytes32, proof: Groth16Proof):
    if self.received[id][self._period()]:
        raw_revert(method_id("Proofs_ProofAlreadySubmitted()"))
    challenge: bytes32 = self._challenge(self._pointer(id, self._period()))
    # 31 bytes of it, so that the number fits the field.
    entropy: uint256 = self._littleEndian(challenge) & (2**248 - 1)
    root: uint256 = self._littleEndian(self.requests[self.slots[id].requestId].content.merkleRoot)
    index: uint256 = convert(self.slots[id].slotIndex, uint256)
    if not staticcall VERIFIER.verify(proof, [entropy, root, index]):
        raw_revert(method_id("Proofs_InvalidProof()"))
    self.received[id][self._period()] = True
    log ProofSubmitted(id=id)


@internal
@view
def _markable(slotId: bytes32, period: uint64):
    if self._slotState(slotId) != SLOT_FILLED:
        raw_revert(method_id("Marketplace_SlotNotAcceptingProofs()"))
    end: uint64 = (period + 1) * PERIOD
    if end >= self._now():
        raw_revert(method_id("Proofs_PeriodNotEnded()"))
    if block.timestamp >= convert(end, uint256) + convert(TIMEOUT, uint256):
        raw_revert(method_id("Proofs_ValidationTimedOut()"))
    if self.received[slotId][period]:
        raw_revert(method_id("Proofs_ProofNotMissing()"))
    if not self._isProofRequired(slotId, period):
        raw_revert(method_id("Proofs_ProofNotRequired()"))
    if self.missing[slotId][period]:
        raw_revert(method_id("Proofs_ProofAlreadyMarkedMissing()"))


@internal
@pure
def _littleEndian(word: bytes32) -> uint256:
    """
    @notice The number whose bytes, lowest first, are `word`: all bytes change places, in five rounds of halves.
    """
    number: uint256 = convert(word, uint256)
    for halving: uint256 in range(5):
        width: uint256 = 8 << halving
        # Ones in every second field of `width` bits.
        mask: uint256 = max_value(uint256) // ((1 << width) + 1)
        number = ((number >> width) & mask) | ((number & mask) << width)
    return number


# Amounts, in units of the token.


@internal
@pure
def _slotId(requestId: bytes32, slotIndex: uint64) -> bytes32:
    return keccak256(abi_encode(requestId, slotIndex))


@internal
@pure
def _collateral(ask: Ask) -> uint256:
    return ask.collateralPerByte * convert(ask.slotSize, uint256)


@internal
@pure
def _price(ask: Ask) -> uint256:
    seconds: uint256 = convert(ask.slots * ask.duration, uint256)
    return seconds * (ask.pricePerBytePerSecond * convert(ask.slotSize, uint256))


@internal
@pure
def _pay(ask: Ask, start: uint64, end: uint64) -> uint256:
    if start >= end:
        raw_revert(method_id("Marketplace_StartNotBeforeExpiry()"))
    return convert(end - start, uint256) * (ask.pricePerBytePerSecond * convert(ask.slotSize, uint256))


@internal
def _collect(owner: address, amount: uint256):
    if not extcall TOKEN.transferFrom(owner, self, amount):
        raw_revert(method_id("Marketplace_TransferFailed()"))


@internal
def _send(recipient: address, amount: uint256):
    if not extcall TOKEN.transfer(recipient, amount):
        raw_revert(method_id("Marketplace_TransferFailed()"))
