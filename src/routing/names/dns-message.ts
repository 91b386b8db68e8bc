import { type Answer, decode, encode, type Question } from "dns-packet";
import { asError, fitsItsCounts } from "#core";

/** Answer over UDP to who says nothing of sizes (RFC 1035 §2.3.4). */
const PLAIN_UDP_BYTES = 512;
/** Most that goes over UDP to who allows it: passes any network without fragments (DNS flag day 2020). */
export const MAX_UDP_BYTES = 1_232;
const HEADER_BYTES = 12;
/** Type and class, after a question's name. */
const QUESTION_TAIL_BYTES = 4;
/** Of a name, lengths of labels and all (RFC 1035 §2.3.4). */
const MAX_NAME_BYTES = 255;
const MAX_LABEL_BYTES = 63;
/** Bits of the flags (RFC 1035 §4.1.1). */
const [RESPONSE, AUTHORITATIVE, TRUNCATED, RECURSION_DESIRED] = [0x80_00, 0x04_00, 0x02_00, 0x01_00];
const OPCODE = 0x78_00;

/** Response codes (RFC 1035 §4.1.1, RFC 6891 §9). */
export const RCODE = {
  ok: 0,
  malformed: 1,
  failed: 2,
  noName: 3,
  notImplemented: 4,
  refused: 5,
  badVersion: 16,
} as const;
export type Rcode = (typeof RCODE)[keyof typeof RCODE];

/** What a client asks. */
export type Query = {
  id: number;
  /** Opcode, and whether it wants recursion: they come back as they were. */
  flags: number;
  /** As it came: it goes back with the capitals that it had. Empty where it could not be read. */
  questionBytes: Uint8Array;
  question: Question | undefined;
  /** Bytes that it takes over UDP when it speaks EDNS(0) (RFC 6891). */
  edns: { maxBytes: number } | undefined;
  /** What is to be answered instead of records. */
  refusal: Rcode | undefined;
};

/** What is said to a query. */
export type Reply = {
  rcode: Rcode;
  /** Whether this server has the last word on it: all of the zone, and nothing else. */
  authoritative: boolean;
  answers: readonly Answer[];
  authorities: readonly Answer[];
};

/** A query, maybe one that is to be refused; `undefined` for what gets no answer, so that two servers never answer each other for ever. */
export function readQuery(message: Uint8Array): Query | undefined {
  if (message.length < HEADER_BYTES) return undefined;
  const bytes = Buffer.from(message.buffer, message.byteOffset, message.length);
  const flags = bytes.readUInt16BE(2);
  if ((flags & RESPONSE) !== 0) return undefined;
  const bare = { id: bytes.readUInt16BE(0), flags: flags & (OPCODE | RECURSION_DESIRED) };
  const nothing = { ...bare, questionBytes: new Uint8Array(), question: undefined, edns: undefined };
  if ((flags & OPCODE) !== 0) return { ...nothing, refusal: RCODE.notImplemented };
  const end = questionEnd(bytes);
  if (end === undefined || !fitsItsCounts(bytes)) return { ...nothing, refusal: RCODE.malformed };
  try {
    return { ...bare, questionBytes: bytes.subarray(HEADER_BYTES, end), ...contentOf(bytes) };
  } catch (error) {
    asError(error); // dns-packet throws whatever it stumbles over
    return { ...nothing, refusal: RCODE.malformed };
  }
}

function contentOf(bytes: Buffer): Pick<Query, "question" | "edns" | "refusal"> {
  const { questions = [], answers = [], authorities = [], additionals = [] } = decode(bytes);
  const options = additionals.filter((record) => record.type === "OPT");
  const [question] = questions;
  const [option] = options;
  const edns = option === undefined ? undefined : { maxBytes: option.udpPayloadSize };
  const isOdd = questions.length !== 1 || answers.length + authorities.length > 0 || options.length > 1;
  if (isOdd) return { question, edns, refusal: RCODE.malformed };
  if (option !== undefined && option.ednsVersion !== 0) return { question, edns, refusal: RCODE.badVersion };
  // other classes have no names here, and transfers of the zone are for nobody
  const isRefused = question?.class !== "IN" || question.type === "AXFR" || question.type === "IXFR";
  return { question, edns, refusal: isRefused ? RCODE.refused : undefined };
}

/** Where the first question ends; its name stands there whole, for there is nothing before it that it could point to. */
function questionEnd(bytes: Buffer): number | undefined {
  let at = HEADER_BYTES;
  for (;;) {
    const length = bytes[at];
    if (length === undefined || length > MAX_LABEL_BYTES) return undefined;
    at += 1 + length;
    if (at - HEADER_BYTES > MAX_NAME_BYTES) return undefined;
    if (length === 0) break;
  }
  return at + QUESTION_TAIL_BYTES <= bytes.length ? at + QUESTION_TAIL_BYTES : undefined;
}

/** Bytes that an answer over UDP may have. */
export function udpLimit({ edns }: Query): number {
  return edns === undefined ? PLAIN_UDP_BYTES : Math.min(Math.max(edns.maxBytes, PLAIN_UDP_BYTES), MAX_UDP_BYTES);
}

/** The message to send. One that is larger than `maxBytes` goes without records and says that they are missing: the client asks again over TCP. */
export function writeReply(query: Query, reply: Reply, maxBytes: number): Uint8Array {
  const whole = encodeReply(query, reply, 0);
  return whole.length <= maxBytes ? whole : encodeReply(query, { ...reply, answers: [], authorities: [] }, TRUNCATED);
}

function encodeReply(query: Query, { rcode, authoritative, answers, authorities }: Reply, more: number): Uint8Array {
  const option: Answer = {
    type: "OPT",
    name: ".",
    udpPayloadSize: MAX_UDP_BYTES,
    extendedRcode: rcode >> 4,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  };
  const rest = encode({
    id: query.id,
    type: "response",
    flags: query.flags | (authoritative ? AUTHORITATIVE : 0) | more | (rcode & 0xf),
    answers: [...answers],
    authorities: [...authorities],
    additionals: query.edns === undefined ? [] : [option],
  });
  const isEmpty = query.questionBytes.length === 0;
  rest.writeUInt16BE(isEmpty ? 0 : 1, 4); // the question goes between header and records, which dns-packet writes without pointers
  return Buffer.concat([rest.subarray(0, HEADER_BYTES), query.questionBytes, rest.subarray(HEADER_BYTES)]);
}
