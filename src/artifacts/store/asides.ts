import { mkdir, rm, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { shareBlocks } from "./import-file.ts";
import type { StoreSpace } from "./space.ts";

/** A file system may keep smaller files without a block of their own. */
const PROBE_BYTES = 64 * 1024;

/** A file in the making; disposing of it gives back the room that was promised to it. */
export type Aside = { path: string } & Disposable;

/** Files that become blobs once their roots are known. What a crash leaves of them is removed at the next start. */
export class Asides {
  readonly #dir: string;
  readonly #space: StoreSpace;
  #made = 0;

  constructor(storeDir: string, space: StoreSpace) {
    this.#dir = join(storeDir, "importing");
    this.#space = space;
  }

  /** Removes what an earlier run left. */
  static async clear(storeDir: string): Promise<void> {
    await rm(join(storeDir, "importing"), { recursive: true, force: true });
  }

  /** Room for a file of this size, and a path at which to make it. Throws Fault `artifacts.no-room`. */
  async make(sizeBytes: number, what: string): Promise<Aside> {
    const path = await this.#newPath();
    const promise = await this.#space.promise([{ root: path, sizeBytes }], what);
    return { path, [Symbol.dispose]: () => promise[Symbol.dispose]() };
  }

  /** A file that shares the blocks of `source`, and so takes no room; `undefined` where that cannot be. */
  async share(source: string): Promise<string | undefined> {
    const path = await this.#newPath();
    return (await shareBlocks(source, path)) ? path : undefined;
  }

  /** Whether files in `folder` can share blocks with those of the store. */
  async sharesBlocksWith(folder: string): Promise<boolean> {
    const probe = await this.#newPath();
    const twin = join(folder, `.portolan-probe-${process.pid}-${basename(probe)}`);
    try {
      await writeFile(probe, Buffer.alloc(PROBE_BYTES, 1));
      return await shareBlocks(probe, twin);
    } finally {
      for (const path of [probe, twin]) await rm(path, { force: true });
    }
  }

  async #newPath(): Promise<string> {
    await mkdir(this.#dir, { recursive: true, mode: 0o700 });
    return join(this.#dir, String(this.#made++));
  }
}
