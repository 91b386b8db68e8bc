import { readFileSync } from "node:fs";
import { arch, cpus, release, totalmem } from "node:os";
import type { Bench, Report } from "./bench.ts";

/** The machine that the figures hold for. */
export function machine(): Record<string, unknown> {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    memoryMib: Math.round(totalmem() / 2 ** 20),
    kernel: `${process.platform} ${release()} ${arch()}`,
    aes: /^flags\s*:.*\baes\b/mu.test(readFileSync("/proc/cpuinfo", "utf8")),
    node: process.version,
  };
}

/** The report as a person reads it: every figure that the bars are computed from, then the bars. */
export function renderReport(bench: Bench, report: Report): string {
  return [
    `${bench.name}: ${bench.claim}`,
    "conditions",
    ...pairs(report.conditions),
    "outside the measured time, seconds",
    ...pairs(report.setupSeconds),
    "samples",
    ...report.samples.flatMap((sample) => [`  ${JSON.stringify(sample, rounded)}`]),
    "bars",
    ...report.bars.map(
      (b) => `  ${b.met ? "met  " : "UNMET"} ${b.name.padEnd(60)} ${b.bar.padEnd(8)} ${show(b.value)}`,
    ),
    "",
  ].join("\n");
}

const pairs = (values: Readonly<Record<string, unknown>>): string[] =>
  Object.entries(values).map(([key, value]) => `  ${key.padEnd(24)} ${show(value)}`);

const show = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value, rounded));

/** Figures to a thousandth: more is noise. The JSON output keeps them as measured. */
function rounded(_key: string, value: unknown): unknown {
  return typeof value === "number" && !Number.isInteger(value) ? Math.round(value * 1000) / 1000 : value;
}
