import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SystemRandom } from "#core";
import { readClaims } from "../../../src/identity/claims-csv.ts";
import { HighWaterFile } from "../../../src/identity/high-water.ts";
import { ipInCidr, ipScope, isCidr } from "../../../src/identity/ip-range.ts";
import { createKeyFile, openKeyFile } from "../../../src/identity/key-file.ts";
import { isNodeId, nodeIdOf, publicKeyOf } from "../../../src/identity/node-id.ts";
import { loadNodeKey } from "../../../src/identity/node-key.ts";
import { checkPass, createPass, passKey } from "../../../src/identity/pass.ts";
import { formatPublicKey, parsePublicKey } from "../../../src/identity/public-key-file.ts";
import { decodeToken, encodeToken } from "../../../src/identity/token.ts";
import { NOW_MS, TestFleet, testKey } from "../../support/fleet.ts";
import { type FuzzTarget, mustHold } from "../target.ts";

const fleet = new TestFleet();
const device = testKey(50);
const text = (...lines: string[]): Uint8Array => Buffer.from(lines.join("\n"));
const utf8 = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

const token: FuzzTarget = {
  name: "token",
  covers: ["src/identity/token.ts#decodeToken"],
  grammar: "cbor",
  seeds: () => [TOKEN, { ...TOKEN, rendezvous: [], expiresMs: NOW_MS + 1_000 }].map(tokenBody),
  refuses: ["identity.token-format", "identity.token-cut", "identity.token", "identity.token-expired"],
  prepare: () => (input) => {
    const text = utf8(input).startsWith("ptl1.") ? utf8(input) : sealedToken(input);
    const read = decodeToken(text, { nowMs: NOW_MS });
    mustHold(encodeToken(read) === text.trim(), "one token has two texts");
    return `${read.rendezvous.length > 0}`;
  },
};

const TOKEN = {
  fleet: fleet.id,
  owners: ["ab".repeat(32)],
  rendezvous: ["/ip4/192.0.2.1/tcp/4001/tls", "/dns4/gate.example/tcp/4001/tls"],
  minCharter: 1,
  minRevocation: 0,
};

function tokenBody(value: Parameters<typeof encodeToken>[0]): Uint8Array {
  return Buffer.from(encodeToken(value).slice("ptl1.".length), "base64url").subarray(0, -4);
}

/** The checksum is put on, or nothing would get past it. */
function sealedToken(body: Uint8Array): string {
  const checksum = createHash("sha256").update("ptl1.").update(body).digest().subarray(0, 4);
  return `ptl1.${Buffer.concat([body, checksum]).toString("base64url")}`;
}

const claims: FuzzTarget = {
  name: "claims",
  covers: ["src/identity/claims-csv.ts#readClaims"],
  grammar: "text",
  maxBytes: 4 * 1024, // read row by row: a longer file is only more of the same
  seeds: () => [
    text("serial,model,key,tenant,labels,expires", "SN-1,box,,default,rack=r1;camera=yes,2027-01-01", "SN-2,,,,,"),
    text("\u{feff}serial,model,key,tenant,labels,expires,site\r", `"a ""b""",,${"ab".repeat(32)},,,,berlin\r`, ""),
  ],
  refuses: ["identity.claims"],
  prepare: () => async (input) => `${Math.min(3, (await Array.fromAsync(readClaims([input]))).length)} rows`,
};

/** Passes whose checksum is right, or nothing behind it would be looked at. */
const pass: FuzzTarget = {
  name: "pass",
  covers: ["src/identity/pass.ts#readPassFile"],
  grammar: "text",
  seeds: () => [text(createPass(new SystemRandom())), new Uint8Array(16), new Uint8Array(17)],
  refuses: ["identity.pass"],
  prepare: () => (input) => {
    const checksum = createHash("sha256").update("ptp1.").update(input.subarray(0, 16)).digest().subarray(0, 4);
    const said = utf8(input);
    const sealed = `ptp1.${Buffer.concat([input.subarray(0, 16), checksum]).toString("base64url")}`;
    const whole = checkPass(said.trimStart().startsWith("ptp1.") ? said : sealed);
    mustHold(passKey(whole, fleet.id).publicKey.length === 32, "a pass without a key");
    return "pass";
  },
};

const publicKey: FuzzTarget = {
  name: "public-key",
  covers: ["src/identity/public-key-file.ts#parsePublicKey", "src/identity/public-key-file.ts#readPublicKeyFile"],
  grammar: "text",
  seeds: () => [Buffer.from(formatPublicKey({ name: "ada", publicKey: device.publicKey }))],
  refuses: ["identity.public-key"],
  prepare: () => (input) => {
    const read = parsePublicKey(utf8(input));
    mustHold(formatPublicKey(read).trim() === utf8(input).trim(), "one key has two texts");
    return "key";
  },
};

