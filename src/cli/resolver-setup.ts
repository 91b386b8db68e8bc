import { existsSync, lstatSync, mkdirSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { Fault } from "#core";
import { writeDurably } from "#identity";
import { ResolvConf } from "./resolv-conf.ts";
import { readText } from "./session.ts";

/** How a machine's programs find names, and so how they are told of ours. */
export type ResolverKind = "systemd-resolved" | "dnsmasq" | "resolv.conf";

/** Where names are answered: an IPv4 address, and a port. */
export type NameServer = { host: string; port: number };

/** What a machine's resolver is told, and where that stands. */
export type ResolverSetup = {
  readonly kind: ResolverKind;
  readonly file: string;
  /** What has the resolver read it, as a command and its words; none: programs read it themselves. */
  readonly reload: readonly string[] | undefined;
  /** The server that it is told; `undefined`: none of ours. */
  installed(): NameServer | undefined;
  /** Changes nothing where all is as it should be. */
  install(server: NameServer): "done" | "already";
  /** Changes nothing where nothing of ours is. */
  uninstall(): "done" | "already";
};

/** Stands at the head of each file that is all ours; another is never touched. */
const MARK = "# Written by portolan dns install; portolan dns uninstall removes it.";

/**
 * The set-up that fits a machine, or the image of one at `root`: that of its systemd-resolved, else of its dnsmasq, else its resolv.conf. But one that
 * was installed before is kept to.
 *
 * Throws Fault `cli.no-resolver` (exit `missing`).
 */
export function findResolver(root: string): ResolverSetup {
  const all = [resolved(root), dnsmasq(root), new ResolvConf(join(root, "etc/resolv.conf"))];
  const has = (path: string): boolean => lstatSync(join(root, path), { throwIfNoEntry: false }) !== undefined;
  const fits = {
    // a machine runs it when that is there; an image has no /run
    "systemd-resolved":
      has("run/systemd/resolve/stub-resolv.conf") || (root !== "/" && has("usr/lib/systemd/systemd-resolved")),
    dnsmasq: has("etc/dnsmasq.d") && has("usr/sbin/dnsmasq"),
    "resolv.conf": has("etc/resolv.conf"),
  };
  const found = all.find((one) => one.installed() !== undefined) ?? all.find(({ kind }) => fits[kind]);
  if (found !== undefined) return found;
  throw new Fault("cli.no-resolver", `${root} has no systemd-resolved, no dnsmasq and no etc/resolv.conf`, {
    exit: "missing",
    fix: "Have its resolver ask 127.77.0.1 for names that end in .mesh; `portolan dns status` shows address and port.",
  });
}

function resolved(root: string): ResolverSetup {
  const file = join(root, "etc/systemd/resolved.conf.d/portolan.conf");
  const textOf = ({ host, port }: NameServer): string => `${MARK}\n[Resolve]\nDNS=${host}:${port}\nDomains=~mesh\n`;
  const reload = ["systemctl", "reload-or-restart", "systemd-resolved"];
  return new OwnFile("systemd-resolved", file, reload, textOf, /^DNS=(?<host>[\d.]+):(?<port>\d+)$/mu);
}

function dnsmasq(root: string): ResolverSetup {
  const file = join(root, "etc/dnsmasq.d/portolan.conf");
  // an answer with a loopback address is what we want, also where rebinding is stopped
  const textOf = ({ host, port }: NameServer): string =>
    `${MARK}\nserver=/mesh/${host}#${port}\nrebind-domain-ok=/mesh/\n`;
  const reload = ["systemctl", "restart", "dnsmasq"];
  return new OwnFile("dnsmasq", file, reload, textOf, /^server=\/mesh\/(?<host>[\d.]+)#(?<port>\d+)$/mu);
}

/** A file of ours in a folder that a resolver reads. */
class OwnFile implements ResolverSetup {
  readonly kind: ResolverKind;
  readonly file: string;
  readonly reload: readonly string[];
  readonly #textOf: (server: NameServer) => string;
  readonly #server: RegExp;

  constructor(
    kind: ResolverKind,
    file: string,
    reload: readonly string[],
    textOf: (server: NameServer) => string,
    server: RegExp,
  ) {
    this.kind = kind;
    this.file = file;
    this.reload = reload;
    this.#textOf = textOf;
    this.#server = server;
  }

  installed(): NameServer | undefined {
    const text = this.#read();
    const match = text?.startsWith(MARK) === true ? this.#server.exec(text)?.groups : undefined;
    return match === undefined ? undefined : { host: match["host"] ?? "", port: Number(match["port"]) };
  }

  install(server: NameServer): "done" | "already" {
    const before = this.#read();
    const text = this.#textOf(server);
    if (before === text) return "already";
    if (before !== undefined && !before.startsWith(MARK)) throw notOurs(this.file);
    mkdirSync(dirname(this.file), { recursive: true });
    writeDurably(this.file, Buffer.from(text), 0o644);
    return "done";
  }

  uninstall(): "done" | "already" {
    const before = this.#read();
    if (before === undefined) return "already";
    if (!before.startsWith(MARK)) throw notOurs(this.file);
    rmSync(`${this.file}.new`, { force: true }); // of an install that was cut short
    rmSync(this.file);
    return "done";
  }

  #read(): string | undefined {
    return existsSync(this.file) ? readText(this.file) : undefined;
  }
}

function notOurs(file: string): Fault {
  return new Fault("cli.resolver-file", `${file} was written by somebody else, and is left as it is`, {
    exit: "conflict",
    fix: "Move it away, then do this again.",
  });
}
