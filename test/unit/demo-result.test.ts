import assert from "node:assert/strict";
import { VirtualClock } from "#core";
import type { LinkStats } from "../../demo/link-contract.ts";
import { planFleet } from "../../demo/plan.ts";
import { renderReport } from "../../demo/report.ts";
import { type CopyRecord, type Evidence, judgeRun } from "../../demo/result.ts";
import { View } from "../../demo/view.ts";

const BYTES = 125_000_000;
const RATE_BPS = 100_000_000;

function copy(node: string, changes: Partial<CopyRecord> = {}): CopyRecord {
  return {
    node,
    site: "pisa",
    pid: 1,
    path: `/copies/${node}`,
    sha256: "aa",
    startedAt: "2026-11-21T12:00:00.500Z",
    finishedAt: "2026-11-21T12:00:12.000Z",
    bytesFromSite: 0,
    bytesFromWan: BYTES,
    ...changes,
  };
}

function link(site: number, bytesIn: number): LinkStats {
  return { site, rateBps: RATE_BPS, delayMs: 20, bytesIn, bytesOut: BYTES, connections: [] };
}

/** A run of three nodes in two sites in which all held. */
function evidence(changes: Partial<Evidence> = {}): Evidence {
  return {
    nodes: 3,
    sites: planFleet(3, 2).sites,
    file: { bytes: BYTES, sha256: "aa" },
    copies: [copy("pisa-1"), copy("pisa-2", { startedAt: "2026-11-21T12:00:00.000Z" })],
    refused: [{ node: "pisa-stranger", code: "identity.unclaimed" }],
    links: [link(1, 1_000), link(2, BYTES + 50_000)],
    bypasses: [],
    ...changes,
  };
}

describe("result of a demo run", () => {
  it("has exactly the members that scripts rely on", () => {
    const { result, problems } = judgeRun(evidence());
    assert.deepEqual(problems, []);
    assert.equal(Object.keys(result).join(), "ok,nodes,sites,file,copies,refused,links,seconds,boundSeconds");
    assert.deepEqual(result.links[1], {
      site: "pisa",
      rateBps: RATE_BPS,
      delayMs: 20,
      bytesIn: BYTES + 50_000,
      bytesOut: BYTES,
    });
  });

  it("takes the time from the first node's start to the last one's end", () => {
    const { result } = judgeRun(evidence());
    assert.deepEqual([result.seconds, result.boundSeconds], [12, 10]);
  });

  const bad: [string, Partial<Evidence>, RegExp][] = [
    ["a copy has another hash", { copies: [copy("pisa-1"), copy("pisa-2", { sha256: "ab" })] }, /copy of pisa-2/u],
    ["a copy is missing", { copies: [copy("pisa-1")] }, /1 copies, but 2/u],
    ["nobody was refused", { refused: [] }, /0 nodes were refused/u],
    [
      "a claimed node was refused too",
      {
        refused: [
          { node: "a", code: "x" },
          { node: "b", code: "x" },
        ],
      },
      /2 nodes were refused/u,
    ],
    ["a site got the file past its link", { links: [link(1, 0), link(2, BYTES - 1)] }, /through the link of pisa/u],
    [
      "a connection goes round the links",
      { bypasses: [{ site: 1, peerSite: 2, local: "127.0.0.1:1", remote: "127.2.0.11:2" }] },
      /127\.0\.0\.1:1 to 127\.2\.0\.11:2/u,
    ],
  ];
  for (const [what, changes, problem] of bad) {
    it(`is not ok when ${what}`, () => {
      const { result, problems } = judgeRun(evidence(changes));
      assert.equal(result.ok, false);
      assert.match(problems.join("\n"), problem);
      assert.match(renderReport(result, [], problems), /PROBLEM: .*[\s\S]*Not everything held/u);
    });
  }
});

describe("live view", () => {
  const local = {
    node: "a",
    site: "s",
    state: "transferring",
    wanted: true,
    bytes: 30,
    bytesFromSite: 10,
    bytesFromWan: 20,
  } as const;
  const progress = [
    { node: "pisa-1", detail: { sizeBytes: 120, local } },
    { node: "pisa-2", detail: undefined },
  ];

  function record(isTTY: boolean): { view: View; clock: VirtualClock; written: string[] } {
    const clock = new VirtualClock();
    const written: string[] = [];
    return { view: new View(clock, { isTTY, write: (text) => void written.push(text) }), clock, written };
  }

  it("redraws the bars in place on a terminal", () => {
    const { view, written } = record(true);
    view.progress(progress);
    view.progress(progress);
    assert.match(written[0] ?? "", /pisa-1 .*25 %.*\n.*pisa-2 .*not heard/u);
    assert.ok(written[1]?.startsWith("\u001B[2A"));
  });

  it("writes a line every two seconds elsewhere, without control characters", async () => {
    const { view, clock, written } = record(false);
    for (let i = 0; i < 21; i++) {
      view.progress(progress);
      await clock.advanceMs(200);
    }
    assert.equal(written.length, 3);
    assert.ok(written.every((line) => line.includes("pisa-1 25 %") && !line.includes("\u001B")));
  });

  it("goes on below a step that came between", () => {
    const { view, written } = record(true);
    view.progress(progress);
    view.step("comparing");
    view.progress(progress);
    assert.ok(!written[2]?.startsWith("\u001B[2A"));
  });
});