const names: FuzzTarget = {
  name: "addresses-and-ids",
  covers: [
    "src/identity/node-id.ts#isNodeId",
    "src/identity/node-id.ts#publicKeyOf",
    "src/identity/ip-range.ts#isCidr",
    "src/identity/ip-range.ts#ipInCidr",
    "src/identity/ip-range.ts#ipScope",
  ],
  grammar: "text",
  seeds: () =>
    [nodeIdOf(device.publicKey), "10.1.0.0/16", "2001:db8::/32", "::ffff:192.0.2.7", "fe80::1%eth0"].map((one) =>
      Buffer.from(one),
    ),
  refuses: ["identity.node-id"],
  prepare: () => (input) => {
    const said = utf8(input);
    ipInCidr(said, "10.0.0.0/8");
    ipInCidr("10.0.0.1", said);
    if (isCidr(said)) return "range";
    if (ipScope(said) !== undefined) return "address";
    mustHold(isNodeId(said) === (nodeIdOf(publicKeyOf(said)) === said), "one key has two ids");
    return "id";
  },
};

/** Files that a node reads back; somebody, or a dying disk, may have changed them. */
const stateFiles: FuzzTarget = {
  name: "state-files",
  covers: [
    "src/identity/key-file.ts#openKeyFile",
    "src/identity/key-file.ts#readPrivateFile",
    "src/identity/node-key.ts#loadNodeKey",
    "src/identity/high-water.ts#HighWaterFile",
  ],
  grammar: "json",
  seeds: () =>
    withFolder((folder) => {
      const random = { bytes: (length: number) => new Uint8Array(length).fill(3), unit: () => 0, below: () => 0 };
      const open = { path: join(folder, "a.key"), publicPath: join(folder, "a.pub"), name: "ada" };
      createKeyFile(random, { ...open, passphrase: undefined });
      loadNodeKey(join(folder, "node.key"), random);
      const written = new HighWaterFile(join(folder, "marks"));
      written.enter("ab".repeat(32));
      written.raise({ timeMs: NOW_MS, charter: 2 });
      return [...["a.key", "node.key", "marks"].map((name) => readFileSync(join(folder, name))), SEALED_KEY];
    }),
  refuses: ["identity.key-file", "identity.node-key", "identity.passphrase"],
  prepare: () => {
    const folder = mkdtempSync(join(tmpdir(), "portolan-fuzz-"));
    process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
    return async (input) => {
      const path = join(folder, "file");
      writeFileSync(path, atLeastCost(input), { mode: 0o600 });
      const { fleet = "00".repeat(32), ...marks } = new HighWaterFile(path).marks;
      mustHold(/^[0-9a-f]{64}$/u.test(fleet), "a fleet is no fleet");
      mustHold(
        Object.values(marks).every((mark) => Number.isSafeInteger(mark) && mark >= 0),
        "a mark is no number",
      );
      if (/node-key/u.test(utf8(input))) return `node key ${loadNodeKey(path, new SystemRandom()).nodeId.length}`;
      return `key ${(await openKeyFile(path, async () => "")).name.length > 0}`;
    };
  },
};

/** What a key file may say at most that its passphrase costs (docs/spec/key-files.md). */
const MAX_COST = 2 ** 20;

/** How long it takes to open a key file is up to who wrote it: here a cost that would be accepted is the least, and all else stays as it is. */
function atLeastCost(input: Uint8Array): Uint8Array | string {
  let file: { sealed?: { N?: unknown } } | null;
  try {
    file = JSON.parse(utf8(input)) as typeof file;
  } catch {
    return input;
  }
  const cost = file?.sealed?.N;
  if (typeof cost !== "number" || cost <= 2 || cost > MAX_COST || !Number.isInteger(Math.log2(cost))) return input;
  return JSON.stringify({ ...file, sealed: { ...file?.sealed, N: 2 } });
}

/** Sealed at the least cost that is allowed, so that opening it takes no time. */
const SEALED_KEY = Buffer.from(
  JSON.stringify({
    format: "portolan-key-v1",
    name: "ada",
    publicKey: Buffer.from(device.publicKey).toString("base64"),
    sealed: {
      kdf: "scrypt",
      N: 2,
      r: 8,
      p: 1,
      salt: Buffer.alloc(16).toString("base64"),
      nonce: Buffer.alloc(24).toString("base64"),
      box: Buffer.alloc(48).toString("base64"),
    },
  }),
);

function withFolder<T>(work: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "portolan-fuzz-"));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

export const IDENTITY_TARGETS: readonly FuzzTarget[] = [token, claims, pass, publicKey, names, stateFiles];
