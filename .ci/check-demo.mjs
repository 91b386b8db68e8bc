// node .ci/check-demo.mjs FILE < JSON: judges the demo's own result from outside: its members, its copies by their hash, its
// links by their counters. Run by .ci/run with any Node.js; exit 0 if it holds.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { text } from "node:stream/consumers";

const file = readFileSync(process.argv[2]);
const sha256 = createHash("sha256").update(file).digest("hex");
const printed = await text(process.stdin);
process.stdout.write(printed);
const result = JSON.parse(printed);

const MEMBERS = ["ok", "nodes", "sites", "file", "copies", "refused", "links", "seconds", "boundSeconds", "plug"];
assert.deepEqual(Object.keys(result), MEMBERS);
assert.equal(result.ok, true);
assert.deepEqual(result.file, { bytes: file.length, sha256 });
assert.equal(result.copies.length, result.nodes - 1);
assert.equal(new Set(result.copies.map(({ pid }) => pid)).size, result.copies.length, "a process for each node");
assert.equal(new Set(result.copies.map(({ site }) => site)).size, result.sites);
// What a node had when it was killed need not come again, but for what it had not written down; it is asked a few times a second.
const had = new Map(result.plug?.killed.map(({ node, hadBytes }) => [node, hadBytes]));
const LOST_BYTES = 64 * 1024 * 1024;
for (const copy of result.copies) {
  assert.equal(copy.sha256, sha256, copy.node);
  assert.ok(Date.parse(copy.startedAt) <= Date.parse(copy.finishedAt), copy.node);
  const counted = copy.bytesFromSite + copy.bytesFromWan; // of one that was killed, since it runs again
  const kept = had.get(copy.node);
  const isWhole = kept === undefined || (kept >= file.length && counted > LOST_BYTES); // its counts are kept with a whole copy
  if (isWhole) assert.ok(counted >= file.length, copy.node);
  else assert.ok(Math.abs(counted + kept - file.length) <= LOST_BYTES, `${copy.node}: ${kept}, then ${counted}`);
}
assert.equal(result.refused.length, 1);
assert.match(result.refused[0].code, /^[a-z]+\.[a-z-]+$/u);
assert.equal(result.links.length, result.sites);
for (const { site, bytesIn } of result.links.slice(1)) assert.ok(bytesIn >= file.length, site);
const sum = (key) => result.links.reduce((total, link) => total + link[key], 0);
// What leaves one link enters another, but for what a full queue between them drops; the last of it may be under way.
const [bytesIn, bytesOut] = [sum("bytesIn"), sum("bytesOut")];
assert.ok(bytesIn - bytesOut < 1_000_000 && bytesOut - bytesIn < 0.02 * bytesOut, `${bytesIn} in, ${bytesOut} out`);
if (result.nodes / result.sites >= 3 && result.sites >= 3) {
  const { session, killed, via, leader } = result.plug;
  assert.ok(session.equal && session.bytes > 0, "the download went on, byte by byte the same");
  assert.ok(killed.length >= 2 && killed.some(({ node }) => node === via.before), JSON.stringify(killed));
  assert.ok(via.after !== via.before && leader.after !== "", JSON.stringify(via));
  for (const { site, bytesIn } of result.links.slice(1))
    assert.ok(bytesIn <= 1.35 * file.length, `${site}: ${bytesIn}`);
}
assert.ok(result.seconds > 0 && result.boundSeconds > 0);
console.log(`the demo holds: ${(result.seconds / result.boundSeconds).toFixed(2)} × the bound`);
