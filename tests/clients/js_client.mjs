// The published JavaScript client, through every call: `node js_client.mjs URL OTHER`. The second node knows the
// first one.
//
// Runs where the client is installed, see run.py; ends with 1 when a check fails.

import assert from "node:assert/strict";
import { Readable } from "node:stream";

import { Codex } from "@codex-storage/sdk-js";
import { NodeUploadStrategy } from "@codex-storage/sdk-js/node";

const codex = new Codex(process.argv[2]);
const { data, node, debug, marketplace } = codex;
const other = new Codex(process.argv[3]);

const CONTENT = "some file contents";
const TREE = "zDzSvJTezk7bJNQqFq8k1iHXY84psNuUfZVusA5bBQQUSuyzDSVL"; // of CONTENT, on every node of the network
const ABSENT = "zDvZRwzkzHsok3Z8yMoiXE9EDBFwgr8WygB8s4ddcLzzSwwXAxLZ";
const LARGE = Buffer.concat(Array.from({ length: 80 }, (_, i) => Buffer.alloc(65536, `block ${i}.`))); // 5 MiB
const ID = "0x" + "ab".repeat(32);
const STRANGER = "16Uiu2HAmQ5pNKSbGCPJg8RnXQ2tEjPcEUdS6zcjkKnMZbcU2ebVK";

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

const upload = (body, metadata) => answered(data.upload(new NodeUploadStrategy(body, metadata)).result);
const bytes = async (response) => Buffer.from(await response.arrayBuffer());

