import assert from "node:assert/strict";
import { SeededRandom } from "#core";
import { type Candidate, type Choice, chooseInstances, DEFAULT_EXPOSE, resolveTarget, type Strategy } from "#routing";
import { argvOf, parseCheck } from "../../src/routing/service/check.ts";
import { exposeRule } from "../../src/routing/service/expose.ts";
import { checkInMs, type Health, nextHealth, unchecked } from "../../src/routing/service/health.ts";
import {
  type InstanceRecord,
  readInstances,
  sizeOfInstances,
  writeInstances,
} from "../../src/routing/service/instance-record.ts";
import { parseService } from "../../src/routing/service/service.ts";
import { formatTarget, parseTarget } from "../../src/routing/service/target.ts";

const candidate = (node: string, more: Partial<Candidate> = {}): Candidate => ({
  node,
  name: "cam",
  tenant: "default",
  protocol: "tcp",
  labels: {},
  priority: 0,
  weight: 1,
  healthy: true,
  cost: 0,
  ...more,
});

describe("choice of instances", () => {
  const choose = (strategy: Strategy, candidates: Candidate[], more: Partial<Choice> = {}): string =>
    chooseInstances(candidates, { strategy, random: new SeededRandom(1), openOf: () => 0, ...more })
      .map(({ node }) => node)
      .join("");
  const STRATEGIES: readonly Strategy[] = ["closest", "least-open", "weighted", "sticky"];

  for (const strategy of STRATEGIES) {
    it(`${strategy}: leaves out what is not healthy or does not match, and takes lower priorities first`, () => {
      const all = [
        candidate("a", { priority: 2 }),
        candidate("b", { priority: 1, cost: 900 }),
        candidate("c", { healthy: false }),
        candidate("d", { labels: { old: "yes" } }),
      ];
      assert.equal(choose(strategy, all, { matches: ({ labels }) => labels["old"] === undefined }), "ba");
      assert.equal(choose(strategy, []), "");
    });
  }

  const three = [candidate("a", { cost: 30 }), candidate("b", { cost: 10 }), candidate("c", { cost: 10 })];

  it("closest: goes by the cost of the route, then by node", () => {
    assert.equal(choose("closest", three), "bca");
    assert.equal(choose("closest", three.toReversed()), "bca");
  });

  it("least-open: takes the one with the fewest connections, of two with as many the closer", () => {
    const open: Record<string, number> = { a: 0, b: 3, c: 1 };
    assert.equal(choose("least-open", three, { openOf: ({ node }) => open[node] ?? 0 }), "acb");
    assert.equal(choose("least-open", three), "bca");
  });

  it("weighted: takes each first as often as its weight says, and one of weight 0 nearly never", () => {
    const weights: Record<string, number> = { a: 100, b: 300, c: 0 };
    const all = Object.entries(weights).map(([node, weight]) => candidate(node, { weight }));
    const random = new SeededRandom(7);
    const first: Record<string, number> = { a: 0, b: 0, c: 0 };
    for (let i = 0; i < 4_000; i++) {
      const order = choose("weighted", all, { random });
      assert.equal(order.length, 3, "all of them are tried");
      first[order.charAt(0)] = (first[order.charAt(0)] ?? 0) + 1;
    }
    assert.ok(Math.abs((first["a"] ?? 0) - 1_000) < 120, JSON.stringify(first));
    assert.ok((first["c"] ?? 0) < 40, JSON.stringify(first));
  });

  it("sticky: gives a key the same order whoever was heard first, and moves only the keys of one that fails", () => {
    const keys = Array.from({ length: 300 }, (_, i) => `client-${i}`);
    const firsts = keys.map((stickyTo) => choose("sticky", three, { stickyTo }).charAt(0));
    assert.deepEqual(
      keys.map((stickyTo) => choose("sticky", three.toReversed(), { stickyTo }).charAt(0)),
      firsts,
    );
    for (const node of "abc") assert.ok(firsts.filter((first) => first === node).length > 60, "all get some");
    const failed = three.map((one) => (one.node === "b" ? { ...one, healthy: false } : one));
    for (const [i, stickyTo] of keys.entries()) {
      const now = choose("sticky", failed, { stickyTo }).charAt(0);
      if (firsts[i] !== "b") assert.equal(now, firsts[i]);
    }
  });
});

