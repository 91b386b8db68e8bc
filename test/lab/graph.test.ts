import { strict as assert } from "node:assert";
import { join } from "node:path";
import { Fault, SystemClock, withDeadline } from "#core";
import type { FlowReport } from "../../bench/flow-part.ts";
import { type Child, Graph } from "../../bench/lab/index.ts";
import { skipWithoutLab } from "./skip-without.ts";

const clock = new SystemClock();
const FLOW = join(import.meta.dirname, "..", "..", "bench", "flow-part.ts");
const PATIENCE_MS = 20_000;
const DELAY_MS = 25;

describe("a graph of links", function () {
  this.timeout(60_000);
  let graph: Graph;

  before(async function () {
    await skipWithoutLab(this);
    const links = ["ab", "bc"].map(([a = "", b = ""]) => ({ a, b, delayMs: DELAY_MS }));
    graph = await Graph.make(clock, ["a", "b", "c"], links);
  });
  after(() => graph?.[Symbol.asyncDispose]());

  it("leads from a node to its neighbours, and no further", async () => {
    const [ofC] = graph.devicesOf("c");
    assert.match(await graph.run("b", ["ip", "route", "get", ofC?.address ?? ""], PATIENCE_MS), /dev link1/u);
    await assert.rejects(graph.run("a", ["ip", "route", "get", ofC?.address ?? ""], PATIENCE_MS), Fault);
  });

  it("lets everybody meet until they part", async () => {
    await graph.meet();
    assert.match(await graph.run("a", ["ip", "route", "get", "10.66.0.3"], PATIENCE_MS), /dev meet0/u);
    await graph.part();
    await assert.rejects(graph.run("a", ["ip", "route", "get", "10.66.0.3"], PATIENCE_MS), Fault);
  });

  for (const fault of ["silent", "down", "reset"] as const) {
    it(`has a link that breaks (${fault}) and is mended, while the others go on`, async () => {
      const [near, far] = [await flow(graph, "b", "a"), await flow(graph, "b", "c")];
      await graph.break("a", "b", fault);
      await until("nothing to come", async () => (await take(near)).messages === 0);
      assert.ok((await take(far)).gapMs < 1_000);
      await graph.mend("a", "b", fault);
      await until("messages to come again", async () => (await take(near)).messages > 0);
    });
  }
});

let ports = 9_000;

/** Messages from one node to its neighbour; the process that reads them. */
async function flow(graph: Graph, from: string, to: string): Promise<Child> {
  ports += 1;
  const address = graph.devicesOf(to)[0]?.address ?? "";
  graph.start(from, [process.execPath, FLOW, "send-udp", address, String(ports)]);
  const reader = graph.start(to, [process.execPath, FLOW, "read-udp", String(ports)]);
  await reader.line("the first message", PATIENCE_MS, (line) => line === "ready");
  return reader;
}

async function take(reader: Child): Promise<FlowReport> {
  const line = reader.line("what came", PATIENCE_MS, (text) => text.startsWith("{"));
  reader.send("report");
  return JSON.parse(await line) as FlowReport;
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  await withDeadline(clock, PATIENCE_MS, what, async (signal) => {
    while (!(await holds())) await clock.sleep(50, signal);
  });
}
