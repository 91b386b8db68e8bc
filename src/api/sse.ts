import { Fault } from "#core";

/** One server-sent event (WHATWG HTML §9.2), its data JSON in one line. */
export type ServerEvent = { event: string; data: unknown };

/** Largest event in bytes: a list entry with all its detail, e.g. 10,000 copies of an artifact at about 300 bytes. */
export const MAX_EVENT_BYTES = 8 * 1024 * 1024;

/** The event as it is sent. */
export function encodeEvent({ event, data }: ServerEvent): Uint8Array {
  return Buffer.from(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
}

/**
 * Reads events as our server writes them: one `event` and one `data` line each; comments are skipped.
 *
 * Throws Fault `api.stream` for an event over `MAX_EVENT_BYTES` or one that is not of this form.
 */
export class EventParser {
  #rest = "";
  readonly #decoder = new TextDecoder("utf-8", { fatal: true });

  /** The events that these bytes complete. */
  push(bytes: Uint8Array): ServerEvent[] {
    this.#rest += this.#decode(bytes);
    const blocks = this.#rest.split("\n\n");
    this.#rest = blocks.pop() ?? "";
    if (this.#rest.length > MAX_EVENT_BYTES) throw refuse(`is over ${MAX_EVENT_BYTES} bytes`);
    return blocks.map((block) => parseBlock(block)).filter((event) => event !== undefined);
  }

  #decode(bytes: Uint8Array): string {
    try {
      return this.#decoder.decode(bytes, { stream: true });
    } catch (cause) {
      throw refuse("is not valid UTF-8", cause);
    }
  }
}

function parseBlock(block: string): ServerEvent | undefined {
  const lines = block.split("\n").filter((line) => !line.startsWith(":"));
  if (lines.length === 0) return undefined;
  const [name, data] = lines;
  if (lines.length !== 2 || name?.startsWith("event: ") !== true || data?.startsWith("data: ") !== true) {
    throw refuse("is not one event line and one data line");
  }
  try {
    return { event: name.slice(7), data: JSON.parse(data.slice(6)) as unknown };
  } catch (cause) {
    throw refuse("has data that is not JSON", cause);
  }
}

function refuse(why: string, cause?: unknown): Fault {
  return new Fault("api.stream", `an event of the daemon ${why}`, { cause });
}
