/** Header of a DNS message: id, flags and four counts of two bytes (RFC 1035 §4.1.1). */
const HEADER_BYTES = 12;
const COUNTS_AT = 4;
/** A question is a name of at least one byte, type and class; a record has a lifetime and a length besides. */
const MIN_QUESTION_BYTES = 5;
const MIN_RECORD_BYTES = 11;
/** Questions and records of one message that are worth reading. */
const MAX_ENTRIES = 256;

/**
 * Whether what a DNS message says it holds fits into it. dns-packet believes the counts: a datagram of 117 bytes that claims 100,000 records
 * keeps it busy for a second.
 */
export function fitsItsCounts(message: Uint8Array): boolean {
  if (message.length < HEADER_BYTES) return false;
  const [questions = 0, ...records] = [0, 2, 4, 6].map(
    (at) => ((message[COUNTS_AT + at] ?? 0) << 8) | (message[COUNTS_AT + at + 1] ?? 0),
  );
  const others = records.reduce((sum, count) => sum + count, 0);
  const least = questions * MIN_QUESTION_BYTES + others * MIN_RECORD_BYTES;
  return questions + others <= MAX_ENTRIES && least <= message.length - HEADER_BYTES;
}
