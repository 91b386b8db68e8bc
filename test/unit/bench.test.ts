import { strict as assert } from "node:assert";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { SystemClock } from "#core";
import { atLeast, atMost, defineBench, median, numberFlag } from "../../bench/bench.ts";
import { exportSeconds, fanOutSeconds, wanSeconds } from "../../bench/fluid.ts";
import { renderReport } from "../../bench/report.ts";
import { Child, run } from "../../bench/lab/index.ts";

const clock = new SystemClock();
const MIB = 2 ** 20;
const REPLY_MS = 10_000;

describe("bench figures", () => {
  it("takes the middle value, or the mean of the two in the middle", () => {
    assert.equal(median([9, 1, 2]), 2);
    assert.equal(median([4, 1, 3, 2]), 2.5);
    assert.ok(Number.isNaN(median([])));
  });

  it("counts a bar as met at the limit, and an unmeasured one as not met", () => {
    assert.deepEqual(atLeast("speed", 1.2, 1.2), { name: "speed", bar: "≥ 1.2", value: 1.2, met: true });
    assert.equal(atMost("copies", 1.3, 1.31).met, false);
    assert.equal(atMost("copies", 1.3, Number.NaN).met, false);
  });

  it("bounds a fan-out by the slowest of seed, receiver and all uplinks together", () => {
    const cases: [number, number, number, number][] = [
      [8, 50e6, 50e6, 42.95], // equal links: one copy at the rate of a link
      [8, 50e6, 25e6, 85.9], // the receivers' own links
      [1, 10e6, 50e6, 214.75], // the seed's uplink
    ];
    for (const [leechers, upBps, downBps, seconds] of cases) {
      assert.ok(Math.abs(fanOutSeconds(256 * MIB, leechers, { upBps, downBps }) - seconds) < 0.01);
    }
    assert.ok(Math.abs(wanSeconds(100 * MIB, 3, 20e6) - 41.94) < 0.01);
    assert.ok(Math.abs(exportSeconds(100 * MIB, 3, 20e6) - 83.89) < 0.01);
  });

  it("hands each benchmark its own flags, checked and with their defaults", async () => {
    const seen: unknown[] = [];
    const bench = defineBench({
      name: "sample",
      claim: "shows flags",
      options: z.object({ mib: numberFlag(64, 1, 128, "size") }),
      missing: async () => undefined,
      run: async (_context, { mib }) => {
        seen.push(mib);
        return {
          conditions: { mib },
          setupSeconds: {},
          samples: [{ seconds: 1.23456 }],
          bars: [atMost("time", 1, mib)],
        };
      },
    });
    const context = { clock, directory: "", progress: () => undefined };
    await bench.run(context, { mib: "7" });
    const report = await bench.run(context, {});
    assert.deepEqual(seen, [7, 64]);
    await assert.rejects(bench.run(context, { mib: "129" }), z.ZodError);
    const text = renderReport(bench, report);
    assert.match(text, /\{"seconds":1\.235\}/u);
    assert.match(text, /UNMET time +≤ 1 +64/u);
  });
});

describe("bench command", function () {
  this.timeout(30_000);
  const main = [process.execPath, join(import.meta.dirname, "../../bench/main.ts")];

  it("lists the benchmarks, each with its claim and flags", async () => {
    const help = await run(clock, REPLY_MS, main);
    for (const text of ["transfer", "fanout", "--mib N", "--json"]) assert.ok(help.includes(text), text);
  });

  it("refuses an unknown name or flag with exit 2", async () => {
    for (const args of [["nothing"], ["transfer", "--nothing"], ["transfer", "--runs", "many"]]) {
      await assert.rejects(run(clock, REPLY_MS, [...main, ...args]), { details: { how: "exit 2" } });
    }
  });
});

describe("lab child", () => {
  it("ends when its parent is killed, however that happens", async () => {
    if (process.platform !== "linux") return;
    const program = `
      import { SystemClock } from "#core";
      import { Child } from "${join(import.meta.dirname, "../../bench/lab/index.ts")}";
      console.log(new Child(new SystemClock(), ["sleep", "1000"]).pid);`;
    const node = [process.execPath, "--input-type=module-typescript", "-e", program];
    await using parent = new Child(clock, node, { cwd: import.meta.dirname });
    const pid = await parent.line("a pid", REPLY_MS, (line) => /^\d+$/u.test(line));
    assert.ok(existsSync(`/proc/${pid}`));
    parent.signal("SIGKILL");
    await parent.ended;
    await run(clock, REPLY_MS, ["tail", `--pid=${pid}`, "-f", "/dev/null"]);
  });

  it("hands out lines in order of asking, also those printed before", async () => {
    await using child = new Child(clock, ["sh", "-c", "echo one; echo two; read x; echo got $x; exit 3"]);
    assert.equal(await child.line("two", REPLY_MS, (line) => line === "two"), "two");
    assert.equal(await child.line("any", REPLY_MS, () => true), "one");
    child.send("ping");
    assert.equal(await child.line("the echo", REPLY_MS, () => true), "got ping");
    assert.equal(await child.ended, "exit 3");
    await assert.rejects(
      child.line("more", REPLY_MS, () => true),
      { code: "lab.child-ended" },
    );
  });

  it("says what failed and what it wrote to stderr", async () => {
    await assert.rejects(run(clock, REPLY_MS, ["sh", "-c", "echo no such luck >&2; exit 4"]), (error: Error) => {
      assert.match(error.message, /exit 4\nno such luck/u);
      return true;
    });
  });

  it("counts the CPU time of a busy process", async () => {
    await using child = new Child(clock, ["sh", "-c", "while :; do :; done"]);
    let seconds = 0;
    while (seconds === 0) seconds = await child.cpuSeconds();
    const uptime = Number((await readFile("/proc/uptime", "utf8")).split(" ")[0]);
    assert.ok(seconds < uptime);
  });
});
