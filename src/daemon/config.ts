import { readFileSync, statSync } from "node:fs";
import { isIPv4 } from "node:net";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { ipInCidr, isCidr } from "#identity";
import { errorMessage, Fault } from "#core";
import { DEFAULT_EXPOSE } from "#routing";
import { z } from "zod";
import { readConfigFile } from "./config-file.ts";
import { Limits } from "./config-limits.ts";

const TCP_PORT = z.coerce.number().int().min(0).max(65_535);
/** Bytes, or with a unit: `500M`, `200G`, `2T` (powers of ten, as disks are sold). */
const Size = z.union([z.number(), z.string()]).transform((value, context) => {
  const match = /^(\d+(?:\.\d+)?)\s*([kMGT]?)$/u.exec(String(value).trim());
  const unit = { "": 1, k: 1e3, M: 1e6, G: 1e9, T: 1e12 }[match?.[2] ?? ""];
  const bytes = Math.round(Number(match?.[1]) * (unit ?? Number.NaN));
  if (Number.isSafeInteger(bytes)) return bytes;
  context.addIssue("a size in bytes, like 500M or 200G");
  return z.NEVER;
});
const Multiaddr = z.string().regex(/^\/(ip4|ip6|dns|dns4|dns6)\/[^/]+\/tcp\/\d+(\/tls)?(\/p2p\/[A-Za-z0-9]+)?$/u, {
  error: "an address like /ip4/0.0.0.0/tcp/4001/tls",
});
const Cidr = z.string().refine(isCidr, "a range like 10.1.0.0/16");
const SiteName = z
  .string()
  .max(63, "at most 63 characters")
  .regex(
    /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/u,
    "lower-case letters, digits, - and . only",
  );
const ProxyUrl = z.string().refine((text) => {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url?.protocol === "http:" && url.port !== "" && url.pathname === "/";
}, "a proxy like http://10.1.0.1:3128");
const HostPort = z.string().transform((text, context) => {
  const match = /^(?:\[?(127\.\d+\.\d+\.\d+|localhost|::1)\]?:)?(\d{1,5})$/u.exec(text);
  const port = TCP_PORT.safeParse(match?.[2]);
  if (match !== null && port.success) return { host: match[1] ?? "127.0.0.1", port: port.data };
  context.addIssue("a port, or a loopback address and a port like 127.0.0.1:9464");
  return z.NEVER;
});
/** Where names may be answered. A whole /16 becomes the machine's own: of 192.168.0.0/16 that would be all, of 169.254.0.0/16 also a cloud's metadata. */
const NAMES_RANGES = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10"];
/** An IPv4 address and a port: names lead to ports on addresses around it, which mean nothing to other machines. */
const NamesAddress = z.union([z.string(), z.literal(false)]).transform((text, context) => {
  if (text === false || text === "off") return "off";
  const match = /^(\d+\.\d+\.\d+\.\d+):(\d{1,5})$/u.exec(text);
  const [host = "", port] = [match?.[1], TCP_PORT.safeParse(match?.[2])];
  if (isIPv4(host) && port.success && NAMES_RANGES.some((range) => ipInCidr(host, range))) {
    return { host, port: port.data };
  }
  context.addIssue(
    "off, or an address and a port like 127.77.0.1:53 or, of 10/8, 172.16/12 or 100.64/10, 10.77.0.1:53",
  );
  return z.NEVER;
});

/** The schema of the configuration file and, merged over it, of the flags of `portolan up`. */
const Config = z.strictObject({
  /** The data directory. */
  data: z
    .string()
    .min(1)
    .transform((path) => resolve(path)),
  /** The bootstrap token; needed only until the node is a member. */
  token: z.string().max(4_096).optional(),
  /** A file with a one-time pass; needed only until the node is a member. */
  passFile: z
    .string()
    .min(1)
    .transform((path) => resolve(path))
    .optional(),
  /** Name of the place this node stands in; its members share a LAN. A claim or batch may say another. */
  site: SiteName.optional(),
  labels: z.record(z.string().max(63), z.coerce.string().max(63)).default({}),
  /** Serial number to match a claim. Default: the key's short id. */
  serial: z
    .string()
    .min(1)
    .max(128)
    .regex(/^[\x21-\x7e]+$/u, "printable ASCII without spaces")
    .optional(),
  model: z.string().max(128).optional(),
  /** Where to accept connections. Port 0 is a free one, kept from start to start where it can be. */
  listen: z.array(Multiaddr).max(16).default(["/ip4/0.0.0.0/tcp/0/tls"]),
  /** Addresses to tell others instead of those found on the network cards, e.g. a forwarded port's. */
  announce: z.array(Multiaddr).max(16).default([]),
  /** Ranges that are dialled directly; anything else goes through `proxy`. Empty: everything is dialled directly. */
  lan: z.array(Cidr).max(32).default([]),
  proxy: ProxyUrl.optional(),
  /** Find nodes of the fleet on the same network by multicast. */
  mdns: z.boolean().default(true),
  /** Pass on what other nodes send each other, where that is the cheapest way. */
  transit: z.boolean().default(true),
  /** Ranges in which services that this node publishes may be. A range around the addresses of a cloud's metadata leaves those out. */
  expose: z
    .array(Cidr)
    .max(32)
    .default([...DEFAULT_EXPOSE]),
  logLevel: z.enum(["debug", "info", "warn", "error"]).default("info"),
  /** Where names of services are answered. Default: 127.77.0.1:53, else port 7353 of it or of 127.0.0.1. YAML 1.1 takes off for false. */
  names: NamesAddress.optional(),
  /** Networks of containers on this machine whose programs may ask for names and use them; `names` is outside loopback then. */
  namesFor: z.array(Cidr).max(32).default([]),
  /** Serve GET /metrics here. Off unless given. */
  metrics: HostPort.optional(),
  limits: Limits.prefault({}),
  /** Artifacts on this disk. `quotaBytes`: what the store may hold, default 80 % of the disk; `reserveBytes`: left free whatever the quota says. */
  store: z.strictObject({ quotaBytes: Size.optional(), reserveBytes: Size.optional() }).default({}),
});

