import { createSocket } from "node:dgram";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { SystemClock } from "#core";

/** The least pause between two messages that a report takes for normal is their median; they go this far apart. */
export const MESSAGE_EVERY_MS = 5;
/** A message is its number. */
const MESSAGE_BYTES = 8;

/** What the reader saw since it was asked last. Times of day are Unix milliseconds by the machine's clock. */
export type FlowReport = {
  messages: number;
  /** Numbers that were passed over. */
  missing: number;
  /** The longest time without a message, and when it began; what has lasted until now counts. */
  gapMs: number;
  gapFromMs: number;
  /** Half of the pauses are shorter. */
  usualMs: number;
};

const clock = new SystemClock();

function numbered(number: number): Buffer {
  const message = Buffer.alloc(MESSAGE_BYTES);
  message.writeBigUInt64BE(BigInt(number));
  return message;
}

/** Calls back as often as messages are due, also to make up for a turn that came late. */
async function everyTurn(isOver: () => boolean, send: (number: number) => void): Promise<void> {
  const startMs = clock.nowMs();
  for (let number = 0; !isOver(); ) {
    for (; startMs + number * MESSAGE_EVERY_MS <= clock.nowMs(); number++) send(number);
    await clock.sleep(startMs + number * MESSAGE_EVERY_MS - clock.nowMs());
  }
}

/** Sends messages to everybody who connects. */
function serveTcp(): void {
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => undefined);
    void everyTurn(
      () => socket.destroyed,
      (number) => socket.write(numbered(number)),
    );
  });
  server.listen(0, "127.0.0.1", () => console.log(`port ${(server.address() as AddressInfo).port}`));
}

/** Sends messages to one address, whether anybody hears them or not. */
function sendUdp(host: string, port: number): void {
  const socket = createSocket("udp4");
  socket.on("error", () => undefined); // no route just now
  void everyTurn(
    () => false,
    (number) => socket.send(numbered(number), port, host, () => undefined),
  );
}

/** Watches numbers come. */
class Gaps {
  readonly #first: () => void;
  #next = 0;
  #lastMs = clock.nowMs();
  #report = this.#empty();
  #pauses: number[] = [];

  constructor(first: () => void) {
    this.#first = first;
  }

  heard(number: number): void {
    const nowMs = clock.nowMs();
    if (this.#next === 0) this.#first();
    if (number > this.#next) this.#report.missing += number - this.#next;
    this.#next = Math.max(this.#next, number + 1);
    this.#report.messages += 1;
    this.#pause(nowMs);
    this.#pauses.push(nowMs - this.#lastMs);
    this.#lastMs = nowMs;
  }

  take(): FlowReport {
    this.#pause(clock.nowMs());
    const usualMs = this.#pauses.toSorted((a, b) => a - b)[this.#pauses.length >> 1] ?? 0;
    const report = { ...this.#report, usualMs };
    this.#report = this.#empty();
    this.#pauses = [];
    return report;
  }

  #pause(nowMs: number): void {
    const gapMs = nowMs - this.#lastMs;
    if (gapMs <= this.#report.gapMs) return;
    this.#report.gapMs = gapMs;
    this.#report.gapFromMs = clock.wallMs() - gapMs;
  }

  #empty(): FlowReport {
    return { messages: 0, missing: 0, gapMs: 0, gapFromMs: clock.wallMs(), usualMs: 0 };
  }
}

/** Says so when the first message comes, and answers each line on stdin with a report. */
function startReading(): Gaps {
  const gaps = new Gaps(() => console.log("ready"));
  createInterface(process.stdin).on("line", () => console.log(JSON.stringify(gaps.take())));
  return gaps;
}

function readTcp(port: number): void {
  const gaps = startReading();
  let rest: Buffer = Buffer.alloc(0);
  const socket: Socket = connect({ host: "127.0.0.1", port, noDelay: true });
  socket.on("data", (piece: Buffer) => {
    rest = Buffer.concat([rest, piece]);
    for (; rest.length >= MESSAGE_BYTES; rest = rest.subarray(MESSAGE_BYTES))
      gaps.heard(Number(rest.readBigUInt64BE()));
  });
  socket.on("error", ({ message }) => fail(message));
  socket.on("close", () => fail("the connection is over"));
}

function readUdp(port: number): void {
  const gaps = startReading();
  createSocket("udp4", (message) => gaps.heard(Number(message.readBigUInt64BE()))).bind(port);
}

function fail(message: string): void {
  console.error(message);
  process.exit(1);
}

const [role, ...words] = process.argv.slice(2);
if (role === "serve-tcp") serveTcp();
else if (role === "read-tcp") readTcp(Number(words[0]));
else if (role === "send-udp") sendUdp(words[0] ?? "", Number(words[1]));
else if (role === "read-udp") readUdp(Number(words[0]));