const checks = {
  async "upload and download"() {
    const cid = await upload(CONTENT, { filename: "hello.txt", mimetype: "text/plain" });
    assert.match(cid, /^zDv\w{49}$/);
    for (const response of [
      await answered(data.localDownload(cid)),
      await answered(data.networkDownloadStream(cid)),
    ]) {
      assert.equal(response.headers.get("content-type"), "text/plain");
      assert.equal(response.headers.get("content-disposition"), 'attachment; filename="hello.txt"');
      assert.equal(response.headers.get("content-length"), String(CONTENT.length));
      assert.equal(await response.text(), CONTENT);
    }
    const manifest = {
      treeCid: TREE,
      datasetSize: CONTENT.length,
      blockSize: 65536,
      filename: "hello.txt",
      mimetype: "text/plain",
      protected: false,
    };
    const { content } = await answered(data.cids());
    assert.deepEqual(content.filter((item) => item.cid === cid), [{ cid, manifest }]);
    assert.deepEqual(await answered(data.networkDownload(cid)), { cid, manifest });
    assert.deepEqual(await answered(data.fetchManifest(cid)), { cid, manifest });
  },

  async "bodies of every kind"() {
    const bare = await upload(LARGE);
    assert.equal(await upload(Readable.from([LARGE.subarray(0, 70000), LARGE.subarray(70000)])), bare);
    assert.equal(await upload(new Uint8Array(LARGE)), bare);
    assert.deepEqual(await bytes(await answered(data.networkDownloadStream(bare))), LARGE);
    assert.deepEqual(await bytes(await answered(data.localDownload(bare))), LARGE);
    const { manifest } = await answered(data.fetchManifest(bare));
    assert.deepEqual([manifest.filename, manifest.mimetype], [null, null]);
    const typed = await upload(CONTENT, { mimetype: "text/plain; charset=utf-8" });
    const { headers } = await answered(data.localDownload(typed));
    assert.equal(headers.get("content-type"), "text/plain; charset=utf-8");
  },

  async "space and delete"() {
    const before = await answered(data.space());
    const cid = await upload("to be deleted");
    const during = await answered(data.space());
    assert.equal(during.totalBlocks, before.totalBlocks + 2);
    assert.ok(during.quotaUsedBytes > before.quotaUsedBytes + 65536);
    assert.equal(await answered(data.delete(cid)), "");
    assert.equal(await answered(data.delete(cid)), "");
    assert.deepEqual(await answered(data.space()), before);
    await refused(404, "could not be retrieved", data.localDownload(cid));
  },

  async "an upload that is aborted"() {
    const before = await answered(data.space());
    let begun;
    const sending = new Promise((resolve) => (begun = resolve));
    async function* endless() {
      for (;;) {
        yield LARGE;
        begun();
      }
    }
    const { result, abort } = data.upload(new NodeUploadStrategy(Readable.from(endless())));
    await sending;
    abort();
    await assert.rejects(result, { name: "AbortError" });
    // The node hears of it a moment later.
    let after;
    for (const start = Date.now(); Date.now() - start < 10000; ) {
      after = await answered(data.space());
      if (after.quotaUsedBytes === before.quotaUsedBytes) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.deepEqual(after, before);
  },

  async "a download that is abandoned"() {
    const cid = await upload(LARGE);
    const response = await answered(data.networkDownloadStream(cid));
    const reader = response.body.getReader();
    await reader.read();
    await reader.cancel();
    assert.deepEqual(await bytes(await answered(data.localDownload(cid))), LARGE);
  },

  async "what is not there, and what is no CID"() {
    await refused(404, "could not be retrieved", data.localDownload(ABSENT));
    for (const call of ["localDownload", "networkDownload", "networkDownloadStream", "fetchManifest", "delete"]) {
      await refused(400, "Incorrect Cid", data[call]("no-cid"));
    }
  },

  async "what is no upload"() {
    const send = (body, metadata) => data.upload(new NodeUploadStrategy(body, metadata)).result;
    await refused(422, "The MIME type 'made/up' is not valid.", send("x", { mimetype: "made/up" }));
    await refused(422, "The filename is not valid.", send("x", { filename: "a|b" }));
    await refused(500, "Request do not have body available", send(""));
  },

  async "names of the node"() {
    const info = await answered(debug.info());
    assert.match(info.id, /^16Uiu2HA/);
    assert.match(info.spr, /^spr:/);
    assert.deepEqual(await answered(node.spr()), { spr: info.spr });
    assert.ok((await answered(node.spr("text"))).includes(info.spr));
    assert.deepEqual(await answered(node.peerId()), { id: info.id });
    assert.ok((await answered(node.peerId("text"))).includes(info.id));
    assert.equal(info.table.localNode.peerId, info.id);
    assert.ok(info.table.nodes.every((known) => known.peerId !== info.id && known.address));
    assert.ok(info.codex.version && info.codex.revision);
  },

  async "peers that are none"() {
    await refused(400, "incorrect PeerId string", node.connect("nobody"));
    await refused(400, "Unable to", node.connect(STRANGER, ["/ip4/127.0.0.1/tcp/1"]));
    await refused(400, "Unable to", node.connect(STRANGER));
  },

  async "what one has the other gets"() {
    const cid = await upload("what only one of them has", { filename: "mine.txt", mimetype: "text/plain" });
    const item = await answered(other.data.fetchManifest(cid));
    assert.equal(item.manifest.filename, "mine.txt");
    const stream = await bytes(await answered(other.data.networkDownloadStream(cid)));
    assert.equal(stream.toString(), "what only one of them has");
    assert.deepEqual(await bytes(await answered(other.data.localDownload(cid))), stream);
  },

  async "what one has the other fetches in the background"() {
    const cid = await upload(LARGE.subarray(65536));
    const { quotaUsedBytes } = await answered(other.data.space());
    const item = await answered(other.data.networkDownload(cid));
    assert.equal(item.manifest.datasetSize, LARGE.length - 65536);
    for (let looks = 0; looks < 600; looks += 1) {
      const now = await answered(other.data.space());
      if (now.quotaUsedBytes >= quotaUsedBytes + LARGE.length - 65536) break;
      await new Promise((later) => setTimeout(later, 50));
    }
    assert.deepEqual(await bytes(await answered(other.data.localDownload(cid))), LARGE.subarray(65536));
  },

  async "connecting"() {
    const info = await answered(debug.info());
    const said = await answered(other.node.connect(info.id, info.announceAddresses));
    assert.equal(said, "Successfully connected to peer");
    const there = await answered(other.debug.info());
    assert.ok(there.table.nodes.some((known) => known.peerId === info.id));
  },

  async "log levels"() {
    for (const level of ["TRACE", "DEBUG", "NOTICE", "WARN", "ERROR", "FATAL", "INFO"]) {
      assert.equal(await answered(debug.setLogLevel(level)), "");
    }
  },

  async "a node without a marketplace"() {
    const offer = { totalSize: 1 << 20, duration: 3600, minPricePerBytePerSecond: 1000, totalCollateral: 1000 };
    const terms = {
      cid: ABSENT,
      duration: 3600,
      pricePerBytePerSecond: 1000,
      proofProbability: 3,
      nodes: 3,
      tolerance: 1,
      expiry: 600,
      collateralPerByte: 1,
    };
    for (const call of [
      marketplace.activeSlots(),
      marketplace.activeSlot(ID),
      marketplace.availabilities(),
      marketplace.createAvailability(offer),
      marketplace.updateAvailability({ id: ID, ...offer }),
      marketplace.reservations(ID),
      marketplace.purchaseIds(),
      marketplace.purchases(),
      marketplace.purchaseDetail(ID),
      marketplace.createStorageRequest(terms),
    ]) {
      await refused(503, "Persistence is not enabled", call);
    }
  },
};

for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    console.log(`passed  ${name}`);
  } catch (error) {
    console.log(`failed  ${name}\n${error.stack}`);
    process.exitCode = 1;
  }
}
