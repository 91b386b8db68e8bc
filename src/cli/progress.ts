import type { Io } from "./io.ts";
import { formatBytes } from "./units.ts";

/** Where nobody watches, a line this often shows that it goes on. */
const PLAIN_EVERY_MS = 5_000;

/** Shows how far some bytes are: a bar on a terminal, else a line now and then. Always on stderr. */
export interface Progress extends AsyncDisposable {
  update(bytes: number, sizeBytes: number, note: string): void;
}

export async function startProgress(io: Io, title: string): Promise<Progress> {
  if (io.stderr.isTTY === true && isWritable(io.stderr)) return await startBar(io.stderr, title);
  let saidAtMs = io.clock.nowMs();
  return {
    update: (bytes, sizeBytes, note) => {
      const nowMs = io.clock.nowMs();
      if (nowMs - saidAtMs < PLAIN_EVERY_MS) return;
      saidAtMs = nowMs;
      io.stderr.write(`${title}: ${formatBytes(bytes)} of ${formatBytes(sizeBytes)} ${note}\n`);
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function startBar(stream: NodeJS.WritableStream, title: string): Promise<Progress> {
  const { default: cliProgress } = await import("cli-progress");
  const bar = new cliProgress.SingleBar({
    stream,
    format: "{title} {bar} {percentage}% {done} of {size}  {note}",
    barCompleteChar: "#",
    barIncompleteChar: "-",
    hideCursor: true,
    clearOnComplete: true,
  });
  bar.start(1, 0, { title, done: "0 B", size: "?", note: "" });
  return {
    update: (bytes, sizeBytes, note) => {
      bar.setTotal(Math.max(1, sizeBytes));
      bar.update(bytes, { title, done: formatBytes(bytes), size: formatBytes(sizeBytes), note });
    },
    [Symbol.asyncDispose]: () => Promise.resolve(bar.stop()),
  };
}

function isWritable(sink: object): sink is NodeJS.WritableStream {
  return "on" in sink && "write" in sink;
}