describe("health of a service", () => {
  const bad = { ok: false, reason: "connection refused" } as const;
  const after = (...results: readonly ("ok" | "bad")[]): Health =>
    results.reduce(
      (health, is, i) => nextHealth(health, is === "ok" ? { ok: true } : bad, 1_000 * (i + 1)),
      unchecked(0),
    );
  const table: readonly [("ok" | "bad")[], Health["state"], number, string, number][] = [
    [[], "unknown", 0, "", 2_000],
    [["bad"], "unknown", 0, "", 2_000],
    [["bad", "bad"], "unhealthy", 2_000, "connection refused", 2_000],
    [["ok"], "healthy", 1_000, "", 10_000],
    [["ok", "ok"], "healthy", 1_000, "", 10_000],
    [["ok", "bad"], "healthy", 1_000, "", 2_000],
    [["ok", "bad", "ok", "bad"], "healthy", 1_000, "", 2_000],
    [["ok", "bad", "bad"], "unhealthy", 3_000, "connection refused", 2_000],
    [["bad", "bad", "bad"], "unhealthy", 2_000, "connection refused", 2_000],
    [["bad", "bad", "ok"], "healthy", 3_000, "", 10_000],
  ];
  for (const [results, state, sinceMs, reason, nextMs] of table) {
    it(`is ${state} after ${results.join(", ") || "nothing"}, and checked again in ${nextMs} ms`, () => {
      const health = after(...results);
      assert.deepEqual(
        [health.state, health.sinceMs, health.reason, checkInMs(health, false)],
        [state, sinceMs, reason, nextMs],
      );
    });
  }
  const used: readonly [("ok" | "bad")[], number][] = [
    [["ok"], 1_000],
    [["ok", "bad"], 500],
    [["ok", "bad", "bad"], 2_000],
    [[], 2_000],
  ];
  for (const [results, nextMs] of used) {
    it(`is checked again in ${nextMs} ms after ${results.join(", ") || "nothing"} while clients connect`, () =>
      assert.equal(checkInMs(after(...results), true), nextMs));
  }
});

describe("target of a service", () => {
  for (const text of ["192.168.7.20:554", "[fd00::7]:80", "localhost:1", "cam_1.plant.local:65535", "xn--caf-dma:80"]) {
    it(`may be ${text}`, () => assert.equal(formatTarget(parseTarget(text)), text));
  }
  const bad = [
    "",
    "cam",
    "cam:",
    ":80",
    "cam:0",
    "cam:65536",
    "cam:-1",
    "cam:1e3",
    "::1:80",
    "[1.2.3.4]:80",
    "[::1]",
    "a b:80",
  ];
  for (const text of [
    ...bad,
    "127.1:80",
    "010.0.0.1:80",
    "256.0.0.1:80",
    "2130706433:80",
    "-x:80",
    "u@cam:80",
    "cam/x:80",
    `${"x".repeat(260)}:80`,
  ]) {
    it(`may not be ${JSON.stringify(text.slice(0, 20))}`, () =>
      assert.throws(() => parseTarget(text), { code: "routing.target", exit: "invalid" }));
  }
});

describe("what a node may expose", () => {
  const usual = exposeRule(DEFAULT_EXPOSE);
  for (const address of [
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "10.1.2.3",
    "172.31.0.1",
    "192.168.0.1",
    "fd00::7",
    "::ffff:10.0.0.1",
  ])
    it(`is ${address}, unless told other`, () => assert.equal(usual(address), true));
  const closed = [
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "::ffff:a9fe:a9fe",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
  ];
  for (const address of [
    ...closed,
    "0.0.0.0",
    "::",
    "192.0.2.1",
    "172.32.0.1",
    "2001:db8::1",
    "224.0.0.1",
    "localhost",
    "",
  ])
    it(`is not ${JSON.stringify(address)}, unless told`, () => assert.equal(usual(address), false));

  it("takes in a cloud's metadata only by a range inside of theirs", () => {
    const all = exposeRule(["0.0.0.0/0", "::/0"]);
    assert.equal(all("192.0.2.1"), true);
    for (const address of closed) assert.equal(all(address), false, address);
    const one = exposeRule(["169.254.169.0/24"]);
    assert.deepEqual(["169.254.169.254", "169.254.1.1", "10.0.0.1"].map(one), [true, false, false]);
  });

  it("is asked about what a name means, each time", async () => {
    const { signal } = new AbortController();
    const target = { host: "localhost", port: 80 };
    assert.ok((await resolveTarget(target, usual, signal)).every(usual));
    const nothing = exposeRule(["192.0.2.0/24"]);
    await assert.rejects(resolveTarget(target, nothing, signal), { code: "routing.expose", exit: "denied" });
    const unknown = { host: "nobody.invalid", port: 80 };
    await assert.rejects(resolveTarget(unknown, usual, signal), { code: "routing.target-unknown", exit: "missing" });
  });
});

