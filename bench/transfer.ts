import { once } from "node:events";
import { mkdir, rm } from "node:fs/promises";
import { loadavg } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { z } from "zod";
import { type Clock, withDeadline } from "#core";
import { atLeast, atMost, type Bar, type BenchContext, defineBench, median, numberFlag, type Sample } from "./bench.ts";
import { run } from "./lab/index.ts";
import { compareCopies, cpuSeconds, type Place, type StartFleet, startLocally } from "./fleet.ts";
import { libtorrentMissing, startLibtorrent } from "./libtorrent.ts";
import { startPortolan } from "./portolan.ts";
import { touchPageCache, writeRandomFile } from "./workspace.ts";

/** Median speed over libtorrent's, and processor time over libtorrent's, both sides together. */
const SPEED_RATIO = 1.5;
const CPU_RATIO = 0.65;
/** Median speed without AES instructions over that with them. */
const MASKED_RATIO = 0.6;
/**
 * Hides AES-NI, PCLMULQDQ, VAES and VPCLMULQDQ from OpenSSL (OPENSSL_ia32cap(3)), and nothing else: without the part after the colon
 * OpenSSL forgets AVX2 and the SHA instructions, too.
 */
const NO_AES = { OPENSSL_ia32cap: "~0x200000200000000:~0x60000000000" };
/** A transfer that takes this long is a hang: 1 GiB at 2 MiB/s. */
const TRANSFER_MS = 600_000;
const SYNC_MS = 120_000;
const HANDSHAKE_MS = 10_000;

const options = z.object({
  mib: numberFlag(1024, 1, 65_536, "size of the file in MiB"),
  runs: numberFlag(3, 1, 99, "measured runs of each peer, alternating"),
  peers: z.boolean().default(true).describe("also run libtorrent, which two bars compare with"),
  masked: z.boolean().default(true).describe("also run without AES instructions, on x86"),
});

export const transfer = defineBench({
  name: "transfer",
  claim: `one file from one daemon to another on loopback, encrypted, hashed, to disk: ≥ ${SPEED_RATIO} × libtorrent at ≤ ${CPU_RATIO} × its processor time; ≥ ${MASKED_RATIO} × of that without AES instructions`,
  options,
  missing: async () => (process.platform === "linux" ? undefined : "CPU time is read from /proc, which needs Linux"),
  run: async (context, { mib, runs, peers, masked }) => {
    const noPeer = peers ? await libtorrentMissing(context.clock) : "switched off";
    if (noPeer !== undefined) context.progress(`without libtorrent, so without a bar: ${noPeer}`);
    const source = join(context.directory, "source");
    await mkdir(source);
    const file = join(source, "file.bin");
    const sha256 = await writeRandomFile(file, mib * 2 ** 20);
    const kinds: Kind[] = [{ peer: "portolan", start: startPortolan, env: {} }];
    if (noPeer === undefined) kinds.push({ peer: "libtorrent", start: startLibtorrent, env: {} });
    if (masked && process.arch === "x64") kinds.push({ peer: MASKED, start: startPortolan, env: NO_AES });
    const samples: TransferSample[] = [];
    const setupSeconds: Record<string, number> = {};
    // Run 0 is not counted: it compiles what is cached from then on.
    for (let i = 0; i <= runs; i++) {
      for (const kind of kinds) {
        const { peer } = kind;
        const { setup, figures } = await measure(context, kind, { file, sha256, mib });
        context.progress(`${peer} ${i}: ${figures.mibPerSecond.toFixed(0)} MiB/s`);
        if (i === 0) continue;
        samples.push({ peer, run: i, ...figures });
        for (const [step, seconds] of Object.entries(setup)) setupSeconds[`${peer} ${i} ${step}`] = seconds;
      }
    }
    const medians = kinds.map(({ peer }) => mediansOf(peer, samples));
    return {
      conditions: { fileMib: mib, sha256, path: "127.0.0.1", directory: context.directory, runs, medians },
      setupSeconds,
      samples,
      bars: barsOf(medians, samples),
    };
  },
});

const MASKED = "portolan without AES";

/** What is run, and what its processes find in their environment. */
type Kind = { peer: string; start: StartFleet; env: Readonly<Record<string, string>> };