/** How a daemon runs. Merged once from defaults, the file and flags (later wins), then never changed. */
export type DaemonConfig = z.output<typeof Config>;
/** What a file or flags may say. */
export type ConfigInput = Partial<z.input<typeof Config>>;

/** Largest configuration file; one with every option has 2 KiB. */
const MAX_CONFIG_BYTES = 256 * 1024;

/** `$PORTOLAN_DATA`, else `portolan` under `$XDG_DATA_HOME`, else `~/.local/share/portolan`. */
export function defaultDataDir(env: NodeJS.ProcessEnv = process.env): string {
  const named = env["PORTOLAN_DATA"];
  if (named !== undefined && named !== "") return resolve(named);
  const share = env["XDG_DATA_HOME"];
  return join(share === undefined || share === "" ? join(homedir(), ".local", "share") : share, "portolan");
}

/**
 * The configuration from defaults, a YAML or JSON file, and flags. Labels are merged key by key; of everything else the
 * flag replaces what the file says.
 *
 * Throws Fault `daemon.config` (exit `invalid`) with the option, and for the file with its path and line, `daemon.config-file`
 * (exit `missing`) when there is no such file.
 */
export function loadConfig(flags: ConfigInput, file?: string): DaemonConfig {
  const fromFile = file === undefined ? undefined : readConfigFile(readText(file), file, Object.keys(Config.shape));
  const labels = { ...(fromFile?.value["labels"] as object | undefined), ...flags.labels };
  const given = Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined));
  const parsed = Config.safeParse({ data: defaultDataDir(), ...fromFile?.value, ...given, labels });
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    const path = (issue?.path ?? []).map(String);
    const where =
      fromFile !== undefined && !isTyped(path, flags) ? `${fromFile.locate(path)}: ${path.join(".")}` : flagName(path);
    throw badConfig(`${where}: ${issue?.message ?? "invalid"}`);
  }
  if (parsed.data.lan.length > 0 && parsed.data.proxy === undefined) {
    throw badConfig("lan: is given without proxy, so nothing outside those ranges could be reached");
  }
  const { names, namesFor } = parsed.data;
  if (namesFor.length > 0 && (typeof names !== "object" || names.host.startsWith("127."))) {
    throw badConfig("namesFor: containers reach no address of loopback; give names, too, like 10.77.0.1:53");
  }
  return parsed.data;
}

/** Whether the value at this path was typed rather than read from the file; labels come from both. */
function isTyped([option = "", key]: readonly string[], flags: ConfigInput): boolean {
  const value: unknown = Reflect.get(flags, option);
  return value !== undefined && (option !== "labels" || key === undefined || Object.hasOwn(value as object, key));
}

/** How the option at this path is typed: `--log-level`, and `--label` for one of the labels. */
function flagName([option = ""]: readonly string[]): string {
  return `--${(option === "labels" ? "label" : option).replaceAll(/[A-Z]/gu, (letter) => `-${letter.toLowerCase()}`)}`;
}

function readText(file: string): string {
  const stat = statSync(file, { throwIfNoEntry: false });
  if (stat === undefined) {
    throw new Fault("daemon.config-file", `there is no configuration file ${file}`, { exit: "missing" });
  }
  if (!stat.isFile() || stat.size > MAX_CONFIG_BYTES) {
    throw badConfig(`${file} is not a file of at most ${MAX_CONFIG_BYTES} bytes`);
  }
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw badConfig(`${file} cannot be read: ${errorMessage(error)}`);
  }
}

function badConfig(message: string): Fault {
  return new Fault("daemon.config", message, {
    exit: "invalid",
    fix: "`portolan up --help` lists the options; a file has the same ones, docs/cli.md shows one.",
  });
}