describe("a service as it is written", () => {
  it("has defaults for all but name and target", () => {
    assert.deepEqual(parseService({ name: "cam", to: "10.0.0.7:554" }), {
      name: "cam",
      target: { host: "10.0.0.7", port: 554 },
      protocol: "tcp",
      labels: {},
      check: undefined,
      priority: 0,
      weight: 1,
    });
  });

  const bad: readonly [object, RegExp][] = [
    [{ name: "-cam" }, /name: lower-case/u],
    [{ name: "a.b" }, /name: lower-case/u],
    [{ name: "" }, /name: lower-case/u],
    [{ priority: 65_536 }, /priority: a number from 0 to 65535/u],
    [{ weight: -1 }, /weight: a number from 0 to 65535/u],
    [{ weight: 0.5 }, /weight: /u],
    [{ labels: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, ""])) }, /labels: at most 16/u],
    [{ protocol: "udp", check: "tcp" }, /says nothing of a UDP service/u],
    [{ typo: 1 }, /typo/u],
  ];
  for (const [part, why] of bad) {
    it(`is refused with ${JSON.stringify(part).slice(0, 40)}`, () =>
      assert.throws(() => parseService({ name: "cam", to: "10.0.0.7:554", ...part }), {
        exit: "invalid",
        message: why,
      }));
  }

  it("may have three kinds of checks", () => {
    assert.deepEqual(parseCheck("http=/a?b=c"), { kind: "http", path: "/a?b=c" });
    assert.deepEqual(parseCheck("exec=/bin/x -v"), { kind: "exec", command: "/bin/x -v" });
    for (const text of [
      "",
      "icmp",
      "tcp=1",
      "http",
      "http=x",
      "http=/a b",
      "http=/\r\nx: y",
      "exec=",
      "exec= ",
      "exec=a\nb",
    ])
      assert.throws(() => parseCheck(text), { code: "routing.check", exit: "invalid" }, text);
  });

  it("runs a command without a shell, unless it has characters that mean something to one", () => {
    assert.deepEqual(argvOf(" /bin/check  -t 5 /dev/video0 "), ["/bin/check", "-t", "5", "/dev/video0"]);
    for (const command of ["a | b", "a 'b c'", "$HOME/x", "a; b", "a > b", "X=1 a", "ls *"])
      assert.deepEqual(argvOf(command), ["/bin/sh", "-c", command]);
  });
});

describe("what a node tells of its services", () => {
  const record = (name: string, more: Partial<InstanceRecord> = {}): InstanceRecord => ({
    name,
    protocol: "tcp",
    labels: {},
    priority: 0,
    weight: 1,
    healthy: true,
    since: 1_760_000_000,
    reason: "",
    port: 554,
    ...more,
  });

  it("comes back as it was written", () => {
    const records = [record("cam", { labels: { tier: "edge" } }), record("dns", { healthy: false, reason: "exit 1" })];
    assert.deepEqual([...(readInstances(writeInstances(records))?.values() ?? [])], records);
  });

  it("fits 480 services with usual names, all of which fail", () => {
    const failing = { healthy: false, reason: "x".repeat(32), priority: 100 };
    const usual = Array.from({ length: 480 }, (_, i) => record(`camera-gate-${i}`, failing));
    assert.ok(sizeOfInstances(usual) < 32 * 1024, String(sizeOfInstances(usual)));
  });

  const tuple = (i: number, value: unknown): unknown => {
    const { services } = writeInstances([record("cam")]) as { services: unknown[][] };
    return { services: [services[0]?.with(i, value)] };
  };
  const nonsense: readonly [string, unknown][] = [
    ["no map", 7],
    ["no list", { services: {} }],
    ["a name that is none", tuple(0, "Cam")],
    ["an unknown protocol", tuple(1, "sctp")],
    ["a priority of 65,536", tuple(2, 65_536)],
    ["a weight of -1", tuple(3, -1)],
    ["a health of 1", tuple(4, 1)],
    ["a time that is no number", tuple(5, "now")],
    ["a long reason", tuple(6, "x".repeat(33))],
    ["a label that is no text", tuple(7, { a: 1 })],
    ["17 labels", tuple(7, Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, ""])))],
    ["a port of 0", tuple(8, 0)],
    ["a name twice", writeInstances([record("cam"), record("cam")])],
    ["1,001 services", writeInstances(Array.from({ length: 1_001 }, (_, i) => record(`s${i}`)))],
  ];
  for (const [what, value] of nonsense)
    it(`makes no sense with ${what}`, () => assert.equal(readInstances(value), undefined));

  it("may say more in later versions", () => {
    const { services } = writeInstances([record("cam")]) as { services: unknown[][] };
    assert.equal(readInstances({ services: [[...(services[0] ?? []), "more"]], more: 1 })?.size, 1);
  });
});
