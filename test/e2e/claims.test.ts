import assert from "node:assert/strict";
import { Yard, type YardNode } from "../support/yard.ts";

const HEADER = "serial,model,key,tenant,labels,expires";
const ROWS = 25_000;
/** One document takes 10,000 rows. */
const LISTS = ["line", "line.2", "line.3"];

describe("a long list of claims, through a real daemon", function () {
  this.timeout(90_000);
  let yard: Yard;
  let hub: YardNode;

  before(async () => {
    yard = new Yard();
    hub = await yard.demoFleet();
  });
  after(() => yard[Symbol.asyncDispose]());

  const write = (count: number, ...more: string[]): string => {
    const rows = Array.from({ length: count }, (_, i) => `SN-${String(i).padStart(5, "0")},Eye 3,,,rack=r${i % 40},`);
    return yard.write("line.csv", `${[HEADER, ...rows, ...more].join("\n")}\n`);
  };

  async function lists(): Promise<{ name: string; version: number; rows: number }[]> {
    const found = await Promise.all(
      LISTS.map((name) => hub.look(() => hub.client.call("documents.get", { name: `ClaimList/${name}` }))),
    );
    return found.flatMap((document) => {
      if (document === undefined) return [];
      const { rows } = document.body["spec"] as { rows: unknown[] };
      return [{ name: document.documentName, version: document.version, rows: rows.length }];
    });
  }

  it("signs nothing of a file with a mistake in its last line", async () => {
    const said = await hub.fails(2, "admit", "-f", write(ROWS, "SN-00007,,,,,"));
    assert.match(said, /line 25002, column serial: serial SN-00007 stands in line 9 already/u);
    assert.deepEqual(await lists(), []);
  });

  it("makes as many documents of it as it takes, and leaves alone what is there when it is run again", async () => {
    const file = write(ROWS);
    const startMs = yard.clock.nowMs();
    const { code, err } = await hub.run("admit", "-f", file);
    console.log(`      ${ROWS} rows admitted in ${Math.round(yard.clock.nowMs() - startMs)} ms`);
    assert.equal(code, 0, err);
    assert.match(err, /10000 of 25000 devices\n[^]*20000 of 25000 devices\n[^]*25000 of 25000 devices\n/u);
    const full = [
      { name: "line", version: 1, rows: 10_000 },
      { name: "line.2", version: 1, rows: 10_000 },
      { name: "line.3", version: 1, rows: 5_000 },
    ];
    assert.deepEqual(await lists(), full);

    await hub.ok("delete", "claims", "line.2"); // as if it had been stopped there
    const again = await hub.run("admit", "-f", file);
    assert.match(
      again.err,
      /line: there already\n[^]*ClaimList\/default\/line\.2: version 2 accepted[^]*line\.3: there already/u,
    );
    const shorter = await hub.run("admit", "-f", write(10_000));
    assert.match(shorter.err, /warning: list line\.2, of a longer file, still admits devices/u);
  });

  it("lets a device of its last line in at once", async () => {
    const cam = yard.node("cam");
    await cam.up("--token", await hub.ok("token"), "--serial", "SN-24999", "--site", "berlin");
    await cam.until("member");
    assert.deepEqual((await hub.untilSees("SN-24999", "connected")).labels, { rack: "r39" });
  });
});
