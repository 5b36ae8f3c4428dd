// The published JavaScript client buys and sells: `node js_market.mjs ALICE BOB CAROL CHAIN`. Alice buys from bob
// and carol; CHAIN is the JSON-RPC of the development chain that all three are on.
//
// What the client has no call for is asked for by plain HTTP, and said to be. One check follows from the other:
// the first that fails ends it with 1.

import assert from "node:assert/strict";

import { Codex } from "@codex-storage/sdk-js";
import { NodeUploadStrategy } from "@codex-storage/sdk-js/node";

const [ALICE, BOB, CAROL, CHAIN] = process.argv.slice(2);
const alice = new Codex(ALICE);
const hosts = { [BOB]: new Codex(BOB), [CAROL]: new Codex(CAROL) };
const sellers = Object.entries(hosts).map(([url, { marketplace }]) => [url, marketplace]);

const DAY = 24 * 3600;
const ABSENT = "0x" + "ab".repeat(32);
const CONTENT = Buffer.concat(Array.from({ length: 16 }, (_, i) => Buffer.alloc(65536, `block ${i}.`))); // 1 MiB
const OFFER = {
  // For two of the three slots, so that each host has one at least; and a little more, as the client leaves out
  // a freeSize that is 0.
  totalSize: 1.125 * 2 ** 20,
  duration: DAY,
  minPricePerBytePerSecond: 1,
  totalCollateral: 100_000_000,
};
const TERMS = {
  duration: 3600,
  pricePerBytePerSecond: 3,
  proofProbability: 3,
  nodes: 3,
  tolerance: 1,
  collateralPerByte: 2,
  expiry: 900,
};
const PATIENCE = 90_000; // ms until the contract has come to where it is waited for
const PREFIX = "/api/codex/v1";
const BY_HTTP = "by plain HTTP: the client has no call for it";

const offers = {}; // what is offered, by the host's URL
const held = {}; // slots, by the host's URL
let purchase; // the id, with 0x

/** What a call answered; its refusal is a failure here. */
async function answered(call) {
  const { error, data } = await call;
  assert.equal(error, false, error && `${data.code} ${data.message}`);
  return data;
}

/** Checks that a call is refused with that status and words. */
async function refused(code, text, call) {
  const { error, data } = await call;
  assert.equal(error, true, "answered instead of refused");
  assert.equal(data.code, code, data.message);
  assert.ok(data.message.includes(text), data.message);
}

/** Asks again and again: of other processes no event tells. */
async function wait(what, reached) {
  const end = Date.now() + PATIENCE;
  while (!(await reached())) {
    assert.ok(Date.now() < end, `after ${PATIENCE / 1000} s it is not so that ${what}`);
    await new Promise((later) => setTimeout(later, 200));
  }
}

