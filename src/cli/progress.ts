import type { Io } from "./io.ts";
import { formatBytes } from "./units.ts";

/** Where nobody watches, a line this often shows that it goes on. */
const PLAIN_EVERY_MS = 5_000;

/** How far some bytes are, and a word on what is being done. */
export type UpdateProgress = (bytes: number, sizeBytes: number, note: string) => void;

/** Shows how `work` gets on: a bar on a terminal, else a line now and then. Always on stderr. */
export async function withProgress<T>(io: Io, title: string, work: (update: UpdateProgress) => Promise<T>): Promise<T> {
  if (io.stderr.isTTY === true && isWritable(io.stderr)) return await withBar(io.stderr, title, work);
  let saidAtMs = io.clock.nowMs();
  return await work((bytes, sizeBytes, note) => {
    const nowMs = io.clock.nowMs();
    if (nowMs - saidAtMs < PLAIN_EVERY_MS) return;
    saidAtMs = nowMs;
    io.stderr.write(`${title}: ${formatBytes(bytes)} of ${formatBytes(sizeBytes)}, ${note}\n`);
  });
}

async function withBar<T>(
  stream: NodeJS.WritableStream,
  title: string,
  work: (update: UpdateProgress) => Promise<T>,
): Promise<T> {
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
  try {
    return await work((bytes, sizeBytes, note) => {
      bar.setTotal(Math.max(1, sizeBytes));
      bar.update(bytes, { title, done: formatBytes(bytes), size: formatBytes(sizeBytes), note });
    });
  } finally {
    bar.stop();
  }
}

function isWritable(sink: object): sink is NodeJS.WritableStream {
  return "on" in sink && "write" in sink;
}
