import assert from "node:assert/strict";
import { faultCode } from "#core";
import { siteOfHost } from "../../demo/address.ts";
import { readOptions } from "../../demo/options.ts";
import { claimsCsv, fluidBoundSeconds, planFleet } from "../../demo/plan.ts";
import { findBypasses, parseTcpTable } from "../../demo/tcp-table.ts";

/** A row of /proc/net/tcp. */
function row(local: string, remote: string, state: string, inode: number): string {
  return `   0: ${local} ${remote} ${state} 00000000:00000000 00:00000000 00000000     0        0 ${inode} 1 0 20 4 30 10 -1\n`;
}

describe("demo options", () => {
  it("has nine nodes in three sites unless told otherwise", () => {
    const options = readOptions([], "/file");
    assert.deepEqual([options?.nodes, options?.sites, options?.file], [9, 3, "/file"]);
  });

  it("reads rates as megabits", () => {
    assert.equal(readOptions(["--rate", "2.5"], "")?.rateBps, 2_500_000);
  });

  const bad: [string, string[]][] = [
    ["an unknown flag", ["--colour"]],
    ["a word", ["start"]],
    ["too few nodes for the sites", ["--nodes", "2", "--sites", "3"]],
    ["half a node", ["--nodes", "2.5"]],
    ["too many sites", ["--sites", "10", "--nodes", "30"]],
    ["a rate that is no number", ["--rate", "fast"]],
    ["a flag without its value", ["--file"]],
    ["a value for a switch", ["--json=yes"]],
  ];
  for (const [what, argv] of bad) {
    it(`refuses ${what}`, () => {
      assert.throws(
        () => readOptions(argv, ""),
        (error) => faultCode(error) === "demo.usage",
      );
    });
  }
});

describe("fleet plan", () => {
  it("spreads nodes evenly, each at an address of its site", () => {
    const { nodes, sites } = planFleet(11, 3);
    assert.deepEqual(
      sites.map(({ number }) => nodes.filter(({ site }) => site.number === number).length),
      [4, 4, 3],
    );
    assert.ok(nodes.every(({ host, site }) => siteOfHost(host) === site.number));
    assert.equal(new Set(nodes.map(({ host }) => host)).size, 11);
  });

  it("claims every serial but the registrar's and the stranger's", () => {
    const plan = planFleet(9, 3);
    const lines = claimsCsv(plan).trimEnd().split("\n").slice(1);
    assert.deepEqual(
      lines.map((line) => line.split(",")[0]),
      plan.nodes.slice(1).map(({ serial }) => serial),
    );
    assert.ok(!lines.some((line) => line.startsWith(plan.stranger.serial)));
  });
});

describe("fluid lower bound", () => {
  const M = 1_000_000;
  const table: [string, number, number[], number[], number][] = [
    [
      "one copy out of the source at equal rates",
      125 * M,
      [100 * M, 100 * M, 100 * M],
      [100 * M, 100 * M, 100 * M],
      10,
    ],
    ["the slowest site's downlink", 125 * M, [100 * M, 100 * M, 100 * M], [100 * M, 100 * M, 20 * M], 50],
    ["all uplinks together, when the others cannot help", 125 * M, [100 * M, 0, 0], [1000 * M, 1000 * M, 1000 * M], 20],
    ["the source's own downlink does not count", 125 * M, [100 * M, 100 * M], [1 * M, 100 * M], 10],
    ["nothing for a single site", 125 * M, [100 * M], [100 * M], 0],
  ];
  for (const [what, bytes, up, down, seconds] of table) {
    it(`is set by ${what}`, () => assert.equal(fluidBoundSeconds(bytes, up, down), seconds));
  }
});

describe("connections round the links", () => {
  const HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
  const A = "0B00017F:0FA1"; // 127.1.0.11:4001
  const B = "0100017F:9C40"; // 127.1.0.1:40000
  const C = "0B00027F:0FA1"; // 127.2.0.11:4001
  const OWNERS = new Map([
    [11, 1],
    [12, 1],
    [21, 2],
  ]);

  it("reads addresses, also IPv4 inside IPv6", () => {
    const [v4, v6] = parseTcpTable(
      HEAD + row(A, B, "01", 11) + row(`0000000000000000FFFF0000${A}`, `0000000000000000FFFF0000${B}`, "06", 0),
    );
    assert.deepEqual(v4, { local: "127.1.0.11:4001", remote: "127.1.0.1:40000", established: true, inode: 11 });
    assert.deepEqual(v6, { local: "127.1.0.11:4001", remote: "127.1.0.1:40000", established: false, inode: 0 });
  });

  it("finds nothing when both ends are of one site", () => {
    assert.deepEqual(findBypasses(parseTcpTable(HEAD + row(A, B, "01", 11) + row(B, A, "01", 12)), OWNERS), []);
  });

  it("finds a connection between two sites, at both ends", () => {
    const found = findBypasses(parseTcpTable(HEAD + row(C, B, "01", 21) + row(B, C, "01", 12)), OWNERS);
    assert.deepEqual(
      found.map(({ site, peerSite }) => [site, peerSite]),
      [
        [2, 1],
        [1, 2],
      ],
    );
  });

  it("finds a connection with a process that is of no site", () => {
    const found = findBypasses(parseTcpTable(HEAD + row(A, B, "01", 11) + row(B, A, "01", 99)), OWNERS);
    assert.deepEqual(found, [{ site: 1, peerSite: undefined, local: "127.1.0.11:4001", remote: "127.1.0.1:40000" }]);
  });

  it("waits for a connection to be accepted before it says whose it is", () => {
    assert.deepEqual(findBypasses(parseTcpTable(HEAD + row(A, B, "01", 0) + row(B, A, "01", 12)), OWNERS), []);
    assert.deepEqual(findBypasses(parseTcpTable(HEAD + row(A, B, "03", 0) + row(B, A, "01", 12)), OWNERS), []);
  });

  it("leaves alone what listens, is closing, or is not of the fleet", () => {
    const rows = HEAD + row(A, "00000000:0000", "0A", 11) + row(A, C, "06", 0) + row(B, C, "01", 99);
    assert.deepEqual(findBypasses(parseTcpTable(rows), OWNERS), []);
  });
});
