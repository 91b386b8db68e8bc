import assert from "node:assert/strict";
import { createLog, type Log, type LogLevel, VirtualClock } from "#core";
import fc from "fast-check";

function capture(minimum: LogLevel = "debug"): { log: Log; lines: string[] } {
  const lines: string[] = [];
  return { log: createLog(new VirtualClock(0), (line) => lines.push(line), minimum), lines };
}

describe("log", () => {
  it("writes time, level, message and fields on one line", () => {
    const { log, lines } = capture();
    log.info("node admitted", { node: "cam-7", site: "berlin", tries: 2, fresh: true, left: undefined });
    assert.deepEqual(lines, [
      "1970-01-01T00:00:00.000Z info  node admitted node=cam-7 site=berlin tries=2 fresh=true\n",
    ]);
  });

  it("leaves out what is below its level, and keeps the fields it was given", () => {
    const { log, lines } = capture("warn");
    const child = log.with({ peer: "a" }).with({ site: "b" });
    child.debug("no");
    child.info("no");
    child.warn("yes");
    child.error("yes", { site: "c" });
    assert.deepEqual(
      lines.map((line) => line.slice(25)),
      ["warn  yes peer=a site=b\n", "error yes peer=a site=c\n"],
    );
  });

  it("cannot be made to write a second line, drive a terminal or turn text around", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (value, message) => {
        const { log, lines } = capture();
        log.info(message, { value });
        assert.equal(lines.length, 1);
        assert.match(lines[0] ?? "", /^[^\p{Cc}\p{Cf}\u2028\u2029]*\n$/u);
      }),
    );
    for (const evil of ["a\nb", "a\rb", "\u001b[2J", "\u009b2J", "\u2028", "\u202e", "\u0000", "\u007f"]) {
      const { log, lines } = capture();
      log.info("joined", { name: evil });
      assert.match(lines.join(), /^[^\p{Cc}\p{Cf}\u2028\u2029]*\n$/u, JSON.stringify(evil));
    }
  });

  it("quotes a value that could be taken for another field", () => {
    const { log, lines } = capture();
    log.info("joined", { name: "x site=berlin", empty: "", quote: 'a"b' });
    assert.equal(lines[0]?.slice(25), 'info  joined name="x site=berlin" empty="" quote="a\\"b"\n');
  });

  it("cuts what is too long", () => {
    const { log, lines } = capture();
    log.info("joined", { name: "x".repeat(100_000) });
    assert.ok((lines[0]?.length ?? 0) < 500);
  });
});
