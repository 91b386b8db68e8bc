import { Worker } from "node:worker_threads";

/** Threads at once: they keep two cores busy, and the disk of an edge node is no faster than that. Each takes 11 MiB. */
const MAX_THREADS = 2;

/** Part of a file: `bytes` from `offset` on, which a cell begins. Files are given by descriptors, which are the process's. */
export type HashJob = {
  source: number;
  /** Where to write what is read, at the same offset. */
  copy: number | undefined;
  offset: number;
  bytes: number;
};
/** The leaf hash of each cell, 32 bytes each; or the system's error. */
export type HashAnswer = { hashes: Uint8Array } | { failed: { message: string; code?: string } };

/** A thread that reads and hashes, so that the daemon's own thread stays free for its peers. */
class HashThread implements AsyncDisposable {
  readonly #worker = new Worker(new URL("./hash-worker.mjs", import.meta.url));
  readonly #waiting: PromiseWithResolvers<Uint8Array>[] = [];
  #ended = false;

  constructor() {
    this.#worker.on("message", (answer: HashAnswer) => {
      const waiting = this.#waiting.shift();
      if ("hashes" in answer) waiting?.resolve(answer.hashes);
      else waiting?.reject(Object.assign(new Error(answer.failed.message), { code: answer.failed.code }));
    });
    this.#worker.on("error", (error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new Error("the hashing thread ended")));
  }

  /** Whether it takes no more jobs. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Jobs that are not answered yet. */
  get load(): number {
    return this.#waiting.length;
  }

  hash(job: HashJob): Promise<Uint8Array> {
    const waiting = Promise.withResolvers<Uint8Array>();
    this.#waiting.push(waiting);
    this.#worker.postMessage(job, []);
    return waiting.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }

  #fail(error: unknown): void {
    this.#ended = true;
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

/** The threads of a process, there while somebody uses them. */
export class HashThreads {
  #threads: HashThread[] = [];
  #users = 0;

  /** Whether they are there already, and so cost nothing to use. */
  get running(): boolean {
    return this.#threads.length > 0;
  }

  /** Keeps the threads for the time of `work`. */
  async use<T>(work: () => Promise<T>): Promise<T> {
    this.#users += 1;
    try {
      return await work();
    } finally {
      this.#users -= 1;
      if (this.#users === 0) for (const thread of this.#threads.splice(0)) await thread[Symbol.asyncDispose]();
    }
  }

  /** The leaf hashes of a part of a file, by the thread that has the least to do. Rejects with the system's error, or when the thread ends. */
  hash(job: HashJob): Promise<Uint8Array> {
    this.#threads = this.#threads.filter(({ ended }) => !ended);
    let [best] = this.#threads.toSorted((a, b) => a.load - b.load);
    if (best === undefined || (best.load > 0 && this.#threads.length < MAX_THREADS)) {
      best = new HashThread();
      this.#threads.push(best);
    }
    return best.hash(job);
  }
}