/** Speeds are until the file is on the disk; `load1` is the machine's load average just before. */
type Figures = {
  load1: number;
  verifiedSeconds: number;
  durableSeconds: number;
  mibPerSecond: number;
  mibPerSecondUnsynced: number;
  sendCpuSeconds: number;
  receiveCpuSeconds: number;
  cpuSecondsPerGib: number;
  /** What the sender's port agrees on with a client that offers every suite of TLS 1.3, AES first; absent for other programs. */
  cipher?: string;
};
type TransferSample = Sample & Figures & { peer: string };
type Medians = { peer: string; mibPerSecond: number; mibPerSecondUnsynced: number; cpuSecondsPerGib: number };

function mediansOf(peer: string, samples: readonly TransferSample[]): Medians {
  const own = samples.filter((sample) => sample.peer === peer);
  return {
    peer,
    mibPerSecond: median(own.map((sample) => sample.mibPerSecond)),
    mibPerSecondUnsynced: median(own.map((sample) => sample.mibPerSecondUnsynced)),
    cpuSecondsPerGib: median(own.map((sample) => sample.cpuSecondsPerGib)),
  };
}

function barsOf(medians: readonly Medians[], samples: readonly TransferSample[]): Bar[] {
  const of = (peer: string): Medians | undefined => medians.find((one) => one.peer === peer);
  const [own, other, masked] = [of("portolan"), of("libtorrent"), of(MASKED)];
  if (own === undefined) return [];
  const compared =
    other === undefined
      ? []
      : [
          atLeast("median speed to disk ÷ libtorrent's", SPEED_RATIO, own.mibPerSecond / other.mibPerSecond),
          atMost("median CPU time per GiB ÷ libtorrent's", CPU_RATIO, own.cpuSecondsPerGib / other.cpuSecondsPerGib),
        ];
  if (masked === undefined) return compared;
  const ciphers = samples.filter(({ peer }) => peer === MASKED).map(({ cipher }) => cipher);
  const chacha = ciphers.filter((cipher) => cipher === "TLS_CHACHA20_POLY1305_SHA256").length;
  return [
    ...compared,
    atLeast("median speed without AES ÷ with it", MASKED_RATIO, masked.mibPerSecond / own.mibPerSecond),
    atLeast("share of runs without AES that chose ChaCha20", 1, chacha / ciphers.length),
  ];
}

const PLACES: readonly [Place, Place] = [
  { address: "127.0.0.1", port: 21_881, site: "site-1" },
  { address: "127.0.0.1", port: 21_882, site: "site-1" },
];

type Measured = { setup: Readonly<Record<string, number>>; figures: Figures };
type Subject = { file: string; sha256: string; mib: number };

async function measure(
  context: BenchContext,
  { peer, start, env }: Kind,
  { file, sha256, mib }: Subject,
): Promise<Measured> {
  const { clock } = context;
  const directory = join(context.directory, "fleet");
  const startAt = startLocally(clock, env);
  try {
    await using fleet = await start({ clock, startAt }, { places: PLACES, file, directory });
    const cipher = peer === "libtorrent" ? undefined : await cipherAt(clock, PLACES[0]);
    await run(clock, SYNC_MS, ["sync"]); // what earlier steps left to write is not this run's
    const [load1 = Number.NaN] = loadavg();
    await touchPageCache(context.directory, mib * 2 ** 20);
    const before = await cpuSeconds(fleet);
    const [arrival] = await fleet.distribute(TRANSFER_MS);
    const after = await cpuSeconds(fleet);
    await compareCopies(fleet, sha256);
    const [sendCpuSeconds = Number.NaN, receiveCpuSeconds = Number.NaN] = after.map((s, i) => s - (before[i] ?? 0));
    const { verifiedSeconds = Number.NaN, durableSeconds = Number.NaN } = arrival ?? {};
    const figures = {
      load1,
      verifiedSeconds,
      durableSeconds,
      mibPerSecond: mib / durableSeconds,
      mibPerSecondUnsynced: mib / verifiedSeconds,
      sendCpuSeconds,
      receiveCpuSeconds,
      cpuSecondsPerGib: ((sendCpuSeconds + receiveCpuSeconds) * 1024) / mib,
      ...(cipher === undefined ? {} : { cipher }),
    };
    return { setup: fleet.setupSeconds, figures };
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The suite that a daemon agrees on with a client that offers all of TLS 1.3, AES first, as its neighbours do. */
function cipherAt(clock: Clock, { address, port }: Place): Promise<string> {
  return withDeadline(clock, HANDSHAKE_MS, "a TLS handshake", async (signal) => {
    const socket = connect({ host: address, port, ALPNProtocols: ["libp2p"], rejectUnauthorized: false });
    try {
      await once(socket, "secureConnect", { signal });
      return socket.getCipher().name;
    } finally {
      socket.destroy();
    }
  });
}
