import { existsSync, linkSync, renameSync, rmSync, statSync } from "node:fs";
import { errorMessage, Fault } from "#core";
import { writeDurably } from "#identity";
import type { NameServer, ResolverSetup } from "./resolver-setup.ts";
import { readText } from "./session.ts";

const MARK = "# The first server was put here by portolan dns install; portolan dns uninstall takes it away.";
/** Programs that read the file ask that port and no other. */
const PORT = 53;

/**
 * The file in which programs themselves read whom to ask (resolv.conf(5)). Ours becomes the first server; the file that was there is kept beside it,
 * the very same, so that undoing is moving it back.
 */
export class ResolvConf implements ResolverSetup {
  readonly kind = "resolv.conf";
  readonly reload = undefined;
  readonly file: string;
  readonly #before: string;

  constructor(file: string) {
    this.file = file;
    this.#before = `${file}.before-portolan`;
  }

  installed(): NameServer | undefined {
    const host = existsSync(this.file) ? markedServer(readText(this.file)) : undefined;
    return host === undefined ? undefined : { host, port: PORT };
  }

  install({ host, port }: NameServer): "done" | "already" {
    if (port !== PORT) throw badPort(port);
    const now = readText(this.file);
    const isOurs = markedServer(now) !== undefined;
    if (isOurs && now === this.#textFor(host)) return "already";
    if (isOurs && !this.#isUntouched()) throw changed(this.file, this.#before);
    if (!isOurs) this.#keep();
    const text = this.#textFor(host);
    if (text === undefined) throw changed(this.file, this.#before);
    try {
      writeDurably(this.file, Buffer.from(text), 0o644);
    } catch (cause) {
      if (!isOurs) rmSync(this.#before, { force: true });
      throw cannotReplace(this.file, cause);
    }
    return "done";
  }

  uninstall(): "done" | "already" {
    const now = existsSync(this.file) ? readText(this.file) : "";
    if (markedServer(now) === undefined) {
      if (!existsSync(this.#before)) return "already";
      rmSync(`${this.file}.new`, { force: true });
      rmSync(this.#before); // install was cut short, or somebody has put another file there: nothing of ours is in it
      return "done";
    }
    if (!this.#isUntouched()) throw changed(this.file, this.#before);
    renameSync(this.#before, this.file);
    return "done";
  }

  /** Keeps the file that is there now, in place of one from before it. A link, so that owner, mode and symbolic links stay. */
  #keep(): void {
    const aside = `${this.#before}.new`;
    rmSync(aside, { force: true });
    try {
      linkSync(this.file, aside);
      renameSync(aside, this.#before);
    } catch (cause) {
      throw cannotReplace(this.file, cause);
    } finally {
      rmSync(aside, { force: true }); // renaming one link of a file to another does nothing
    }
  }

  /** Whether it is what we wrote, to the byte. */
  #isUntouched(): boolean {
    const now = readText(this.file);
    const host = markedServer(now);
    return host !== undefined && now === this.#textFor(host);
  }

  /** `undefined`: the file from before is gone. */
  #textFor(host: string): string | undefined {
    const isThere = statSync(this.#before, { throwIfNoEntry: false }) !== undefined;
    return isThere ? `${MARK}\nnameserver ${host}\n${readText(this.#before)}` : undefined;
  }
}

function markedServer(text: string): string | undefined {
  const [mark, line = ""] = text.split("\n", 2);
  return mark === MARK ? /^nameserver (\S+)$/u.exec(line)?.[1] : undefined;
}

function badPort(port: number): Fault {
  return new Fault(
    "cli.names-port",
    `names are answered on port ${port}, and programs that read resolv.conf ask port ${PORT} only`,
    {
      exit: "conflict",
      fix: "Let the daemon take that port, as root or with CAP_NET_BIND_SERVICE: portolan up --names 127.77.0.1:53",
    },
  );
}

function changed(file: string, before: string): Fault {
  return new Fault(
    "cli.resolver-file",
    `somebody has changed ${file} since portolan dns install, so it is left as it is`,
    {
      exit: "conflict",
      fix: `Take our two lines at its head away by hand; ${before} is the file from before.`,
    },
  );
}

function cannotReplace(file: string, cause: unknown): Fault {
  return new Fault("cli.resolver-file", `${file} cannot be replaced: ${errorMessage(cause)}`, {
    exit: "conflict",
    fix: "In a container it is often a mount: give the container its DNS server from outside, like --dns 127.77.0.1.",
    cause,
  });
}
