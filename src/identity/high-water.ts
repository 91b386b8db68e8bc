import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { z } from "zod";
import { faultCode, parseJson } from "#core";
import { writeDurably } from "./durable-file.ts";

const MAX_FILE_BYTES = 4 * 1024;
const mark = z.int().min(0);
const fileSchema = z.strictObject({
  /** The fleet whose versions these are, in hex. */
  fleet: z
    .string()
    .regex(/^[0-9a-f]{64}$/u)
    .optional(),
  timeMs: mark,
  charter: mark,
  revocation: mark,
  /** Version of the owners' last time reset that was carried out. */
  timeReset: mark.default(0),
});

/** What a node must never fall behind, not even after a crash or when its documents are lost. */
export type HighWater = z.infer<typeof fileSchema>;

const NONE: HighWater = { timeMs: 0, charter: 0, revocation: 0, timeReset: 0 };

/** Keeps high-water marks on disk. A mark only grows, but for the time at the owners' word; once `raise` has returned, a crash cannot take it back. */
export class HighWaterFile {
  readonly #path: string;
  #marks: HighWater;

  /**
   * Opens `path`, or starts at zero when there is no such file. A damaged file also reads as zero: `writeDurably` leaves none
   * behind, so the disk is at fault, and a node that does not start protects nothing.
   */
  constructor(path: string) {
    this.#path = path;
    this.#marks = readMarks(path);
  }

  get marks(): Readonly<HighWater> {
    return this.#marks;
  }

  /** The versions are this fleet's from now on. Those of another one start at zero; the time is nobody's, and stays. */
  enter(fleet: string): void {
    const { timeMs } = this.#marks;
    const isOther = this.#marks.fleet !== undefined && this.#marks.fleet !== fleet;
    this.#write(isOther ? { ...NONE, fleet, timeMs } : { ...this.#marks, fleet });
  }

  /** How far this node had got in the fleet, also when it has lost or left it since. */
  floorIn(fleet: string): { charter: number; revocation: number } {
    const { charter, revocation } = this.#marks.fleet === fleet ? this.#marks : NONE;
    return { charter, revocation };
  }

  /** Raises the marks that are higher than before, durably; writes nothing when none is. */
  raise(next: Partial<Omit<HighWater, "fleet">>): void {
    const raised: HighWater = {
      ...this.#marks,
      timeMs: Math.max(this.#marks.timeMs, Math.floor(next.timeMs ?? 0)),
      charter: Math.max(this.#marks.charter, next.charter ?? 0),
      revocation: Math.max(this.#marks.revocation, next.revocation ?? 0),
    };
    this.#write(raised);
  }

  /** Takes the time back if it is later, once for each version of the owners' word. `false`: this version was carried out before. */
  resetTime(timeMs: number, version: number): boolean {
    if (version <= this.#marks.timeReset) return false;
    this.#write({ ...this.#marks, timeMs: Math.min(this.#marks.timeMs, Math.floor(timeMs)), timeReset: version });
    return true;
  }

  #write(next: HighWater): void {
    if (isDeepStrictEqual(next, this.#marks)) return;
    writeDurably(this.#path, Buffer.from(`${JSON.stringify(next)}\n`), 0o600);
    this.#marks = next;
  }
}

function readMarks(path: string): HighWater {
  try {
    const parsed = fileSchema.safeParse(parseJson(readFileSync(path), MAX_FILE_BYTES));
    return parsed.success ? parsed.data : NONE;
  } catch (error) {
    if (faultCode(error) === "core.json" || isMissing(error)) return NONE;
    throw error;
  }
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ENOENT";
}
