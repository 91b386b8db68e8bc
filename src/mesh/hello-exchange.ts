import { z } from "zod";
import { asError, type ByteStream, encodeFrame, Fault, FrameReader } from "#core";
import { MAX_ADDRESS_CHARS } from "./address.ts";
import { PROBE_KEY_BYTES, PROBE_LINK_BYTES } from "./probe-datagram.ts";
import type { ProbeKey } from "./probe-sockets.ts";

/** The first stream of every connection; afterwards the session's. docs/spec/hello.md. */
export const HELLO_PROTOCOL = "/portolan/hello/1";
const HELLO_VERSION = 1;
/** Largest message of a session. A signed document (at most 256 KiB) fits with what goes round it. */
export const MAX_MESSAGE_BYTES = 512 * 1024;
/** Addresses a node says it can be reached at. */
export const MAX_HELLO_ADDRESSES = 8;
const BOOT_BYTES = 16;

const bytesOf = (length: number) => z.instanceof(Uint8Array).refine((bytes) => bytes.length === length);
const Hello = z.strictObject({
  t: z.literal("hello"),
  v: z.literal(HELLO_VERSION),
  boot: bytesOf(BOOT_BYTES),
  addrs: z.array(z.string().max(MAX_ADDRESS_CHARS)).max(MAX_HELLO_ADDRESSES),
  offer: z.unknown(),
  probe: z.strictObject({ link: bytesOf(PROBE_LINK_BYTES), key: bytesOf(PROBE_KEY_BYTES) }).optional(),
});
const Ready = z.strictObject({ t: z.literal("ready") });
const Refuse = z.strictObject({ t: z.literal("refuse"), code: z.string().max(64), reason: z.string().max(400) });
const HelloFrame = z.discriminatedUnion("t", [Hello, Ready, Refuse]);
const Message = z.strictObject({ k: z.string().min(1).max(32), b: z.unknown().optional() });

/** What the gate makes of a hello. */
export type GateVerdict =
  | {
      accepted: true;
      /** Where the peer is. */
      site: string;
      /** Its node name. */
      name: string;
      /** Until it resolves only protocols that bring documents open a stream; rejected, it ends the connection. */
      settled?: Promise<void>;
    }
  | {
      accepted: false /** Stable, for programs. */;
      code: string /** What is wrong and what to do, for people. */;
      reason: string;
    };

/** A hello that was accepted, on both sides. */
export type Greeting = {
  boot: string;
  addresses: string[];
  site: string;
  name: string;
  settled?: Promise<void>;
  /** How the peer wants to be probed; without it, on the stream only. */
  probe: ProbeKey | undefined;
};

/** Who hears what comes over the stream once it is a session. */
export type SessionLine = { message(kind: string, body: unknown): void; ended(error?: Error): void };

export type HelloHooks = {
  /** What we say of ourselves. `boot` is drawn at start, so that a restart is seen for what it is. */
  self: () => { boot: Uint8Array; addresses: readonly string[]; offer: Record<string, unknown>; probe: ProbeKey };
  judge: (offer: unknown) => GateVerdict;
  /** Called at once when both sides have accepted, so that no byte of the session is missed. */
  accepted: (greeting: Greeting) => SessionLine;
  /** Called instead of `accepted`. */
  failed: (fault: Fault) => void;
};

/**
 * Says hello on one stream, without deadlines of its own: hello → hello → ready → session. The dialler speaks first;
 * otherwise neither side sends anything but a refusal before it has judged the other.
 */
export function startHello(stream: ByteStream, role: "dialler" | "acceptor", hooks: HelloHooks): void {
  new HelloExchange(stream, role, hooks).start();
}

class HelloExchange {
  readonly #stream: ByteStream;
  readonly #role: "dialler" | "acceptor";
  readonly #hooks: HelloHooks;
  #state: "hello" | "session" | "over" = "hello";
  #greeting: Greeting | undefined; // the acceptor's, until the dialler is ready
  #line: SessionLine | undefined;

  constructor(stream: ByteStream, role: "dialler" | "acceptor", hooks: HelloHooks) {
    this.#stream = stream;
    this.#role = role;
    this.#hooks = hooks;
  }

  start(): void {
    const reader = new FrameReader({ maxHeaderBytes: MAX_MESSAGE_BYTES, maxPayloadBytes: 0 });
    this.#stream.listen({
      data: (bytes) => {
        if (this.#state === "over") return;
        try {
          reader.push(bytes, (frame) => this.#frame(frame.header));
        } catch (error) {
          this.#stream.abort(asError(error)); // and so ends the hello or the session
        }
      },
      end: (error) => this.#ended(error),
    });
    if (this.#role === "dialler") this.#sendHello();
  }

  #frame(header: unknown): void {
    if (this.#state === "over") return;
    if (this.#state === "session") {
      const message = Message.safeParse(header);
      if (!message.success) throw malformed("a message");
      this.#line?.message(message.data.k, message.data.b);
      return;
    }
    const frame = HelloFrame.safeParse(header);
    if (!frame.success) return this.#refuse("mesh.hello-invalid", "the hello is malformed, or of another version");
    if (frame.data.t === "refuse") return this.#fail(refusedByPeer(frame.data.code, frame.data.reason));
    if (frame.data.t === "hello" && this.#greeting === undefined) return this.#judge(frame.data);
    if (frame.data.t === "ready" && this.#greeting !== undefined) return this.#open(this.#greeting);
    throw malformed("the hello");
  }

  #judge(hello: z.infer<typeof Hello>): void {
    const verdict = this.#hooks.judge(hello.offer);
    if (!verdict.accepted) return this.#refuse(verdict.code, verdict.reason);
    const boot = Buffer.from(hello.boot).toString("hex");
    const { site, name, settled } = verdict;
    const greeting = {
      boot,
      addresses: hello.addrs,
      site,
      name,
      probe: hello.probe,
      ...(settled === undefined ? {} : { settled }),
    };
    if (this.#role === "acceptor") {
      this.#greeting = greeting;
      this.#sendHello();
      return;
    }
    this.#stream.send(...encodeFrame({ t: "ready" }));
    this.#open(greeting);
  }

  #open(greeting: Greeting): void {
    this.#state = "session";
    this.#line = this.#hooks.accepted(greeting);
  }

  #sendHello(): void {
    const { boot, addresses, offer, probe } = this.#hooks.self();
    const addrs = addresses.slice(0, MAX_HELLO_ADDRESSES);
    this.#stream.send(...encodeFrame({ t: "hello", v: HELLO_VERSION, boot, addrs, offer, probe }));
  }

  #refuse(code: string, reason: string): void {
    this.#stream.send(...encodeFrame({ t: "refuse", code: code.slice(0, 64), reason: reason.slice(0, 400) }));
    this.#stream.close();
    this.#fail(
      new Fault("mesh.peer-refused", `we refused the peer: ${reason}`, { exit: "denied", details: { code, reason } }),
    );
  }

  #ended(error?: Error): void {
    if (this.#state === "session") this.#line?.ended(error);
    else this.#fail(new Fault("mesh.hello-ended", "the peer ended the hello", { exit: "offline", cause: error }));
    this.#state = "over";
  }

  #fail(fault: Fault): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#hooks.failed(fault);
  }
}

function refusedByPeer(code: string, reason: string): Fault {
  return new Fault("mesh.refused", `the peer refused this node: ${reason}`, {
    exit: "denied",
    details: { code, reason },
  });
}

function malformed(what: string): Fault {
  return new Fault("mesh.hello", `the peer sent ${what} in a wrong form or order`, { exit: "invalid" });
}
