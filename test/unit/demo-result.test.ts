import assert from "node:assert/strict";
import { VirtualClock } from "#core";
import type { LinkStats } from "../../demo/link-contract.ts";
import type { Progress } from "../../demo/distribution.ts";
import { planFleet } from "../../demo/plan.ts";
import { canPull, leaderOf, type PlugRecord, shareOf } from "../../demo/plug.ts";
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
    plug: undefined,
    ...changes,
  };
}

/** What a node of a site has of a file of 100 bytes. */
function progress(node: string, site: string, bytesFromWan: number, bytes = bytesFromWan): Progress {
  const local = { node, site, state: "transferring", wanted: true, bytes, bytesFromSite: 0, bytesFromWan } as const;
  return { node, detail: { sizeBytes: 100, local } };
}

describe("pulling the plug", () => {
  const before = [progress("pisa-1", "pisa", 30), progress("pisa-2", "pisa", 10), progress("genoa-1", "genoa", 60)];
  const after = [progress("pisa-1", "pisa", 30), progress("pisa-2", "pisa", 20), progress("genoa-1", "genoa", 60)];

  it("takes three sites of three nodes", () => {
    assert.deepEqual(
      [
        [9, 3],
        [8, 3],
        [6, 2],
        [12, 4],
        [16, 5],
      ].map(([nodes = 0, sites = 0]) => canPull(planFleet(nodes, sites))),
      [true, false, false, true, true],
    );
  });

  it("takes whoever brought the most into a site for its leader, in all or since then", () => {
    assert.equal(leaderOf("pisa", before), "pisa-1");
    assert.equal(leaderOf("pisa", after, before), "pisa-2");
    assert.equal(leaderOf("genoa", after, before), undefined);
    assert.equal(leaderOf("pisa", [{ node: "pisa-1", detail: undefined }]), undefined);
  });

  it("knows how much of the file there is, but for the publisher", () => {
    const [one, ...others] = before;
    assert.ok(one?.detail !== undefined);
    const publisher = { ...one, detail: { ...one.detail, local: { ...one.detail.local, wanted: false } } };
    assert.equal(shareOf([publisher, ...others]), 0.35);
    assert.equal(shareOf([]), 0);
  });

  it("is no success when the download is not what was sent", () => {
    const plug: PlugRecord = {
      client: "pisa-3",
      server: "venice-3",
      killed: [{ node: "pisa-1", was: "carried the session", hadBytes: 40_000_000 }],
      via: { before: "pisa-1", after: "pisa-2" },
      leader: { site: "pisa", before: "pisa-1", after: "pisa-2" },
      session: { program: "curl", bytes: 1_000_000, equal: true, longestPauseMs: 420 },
    };
    const sound = judgeRun(evidence({ plug }));
    assert.deepEqual([sound.result.ok, sound.result.plug], [true, plug]);
    const text = renderReport(sound.result, [], []);
    assert.match(
      text,
      /curl at pisa-3 got 1\.0 MB from venice-3, equal, over pisa-1 and then pisa-2; longest pause 0\.42 s/u,
    );
    const broken = judgeRun(evidence({ plug: { ...plug, session: { ...plug.session, equal: false } } }));
    assert.deepEqual(broken.problems, ["the download at pisa-3 ended, or is not what venice-3 sent"]);
  });
});

describe("result of a demo run", () => {
  it("has exactly the members that scripts rely on", () => {
    const { result, problems } = judgeRun(evidence());
    assert.deepEqual(problems, []);
    assert.equal(Object.keys(result).join(), "ok,nodes,sites,file,copies,refused,links,seconds,boundSeconds,plug");
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
