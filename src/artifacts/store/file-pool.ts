import { type FileHandle, open } from "node:fs/promises";

/** Files open at once; a process may have 1,024 by default, and the sockets of a gateway come first. */
const MAX_OPEN_FILES = 64;

type OpenFile = { path: string; opening: Promise<FileHandle>; users: number };

/** `r` to read only, `r+` also to write. The file must be there. */
export type FileAccess = "r" | "r+";

/**
 * Open files of a store, the least recently used closed first. One that is in use stays open, so there are more than
 * `maxOpen` only while more than that are read or written in the same moment.
 */
export class FilePool implements AsyncDisposable {
  readonly #maxOpen: number;
  readonly #files = new Map<string, OpenFile>(); // the least recently used is first

  constructor(maxOpen = MAX_OPEN_FILES) {
    this.#maxOpen = maxOpen;
  }

  /** Files that are open. */
  get size(): number {
    return this.#files.size;
  }

  /** Lends the open file for the time of `work`. Rejects with the system's error when it cannot be opened. */
  async use<T>(path: string, access: FileAccess, work: (handle: FileHandle) => Promise<T>): Promise<T> {
    const key = `${access} ${path}`;
    const known = this.#files.get(key);
    const file = known ?? { path, opening: open(path, access), users: 0 };
    this.#files.delete(key);
    this.#files.set(key, file);
    file.users += 1;
    try {
      if (known === undefined) this.#closeSurplus();
      return await work(await this.#opened(key, file));
    } finally {
      file.users -= 1;
    }
  }

  /** Closes a file that is about to be removed or replaced; the next use opens it anew. */
  async close(path: string): Promise<void> {
    const found = [...this.#files].filter(([, file]) => file.path === path);
    await Promise.all(found.map(([key, file]) => this.#close(key, file)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#files].map(([key, file]) => this.#close(key, file)));
  }

  async #opened(key: string, file: OpenFile): Promise<FileHandle> {
    try {
      return await file.opening;
    } catch (error) {
      if (this.#files.get(key) === file) this.#files.delete(key);
      throw error;
    }
  }

  #closeSurplus(): void {
    for (const [key, file] of this.#files) {
      if (this.#files.size <= this.#maxOpen) return;
      if (file.users === 0) void this.#close(key, file).catch(() => undefined); // nothing unwritten is in it
    }
  }

  async #close(key: string, file: OpenFile): Promise<void> {
    if (this.#files.get(key) === file) this.#files.delete(key);
    const handle = await file.opening.catch(() => undefined);
    await handle?.close();
  }
}
