import assert from "node:assert/strict";
import fc from "fast-check";
import { EventParser, encodeEvent, matchesSelector, parseRate, parseSelector } from "#api";
import { nearest } from "../../src/daemon/config-file.ts";
import { kindNamed } from "../../src/cli/kind-names.ts";
import { collectLabel, placementName } from "../../src/cli/labels.ts";
import { describe as describeObject } from "../../src/cli/output.ts";
import { printable, Table } from "../../src/cli/table.ts";
import { formatBytes, formatRates, formatSeconds, formatWhen, parseSeconds } from "../../src/cli/units.ts";

describe("text of the command line", () => {
  it("lays tables out without borders, empty cells as a dash, nothing behind the last column", () => {
    const rows = [
      { a: "x", b: "" },
      { a: "longer", b: "y" },
    ];
    const columns = [
      { head: "A", text: (r: { a: string }) => r.a },
      { head: "B", text: (r: { b: string }) => r.b },
    ];
    const table = new Table(columns, rows, Number.POSITIVE_INFINITY);
    assert.deepEqual([table.head(), ...rows.map((row) => table.row(row))], ["A        B", "x        -", "longer   y"]);
  });

  it("never makes a line longer than the terminal while columns can shrink", () => {
    const cells = fc.array(fc.array(fc.string({ maxLength: 60 }), { minLength: 3, maxLength: 3 }), { minLength: 1 });
    fc.assert(
      fc.property(cells, fc.integer({ min: 40, max: 120 }), (rows, maxChars) => {
        const columns = [0, 1, 2].map((i) => ({ head: `C${i}`, text: (row: string[]) => row[i] ?? "" }));
        const table = new Table(columns, rows, maxChars);
        for (const row of rows) assert.ok(table.row(row).length <= maxChars);
      }),
    );
  });

  it("reads and shows rates", () => {
    const rates = { "125000": 125_000, "800k": 800_000, " 1.5 M ": 1_500_000, "2G": 2e9, "1k": 1_000 };
    for (const [text, rate] of Object.entries(rates)) assert.equal(parseRate(text), rate, text);
    for (const text of ["", "999", "0.5k", "1T", "-1M", "1e6", "1,5M", "M", "9".repeat(20), "2Mbit"]) {
      assert.equal(parseRate(text), undefined, text);
    }
    assert.equal(formatRates({}), "unlimited");
    assert.equal(
      formatRates({ uploadBps: 1e7, wanUploadBps: 25e4, wanDownloadBps: 25e4 }),
      "up 10.0 MB/s, WAN 250 kB/s each way",
    );
    assert.equal(formatRates({ downloadBps: null, wanUploadBps: 1_000 }), "down unlimited, WAN up 1.0 kB/s");
  });

  it("shows when something changes as the clocks of its zone will", () => {
    const nowMs = Date.parse("2026-11-20T12:00:00Z");
    const shown: [string, string][] = [
      ["2026-11-20T17:00:00Z", "18:00"],
      ["2026-11-20T23:30:00Z", "00:30"],
      ["2026-11-23T07:00:00Z", "Mon 08:00"],
      ["2026-12-24T17:00:00Z", "Dec 24, 2026 18:00"],
    ];
    for (const [iso, text] of shown) assert.equal(formatWhen(iso, "Europe/Berlin", nowMs), text);
  });

  it("shows nothing of others that could steer the terminal", () => {
    assert.equal(printable("a\u001B[2Jb\u202Ec\nd"), "a�[2Jb�c�d");
    assert.ok(!describeObject({ serial: "\u001B]0;x\u0007" }).includes("\u001B"));
  });

  it("describes nested objects and lists of objects", () => {
    const text = describeObject({
      name: "a",
      empty: [],
      copies: [{ node: "n1", bytesFromWan: 3 }],
      store: { used: 1 },
    });
    assert.equal(text, "Name:  a\nCopies:\n  NODE   BYTES FROM WAN\n  n1     3\nStore:\n  Used:  1\n");
  });

  it("writes sizes and times as people read them, and reads times as they write them", () => {
    const sizes: [number, string][] = [
      [0, "0 B"],
      [999, "999 B"],
      [1_500, "1.5 kB"],
      [999_600, "1.0 MB"],
      [123_456_789, "123 MB"],
      [4.2e10, "42.0 GB"],
    ];
    for (const [bytes, text] of sizes) assert.equal(formatBytes(bytes), text);
    assert.equal(formatSeconds(0), "0s");
    assert.equal(formatSeconds(3_601), "1h");
    assert.equal(formatSeconds(90_061), "1d1h");
    assert.equal(formatSeconds(3_650 * 86_400), "10y");
    assert.equal(parseSeconds("24h"), 86_400);
    for (const bad of ["", "h", "1.5h", "-1s", "1w", "9999999s"]) assert.equal(parseSeconds(bad), undefined, bad);
  });

  it("knows each kind by its plural, singular and short names, each of them once", () => {
    assert.equal(kindNamed("no").plural, "nodes");
    assert.equal(kindNamed("Artifact").resource, "artifacts");
    assert.equal(kindNamed("claims").document, "ClaimList");
    assert.throws(() => kindNamed("nodez"), { code: "cli.kind", exit: "invalid", fix: /nodes, links/u });
  });

  it("reads labels", () => {
    assert.deepEqual(collectLabel("a=b=c", { x: "y" }), { x: "y", a: "b=c" });
    assert.throws(() => collectLabel("nolabel"), { code: "cli.label", exit: "invalid" });
  });

  it("names a placement after the artifact and the selector", () => {
    assert.equal(placementName("model:v1", ""), "model:v1");
    assert.equal(placementName("model:v1", "site=berlin,gpu"), "model:v1.site-berlin-gpu");
    const long = placementName("model", `name in (${"abc,".repeat(30)}x)`);
    assert.match(long, /^model\.[0-9a-f]{12}$/u);
    assert.notEqual(long, placementName("model", `name in (${"abc,".repeat(31)}x)`));
  });

  it("suggests the nearest word only when it is near", () => {
    assert.equal(nearest("lisen", ["listen", "labels"]), "listen");
    assert.equal(nearest("zzzzzz", ["listen", "labels"]), undefined);
  });
});