/** What a call answers that the client does not have. */
async function plain(method, url, body) {
  const reply = await fetch(url, { method, body: body && JSON.stringify(body) });
  const text = await reply.text();
  assert.ok(reply.ok, `${reply.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

const upload = (body) => answered(alice.data.upload(new NodeUploadStrategy(body)).result);
const detail = () => answered(alice.marketplace.purchaseDetail(purchase));
const indices = (slots) => slots.map((slot) => slot.slotIndex).sort();
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

const checks = {
  async "room is offered"() {
    for (const [url, host] of sellers) {
      assert.deepEqual(await answered(host.availabilities()), []);
      const made = await answered(host.createAvailability(OFFER));
      assert.match(made.id, /^0x[0-9a-f]{64}$/);
      assert.deepEqual(made, {
        id: made.id,
        totalSize: OFFER.totalSize,
        freeSize: OFFER.totalSize,
        duration: DAY,
        minPricePerBytePerSecond: 1n,
        totalCollateral: 100_000_000n,
        totalRemainingCollateral: 100_000_000n,
        enabled: true,
        until: 0,
      });
      assert.deepEqual(await answered(host.availabilities()), [made]);
      assert.deepEqual(await answered(host.reservations(made.id)), []);
      offers[url] = made;
    }
  },

  async "an offer is changed, a field at a time"() {
    const { marketplace } = hosts[BOB];
    const { id } = offers[BOB];
    const changes = [{ totalSize: 1.25 * 2 ** 20 }, { minPricePerBytePerSecond: 2n }, { duration: 2 * DAY }];
    for (const change of [...changes, { totalCollateral: 200_000_000n }, { enabled: false }, { enabled: true }]) {
      assert.equal(await answered(marketplace.updateAvailability({ id, ...change })), "");
      const [changed] = await answered(marketplace.availabilities());
      for (const [key, value] of Object.entries(change)) assert.equal(changed[key], value);
    }
    [offers[BOB]] = await answered(marketplace.availabilities());
    assert.equal(offers[BOB].freeSize, 1.25 * 2 ** 20);
    assert.equal(offers[BOB].totalRemainingCollateral, 200_000_000n);
  },

  async "offers that are none"() {
    const { marketplace } = hosts[BOB];
    const offer = (other) => marketplace.createAvailability({ ...OFFER, ...other });
    await refused(422, "minPricePerBytePerSecond must be larger", offer({ minPricePerBytePerSecond: 0 }));
    await refused(422, "totalCollateral must be larger then zero", offer({ totalCollateral: 0 }));
    await refused(422, "Not enough storage quota", offer({ totalSize: 2 ** 50 }));
    await refused(404, "Availability not found", marketplace.updateAvailability({ id: ABSENT, duration: 1 }));
    await refused(404, "Availability not found", marketplace.reservations(ABSENT));
  },

  async "requests that are none"() {
    const cid = await upload(CONTENT);
    const ask = (other) => alice.marketplace.createStorageRequest({ cid, ...TERMS, ...other });
    await refused(400, "Incorrect Cid", ask({ cid: "no-cid" }));
    await refused(422, "Expiry must be greater than zero and less than", ask({ expiry: TERMS.duration }));
    await refused(422, "Duration exceeds limit of 2592000 seconds", ask({ duration: 31 * DAY }));
    await refused(422, "`tolerance` cannot be greater than `nodes`", ask({ tolerance: 4 }));
    await refused(422, "parameters must satify `1 < (nodes - tolerance) ≥ tolerance`", ask({ tolerance: 2 }));
    // What the client fills in by itself is no request.
    await refused(422, "parameters must satify", ask({ nodes: undefined, tolerance: undefined }));
    await refused(422, "Dataset too small for erasure parameters", ask({ cid: await upload("little") }));
    assert.deepEqual(await answered(alice.marketplace.purchaseIds()), []);
    await refused(404, "", alice.marketplace.purchaseDetail(ABSENT));
  },

  async "storage is requested"() {
    const cid = await upload(CONTENT);
    const id = await answered(alice.marketplace.createStorageRequest({ cid, ...TERMS }));
    assert.match(id, /^[0-9a-f]{64}$/);
    purchase = `0x${id}`;
    assert.deepEqual(await answered(alice.marketplace.purchaseIds()), [purchase]);
    const { requestId, state, request } = await answered(alice.marketplace.purchaseDetail(id));
    assert.equal(requestId, purchase);
    assert.ok(["pending", "submitted", "started"].includes(state), state);
    assert.equal(request.id, purchase);
    assert.equal(request.expiry, TERMS.expiry);
    assert.ok(request.ask.slotSize * 2 >= CONTENT.length);
    assert.deepEqual(request.ask, {
      proofProbability: 3,
      pricePerBytePerSecond: 3,
      collateralPerByte: "2",
      slots: 3,
      slotSize: request.ask.slotSize,
      duration: TERMS.duration,
      maxSlotLoss: 1,
    });
    // What is stored is the protected form of what was uploaded.
    const { content } = await answered(alice.data.cids());
    assert.ok(content.find((item) => item.cid === request.content.cid).manifest.protected);
  },

  async "the contract starts"() {
    await wait("the purchase is started", async () => (await detail()).state === "started");
    const listed = await answered(alice.marketplace.purchases());
    assert.deepEqual(listed, [await detail()]);
  },

  async "slots are held"() {
    for (const [url, host] of sellers) {
      const reserved = async () => indices(await answered(host.reservations(offers[url].id)));
      const proving = async ({ id }) => (await answered(host.activeSlot(id))).state === "SaleProving";
      held[url] = await answered(host.activeSlots());
      assert.notDeepEqual(held[url], []);
      // The chain may tell alice before a host, whose sale then has still to note it; and what a host had set
      // aside for a slot that the other was quicker to fill comes back a moment later.
      for (const slot of held[url]) await wait("the slot is proved", () => proving(slot));
      await wait("only what is held is set aside", async () => (await reserved()).length <= held[url].length);
      for (const slot of held[url]) {
        assert.equal(slot.request.id, purchase);
        const agent = await answered(host.activeSlot(slot.id));
        assert.deepEqual([agent.requestId, agent.slotIndex], [purchase, slot.slotIndex]);
        assert.deepEqual(agent.request, slot.request);
        assert.equal(agent.reservation.availabilityId, offers[url].id);
      }
      assert.deepEqual(await reserved(), indices(held[url]));
      const [offer] = await answered(host.availabilities());
      const taken = sum(held[url].map((slot) => slot.request.ask.slotSize));
      assert.equal(offer.freeSize, offer.totalSize - taken);
      assert.equal(offer.totalRemainingCollateral, offer.totalCollateral - 2n * BigInt(taken));
    }
    const slots = Object.values(held).flat();
    assert.deepEqual(indices(slots), [0, 1, 2]);
    assert.deepEqual(await answered(alice.marketplace.activeSlots()), []);
  },

  async "decisions and balances"() {
    for (const [url, slots] of Object.entries(held)) {
      for (const { id } of slots) {
        const { decisions } = await plain("GET", `${url}${PREFIX}/sales/decisions?slot=${id}`);
        const verdicts = decisions.map((decision) => decision.verdict);
        assert.ok(verdicts.includes("taken") && verdicts.includes("filled"), verdicts.join());
      }
    }
    const { tokens } = await plain("GET", `${ALICE}${PREFIX}/market/balances`);
    const { slotSize } = (await detail()).request.ask;
    assert.equal(BigInt(tokens), 10n ** 24n - 3n * BigInt(slotSize) * 3n * 3600n);
    return BY_HTTP;
  },

  async "the contract finishes"() {
    // The chain is one for development: nobody has to wait.
    const leap = { jsonrpc: "2.0", id: 1, method: "evm_increaseTime", params: [TERMS.duration] };
    await plain("POST", CHAIN, leap);
    await wait("the purchase is finished", async () => (await detail()).state === "finished");
    assert.equal((await detail()).error, undefined);
  },

  async "what was set aside is free again"() {
    for (const [url, host] of sellers) {
      await wait("slots are given back", async () => (await answered(host.activeSlots())).length === 0);
      for (const { id } of held[url]) {
        await wait("the sale is over", async () => (await host.activeSlot(id)).error);
        await refused(404, "Provider not filling slot", host.activeSlot(id));
      }
      assert.deepEqual(await answered(host.availabilities()), [offers[url]]);
      assert.deepEqual(await answered(host.reservations(offers[url].id)), []);
      assert.deepEqual(await answered(hosts[url].data.cids()), { content: [] });
    }
  },

  async "what is remembered"() {
    assert.deepEqual(await answered(alice.marketplace.purchaseIds()), [purchase]);
    const history = async () => (await plain("GET", `${ALICE}${PREFIX}/storage/history`)).purchases;
    await wait("what was left has come back", async () => (await history())[0].withdrawn);
    const [{ requestId, state }] = await history();
    assert.deepEqual([requestId, state], [purchase, "finished"]);
    for (const [url, host] of sellers) {
      const { slots } = await plain("GET", `${url}${PREFIX}/sales/history`);
      const told = slots.map((slot) => [slot.slotIndex, slot.verdict]).sort();
      assert.deepEqual(told, held[url].map((slot) => [slot.slotIndex, "finished"]).sort());
      await plain("DELETE", `${url}${PREFIX}/sales/availability/${offers[url].id}`);
      assert.deepEqual(await answered(host.availabilities()), []);
    }
    return BY_HTTP;
  },
};

for (const [name, check] of Object.entries(checks)) {
  try {
    const how = await check();
    console.log(`passed  ${name}${how ? ` (${how})` : ""}`);
  } catch (error) {
    console.log(`failed  ${name}\n${error.stack}`);
    process.exitCode = 1;
    break;
  }
}
