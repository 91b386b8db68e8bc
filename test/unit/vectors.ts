import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** Public test vectors live outside the repository: `PORTOLAN_VECTORS`, or `shared/vectors` beside it. */
const FOLDER = process.env["PORTOLAN_VECTORS"] ?? fileURLToPath(new URL("../../../shared/vectors", import.meta.url));

/** A vector file as text; `undefined` when it is not on this machine, and then the test that wanted it is skipped by name. */
export function readVectors(path: string): string | undefined {
  const file = `${FOLDER}/${path}`;
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}
