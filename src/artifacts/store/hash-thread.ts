import { Worker } from "node:worker_threads";

/** `bytes` of the shared memory, from `offset` on. */
export type HashJob = { offset: number; bytes: number; chunkBytes: number };
/** The hash of each chunk. */
export type HashAnswer = Uint8Array[];

/** Hashes large files on a thread of its own: two at once take two cores, and the daemon's own thread stays free for its peers. */
export class HashThread implements AsyncDisposable {
  /** What is hashed must lie in here. */
  readonly memory: SharedArrayBuffer;
  readonly #worker: Worker;
  readonly #waiting: PromiseWithResolvers<HashAnswer>[] = [];

  constructor(memoryBytes: number) {
    this.memory = new SharedArrayBuffer(memoryBytes);
    this.#worker = new Worker(new URL("./hash-worker.ts", import.meta.url), { workerData: this.memory });
    this.#worker.on("message", (hashes: HashAnswer) => this.#waiting.shift()?.resolve(hashes));
    this.#worker.on("error", (error) => this.#fail(error));
    this.#worker.on("exit", () => this.#fail(new Error("the hashing thread ended")));
  }

  /** The hashes of the chunks of a view into `memory`, in order. Rejects when the thread ends. */
  hash(bytes: Uint8Array, chunkBytes: number): Promise<HashAnswer> {
    const waiting = Promise.withResolvers<HashAnswer>();
    this.#waiting.push(waiting);
    const job: HashJob = { offset: bytes.byteOffset, bytes: bytes.length, chunkBytes };
    this.#worker.postMessage(job, []);
    return waiting.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker.terminate();
  }

  #fail(error: unknown): void {
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error);
  }
}

/** Threads for the files that are hashed at once; those that have nothing to do stay until no file is left. */
export class HashThreads {
  #idle: HashThread[] = [];
  #busy = 0;

  /** Lends a thread with so much memory for the time of `work`; one whose work failed is not used again. */
  async use<T>(memoryBytes: number, work: (thread: HashThread) => Promise<T>): Promise<T> {
    const thread = this.#idle.pop() ?? new HashThread(memoryBytes);
    this.#busy += 1;
    let idle: HashThread | undefined;
    try {
      const result = await work(thread);
      idle = thread;
      return result;
    } finally {
      this.#busy -= 1;
      if (idle === undefined) await thread[Symbol.asyncDispose]();
      else this.#idle.push(idle);
      if (this.#busy === 0) for (const one of this.#idle.splice(0)) await one[Symbol.asyncDispose]();
    }
  }
}