describe("label selectors", () => {
  it("follow the syntax of Kubernetes", () => {
    const labels = { site: "berlin", gpu: "yes", "app/tier": "a" };
    const cases: [string, boolean][] = [
      ["", true],
      ["site=berlin", true],
      ["site==berlin,gpu", true],
      ["site!=berlin", false],
      ["other!=x", true],
      ["!gpu", false],
      ["!other", true],
      ["site in (paris, berlin)", true],
      ["site notin (paris)", true],
      ["other in (x)", false],
      ["app/tier=a", true],
      ["__proto__", false],
      ["constructor", false],
    ];
    for (const [text, expected] of cases) {
      if (text.startsWith("_")) assert.throws(() => parseSelector(text));
      else assert.equal(matchesSelector(parseSelector(text), labels), expected, text);
    }
  });

  it("refuse anything else with the part that is wrong", () => {
    for (const bad of ["a=b=c", "in (x)", "a in ()", "a in (b", "a b", ",", "a,,b", "=", "a".repeat(2_000)]) {
      assert.throws(() => parseSelector(bad), { code: "api.selector", exit: "invalid" }, bad);
    }
    fc.assert(
      fc.property(fc.string({ maxLength: 60 }), (text) => {
        try {
          parseSelector(text);
        } catch (error) {
          assert.equal((error as { code?: string }).code, "api.selector");
        }
      }),
    );
  });
});

describe("server-sent events", () => {
  it("arrive whole, however they were cut on the way", () => {
    const event = fc.record({ event: fc.constantFrom("progress", "result"), data: fc.jsonValue() });
    fc.assert(
      fc.property(fc.array(event, { maxLength: 8 }), fc.integer({ min: 1, max: 7 }), (events, step) => {
        const bytes = Buffer.concat(events.map((e) => encodeEvent(e)));
        const parser = new EventParser();
        const seen: unknown[] = [];
        for (let at = 0; at < bytes.length; at += step) seen.push(...parser.push(bytes.subarray(at, at + step)));
        assert.deepEqual(seen, JSON.parse(JSON.stringify(events)));
      }),
    );
  });

  it("are refused when they are not ours, or too large", () => {
    const parse = (text: string) => (): unknown => new EventParser().push(Buffer.from(text));
    assert.throws(parse("data: 1\n\n"), { code: "api.stream" });
    assert.throws(parse("event: a\ndata: {\n\n"), { code: "api.stream" });
    assert.throws(parse(`event: a\ndata: "${"x".repeat(9 * 1024 * 1024)}`), { code: "api.stream" });
    assert.deepEqual(new EventParser().push(Buffer.from(": comment\n\n")), []);
  });
});
